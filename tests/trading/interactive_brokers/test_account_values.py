"""The broker's lines of an account's balances: base currency, other currencies, and what is no amount."""

from decimal import Decimal

import pytest

from trading.account_balances import Balance, BalanceTag
from trading.interactive_brokers.account_values import amount_of, balances_of, base_currency, cash_of
from trading.interactive_brokers.messages import AccountValueTold


def lines(*told: tuple[str, str, str]) -> list[AccountValueTold]:
    return [AccountValueTold("DU1234567", tag, value, currency) for tag, value, currency in told]


IN_EUROS = lines(
    ("AccountType", "INDIVIDUAL", ""),
    ("Currency", "BASE", "BASE"),
    ("NetLiquidation", "150000.00", "EUR"),
    ("TotalCashValue", "40000.00", "EUR"),
    ("TotalCashBalance", "40000.00", "BASE"),
    ("TotalCashBalance", "10000.00", "EUR"),
    ("TotalCashBalance", "33000.50", "USD"),
    ("BuyingPower", "80000.00", "EUR"),
    ("Cushion", "0.9", ""),
)


def test_the_cash_is_that_of_the_base_currency_with_everything_in_it() -> None:
    assert base_currency({(one.tag, one.currency): one.value for one in IN_EUROS}) == "EUR"
    assert cash_of(IN_EUROS) == Decimal(40000)


def test_cash_in_other_currencies_is_recorded_and_not_added() -> None:
    base, balances = balances_of(IN_EUROS)
    assert base == "EUR"
    assert set(balances) == {
        Balance(BalanceTag.CASH, "EUR", Decimal(40000)),
        Balance(BalanceTag.CASH, "USD", Decimal("33000.50")),
        Balance(BalanceTag.NET_LIQUIDATION, "EUR", Decimal(150000)),
        Balance(BalanceTag.BUYING_POWER, "EUR", Decimal(80000)),
    }


@pytest.mark.parametrize(
    "told",
    [
        [("TotalCashValue", "5", "USD")],
        [("TotalCashBalance", "5", "BASE")],
        [("NetLiquidation", "9", "EUR"), ("TotalCashBalance", "5", "EUR"), ("TotalCashBalance", "7", "USD")],
        [("CashBalance", "5", "BASE")],
        [("CashBalance", "5", "USD")],
    ],
)
def test_cash_is_found_under_each_of_its_names(told: list[tuple[str, str, str]]) -> None:
    assert cash_of(lines(*told)) == Decimal(5)


def test_cash_that_was_not_told_is_not_zero() -> None:
    assert cash_of(lines(("NetLiquidation", "100", "USD"))) is None
    assert cash_of([]) is None


@pytest.mark.parametrize(
    "text", ["", "1.7976931348623157E308", "nan", "Infinity", "-1.797e308", "n/a", None, "2147483647e9"]
)
def test_what_the_broker_writes_for_not_set_is_no_amount(text: str | None) -> None:
    assert amount_of(text) is None


def test_an_amount_is_money_to_the_micro() -> None:
    assert amount_of("-1234.5678901") == Decimal("-1234.567890")
