"""What a person may set of alerts (``[alerts]``): who is told, of what, and how often.

The alerts themselves, with their words, are in ``deployments/alerts/``; docs/alerts.md says of each what it means and what to
do. Addresses and passwords are never settings: they are in notification blocks on the Prefect server.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from trading.setting_types import Section


class AlertName(StrEnum):
    """What a person can be told of."""

    SESSION_FAILED = "session-failed"
    SESSION_CRASHED = "session-crashed"
    SESSION_LATE = "session-late"
    SESSION_NOT_STARTED = "session-not-started"
    SESSION_MISSING = "session-missing"
    NO_HEARTBEAT = "no-heartbeat"
    NO_WORKER = "no-worker"
    HALTED = "halted"
    ALARM = "alarm"
    BROKER_LINE = "broker-line"
    POLICY_FAILING = "policy-failing"
    DISCREPANCY = "discrepancy"
    DATA_STALE = "data-stale"
    DISK_FULL = "disk-full"
    NOT_WELL = "not-well"
    RUN_BY_HAND_FAILED = "run-by-hand-failed"
    UPKEEP_FAILED = "upkeep-failed"


BlockName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$")]
Minutes = Annotated[Decimal, Field(ge=Decimal("0.2"), le=10_080)]
"""From 12 seconds to a week."""


class AlertSettings(Section):
    """Who is told when something goes wrong, and how often. `openbell deploy` makes Prefect automations of it."""

    blocks: Annotated[tuple[BlockName, ...], Field(max_length=20)] = ()
    """Notification blocks on the Prefect server that every alert goes to, as TYPE/NAME, for example `slack-webhook/ops`. Where none is named: those that `openbell deploy` makes from `OPENBELL_ALERT_*` in the environment."""
    repeat_minutes: Minutes = Decimal("60")
    """Window in which an alert is sent once at most for the same session, run or machine."""
    repeat_minutes_of: dict[AlertName, Minutes] = Field(default_factory=dict)
    """Another window for single alerts, for example `{ halted = 15 }`."""
    off: tuple[AlertName, ...] = ()
    """Alerts that are not made."""
    not_started_minutes: Minutes = Decimal("20")
    """How long after its scheduled time a session may not run yet before `session-not-started` is sent: 20 minutes after 09:15 is 09:35."""
    no_heartbeat_minutes: Minutes = Decimal("10")
    """Silence of a run after which it counts as dead: it is marked as crashed, and `no-heartbeat` is sent; and how long the work pool may have no worker before `no-worker` is. More than three times `PREFECT_FLOWS_HEARTBEAT_FREQUENCY` of the runs, which is 180 seconds where nobody sets it."""

    @field_validator("blocks", "off")
    @classmethod
    def _named_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"named more than once: {', '.join(repeated)}")
        return names

    def window(self, name: AlertName) -> Decimal:
        """Minutes in which this alert is sent once at most for the same subject."""
        return self.repeat_minutes_of.get(name, self.repeat_minutes)
