from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.bars import BarColumns, BarSlice, to_epoch_us
from trading.decisions import Action, Signal
from trading.errors import ConfigurationError
from trading.market_window import HistoryWindow, LiveWindow
from trading.pnl_tracker import PnLTracker
from trading.policies.buy_and_hold import BuyAndHold
from trading.policies.flat import Flat
from trading.policies.sma_crossover import SmaCrossover
from trading.ports import Policy

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
CODES = {Action.BUY: 1, Action.SELL: -1, Action.HOLD: 0}


def columns(closes: list[int], symbol: str = "SPY") -> BarColumns:
    price = np.array(closes, dtype=np.int64) * 10_000
    times = to_epoch_us(OPEN) + 60_000_000 * np.arange(len(closes), dtype=np.int64)
    return BarColumns(symbol, times, price, price, price, price, np.full(len(closes), 100, dtype=np.int64))


def bar_by_bar(policy: Policy, bars: BarColumns) -> list[int]:
    """What the policy says on each bar as a running session asks it."""
    window = LiveWindow(["SPY"], 64, 1 << 20, timedelta(days=1))
    said = []
    for bar in bars:
        window.advance(BarSlice(bar.bar_time, {"SPY": bar}))
        said.append(CODES[policy.decide(window, PnLTracker())["SPY"].action])
    return said


def test_flat_sells_and_buy_and_hold_buys_every_symbol_that_has_a_bar() -> None:
    window = HistoryWindow({"SPY": columns([1, 2]), "QQQ": columns([1], "QQQ"), "IWM": columns([1], "IWM")})
    window.move_to({"SPY": 1, "QQQ": 0})
    for policy, action in ((Flat(), Action.SELL), (BuyAndHold(), Action.BUY)):
        assert {symbol: signal.action for symbol, signal in policy.decide(window, PnLTracker()).items()} == {
            "SPY": action,
            "QQQ": action,
        }


def test_the_crossover_is_long_above_out_below_and_holds_on_a_tie() -> None:
    # Means of 2 and 3: (10 11 12) 11.5 > 11; (11 12 10) 11 = 11; (12 10 9) 9.5 < 10.33.
    assert bar_by_bar(SmaCrossover(2, 3), columns([10, 11, 12, 10, 9])) == [0, 0, 1, 0, -1]


def test_the_crossover_holds_until_it_has_seen_enough() -> None:
    policy = SmaCrossover(1, 5)
    assert policy.warmup_bars == 5
    assert bar_by_bar(policy, columns([1, 2, 3, 4])) == [0, 0, 0, 0]
    assert policy.decide_history(columns([1, 2, 3, 4])).action.tolist() == [0, 0, 0, 0]
    assert policy.decide_history(columns([])).action.tolist() == []


@pytest.mark.parametrize(("fast", "slow"), [(0, 5), (5, 5), (6, 5), (-1, 5)])
def test_a_crossover_needs_a_fast_and_a_slower_mean(fast: int, slow: int) -> None:
    with pytest.raises(ConfigurationError, match=f"fast = {fast}, slow = {slow}"):
        SmaCrossover(fast, slow)


def test_a_fingerprint_tells_parameters_apart() -> None:
    policies: list[Policy] = [Flat(), BuyAndHold(), SmaCrossover(), SmaCrossover(3, 50), SmaCrossover(20, 51)]
    assert len({policy.fingerprint for policy in policies}) == 5


@pytest.mark.parametrize("policy", [BuyAndHold(), SmaCrossover(1, 2), SmaCrossover(3, 7), SmaCrossover(5, 20)])
@given(closes=st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_a_history_at_once_is_decided_as_bar_by_bar(policy: Policy, closes: list[int]) -> None:
    bars = columns(closes)
    assert policy.decide_history(bars).action.tolist() == bar_by_bar(policy, bars)


def test_flat_wants_nothing_whichever_side_is_held() -> None:
    window = HistoryWindow({"SPY": columns([1, 2])})
    window.move_to({"SPY": 1})
    assert Flat().decide(window, PnLTracker()) == {"SPY": Signal(Action.SELL, target_weight=0.0)}
    assert Flat().decide_history(columns([1, 2])) is None


def test_large_prices_do_not_overflow_the_means() -> None:
    bars = columns([900_000_000 + step % 3 for step in range(120)])
    policy = SmaCrossover(20, 50)
    assert policy.decide_history(bars).action.tolist() == bar_by_bar(policy, bars)
    assert bars.bar(0).close == Decimal(9_000_000)
