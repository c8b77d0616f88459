"""What an account's fills come to, symbol by symbol: the book's own fold, without its prices and measures."""

from collections.abc import Iterable
from decimal import Decimal

from storage.connection import Connection
from storage.reading import FILL_COLUMNS, fill_of
from trading.lots import Position
from trading.money import ZERO
from trading.orders import Fill
from trading.settings import CostBasis


def fold(fills: Iterable[Fill], basis: CostBasis) -> tuple[Position, Decimal, Decimal]:
    """One symbol's position, realized P&L and cash, of fills in booking order."""
    position, realized, cash = Position(basis), ZERO, ZERO
    for fill in fills:
        it = fill.execution
        realized += position.apply(it) or ZERO
        cash -= it.side.sign * it.quantity * it.price + (it.commission or ZERO)
    return position, realized, cash


def cost_basis_of(connection: Connection, session_id: str) -> CostBasis:
    """How the session's book counted."""
    [(said,)] = connection.rows(
        "SELECT settings->>'$.book.cost_basis' FROM sessions WHERE session_id = ?", [session_id]
    )
    return CostBasis(said or CostBasis.FIFO)


def fills_by_symbol(
    connection: Connection, account: str, symbols: Iterable[str] | None = None
) -> dict[str, dict[int, Fill]]:
    """The account's fills (of ``symbols``) by symbol and booking, in booking order."""
    wanted = "" if symbols is None else " AND symbol IN (SELECT unnest(?))"
    named: list[object] = [account] if symbols is None else [account, list(symbols)]
    found = connection.rows(
        f"SELECT booking, {FILL_COLUMNS} FROM fills WHERE account = ?{wanted} ORDER BY booking", named
    )
    fills: dict[str, dict[int, Fill]] = {}
    for booking, *row in found:
        fill = fill_of(row)
        fills.setdefault(fill.execution.symbol, {})[booking] = fill
    return fills
