"""Days that are restated: what a fill that is found, corrected or learns its commission after its session was closed does to
the figures of that day, and of those after it.

The rule: ``daily_pnl`` says after each commit what the fills come to, and a row of ``restatements`` says what made it say
something else than before. ``equity`` stays as it was at each bar.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from storage.connection import Connection
from storage.fill_booking import Booked
from storage.folded_fills import cost_basis_of, fills_by_symbol, fold
from storage.reading import utc_or_none
from storage.restatements import Figures, Restatement, Worth, write_restatements
from trading.fill_book import FillChange
from trading.lots import Position
from trading.money import ZERO
from trading.orders import Fill
from trading.sessions import SessionState


@dataclass(frozen=True, slots=True)
class Day:
    """A session as its figures stand: its first and last bar (None without one) and the prices at the last."""

    session_id: str
    session_date: date
    state: SessionState
    first_bar: datetime | None
    last_bar: datetime | None
    marks: Mapping[str, Decimal]


class RestatedDays:
    """The sessions of one account from the first that can change, as they are before fills of some symbols are booked."""

    def __init__(self, connection: Connection, account: str, sessions: Iterable[str], symbols: Iterable[str]) -> None:
        self._connection = connection
        self._account = account
        self._days = _days(connection, account, sessions)
        self._place = {day.session_id: place for place, day in enumerate(self._days)}
        self._basis = cost_basis_of(connection, self._days[0].session_id)
        self._figures = _figures(connection, self._place)
        self._fills = fills_by_symbol(connection, account, symbols)

    def write(self, booked: Booked) -> None:
        """Write what the changes did, inside the transaction that booked them."""
        rows = [row for change in booked.changes for row in self._restated(change, booked.bookings)]
        if rows:
            write_restatements(self._connection, rows)

    def _restated(self, change: FillChange, bookings: Mapping[str, int]) -> list[Restatement]:
        fill = change.after or change.before
        if fill is None or fill.account != self._account:
            return []
        own, home = self._place.get(fill.session_id), self._home(fill)
        symbol, booking = fill.execution.symbol, bookings[fill.execution.lineage]
        fills = self._fills.setdefault(symbol, {})
        if own is None or self._goes_on(home):
            _take_in(fills, booking, change)
            return []
        before = dict(fills)
        _take_in(fills, booking, change)
        ends = self._changes_at_the_end(home, symbol, before, fills, fill.execution.price)
        paid = _commission(change.after) - _commission(change.before)
        rows = []
        for place in range(min(own, home), len(self._days)):
            start = ends.get(place - 1, Worth()) if place > home else Worth()
            end = ends.get(place, Worth())
            if start == end == Worth() and place not in (own, home):
                continue
            rows.append(self._row(self._days[place], change, fill, start, end, paid if place == own else ZERO))
        return rows

    def _row(
        self, day: Day, change: FillChange, fill: Fill, start: Worth, end: Worth, commissions: Decimal
    ) -> Restatement:
        before = self._figures[day.session_id]
        # A session that goes on has it in its next bar.
        counted = Worth() if self._goes_on(self._place[day.session_id]) or day.last_bar is None else end
        realized = ZERO if day.last_bar is None else counted.realized - start.realized
        after = Figures(before.realized + realized, before.commissions + commissions)
        self._figures[day.session_id] = after
        return Restatement(
            self._account,
            day.session_id,
            day.session_date,
            _what(change),
            change.cause,
            fill.session_id,
            change.before,
            change.after,
            before,
            after,
            day.last_bar,
            start,
            counted,
        )

    def _goes_on(self, place: int) -> bool:
        """Whether the session trades now: one that was killed and never taken up says so too, and others came after it."""
        return place == len(self._days) - 1 and self._days[place].state is SessionState.RUNNING

    def _home(self, fill: Fill) -> int:
        """The session in whose time the fill was executed: an order can fill days after its own."""
        own = self._place.get(fill.session_id, -1)
        at = fill.execution.executed_at
        for place in range(len(self._days) - 1, own, -1):
            day = self._days[place]
            begun = at >= day.first_bar if day.first_bar is not None else at.date() >= day.session_date
            if begun and (own < 0 or day.session_date > self._days[own].session_date):
                return place
        return own

    def _changes_at_the_end(
        self, home: int, symbol: str, before: Mapping[int, Fill], after: Mapping[int, Fill], price: Decimal
    ) -> dict[int, Worth]:
        """What the account was worth more at the end of each session from ``home`` on."""
        changes: dict[int, Worth] = {}
        mark = price
        for place in range(home, len(self._days)):
            was, becomes = self._folded(before, place), self._folded(after, place)
            quantity = becomes[0].quantity - was[0].quantity
            mark = self._days[place].marks.get(symbol, mark)
            worth = Worth(becomes[2] - was[2] + quantity * mark, becomes[1] - was[1])
            changes[place] = worth
            if not quantity and worth.equity == worth.realized:
                # All of it is realized by now, so that it stays what it is.
                return changes | dict.fromkeys(range(place + 1, len(self._days)), worth)
        return changes

    def _folded(self, fills: Mapping[int, Fill], place: int) -> tuple[Position, Decimal, Decimal]:
        """The symbol's position, realized P&L and cash of the fills up to the end of a session."""
        return fold((fill for fill in fills.values() if self._home(fill) <= place), self._basis)


