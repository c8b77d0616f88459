"""A test of the whole way: an event to the server, its automation, its blocks, and the server's word that they were taken."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events import emit_event

from deployments.alerts.applying import TEST_EVENT, TEST_TITLE, our_automations
from deployments.alerts.standing import channels_of
from trading.errors import ConfigurationError

_EXECUTED, _FAILED = "prefect.automation.action.executed", "prefect.automation.action.failed"
_PAUSE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the test on one channel. ``words`` say why where it did not arrive."""

    channel: str
    arrived: bool
    words: str


def send_test(client: SyncPrefectClient, message: str, wait_seconds: float) -> tuple[Delivery, ...]:
    """Send a message on every channel and wait for what the server says of each.

    Arrived means that the block's server took it: whether it is read is beyond that. Raises ``ConfigurationError`` where nothing
    would be sent.
    """
    automation = next((one for one in our_automations(client) if one.name == TEST_TITLE), None)
    if automation is None:
        raise ConfigurationError(
            "No alert goes anywhere: the server has none of openbell's with a notification block. Name blocks in [alerts] "
            "blocks, or set OPENBELL_ALERT_*, and run openbell deploy."
        )
    if not automation.enabled:
        raise ConfigurationError(f"The automation {TEST_TITLE!r} is switched off in the UI. Switch it on to test.")
    channels = channels_of(client, automation, {})
    event = emit_event(TEST_EVENT, {"prefect.resource.id": "openbell.alert.test"}, payload={"message": message})
    if event is None:
        raise ConfigurationError("Prefect sends no events from here. Check PREFECT_API_URL.")
    told = _told(client, event.id, len(channels), wait_seconds)
    return tuple(_delivery(channel, told.get(number), wait_seconds) for number, channel in enumerate(channels))


def _told(client: SyncPrefectClient, event: UUID, count: int, wait_seconds: float) -> dict[int, Mapping[str, Any]]:
    """The server's events about the actions of ``event``, by the action's number; as many as have come by then."""
    question = {
        "filter": {"event": {"name": [_EXECUTED, _FAILED]}, "related": {"id": [f"prefect.event.{event}"]}},
        "limit": 50,
    }
    deadline = time.monotonic() + wait_seconds
    while True:
        response = client.request("POST", "/events/filter", json=question)
        response.raise_for_status()
        told = {int(one["payload"]["action_index"]): one for one in response.json()["events"]}
        if len(told) >= count or time.monotonic() >= deadline:
            return told
        time.sleep(_PAUSE_SECONDS)


def _delivery(channel: str, told: Mapping[str, Any] | None, wait_seconds: float) -> Delivery:
    if told is None:
        return Delivery(
            channel,
            False,
            f"the server has not said within {wait_seconds:g} seconds that it was taken: the address may be wrong or refuse. Its log says more.",
        )
    if told["event"] == _EXECUTED:
        return Delivery(channel, True, "taken")
    payload = told["payload"]
    return Delivery(channel, False, str(payload.get("notification_log") or payload.get("reason") or "no reason told"))
