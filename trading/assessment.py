"""What one bar's decisions have come to so far, from risk's first question to the router."""

from dataclasses import dataclass, field
from decimal import Decimal

from trading.decisions import RiskCheck
from trading.exposures import Exposures
from trading.money import ZERO
from trading.risk_callbacks import ApprovedOrder


@dataclass(slots=True)
class Assessment:
    """Approved orders, cancels, reasons, and cash that the orders will take.

    ``ordered`` is the money that they trade; ``exposures`` is the book with them, once somebody asked.
    """

    approved: list[ApprovedOrder] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    checks: list[RiskCheck] = field(default_factory=list)
    reserved_cash: Decimal = ZERO
    ordered: Decimal = ZERO
    exposures: Exposures | None = None

    def accept(self, order: ApprovedOrder) -> None:
        """One more order that goes with this bar."""
        self.approved.append(order)
        self.ordered += order.intent.quantity * order.intent.reference_price
