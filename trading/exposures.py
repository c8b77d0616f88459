"""The whole book in the worst case: what every symbol would be worth if the open orders that make it larger filled."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from trading.money import ZERO
from trading.orders import OpenOrder, OrderIntent, Side, highest_price
from trading.pnl_tracker import PnLTracker
from trading.risk_callbacks import ApprovedOrder
from trading.risk_rules import OtherPositions


class Exposures:
    """Built once where orders are about to be decided; orders that are approved are added to it.

    Orders that protect a position close what their parent opens, and are left out.
    """

    __slots__ = ("_added", "_count", "_gross", "_net_down", "_net_up", "_of", "_shares", "_tracker")

    def __init__(self, tracker: PnLTracker, open_orders: Iterable[OpenOrder]) -> None:
        self._tracker = tracker
        self._gross = self._net_up = self._net_down = ZERO
        self._count = self._added = 0
        self._shares: dict[str, tuple[int, int, int, Decimal]] = {}
        self._of: dict[str, tuple[Decimal, Decimal, Decimal]] = {}
        for symbol, shares, price in tracker.holdings:
            self._shares[symbol] = (shares, 0, 0, price)
        for order in open_orders:
            if order.intent.parent_id is None:
                self._take(order.intent, order.remaining)
        for symbol in self._shares:
            self._count_in(symbol)

    def add_new(self, approved: Sequence[ApprovedOrder]) -> None:
        """Count those of a bar's approved orders that have come since the last time."""
        for order in approved[self._added :]:
            self._add(order.intent)
        self._added = len(approved)

    def _add(self, intent: OrderIntent) -> None:
        symbol = intent.symbol
        if symbol in self._of:
            gross, up, down = self._of.pop(symbol)
            self._gross, self._net_up, self._net_down = self._gross - gross, self._net_up - up, self._net_down - down
            self._count -= 1
        self._take(intent, intent.quantity)
        self._count_in(symbol)

    def ordered(self, symbol: str, side: Side) -> tuple[int, int]:
        """Shares of the symbol that are ordered on ``side``, and on the other one."""
        shares = self._shares.get(symbol)
        if shares is None:
            return 0, 0
        return (shares[1], shares[2]) if side is Side.BUY else (shares[2], shares[1])

    def besides(self, symbol: str) -> OtherPositions:
        """The book without ``symbol``."""
        own = self._of.get(symbol)
        if own is None:
            return OtherPositions(self._gross, self._net_up, self._net_down, self._count, held=False)
        gross, up, down = own
        return OtherPositions(self._gross - gross, self._net_up - up, self._net_down - down, self._count - 1, held=True)

    def _take(self, intent: OrderIntent, shares: int) -> None:
        symbol = intent.symbol
        held, bought, sold, price = self._shares.get(symbol) or (0, 0, 0, self._tracker.price(symbol) or ZERO)
        price = max(price, highest_price(intent))
        if intent.side is Side.BUY:
            bought += shares
        else:
            sold += shares
        self._shares[symbol] = (held, bought, sold, price)

    def _count_in(self, symbol: str) -> None:
        held, bought, sold, price = self._shares[symbol]
        up, down = (held + bought) * price, (held - sold) * price
        gross = max(abs(up), abs(down))
        self._of[symbol] = (gross, up, down)
        self._gross, self._net_up, self._net_down = self._gross + gross, self._net_up + up, self._net_down + down
        self._count += 1
