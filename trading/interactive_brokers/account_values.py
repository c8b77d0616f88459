"""The broker's lines of an account's balances, read as money.

The base currency's cash is the account's cash; what is held in other currencies is recorded and never added to it here.
"""

from collections.abc import Collection
from decimal import Decimal, InvalidOperation

from trading.account_balances import Balance, BalanceTag
from trading.interactive_brokers.messages import AccountValueTold
from trading.money import round_money

_BASE = "BASE"
_CASH = "TotalCashBalance"
_TAGS = {
    "NetLiquidation": BalanceTag.NET_LIQUIDATION,
    "BuyingPower": BalanceTag.BUYING_POWER,
    "AvailableFunds": BalanceTag.AVAILABLE_FUNDS,
    "ExcessLiquidity": BalanceTag.EXCESS_LIQUIDITY,
    "MaintMarginReq": BalanceTag.MAINTENANCE_MARGIN,
}
_CASH_IN_CURRENCIES = ("CashBalance", _CASH)


def cash_of(values: Collection[AccountValueTold]) -> Decimal | None:
    """Cash in the account's base currency, trades that are not settled yet included; None where it was not told."""
    told = {(value.tag, value.currency): value.value for value in values}
    base = base_currency(told)
    for key in (("TotalCashValue", base), (_CASH, _BASE), (_CASH, base), ("CashBalance", _BASE), ("CashBalance", base)):
        amount = amount_of(told.get(key))
        if amount is not None:
            return amount
    return None


def balances_of(values: Collection[AccountValueTold]) -> tuple[str, tuple[Balance, ...]]:
    """The base currency, and every figure that is kept: cash in each currency, the rest as the broker counts it."""
    told = {(value.tag, value.currency): value.value for value in values}
    base = base_currency(told)
    found: dict[tuple[BalanceTag, str], Balance] = {}
    for (tag, currency), text in told.items():
        kind = BalanceTag.CASH if tag in _CASH_IN_CURRENCIES else _TAGS.get(tag)
        amount = amount_of(text)
        if kind is not None and amount is not None and currency not in ("", _BASE):
            found[kind, currency] = Balance(kind, currency, amount)
    cash = cash_of(values)
    if cash is not None:
        found[BalanceTag.CASH, base] = Balance(BalanceTag.CASH, base, cash)
    return base, tuple(found[key] for key in sorted(found))


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
