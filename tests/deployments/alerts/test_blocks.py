import pytest

from deployments.alerts.blocks import make_blocks
from trading.errors import ConfigurationError

MAIL = {
    "OPENBELL_ALERT_SMTP_URL": "smtp://desk%40x:p%3Ass@mail.test",
    "OPENBELL_ALERT_EMAIL_FROM": "openbell@desk.test",
    "OPENBELL_ALERT_EMAIL_TO": "a@desk.test, b@desk.test",
}


def test_without_variables_no_block_is_made() -> None:
    assert make_blocks({"OPENBELL_ALERT_WEBHOOK_URL": ""}) == ()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"OPENBELL_ALERT_WEBHOOK_URL": "hooks.test/s3cret"}, "no address that begins with http"),
        ({"OPENBELL_ALERT_SLACK_URL": "ftp://s3cret"}, "no address that begins with https"),
        ({**MAIL, "OPENBELL_ALERT_SMTP_URL": "imap://s3cret@mail.test"}, "Write smtp://USER:PASSWORD@HOST:587"),
        ({**MAIL, "OPENBELL_ALERT_EMAIL_TO": ""}, "OPENBELL_ALERT_EMAIL_TO"),
        ({**MAIL, "OPENBELL_ALERT_SMTP_URL": "smtp+plain://desk:s3cret@mail.test"}, "in the clear"),
        ({**MAIL, "OPENBELL_ALERT_SMTP_URL": "smtp://s3cret@mail.test"}, "go together"),
        ({**MAIL, "OPENBELL_ALERT_EMAIL_FROM": "s3cret"}, "sender"),
    ],
)
def test_a_variable_that_makes_no_block_is_named_and_its_value_is_not(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        make_blocks(environment)
    assert words in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.usefixtures("no_alerts")
def test_a_mail_server_is_read_out_of_its_address() -> None:
    from deployments.alerts.email_block import EmailNotification

    assert make_blocks(MAIL) == ("openbell-email/openbell-alerts",)
    made = EmailNotification.load("openbell-alerts")
    assert isinstance(made, EmailNotification)
    assert (made.host, made.port, made.security, made.username) == ("mail.test", 587, "starttls", "desk@x")
    assert made.password is not None
    assert made.password.get_secret_value() == "p:ss"
    assert made.recipients == ["a@desk.test", "b@desk.test"]
