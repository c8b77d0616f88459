"""What the simulated broker charges."""

from decimal import Decimal

from trading.money import round_money
from trading.settings import PaperSettings


def commission_of(settings: PaperSettings, shares: int, value: Decimal) -> Decimal:
    """Commission of an order of which ``shares`` have filled for ``value`` of money, all its fills together.

    max(minimum, per share x shares), at most the maximum fraction of the value where that is set.
    """
    commission = max(settings.commission_minimum, settings.commission_per_share * shares)
    if settings.commission_maximum_fraction is not None:
        commission = min(commission, settings.commission_maximum_fraction * value)
    return round_money(commission)
