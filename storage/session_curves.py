"""A session as curves, for those who draw it: what the account was worth, prices, and where it was filled."""

from dataclasses import dataclass
from datetime import datetime

from storage.questions import equity_of
from storage.reading import utc
from storage.store import Store
from trading.decisions import EquityPoint
from trading.orders import Side


@dataclass(frozen=True, slots=True)
class FillPoint:
    """One execution of the session: when, which way, how many shares, at what price."""

    filled_at: datetime
    side: Side
    quantity: int
    price: float


@dataclass(frozen=True, slots=True)
class PriceCurve:
    """One symbol's closes by the open of their bar, and the session's executions in it."""

    symbol: str
    bar_times: tuple[datetime, ...]
    closes: tuple[float, ...]
    fills: tuple[FillPoint, ...]


@dataclass(frozen=True, slots=True)
class SessionCurves:
    """``equity`` bar by bar; ``prices`` of the symbols with the most executions first. ``left_out`` symbols were traded as well."""

    equity: tuple[EquityPoint, ...]
    prices: tuple[PriceCurve, ...]
    left_out: int


def session_curves(store: Store, session_id: str, symbols: int = 5) -> SessionCurves:
    """The session's curves, with prices of at most ``symbols`` symbols."""
    traded = store.connection.rows(
        "SELECT symbol FROM fills WHERE session_id = ? GROUP BY symbol ORDER BY count(*) DESC, symbol", [session_id]
    )
    shown = [symbol for (symbol,) in traded[:symbols]]
    prices = tuple(_prices(store, session_id, symbol) for symbol in shown)
    return SessionCurves(tuple(equity_of(store, session_id)), prices, len(traded) - len(shown))


def _prices(store: Store, session_id: str, symbol: str) -> PriceCurve:
    bars = store.connection.rows(
        "SELECT bar_time, close FROM session_bars WHERE session_id = ? AND symbol = ? ORDER BY bar_time",
        [session_id, symbol],
    )
    fills = store.connection.rows(
        "SELECT filled_at, side, quantity, price FROM fills WHERE session_id = ? AND symbol = ? ORDER BY booking",
        [session_id, symbol],
    )
    return PriceCurve(
        symbol,
        tuple(utc(bar_time) for bar_time, _ in bars),
        tuple(float(close) for _, close in bars),
        tuple(FillPoint(utc(at), Side(side), int(quantity), float(price)) for at, side, quantity, price in fills),
    )
