"""Money as exact decimals with six places, and its integer twin for columns.

One rule: amounts are ``Decimal`` built from strings or integers, never from a float that was computed with.
Six places hold every price that US exchanges quote and every commission that brokers bill, so that
``price x whole quantity`` needs no rounding at all. Columns of a million bars hold the same amounts as int64
*micros* (1 unit of currency = 1,000,000 micros), which numpy adds and multiplies exactly.
"""

from decimal import ROUND_HALF_EVEN, Decimal

MICROS_PER_UNIT = 1_000_000
_QUANTUM = Decimal("0.000001")
_CENT = Decimal("0.01")

ZERO = Decimal(0)


def round_money(amount: Decimal) -> Decimal:
    """The amount at six places, half to even: the one rounding of openbell's books."""
    return amount.quantize(_QUANTUM, rounding=ROUND_HALF_EVEN)


def to_cents(amount: Decimal) -> Decimal:
    """The amount at two places, for people to read; never booked."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_EVEN)


def plainly(amount: Decimal) -> str:
    """The amount with no more digits than it needs, for messages: 10.500000 is 10.5."""
    return f"{amount.normalize():f}"


def from_micros(micros: int) -> Decimal:
    """Micros -> Decimal with six places, exact."""
    return Decimal(micros).scaleb(-6)


def to_micros(amount: Decimal) -> int:
    """Decimal -> micros; an amount finer than a micro is rounded by ``round_money``."""
    return int(round_money(amount).scaleb(6))
