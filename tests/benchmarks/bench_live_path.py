"""How long an order waits: from the moment a bar is handed to the first stage until the broker has the order."""

import contextlib
import io
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.testing.utilities import prefect_test_harness

from storage.store import open_store
from tasks.session_steps import Sealed, assess, bar_label, decide, route
from trading.bars import BarColumns, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.clocks.wall_clock import WallClock
from trading.decisions import Action, DataFinding, Signal
from trading.feeds.synthetic import SyntheticFeed
from trading.orchestrator_agent import OrchestratorAgent, TradingPorts
from trading.orders import Execution, OrderAmendment, OrderIntent
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, MarketWindow, OrderReport
from trading.settings import Settings

SESSIONS = [date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7)]
FEWEST_ORDERS = 1_000
MILLISECONDS = 1_000.0
# An order on every bar loses its commission each time and turns the account over forty times a day: what would stop that is
# off. The bars before the close are as good as the others.
CHURNING = {
    "closing": {"hold_overnight": True},
    "risk": {
        "max_daily_loss": None,
        "max_daily_loss_fraction": None,
        "max_session_drawdown_fraction": None,
        "max_drawdown_fraction": None,
        "max_drawdown_speed_fraction": None,
        "max_losing_streak": None,
        "max_symbol_loss": None,
        "max_hourly_turnover": None,
        "max_daily_turnover": None,
    },
}


@dataclass
class FickleMind:
    """Implements ``trading.ports.Policy``: wants the opposite on every bar, so that every bar makes an order."""

    name: str = "fickle"
    fingerprint: str = "fickle"
    warmup_bars: int = 50
    _wanted: Action = Action.SELL

    def decide(self, window: MarketWindow, holdings: object) -> Mapping[str, Signal]:
        self._wanted = Action.SELL if self._wanted is Action.BUY else Action.BUY
        for symbol in window.symbols:
            window.closes(symbol, self.warmup_bars).mean()
        return dict.fromkeys(window.symbols, Signal(self._wanted))

    def decide_history(self, bars: BarColumns) -> None:
        """It is asked bar by bar only."""


@dataclass
class TimedBroker:
    """Implements ``trading.ports.Broker`` by a paper broker, and notes when it is handed an order."""

    paper: PaperBroker
    handed_at: list[float] = field(default_factory=list)

    @property
    def source(self) -> str:
        return self.paper.source

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        self.handed_at.append(time.perf_counter())
        return self.paper.submit(intent)

    @property
    def connections(self) -> int:
        return self.paper.connections

    @property
    def executions_kept_since(self) -> datetime | None:
        return self.paper.executions_kept_since

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        return self.paper.executions(since)

    def replace(self, amendment: OrderAmendment) -> None:
        self.paper.replace(amendment)

    def cancel(self, client_order_id: str) -> None:
        self.paper.cancel(client_order_id)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        return self.paper.find_order(client_order_id)

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        return self.paper.poll()

    def account(self) -> BrokerAccount:
        return self.paper.account()


@dataclass
class Bench:
    """One open session and its stopwatch."""

    agent: OrchestratorAgent
    broker: TimedBroker
    waits: list[float]

    def bars(self) -> Iterator[tuple[BarSlice, list[DataFinding]]]:
        """The session's bars; between handing one out and the order's arrival the stopwatch runs."""
        for moment, findings in self.agent.live_bars():
            self.broker.handed_at.clear()
            handed_out = time.perf_counter()
            yield moment, findings
            if self.broker.handed_at:
                self.waits.append((self.broker.handed_at[0] - handed_out) * MILLISECONDS)


@contextlib.contextmanager
def opened(directory: Path, day: date, waits: list[float]) -> Iterator[Bench]:
    """A session on a real database and a real account file, as `openbell session` has it."""
    settings = Settings.model_validate(CHURNING)
    calendar = TradingCalendar("XNYS", day)
    hours = calendar.hours(day)
    with (
        open_store(directory / "live.duckdb") as store,
        contextlib.closing(PaperFile(directory / "live.sqlite", "bench")) as file,
    ):
        broker = TimedBroker(PaperBroker("bench", settings.broker.paper, hours.opens_at, file))
        clock = BarClock(hours.opens_at)
        feed = SyntheticFeed(settings.feed.synthetic, calendar, settings.session.timeframe, clock)
        ports = TradingPorts(calendar, clock, WallClock(), feed, broker, FickleMind(), store.ledger, broker.paper)
        agent = OrchestratorAgent(settings, "bench", hours, ports)
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        agent.reconcile("open")
        yield Bench(agent, broker, waits)
        agent.end_of_session()
        assert agent.reconcile("close") == []


@flow(name="bench-live-path", persist_result=False)
def trade_in_tasks(directory: str, day: str, waits: list[float]) -> None:
    """The stages of each bar as task runs, as the trading-session flow has them."""
    with opened(Path(directory), date.fromisoformat(day), waits) as bench:
        agent = bench.agent
        for moment, findings in bench.bars():
            label = bar_label(agent, moment.bar_time)
            route(agent, assess(agent, decide(agent, Sealed((moment, findings)), label), label), label)


def test_live_path_without_prefect(figures: Any, tmp_path: Path) -> None:
    waits: list[float] = []
    thinking: list[float] = []
    disk: list[float] = []
    with (tmp_path / "beside").open("wb", buffering=0) as beside:
        for day in SESSIONS:
            with opened(tmp_path, day, waits) as bench:
                for moment, findings in bench.bars():
                    started = time.perf_counter()
                    assessed = bench.agent.assess(bench.agent.generate_action(moment, findings))
                    thinking.append((time.perf_counter() - started) * MILLISECONDS)
                    bench.agent.route(assessed)
                    disk.append(_write_through(beside))
    _keep(figures, "bar in -> order out", waits, at_most=2.0)
    _keep(figures, "of it: decide and risk", thinking)
    _keep(figures, "for scale: the disk keeps 4 KB", disk)


def test_live_path_with_prefect_tasks(figures: Any, tmp_path: Path) -> None:
    waits: list[float] = []
    with prefect_test_harness(server_startup_timeout=120):
        for day in SESSIONS:
            # Not validated by Prefect: a validated list would be a copy.
            trade_in_tasks.with_options(validate_parameters=False)(str(tmp_path), day.isoformat(), waits)
    _keep(figures, "bar in -> order out, in tasks", waits, at_most=50.0)


def _write_through(file: io.FileIO) -> float:
    """How long this disk takes at this moment to keep one block: an intent is kept before its order is sent."""
    started = time.perf_counter()
    file.write(bytes(4096))
    os.fsync(file.fileno())
    return (time.perf_counter() - started) * MILLISECONDS


def _keep(figures: Any, name: str, waits: Sequence[float], at_most: float | None = None) -> None:
    assert len(waits) >= FEWEST_ORDERS
    percentiles = statistics.quantiles(waits, n=100)
    figures.add(f"{name}: p50", percentiles[49], "ms", note=f"{len(waits):,} bars")
    figures.add(f"{name}: p99", percentiles[98], "ms", at_most=at_most, note=f"longest {max(waits):.1f} ms")
