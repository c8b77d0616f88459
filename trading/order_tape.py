"""What a session has sent and traded so far, as the rules about activity count it; rebuilt from the ledger at a restart.

Everything is counted in session time, so that the same session counts the same whenever and however fast it runs.
"""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from trading.money import ZERO
from trading.orders import Fill, OpenOrder, OrderIntent, Side
from trading.risk_rules import Activity

_SECOND, _MINUTE, _HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class OrderTape:
    """The tape of one session. ``duplicate_window`` is how far back equal orders are looked for."""

    def __init__(self, duplicate_window: timedelta = _MINUTE) -> None:
        self.duplicate_window = duplicate_window
        self.orders = 0
        self.day_trades_before = 0
        self.traded_today = ZERO
        self._sent: deque[tuple[datetime, str, Side, int]] = deque()
        self._last_order: dict[str, tuple[datetime, Side, int]] = {}
        self._cancels: deque[datetime] = deque()
        self._fills: list[tuple[datetime, Decimal]] = []
        self._traded_last_hour = ZERO
        self._traded_orders: set[str] = set()
        self._held: dict[str, int] = {}
        self._opened_today: set[str] = set()
        self._day_trades: set[tuple[str, str]] = set()

    def take_up(
        self,
        orders: Iterable[OrderIntent],
        cancels: Iterable[datetime],
        fills: Iterable[Fill],
        held: Mapping[str, int],
        day_trades_before: int = 0,
    ) -> None:
        """Take up what was sent (oldest first), cancelled and filled today.

        ``held`` are the shares the day began with, ``day_trades_before`` round trips within a day in earlier sessions that count.
        """
        self._held = dict(held)
        self.day_trades_before = day_trades_before
        for intent in orders:
            self.note_order(intent)
        self._cancels.extend(cancels)
        self.note_fills(fills)

    def note_order(self, intent: OrderIntent) -> None:
        """An order is about to be sent."""
        self.orders += 1
        self._sent.append((intent.created_at, intent.symbol, intent.side, intent.quantity))
        self._last_order[intent.symbol] = (intent.created_at, intent.side, self._turns(intent.symbol, intent.side))

    def note_cancels(self, count: int, at: datetime) -> None:
        """So many cancels are about to be asked for."""
        self._cancels.extend([at] * count)

    def note_fills(self, fills: Iterable[Fill]) -> None:
        """Executions that were booked, in booking order."""
        for fill in fills:
            execution = fill.execution
            amount = execution.quantity * execution.price
            self.traded_today += amount
            self._traded_last_hour += amount
            insort(self._fills, (execution.executed_at, amount))
            self._traded_orders.add(execution.client_order_id)
            symbol, signed = execution.symbol, execution.side.sign * execution.quantity
            before = self._held.get(symbol, 0)
            self._held[symbol] = after = before + signed
            if before * signed < 0 and symbol in self._opened_today:
                self._day_trades.add((symbol, execution.client_order_id))
            if not after:
                self._opened_today.discard(symbol)
            elif before * after <= 0:
                self._opened_today.add(symbol)

    @property
    def symbols(self) -> Collection[str]:
        """Symbols that were held when the day began, or have traded since."""
        return self._held.keys()

    @property
    def day_trades_today(self) -> int:
        """Round trips within today that are complete."""
        return len(self._day_trades)

    def before(
        self, intent: OrderIntent, open_orders: Mapping[str, OpenOrder], ordered: Decimal = ZERO, approved: int = 0
    ) -> Activity:
        """What counts before an order; ``ordered`` is the money of ``approved`` orders that go with it and are not open yet."""
        at, symbol, side = intent.created_at, intent.symbol, intent.side
        self._forget(at)
        last_second, alike = 0, []
        for sent_at, other, other_side, shares in self._sent:
            if sent_at > at - _SECOND:
                last_second += 1
            if sent_at > at - self.duplicate_window and other == symbol and other_side is side:
                alike.append(shares)
        working, untraded = ordered, approved
        for order_id, order in open_orders.items():
            working += order.remaining * order.intent.reference_price
            untraded += order_id not in self._traded_orders
        return Activity(
            last_second,
            self.orders,
            tuple(alike),
            len(self._cancels),
            self._traded_last_hour + working,
            self.traded_today + working,
            len(self._traded_orders) + untraded,
            self.day_trades_before + len(self._day_trades) + len(self._opened_today),
            symbol in self._opened_today,
            self._turns(symbol, side),
            at - self._last_order[symbol][0] if symbol in self._last_order else None,
        )

    def _turns(self, symbol: str, side: Side) -> int:
        """How often the symbol's orders changed sides, with one more of ``side``."""
        last = self._last_order.get(symbol)
        return 0 if last is None else last[2] + (last[1] is not side)

    def _forget(self, at: datetime) -> None:
        oldest = at - max(self.duplicate_window, _SECOND)
        while self._sent and self._sent[0][0] <= oldest:
            self._sent.popleft()
        while self._cancels and self._cancels[0] <= at - _MINUTE:
            self._cancels.popleft()
        past = bisect_right(self._fills, (at - _HOUR, Decimal("Infinity")))
        if past:
            self._traded_last_hour -= sum((amount for _, amount in self._fills[:past]), ZERO)
            del self._fills[:past]
