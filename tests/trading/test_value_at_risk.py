import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.bars import Bar, BarSlice, Column
from trading.market_window import LiveWindow
from trading.risk_rules import TailRisk
from trading.value_at_risk import BookScenarios, TailScenarios, TooLittleHistory

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MICRO = Decimal("0.000001")


class Market:
    """Closes by minute and symbol, a window that has seen them, and the same returns computed without any of our code."""

    def __init__(self, *symbols: str, kept: int = 300) -> None:
        self.window = LiveWindow(symbols, kept, 1 << 24, timedelta(days=1))
        self.closes: dict[str, dict[int, Decimal]] = {symbol: {} for symbol in symbols}

    def see(self, minute: int, **closes: float | str) -> None:
        at = OPENS + minute * MINUTE
        bars = {}
        for symbol, close in closes.items():
            price = Decimal(str(close))
            self.closes[symbol][minute] = price
            bars[symbol] = Bar(symbol, at, price, price, price, price, 1_000)
        self.window.advance(BarSlice(at, bars))

    def returns(self, symbol: str, count: int) -> dict[int, float]:
        minutes = sorted(self.closes[symbol])
        pairs = list(itertools.pairwise(minutes))
        return {
            after: float(self.closes[symbol][after] / self.closes[symbol][before] - 1)
            for before, after in pairs[-count:]
        }

    def losses(self, worth: Mapping[str, float], symbols: Sequence[str], count: int) -> list[float]:
        """What positions would have lost on each of the newest ``count`` minutes on which any of the symbols has a return."""
        returns = {symbol: self.returns(symbol, count) for symbol in symbols}
        minutes = sorted(set().union(*returns.values()))[-count:]
        return [-sum(worth.get(name, 0) * returns[name].get(minute, 0.0) for name in symbols) for minute in minutes]


def tail_of(losses: Sequence[float], beyond: Decimal, horizon: int) -> tuple[float, float]:
    count = max(int(beyond * len(losses)), 1)
    worst = sorted(losses)[-count:]
    return max(worst[0], 0) * math.sqrt(horizon), max(sum(worst) / count, 0) * math.sqrt(horizon)


def same(found: TailRisk, expected: tuple[float, float]) -> bool:
    return all(
        math.isclose(float(ours), theirs, rel_tol=1e-9, abs_tol=2e-6)
        for ours, theirs in zip((found.value_at_risk, found.expected_shortfall), expected, strict=True)
    )


# The tail of a short list, by hand


def book(*losses: float, returns: Sequence[float] = (), beyond: str = "0.2", horizon: int = 1) -> BookScenarios:
    values = np.array(returns or [0.0] * len(losses))
    return BookScenarios(np.array(losses), values, Decimal(beyond), math.sqrt(horizon))


TEN = (5.0, -3.0, 40.0, 1.0, -20.0, 30.0, 2.0, 0.0, -1.0, 10.0)


@pytest.mark.parametrize(
    ("beyond", "value_at_risk", "expected_shortfall"),
    [
        # Sorted: ... 5, 10, 30, 40. Of ten a tenth is the worst one, two tenths the two worst.
        ("0.1", 40, 40),
        ("0.19", 40, 40),
        ("0.2", 30, 35),
        ("0.3", 10, Decimal(80) / 3),
        ("0.5", 2, Decimal("17.4")),
        # Fewer than one is one.
        ("0.01", 40, 40),
    ],
)
def test_the_tail_of_ten_losses(beyond: str, value_at_risk: int, expected_shortfall: Decimal) -> None:
    found = book(*TEN, beyond=beyond).with_added(Decimal(0))
    assert found.value_at_risk == value_at_risk
    assert 0 <= found.expected_shortfall - expected_shortfall < MICRO


@pytest.mark.parametrize("count", [100, 200, 250])
def test_the_least_loss_of_the_tail_is_numpys_quantile(count: int) -> None:
    losses = np.random.default_rng(count).normal(0, 100, count)
    found = BookScenarios(losses, np.zeros(count), Decimal("0.02"), 1.0).with_added(Decimal(0))
    # With k losses in the tail of n, the k-th worst has n - k below it.
    quantile = np.quantile(losses, (count - int(0.02 * count)) / (count - 1), method="higher")
    assert abs(float(found.value_at_risk) - quantile) < 2e-6
    assert abs(float(found.expected_shortfall) - losses[losses >= quantile].mean()) < 2e-6


