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

    def decide(self, window: Any) -> dict[str, Signal]:
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
