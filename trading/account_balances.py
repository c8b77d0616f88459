"""What a broker says of an account's money besides its cash: figures by tag and currency, recorded and never compared."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class BalanceTag(StrEnum):
    """The figures that are kept, in openbell's words. Brokers count each by their own rules."""

    CASH = "cash"
    """Settled and unsettled cash in one currency."""
    NET_LIQUIDATION = "net_liquidation"
    """Cash and positions at the broker's prices."""
    BUYING_POWER = "buying_power"
    """What could be bought now without bringing money."""
    AVAILABLE_FUNDS = "available_funds"
    """What is free for the margin of new positions."""
    EXCESS_LIQUIDITY = "excess_liquidity"
    """What is left before the broker closes positions by itself."""
    MAINTENANCE_MARGIN = "maintenance_margin"
    """What has to stay in the account for the positions that are held."""


@dataclass(frozen=True, slots=True)
class Balance:
    """One figure of one currency, as the broker told it; raises ``ValueError`` for an amount that is none."""

    tag: BalanceTag
    currency: str
    amount: Decimal

    def __post_init__(self) -> None:
        if not self.amount.is_finite():
            raise ValueError(f"balance {self.tag} in {self.currency}: {self.amount} is not an amount")


@dataclass(frozen=True, slots=True)
class BalanceReading:
    """A balance with the account and the comparison that it was read in; ``session_id`` is empty outside of any."""

    account: str
    session_id: str
    read_at: datetime
    balance: Balance
