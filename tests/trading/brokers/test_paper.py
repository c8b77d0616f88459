from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.orders import Execution, OrderIntent, OrderStatus, Side
from trading.ports import OrderReport
from trading.settings import PaperSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
NEXT_OPEN = OPEN + timedelta(days=1)


def at(minute: int) -> datetime:
    return OPEN + timedelta(minutes=minute)


def broker(path: Path | None = None, opened: datetime = OPEN, **settings: object) -> PaperBroker:
    """A broker in memory, or one on a file that whoever had it before has left."""
    if path is None:
        return PaperBroker("paper", PaperSettings.model_validate(settings), opened)
    if path in _CONNECTED:
        _CONNECTED.pop(path).close()
    _CONNECTED[path] = PaperFile(path, "paper")
    return PaperBroker("paper", PaperSettings.model_validate(settings), opened, _CONNECTED[path])


_CONNECTED: dict[Path, PaperFile] = {}


@pytest.fixture(autouse=True)
def _everyone_leaves() -> Iterator[None]:
    yield
    while _CONNECTED:
        _CONNECTED.popitem()[1].close()


def intent(name: str, minute: int = 0, side: Side = Side.BUY, quantity: int = 10) -> OrderIntent:
    return OrderIntent(name, "s", "paper", at(minute), "SPY", side, quantity, Decimal("100"), at(minute + 1))


def bar(minute: int, volume: int = 1_000) -> BarSlice:
    return BarSlice(at(minute), {"SPY": Bar("SPY", at(minute), *[Decimal(100)] * 4, volume)})


def executions(news: Sequence[OrderReport | Execution]) -> list[str]:
    return [one.exec_id for one in news if isinstance(one, Execution)]


def statuses(news: Sequence[OrderReport | Execution]) -> list[tuple[str, OrderStatus]]:
    return [(one.client_order_id, one.status) for one in news if isinstance(one, OrderReport)]


def test_an_order_is_accepted_at_once_and_filled_with_the_next_bar() -> None:
    paper = broker()
    assert paper.submit(intent("a")).status is OrderStatus.ACCEPTED
    assert statuses(paper.poll()) == [("a", OrderStatus.ACCEPTED)]
    paper.see(bar(1))
    news = paper.poll()
    assert (executions(news), statuses(news)) == (["a:0"], [("a", OrderStatus.FILLED)])
    assert paper.poll() == ()


def test_the_same_id_again_is_the_same_order() -> None:
    paper = broker()
    first = paper.submit(intent("a"))
    assert paper.submit(intent("a", quantity=99)) == first
    paper.see(bar(1))
    assert paper.submit(intent("a")).status is OrderStatus.FILLED
    paper.see(bar(2))
    [held] = paper.account().positions
    assert held.quantity == 10


def test_a_bar_that_was_seen_does_nothing_again() -> None:
    paper = broker(max_volume_fraction="0.005")
    paper.submit(intent("a"))
    for _ in range(3):
        paper.see(bar(1))
    found = paper.find_order("a")
    assert found is not None
    assert (found.filled, found.status) == (5, OrderStatus.PARTIALLY_FILLED)


def test_an_order_that_never_came_is_not_found() -> None:
    assert broker().find_order("a") is None


def test_an_order_that_is_over_is_still_found_and_cannot_be_cancelled() -> None:
    paper = broker()
    paper.submit(intent("a"))
    paper.see(bar(1))
    paper.poll()
    paper.cancel("a")
    paper.cancel("never came")
    found = paper.find_order("a")
    assert found is not None
    assert found.status is OrderStatus.FILLED
    assert paper.poll() == ()


def test_a_cancel_comes_as_news() -> None:
    paper = broker()
    paper.submit(intent("a"))
    paper.cancel("a")
    assert statuses(paper.poll()) == [("a", OrderStatus.ACCEPTED), ("a", OrderStatus.CANCELLED)]
    paper.see(bar(1))
    assert paper.account().positions == ()


def test_the_close_ends_day_orders_and_says_so() -> None:
    paper = broker()
    paper.submit(intent("a", minute=389))
    paper.end_of_session(at(390))
    assert statuses(paper.poll())[1:] == [("a", OrderStatus.EXPIRED)]
    assert paper.account().open_orders == ()


def test_the_account_shows_cash_positions_and_working_orders() -> None:
    paper = broker(slippage_bps=0)
    paper.submit(intent("a"))
    paper.see(bar(1))
    paper.submit(intent("b", minute=1, side=Side.SELL, quantity=4))
    account = paper.account()
    assert account.cash == Decimal("98999")
    assert [(held.symbol, held.quantity) for held in account.positions] == [("SPY", 10)]
    assert [(order.client_order_id, order.quantity, order.filled) for order in account.open_orders] == [("b", 4, 0)]


def test_whoever_connects_again_hears_the_whole_day_once_more(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    paper = broker(path)
    for minute, name in enumerate(["a", "b", "c"]):
        paper.see(bar(minute))
        paper.submit(intent(name, minute))
    heard = paper.poll()
    account = paper.account()
    again = broker(path)
    assert again.poll() == heard
    assert executions(heard) == ["a:0", "b:0"]
    assert statuses(heard) == [
        ("a", OrderStatus.ACCEPTED),
        ("a", OrderStatus.FILLED),
        ("b", OrderStatus.ACCEPTED),
        ("b", OrderStatus.FILLED),
        ("c", OrderStatus.ACCEPTED),
    ]
    assert again.account() == account
    again.see(bar(3))
    assert executions(again.poll()) == ["c:0"]


def test_news_of_earlier_days_are_over(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    paper = broker(path)
    paper.submit(intent("monday"))
    paper.see(bar(1))
    paper.submit(intent("tuesday", minute=24 * 60))
    assert {one.client_order_id for one in broker(path, NEXT_OPEN).poll()} == {"tuesday"}


def test_a_session_that_lies_on_two_dates_of_utc_is_one_day(tmp_path: Path) -> None:
    # Sydney trades from 23:00 to 05:00 UTC.
    path = tmp_path / "paper.sqlite"
    paper = broker(path)
    paper.submit(intent("before midnight", minute=9 * 60 + 29))
    paper.see(bar(9 * 60 + 30))
    paper.submit(intent("after midnight", minute=9 * 60 + 31))
    assert executions(broker(path).poll()) == ["before midnight:0"]


def test_day_orders_of_an_earlier_session_expire_when_the_next_one_begins(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    broker(path).submit(intent("a"))
    next_day = broker(path, NEXT_OPEN)
    assert len(next_day.account().open_orders) == 1, "connecting alone changes nothing"
    next_day.begin_session(resumed=False)
    assert statuses(next_day.poll())[-1] == ("a", OrderStatus.EXPIRED)
    assert next_day.account().open_orders == ()
    assert broker(path, NEXT_OPEN).account().open_orders == ()


def test_a_bar_in_which_nothing_was_traded_fills_nothing() -> None:
    paper = broker()
    paper.submit(intent("a"))
    paper.see(bar(1, volume=0))
    assert executions(paper.poll()) == []
    paper.see(bar(2))
    assert executions(paper.poll()) == ["a:0"]


def test_the_same_orders_and_bars_give_the_same_executions() -> None:
    def traded() -> tuple[OrderReport | Execution, ...]:
        paper = broker(max_volume_fraction="0.004")
        for minute in range(20):
            paper.see(bar(minute))
            paper.submit(intent(f"o{minute}", minute, Side.BUY if minute % 3 else Side.SELL, 1 + minute % 7))
        return paper.poll()

    assert traded() == traded()
