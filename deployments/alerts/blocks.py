"""Notification blocks on the Prefect server: made from the environment under fixed names, or found under the names in the settings.

Addresses and passwords come from the environment and go into blocks; they are in no file and in no message of ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr, ValidationError

from deployments.alerts.email_block import EmailNotification
from trading.errors import ConfigurationError

WEBHOOK, SLACK, SMTP = "OPENBELL_ALERT_WEBHOOK_URL", "OPENBELL_ALERT_SLACK_URL", "OPENBELL_ALERT_SMTP_URL"
EMAIL_FROM, EMAIL_TO = "OPENBELL_ALERT_EMAIL_FROM", "OPENBELL_ALERT_EMAIL_TO"
FIXED_NAME = "openbell-alerts"

_SECURITY = {"smtp": ("starttls", 587), "smtps": ("tls", 465), "smtp+plain": ("none", 25)}


@dataclass(frozen=True, slots=True)
class Channel:
    """A notification block on the server: where alerts go. ``name`` is TYPE/NAME."""

    name: str
    block_document_id: UUID


def make_blocks(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Make or renew the blocks whose variables are set, and tell their names. Raises ``ConfigurationError`` for one that is no address."""
    made: list[str] = []
    for variable, make in _FROM_ENVIRONMENT.items():
        if environment.get(variable):
            block = _made(variable, make, environment)
            block.save(FIXED_NAME, overwrite=True)
            made.append(f"{block.get_block_type_slug()}/{FIXED_NAME}")
    return tuple(made)


def find_channels(client: SyncPrefectClient, names: Sequence[str]) -> tuple[Channel, ...]:
    """The blocks of these names; where none is named, those that ``make_blocks`` has ever made here.

    Raises ``ConfigurationError`` for a name that is not on the server, and says which are.
    """
    if not names:
        fixed = (f"{kind.get_block_type_slug()}/{FIXED_NAME}" for kind in _KINDS)
        return tuple(channel for name in fixed if (channel := _channel(client, name)) is not None)
    found = [(name, _channel(client, name)) for name in names]
    missing = [name for name, channel in found if channel is None]
    if missing:
        there = _notification_blocks(client)
        raise ConfigurationError(
            f"[alerts] blocks names {', '.join(missing)}, which the Prefect server does not have as a notification block. "
            f"{f'It has {chr(44).join(there)}.' if there else 'It has none yet.'} Make it in the UI under Blocks (custom-webhook, "
            f"slack-webhook, {EmailNotification.get_block_type_slug()} and others), or set {WEBHOOK}, {SLACK} or {SMTP} and leave blocks out: "
            f"openbell deploy then makes TYPE/{FIXED_NAME}."
        )
    return tuple(channel for _, channel in found if channel is not None)


def _made(
    variable: str, make: Callable[[Mapping[str, str]], NotificationBlock], environment: Mapping[str, str]
) -> NotificationBlock:
    try:
        return make(environment)
    except ValidationError as error:
        # The values of a validation error are secrets here: only where and why are told.
        problems = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors())
        raise ConfigurationError(f"{variable} in the environment makes no notification block: {problems}.") from None


def _webhook(environment: Mapping[str, str]) -> NotificationBlock:
    address = environment[WEBHOOK]
    if urlsplit(address).scheme not in ("http", "https"):
        raise ConfigurationError(f"{WEBHOOK} in the environment is no address that begins with http:// or https://.")
    # Such an address is a secret by itself, and only secrets are hidden in the UI.
    return CustomWebhookNotificationBlock(
        name="openbell",
        url="{{address}}",
        secrets={"address": address},
        json_data={"subject": "{{subject}}", "text": "{{subject}}\n\n{{body}}"},
    )


def _slack(environment: Mapping[str, str]) -> NotificationBlock:
    address = environment[SLACK]
    if urlsplit(address).scheme not in ("http", "https"):
        raise ConfigurationError(f"{SLACK} in the environment is no address that begins with https://.")
    return SlackWebhook(url=SecretStr(address))


def _email(environment: Mapping[str, str]) -> NotificationBlock:
    address = urlsplit(environment[SMTP])
    if address.scheme not in _SECURITY or not address.hostname:
        raise ConfigurationError(
            f"{SMTP} in the environment is no mail server. Write smtp://USER:PASSWORD@HOST:587 (encrypted by STARTTLS), "
            "smtps://USER:PASSWORD@HOST:465, or smtp+plain://HOST:25 for one on this machine."
        )
    sender, recipients = environment.get(EMAIL_FROM, ""), environment.get(EMAIL_TO, "").replace(",", " ").split()
    if not (sender and recipients):
        raise ConfigurationError(
            f"{SMTP} is set: set {EMAIL_FROM} (one address) and {EMAIL_TO} (addresses, apart by comma) too."
        )
    security, port = _SECURITY[address.scheme]
    # Names and passwords may hold characters that an address writes as %40 and the like.
    login: dict[str, Any] = {} if address.username is None else {"username": unquote(address.username)}
    if address.password is not None:
        login["password"] = SecretStr(unquote(address.password))
    return EmailNotification(
        host=address.hostname,
        port=address.port or port,
        security=security,
        sender=sender,
        recipients=recipients,
        **login,
    )


_FROM_ENVIRONMENT: Mapping[str, Callable[[Mapping[str, str]], NotificationBlock]] = {
    WEBHOOK: _webhook,
    SLACK: _slack,
    SMTP: _email,
}
_KINDS: tuple[type[NotificationBlock], ...] = (CustomWebhookNotificationBlock, SlackWebhook, EmailNotification)


def _channel(client: SyncPrefectClient, name: str) -> Channel | None:
    kind, _, block = name.partition("/")
    try:
        document = client.read_block_document_by_name(block, kind, include_secrets=False)
    except ObjectNotFound:
        return None
    capabilities = document.block_schema.capabilities if document.block_schema else []
    return Channel(name, document.id) if "notify" in capabilities else None


def _notification_blocks(client: SyncPrefectClient) -> list[str]:
    """Names of all that can notify."""
    response = client.request(
        "POST",
        "/block_documents/filter",
        json={"block_schemas": {"block_capabilities": {"all_": ["notify"]}}, "limit": 100},
    )
    response.raise_for_status()
    return sorted(f"{one['block_type']['slug']}/{one['name']}" for one in response.json() if one.get("name"))
