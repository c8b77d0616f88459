"""Receivers of alerts on this machine: a webhook and a mail server, and runs of a session on the shared Prefect server."""

import asyncio
import datetime as dt
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

SECONDS_AN_ALERT_MAY_TAKE = 240


def wait_for(is_so: Callable[[], Any], what: str, seconds: float = SECONDS_AN_ALERT_MAY_TAKE) -> Any:
    """The first true value of ``is_so``."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        time.sleep(0.1)
    return found


class Webhook:
    """Takes JSON by POST, at ``address``. Answers with ``status``."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        self.refused = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.messages.append(json.loads(said))
                else:
                    receiver.refused += 1
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/alerts"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def about(self, *words: str) -> list[dict[str, Any]]:
        """Messages with all of these words."""
        return [one for one in self.messages if all(word in one["text"] for word in words)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class MailServer:
    """Takes mail at 127.0.0.1:``port``. ``refusing`` is how often it answers that it is busy, first."""

    def __init__(
        self, certificate: ssl.SSLContext | None = None, is_encrypted: bool = False, refusing: int = 0
    ) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[str, str]] = []
        self.was_encrypted: list[bool] = []
        self._refusing = refusing
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        starttls = None if is_encrypted else certificate

        def protocol() -> SMTP:
            return SMTP(
                self,
                hostname="mail.test",
                loop=self._loop,
                tls_context=starttls,
                require_starttls=starttls is not None,
                authenticator=self._authenticate,
                auth_require_tls=starttls is not None,
            )

        serving = self._loop.create_server(protocol, "127.0.0.1", 0, ssl=certificate if is_encrypted else None)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self._refusing > 0:
            self._refusing -= 1
            return "451 busy, come again"
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=modern)
        assert isinstance(mail, EmailMessage)
        self.was_encrypted.append(server.transport.get_extra_info("ssl_object") is not None)
        self.mails.append(mail)
        return "250 taken"

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"good", handled=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A certificate for 127.0.0.1 as a server has it, and the file that a client has to trust."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.test")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    trusted, private = folder / "trusted.pem", folder / "private.pem"
    trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted


@pytest.fixture(scope="session")
def mail_server() -> type[MailServer]:
    return MailServer


@pytest.fixture(scope="session")
def webhook_receiver() -> type[Webhook]:
    return Webhook


@pytest.fixture(scope="session")
def waiting() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(scope="session")
def no_alerts(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Takes all alerts and their blocks off the shared server; at the latest when these tests are through."""
    request.getfixturevalue("prefect_server")
    from prefect.client.orchestration import get_client

    from deployments.alerts.applying import our_automations
    from deployments.alerts.blocks import FIXED_NAME

    def clear() -> None:
        with get_client(sync_client=True) as client:
            for one in our_automations(client):
                client.delete_automation(one.id)
            for block in client.read_block_documents(limit=200):
                if block.name == FIXED_NAME:
                    client.delete_block_document(block.id)

    yield clear
    clear()
