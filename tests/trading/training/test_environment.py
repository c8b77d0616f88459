"""An agent learns from an account: it has to be the one that sessions have, to the cent, or it learns something else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import gymnasium.utils.env_checker as gymnasium_checker
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray

from trading.bars import MISSING, Bar, BarColumns, to_epoch_us
from trading.brokers.paper import PaperBroker
from trading.bundles.manifest import TargetWeight
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.decisions import Action, Signal
from trading.errors import ConfigurationError
from trading.features.feature_set import FeatureSet
from trading.features.spec import FeatureSpec
from trading.history_replay import HistoryReplay
from trading.money import to_micros
from trading.orders import Execution, OrderType, Side, TimeInForce
from trading.ports import HistorySignals, Holdings, LedgerEntries, MarketWindow, Policy
from trading.risk_settings import ClosingSettings
from trading.sessions import SessionRecord
from trading.settings import PaperSettings, Settings
from trading.trading_hours import TradingHours
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


def traded(env: TradingEnvironment, said: Mapping[int, Any]) -> list[int]:
    """One episode with the actions by the opens of their bars; the equities that it told on its way."""
    _, info = env.reset(seed=1)
    over, equity = False, []
    while not over:
        equity.append(info["equity"])
        _, _, terminated, truncated, info = env.step(said[info["bar_time"]])
        over = terminated or truncated
    return equity


def replayed(settings: Settings, bars: BarColumns, policy: Policy) -> Kept:
    """What sessions one after the other make of a policy."""
    broker = PaperBroker("paper", settings.broker.paper, DAYS[0].opens_at)
    kept = Kept()
    clock = BarClock(datetime(2025, 11, 1, tzinfo=UTC))
    HistoryReplay(settings, "paper", policy, broker, broker, kept, clock).run({"SPY": bars}, DAYS)
    return kept


def rows_of(bars: BarColumns) -> NDArray[np.float64]:
    """One feature that counts the bars, and room for what is held."""
    rows = np.full((len(bars), 3), np.nan)
    rows[:, 0] = np.arange(len(bars))
    return rows


def environment(settings: Settings, bars: BarColumns, **options: Any) -> TradingEnvironment:
    """An environment over all days at once that sees one feature and what it holds."""
    rows = options.pop("rows", rows_of(bars))
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
    "until a person looks": {"risk": {"max_drawdown_fraction": "0.002"}},
    "since the first day": {"risk": {"max_drawdown_fraction": "0.002", "drawdown_since": date(2025, 11, 26)}},
    "since the half day": {"risk": {"max_drawdown_fraction": "0.002", "drawdown_since": date(2025, 11, 28)}},
    "counted": {
        "policy": {"cooldown_bars": 3, "max_changes_per_session": 9},
        "risk": {"max_orders_per_session": 14},
    },
    "day trades": {"risk": {"pattern_day_trader": {"enabled": True, "brokers": ["paper"], "minimum_equity": 10**6}}},
    "day trades after a night": {
        "closing": {"hold_overnight": True},
        "risk": {"pattern_day_trader": {"enabled": True, "brokers": ["paper"], "minimum_equity": 10**6}},
    },
    "tails": {
        "risk": {"max_value_at_risk_fraction": "0.01", "value_at_risk_bars": 60, "value_at_risk_confidence": "0.9"}
    },
}


@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])  # it hands out a pure function
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
    kept = replayed(settings, bars, Said(codes))

    env = environment(settings, bars)
    actions = [ACTIONS.index(WORDS[code]) for code in codes.tolist()]
    equity = traded(env, dict(zip(bars.time.tolist(), actions, strict=True)))

    record = env.track_record()
    blocks = kept.entries.blocks
    expected = np.concatenate([block.cash + block.market_value for block in blocks])
    assert record.equity.tolist() == expected.tolist()
    assert record.market_value.tolist() == np.concatenate([block.market_value for block in blocks]).tolist()
    assert [facts(fill) for fill in record.fills] == [facts(fill.execution) for fill in kept.entries.fills]
    assert equity == expected.tolist()


@dataclass(frozen=True, slots=True)
class Weighing:
    """A policy that wants the weights that it was given, by the open of the bar."""

    weights: Mapping[int, float]
    name: str = "weighing"
    fingerprint: str = "weighing"
    warmup_bars: int = 1

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        return {symbol: Signal.of_weight(self.weights[int(window.times(symbol, 1)[0])]) for symbol in window.symbols}

    def decide_history(self, bars: BarColumns) -> None:
        """It is asked bar by bar: weights are resized by what is held."""


@examples(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), holes=st.sampled_from((0.0, 0.3)), allow_short=st.booleans())
def test_target_weights_are_resized_as_in_sessions(seed: int, holes: float, allow_short: bool, calm: Any) -> None:
    rng = np.random.default_rng(seed)
    sections = calm(
        session={"timeframe": "15min"},
        orders={"allow_short": allow_short},
        closing={"hold_overnight": bool(seed % 2)},
        risk={"max_position_fraction": 1},
    )
    settings = Settings.model_validate(sections)
    bars = random_bars(rng, 15, 0.2, holes)
    said = (rng.integers(-4, 5, len(bars)) / 4).astype(np.float32)
    target = TargetWeight(scale=0.5, lowest=-0.3, highest=0.4)
    wanted = np.clip(said.astype(np.float64) * 0.5, -0.3, 0.4)
    policy = Weighing(dict(zip(bars.time.tolist(), wanted.tolist(), strict=True)))
    kept = replayed(settings, bars, policy)

    env = environment(settings, bars, target_weight=target)
    traded(env, {time: np.array([weight], np.float32) for time, weight in zip(bars.time.tolist(), said, strict=True)})

    record = env.track_record()
    blocks = kept.entries.blocks
    assert record.equity.tolist() == np.concatenate([block.cash + block.market_value for block in blocks]).tolist()
    assert [facts(fill) for fill in record.fills] == [facts(fill.execution) for fill in kept.entries.fills]


FEATURES = [
    FeatureSpec(name="return"),
    FeatureSpec(name="unrealized_pnl"),
    FeatureSpec(name="rsi", parameters={"bars": 5}),
    FeatureSpec(name="position"),
    FeatureSpec(name="time_of_day"),
]


def of_what_is_seen(row: NDArray[np.float32]) -> Action:
    """A fixed taste in rows: shares and minutes are of different sizes, and losses count most."""
    taste = math.sin(1e4 * row[0] + 3e3 * row[1] + row[2] + row[3] + row[4])
    return Action.BUY if taste > 0.4 else Action.SELL if taste < -0.4 else Action.HOLD


class Looking:
    """A policy that follows its features bar by bar, as trained ones do in a session."""

    name = fingerprint = "looking"

    def __init__(self, features: FeatureSet) -> None:
        self.warmup_bars = features.warmup_bars
        self.seen: list[NDArray[np.float32]] = []
        self._stream = features.stream()

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        (symbol,) = window.symbols
        row = self._stream.row(window, symbol, holdings.quantity(symbol), holdings.unrealized_fraction(symbol))
        if row is None:
            return {symbol: Signal(Action.HOLD)}
        self.seen.append(row.astype(np.float32))
        return {symbol: Signal(of_what_is_seen(self.seen[-1]))}

    def decide_history(self, bars: BarColumns) -> None:
        """It depends on what is held."""


@pytest.mark.parametrize("seed", range(4))
def test_an_agent_sees_in_training_what_it_sees_in_a_session(seed: int, calm: Any) -> None:
    sections = calm(session={"timeframe": "5min"}, orders={"allow_short": bool(seed % 2)})
    settings = Settings.model_validate(sections)
    bars = random_bars(np.random.default_rng(seed), 5, 0.05, 0.1)
    features = FeatureSet(FEATURES, settings.session.timeframe)
    policy = Looking(features)
    kept = replayed(settings, bars, policy)

    holdings = {column: features.specs[column].name for column in features.holdings_columns}
    env = TradingEnvironment(
        settings, bars, DAYS, features.history(bars), holdings, sessions_per_episode=len(DAYS), drawn=False
    )
    row, _ = env.reset(seed=1)
    seen, over = [], False
    while not over:
        seen.append(row)
        row, _, terminated, truncated, _ = env.step(ACTIONS.index(of_what_is_seen(row)))
        over = terminated or truncated

    np.testing.assert_allclose(np.array(seen), np.array(policy.seen), rtol=1e-6, atol=1e-9)
    record = env.track_record()
    blocks = kept.entries.blocks
    assert record.equity.tolist() == np.concatenate([block.cash + block.market_value for block in blocks]).tolist()
    assert len(record.fills) > 10


# By hand


def half_hours(*prices: tuple[str, str], day: TradingHours = DAYS[0]) -> BarColumns:
    """Half-hour bars from the open on, each of an open and a close, with plenty of volume."""
    bars = []
    for number, (opened, closed) in enumerate(prices):
        first, last = Decimal(opened), Decimal(closed)
        at = day.opens_at + number * timedelta(minutes=30)
        bars.append(Bar("SPY", at, first, max(first, last), min(first, last), last, 1_000_000))
    return BarColumns.of("SPY", bars)


@pytest.fixture
def hundred_shares(calm: Any) -> Settings:
    """Hundred shares at a time, ten basis points of slippage, and a dollar for each order."""
    return Settings.model_validate(
        calm(
            session={"timeframe": "30min"},
            sizing={"method": "fixed_shares", "shares": 100},
            broker={"paper": {"slippage_bps": 10, "commission_per_share": "0.005", "commission_minimum": 1}},
            risk={"max_position_fraction": 1},
        )
    )


def test_an_order_fills_at_the_next_open_with_its_costs(hundred_shares: Settings) -> None:
    env = environment(hundred_shares, half_hours(("100", "100"), ("100.50", "101"), ("101", "100.80")))
    seen, info = env.reset(seed=1)
    assert (seen[1], info["equity"]) == (0, 100_000_000_000)

    seen, reward, *_, info = env.step(ACTIONS.index(Action.BUY))

    # 100.50 and ten basis points are 100.6005: 10,060.05 and a dollar are paid, 10,100.00 is what it is worth.
    assert [(fill.side, fill.quantity, fill.price, fill.commission) for fill in info["fills"]] == [
        (Side.BUY, 100, Decimal("100.6005"), Decimal(1))
    ]
    assert info["equity"] == 100_038_950_000
    assert reward == pytest.approx(math.log(100_038.95 / 100_000), abs=1e-15)
    assert seen[1] == 1
    assert seen[2] == pytest.approx(38.95 / 10_061.05, abs=1e-9)

    *_, info = env.step(ACTIONS.index(Action.HOLD))

    assert (info["equity"], info["fills"]) == (100_018_950_000, ())


def test_what_is_decided_on_the_last_bar_expires(hundred_shares: Settings) -> None:
    env = environment(hundred_shares, half_hours(("100", "100"), ("100", "101")))
    env.reset(seed=1)
    env.step(ACTIONS.index(Action.HOLD))

    _, reward, terminated, truncated, info = env.step(ACTIONS.index(Action.BUY))

    assert (reward, info["equity"], info["fills"]) == (0, 100_000_000_000, ())
    # Positions may be held overnight here: the account would go on.
    assert (terminated, truncated) == (False, True)


def test_a_day_that_closes_its_positions_ends_the_episode(hundred_shares: Settings) -> None:
    settings = hundred_shares.model_copy(update={"closing": ClosingSettings()})
    env = environment(settings, half_hours(("100", "100"), ("100", "101")), sessions_per_episode=1)
    env.reset(seed=1)
    env.step(ACTIONS.index(Action.BUY))

    *_, terminated, truncated, _ = env.step(ACTIONS.index(Action.BUY))

    assert (terminated, truncated) == (True, False)
    with pytest.raises(ValueError, match="reset"):
        env.step(ACTIONS.index(Action.HOLD))


def test_bars_whose_features_are_not_told_are_held(hundred_shares: Settings) -> None:
    bars = half_hours(("100", "100"), ("100", "100"), ("100", "101"), ("101", "102"), ("102", "103"))
    rows = rows_of(bars)
    rows[[0, 2], 0] = np.nan, np.inf
    env = environment(hundred_shares, bars, rows=rows)

    seen, info = env.reset(seed=1)
    assert (seen[0], info["bar_time"]) == (1, bars.time[1])
    seen, _, *_, info = env.step(ACTIONS.index(Action.BUY))

    # Bought in the bar that is not shown, at 100 and ten basis points: 100,000 - 10,010 - 1 + 100 x 102.
    assert (seen[0], info["bar_time"]) == (3, bars.time[3])
    assert info["equity"] == 100_189_000_000
    assert env.track_record().equity.tolist() == [100_000_000_000, 100_000_000_000, 100_089_000_000, 100_189_000_000]


def test_the_seed_alone_says_which_session_is_drawn(hundred_shares: Settings) -> None:
    bars = random_bars(np.random.default_rng(5), 30, 0.2, 0.0)

    def days_of(env: TradingEnvironment, first: int | None, actions: int) -> list[int]:
        begun = [env.reset(seed=first)[1]["bar_time"]]
        for _ in range(5):
            for _ in range(actions):
                env.step(ACTIONS.index(Action.BUY))
            begun.append(env.reset()[1]["bar_time"])
        return begun

    drawn = environment(hundred_shares, bars, sessions_per_episode=1, drawn=True)
    assert days_of(drawn, 3, actions=0) == days_of(drawn, 3, actions=4)
    assert len({tuple(days_of(drawn, seed, actions=0)) for seed in range(8)}) > 1
    in_order = environment(hundred_shares, bars, sessions_per_episode=1)
    opens = [to_epoch_us(day.opens_at) for day in DAYS]
    assert days_of(in_order, 1, actions=2) == [*opens, *opens]
    assert days_of(in_order, 2, actions=0) == [*opens, *opens]


def test_rewards_add_up_to_the_return_of_the_episode(hundred_shares: Settings) -> None:
    bars = random_bars(np.random.default_rng(6), 30, 0.5, 0.0)
    env = environment(hundred_shares, bars)
    _, info = env.reset(seed=1)
    rewards, over = [], False
    while not over:
        _, reward, terminated, truncated, info = env.step(len(rewards) % 3)
        rewards.append(reward)
        over = terminated or truncated

    record = env.track_record()
    assert record.session_equity[-1] == info["equity"] != record.starting_equity
    assert math.fsum(rewards) == pytest.approx(math.log(info["equity"] / record.starting_equity), abs=1e-12)
    assert record.session_dates == tuple(day.session_date for day in DAYS)
    assert record.session_ends.tolist() == [13, 20, 33]  # whole days have 13 half hours, the half day has 7


def test_a_penalty_is_taken_off_the_reward_and_not_off_the_account(hundred_shares: Settings) -> None:
    bars = half_hours(("100", "100"), ("100.50", "101"), ("101", "100.80"))
    plain, careful = environment(hundred_shares, bars), environment(hundred_shares, bars, turnover_penalty=0.5)
    outcomes = []
    for env in (plain, careful):
        env.reset(seed=1)
        outcomes.append(env.step(ACTIONS.index(Action.BUY)))

    # 10,060.05 are traded with an equity of 100,000.
    assert outcomes[0][1] - outcomes[1][1] == pytest.approx(0.5 * 0.1006005, abs=1e-12)
    assert outcomes[0][4]["equity"] == outcomes[1][4]["equity"]


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("orders", {"order_type": OrderType.LIMIT}),
        ("orders", {"time_in_force": TimeInForce.GTC}),
        ("broker", {"paper": PaperSettings(max_volume_fraction=Decimal("0.1"))}),
        ("stopping", {"flatten_on_loss": True}),
    ],
)
def test_settings_that_it_does_not_model_are_refused(
    hundred_shares: Settings, section: str, changes: dict[str, Any]
) -> None:
    changed = getattr(hundred_shares, section).model_copy(update=changes)
    settings = hundred_shares.model_copy(update={section: changed})

    with pytest.raises(ConfigurationError, match=f"{section}\\."):
        environment(settings, half_hours(("100", "100"), ("100", "100")))


def test_sessions_without_a_bar_to_decide_on_are_refused(hundred_shares: Settings) -> None:
    bars = half_hours(("100", "100"), ("100", "100"))

    with pytest.raises(ConfigurationError, match="warmup"):
        environment(hundred_shares, bars, rows=np.full((2, 3), np.nan))


def test_bars_of_another_length_are_refused(hundred_shares: Settings) -> None:
    bars = random_bars(np.random.default_rng(1), 15, 0.1, 0.0)

    with pytest.raises(ConfigurationError, match="30min"):
        environment(hundred_shares, bars)


def test_sessions_come_in_their_order(hundred_shares: Settings) -> None:
    bars = half_hours(("100", "100"), ("100", "100"))

    with pytest.raises(ValueError, match="ascending"):
        TradingEnvironment(hundred_shares, bars, DAYS[::-1], rows_of(bars), {1: "position"})
    with pytest.raises(ValueError, match="0 sessions"):
        environment(hundred_shares, bars, sessions_per_episode=0)


def test_an_account_tells_no_other_features(hundred_shares: Settings) -> None:
    bars = half_hours(("100", "100"), ("100", "100"))

    with pytest.raises(ValueError, match="moon"):
        TradingEnvironment(hundred_shares, bars, DAYS, rows_of(bars), {1: "moon"})


# Features have units of their own: their bounds are not known.
@pytest.mark.filterwarnings("ignore:.*A Box observation space:UserWarning")
@pytest.mark.parametrize("target", [None, TargetWeight(lowest=-0.5, highest=0.5)])
def test_learning_libraries_take_it_for_an_environment(hundred_shares: Settings, target: TargetWeight | None) -> None:
    bars = random_bars(np.random.default_rng(7), 30, 0.2, 0.1)
    env = environment(hundred_shares, bars, sessions_per_episode=1, drawn=True, target_weight=target)

    gymnasium_checker.check_env(env, skip_render_check=True)
    learning = pytest.importorskip("stable_baselines3.common.env_checker")
    learning.check_env(env)


def test_a_session_of_its_own_is_worth_the_same_bar_by_bar(at_desk: Any, tape: Any, calm: Any) -> None:
    """Not a replay but a session with everything: feed, ledger, and the account in its file."""
    bars = random_bars(np.random.default_rng(8), 5, 0.3, 0.1)
    today = bars.take((bars.time >= to_epoch_us(DAYS[0].opens_at)) & (bars.time < to_epoch_us(DAYS[0].closes_at)))
    rng = np.random.default_rng(9)
    weights = dict(zip(today.time.tolist(), (rng.integers(-2, 3, len(today)) / 10).tolist(), strict=True))
    sections = {
        "session": {"timeframe": "5min", "symbols": ["SPY"]},
        "orders": {"allow_short": True},
        "closing": {"hold_overnight": False},
        "risk": {"max_position_fraction": 1},
        "validation": {"price_jump": "warn"},
    }
    with at_desk(DAYS[0].session_date, decider=Weighing(weights), source=tape(list(today)), **sections) as desk:
        desk.agent.run_session()
        rows = desk.store.connection.rows("SELECT bar_time, equity FROM equity ORDER BY bar_time")
        fills = desk.store.connection.rows(
            "SELECT filled_at, side, quantity, price, commission FROM fills ORDER BY booking"
        )

    target = TargetWeight(lowest=-1, highest=1)
    env = environment(Settings.model_validate(calm(**sections)), today, target_weight=target, sessions_per_episode=1)
    traded(env, {time: np.array([weight]) for time, weight in weights.items()})

    record = env.track_record()
    assert [(to_epoch_us(at), to_micros(equity)) for at, equity in rows] == list(
        zip(record.bar_time.tolist(), record.equity.tolist(), strict=True)
    )
    assert fills == [facts(fill) for fill in record.fills]
    assert len(fills) > 20


def test_episodes_in_order_do_not_overlap(hundred_shares: Settings) -> None:
    bars = random_bars(np.random.default_rng(5), 30, 0.2, 0.0)
    env = environment(hundred_shares, bars, sessions_per_episode=2)

    # Of three days the first two are an episode, and the third alone is none.
    opens = [env.reset(seed=seed)[1]["bar_time"] for seed in (1, None, None)]
    assert opens == [to_epoch_us(DAYS[0].opens_at)] * 3


def test_a_halt_that_only_a_person_ends_ends_the_episode(hundred_shares: Settings) -> None:
    risk = hundred_shares.risk.model_copy(update={"max_drawdown_fraction": Decimal("0.0005")})
    settings = hundred_shares.model_copy(update={"risk": risk})
    env = environment(settings, half_hours(("100", "100"), ("100", "99.40")), sessions_per_episode=1)
    env.reset(seed=1)
    env.step(ACTIONS.index(Action.BUY))

    # Bought at 100.10 and worth 99.40: 71 of 100,000 are lost with the dollar. Held overnight, but nothing would go on.
    *_, terminated, truncated, info = env.step(ACTIONS.index(Action.HOLD))

    assert info["equity"] == 99_929_000_000
    assert (terminated, truncated) == (True, False)
