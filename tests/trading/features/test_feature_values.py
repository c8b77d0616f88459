"""What each feature says, by numbers worked out by hand."""

from collections.abc import Callable
from datetime import UTC, datetime
from math import log, sqrt

import numpy as np
import pytest

from trading.bars import MISSING, BarColumns, Timeframe
from trading.features.feature_set import FeatureSet

BarsOf = Callable[..., BarColumns]
SetOf = Callable[..., FeatureSet]


def newest(features: FeatureSet, bars: BarColumns) -> float:
    """What the first feature says on the last bar."""
    return float(features.history(bars)[-1, 0])


def after(bars: int, *closes: float) -> list[float]:
    """Closes that end with these, after a long quiet time at 100."""
    return [100.0] * bars + list(closes)


def test_return_is_the_logarithm_of_the_change_over_its_bars(feature_set: SetOf, bars_of: BarsOf) -> None:
    bars = bars_of([100, 50, 110, 121])
    assert newest(feature_set("return"), bars) == pytest.approx(log(1.1), abs=1e-15)
    assert newest(feature_set(("return", {"bars": 2})), bars) == pytest.approx(log(2.42), abs=1e-15)


def test_realised_volatility_is_the_root_mean_square_of_the_returns(feature_set: SetOf, bars_of: BarsOf) -> None:
    # Returns ln 2, -ln 2, 0: the mean of the squares is 2/3 of (ln 2) squared.
    bars = bars_of([100, 200, 100, 100])
    assert newest(feature_set(("realised_volatility", {"bars": 3})), bars) == pytest.approx(log(2) * sqrt(2 / 3))


def test_rsi_weighs_gains_against_losses_as_wilder_did(feature_set: SetOf, bars_of: BarsOf) -> None:
    # Over two bars each change weighs half of the next: gains 3 / 2 + 0 = 1.5, losses 0 / 2 + 1 = 1. 100 * 1.5 / 2.5 = 60.
    rsi = feature_set(("rsi", {"bars": 2}))
    assert newest(rsi, bars_of(after(50, 103, 102))) == pytest.approx(60, abs=1e-12)


def test_rsi_is_100_after_gains_alone_and_0_after_losses_alone(feature_set: SetOf, bars_of: BarsOf) -> None:
    rsi = feature_set(("rsi", {"bars": 2}))
    assert newest(rsi, bars_of(after(50, 101, 102))) == 100
    assert newest(rsi, bars_of(after(50, 99, 98))) == 0


def test_rsi_of_a_price_that_never_moved_is_50(feature_set: SetOf, bars_of: BarsOf) -> None:
    assert newest(feature_set("rsi"), bars_of(after(400))) == 50


def test_rsi_forgets_what_moved_before_its_window(feature_set: SetOf, bars_of: BarsOf) -> None:
    rsi = feature_set("rsi")
    quiet = rsi.warmup_bars - 1
    assert newest(rsi, bars_of([50.0, 200.0, *[100.0] * quiet])) == 0
    assert newest(rsi, bars_of([50.0, 200.0, 100.0, *[100.0] * quiet])) == 50


def test_ema_distance_is_measured_from_a_mean_in_which_the_newest_bar_weighs_two_of_bars_and_one(
    feature_set: SetOf, bars_of: BarsOf
) -> None:
    # Three bars: the newest weighs 2/4, so 100, 100, ..., 104 has the mean 102.
    bars = bars_of(after(50, 104))
    assert newest(feature_set(("ema_distance", {"bars": 3})), bars) == pytest.approx(104 / 102 - 1, abs=1e-9)


def test_ema_spread_is_the_fast_mean_over_the_slow_one(feature_set: SetOf, bars_of: BarsOf) -> None:
    # One bar at 112 weighs 2/4 in the fast mean (106) and 2/6 in the slow one (104).
    bars = bars_of(after(80, 112))
    spread = newest(feature_set(("ema_spread", {"fast": 3, "slow": 5})), bars)
    assert spread == pytest.approx(106 / 104 - 1, abs=1e-9)


def test_atr_counts_a_gap_as_range_and_is_a_fraction_of_the_close(feature_set: SetOf, bars_of: BarsOf) -> None:
    # The last bar runs from 108 to 110 after a close at 100: its true range is 10, and it weighs a half over two bars.
    quiet = [100.0] * 50
    bars = bars_of([*quiet, 108], highs=[*quiet, 110], lows=[*quiet, 108])
    assert newest(feature_set(("atr", {"bars": 2})), bars) == pytest.approx(5 / 108, abs=1e-9)


