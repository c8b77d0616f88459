"""One symbol's position as lots, oldest first: what is held, what it cost, and what closing it realized.

Cost basis carries the opening commissions and realized P&L the closing ones, as broker statements report them.
Signs: a long lot has positive quantity and basis (money paid); a short lot has both negative (money received, less
commission). So for either side ``unrealized = quantity x price - basis`` and
``realized = cash of the closing part - its commission - basis of the shares closed``.

Splitting a lot rounds once and gives the remainder to what stays open, so that no rounding is ever lost: after any
sequence of executions ``realized - basis`` equals the cash they moved, to the last micro.
"""

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from trading.money import ZERO, round_money
from trading.orders import Execution
from trading.settings import CostBasis


@dataclass(frozen=True, slots=True)
class Lot:
    """Shares opened together: signed ``quantity`` and signed ``basis``."""

    quantity: int
    basis: Decimal


class Position:
    """A position in one symbol. ``fifo`` closes the oldest lot first; ``average`` keeps one merged lot."""

    __slots__ = ("_lots", "_merges", "quantity")

    def __init__(self, cost_basis: CostBasis) -> None:
        self._merges = cost_basis is CostBasis.AVERAGE
        self._lots: deque[Lot] = deque()
        self.quantity = 0

    @property
    def lots(self) -> tuple[Lot, ...]:
        """Open lots, oldest first."""
        return tuple(self._lots)

    @property
    def basis(self) -> Decimal:
        """Signed cost of all open shares."""
        return sum((lot.basis for lot in self._lots), ZERO)

    def apply(self, execution: Execution) -> Decimal | None:
        """Book one execution. Returns the P&L it realized, None where it closed nothing.

        An execution that flips the position closes all of it and opens the rest; its commission is split by shares.
        A commission that is not known yet counts as nothing.
        """
        commission = execution.commission or ZERO
        sign = execution.side.sign
        closing = min(execution.quantity, abs(self.quantity)) if self.quantity * sign < 0 else 0
        opening = execution.quantity - closing
        closing_commission = (
            commission if opening == 0 else round_money(commission * closing / execution.quantity) if closing else ZERO
        )
        realized = None
        if closing:
            cash = -sign * closing * execution.price
            realized = cash - closing_commission - self._close(closing)
        if opening:
            self._open(Lot(sign * opening, sign * opening * execution.price + (commission - closing_commission)))
        self.quantity += sign * execution.quantity
        return realized

    def _open(self, lot: Lot) -> None:
        if self._merges and self._lots:
            held = self._lots.pop()
            lot = Lot(held.quantity + lot.quantity, held.basis + lot.basis)
        self._lots.append(lot)

    def _close(self, shares: int) -> Decimal:
        """Take ``shares`` off the oldest lots; returns their signed basis."""
        removed = ZERO
        while shares:
            lot = self._lots.popleft()
            held = abs(lot.quantity)
            if held <= shares:
                removed += lot.basis
                shares -= held
                continue
            part = round_money(lot.basis * shares / held)
            left = held - shares if lot.quantity > 0 else shares - held
            self._lots.appendleft(Lot(left, lot.basis - part))
            removed += part
            shares = 0
        return removed
