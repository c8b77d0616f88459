import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.abstract import NotificationError
from pydantic import SecretStr, ValidationError

from deployments.alerts.email_block import EmailNotification

ADDRESSES: dict[str, Any] = {"sender": "openbell@desk.test", "recipients": ["a@desk.test", "b@desk.test"]}


def block(port: int, **settings: Any) -> EmailNotification:
    return EmailNotification(host="127.0.0.1", port=port, **{**ADDRESSES, **settings})


def send(sending: EmailNotification, subject: str = "halted", body: str = "lost 1 000 € — call") -> None:
    asyncio.run(sending.notify(body=body, subject=subject))


def test_a_message_arrives_as_it_was_written(mail_server: Callable[..., Any]) -> None:
    with mail_server() as server:
        send(block(server.port, security="none"), subject="halted:\n s1")
        [mail] = server.mails
    assert (mail["subject"], mail["from"], mail["to"]) == (
        "halted: s1",
        "openbell@desk.test",
        "a@desk.test, b@desk.test",
    )
    assert mail.get_content().strip() == "lost 1 000 € — call"
    assert mail["message-id"].endswith("@desk.test>")


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_what_is_encrypted_is_logged_in_to_and_sent_encrypted(
    security: str,
    mail_server: Callable[..., Any],
    certificate: tuple[ssl.SSLContext, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, trusted = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with mail_server(context, is_encrypted=security == "tls") as server:
        send(block(server.port, security=security, username="desk", password=SecretStr("good")))
        assert server.logins == [("desk", "good")]
        assert server.was_encrypted == [True]


def test_a_certificate_that_nobody_vouches_for_is_sent_nothing(
    mail_server: Callable[..., Any], certificate: tuple[ssl.SSLContext, Path]
) -> None:
    with mail_server(certificate[0]) as server:
        with pytest.raises(NotificationError) as error:
            send(block(server.port, username="desk", password=SecretStr("good")))
        assert server.logins == []
    assert "certificate verify failed" in error.value.log


def test_a_server_without_encryption_is_not_taken_for_one_with(mail_server: Callable[..., Any]) -> None:
    with mail_server() as server:
        with pytest.raises(NotificationError) as error:
            send(block(server.port, security="starttls"))
        assert server.mails == []
    assert "STARTTLS" in error.value.log


def test_a_server_that_is_busy_for_a_moment_is_asked_again(mail_server: Callable[..., Any]) -> None:
    with mail_server(refusing=1) as server:
        send(block(server.port, security="none"))
        assert len(server.mails) == 1


def test_a_wrong_password_is_told_and_not_shown(mail_server: Callable[..., Any]) -> None:
    with mail_server() as server:
        with pytest.raises(NotificationError) as error:
            send(block(server.port, security="none", username="desk", password=SecretStr("guessed")))
        # One try, in each of the manners that the server offers.
        assert len(server.logins) <= 2
    assert "535" in error.value.log
    assert "guessed" not in error.value.log


def test_a_password_is_not_sent_in_the_clear_to_another_machine() -> None:
    login = {"username": "desk", "password": SecretStr("good")}
    with pytest.raises(ValidationError, match="in the clear"):
        EmailNotification(host="mail.desk.test", security="none", **login, **ADDRESSES)
    assert EmailNotification(host="127.0.0.1", security="none", **login, **ADDRESSES)


def test_a_name_without_a_password_is_refused() -> None:
    with pytest.raises(ValidationError, match="go together"):
        block(25, username="desk")
