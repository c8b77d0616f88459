"""The whole book in the worst case: what every symbol would be worth if the open orders that make it larger filled."""

from collections.abc import Iterable
from decimal import Decimal

from trading.money import ZERO
from trading.orders import OpenOrder, OrderIntent, Side
from trading.pnl_tracker import PnLTracker
from trading.risk_rules import OtherPositions


class Exposures:
    """Built once where orders are about to be decided; each order that is approved is added to it.

    Orders that protect a position close what their parent opens, and are left out.
    """

    __slots__ = ("_count", "_gross", "_net_down", "_net_up", "_of", "_shares", "_tracker")

    def __init__(self, tracker: PnLTracker, open_orders: Iterable[OpenOrder]) -> None:
        self._tracker = tracker
        self._gross = self._net_up = self._net_down = ZERO
        self._count = 0
        self._shares: dict[str, tuple[int, int, int, Decimal]] = {}
        self._of: dict[str, tuple[Decimal, Decimal, Decimal]] = {}
        for symbol in tracker.held_symbols:
            self._shares[symbol] = (tracker.quantity(symbol), 0, 0, tracker.price(symbol) or ZERO)
        for order in open_orders:
            if order.intent.parent_id is None:
                self._take(order.intent, order.remaining)
        for symbol in self._shares:
            self._count_in(symbol)

    def add(self, intent: OrderIntent) -> None:
        """An order that was approved counts from now on."""
        symbol = intent.symbol
        if symbol in self._of:
            gross, up, down = self._of.pop(symbol)
            self._gross, self._net_up, self._net_down = self._gross - gross, self._net_up - up, self._net_down - down
            self._count -= 1
        self._take(intent, intent.quantity)
        self._count_in(symbol)

    def opposing(self, symbol: str, side: Side) -> int:
        """Shares of open orders of the symbol on the other side than ``side``."""
        _, bought, sold, _ = self._shares.get(symbol, (0, 0, 0, ZERO))
        return sold if side is Side.BUY else bought

    def besides(self, symbol: str) -> OtherPositions:
        """The book without ``symbol``."""
        own = self._of.get(symbol)
        if own is None:
            return OtherPositions(self._gross, self._net_up, self._net_down, self._count, held=False)
        gross, up, down = own
        return OtherPositions(self._gross - gross, self._net_up - up, self._net_down - down, self._count - 1, held=True)

    def _take(self, intent: OrderIntent, shares: int) -> None:
        held, bought, sold, price = self._shares.get(intent.symbol, (0, 0, 0, ZERO))
        price = max(price, self._tracker.price(intent.symbol) or ZERO, _worst_price(intent))
        if intent.side is Side.BUY:
            bought += shares
        else:
            sold += shares
        self._shares[intent.symbol] = (held, bought, sold, price)

    def _count_in(self, symbol: str) -> None:
        held, bought, sold, price = self._shares[symbol]
        up, down = (held + bought) * price, (held - sold) * price
        gross = max(abs(up), abs(down))
        self._of[symbol] = (gross, up, down)
        self._gross, self._net_up, self._net_down = self._gross + gross, self._net_up + up, self._net_down + down
        self._count += 1


def _worst_price(intent: OrderIntent) -> Decimal:
    return max(intent.reference_price, intent.limit_price or ZERO, intent.stop_price or ZERO)