def test_atr_of_a_price_that_never_moved_is_0(feature_set: SetOf, bars_of: BarsOf) -> None:
    assert newest(feature_set("atr"), bars_of(after(400))) == 0


def test_bollinger_counts_standard_deviations_of_its_own_window(feature_set: SetOf, bars_of: BarsOf) -> None:
    # 1, 2, 3, 6: mean 3, squares around it 4 + 1 + 0 + 9 = 14, deviation sqrt(14 / 4); the newest lies 3 above.
    bars = bars_of([99, 1, 2, 3, 6])
    assert newest(feature_set(("bollinger", {"bars": 4})), bars) == pytest.approx(3 / sqrt(3.5), abs=1e-15)


def test_bollinger_of_a_flat_window_is_0_whatever_came_before(feature_set: SetOf, bars_of: BarsOf) -> None:
    bars = bars_of([0.01, 1_000_000, *[333.333333] * 20])
    assert newest(feature_set("bollinger"), bars) == 0


def test_volume_zscore_of_equal_volumes_is_0_and_of_one_missing_unknown(feature_set: SetOf, bars_of: BarsOf) -> None:
    zscore = feature_set(("volume_zscore", {"bars": 3}))
    # 0, 0, 300: mean 100, deviation sqrt((100² + 100² + 200²) / 3) = 141.42..., the newest 200 above.
    assert newest(zscore, bars_of([5] * 3, volumes=[0, 0, 300])) == pytest.approx(sqrt(2), abs=1e-15)
    assert newest(zscore, bars_of([5] * 3, volumes=[0, 0, 0])) == 0
    rows = zscore.history(bars_of([5] * 6, volumes=[7, 7, MISSING, 7, 7, 7]))[:, 0]
    assert np.isnan(rows[2:5]).all()
    assert rows[5] == 0


def session(feature_set: SetOf, name: str, bars: BarColumns) -> np.ndarray:
    """A feature of half-hour bars over the last session of ``bars``."""
    return feature_set(name, timeframe=Timeframe.MINUTE_30).history(bars)[-13:, 0]


def two_sessions(bars_of: BarsOf, closes: list[float], **columns: list[float]) -> BarColumns:
    """Half hours of Monday 5 and Tuesday 6 January 2026; Monday is one flat 50, its last close 40."""
    monday: dict[str, list[float]] = {"volumes": [1_000] * 13}
    before = [50.0] * 12 + [40.0]
    first = bars_of(before, first=datetime(2026, 1, 5, 14, 30, tzinfo=UTC), minutes=30, **monday)
    return first.joined(bars_of(closes, first=datetime(2026, 1, 6, 14, 30, tzinfo=UTC), minutes=30, **columns))


def test_vwap_distance_starts_anew_with_the_session_and_weighs_typical_prices_by_volume(
    feature_set: SetOf, bars_of: BarsOf
) -> None:
    # First bar: typical price (12 + 9 + 9) / 3 = 10 for 100 shares. Second: 20 for 300. VWAP (1,000 + 6,000) / 400 = 17.5.
    closes = [9.0, *[20.0] * 12]
    bars = two_sessions(bars_of, closes, highs=[12, *closes[1:]], volumes=[100, 300, *[0] * 11])
    said = session(feature_set, "vwap_distance", bars)
    assert said[0] == pytest.approx(9 / 10 - 1, abs=1e-15)
    assert said[1:] == pytest.approx([20 / 17.5 - 1] * 12, abs=1e-15)


def test_vwap_distance_before_any_volume_is_measured_from_the_typical_price(
    feature_set: SetOf, bars_of: BarsOf
) -> None:
    # Typical prices (12 + 9 + 9) / 3 = 10 and then the close itself.
    closes = [9.0, *[20.0] * 12]
    bars = two_sessions(bars_of, closes, highs=[12, *closes[1:]], volumes=[0] * 13)
    assert session(feature_set, "vwap_distance", bars) == pytest.approx([-0.1, *[0] * 12], abs=1e-15)


