"""Questions about the history: any SQL that only reads, and the few that the closing summary and the report ask.

The rule: nothing here can write, neither to the database nor to a file beside it.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from storage.reading import HALT_COLUMNS, SESSION_COLUMNS, halt_of, session_record_of, utc, utc_or_none
from storage.store import Store
from storage.visit import read_from
from trading.decisions import EquityPoint, Halt
from trading.differences import Discrepancy
from trading.replay_accounts import PREFIX
from trading.sessions import SessionRecord


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query came back with. Money is Decimal, times are aware UTC."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Trade:
    """A round trip, one row of the view ``trades``. ``realized_pnl`` is net of ``commissions``."""

    symbol: str
    direction: str
    quantity: int
    entry_time: datetime
    entry_price: Decimal
    exit_time: datetime
    exit_price: Decimal
    commissions: Decimal
    realized_pnl: Decimal


@dataclass(frozen=True, slots=True)
class UndecidedCount:
    """How often a policy decided nothing on a symbol (``failed``), or otherwise than it said (``held back``); with the newest reason."""

    symbol: str
    what: str
    count: int
    newest_reason: str


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How often a rule did something to orders, with the newest of its reasons."""

    rule: str
    verdict: str
    count: int
    newest_reason: str


@dataclass(frozen=True, slots=True)
class FindingCount:
    """How often validation found something, with the first of its details."""

    symbol: str
    finding: str
    action: str
    count: int
    first_at: datetime | None
    first_detail: str


@dataclass(frozen=True, slots=True)
class SeenDiscrepancy:
    """A discrepancy with the comparison that saw it."""

    stage: str
    seen_at: datetime
    discrepancy: Discrepancy


def ask(path: Path, sql: str) -> Answer:
    """Run one reading query on the database at ``path``.

    Raises ``ConfigurationError`` with DuckDB's own words where the query is wrong or would write, ``StoreError`` where
    the database can neither be opened nor asked at its holder's.
    """
    columns, rows = read_from(path, lambda store: store.connection.answer(sql))
    return Answer(columns, tuple(tuple(_aware(value) for value in row) for row in rows))


def _aware(value: object) -> object:
    return utc(value) if isinstance(value, datetime) and value.tzinfo is not None else value


def sessions_on(store: Store, day: date) -> list[SessionRecord]:
    """The sessions of an exchange date, in the order in which they were started."""
    found = store.connection.rows(
        f"SELECT {SESSION_COLUMNS} FROM sessions WHERE session_date = ? ORDER BY started_at, session_id", [day]
    )
    return [session_record_of(row) for row in found]


def standing_halts(store: Store, at: datetime) -> list[Halt]:
    """Every halt that stands at ``at``, oldest first; not those of replays, which halt nobody."""
    found = store.connection.rows(
        f"""
        SELECT {HALT_COLUMNS} FROM halts
        WHERE cleared_at IS NULL AND (expires_at IS NULL OR expires_at > ?) AND NOT starts_with(scope, ?)
        ORDER BY halted_at, scope, rule
        """,
        [at, f"account:{PREFIX}"],
    )
    return [halt_of(row) for row in found]


def halt_stood(store: Store, record: SessionRecord, closes_at: datetime) -> bool:
    """Whether a halt that concerns the session stood when it processed its newest bar, and nobody has cleared it since.

    ``closes_at`` is when its day was over: what was halted later was not in its way.
    """
    found = store.connection.rows(
        """
        SELECT EXISTS (
            FROM halts
            WHERE cleared_at IS NULL AND halted_at < ? AND (expires_at IS NULL OR expires_at > ?)
            AND (session_id = ? OR scope IN ('all', 'account:' || ?, 'strategy:' || ?))
        )
        """,
        [closes_at, record.last_bar_time or record.started_at, record.session_id, record.account, record.strategy],
    )
    return bool(found[0][0])


def session_dates(store: Store) -> list[date]:
    """All exchange dates that have a session, oldest first."""
    return [day for (day,) in store.connection.rows("SELECT DISTINCT session_date FROM sessions ORDER BY session_date")]


