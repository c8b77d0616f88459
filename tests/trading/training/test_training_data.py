"""What a training works on: rows that may be used, and rows that may not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from trading.bars import BarColumns
from trading.calendar import TradingCalendar
from trading.errors import ConfigurationError
from trading.settings import Settings
from trading.trading_hours import TradingHours
from trading.training.training_data import TrainingData, fingerprint_of_bars, prepare

Market = Callable[..., BarColumns]


def sessions_of(count: int) -> list[TradingHours]:
    return TradingCalendar("XNYS", date(2026, 1, 5)).sessions_between(date(2026, 1, 5), date(2026, 3, 31))[:count]


def data_of(bars: Sequence[BarColumns], count: int, **train: Any) -> TrainingData:
    """Bars of 5 minutes, one feature that is warm from the second bar on, a label that looks 3 bars ahead."""
    settings = Settings.model_validate(
        {
            "session": {"timeframe": "5min", "symbols": [one.symbol for one in bars]},
            "train": {
                "features": [{"name": "return", "parameters": {"bars": 1}}],
                "label": {"horizon_bars": 3, "across_sessions": True},
                "walk_forward": {"folds": 2, "test_sessions": 2, "train_sessions": 3, "embargo_sessions": 0},
                **train,
            },
        }
    )
    return prepare(settings, {one.symbol: one for one in bars}, sessions_of(count))


def test_what_looks_into_the_test_is_purged_in_every_symbol(market_that_reverts: Market) -> None:
    data = data_of([market_that_reverts(sessions=7), market_that_reverts(sessions=7, seed=2, symbol="QQQ")], 7)
    assert [fold.test_dates[0].isoformat() for fold in data.folds] == ["2026-01-08", "2026-01-12"]
    for fold in data.folds:
        # The last three bars before the test look into it, of two symbols.
        assert fold.purged == 2 * 3
        for symbol, rows in fold.train.items():
            assert data.labels is not None
            assert data.labels[symbol].end[rows].max() < fold.test[symbol][0]
            # The bar whose label ends with the last one before the test is used.
            assert rows[-1] == fold.test[symbol][0] - 1 - 3


def test_an_embargo_leaves_whole_sessions_out(market_that_reverts: Market) -> None:
    split = {"folds": 1, "test_sessions": 2, "train_sessions": 3, "embargo_sessions": 2}
    [fold] = data_of([market_that_reverts(sessions=7)], 7, walk_forward=split).folds
    assert (fold.train_dates[-1].isoformat(), fold.test_dates[0].isoformat()) == ("2026-01-07", "2026-01-12")
    assert fold.train["SPY"][-1] == 3 * 78 - 1
    assert fold.test["SPY"][0] == 5 * 78


def test_only_told_and_labelled_rows_are_fitted_on(market_that_reverts: Market) -> None:
    data = data_of([market_that_reverts(sessions=7)], 7)
    dates = [hours.session_date for hours in data.sessions]
    rows = data.trainable(data.within(dates))
    # Of 546 bars the first has no return yet, and the last three look beyond the end.
    assert len(rows["SPY"]) == 546 - 1 - 3
    seen, values, sides = data.pooled(rows)
    assert np.isfinite(seen).all()
    assert np.isfinite(values).all()
    close = data.bars["SPY"].close
    assert seen[0, 0] == pytest.approx(np.log(close[1] / close[0]))
    assert values[0] == pytest.approx(np.log(close[4] / close[1]))
    assert sides[0] == np.sign(values[0]) * (abs(values[0]) > 0.001)


def test_those_that_show_when_to_stop_come_after_and_are_purged_against(market_that_reverts: Market) -> None:
    data = data_of([market_that_reverts(sessions=7)], 7, validation_fraction=0.4)
    fold = data.folds[1]
    assert len(fold.train_dates) == 5
    parts = data.held_out(data.trainable(fold.train), fold.train_dates)
    assert parts is not None
    before, later = parts
    # Two of five sessions, from bar 234 on; the last three before them look into them.
    assert (int(before["SPY"][-1]), int(later["SPY"][0])) == (3 * 78 - 1 - 3, 3 * 78)
    assert data.held_out(data.trainable(fold.train), fold.train_dates[:1]) is None


def test_the_fingerprint_is_of_every_number_of_the_sessions_and_of_nothing_else(market_that_reverts: Market) -> None:
    bars, hours = market_that_reverts(sessions=3), sessions_of(3)
    known = fingerprint_of_bars({"SPY": bars}, hours[1:])
    assert fingerprint_of_bars({"SPY": bars.take(slice(78, None))}, hours[1:]) == known
    for column in ("open", "high", "low", "close", "volume"):
        other = getattr(bars, column).copy()
        other[100] += 1
        assert fingerprint_of_bars({"SPY": replace(bars, **{column: other})}, hours[1:]) != known
    assert fingerprint_of_bars({"QQQ": bars}, hours[1:]) != known


def test_an_agent_has_no_labels_and_is_split_all_the_same(market_that_reverts: Market) -> None:
    data = data_of([market_that_reverts(sessions=7)], 7, kind="ppo", features=[])
    assert data.labels is None
    assert data.features.needs_holdings
    assert [fold.purged for fold in data.folds] == [0, 0]
    assert len(data.folds[0].train["SPY"]) == 3 * 78
    with pytest.raises(ValueError, match="no labels"):
        data.pooled(data.folds[0].train)


def test_a_symbol_without_bars_is_named(market_that_reverts: Market) -> None:
    with pytest.raises(ConfigurationError, match="no bars of QQQ"):
        data_of([market_that_reverts(sessions=7), BarColumns.empty("QQQ")], 7)
    short = market_that_reverts(sessions=4, symbol="QQQ")
    with pytest.raises(ConfigurationError, match="QQQ: Fold 2 has no bar to test on"):
        data_of([market_that_reverts(sessions=7), short], 7)
