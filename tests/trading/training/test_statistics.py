"""Figures of a record, against numbers worked out by hand, published examples, and scipy."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from trading.bars import to_epoch_us
from trading.orders import Execution, Fill, Side
from trading.pnl_tracker import PnLTracker
from trading.training.round_trips import round_trips
from trading.training.sharpe import Sharpe, deflated_sharpe, expected_maximum_sharpe, sharpe_of
from trading.training.statistics import Statistics, bar_returns, session_returns, statistics_of
from trading.training.track_record import TrackRecord

MONDAY = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
UNIT = 1_000_000


def at(number: int) -> datetime:
    """The open of the bar of that number: four a day, an hour apart."""
    return MONDAY + timedelta(days=number // 4, hours=number % 4)


def execution(number: int, side: Side, quantity: int, price: str, commission: str = "1") -> Execution:
    return Execution(f"x{number}", f"o{number}", "SPY", side, quantity, Decimal(price), Decimal(commission), at(number))


def record(equity: list[float], held: list[float] | None = None, fills: tuple[Execution, ...] = ()) -> TrackRecord:
    """A record of whole days of four bars that began with 1,000, worth after each close what its last bar was worth."""
    bars = len(equity)
    worth = np.array([round(one * UNIT) for one in equity], dtype=np.int64)
    value = np.array([round(one * UNIT) for one in held or [0.0] * bars], dtype=np.int64)
    times = np.array([to_epoch_us(at(number)) for number in range(bars)], dtype=np.int64)
    ends = np.arange(4, bars + 1, 4)
    dates = tuple(date(2026, 1, 5) + timedelta(days=day) for day in range(len(ends)))
    return TrackRecord(1_000 * UNIT, times, worth, value, dates, ends, worth[ends - 1], fills)


# Sharpe ratios


def test_a_ratio_is_mean_over_standard_deviation() -> None:
    found = sharpe_of([0.01, 0.03, 0.02, 0.02])

    # Mean 0.02; squares of deviations 1e-4 + 1e-4 over 3: deviation 0.00816497, ratio 2.449490 = sqrt(6).
    assert found is not None
    assert found.ratio == pytest.approx(math.sqrt(6))
    # Symmetric; fourth powers 2e-8 / 4 over (5e-5)^2 = 2.
    assert found.skewness == pytest.approx(0, abs=1e-9)
    assert found.kurtosis == pytest.approx(2)
    # (1 + (2 - 1) / 4 x 6) / 3 = 5 / 6.
    assert found.error == pytest.approx(math.sqrt(5 / 6))
    assert found.annual(252) == pytest.approx(math.sqrt(6 * 252))


def test_the_error_of_normal_returns_is_the_one_of_lo() -> None:
    # Lo 2002, table 1: a ratio of 1 over 60 observations has an error of 0.158; here n - 1 = 60 of them count.
    assert Sharpe(1.0, 61).error == pytest.approx(0.158, abs=0.0005)
    assert Sharpe(0.5, 13).error == pytest.approx(0.306, abs=0.0005)


def test_a_ratio_does_not_depend_on_the_size_of_returns() -> None:
    # A third over the root of a third, however small.
    for size in (1.0, 1e-3, 1e-200):
        found = sharpe_of([0.0, 0.0, size])
        assert found is not None
        assert (found.ratio, found.skewness, found.kurtosis) == pytest.approx((math.sqrt(1 / 3), math.sqrt(0.5), 1.5))


@given(st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=60))
def test_moments_are_those_of_scipy(returns: list[float]) -> None:
    found = sharpe_of(returns)
    if found is None:
        assert np.ptp(returns) < 1e-12
        return
    assert found.kurtosis >= found.skewness**2 + 1 - 1e-9
    if np.std(returns) > 1e-6:
        assert found.ratio == pytest.approx(np.mean(returns) / np.std(returns, ddof=1), rel=1e-9, abs=1e-12)
        assert found.skewness == pytest.approx(scipy.stats.skew(returns), rel=1e-6, abs=1e-6)
        assert found.kurtosis == pytest.approx(scipy.stats.kurtosis(returns, fisher=False), rel=1e-6, abs=1e-6)
        expected = scipy.stats.norm.cdf(found.ratio / found.error) if found.error else None
        assert found.probability_above() == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_the_published_example_of_many_trials_comes_out() -> None:
    # Bailey and Lopez de Prado 2014, "A numerical example": the best of 100 trials has an annual ratio of 2.5 over five years of 250
    # days, skewness -3 and kurtosis 10; annual ratios of the trials have a variance of 1/2.
    daily_variance = 0.5 / 250
    benchmark = expected_maximum_sharpe(daily_variance, 100)
    best = Sharpe(2.5 / math.sqrt(250), 1_250, skewness=-3.0, kurtosis=10.0)

    assert benchmark == pytest.approx(0.1132, abs=0.0001)
    assert best.probability_above(benchmark) == pytest.approx(0.9004, abs=0.0001)
    # With 46 trials it would have been significant at 95 %.
    assert best.probability_above(expected_maximum_sharpe(daily_variance, 46)) == pytest.approx(0.9505, abs=0.0001)


def test_the_highest_of_lucky_trials_is_as_high_as_expected() -> None:
    rng = np.random.default_rng(11)
    highest = rng.normal(0, 0.1, (4_000, 50)).max(axis=1).mean()

    assert expected_maximum_sharpe(0.01, 50) == pytest.approx(highest, rel=0.02)


def test_a_single_trial_has_nothing_to_be_deflated_by() -> None:
    best = Sharpe(0.1, 101)

    assert deflated_sharpe(best, [0.1]) == best.probability_above(0.0)
    assert deflated_sharpe(best, [0.1, 0.1]) == best.probability_above(0.0)
    deflated = deflated_sharpe(best, [0.1, 0.0, -0.1, 0.05])
    assert deflated is not None
    assert deflated < 0.8 < (best.probability_above(0.0) or 0)


def test_more_trials_deflate_more() -> None:
    best = Sharpe(0.2, 250)
    few = deflated_sharpe(best, [0.2, -0.1, 0.0, 0.1])
    many = deflated_sharpe(best, [0.2, -0.1, 0.0, 0.1] * 10)

    assert few is not None
    assert many is not None
    assert many < few


@pytest.mark.parametrize("returns", [[], [0.01], [0.0] * 10, [0.013] * 7])
def test_returns_that_say_nothing_have_no_ratio(returns: list[float]) -> None:
    assert sharpe_of(returns) is None
    assert deflated_sharpe(sharpe_of(returns), [0.1, 0.2]) is None


def test_trials_have_a_number_and_a_variance() -> None:
    with pytest.raises(ValueError, match="0 trials"):
        expected_maximum_sharpe(0.1, 0)
    with pytest.raises(ValueError, match="variance"):
        expected_maximum_sharpe(math.nan, 3)


# Round trips


def test_a_trip_goes_from_flat_to_flat() -> None:
    trips = round_trips(
        [
            execution(0, Side.BUY, 10, "100"),
            execution(1, Side.BUY, 10, "102"),
            execution(2, Side.SELL, 5, "103"),
            execution(3, Side.SELL, 15, "101"),
            execution(4, Side.BUY, 1, "50"),
        ]
    )

    # Paid 1,000 + 1,020 + 2, received 515 + 1,515 - 2: 6 are left. The last purchase is still held.
    (trip,) = trips
    assert (trip.side, trip.shares, trip.invested, trip.pnl) == (Side.BUY, 20, Decimal(2020), Decimal(6))
    assert (trip.opened_at, trip.closed_at) == (at(0), at(3))


def test_a_flip_ends_one_trip_and_begins_another() -> None:
    trips = round_trips(
        [
            execution(0, Side.BUY, 10, "100"),
            execution(1, Side.SELL, 40, "101", "2"),
            execution(2, Side.BUY, 30, "99"),
        ]
    )

    # A quarter of the flip's commission is paid for closing: 10 - 1 - 0.50; then short 30 from 101 to 99: 60 - 1.50 - 1.
    assert [(trip.side, trip.pnl) for trip in trips] == [(Side.BUY, Decimal("8.5")), (Side.SELL, Decimal("57.5"))]


@given(
    st.lists(
        st.tuples(st.sampled_from(Side), st.integers(1, 50), st.integers(9_000, 11_000), st.integers(0, 300)),
        max_size=30,
    )
)
def test_trips_and_the_book_agree_on_what_was_made(traded: list[tuple[Side, int, int, int]]) -> None:
    fills = [
        execution(number, side, quantity, str(Decimal(cents) / 100), str(Decimal(fee) / 100))
        for number, (side, quantity, cents, fee) in enumerate(traded)
    ]
    held = sum(fill.side.sign * fill.quantity for fill in fills)
    if held:
        fills.append(execution(len(fills), Side.SELL if held > 0 else Side.BUY, abs(held), "100"))
    book = PnLTracker()
    book.initialize_portfolio_state(Decimal(1_000), [Fill(fill, "s", "a", "paper") for fill in fills])

    trips = round_trips(fills)
    assert sum((trip.pnl for trip in trips), Decimal(0)) == book.realized
    assert all(trip.invested > 0 for trip in trips)


# Records


def test_figures_of_two_days() -> None:
    fills = (execution(1, Side.BUY, 5, "100"), execution(5, Side.SELL, 5, "104", "3"))
    days = record(
        [1_000, 999, 989, 1_009, 1_009, 1_016, 1_016, 1_016],
        [0, 500, 490, 510, 510, 0, 0, 0],
        fills,
    )
    found = statistics_of(days)

    assert (found.sessions, found.bars, found.executions, found.trips) == (2, 8, 2, 1)
    assert found.total_return == pytest.approx(0.016)
    assert session_returns(days).tolist() == pytest.approx([0.009, 1_016 / 1_009 - 1])
    assert bar_returns(days)[:3].tolist() == pytest.approx([0, -0.001, -10 / 999])
    assert found.commissions == Decimal(4)
    # 500 and 520 were traded, on two days of a mean equity of 8,054 / 8.
    assert found.turnover == pytest.approx(1_020 / 1_006.75 / 2)
    assert found.exposure == 0.5
    assert found.gross_exposure == pytest.approx(2_010 / 8 / 1_006.75)
    # 520 - 3 - 501 = 16 on 500.
    assert (found.hit_rate, found.average_trade) == (1.0, Decimal(16))
    assert found.average_trade_fraction == pytest.approx(16 / 500)


def test_the_deepest_fall_has_its_dates() -> None:
    fall = statistics_of(record([1_000, 1_010, 990, 1_000, 1_020, 969, 980, 1_020])).drawdown

    assert fall is not None
    assert fall.fraction == pytest.approx(51 / 1_020)
    assert (fall.peak_at, fall.trough_at, fall.recovered_at) == (at(4), at(5), at(7))


def test_a_fall_from_the_beginning_has_no_high_and_one_that_lasts_no_end() -> None:
    fall = statistics_of(record([995, 990, 992, 999])).drawdown

    assert fall is not None
    assert fall.fraction == pytest.approx(0.01)
    assert (fall.peak_at, fall.trough_at, fall.recovered_at) == (None, at(1), None)


def test_what_the_closing_auction_costs_is_part_of_the_day() -> None:
    plain = record([1_000, 1_000, 1_000, 1_000])
    after = TrackRecord(
        plain.starting_equity,
        plain.bar_time,
        plain.equity,
        plain.market_value,
        plain.session_dates,
        plain.session_ends,
        np.array([990 * UNIT]),
        (),
    )
    found = statistics_of(after)

    assert found.total_return == pytest.approx(-0.01)
    assert session_returns(after).tolist() == pytest.approx([-0.01])
    assert found.drawdown is not None
    assert (found.drawdown.fraction, found.drawdown.trough_at) == (pytest.approx(0.01), at(3))


def test_a_record_in_which_nothing_happened_tells_nothing_it_cannot_know() -> None:
    found = statistics_of(record([1_000.0] * 8))

    assert found == Statistics(2, 8, 0.0, None, None, 0.0, 0.0, 0.0, Decimal(0), 0, 0, None, None, None)
    assert (found.annual_sharpe, found.annual_sharpe_error, found.probabilistic_sharpe) == (None, None, None)


def test_an_empty_record_has_an_answer() -> None:
    found = statistics_of(record([]))

    assert found == Statistics(0, 0, 0.0, None, None, None, None, None, Decimal(0), 0, 0, None, None, None)


def test_one_session_has_a_return_and_no_ratio() -> None:
    found = statistics_of(record([1_000, 1_001, 1_002, 1_003]))

    assert found.total_return == pytest.approx(0.003)
    assert found.sharpe is None


def test_an_account_that_lost_everything_returns_nothing_more() -> None:
    assert session_returns(record([0.0] * 4 + [-10.0] * 4 + [-5.0] * 4)).tolist() == [-1.0, 0.0, 0.0]


def test_columns_of_a_record_go_together() -> None:
    good = record([1_000.0] * 4)

    with pytest.raises(ValueError, match="4 bars, 3 equities"):
        TrackRecord(
            1,
            good.bar_time,
            good.equity[:3],
            good.market_value,
            good.session_dates,
            good.session_ends,
            good.session_equity,
            (),
        )
    with pytest.raises(ValueError, match="1 sessions, 1 ends and 0 equities"):
        TrackRecord(
            1, good.bar_time, good.equity, good.market_value, good.session_dates, good.session_ends, np.array([]), ()
        )
    with pytest.raises(ValueError, match="ends after 9 of 4 bars"):
        TrackRecord(
            1, good.bar_time, good.equity, good.market_value, good.session_dates, np.array([9]), good.session_equity, ()
        )
