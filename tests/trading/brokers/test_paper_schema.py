"""A file of version 1, made by the statements of version 1, is taken up where it stood."""

import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.errors import BrokerUnavailable
from trading.orders import Execution, OrderAmendment, OrderIntent, OrderStatus, OrderType, Side
from trading.settings import PaperSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)

_VERSION_1 = """
BEGIN;
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    initial_cash TEXT NOT NULL,
    last_bar_time TEXT
);
CREATE TABLE orders (
    client_order_id TEXT PRIMARY KEY,
    broker_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    time_in_force TEXT NOT NULL,
    decided_on TEXT NOT NULL,
    status TEXT NOT NULL,
    status_at TEXT NOT NULL,
    filled INTEGER NOT NULL,
    value TEXT NOT NULL,
    commission TEXT NOT NULL
);
CREATE TABLE executions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    exec_id TEXT NOT NULL UNIQUE,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price TEXT NOT NULL,
    commission TEXT NOT NULL,
    executed_at TEXT NOT NULL
);
PRAGMA user_version = 1; COMMIT;
"""

_T = "2026-01-05T14:3{}:00+00:00"

_ORDERS = [
    # As they were written one after the other: accepted, then whole again with each change.
    ("a", "P1", "SPY", "BUY", 10, "DAY", _T.format(0), "ACCEPTED", _T.format(1), 0, "0", "0"),
    ("b", "P2", "SPY", "BUY", 10, "DAY", _T.format(0), "ACCEPTED", _T.format(1), 0, "0", "0"),
    ("c", "P3", "SPY", "BUY", 10, "DAY", _T.format(1), "ACCEPTED", _T.format(2), 0, "0", "0"),
    ("d", "P4", "SPY", "SELL", 5, "DAY", _T.format(1), "ACCEPTED", _T.format(2), 0, "0", "0"),
    ("a", "P1", "SPY", "BUY", 10, "DAY", _T.format(0), "PARTIALLY_FILLED", _T.format(1), 4, "400.04", "1.000000"),
    ("a", "P1", "SPY", "BUY", 10, "DAY", _T.format(0), "FILLED", _T.format(2), 10, "1006.10", "1.000000"),
    ("b", "P2", "SPY", "BUY", 10, "DAY", _T.format(0), "PARTIALLY_FILLED", _T.format(2), 3, "303.03", "1.000000"),
    ("d", "P4", "SPY", "SELL", 5, "DAY", _T.format(1), "CANCELLED", _T.format(2), 0, "0", "0"),
]
_EXECUTIONS = [
    ("a:0", "a", "SPY", "BUY", 4, "100.01", "1.000000", _T.format(1)),
    ("a:4", "a", "SPY", "BUY", 6, "101.01", "0.000000", _T.format(2)),
    ("b:0", "b", "SPY", "BUY", 3, "101.01", "1.000000", _T.format(2)),
]


def version_1(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_VERSION_1)
        connection.execute("INSERT INTO account (name, initial_cash) VALUES ('paper', '50000')")
        connection.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _ORDERS)
        connection.executemany(
            "INSERT INTO executions (exec_id, client_order_id, symbol, side, quantity, price, commission, executed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            _EXECUTIONS,
        )
        connection.execute("UPDATE account SET last_bar_time = ?", (_T.format(2),))


def connected(path: Path, read_only: bool = False) -> tuple[PaperBroker, PaperFile]:
    file = PaperFile(path, "paper", read_only=read_only)
    return PaperBroker("paper", PaperSettings(slippage_bps=Decimal(0)), OPEN, file), file


def bar(minute: int) -> BarSlice:
    moment = OPEN + timedelta(minutes=minute)
    return BarSlice(moment, {"SPY": Bar("SPY", moment, *[Decimal(100)] * 4, 1_000)})


def test_an_account_of_version_1_goes_on_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    version_1(path)
    paper, _ = connected(path)
    # 50,000 - 400.04 - 606.06 - 303.03 - 2
    account = paper.account()
    assert account.cash == Decimal("48688.87")
    assert [(held.symbol, held.quantity) for held in account.positions] == [("SPY", 13)]
    assert [(order.client_order_id, order.filled, order.order_type) for order in account.open_orders] == [
        ("b", 3, OrderType.MARKET),
        ("c", 0, OrderType.MARKET),
    ]
    found = paper.find_order("a")
    assert found is not None
    assert (found.status, found.average_price) == (OrderStatus.FILLED, Decimal("100.61"))

    paper.see(bar(2))
    assert paper.executions(None)[3:] == ()
    paper.see(bar(3))
    assert [one.exec_id for one in paper.executions(None)[3:]] == ["b:3", "c:0"], "the older one first, as it came"


def test_what_version_1_knew_of_its_news_is_told_in_order(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    version_1(path)
    paper, _ = connected(path)
    told = [
        one.exec_id if isinstance(one, Execution) else f"{one.client_order_id} {one.status}" for one in paper.poll()
    ]
    assert told == [
        "a:0",
        "a PARTIALLY_FILLED",
        "a:4",
        "a FILLED",
        "b:0",
        "b PARTIALLY_FILLED",
        "c ACCEPTED",
        "d CANCELLED",
    ]


def test_a_file_that_was_brought_up_is_like_a_new_one_and_takes_every_kind_of_order(tmp_path: Path) -> None:
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    version_1(old)
    for path in (old, new):
        paper, file = connected(path)
        paper.submit(
            OrderIntent(
                "z",
                "s",
                "paper",
                OPEN,
                "SPY",
                Side.BUY,
                9,
                Decimal(100),
                OPEN,
                OrderType.LIMIT,
                limit_price=Decimal(90),
            )
        )
        paper.replace(OrderAmendment("z", 1, OPEN, OrderStatus.SUBMITTED, quantity=8))
        file.close()
    schemas = []
    for path in (old, new):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            schemas.append(
                (
                    connection.execute("PRAGMA user_version").fetchone(),
                    connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall(),
                )
            )
            assert connection.execute(
                "SELECT quantity, limit_price FROM orders WHERE client_order_id = 'z'"
            ).fetchone() == (
                8,
                "90",
            )
    assert schemas[0] == schemas[1]
    assert schemas[0][0] == (2,)


def test_a_look_at_a_file_of_version_1_leaves_it_so(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    version_1(path)
    before = path.read_bytes()
    paper, file = connected(path, read_only=True)
    assert paper.account().cash == Decimal("48688.87")
    file.close()
    assert path.read_bytes() == before


def test_a_step_that_is_interrupted_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    version_1(path)
    # What a step makes is in its way: it fails in the middle and leaves nothing of itself.
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE reports (taken TEXT)")
        connection.commit()
    with pytest.raises(BrokerUnavailable, match="already exists"):
        connected(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert len(connection.execute("SELECT * FROM orders LIMIT 1").description) == 12
        connection.execute("DROP TABLE reports")
        connection.commit()
    paper, _ = connected(path)
    assert paper.account().cash == Decimal("48688.87")