def test_a_tail_is_rounded_up_to_the_micro() -> None:
    assert book(0.00000123, beyond="0.5").with_added(Decimal(0)).value_at_risk == Decimal("0.000002")
    assert book(1.0, beyond="0.5").with_added(Decimal(0)).value_at_risk == 1


def test_a_book_that_cannot_lose_has_no_tail_below_zero() -> None:
    assert book(-5.0, -1.0).with_added(Decimal(0)) == TailRisk(Decimal(0), Decimal(0))
    # One loss and a gain: the mean of both is a gain.
    assert book(1.0, -5.0, beyond="1").with_added(Decimal(0)) == TailRisk(Decimal(0), Decimal(0))


def test_what_is_added_moves_with_its_own_returns() -> None:
    # 1,000 more lose 10, gain 20, lose nothing; 1,000 fewer the opposite.
    scenarios = book(1.0, 2.0, 3.0, returns=(-0.01, 0.02, 0.0))
    assert scenarios.with_added(Decimal(1_000)).value_at_risk == 11
    assert scenarios.with_added(Decimal(-1_000)).value_at_risk == 22
    # Asking does not change it.
    assert scenarios.with_added(Decimal(0)).value_at_risk == 3


def test_a_longer_horizon_is_scaled_by_the_root_of_time() -> None:
    found = book(*TEN, horizon=4).with_added(Decimal(0))
    assert (found.value_at_risk, found.expected_shortfall) == (60, 70)


# Returns


def test_a_symbol_by_itself() -> None:
    market = Market("SPY")
    for minute, close in enumerate(("100", "99", "99", "101.97", "100.9503")):
        market.see(minute, SPY=close)
    tails = TailScenarios(20, Decimal("0.5"), 1)
    # -1%, 0, +3%, -1%: of 1,000 the two worst lose 10 each.
    found = tails.of_book(market.window, {}, "SPY").with_added(Decimal(1_000))
    assert same(found, (10, 10))
    # Of 1,000 sold short the two worst lose 30 and nothing.
    assert same(tails.of_book(market.window, {}, "SPY").with_added(Decimal(-1_000)), (0, 15))


@pytest.mark.parametrize(
    ("confidence", "bars", "least"), [("0.99", 250, 100), ("0.95", 250, 20), ("0.99", 60, 60), ("0.5", 20, 2)]
)
def test_too_little_history_is_no_estimate(confidence: str, bars: int, least: int) -> None:
    market = Market("SPY", "QQQ")
    tails = TailScenarios(bars, Decimal(confidence), 1)
    assert tails.least == least
    with pytest.raises(TooLittleHistory, match=f"0 returns of SPY are known, {least} are needed"):
        tails.of_book(market.window, {}, "SPY")
    for minute in range(least):
        market.see(minute, SPY=100 + minute, QQQ=50)
        if minute == 0:  # one bar has no return
            with pytest.raises(TooLittleHistory, match="0 returns of SPY are known"):
                tails.of_book(market.window, {}, "SPY")
    with pytest.raises(TooLittleHistory, match=f"{least - 1} returns of SPY are known, {least} are needed"):
        tails.of_book(market.window, {}, "SPY")
    market.see(least, SPY=100)
    tails.of_book(market.window, {}, "SPY")
    # What is held has to be known as well.
    with pytest.raises(TooLittleHistory, match="of QQQ"):
        tails.of_book(market.window, {"QQQ": Decimal(1)}, "SPY")


def walk(seed: int, count: int) -> list[float]:
    return np.round(100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, count))), 4).tolist()


def test_returns_that_come_one_by_one_are_those_computed_at_once_however_often_the_room_is_used_up() -> None:
    market, tails = Market("SPY", "QQQ"), TailScenarios(20, Decimal("0.9"), 1)
    worth = {"QQQ": Decimal(-3_000)}
    for minute, (spy, qqq) in enumerate(zip(walk(1, 130), walk(2, 130), strict=True)):
        market.see(minute, SPY=spy, QQQ=qqq)
        if minute < 10:
            continue
        found = tails.of_book(market.window, worth, "SPY").with_added(Decimal(5_000))
        losses = market.losses({"QQQ": -3_000, "SPY": 5_000}, ("SPY", "QQQ"), 20)
        assert len(losses) == min(minute, 20)
        assert same(found, tail_of(losses, Decimal("0.1"), 1))


