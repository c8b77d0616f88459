"""The broker's lines of an account's balances, read as money.

The base currency's cash is the account's cash; what is held in other currencies is recorded and never added to it here.
"""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from trading.interactive_brokers.messages import AccountValueTold
from trading.money import round_money

_BASE = "BASE"
_CASH = "TotalCashBalance"


def cash_of(values: Iterable[AccountValueTold]) -> Decimal | None:
    """Cash in the account's base currency, trades that are not settled yet included; None where it was not told."""
    told = {(value.tag, value.currency): value.value for value in values}
    base = base_currency(told)
    for key in (("TotalCashValue", base), (_CASH, _BASE), (_CASH, base), ("CashBalance", _BASE), ("CashBalance", base)):
        amount = amount_of(told.get(key))
        if amount is not None:
            return amount
    return None


def base_currency(told: dict[tuple[str, str], str]) -> str:
    """The currency that the account is kept in."""
    named = next((value for (tag, _), value in told.items() if tag == "Currency" and value not in ("", _BASE)), None)
    of_net = next((currency for tag, currency in told if tag == "NetLiquidation" and currency not in ("", _BASE)), None)
    of_cash = next(
        (currency for tag, currency in told if tag == "TotalCashValue" and currency not in ("", _BASE)), None
    )
    return of_net or of_cash or named or "USD"


def amount_of(text: str | None) -> Decimal | None:
    """A number of the broker's as money; None for what is none, or stands for "not set"."""
    try:
        amount = Decimal(text or "")
    except InvalidOperation:
        return None
    return round_money(amount) if amount.is_finite() and abs(amount) < Decimal("1e15") else None
