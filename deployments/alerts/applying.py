"""Makes the automations on the Prefect server what the settings say: a second time it changes nothing.

Ours are those whose name begins with ``openbell: ``; no other one is touched. What a person has switched off in the UI stays off.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import EventTrigger
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, Posture
from prefect.events.schemas.events import ResourceSpecification

from deployments.alerts.alert import PREFIX, Alert, Remedy, Windows
from deployments.alerts.blocks import Channel, find_channels, make_blocks
from deployments.alerts.catalogue import ALERTS
from trading.alert_settings import AlertSettings

TEST_EVENT = "openbell.alert.test"
TEST_TITLE = f"{PREFIX}test"

_PAGE = 200
_COMPARED = {"name", "description", "tags", "trigger", "actions", "actions_on_trigger", "actions_on_resolve"}


@dataclass(frozen=True, slots=True)
class AppliedAlerts:
    """What was done, by names of automations, and where alerts go."""

    channels: tuple[str, ...] = ()
    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    switched_off: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        """A line for a person."""
        if not self.channels:
            return (
                "Alerts: no one is told. Name notification blocks in [alerts] blocks, or set OPENBELL_ALERT_WEBHOOK_URL, "
                "OPENBELL_ALERT_SLACK_URL or OPENBELL_ALERT_SMTP_URL, and deploy again."
            )
        count = len(self.created) + len(self.updated) + len(self.unchanged)
        off = f", {len(self.switched_off)} switched off in the UI" if self.switched_off else ""
        return (
            f"Alerts: {count} go to {', '.join(self.channels)} ({len(self.created)} new, {len(self.updated)} changed, "
            f"{len(self.removed)} removed{off})."
        )


def apply_alerts(
    alerts: AlertSettings,
    strategies: Mapping[str, Path] | None = None,
    environment: Mapping[str, str] | None = None,
) -> AppliedAlerts:
    """Make blocks from ``environment`` (this process's where none is given), and the automations of the settings.

    ``strategies`` are named in the messages, with their databases. Raises ``ConfigurationError``, before any automation is changed, for blocks that are not there.
    """
    make_blocks(os.environ if environment is None else environment)
    with get_client(sync_client=True) as client:
        channels = find_channels(client, alerts.blocks)
        return _apply(client, automations(alerts, channels, strategies), channels)


def automations(
    alerts: AlertSettings, channels: Sequence[Channel], strategies: Mapping[str, Path] | None = None
) -> list[AutomationCore]:
    """What should be on the server. Where no one is told, only what acts by itself is left."""
    on = [alert for name, alert in ALERTS.items() if name not in alerts.off]
    wanted = [_remedy(alert, alert.remedy, alerts) for alert in on if alert.remedy is not None]
    if channels:
        wanted += [_automation(alert, alerts, channels, strategies) for alert in on]
        wanted.append(_test(channels))
    return wanted


def our_automations(client: SyncPrefectClient) -> list[Automation]:
    """Those on the server that are ours, in the order of their names."""
    found: list[Automation] = []
    while True:
        page = client.read_automations(limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            # Those of a deployment's triggers are its own, whatever they are called.
            ours = (one for one in found if one.name.startswith(PREFIX) and one.owner_resource is None)
            return sorted(ours, key=lambda one: (one.name, one.id))


def _automation(
    alert: Alert, alerts: AlertSettings, channels: Sequence[Channel], strategies: Mapping[str, Path] | None
) -> AutomationCore:
    actions = [
        SendNotification(block_document_id=one.block_document_id, subject=alert.subject, body=alert.body(strategies))
        for one in channels
    ]
    return AutomationCore(
        name=alert.title,
        description=f"{alert.when} Made by openbell deploy; docs/alerts.md#{alert.name} says what to do.",
        tags=["openbell"],
        trigger=alert.trigger(Windows.of(alerts, alert.name)),
        actions=[*actions],
    )


def _remedy(alert: Alert, remedy: Remedy, alerts: AlertSettings) -> AutomationCore:
    return AutomationCore(
        name=PREFIX + remedy.title,
        description=f"Made by openbell deploy; docs/alerts.md#{alert.name} says why.",
        tags=["openbell"],
        trigger=remedy.trigger(Windows.of(alerts, alert.name)),
        actions=[remedy.action],
    )


def _test(channels: Sequence[Channel]) -> AutomationCore:
    """Tells what ``openbell alerts --test`` asks it to."""
    body = "{{ event.payload.message }}\n\nWhat it means: alerts of openbell arrive here.\n\nWhat to do: nothing.\n"
    return AutomationCore(
        name=TEST_TITLE,
        description="Sends what openbell alerts --test asks for. Made by openbell deploy.",
        tags=["openbell"],
        trigger=EventTrigger(
            expect={TEST_EVENT},
            match=ResourceSpecification({"prefect.resource.id": "openbell.alert.*"}),
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            SendNotification(block_document_id=one.block_document_id, subject=TEST_TITLE, body=body) for one in channels
        ],
    )


def _apply(client: SyncPrefectClient, wanted: Sequence[AutomationCore], channels: Sequence[Channel]) -> AppliedAlerts:
    there: dict[str, Automation] = {}
    twins: list[Automation] = []
    for one in our_automations(client):
        if one.name in there:
            twins.append(one)
        there.setdefault(one.name, one)
    did: dict[str, list[str]] = {"created": [], "updated": [], "unchanged": [], "removed": [], "switched_off": []}
    for automation in wanted:
        present = there.pop(automation.name, None)
        if present is None:
            client.create_automation(automation)
            did["created"].append(automation.name)
            continue
        if not present.enabled:
            did["switched_off"].append(automation.name)
        if _compared(present) == _compared(automation):
            did["unchanged"].append(automation.name)
            continue
        # Read back whole: only what was set is sent, and words that stand for a kind of action are never set.
        whole = AutomationCore.model_validate(automation.model_dump(include=_COMPARED) | {"enabled": present.enabled})
        client.update_automation(present.id, whole)
        did["updated"].append(automation.name)
    for one in (*there.values(), *twins):
        client.delete_automation(one.id)
        did["removed"].append(one.name)
    return AppliedAlerts(tuple(one.name for one in channels), **{name: tuple(names) for name, names in did.items()})


def _compared(automation: AutomationCore) -> dict[str, Any]:
    """What makes an automation another one; who switched it off does not."""
    return automation.model_dump(include=_COMPARED)
