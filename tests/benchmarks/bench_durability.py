"""What it costs to be sure: an intent on disk before it is sent, under a lease, and everything of a bar on disk after it.

The ledger has a history already, because a lookup that slows down with it would be found out only after months.
"""

import io
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.runners import this_runner
from storage.store import Store, open_store
from trading.bars import Bar
from trading.decisions import Action, Decision, EquityPoint, PositionSnapshot
from trading.orders import Execution, Fill, OrderEvent, OrderIntent, OrderStatus, Side
from trading.ports import LedgerEntries
from trading.sessions import Mode, SessionRecord, SessionState

BARS = 1_500
ORDERS_BEFORE = 20_000
SYMBOLS = ("SPY", "QQQ", "IWM", "DIA")
SESSION, ACCOUNT = "2026-01-05.bench.sma", "bench"
OPENED = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
ZERO, PRICE = Decimal(0), Decimal("100.25")
MILLISECONDS = 1_000.0


@dataclass
class Trading:
    """Bars with one order each that was filled on the bar before: the facts, and how long the store took to keep them."""

    store: Store
    waits: dict[str, list[float]] = field(default_factory=dict)

    def trade(self, bar: int) -> None:
        at = OPENED + timedelta(minutes=bar)
        intent = self._intent(f"bench-{bar}", at)
        self._timed("intent", LedgerEntries(intents=[intent]))
        self._timed("step", LedgerEntries(order_events=[OrderEvent(intent.client_order_id, at, OrderStatus.SUBMITTED)]))
        self._timed("bar", self._whole_bar(intent, at), at)

    def history(self, orders: int) -> LedgerEntries:
        """Orders and fills of long ago."""
        at = OPENED - timedelta(days=30)
        intents = [self._intent(f"old-{number}", at) for number in range(orders)]
        return LedgerEntries(intents=intents, fills=[self._fill(intent, at) for intent in intents])

    def _whole_bar(self, intent: OrderIntent, at: datetime) -> LedgerEntries:
        return LedgerEntries(
            bars=[Bar(symbol, at, PRICE, PRICE, PRICE, PRICE, 1_000) for symbol in SYMBOLS],
            decisions=[Decision(SESSION, at, symbol, Action.BUY, 10, 0.5, 0.1, None) for symbol in SYMBOLS],
            order_events=[OrderEvent(intent.client_order_id, at, OrderStatus.ACCEPTED, "", "b")],
            fills=[self._fill(intent, at)],
            positions=[PositionSnapshot(SESSION, ACCOUNT, at, "SPY", 10, PRICE, ZERO)],
            equity=[EquityPoint(SESSION, at, PRICE, ZERO, PRICE, ZERO, ZERO, ZERO)],
            marks={"SPY": PRICE},
        )

    def _timed(self, what: str, entries: LedgerEntries, last_bar_time: datetime | None = None) -> None:
        started = time.perf_counter()
        self.store.ledger.commit(SESSION, entries, last_bar_time)
        self.waits.setdefault(what, []).append((time.perf_counter() - started) * MILLISECONDS)

    @staticmethod
    def _intent(name: str, at: datetime) -> OrderIntent:
        return OrderIntent(name, SESSION, ACCOUNT, at, "SPY", Side.BUY, 10, PRICE, at)

    @staticmethod
    def _fill(intent: OrderIntent, at: datetime) -> Fill:
        name = intent.client_order_id
        return Fill(Execution(f"{name}:0", name, "SPY", Side.BUY, 10, PRICE, Decimal(1), at), SESSION, ACCOUNT, "bench")


@pytest.fixture
def trading(tmp_path: Path) -> Iterator[Callable[[bool], Trading]]:
    """A session that is about to trade, with or without a lease, on a ledger with a history."""
    with open_store(tmp_path / "ledger.duckdb") as store:
        ledger = store.ledger
        record = SessionRecord(
            SESSION,
            "sma",
            ACCOUNT,
            date(2026, 1, 5),
            Mode.RECORDED,
            SessionState.RUNNING,
            OPENED,
            "{}",
            "f",
            PRICE,
            ZERO,
        )
        ledger.open_session(record)

        def begin(leased: bool) -> Trading:
            it = Trading(store)
            ledger.commit_replay([record], it.history(ORDERS_BEFORE))
            if leased:
                ledger.take_lease(SESSION, this_runner("bench"), OPENED)
            return it

        yield begin


@pytest.mark.parametrize("leased", [False, True], ids=["without a lease", "under a lease"])
def test_what_a_session_waits_for_the_disk(
    figures: Any, trading: Callable[[bool], Trading], tmp_path: Path, leased: bool
) -> None:
    session = trading(leased)
    disk: list[float] = []
    with (tmp_path / "beside").open("wb", buffering=0) as beside:
        for bar in range(BARS):
            session.trade(bar)
            disk.append(_write_through(beside))
    assert session.store.connection.rows("SELECT count(*) FROM fills") == [(ORDERS_BEFORE + BARS,)]
    how = ", under a lease" if leased else ""
    _keep(figures, f"intent on disk{how}", session.waits["intent"], at_most=10.0)
    _keep(figures, f"step of an order on disk{how}", session.waits["step"], at_most=10.0)
    _keep(figures, f"a bar with its fill on disk{how}", session.waits["bar"])
    _keep(figures, "for scale: the disk keeps 4 KB", disk)


def _write_through(file: io.FileIO) -> float:
    started = time.perf_counter()
    file.write(bytes(4096))
    os.fsync(file.fileno())
    return (time.perf_counter() - started) * MILLISECONDS


def _keep(figures: Any, name: str, waits: Sequence[float], at_most: float | None = None) -> None:
    percentiles = statistics.quantiles(waits, n=100)
    figures.add(f"{name}: p50", percentiles[49], "ms", note=f"{len(waits):,} commits")
    figures.add(f"{name}: p99", percentiles[98], "ms", at_most=at_most, note=f"longest {max(waits):.1f} ms")