def trades_of(store: Store, session_id: str) -> list[Trade]:
    """The round trips that the session closed, in the order in which it closed them; some were opened earlier."""
    found = store.connection.rows(
        """
        SELECT symbol, direction, quantity, entry_time, entry_price, exit_time, exit_price, commissions, realized_pnl
        FROM trades WHERE exit_session_id = ? ORDER BY booking, entry_booking
        """,
        [session_id],
    )
    return [
        Trade(symbol, direction, quantity, utc(entered), entry_price, utc(left), exit_price, commissions, realized)
        for symbol, direction, quantity, entered, entry_price, left, exit_price, commissions, realized in found
    ]


def undecided_of(store: Store, session_id: str) -> list[UndecidedCount]:
    """Where the session's policy failed or was held back, the most frequent first."""
    found = store.connection.rows(
        """
        SELECT symbol, if(error IS NULL, 'held back', 'failed') AS what, count(*), arg_max(coalesce(error, note), bar_time)
        FROM decisions WHERE session_id = ? AND (error IS NOT NULL OR note IS NOT NULL)
        GROUP BY symbol, what ORDER BY count(*) DESC, symbol, what
        """,
        [session_id],
    )
    return [UndecidedCount(*row) for row in found]


def rules_that_spoke(store: Store, session_id: str) -> list[RuleCount]:
    """What risk rules did in the session: alarms and halts first, then the most frequent."""
    found = store.connection.rows(
        """
        SELECT rule, verdict, count(*), arg_max(reason, bar_time)
        FROM risk_checks WHERE session_id = ? GROUP BY rule, verdict
        ORDER BY verdict = 'ALARM' DESC, verdict = 'HALTED' DESC, count(*) DESC, rule, verdict
        """,
        [session_id],
    )
    return [RuleCount(*row) for row in found]


def findings_of(store: Store, session_id: str) -> list[FindingCount]:
    """What validation found in the session's bars, the most frequent first."""
    found = store.connection.rows(
        """
        SELECT symbol, finding, action, count(*), min(bar_time), arg_min(detail, coalesce(bar_time, 'epoch'))
        FROM data_findings WHERE session_id = ? GROUP BY symbol, finding, action
        ORDER BY count(*) DESC, symbol, finding
        """,
        [session_id],
    )
    return [
        FindingCount(symbol, finding, action, count, utc_or_none(first), detail)
        for symbol, finding, action, count, first, detail in found
    ]


def discrepancies_of(store: Store, session_id: str) -> list[SeenDiscrepancy]:
    """Every difference that the session's comparisons with the broker found, in the order of finding."""
    found = store.connection.rows(
        """
        SELECT stage, reconciled_at, kind, subject, ours, brokers, proposed_repair
        FROM discrepancies JOIN reconciliations USING (reconciliation_id)
        WHERE discrepancies.session_id = ? ORDER BY reconciliation_id, number
        """,
        [session_id],
    )
    return [SeenDiscrepancy(stage, utc(at), Discrepancy(*words)) for stage, at, *words in found]


def order_counts(store: Store, session_id: str) -> dict[str, int]:
    """How many of the session's orders stand at which status."""
    return dict(
        store.connection.rows(
            "SELECT status, count(*) FROM orders WHERE session_id = ? GROUP BY status ORDER BY status", [session_id]
        )
    )


def equity_of(store: Store, session_id: str) -> list[EquityPoint]:
    """The session's equity bar by bar."""
    found = store.connection.rows(
        """
        SELECT session_id, bar_time, cash, market_value, equity, realized_pnl, unrealized_pnl, drawdown
        FROM equity WHERE session_id = ? ORDER BY bar_time
        """,
        [session_id],
    )
    return [EquityPoint(name, utc(bar_time), *amounts) for name, bar_time, *amounts in found]


def accounts_of(store: Store) -> list[str]:
    """The accounts that have a session, by name; not those of replays, which no broker has."""
    found = store.connection.rows(
        "SELECT DISTINCT account FROM sessions WHERE NOT starts_with(account, ?) ORDER BY account", [PREFIX]
    )
    return [account for (account,) in found]