@pytest.mark.parametrize("begun", [4, 25])
@pytest.mark.parametrize("pause", [2, 3, 7, 19, 20, 21, 39, 40, 41, 100])
def test_bars_that_came_meanwhile_are_caught_up_with(begun: int, pause: int) -> None:
    market, tails = Market("SPY"), TailScenarios(20, Decimal("0.7"), 1)
    closes = walk(3, 280)
    for minute in range(begun + 1):
        market.see(minute, SPY=closes[minute])
    tails.of_book(market.window, {}, "SPY")
    asked = begun + 1
    for again in range(2):
        for minute in range(asked, asked + pause):
            market.see(minute, SPY=closes[minute])
        asked += pause
        found = tails.of_book(market.window, {}, "SPY").with_added(Decimal(1_000))
        assert same(found, tail_of(market.losses({"SPY": 1_000}, ("SPY",), 20), Decimal("0.3"), 1)), again


# What a book can lose at the very most


def test_a_book_loses_at_most_every_position_at_its_own_worst_bar() -> None:
    market, tails = Market("SPY", "QQQ"), TailScenarios(20, Decimal("0.5"), 4)
    for minute, (spy, qqq) in enumerate((("100", "100"), ("90", "103"), ("99", "103"), ("99", "100"))):
        market.see(minute, SPY=spy, QQQ=qqq)
    # SPY moved by a tenth at most, QQQ by 3%; over four bars twice that, whatever the signs.
    assert same_money(tails.at_most(market.window, {}, "SPY", Decimal(1_000)), 200)
    assert same_money(tails.at_most(market.window, {}, "SPY", Decimal(-1_000)), 200)
    assert same_money(tails.at_most(market.window, {"QQQ": Decimal(-5_000)}, "SPY", Decimal(1_000)), 500)
    assert same_money(tails.at_most(market.window, {"QQQ": Decimal(5_000)}, "SPY", Decimal(0)), 300)


def same_money(found: Decimal, expected: float) -> bool:
    return math.isclose(float(found), expected, rel_tol=1e-9, abs_tol=2e-6)


@pytest.mark.parametrize("bars", [20, 21, 35])
def test_a_wild_bar_counts_until_it_is_out_of_sight(bars: int) -> None:
    market, tails = Market("SPY"), TailScenarios(bars, Decimal("0.9"), 1)
    for minute, close in enumerate(walk(9, 150)):
        market.see(minute, SPY=close * (3 if minute in (31, 90, 91) else 1))
        if minute < 15:
            continue
        largest = max(abs(value) for value in market.returns("SPY", bars).values())
        assert same_money(tails.at_most(market.window, {}, "SPY", Decimal(1_000)), 1_000 * largest)


def test_without_history_there_is_no_bound() -> None:
    market, tails = Market("SPY", "QQQ"), TailScenarios(20, Decimal("0.5"), 1)
    for minute in range(3):
        market.see(minute, SPY=100 + minute)
    with pytest.raises(TooLittleHistory, match="of QQQ"):
        tails.at_most(market.window, {"QQQ": Decimal(1)}, "SPY", Decimal(1))
    with pytest.raises(TooLittleHistory, match="of QQQ"):
        tails.at_most(market.window, {}, "QQQ", Decimal(1))


class Read:
    """A window that counts the bars that are read from it at once."""

    def __init__(self, window: LiveWindow) -> None:
        self._window = window
        self.most = 0

    def times(self, symbol: str, count: int) -> Column:
        self.most = max(self.most, count)
        return self._window.times(symbol, count)

    def closes(self, symbol: str, count: int) -> Column:
        self.most = max(self.most, count)
        return self._window.closes(symbol, count)


def test_a_new_bar_is_all_that_is_read() -> None:
    market, tails = Market("SPY"), TailScenarios(20, Decimal("0.9"), 1)
    for minute, close in enumerate(walk(8, 60)):
        market.see(minute, SPY=close)
        if minute < 30:
            continue
        for again in (False, True):
            window = Read(market.window)
            tails.of_book(window, {}, "SPY")  # type: ignore[arg-type]
            assert window.most == (21 if minute == 30 and not again else 2)


def test_a_bar_that_was_seen_is_not_added_again() -> None:
    market, tails = Market("SPY"), TailScenarios(20, Decimal("0.5"), 1)
    for minute, close in enumerate((100, 90, 99)):
        market.see(minute, SPY=close)
    first = tails.of_book(market.window, {}, "SPY").with_added(Decimal(100))
    assert [tails.of_book(market.window, {}, "SPY").with_added(Decimal(100)) for _ in range(3)] == [first] * 3