def test_vwap_distance_is_unknown_after_a_missing_volume_until_the_next_session(
    feature_set: SetOf, bars_of: BarsOf
) -> None:
    volumes = [100, MISSING, *[100] * 11]
    bars = two_sessions(bars_of, [20.0] * 13, volumes=volumes)
    said = session(feature_set, "vwap_distance", bars)
    assert said[0] == 0
    assert np.isnan(said[1:]).all()
    wednesday = bars_of([20] * 13, first=datetime(2026, 1, 7, 14, 30, tzinfo=UTC), minutes=30)
    assert session(feature_set, "vwap_distance", bars.joined(wednesday)).tolist() == [0] * 13


def test_session_return_is_measured_from_the_last_close_before_the_session(feature_set: SetOf, bars_of: BarsOf) -> None:
    said = session(feature_set, "session_return", two_sessions(bars_of, [44.0, *[80.0] * 12]))
    assert said == pytest.approx([log(1.1), *[log(2)] * 12], abs=1e-15)


def test_time_of_day_is_the_part_of_the_session_that_is_over_at_the_bars_end(
    feature_set: SetOf, bars_of: BarsOf
) -> None:
    # 390 minutes: the first bar ends after one of them, the last one at the close.
    said = feature_set("time_of_day").history(bars_of([1] * 391))[:, 0]
    assert said[:390] == pytest.approx(np.arange(1, 391) / 390, abs=1e-15)
    assert np.isnan(said[390]), "the minute after the close belongs to no session"


def test_a_half_day_runs_from_0_to_1_too_and_ends_three_hours_early(feature_set: SetOf, bars_of: BarsOf) -> None:
    # Friday 28 November 2025 closes at 13:00, 210 minutes after the open.
    friday = bars_of([1] * 210, first=datetime(2025, 11, 28, 14, 30, tzinfo=UTC))
    said = feature_set("time_of_day", "minutes_to_close", "day_of_week").history(friday)
    assert said[[0, 104, 209]].tolist() == [[1 / 210, 209, 1], [0.5, 105, 1], [1, 0, 1]]


def test_a_bar_that_the_close_cuts_short_ends_with_the_session(feature_set: SetOf, bars_of: BarsOf) -> None:
    # From 12:50 in New York, ten minutes before the close of a half day.
    friday = bars_of([1], first=datetime(2025, 11, 28, 17, 50, tzinfo=UTC))
    late = feature_set("time_of_day", "minutes_to_close", timeframe=Timeframe.MINUTE_15).history(friday)
    assert late.tolist() == [[1, 0]]


def test_day_of_week_runs_from_monday_0_to_friday_1(feature_set: SetOf, bars_of: BarsOf) -> None:
    week = [bars_of([1], first=datetime(2026, 1, day, 15, 0, tzinfo=UTC)) for day in (5, 6, 7, 8, 9)]
    said = [newest(feature_set("day_of_week"), bars) for bars in week]
    assert said == [0, 0.25, 0.5, 0.75, 1]


def test_clocks_that_change_move_the_session_in_utc_and_not_the_time_of_day(
    feature_set: SetOf, bars_of: BarsOf
) -> None:
    # New York is five hours behind on Friday 7 March 2025 and four on Monday 10 March.
    friday = bars_of([1], first=datetime(2025, 3, 7, 14, 30, tzinfo=UTC))
    monday = bars_of([1], first=datetime(2025, 3, 10, 13, 30, tzinfo=UTC))
    assert feature_set("time_of_day").history(friday.joined(monday))[:, 0].tolist() == [1 / 390, 1 / 390]


@pytest.mark.parametrize("name", ["time_of_day", "minutes_to_close", "day_of_week"])
def test_a_bar_outside_of_all_sessions_has_no_time_features(feature_set: SetOf, bars_of: BarsOf, name: str) -> None:
    # A Saturday, and the minute before a Monday's open.
    for moment in (datetime(2026, 1, 3, 15, 0, tzinfo=UTC), datetime(2026, 1, 5, 14, 29, tzinfo=UTC)):
        assert np.isnan(newest(feature_set(name), bars_of([1], first=moment)))


def test_a_price_that_is_none_makes_unknown_what_looks_at_it_and_nothing_later(
    feature_set: SetOf, bars_of: BarsOf
) -> None:
    rows = feature_set("return", ("bollinger", {"bars": 3})).history(bars_of([1, 1, 1, 0, 1, 1, 1, 1]))
    assert np.isnan(rows[:, 0]).tolist() == [True, True, False, True, True, False, False, False]
    assert np.isnan(rows[:, 1]).tolist() == [True, True, False, True, True, True, False, False]
