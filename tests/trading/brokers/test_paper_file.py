import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.brokers.paper_order import ClosingBar, OrderPrices, OrderTerms, PaperOrder
from trading.errors import BrokerUnavailable
from trading.orders import Execution, OrderAmendment, OrderIntent, OrderStatus, OrderType, Side, TimeInForce
from trading.settings import PaperSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
CASH = Decimal("100000")


def an_order(name: str, filled: int = 0) -> PaperOrder:
    terms = OrderTerms(name, "P1", "SPY", Side.BUY, OrderType.MARKET, TimeInForce.DAY, OPEN)
    return PaperOrder(terms, 10, OrderStatus.ACCEPTED, OPEN, OPEN, filled=filled, value=Decimal("0.1"))


def an_execution(name: str) -> Execution:
    return Execution(name, "a", "SPY", Side.BUY, 10, Decimal("100.123456"), Decimal("1.00"), OPEN)


def a_bar(moment: datetime) -> BarSlice:
    return BarSlice(moment, {"SPY": Bar("SPY", moment, *[Decimal(100)] * 4, 1_000)})


def test_an_account_survives_being_closed_and_opened(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    file = PaperFile(path, "paper")
    file.load(CASH)
    file.save([an_order("a"), an_order("b")], [an_execution("x")], OPEN)
    file.save([an_order("a", filled=10)], [an_order("a").report("as it was told")])
    file.close()

    # The cash an account began with is kept, whatever is asked for today.
    stored = PaperFile(path, "paper").load(Decimal("5"))
    assert stored.initial_cash == CASH
    assert stored.last_bar_time == OPEN
    assert stored.orders == [an_order("a", filled=10), an_order("b")]
    assert stored.executions == [an_execution("x")]
    assert stored.news == [an_execution("x"), an_order("a").report("as it was told")]


def test_everything_about_an_order_is_kept(tmp_path: Path) -> None:
    terms = OrderTerms(
        "child", "P7", "SPY", Side.SELL, OrderType.TRAILING_STOP, TimeInForce.GTC, OPEN, parent_id="p", oca_group="g"
    )
    order = PaperOrder(
        terms,
        10,
        OrderStatus.PARTIALLY_FILLED,
        OPEN,
        OPEN + timedelta(minutes=3),
        OrderPrices(Decimal("1.5"), Decimal("2.5"), Decimal("3.5"), Decimal("0.25")),
        4,
        Decimal("400.04"),
        Decimal("1"),
        True,
        Decimal("101.25"),
        ClosingBar(Decimal("99.75"), 17),
        3,
    )
    path = tmp_path / "paper.sqlite"
    file = PaperFile(path, "paper")
    file.load(CASH)
    file.save([order])
    file.close()
    assert PaperFile(path, "paper").load(CASH).orders == [order]


def test_a_save_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    file = PaperFile(tmp_path / "paper.sqlite", "paper")
    file.load(CASH)
    file.save((), [an_execution("x")])
    with pytest.raises(BrokerUnavailable, match=r"paper\.sqlite cannot be written"):
        file.save([an_order("a")], [an_execution("x")], OPEN)
    stored = file.load(CASH)
    assert (stored.orders, stored.last_bar_time) == ([], None)


def test_the_file_of_another_account_is_refused_and_stays_that_accounts(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    PaperFile(path, "mine").load(CASH)
    with pytest.raises(BrokerUnavailable, match="belongs to account mine, not yours"):
        PaperFile(path, "yours").load(CASH)
    assert PaperFile(path, "mine").load(Decimal("5")).initial_cash == CASH


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    PaperFile(path, "paper").load(CASH)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(BrokerUnavailable, match="newer version of openbell \\(format 99"):
        PaperFile(path, "paper")


@pytest.mark.parametrize("version", [0, 1])
def test_an_sqlite_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "photos.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(BrokerUnavailable, match="something else: it has the tables photos"):
        PaperFile(path, "paper")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_sqlite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    with pytest.raises(BrokerUnavailable, match="cannot be opened"):
        PaperFile(path, "paper")
    assert path.read_text().startswith("not a database")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="folder exists"):
        PaperFile(tmp_path / "nowhere" / "paper.sqlite", "paper")


_CHILD = """
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.brokers.paper_order import ClosingBar, OrderPrices, OrderTerms, PaperOrder
from trading.orders import OrderIntent, Side
from trading.settings import PaperSettings

start = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
broker = PaperBroker("paper", PaperSettings(), start, PaperFile(Path(sys.argv[1]), "paper"))
print("ready", flush=True)
for second in range(10**6):
    moment = start + timedelta(seconds=second)
    broker.see(BarSlice(moment, {"SPY": Bar("SPY", moment, *[Decimal(100)] * 4, 1000)}))
    broker.submit(OrderIntent(str(second), "s", "paper", moment, "SPY", Side.BUY, 1, Decimal(100), moment))
"""


def test_a_process_that_is_killed_while_saving_leaves_a_whole_account(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(0.5)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)

    stored = PaperFile(path, "paper").load(CASH)
    # Each order fills whole with the bar after it, in one transaction with its execution and the bar's time.
    filled = [order.client_order_id for order in stored.orders if order.status is OrderStatus.FILLED]
    assert len(filled) > 10
    assert filled == [execution.client_order_id for execution in stored.executions]
    assert len(stored.orders) - len(filled) in (0, 1)
    assert stored.last_bar_time is not None
    seen = (stored.last_bar_time - OPEN) // timedelta(seconds=1)
    assert filled == [str(second) for second in range(seen)]

    again = PaperBroker("paper", PaperSettings(), OPEN, PaperFile(path, "paper"))
    [held] = again.account().positions
    assert held.quantity == len(filled)


@contextlib.contextmanager
def unwritable(path: Path, table: str = "orders") -> Iterator[None]:
    """Nothing can be written meanwhile: a table has another name."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
        other.commit()
        yield
        other.execute(f"ALTER TABLE elsewhere RENAME TO {table}")
        other.commit()


def test_what_could_not_be_saved_has_not_happened(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    broker = PaperBroker("paper", PaperSettings(), OPEN, PaperFile(path, "paper"))
    intent = OrderIntent("a", "s", "paper", OPEN, "SPY", Side.BUY, 10, Decimal(100), OPEN)
    with unwritable(path), pytest.raises(BrokerUnavailable, match="cannot be written"):
        broker.submit(intent)
    assert broker.find_order("a") is None
    assert broker.account().open_orders == ()

    broker.submit(intent)
    broker.poll()
    before = broker.account()
    next_bar = a_bar(OPEN + timedelta(minutes=1))
    for asked in (
        lambda: broker.cancel("a"),
        lambda: broker.replace(OrderAmendment("a", 1, OPEN, OrderStatus.SUBMITTED, quantity=5)),
        lambda: broker.see(next_bar),
        lambda: broker.end_of_session(OPEN + timedelta(hours=6)),
    ):
        with unwritable(path), pytest.raises(BrokerUnavailable):
            asked()
        assert (broker.account(), broker.poll()) == (before, ())

    # An execution that cannot be kept takes its order with it.
    with unwritable(path, "executions"), pytest.raises(BrokerUnavailable):
        broker.see(next_bar)
    assert (broker.account(), broker.poll()) == (before, ())
    broker.see(next_bar)
    assert [news.exec_id for news in broker.poll() if isinstance(news, Execution)] == ["a:0"]
