"""A reconciliation of 10,000 orders with a fill each: asking, comparing, and repairing a hundred that were lost."""

import contextlib
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from storage.store import open_store
from tasks.rest_composition import assemble_reconciliation
from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.orders import Execution, Fill, OrderEvent, OrderIntent, Side
from trading.ports import LedgerEntries, OrderReport
from trading.sessions import Mode, SessionRecord, SessionState
from trading.settings import Settings, parse_settings

ORDERS = 10_000
LOST = 100
SECONDS_ALLOWED = 2.0
"""The issue's target: all of it."""
START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
PRICE = Decimal(100)
PER_BAR = 100


def _trade(settings: Settings, folder: Path) -> None:
    """A ledger and an account of 10,000 orders, each filled, made through their own doors."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(open_store(settings.store.path))
        file = PaperFile(folder / "ledger.paper.sqlite", "paper")
        stack.callback(file.close)
        broker = PaperBroker("paper", settings.broker.paper, START, file)
        record = SessionRecord(
            "s",
            "sma",
            "paper",
            START.date(),
            Mode.RECORDED,
            SessionState.RUNNING,
            START,
            "{}",
            "f",
            Decimal(100_000),
            Decimal(0),
        )
        store.ledger.open_session(record)
        for batch in range(ORDERS // PER_BAR):
            at = START + timedelta(minutes=batch)
            side = Side.BUY if batch % 2 == 0 else Side.SELL
            intents = [
                OrderIntent(f"{batch:04}-{place:03}", "s", "paper", at, "SPY", side, 1, PRICE, at)
                for place in range(PER_BAR)
            ]
            for intent in intents:
                broker.submit(intent)
            after = at + timedelta(minutes=1)
            broker.see(BarSlice(after, {"SPY": Bar("SPY", after, PRICE, PRICE, PRICE, PRICE, 1_000_000)}))
            news = broker.poll()
            events = [
                OrderEvent(report.client_order_id, report.event_time, report.status, "", report.broker_order_id)
                for report in news
                if isinstance(report, OrderReport)
            ]
            fills = [Fill(report, "s", "paper", "paper") for report in news if isinstance(report, Execution)]
            store.ledger.commit("s", LedgerEntries(intents=intents, order_events=events, fills=fills))


def test_ten_thousand_orders_and_fills(tmp_path: Path, figures: Any) -> None:
    settings = parse_settings(
        {"store": {"path": str(tmp_path / "ledger.duckdb")}, "orders": {"settle_seconds": 0}}, "the benchmark"
    )
    _trade(settings, tmp_path)
    with duckdb.connect(str(settings.store.path)) as connection:
        connection.execute(f"DELETE FROM fills WHERE booking % {ORDERS // LOST} = 0")
        connection.execute(
            "UPDATE orders SET status = 'ACCEPTED', filled_quantity = 0"
            " WHERE client_order_id NOT IN (SELECT client_order_id FROM fills)"
        )
    began = time.perf_counter()
    with assemble_reconciliation(settings, "paper", True) as desk:
        opened = time.perf_counter()
        found = desk.reconciler.compare("manual", datetime.now(UTC))
        compared = time.perf_counter()
        done = desk.reconciler.reconcile("manual", datetime.now(UTC))
        repaired = time.perf_counter()
    what = f"{ORDERS:,} orders and fills"
    figures.add(f"reconciliation: {what} compared", compared - opened, "s", note="as between two bars of a session")
    figures.add(
        f"reconciliation: {what}, {LOST} lost ones repaired, with opening ledger and account",
        opened - began + repaired - compared,
        "s",
        at_most=SECONDS_ALLOWED,
        note=f"opening {opened - began:.2f} s",
    )
    assert len(found.discrepancies) == len(done.repairs) == LOST
    assert done.remaining == ()
