"""The end of a session, settled: what it booked after its last bar, which no row of ``equity`` has."""

from decimal import Decimal

from storage.connection import Connection
from storage.folded_fills import cost_basis_of, fills_by_symbol, fold
from storage.reading import utc_or_none
from storage.restatements import Figures, Restatement, Worth, write_restatements
from trading.money import ZERO

AFTER_THE_LAST_BAR = "after the last bar"


def settle(connection: Connection, session_id: str, opening_cash: Decimal | None) -> None:
    """Write what a session booked after its last bar, when it ends: the closing auction fills after it."""
    found = connection.rows(
        """
        SELECT account, session_date, bar_time, cash, marks
        FROM equity JOIN sessions USING (session_id) WHERE session_id = ? ORDER BY bar_time DESC LIMIT 1
        """,
        [session_id],
    )
    if not found or opening_cash is None:
        return
    [(account, session_date, bar_time, cash, marks)] = found
    [(moved,)] = connection.rows(
        """
        SELECT coalesce(sum(if(side = 'BUY', -1, 1) * quantity * price - coalesce(commission, 0)), 0)
        FROM fills WHERE account = ?
        """,
        [account],
    )
    if opening_cash + moved == cash:
        return  # its last bar has it all
    basis = cost_basis_of(connection, session_id)
    equity, realized = opening_cash, ZERO
    for symbol, fills in fills_by_symbol(connection, account).items():
        position, made, flow = fold(fills.values(), basis)
        price = (marks or {}).get(symbol, list(fills.values())[-1].execution.price)
        equity, realized = equity + flow + position.quantity * price, realized + made
    [(told_equity, told_realized, day_realized, commissions)] = connection.rows(
        """
        SELECT
            ending_equity, daily_pnl.realized_pnl + sessions.starting_realized_pnl
            + (SELECT coalesce(sum(starting_realized_change), 0) FROM restatements WHERE session_id = $1),
            daily_pnl.realized_pnl, commissions
        FROM daily_pnl JOIN sessions USING (session_id) WHERE session_id = $1
        """,
        [session_id],
    )
    change = Worth(equity - told_equity, realized - told_realized)
    if change == Worth():
        return
    row = Restatement(
        account,
        session_id,
        session_date,
        AFTER_THE_LAST_BAR,
        "",
        session_id,
        None,
        None,
        Figures(day_realized, commissions),
        Figures(day_realized + change.realized, commissions),
        utc_or_none(bar_time),
        Worth(),
        change,
    )
    write_restatements(connection, [row])
