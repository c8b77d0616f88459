"""What the benchmarks share: the job that every engine does, and one place where figures are kept and told.

Run by `make bench` and `make bench-peers`, never by `make test`: a figure depends on the machine, so it says met or
missed in a table and fails nothing. Whatever must be true at any speed (equal equity) is asserted.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from storage.store import Store
from trading.bars import BarColumns
from trading.brokers.paper import PaperBroker
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.clocks.wall_clock import WallClock
from trading.feeds.synthetic import SyntheticFeed
from trading.history_replay import HistoryReplay, ReplayOutcome
from trading.policies.sma_crossover import SmaCrossover
from trading.ports import Ledger, Policy
from trading.sessions import Mode
from trading.settings import Settings
from trading.trading_hours import TradingHours

RESULTS = Path(".bench/results.json")
BARS_PER_SYMBOL = 98_000
FIRST_DAY, LAST_DAY = date(2025, 1, 2), date(2026, 1, 30)
CALENDAR = TradingCalendar("XNYS", date(2025, 6, 2))


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``target`` bounds it from below or, with ``at_most``, from above; None: no target."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty without one."""
        if self.target is None:
            return ""
        return "met" if (self.value <= self.target if self.at_most else self.value >= self.target) else "missed"


@dataclass
class Figures:
    """The figures of one run, in the order in which they were measured."""

    taken: list[Figure] = field(default_factory=list)

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        at_least: float | None = None,
        at_most: float | None = None,
        note: str = "",
    ) -> None:
        """Keep one figure with its target, where it has one."""
        target = at_least if at_least is not None else at_most
        self.taken.append(Figure(name, value, unit, target, at_most is not None, note))


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """20/50 SMA, long only, whole shares, 0.95/n of equity, filled at the next open, commission max(1, 0.005/share).

    All risk checks are asked; their limits are so wide that none speaks.
    """

    settings: Settings
    bars: Mapping[str, BarColumns]
    sessions: tuple[TradingHours, ...]

    @property
    def symbol_bars(self) -> int:
        return sum(len(columns) for columns in self.bars.values())

    def replay(self, ledger: Ledger, policy: Policy | None = None) -> ReplayOutcome:
        """Do the whole job; what it decides, trades and is worth goes to ``ledger``."""
        broker = PaperBroker("replay", self.settings.broker.paper, self.sessions[0].opens_at)
        chosen = SmaCrossover(20, 50) if policy is None else policy
        replay = HistoryReplay(self.settings, "replay", chosen, broker, broker, ledger, WallClock(), Mode.SYNTHETIC)
        return replay.run(self.bars, self.sessions)


_figures = Figures()


@pytest.fixture(scope="session")
def figures() -> Figures:
    """Where a benchmark puts what it measured."""
    return _figures


@pytest.fixture(scope="session")
def replay_job() -> Callable[[int], ReplayJob]:
    """The job for so many symbols, 98,000 minute bars each."""
    made: dict[int, ReplayJob] = {}

    def of(symbols: int) -> ReplayJob:
        if symbols not in made:
            made[symbols] = _job(tuple(f"S{number}" for number in range(symbols)))
        return made[symbols]

    return of


def _job(symbols: tuple[str, ...]) -> ReplayJob:
    settings = Settings.model_validate(
        {
            "session": {"symbols": symbols},
            "policy": {"parameters": {"fast": 20, "slow": 50}},
            "sizing": {"fraction": Decimal("0.95") / len(symbols)},
            # As the peers' job has it: positions stay overnight, all cash may be used, and nobody halts anybody. What can be
            # switched off stays on with a limit that is never reached, so that the replay pays for asking it.
            "closing": {"hold_overnight": True},
            "risk": {
                "max_order_shares": 1_000_000,
                "max_order_notional": 1_000_000,
                "max_price_deviation_fraction": 1,
                "max_duplicate_orders": 1_000_000,
                "max_orders_per_session": 1_000_000,
                "max_position_shares": 1_000_000,
                "max_position_notional": 1_000_000,
                "max_position_fraction": 1,
                "max_leverage": 10,
                "cash_reserve_fraction": 0,
                "max_participation_fraction": 1,
                "max_impact_bps": 10_000,
                "throttle_skip_fraction": 0,
                "max_daily_loss": 50_000,
                "max_daily_loss_fraction": 1,
                "max_session_drawdown_fraction": 1,
                "max_drawdown_fraction": 1,
                "max_drawdown_speed_fraction": 1,
                "max_losing_streak": 1_000_000,
                "max_symbol_loss": 1_000_000,
                "max_hourly_turnover": 1_000,
                "max_daily_turnover": 1_000,
                "max_trades_per_session": 1_000_000,
            },
            "broker": {"paper": {"slippage_bps": 0}},
        }
    )
    feed = SyntheticFeed(
        settings.feed.synthetic, CALENDAR, settings.session.timeframe, BarClock(datetime(2025, 1, 1, tzinfo=UTC))
    )
    sessions = CALENDAR.sessions_between(FIRST_DAY, LAST_DAY)
    bars = {
        symbol: feed.history(symbol, sessions[0].opens_at, sessions[-1].closes_at).take(slice(BARS_PER_SYMBOL))
        for symbol in symbols
    }
    last = np.datetime64(int(bars[symbols[0]].time[-1]), "us").astype(datetime).replace(tzinfo=UTC)
    return ReplayJob(settings, bars, tuple(hours for hours in sessions if hours.opens_at <= last))


@pytest.fixture
def committed() -> Callable[[Store], Mapping[str, Any]]:
    """What the ledger says a replay came to."""

    def ask(store: Store) -> Mapping[str, Any]:
        [(equity,)] = store.connection.rows("SELECT equity FROM equity ORDER BY bar_time DESC LIMIT 1")
        counts = {
            table: store.connection.rows(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("decisions", "orders", "fills", "risk_checks")
        }
        return {"equity": equity, **counts}

    return ask


@pytest.hookimpl
def pytest_sessionfinish() -> None:
    """Write the figures down; those of other benchmarks stay as they were."""
    if not _figures.taken:
        return
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.platform()}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for figure in _figures.taken:
        before[figure.name] = {
            "value": figure.value,
            "unit": figure.unit,
            "target": figure.target,
            "verdict": figure.verdict or None,
            "note": figure.note,
            "measured_at": now,
            "machine": machine,
        }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(before, indent=2) + "\n", encoding="utf-8")


@pytest.hookimpl
def pytest_terminal_summary() -> Iterator[None] | None:
    """Show the figures."""
    if not _figures.taken:
        return None
    table = Table(title="openbell benchmarks", title_justify="left")
    for heading in ("what", "measured", "target", "", "note"):
        table.add_column(heading, justify="right" if heading in ("measured", "target") else "left")
    for figure in _figures.taken:
        sign = "" if figure.target is None else "at most " if figure.at_most else "at least "
        target = "" if figure.target is None else f"{sign}{_readable(figure.target)}"
        colour = {"met": "[green]met[/]", "missed": "[red]missed[/]"}.get(figure.verdict, "")
        table.add_row(figure.name, f"{_readable(figure.value)} {figure.unit}", target, colour, figure.note)
    console = Console(width=None if os.isatty(1) else 150)
    console.print()
    console.print(table)
    console.print(f"Figures are kept in {RESULTS}.")
    return None


def _readable(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