def test_a_bar_that_did_not_come_is_no_return() -> None:
    market, tails = Market("SPY", "QQQ"), TailScenarios(20, Decimal("0.5"), 1)
    market.see(0, SPY=100, QQQ=100)
    market.see(1, SPY=90, QQQ=100)
    market.see(2, QQQ=80)
    market.see(3, SPY=90, QQQ=80)
    market.see(4, SPY=45)
    market.see(5, QQQ=80)
    # SPY lost a tenth at 1 and half at 4, QQQ a fifth at 2: never both at once. Of five bars the two worst are 500 and 200.
    found = tails.of_book(market.window, {"QQQ": Decimal(1_000)}, "SPY").with_added(Decimal(1_000))
    assert same(found, (200, 350))
    assert same(found, tail_of(market.losses({"SPY": 1_000, "QQQ": 1_000}, ("SPY", "QQQ"), 20), Decimal("0.5"), 1))


def test_symbols_that_missed_other_bars_are_told_apart_though_their_times_add_up_alike() -> None:
    # 1 + 5 + 6 = 2 + 3 + 7, and so do their squares: what is missing of one is not what is missing of the other.
    market, tails = Market("SPY", "QQQ"), TailScenarios(20, Decimal("0.75"), 1)
    for minute, (spy, qqq) in enumerate(zip(walk(4, 12), walk(5, 12), strict=True)):
        closes = {"SPY": spy, "QQQ": qqq}
        for symbol, missed in (("SPY", (2, 6, 7)), ("QQQ", (3, 4, 8))):
            if minute in missed:
                del closes[symbol]
        market.see(minute, **closes)
    found = tails.of_book(market.window, {"QQQ": Decimal(1_000)}, "SPY").with_added(Decimal(1_000))
    assert same(found, tail_of(market.losses({"SPY": 1_000, "QQQ": 1_000}, ("SPY", "QQQ"), 20), Decimal("0.25"), 1))


def test_a_held_symbol_that_stopped_long_ago_keeps_its_place_in_time() -> None:
    market, tails = Market("SPY", "QQQ"), TailScenarios(20, Decimal("0.9"), 1)
    for minute, (spy, qqq) in enumerate(zip(walk(6, 60), walk(7, 60), strict=True)):
        if minute < 25:
            market.see(minute, SPY=spy, QQQ=qqq)
        else:
            market.see(minute, SPY=spy)
        if minute >= 20:
            found = tails.of_book(market.window, {"QQQ": Decimal(9_000)}, "SPY").with_added(Decimal(1_000))
            losses = market.losses({"SPY": 1_000, "QQQ": 9_000}, ("SPY", "QQQ"), 20)
            assert same(found, tail_of(losses, Decimal("0.1"), 1))


@given(
    presence=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()), min_size=30, max_size=120),
    bars=st.sampled_from([20, 25, 40]),
    confidence=st.sampled_from(["0.5", "0.9"]),
    seed=st.integers(0, 9),
)
def test_whatever_comes_and_whenever_it_is_asked_the_tail_is_the_plain_one(
    presence: list[tuple[bool, bool, bool, bool]], bars: int, confidence: str, seed: int
) -> None:
    names = ("SPY", "QQQ", "IWM")
    market, tails = Market(*names), TailScenarios(bars, Decimal(confidence), 9)
    walks = {name: walk(3 * seed + place, len(presence)) for place, name in enumerate(names)}
    worth = {"QQQ": 4_000, "IWM": -2_500}
    for minute, (*present, asked) in enumerate(presence):
        seen = {name: walks[name][minute] for name, there in zip(names, present, strict=True) if there}
        market.see(minute, **seen)
        held = {name: Decimal(amount) for name, amount in worth.items()}
        enough = all(len(market.returns(name, bars)) >= tails.least for name in names)
        if asked and enough:
            found = tails.of_book(market.window, held, "SPY").with_added(Decimal(3_000))
            losses = market.losses({**worth, "SPY": 3_000}, names, bars)
            assert same(found, tail_of(losses, 1 - Decimal(confidence), 9))
            at_most = tails.at_most(market.window, held, "SPY", Decimal(3_000))
            assert at_most >= found.expected_shortfall >= found.value_at_risk
            largest = {name: max(map(abs, market.returns(name, bars).values())) for name in names}
            assert same_money(
                at_most, 3 * sum(abs(amount) * largest[name] for name, amount in {**worth, "SPY": 3_000}.items())
            )
