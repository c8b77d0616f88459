"""An agent learns from an account: it has to be the one that sessions have, to the cent, or it learns something else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray

from trading.bars import MISSING, BarColumns, to_epoch_us
from trading.brokers.paper import PaperBroker
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.decisions import Action, Signal
from trading.history_replay import HistoryReplay
from trading.orders import Execution
from trading.ports import HistorySignals, Holdings, LedgerEntries, MarketWindow
from trading.sessions import SessionRecord
from trading.settings import Settings
from trading.training.environment import ACTIONS, TradingEnvironment

CALENDAR = TradingCalendar("XNYS", date(2025, 11, 26))
# Thanksgiving week: a day, a holiday, a half day, a weekend, a day.
WORDS = {-1: Action.SELL, 0: Action.HOLD, 1: Action.BUY}
DAYS = CALENDAR.sessions_between(date(2025, 11, 26), date(2025, 12, 1))


@dataclass(frozen=True, slots=True)
class Said:
    """A policy that says what it was given, bar by bar."""

    codes: NDArray[np.int8]
    name: str = "said"
    fingerprint: str = "said"
    warmup_bars: int = 1

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        raise NotImplementedError("it was given a whole history")

    def decide_history(self, bars: BarColumns) -> HistorySignals:
        assert len(bars) == len(self.codes)
        return HistorySignals(self.codes)


@dataclass(slots=True)
class Kept:
    """Implements ``trading.ports.ReplayLedger`` in memory."""

    sessions: list[SessionRecord] = field(default_factory=list)
    entries: LedgerEntries = field(default_factory=LedgerEntries)

    def commit_replay(self, sessions: Sequence[SessionRecord], entries: LedgerEntries) -> None:
        self.sessions += sessions
        self.entries.add(entries)


def random_bars(rng: np.random.Generator, timeframe: int, jump: float, holes: float) -> BarColumns:
    """Walks of all days: prices in cents, some bars missing, some without volume or with an unknown one."""
    times = np.concatenate(
        [
            np.arange(to_epoch_us(day.opens_at), to_epoch_us(day.closes_at), timeframe * 60_000_000, dtype=np.int64)
            for day in DAYS
        ]
    )
    count = len(times)
    closes = np.maximum(np.cumsum(rng.normal(0, jump * 100, count)) + 10_000, 500).astype(np.int64)
    opens = np.maximum(closes + rng.normal(0, jump * 40, count).astype(np.int64), 100)
    highs = np.maximum(opens, closes) + rng.integers(0, 20, count)
    lows = np.minimum(opens, closes) - rng.integers(0, 20, count)
    volumes = rng.integers(1_000, 50_000, count)
    volumes[rng.random(count) < holes / 2] = 0
    volumes[rng.random(count) < holes / 8] = MISSING
    there = rng.random(count) >= holes
    columns = (opens * 10_000, highs * 10_000, lows * 10_000, closes * 10_000, volumes)
    return BarColumns("SPY", times[there], *(column[there].astype(np.int64) for column in columns))


def replayed(settings: Settings, bars: BarColumns, codes: NDArray[np.int8]) -> Kept:
    """What sessions one after the other make of these decisions."""
    broker = PaperBroker("paper", settings.broker.paper, DAYS[0].opens_at)
    kept = Kept()
    clock = BarClock(datetime(2025, 11, 1, tzinfo=UTC))
    HistoryReplay(settings, "paper", Said(codes), broker, broker, kept, clock).run({"SPY": bars}, DAYS)
    return kept


def environment(settings: Settings, bars: BarColumns, **options: Any) -> TradingEnvironment:
    """An environment over all days at once that sees one feature and what it holds."""
    rows = np.zeros((len(bars), 3))
    rows[:, 0] = np.arange(len(bars))
    options = {"sessions_per_episode": len(DAYS), "drawn": False, **options}
    return TradingEnvironment(settings, bars, DAYS, rows, {1: "position", 2: "unrealized_pnl"}, **options)


def facts(execution: Execution) -> tuple[object, ...]:
    return execution.executed_at, execution.side, execution.quantity, execution.price, execution.commission


CALM_DAYS: dict[str, dict[str, Any]] = {
    "long": {},
    "short": {"orders": {"allow_short": True}},
    "everything, average cost": {
        "sizing": {"fraction": 1},
        "orders": {"allow_short": True},
        "book": {"cost_basis": "average"},
        "risk": {"max_position_fraction": 3, "max_order_shares": 10**6, "max_position_shares": 10**6},
    },
    "closed in the evening": {"closing": {"hold_overnight": False}, "orders": {"allow_short": True}},
    "cash, capped commission": {
        "sizing": {"method": "fraction_of_cash", "fraction": "0.5"},
        "broker": {"paper": {"commission_maximum_fraction": "0.0001", "slippage_bps": "7.3"}},
        "risk": {"max_position_fraction": 1},
    },
    "shares": {"sizing": {"method": "fixed_shares", "shares": 37}, "orders": {"allow_short": True}},
    "notional": {"sizing": {"method": "fixed_notional", "notional": "7777.77"}, "risk": {"lot_size": 10}},
    "volatility": {"sizing": {"method": "volatility_target"}, "orders": {"allow_short": True, "minimum_quantity": 20}},
}
CAREFUL_DAYS: dict[str, dict[str, Any]] = {
    "as nobody sets anything": {},
    "short": {"orders": {"allow_short": True}},
    "tight": {
        "orders": {"allow_short": True},
        "risk": {
            "max_losing_streak": 3,
            "max_daily_loss": "150",
            "max_symbol_loss": "120",
            "no_entry_first_minutes": 15,
            "no_entry_last_minutes": 45,
            "max_daily_turnover": 4,
            "max_hourly_turnover": "0.7",
            "max_duplicate_orders": 2,
            "duplicate_window_seconds": 3_600,
            "max_trades_per_session": 30,
        },
    },
    "until a person looks": {"risk": {"max_drawdown_fraction": "0.002", "drawdown_since": date(2025, 11, 28)}},
    "day trades": {"risk": {"pattern_day_trader": {"enabled": True, "brokers": ["paper"], "minimum_equity": 10**6}}},
    "tails": {
        "risk": {"max_value_at_risk_fraction": "0.01", "value_at_risk_bars": 60, "value_at_risk_confidence": "0.9"}
    },
}


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it hands out a pure function
@given(data=st.data())
@pytest.mark.parametrize("name", CALM_DAYS)
def test_every_bar_is_worth_what_sessions_make_of_it(name: str, data: st.DataObject, calm: Any) -> None:
    _compare(calm(**CALM_DAYS[name]), data)


@given(data=st.data())
@pytest.mark.parametrize("name", CAREFUL_DAYS)
def test_limits_and_halts_act_as_they_do_in_sessions(name: str, data: st.DataObject) -> None:
    _compare(CAREFUL_DAYS[name], data)


def _compare(sections: dict[str, Any], data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    timeframe = data.draw(st.sampled_from((5, 15, 30)), label="timeframe")
    jump = data.draw(st.sampled_from((0.02, 0.2, 2.0)), label="jump")
    holes = data.draw(st.sampled_from((0.0, 0.3)), label="holes")
    hold = data.draw(st.sampled_from((0.1, 0.6)), label="hold")
    settings = Settings.model_validate({"session": {"timeframe": f"{timeframe}min"}} | sections)
    bars = random_bars(rng, timeframe, jump, holes)
    codes = np.where(rng.random(len(bars)) < hold, 0, rng.choice((-1, 1), len(bars))).astype(np.int8)
    kept = replayed(settings, bars, codes)

    env = environment(settings, bars)
    _, info = env.reset(seed=1)
    said = dict(zip(bars.time.tolist(), codes.tolist(), strict=True))
    over, equity = False, []
    while not over:
        equity.append(info["equity"])
        _, _, terminated, truncated, info = env.step(ACTIONS.index(WORDS[said[info["bar_time"]]]))
        over = terminated or truncated

    record = env.track_record()
    blocks = kept.entries.blocks
    expected = np.concatenate([block.cash + block.market_value for block in blocks])
    assert record.equity.tolist() == expected.tolist()
    assert record.market_value.tolist() == np.concatenate([block.market_value for block in blocks]).tolist()
    assert [facts(fill) for fill in record.fills] == [facts(fill.execution) for fill in kept.entries.fills]
    assert equity == expected.tolist()