def days_to_restate(connection: Connection, fills: Sequence[Fill]) -> list[RestatedDays]:
    """The days that booking ``fills`` can restate, by account; to be asked before they are booked. Mostly none."""
    if not fills:
        return []
    found = connection.rows(
        """
        SELECT account, session_id FROM sessions
        WHERE session_id IN (SELECT unnest(?)) AND (
            state <> 'RUNNING'
            OR EXISTS (FROM sessions AS later WHERE later.account = sessions.account AND later.started_at > sessions.started_at)
        )
        """,
        [list({fill.session_id for fill in fills})],
    )
    closed: dict[str, set[str]] = {}
    for account, session_id in found:
        closed.setdefault(account, set()).add(session_id)
    return [
        RestatedDays(
            connection, account, sessions, {fill.execution.symbol for fill in fills if fill.account == account}
        )
        for account, sessions in closed.items()
    ]


def _what(change: FillChange) -> str:
    before, after = change.before, change.after
    if before is None:
        return "late fill"
    if after is None:
        return "correction"
    was, is_ = before.execution, after.execution
    same = (was.side, was.quantity, was.price) == (is_.side, is_.quantity, is_.price)
    return "commission" if same else "correction"


def _commission(fill: Fill | None) -> Decimal:
    return ZERO if fill is None else fill.execution.commission or ZERO


def _take_in(fills: dict[int, Fill], booking: int, change: FillChange) -> None:
    if change.after is None:
        fills.pop(booking, None)
    else:
        fills[booking] = change.after


def _days(connection: Connection, account: str, sessions: Iterable[str]) -> list[Day]:
    """The account's sessions from the first of ``sessions`` on, in the order in which they were begun."""
    found = connection.rows(
        """
        WITH begun AS (
            SELECT * FROM sessions WHERE account = $1 AND started_at >= (
                SELECT min(started_at) FROM sessions WHERE session_id IN (SELECT unnest($2))
            )
        ),
        priced AS (
            SELECT session_id, min(bar_time) AS first_bar, max(bar_time) AS last_bar, arg_max(marks, bar_time) AS marks
            FROM equity SEMI JOIN begun USING (session_id) GROUP BY session_id
        )
        SELECT session_id, session_date, state, first_bar, last_bar, marks
        FROM begun LEFT JOIN priced USING (session_id) ORDER BY started_at, session_date, session_id
        """,
        [account, list(sessions)],
    )
    return [
        Day(session_id, day, SessionState(state), utc_or_none(first), utc_or_none(last), marks or {})
        for session_id, day, state, first, last, marks in found
    ]


def _figures(connection: Connection, sessions: Iterable[str]) -> dict[str, Figures]:
    found = connection.rows(
        "SELECT session_id, realized_pnl, commissions FROM daily_pnl WHERE session_id IN (SELECT unnest(?))",
        [list(sessions)],
    )
    return {session_id: Figures(realized, commissions) for session_id, realized, commissions in found}
