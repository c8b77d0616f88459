"""Fills, written: what ``trading.fill_book`` makes of arriving ones becomes rows of ``fills`` and ``superseded_fills``.

The rule: ``fills`` holds exactly the fills that count. A correction takes the booking number of what it corrects, so that
first in, first out goes on as it was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from storage.connection import Connection
from storage.fact_table import FEW, exact
from storage.facts import FILLS, SUPERSEDED_FILLS
from storage.reading import FILL_COLUMNS, fill_of
from trading.decisions import PositionSnapshot
from trading.fill_book import FillBook, FillChange
from trading.orders import INFERRED, Fill


@dataclass(frozen=True, slots=True)
class Booked:
    """What became of arriving fills. ``new`` are those that were booked now, with their numbers; ``bookings`` are the numbers
    of all that changed, by lineage.
    """

    changes: Sequence[FillChange] = ()
    new: Sequence[tuple[int, Fill]] = field(default=())
    bookings: Mapping[str, int] = field(default_factory=dict)


def book_fills(connection: Connection, session_id: str, fills: Sequence[Fill]) -> Booked:
    """Fold ``fills`` into those that are there, inside a transaction."""
    if not fills:
        return Booked()
    newest, known = _known(connection, fills)
    bookings = {fill.execution.lineage: booking for booking, fill in known}
    book = FillBook((fill for _, fill in known), _gone(connection, fills))
    changes = [change for fill in fills for change in book.absorb(fill)]
    new: list[tuple[int, Fill]] = []
    for change in changes:
        if change.before is None and change.after is not None:
            newest += 1
            bookings[change.after.execution.lineage] = newest
            new.append((newest, change.after))
    _write(connection, session_id, dict(_by_exec_id(known)), book, bookings, changes)
    return Booked(changes, new, bookings)


def book_all(connection: Connection, session_id: str, fills: Sequence[Fill]) -> Booked:
    """Write fills none of which can be there, or be corrected by another: those of a replay that has finished."""
    if not fills:
        return Booked()
    new = list(enumerate(fills, _newest_booking(connection) + 1))
    FILLS.write(connection, session_id, new)
    return Booked([FillChange(None, fill, fill.execution.exec_id) for fill in fills], new)


def place_snapshots(
    connection: Connection, snapshots: Sequence[PositionSnapshot], new: Iterable[tuple[int, Fill]]
) -> list[tuple[int, PositionSnapshot]]:
    """Each snapshot with the newest booking of its symbol that is in it, of the fills booked with it and before.

    The last snapshot of a symbol has all of its fills. An earlier one, which only a replay brings along, has those up to
    its bar and, as some of a bar execute after its open, as many more as give its quantity.
    """
    fills: dict[tuple[str, str], list[tuple[int, Fill]]] = {}
    for booking, fill in new:
        fills.setdefault((fill.account, fill.execution.symbol), []).append((booking, fill))
    by_symbol: dict[tuple[str, str], list[PositionSnapshot]] = {}
    for snapshot in snapshots:
        by_symbol.setdefault((snapshot.account, snapshot.symbol), []).append(snapshot)
    unmoved = [key for key, its in by_symbol.items() if key not in fills or len(its) > 1]
    before = _newest_bookings(connection, unmoved)
    placed: dict[int, int] = {}
    for key, its in by_symbol.items():
        for snapshot, booking in zip(its, _included(its, fills.get(key, []), before.get(key, 0)), strict=True):
            placed[id(snapshot)] = booking
    # Of two that include the same fills the one that was told last stands.
    rows = {(it.account, it.symbol, placed[id(it)]): (placed[id(it)], it) for it in snapshots}
    return list(rows.values())


def _included(snapshots: Sequence[PositionSnapshot], fills: Sequence[tuple[int, Fill]], before: int) -> list[int]:
    """For each snapshot of one symbol the newest booking in it."""
    held = snapshots[-1].quantity - sum(fill.execution.side.sign * fill.execution.quantity for _, fill in fills)
    bookings, place = [], 0
    for snapshot in snapshots[:-1]:
        while place < len(fills) and (
            fills[place][1].execution.executed_at <= snapshot.bar_time or held != snapshot.quantity
        ):
            execution = fills[place][1].execution
            held += execution.side.sign * execution.quantity
            place += 1
        bookings.append(fills[place - 1][0] if place else before)
    bookings.append(fills[-1][0] if fills else before)
    return bookings


def _write(
    connection: Connection,
    session_id: str,
    known: dict[str, Fill],
    book: FillBook,
    bookings: dict[str, int],
    changes: Sequence[FillChange],
) -> None:
    counting = {fill.execution.exec_id: fill for fill in book.fills}
    superseded = [change for change in changes if change.before is not None and not change.is_commission]
    if superseded:
        now = datetime.now(UTC)
        SUPERSEDED_FILLS.write(
            connection,
            session_id,
            [
                (bookings[change.before.execution.lineage], change.before, change.cause, now)
                for change in superseded
                if change.before is not None
            ],
        )
        connection.execute_planned(
            "DELETE FROM fills WHERE exec_id IN (SELECT unnest(?))", [[name for name in known if name not in counting]]
        )
    for exec_id, fill in counting.items():
        if exec_id in known and fill != known[exec_id]:  # its commission became known
            paid = fill.execution.commission
            connection.execute_planned(
                "UPDATE fills SET commission = ? WHERE exec_id = ?", [None if paid is None else exact(paid), exec_id]
            )
    arrived = [(bookings[fill.execution.lineage], fill) for name, fill in counting.items() if name not in known]
    FILLS.write(connection, session_id, sorted(arrived, key=lambda it: it[0]))


def _by_exec_id(known: Iterable[tuple[int, Fill]]) -> Iterable[tuple[str, Fill]]:
    return ((fill.execution.exec_id, fill) for _, fill in known)


def _known(connection: Connection, fills: Sequence[Fill]) -> tuple[int, list[tuple[int, Fill]]]:
    """The newest booking, and the fills that the arriving ones may repeat, correct or replace, in booking order."""
    lineages = list({fill.execution.lineage for fill in fills})
    exec_ids = list({fill.execution.exec_id for fill in fills})
    orders = list({fill.execution.client_order_id for fill in fills if not fill.is_inferred})
    groups = (lineages, exec_ids, [INFERRED], orders)
    few = len(fills) <= FEW  # a list of constants is looked up quicker than a join is made
    holes = [f"IN ({', '.join('?' * len(names)) or 'NULL'})" if few else "IN (SELECT unnest(?))" for names in groups]
    found = connection.rows(
        f"""
        SELECT booking, {FILL_COLUMNS} FROM fills
        WHERE lineage {holes[0]} OR exec_id {holes[1]} OR (source {holes[2]} AND client_order_id {holes[3]})
        ORDER BY booking
        """,
        [name for names in groups for name in names] if few else groups,
    )
    return _newest_booking(connection), [(booking, fill_of(row)) for booking, *row in found]


def _gone(connection: Connection, fills: Sequence[Fill]) -> set[str]:
    """Lineages of the arriving fills that counted once."""
    found = connection.rows(
        "SELECT DISTINCT lineage FROM superseded_fills WHERE lineage IN (SELECT unnest(?))",
        [[fill.execution.lineage for fill in fills]],
    )
    return {lineage for (lineage,) in found}


def _newest_booking(connection: Connection) -> int:
    [(newest,)] = connection.rows("SELECT coalesce(max(booking), 0) FROM fills")
    return int(newest)


def _newest_bookings(connection: Connection, of: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The newest booking that each account and symbol ever had, also where its fill gave way since."""
    if not of:
        return {}
    found = connection.rows(
        """
        SELECT account, symbol, max(booking)
        FROM (SELECT account, symbol, booking FROM fills UNION ALL SELECT account, symbol, booking FROM superseded_fills)
        WHERE account IN (SELECT unnest(?)) AND symbol IN (SELECT unnest(?))
        GROUP BY account, symbol
        """,
        [[account for account, _ in of], [symbol for _, symbol in of]],
    )
    return {(account, symbol): booking for account, symbol, booking in found}
