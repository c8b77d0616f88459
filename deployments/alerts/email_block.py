"""E-mail as a Prefect notification block: any SMTP server, which Prefect's own blocks do not offer.

The server sends alerts, so it has to know this block: the entry point ``prefect.collections`` in pyproject.toml tells it.
"""

import asyncio
import smtplib
import ssl
import time
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, Literal, Self

from prefect.blocks.abstract import NotificationBlock, NotificationError
from pydantic import Field, SecretStr, model_validator

PAUSES_SECONDS = (1.0, 4.0)
"""Between tries: a server that is busy for a moment, or hangs up, is asked again."""
OWN_MACHINE = ("127.0.0.1", "::1", "localhost")


class EmailNotification(NotificationBlock):
    """Sends notifications through an SMTP server."""

    _block_type_name = "Openbell Email"
    _block_type_slug = "openbell-email"
    _description = "Sends notifications by e-mail through any SMTP server."

    host: str = Field(default=..., description="Name or address of the SMTP server.", min_length=1)
    port: int = Field(default=587, description="Its port.", ge=1, le=65_535)
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description="starttls: begin in the clear and go on encrypted, or not at all; tls: encrypted from the start; none: in the clear.",
    )
    username: str | None = Field(default=None, description="Name to log in with; none where the server asks for none.")
    password: SecretStr | None = Field(default=None, description="Password that goes with the name.")
    sender: str = Field(default=..., description="Address that messages are from.", pattern=r"^[^@\s]+@[^@\s]+$")
    recipients: list[str] = Field(default=..., description="Addresses that messages go to.", min_length=1)
    timeout_seconds: float = Field(
        default=10.0, description="How long the server may take to answer each step.", gt=0, le=120
    )

    @model_validator(mode="after")
    def _secrets_are_not_sent_in_the_clear(self) -> Self:
        if self.security == "none" and self.password is not None and self.host not in OWN_MACHINE:
            raise ValueError(f"a password is not sent to {self.host} in the clear: choose starttls or tls")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        return self

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Send one message to all recipients. Raises ``NotificationError`` where the server did not take it."""
        await asyncio.to_thread(self._send, body, subject)

    def _send(self, body: str, subject: str | None) -> None:
        message = self._message(body, subject)
        for pause in (*PAUSES_SECONDS, None):
            try:
                with self._connection() as server:
                    server.send_message(message)
                return
            except (OSError, smtplib.SMTPException) as error:
                if pause is None or not _may_pass(error):
                    raise NotificationError(
                        f"The mail server {self.host}:{self.port} did not take the message: {_words(error)}"
                    ) from error
            time.sleep(pause)

    def _message(self, body: str, subject: str | None) -> EmailMessage:
        message = EmailMessage()
        # A header is one line.
        message["Subject"] = " ".join((subject or "openbell").split())
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        message["Date"] = formatdate()
        # The sender's domain: a name of this machine is nobody's business.
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2])
        message.set_content(body)
        return message

    def _connection(self) -> smtplib.SMTP:
        """A session with the server, encrypted and logged in as it is set."""
        encrypted = ssl.create_default_context()
        place: dict[str, Any] = {"host": self.host, "port": self.port, "timeout": self.timeout_seconds}
        server = smtplib.SMTP_SSL(**place, context=encrypted) if self.security == "tls" else smtplib.SMTP(**place)
        try:
            if self.security == "starttls":
                server.starttls(context=encrypted)
            if self.username is not None and self.password is not None:
                server.login(self.username, self.password.get_secret_value())
        except BaseException:  # an interrupt too leaves no line to the mail server open; it is raised again
            server.close()
            raise
        return server


def _may_pass(error: Exception) -> bool:
    """Whether the same message may be taken a moment later: answers of the fours, and lines that break."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            return any(400 <= code < 500 for code, _ in error.recipients.values())
        case smtplib.SMTPResponseException():
            return 400 <= error.smtp_code < 500
        case ssl.SSLCertVerificationError() | smtplib.SMTPNotSupportedError():
            return False
        case _:
            return True


def _words(error: Exception) -> str:
    match error:
        case smtplib.SMTPResponseException():
            said = (
                error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            return f"{error.smtp_code} {said}"
        case _:
            return f"{type(error).__name__}: {error}"
