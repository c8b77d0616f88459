"""Which alerts stand on the Prefect server: where they go, and whether a person has switched them off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events import EventTrigger
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import Automation, Posture
from prefect.exceptions import ObjectNotFound

from deployments.alerts.alert import PREFIX
from deployments.alerts.applying import TEST_TITLE, our_automations

GONE = "a block that is gone"


@dataclass(frozen=True, slots=True)
class StandingAlert:
    """One automation of ours. ``once_in``: it is sent once at most in so long for the same subject; None for once a run."""

    title: str
    is_on: bool
    once_in: timedelta | None
    channels: tuple[str, ...]


def standing_alerts(client: SyncPrefectClient) -> tuple[StandingAlert, ...]:
    """What is there, in the order of names; the one for tests is left out."""
    names: dict[UUID, str] = {}
    return tuple(
        StandingAlert(
            automation.name.removeprefix(PREFIX),
            automation.enabled,
            _once_in(automation),
            channels_of(client, automation, names),
        )
        for automation in our_automations(client)
        if automation.name != TEST_TITLE
    )


def channels_of(client: SyncPrefectClient, automation: Automation, names: dict[UUID, str]) -> tuple[str, ...]:
    """Where an automation sends to, in the order of its actions. ``names`` keeps what was asked for already."""
    return tuple(_name(client, block, names) for block in _blocks(automation))


def _blocks(automation: Automation) -> Sequence[UUID]:
    return [action.block_document_id for action in automation.actions if isinstance(action, SendNotification)]


def _name(client: SyncPrefectClient, block: UUID, names: dict[UUID, str]) -> str:
    if block not in names:
        try:
            document = client.read_block_document(block, include_secrets=False)
            kind = document.block_type.slug if document.block_type else "?"
            names[block] = f"{kind}/{document.name}"
        except ObjectNotFound:
            names[block] = GONE
    return names[block]


def _once_in(automation: Automation) -> timedelta | None:
    match automation.trigger:
        case EventTrigger(posture=Posture.Reactive, within=window):
            return window
        case _:
            return None
