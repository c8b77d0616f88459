"""One account of the gateway: the simulated account that matches its orders, and what TWS tells of such an account."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from trading.brokers.paper_account import PaperAccount
from trading.brokers.paper_change import PaperChange
from trading.brokers.paper_order import PaperOrder
from trading.lots import Position
from trading.money import ZERO, round_money
from trading.orders import OrderStatus
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.margins import Margins, Worth, gross_with, margin_of
from trading.settings import CostBasis, PaperSettings

PriceOf = Callable[[str], Decimal | None]


class AccountBook:
    """Orders trade in ``paper``, whose names for them are permIds. Executions are counted here as they stand corrected."""

    def __init__(self, name: str, cash: Decimal, settings: PaperSettings, session_start: datetime) -> None:
        self.name = name
        self._settings = settings.model_copy(update={"initial_cash": cash})
        self.paper = PaperAccount(self._settings, session_start)
        self.executions: dict[str, GatewayExecution] = {}
        """By stem: the newest revision of each."""
        self.replaced: list[GatewayExecution] = []
        """What was corrected since."""
        self._positions: dict[str, Position] = {}
        self.realized = ZERO

    @property
    def initial_cash(self) -> Decimal:
        """The cash the account began with."""
        return self._settings.initial_cash

    def booked(self, order_id: str) -> PaperOrder | None:
        """The order under its name in the book."""
        return self.paper.orders.every.get(order_id)

    def quantities(self) -> dict[str, int]:
        """Signed shares of what is held."""
        return {held.symbol: held.quantity for held in self.paper.positions()}

    def apply(self, change: PaperChange) -> None:
        """Make a change of the simulated account count; its executions are counted by ``count``."""
        self.paper.apply(change)

    def count(self, execution: GatewayExecution) -> GatewayExecution:
        """Count an execution that the simulated account has booked; it comes back with the P&L it realized."""
        position = self._positions.setdefault(execution.symbol, Position(CostBasis.AVERAGE))
        realized = position.apply(execution.booked())
        self.realized += realized or ZERO
        counted = replace(execution, realized=realized)
        self.executions[execution.stem] = counted
        return counted

    def correct(self, execution: GatewayExecution) -> GatewayExecution:
        """Put a corrected execution in the place of what it corrects: cash, positions and its order follow."""
        before = self.executions[execution.stem]
        self.replaced.append(before)
        ordered = self.booked(str(execution.identity.perm_id))
        orders = dict(self.paper.orders.every)
        if ordered is not None:
            value = ordered.value - before.quantity * before.price + execution.quantity * execution.price
            filled = ordered.filled - before.quantity + execution.quantity
            quantity = filled if ordered.status is OrderStatus.FILLED else max(ordered.quantity, filled)
            orders[ordered.client_order_id] = replace(ordered, filled=filled, value=value, quantity=quantity)
        now_stand = [execution if one.stem == execution.stem else one for one in self.executions.values()]
        self.restore(orders.values(), now_stand, self.replaced, self.paper.last_bar_time)
        return self.executions[execution.stem]

    def restore(
        self,
        orders: Iterable[PaperOrder],
        executions: Iterable[GatewayExecution],
        replaced: Iterable[GatewayExecution],
        last_bar_time: datetime | None,
    ) -> None:
        """Be the account of these orders and executions, each as it stands now."""
        stand = list(executions)
        self.replaced = list(replaced)
        session_start = self.paper.session_start
        self.paper = PaperAccount(self._settings, session_start)
        self.paper.restore(orders, [one.booked() for one in stand], last_bar_time)
        self.executions, self._positions, self.realized = {}, {}, ZERO
        for execution in stand:
            self.count(execution)

    def worth(self, price_of: PriceOf) -> Worth:
        """What the account is worth at these prices; what has no price counts at its cost."""
        market_value = gross = unrealized = ZERO
        for held in self.paper.positions():
            price = price_of(held.symbol) or held.average_cost
            value = held.quantity * price
            market_value += value
            gross += abs(value)
            unrealized += value - held.quantity * held.average_cost
        return Worth(self.paper.cash, market_value, gross, self.realized, round_money(unrealized))

    def realized_of(self, symbol: str) -> Decimal:
        """The P&L that this symbol has realized."""
        return sum(
            (one.realized for one in self.executions.values() if one.symbol == symbol and one.realized is not None),
            ZERO,
        )

    def margins_with(self, symbol: str, change: int, commission: Decimal, price_of: PriceOf) -> Margins:
        """What a trade of ``change`` shares would make of the account's margin."""
        worth = self.worth(price_of)
        after = margin_of(gross_with(self.quantities(), symbol, change, price_of))
        return Margins(worth.margin, after, worth.equity, commission)
