"""What clients are told of accounts: values by tag, and positions with what they are worth."""

from collections.abc import Iterator
from decimal import Decimal

from trading.money import ZERO, round_money
from trading.rehearsal_gateway.account_book import AccountBook, PriceOf
from trading.rehearsal_gateway.market_port import Instrument
from trading.rehearsal_gateway.order_messages import Fields

SUMMARY_TAGS = [
    "AccountType",
    "NetLiquidation",
    "TotalCashValue",
    "SettledCash",
    "AccruedCash",
    "BuyingPower",
    "EquityWithLoanValue",
    "PreviousDayEquityWithLoanValue",
    "GrossPositionValue",
    "RegTEquity",
    "RegTMargin",
    "SMA",
    "InitMarginReq",
    "MaintMarginReq",
    "AvailableFunds",
    "ExcessLiquidity",
    "Cushion",
    "FullInitMarginReq",
    "FullMaintMarginReq",
    "FullAvailableFunds",
    "FullExcessLiquidity",
    "LookAheadNextChange",
    "LookAheadInitMarginReq",
    "LookAheadMaintMarginReq",
    "LookAheadAvailableFunds",
    "LookAheadExcessLiquidity",
    "HighestSeverity",
    "DayTradesRemaining",
    "Leverage",
]
_LEDGER = [
    "CashBalance",
    "TotalCashBalance",
    "NetLiquidationByCurrency",
    "StockMarketValue",
    "RealizedPnL",
    "UnrealizedPnL",
    "ExchangeRate",
    "Currency",
    "AccruedCash",
]


def values_of(account: AccountBook, currency: str, price_of: PriceOf) -> Iterator[tuple[str, str, str]]:
    """Each value of an account as tag, text and currency; amounts in cents."""
    worth = account.worth(price_of)
    yield "AccountCode", account.name, ""
    yield "AccountReady", "true", ""
    yield "AccountType", "INDIVIDUAL", ""
    yield "Currency", "BASE", "BASE"
    yield "Currency", currency, currency
    for scope in ("BASE", currency):
        for tag, amount in (
            ("CashBalance", worth.cash),
            ("TotalCashBalance", worth.cash),
            ("NetLiquidationByCurrency", worth.equity),
            ("StockMarketValue", worth.market_value),
            ("RealizedPnL", worth.realized),
            ("UnrealizedPnL", worth.unrealized),
            ("AccruedCash", ZERO),
        ):
            yield tag, _cents(amount), scope
        yield "ExchangeRate", "1.00", scope
    for tag, amount in (
        ("NetLiquidation", worth.equity),
        ("EquityWithLoanValue", worth.equity),
        ("PreviousDayEquityWithLoanValue", account.initial_cash),
        ("TotalCashValue", worth.cash),
        ("SettledCash", worth.cash),
        ("AccruedCash", ZERO),
        ("BuyingPower", worth.buying_power),
        ("AvailableFunds", worth.available),
        ("FullAvailableFunds", worth.available),
        ("LookAheadAvailableFunds", worth.available),
        ("ExcessLiquidity", worth.available),
        ("FullExcessLiquidity", worth.available),
        ("LookAheadExcessLiquidity", worth.available),
        ("InitMarginReq", worth.margin),
        ("MaintMarginReq", worth.margin),
        ("FullInitMarginReq", worth.margin),
        ("FullMaintMarginReq", worth.margin),
        ("LookAheadInitMarginReq", worth.margin),
        ("LookAheadMaintMarginReq", worth.margin),
        ("RegTEquity", worth.equity),
        ("RegTMargin", worth.margin),
        ("SMA", worth.equity),
        ("GrossPositionValue", worth.gross),
    ):
        yield tag, _cents(amount), currency
    equity = worth.equity
    yield "Cushion", f"{(worth.available / equity if equity > 0 else ZERO):.6f}", ""
    yield "Leverage", f"{(worth.gross / equity if equity > 0 else ZERO):.2f}", ""
    yield "DayTradesRemaining", "-1", ""
    yield "HighestSeverity", "0", ""
    yield "LookAheadNextChange", "0", ""


def chosen(tags: str, values: Iterator[tuple[str, str, str]], currency: str) -> Iterator[tuple[str, str, str]]:
    """The values that a summary of these tags has: each once, and of a ledger those of one currency or of all."""
    wanted = {tag.strip() for tag in tags.split(",")}
    ledgers = {tag.partition(":")[2] or currency for tag in wanted if tag.startswith("$LEDGER")}
    for tag, text, scope in values:
        is_of_ledger = tag in _LEDGER and bool(scope) and (scope in ledgers or "ALL" in ledgers or "BASE" in ledgers)
        if (tag in wanted and tag in SUMMARY_TAGS and scope != "BASE") or is_of_ledger:
            yield tag, text, scope


def portfolio_item(
    account: AccountBook, instrument: Instrument, quantity: int, average_cost: Decimal, price: Decimal
) -> Fields:
    """``updatePortfolio``."""
    value = quantity * price
    return (
        7,
        8,
        instrument.con_id,
        instrument.symbol,
        instrument.sec_type,
        "",
        0,
        "0",
        "",
        instrument.primary_exchange,
        instrument.currency,
        instrument.symbol,
        instrument.trading_class,
        quantity,
        price,
        round_money(value),
        average_cost,
        round_money(value - quantity * average_cost),
        account.realized_of(instrument.symbol),
        account.name,
    )


def _cents(amount: Decimal) -> str:
    return f"{amount:.2f}"
