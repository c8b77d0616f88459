"""Restatements, written: what changed the figures of a session after its last bar, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa

from storage.columns import MOMENT, MONEY
from storage.connection import Connection
from storage.fact_table import COUNT, LARGE_MONEY, TEXT, FactTable, exact, exact_or_none
from trading.money import ZERO
from trading.orders import Fill
from trading.sessions import SessionRecord


@dataclass(frozen=True, slots=True)
class Worth:
    """Money of an account at one moment, or a change of it: equity, and P&L realized since its first session."""

    equity: Decimal = ZERO
    realized: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Figures:
    """What ``daily_pnl`` says of a session."""

    realized: Decimal
    commissions: Decimal


@dataclass(frozen=True, slots=True)
class Restatement:
    """One row: a session, the change of a fill (of another session where its effect was taken over), and what it did."""

    account: str
    session_id: str
    session_date: date
    what: str
    exec_id: str
    fill_session_id: str
    was: Fill | None
    became: Fill | None
    before: Figures
    after: Figures
    bar_time: datetime | None
    start: Worth
    end: Worth


def _terms(fill: Fill | None) -> tuple[int | None, Decimal | None, Decimal | None]:
    if fill is None:
        return None, None, None
    it = fill.execution
    return it.quantity, exact(it.price), exact_or_none(it.commission)


RESTATEMENTS: FactTable[tuple[int, datetime, Restatement]] = FactTable(
    "restatements",
    {
        "number": COUNT,
        "account": TEXT,
        "session_id": TEXT,
        "session_date": pa.date32(),
        "what": TEXT,
        "exec_id": TEXT,
        "fill_session_id": TEXT,
        "restated_at": MOMENT,
        "was_quantity": COUNT,
        "was_price": MONEY,
        "was_commission": MONEY,
        "became_quantity": COUNT,
        "became_price": MONEY,
        "became_commission": MONEY,
        "realized_pnl_before": LARGE_MONEY,
        "realized_pnl_after": LARGE_MONEY,
        "commissions_before": LARGE_MONEY,
        "commissions_after": LARGE_MONEY,
        "bar_time": MOMENT,
        "starting_equity_change": MONEY,
        "starting_realized_change": MONEY,
        "ending_equity_change": MONEY,
        "ending_realized_change": MONEY,
    },
    lambda _, it: (
        it[0],
        it[2].account,
        it[2].session_id,
        it[2].session_date,
        it[2].what,
        it[2].exec_id,
        it[2].fill_session_id,
        it[1],
        *_terms(it[2].was),
        *_terms(it[2].became),
        exact(it[2].before.realized),
        exact(it[2].after.realized),
        exact(it[2].before.commissions),
        exact(it[2].after.commissions),
        it[2].bar_time,
        exact(it[2].start.equity),
        exact(it[2].start.realized),
        exact(it[2].end.equity),
        exact(it[2].end.realized),
    ),
)


def write_restatements(connection: Connection, rows: Sequence[Restatement]) -> None:
    """Write them under the next numbers, inside a transaction."""
    [(newest,)] = connection.execute("SELECT coalesce(max(number), 0) FROM restatements").fetchall()
    now = datetime.now(UTC)
    RESTATEMENTS.write(connection, "", [(number, now, row) for number, row in enumerate(rows, newest + 1)])


def begin_anew(connection: Connection, record: SessionRecord) -> None:
    """A session that begins from another equity than before has in it what earlier days' changes did to its start."""
    connection.execute(
        """
        UPDATE restatements SET starting_equity_change = 0, starting_realized_change = 0
        WHERE session_id = $session AND EXISTS (
            FROM sessions WHERE session_id = $session
                AND (starting_equity <> $equity OR starting_realized_pnl <> $realized)
        )
        """,
        {
            "session": record.session_id,
            "equity": exact(record.starting_equity),
            "realized": exact(record.starting_realized_pnl),
        },
    )
