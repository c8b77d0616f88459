import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from trading.bars import Bar
from trading.brokers.paper import PaperBroker
from trading.decisions import Action, Signal
from trading.orders import Execution, Side
from trading.ports import LedgerEntries

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SMALL = {"sizing": {"method": "fixed_shares", "shares": 50}}


class Buys:
    """Buys on its first bar, then holds."""

    name = fingerprint = "buys"
    warmup_bars = 1

    def __init__(self) -> None:
        self._bought = False

    def decide(self, window: Any, holdings: object) -> dict[str, Signal]:
        action, self._bought = (Action.HOLD if self._bought else Action.BUY), True
        return dict.fromkeys(window.symbols, Signal(action))

    def decide_history(self, bars: object) -> Any:
        raise NotImplementedError


class Generous:
    """The paper broker; its news can be added to."""

    def __init__(self, paper: PaperBroker) -> None:
        self._paper = paper
        self.adds: list[Execution] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._paper, name)

    def poll(self) -> tuple[Any, ...]:
        added, self.adds = self.adds, []
        return (*self._paper.poll(), *added)


def asked(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path / "ledger.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_more_than_was_ordered_is_kept_and_flagged(at_desk, tape, tmp_path: Path) -> None:
    brokers: list[Generous] = []

    def wrap(paper: PaperBroker) -> Any:
        brokers.append(Generous(paper))
        return brokers[0]

    bars = [Bar("SPY", OPENS + timedelta(minutes=at), *[Decimal(100)] * 4, 10_000) for at in range(-30, 4)]
    with at_desk(source=tape(bars), decider=Buys(), wrap=wrap, **SMALL) as desk:
        agent = desk.agent
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        moments = agent.live_bars()
        agent.process_new_bar(*next(moments))
        [order_id] = agent.get_open_orders()
        agent.process_new_bar(*next(moments))
        assert agent.pnl_tracker.quantity("SPY") == 50
        brokers[0].adds = [
            Execution("more", order_id, "SPY", Side.BUY, 20, Decimal(100), Decimal(0), OPENS + timedelta(minutes=2))
        ]
        agent.process_new_bar(*next(moments))
        assert agent.pnl_tracker.quantity("SPY") == 70
    assert asked(tmp_path, "SELECT status, quantity, filled_quantity FROM orders") == [("FILLED", 50, 70)]
    assert ("overfilled: 70 of 50",) in asked(tmp_path, "SELECT detail FROM order_events")


def test_a_position_is_dated_by_the_bar_of_its_fill_whenever_that_is_learned(at_desk, tape) -> None:

    bars = [Bar("SPY", OPENS + timedelta(minutes=at), *[Decimal(100)] * 4, 10_000) for at in (*range(-30, 1), 7, 8)]
    markets: list[PaperBroker] = []

    def wrap(paper: PaperBroker) -> PaperBroker:
        markets.append(paper)
        return paper

    with at_desk(source=tape(bars), decider=Buys(), wrap=wrap, **SMALL) as desk:
        agent = desk.agent
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        moments = agent.live_bars()
        agent.process_new_bar(*next(moments))
        # The market sees a bar seven minutes on, and the news of it is heard outside of any bar.
        markets[0].see(next(moments)[0])
        entries = LedgerEntries()
        agent.loop.book_reports(entries, OPENS + timedelta(minutes=1))
        assert [snapshot.bar_time for snapshot in entries.positions] == [OPENS + timedelta(minutes=7)]
        assert desk.hours.session_date == date(2026, 1, 5)


@contextlib.contextmanager
def holding_fifty(at_desk: Any, tape: Any) -> Iterator[tuple[Any, Any, Generous]]:
    """A session that has bought: its agent, its further bars and its broker."""
    brokers: list[Generous] = []

    def wrap(paper: PaperBroker) -> Any:
        brokers.append(Generous(paper))
        return brokers[0]

    bars = [Bar("SPY", OPENS + timedelta(minutes=at), *[Decimal(100)] * 4, 10_000) for at in range(-30, 5)]
    with at_desk(source=tape(bars), decider=Buys(), wrap=wrap, **SMALL) as desk:
        agent = desk.agent
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        moments = agent.live_bars()
        for _ in range(2):
            agent.process_new_bar(*next(moments))
        yield agent, moments, brokers[0]


def test_a_correction_that_does_not_name_its_order_corrects_our_fill(at_desk, tape, tmp_path: Path) -> None:
    with holding_fifty(at_desk, tape) as (agent, moments, broker):
        [bought] = broker.executions(None)
        cash = agent.pnl_tracker.cash
        broker.adds = [
            replace(bought, exec_id="corrected", client_order_id="", quantity=40, lineage=bought.lineage, revision=1)
        ]
        agent.process_new_bar(*next(moments))
        assert agent.pnl_tracker.quantity("SPY") == 40
        assert agent.pnl_tracker.cash == cash + 10 * bought.price
    assert asked(tmp_path, "SELECT exec_id, quantity, client_order_id <> '' FROM fills") == [("corrected", 40, True)]
    assert asked(tmp_path, "SELECT * FROM external_fills") == []


def test_what_a_broker_counts_finer_than_the_ledger_can_hold_is_booked_as_the_ledger_holds_it(at_desk, tape) -> None:
    with holding_fifty(at_desk, tape) as (agent, moments, broker):
        [bought] = broker.executions(None)
        fine = replace(bought, exec_id="fine", lineage="fine", price=Decimal("100.12345678"))
        broker.adds = [replace(fine, quantity=3, commission=Decimal("0.34567891"))]
        agent.process_new_bar(*next(moments))
        assert agent.pnl_tracker.quantity("SPY") == 53
        assert "BOOK" not in [found.kind.name for found in agent.reconcile("scheduled")]


def test_a_correction_inside_a_bar_makes_no_new_high(at_desk, tape) -> None:
    with holding_fifty(at_desk, tape) as (agent, _, broker):
        highest = agent.pnl_tracker.high_water_mark
        [bought] = broker.executions(None)
        # Told at a better price, and then as it was: no bar has closed at the first.
        for revision, price in enumerate((Decimal(50), bought.price), 1):
            broker.adds = [
                replace(bought, exec_id=f"r{revision}", price=price, lineage=bought.lineage, revision=revision)
            ]
            agent.loop.book_reports(LedgerEntries(), OPENS + timedelta(minutes=2))
        assert agent.pnl_tracker.high_water_mark == highest
