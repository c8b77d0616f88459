"""Executions as the gateway keeps them: identified for ever, and corrected under an id whose last part counts."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from trading.orders import Execution, Side
from trading.rehearsal_gateway.gateway_order import Identity


@dataclass(frozen=True, slots=True)
class GatewayExecution:
    """``stem`` and ``revision`` make the execId. ``realized`` is the P&L of what it closed, None where it closed nothing."""

    stem: str
    identity: Identity
    account: str
    symbol: str
    side: Side
    quantity: int
    price: Decimal
    executed_at: datetime
    cumulative: int
    average_price: Decimal
    commission: Decimal
    order_ref: str = ""
    realized: Decimal | None = None
    revision: int = 1

    @property
    def exec_id(self) -> str:
        """``0000e0d5.63a1b2c3.01.01``: only the last part differs between an execution and its correction."""
        return f"{self.stem}.{self.revision:02d}"

    def corrected(self, price: Decimal, quantity: int) -> "GatewayExecution":
        """The same execution as the exchange says it was after all."""
        cumulative = self.cumulative - self.quantity + quantity
        return replace(
            self, price=price, quantity=quantity, cumulative=cumulative, average_price=price, revision=self.revision + 1
        )

    def booked(self) -> Execution:
        """The execution in the words of the account's book."""
        client_order_id = str(self.identity.perm_id)
        return Execution(
            self.exec_id,
            client_order_id,
            self.symbol,
            self.side,
            self.quantity,
            self.price,
            self.commission,
            self.executed_at,
        )
