"""Nothing of a test is known to its training: not by order, not by labels that look into it, not by sessions right before it."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trading.bars import BarColumns, to_epoch_us
from trading.calendar import TradingCalendar
from trading.errors import ConfigurationError
from trading.training.labels import UNLABELLED, forward_returns, session_numbers
from trading.training.splits import WalkForward, walk_forward

DAYS = TradingCalendar("XNYS", date(2025, 11, 26)).sessions_between(date(2025, 11, 17), date(2025, 12, 5))


def half_hours(missing: frozenset[int] = frozenset()) -> BarColumns:
    """Half-hour bars of all days (14, one of them a half day) at one price; those of ``missing`` rows never came."""
    times = []
    for hours in DAYS:
        at = hours.opens_at
        while at < hours.closes_at:
            times.append(to_epoch_us(at))
            at += timedelta(minutes=30)
    there = np.array([time for row, time in enumerate(times) if row not in missing])
    price = np.full(len(there), 100_000_000)
    return BarColumns("SPY", there, price, price, price, price, price)


def test_an_expanding_window_keeps_its_beginning() -> None:
    bars = half_hours()
    _, end = forward_returns(bars, DAYS, 1)
    first, second = walk_forward(
        bars, DAYS, end, WalkForward(folds=2, test_sessions=3, train_sessions=7, embargo_sessions=1)
    )

    # 14 days: the tests are the last 3 and the 3 before, one day before each is left out.
    assert first.train_dates == tuple(day.session_date for day in DAYS[:7])
    assert first.test_dates == tuple(day.session_date for day in DAYS[8:11])
    assert second.train_dates == tuple(day.session_date for day in DAYS[:10])
    assert second.test_dates == tuple(day.session_date for day in DAYS[11:])
    # Of 13 bars a day 12 have a bar to look at; the half day, which has 7, is the ninth: 26 November is the 8th, the 28th the 9th.
    assert (len(first.train), len(first.test)) == (7 * 12, 7 + 2 * 13)
    assert (len(second.train), second.purged) == (9 * 12 + 6, 0)


def test_a_rolling_window_has_its_length() -> None:
    bars = half_hours()
    _, end = forward_returns(bars, DAYS, 1)
    plan = WalkForward(folds=3, test_sessions=2, train_sessions=4, rolling=True)
    folds = walk_forward(bars, DAYS, end, plan)

    assert [fold.train_dates[0] for fold in folds] == [DAYS[4].session_date, DAYS[6].session_date, DAYS[8].session_date]
    assert {len(fold.train_dates) for fold in folds} == {4}


def test_labels_that_look_into_the_test_are_purged() -> None:
    bars = half_hours()
    _, end = forward_returns(bars, DAYS, 5, across_sessions=True)
    (fold,) = walk_forward(bars, DAYS, end, WalkForward(folds=1, test_sessions=1, train_sessions=13))

    # The last five bars before the test look into it.
    assert fold.purged == 5
    assert fold.train[-1] == fold.test[0] - 6


def test_too_few_sessions_are_refused_with_the_number_that_is_needed() -> None:
    bars = half_hours()
    _, end = forward_returns(bars, DAYS, 1)

    with pytest.raises(ConfigurationError, match=r"14 sessions are too few.*need 15"):
        walk_forward(bars, DAYS, end, WalkForward(folds=3, test_sessions=3, train_sessions=5, embargo_sessions=1))


@pytest.mark.parametrize(
    "numbers",
    [(0, 1, 1, 0), (1, 0, 1, 0), (1, 1, 0, 0), (1, 1, 1, -1)],
)
def test_numbers_that_are_no_split_are_refused(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match="folds"):
        WalkForward(*numbers)


def test_a_fold_without_anything_to_train_on_is_refused() -> None:
    bars = half_hours()
    nothing = np.full(len(bars), UNLABELLED)

    with pytest.raises(ConfigurationError, match="train on"):
        walk_forward(bars, DAYS, nothing, WalkForward(folds=1, test_sessions=1, train_sessions=1))


@given(
    horizon=st.integers(1, 30),
    across=st.booleans(),
    folds=st.integers(1, 4),
    tested=st.integers(1, 3),
    trained=st.integers(1, 6),
    embargo=st.integers(0, 2),
    rolling=st.booleans(),
    missing=st.frozensets(st.integers(0, 175), max_size=60),
)
def test_no_training_row_knows_of_its_test(
    horizon: int,
    across: bool,
    folds: int,
    tested: int,
    trained: int,
    embargo: int,
    rolling: bool,
    missing: frozenset[int],
) -> None:
    plan = WalkForward(folds, tested, trained, embargo, rolling)
    assume(plan.sessions_needed <= len(DAYS))
    assume(across or horizon < 6)
    bars = half_hours(missing)
    numbers = session_numbers(bars, DAYS)
    _, end = forward_returns(bars, DAYS, horizon, across_sessions=across)
    try:
        made = walk_forward(bars, DAYS, end, plan)
    except ConfigurationError:
        assume(False)

    for fold in made:
        assert np.all(end[fold.train] != UNLABELLED)
        assert np.all(end[fold.train] >= fold.train)
        assert end[fold.train].max() < fold.test[0]
        # Whole sessions of embargo lie between them.
        assert numbers[fold.train].max() < numbers[fold.test].min() - embargo
        assert np.all(np.diff(fold.train) > 0)
        if rolling:
            assert numbers[fold.train].min() >= numbers[fold.test].min() - embargo - trained
        # What is left out of the training's sessions either has no label or was purged.
        first = DAYS.index(next(day for day in DAYS if day.session_date == fold.train_dates[0]))
        labelled = np.flatnonzero((numbers >= first) & (numbers < first + len(fold.train_dates)) & (end != UNLABELLED))
        assert set(labelled.tolist()) - set(fold.train.tolist()) == {
            row for row in labelled.tolist() if end[row] >= fold.test[0]
        }
        assert fold.purged == len(labelled) - len(fold.train)
    # The tests follow one another, and together are the last sessions, every bar of them.
    together = np.concatenate([fold.test for fold in made])
    assert together.tolist() == np.flatnonzero(numbers >= len(DAYS) - folds * tested).tolist()
