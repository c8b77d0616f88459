"""A session as the ledger knows it: its name, its state, and what came of it."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum


class Mode(StrEnum):
    """Where the session's prices come from; a synthetic session says so for ever."""

    SYNTHETIC = "synthetic"
    RECORDED = "recorded"
    LIVE = "live"


class SessionState(StrEnum):
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"
    REFUSED = "REFUSED"


def session_id(session_date: date, account: str, strategy: str) -> str:
    """The session's name: one session per date, account and strategy."""
    return f"{session_date.isoformat()}.{account}.{strategy}"


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One row of ``sessions``. ``settings`` is the JSON of everything that was set.

    ``only_reduces`` says why the session opens and adds nothing from its first bar on; empty where it may.
    """

    session_id: str
    strategy: str
    account: str
    session_date: date
    mode: Mode
    state: SessionState
    started_at: datetime
    settings: str
    policy_fingerprint: str
    starting_equity: Decimal
    starting_realized_pnl: Decimal
    ended_at: datetime | None = None
    last_bar_time: datetime | None = None
    only_reduces: str = ""


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What a session came to. Money in units of the account's currency; P&L net of commissions.

    ``realized_pnl`` and ``commissions`` are this session's; ``unrealized_pnl`` is of what is held at its end.
    """

    session_id: str
    session_date: date
    mode: Mode
    state: SessionState
    bars: int
    decisions: int
    orders: int
    fills: int
    realized_pnl: Decimal
    unrealized_pnl: Decimal
    commissions: Decimal
    equity: Decimal
    halted: bool
    discrepancies: int
    db: str
    reason: str = ""
    notes: tuple[str, ...] = field(default=())
