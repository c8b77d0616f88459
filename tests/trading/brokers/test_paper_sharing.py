"""One process has an account; others look at it; a process that is killed has it no more."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.errors import BrokerUnavailable
from trading.orders import OrderAmendment, OrderIntent, OrderStatus, Side
from trading.settings import PaperSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)

_HOLDER = """
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.orders import OrderIntent, Side
from trading.settings import PaperSettings

start = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
paper = PaperBroker("paper", PaperSettings(), start, PaperFile(Path(sys.argv[1]), "paper"))
for minute in range(3):
    moment = start + timedelta(minutes=minute)
    paper.see(BarSlice(moment, {"SPY": Bar("SPY", moment, *[Decimal(100)] * 4, 1000)}))
    paper.submit(OrderIntent(str(minute), "s", "paper", moment, "SPY", Side.BUY, 1, Decimal(100), moment))
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process trades the account: three orders, two of them filled."""
    child = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        yield child
    finally:
        child.kill()
        child.communicate(timeout=30)


def connected(path: Path, read_only: bool = False) -> PaperBroker:
    return PaperBroker("paper", PaperSettings(), OPEN, PaperFile(path, "paper", read_only=read_only))


def an_order(name: str) -> OrderIntent:
    return OrderIntent(name, "s", "paper", OPEN, "SPY", Side.BUY, 1, Decimal(100), OPEN)


def test_an_account_that_another_process_has_is_refused_and_can_be_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    with held_by_another_process(path):
        with pytest.raises(BrokerUnavailable, match=r"paper\.sqlite is in use by another process"):
            PaperFile(path, "paper")
        seen = connected(path, read_only=True)
        [held] = seen.account().positions
        assert held.quantity == 2
        assert [order.client_order_id for order in seen.account().open_orders] == ["2"]
        assert len(seen.executions(None)) == 2
        assert len(seen.poll()) == 7, "three accepted, two executed, two filled"


def test_a_killed_process_has_its_account_no_more(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    with held_by_another_process(path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=30)
        # Its write-ahead log is still there, and is read by both.
        assert connected(path, read_only=True).account().positions[0].quantity == 2
        assert connected(path).account().positions[0].quantity == 2


def test_an_account_that_was_closed_is_free_and_its_folder_clean(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    for _ in range(2):
        file = PaperFile(path, "paper")
        with pytest.raises(BrokerUnavailable, match="or by another part of this one"):
            PaperFile(path, "paper")
        file.close()
        file.close()
    assert list(tmp_path.iterdir()) == [path]


_RACER = """
import os
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.errors import BrokerUnavailable
from trading.orders import OrderIntent, Side
from trading.settings import PaperSettings

moment = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
print("ready", flush=True)
sys.stdin.readline()
won = 0
for turn in range(200):
    try:
        file = PaperFile(Path(sys.argv[1]), "paper")
    except BrokerUnavailable as error:
        assert "in use by another process" in str(error), error
        continue
    broker = PaperBroker("paper", PaperSettings(), moment, file)
    name = f"{os.getpid()}-{turn}"
    broker.submit(OrderIntent(name, "s", "paper", moment, "SPY", Side.BUY, 1, Decimal(100), moment))
    won += 1
    file.close()
print(won)
"""


def test_processes_that_race_for_an_account_have_it_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    racers = [
        subprocess.Popen([sys.executable, "-c", _RACER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    wins = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    orders = connected(path).account().open_orders
    # Every accepted order is there once and has a number of its own.
    assert len({order.broker_order_id for order in orders}) == len(orders) == sum(wins) > 0


def test_a_look_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    paper = connected(path)
    paper.submit(an_order("a"))
    seen = connected(path, read_only=True)
    moment = OPEN + timedelta(minutes=1)
    for asked in (
        lambda: seen.submit(an_order("b")),
        lambda: seen.submit(an_order("a")),
        lambda: seen.cancel("a"),
        lambda: seen.cancel("never came"),
        lambda: seen.replace(OrderAmendment("a", 1, moment, OrderStatus.SUBMITTED, quantity=1)),
        lambda: seen.see(BarSlice(moment, {"SPY": Bar("SPY", moment, *[Decimal(100)] * 4, 1_000)})),
        lambda: seen.end_of_session(moment),
    ):
        with pytest.raises(BrokerUnavailable, match="opened to be looked at"):
            asked()
    assert seen.account() == paper.account()
    assert seen.find_order("a") == paper.find_order("a")


def test_there_is_nothing_to_look_at_where_no_account_is(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    with pytest.raises(BrokerUnavailable, match="There is no paper account"):
        PaperFile(path, "paper", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_look_at_something_else_is_refused(tmp_path: Path) -> None:
    PaperFile(tmp_path / "mine.sqlite", "mine").load(Decimal(1))
    with pytest.raises(BrokerUnavailable, match="belongs to account mine, not yours"):
        PaperFile(tmp_path / "mine.sqlite", "yours", read_only=True).load(Decimal(1))
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    with pytest.raises(BrokerUnavailable, match="cannot be opened"):
        PaperFile(tmp_path / "notes.txt", "paper", read_only=True)
