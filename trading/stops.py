"""An emergency stop as the ledger knows it: what was asked for, and each step that was taken until the broker showed it done."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StopState(StrEnum):
    """Where a stop stands.

    ALARM: it could not be shown to be done in time; it is tried on, and becomes SUCCEEDED when it is done after all.
    """

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    ALARM = "ALARM"


class StopAction(StrEnum):
    """What a step did."""

    HALT = "halt"
    CANCEL = "cancel"
    FLATTEN = "flatten"
    VERIFY = "verify"
    ALARM = "alarm"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Stop:
    """One emergency stop of an account within ``scope`` (as of a ``Halt``).

    ``session_id`` is the session that does it, empty where no session ran. ``ended_at`` is None while it is not shown to be
    done. Times are the session's.
    """

    stop_id: str
    account: str
    session_id: str
    scope: str
    reason: str
    flatten: bool
    asked_by: str
    started_at: datetime
    state: StopState = StopState.RUNNING
    ended_at: datetime | None = None

    @property
    def symbol(self) -> str | None:
        """The one symbol that it is for; None where it is for the whole account."""
        kind, _, name = self.scope.partition(":")
        return name if kind == "symbol" else None


@dataclass(frozen=True, slots=True)
class StopStep:
    """One step of a stop. ``number`` counts from 1; ``succeeded`` is False where it failed and is tried again."""

    stop_id: str
    number: int
    taken_at: datetime
    action: StopAction
    succeeded: bool
    detail: str
