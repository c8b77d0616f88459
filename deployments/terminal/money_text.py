"""Money as people read it: cents, thousands apart, gains and losses told apart by sign and colour."""

from decimal import Decimal

from rich.text import Text

from trading.money import ZERO, to_cents


def money(amount: Decimal) -> str:
    """``100,012.34``."""
    return f"{to_cents(amount):,}"


def signed(amount: Decimal) -> str:
    """``+12.34``, ``-5.00`` or ``0.00``; never ``-0.00``."""
    cents = to_cents(amount)
    return f"{cents:+,}" if cents else f"{ZERO:.2f}"


def gain(amount: Decimal) -> Text:
    """``signed``, green or red."""
    cents = to_cents(amount)
    return Text(signed(amount), style="green" if cents > 0 else "red" if cents < 0 else "")


def price(amount: Decimal) -> str:
    """Cents, or four places where the price is finer: ``128.30``, ``129.4229``."""
    return f"{amount:.2f}" if amount == to_cents(amount) else f"{amount:.4f}"
