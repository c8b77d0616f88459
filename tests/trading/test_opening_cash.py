"""With which cash the book of an account begins."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.opening_cash import cash_before_trades
from trading.orders import Execution, OrderIntent, Side
from trading.settings import PaperSettings

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PAPER = PaperSettings(initial_cash=Decimal(100_000), slippage_bps=Decimal(0))


class Corrected(PaperBroker):
    """Corrects its first execution: a dollar more a share. Its cash follows."""

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        [first, *others] = super().executions(since)
        return (first, replace(first, exec_id="corrected", price=first.price + 1, revision=1), *others)


def traded(kind: type[PaperBroker] = PaperBroker) -> PaperBroker:
    """100 SPY bought at 100 and 40 sold again at 102, for a dollar each: 100,000 - 10,000 - 1 + 4,080 - 1 = 94,078."""
    broker = kind("paper", PAPER, OPENS)
    for minute, (side, shares, price) in enumerate(((Side.BUY, 100, "100"), (Side.SELL, 40, "102"))):
        at = OPENS + minute * MINUTE
        broker.submit(OrderIntent(f"o{minute}", "s", "paper", at, "SPY", side, shares, Decimal(price), at + MINUTE))
        bar = Bar("SPY", at + MINUTE, *[Decimal(price)] * 4, 10_000)
        broker.see(BarSlice(bar.bar_time, {"SPY": bar}))
    return broker


def test_an_account_that_has_not_traded_begins_with_its_cash() -> None:
    assert cash_before_trades(PaperBroker("paper", PAPER, OPENS)) == 100_000


def test_trades_that_the_broker_tells_of_are_taken_out_with_what_they_cost() -> None:
    broker = traded()
    assert broker.account().cash == 94_078
    assert cash_before_trades(broker) == 100_000


def test_of_a_corrected_execution_the_correction_counts() -> None:
    # The hundred shares were bought at 101 after all; what was paid for them is put back.
    assert cash_before_trades(traded(Corrected)) == 100_100
