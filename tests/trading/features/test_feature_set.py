"""How features are declared: labels, bounds, warmups, and what is refused."""

from collections.abc import Callable

import numpy as np
import pytest

from trading.bars import BarColumns, Timeframe
from trading.errors import ConfigurationError
from trading.features.feature_set import FeatureSet, known_features
from trading.features.spec import FeatureSpec

BarsOf = Callable[..., BarColumns]
SetOf = Callable[..., FeatureSet]

WARMUPS = {
    # Bars of the window, and one more where it is one of changes.
    "return": 1 + 1,
    "realised_volatility": 30 + 1,
    "bollinger": 20,
    "volume_zscore": 20,
    # (13/14) ** 310 is 1.05e-10 and (13/14) ** 311 is 9.8e-11; changes and true ranges need the close before.
    "rsi": 311 + 1,
    "atr": 311 + 1,
    # (19/21) ** 230 is 1.008e-10 and (19/21) ** 231 is 9.1e-11; (25/27) ** 300 is 9.4e-11.
    "ema_distance": 231,
    "ema_spread": 300,
    # Six and a half hours of minutes, and the close before them.
    "vwap_distance": 390,
    "session_return": 390 + 1,
    "time_of_day": 1,
    "minutes_to_close": 1,
    "day_of_week": 1,
    "position": 1,
    "unrealized_pnl": 1,
}


def refusal(*specs: FeatureSpec) -> str:
    with pytest.raises(ConfigurationError) as refused:
        FeatureSet(specs, Timeframe.MINUTE_1)
    return str(refused.value)


def test_a_label_shows_every_parameter_in_the_order_of_its_declaration(feature_set: SetOf) -> None:
    declared = feature_set("rsi", ("ema_spread", {"slow": 9, "fast": 3}), "time_of_day", ("rsi", {"bars": 2}))
    assert declared.labels == ("rsi(bars=14)", "ema_spread(fast=3, slow=9)", "time_of_day", "rsi(bars=2)")
    assert [spec.name for spec in declared.specs] == ["rsi", "ema_spread", "time_of_day", "rsi"]


@pytest.mark.parametrize("name", known_features())
def test_each_feature_states_its_warmup(feature_set: SetOf, name: str) -> None:
    assert feature_set(name).warmup_bars == WARMUPS[name]


def test_a_set_is_warm_when_its_slowest_feature_is(feature_set: SetOf, bars_of: BarsOf) -> None:
    declared = feature_set("day_of_week", ("bollinger", {"bars": 5}), ("return", {"bars": 3}))
    assert declared.warmup_bars == 5
    rows = declared.history(bars_of([1, 2, 3, 4, 5, 6]))
    assert rows.shape == (6, 3)
    assert np.isnan(rows[:4]).all()
    assert not np.isnan(rows[4:]).any()


def test_a_session_has_fewer_of_longer_bars(feature_set: SetOf) -> None:
    assert feature_set("vwap_distance", timeframe=Timeframe.MINUTE_5).warmup_bars == 78
    # The seventh hour is half an hour long, and counts.
    assert FeatureSet([FeatureSpec(name="vwap_distance")], Timeframe.MINUTE_30, "XLON").warmup_bars == 17


def test_a_history_of_no_bars_has_no_rows(feature_set: SetOf, bars_of: BarsOf) -> None:
    assert feature_set("rsi", "time_of_day").history(BarColumns.empty("SPY")).shape == (0, 2)
    assert np.isnan(feature_set("rsi", "vwap_distance").history(bars_of([1, 2, 3]))).all()


def test_features_of_the_position_are_left_open_in_a_history(feature_set: SetOf, bars_of: BarsOf) -> None:
    declared = feature_set("position", "return", "unrealized_pnl")
    assert declared.needs_holdings
    assert declared.holdings_columns == (0, 2)
    rows = declared.history(bars_of([1, 1, 1]))
    assert np.isnan(rows[:, [0, 2]]).all()
    assert rows[1:, 1].tolist() == [0, 0]
    assert not feature_set("return").needs_holdings
    assert feature_set("return").holdings_columns == ()


def test_an_unknown_feature_is_refused_with_the_nearest_known_one() -> None:
    assert refusal(FeatureSpec(name="bolinger")) == "There is no feature 'bolinger': did you mean bollinger?"
    assert refusal(FeatureSpec(name="zzz")).startswith("There is no feature 'zzz': known are return, session_return, ")


def test_an_unknown_parameter_is_refused_with_the_nearest_known_one() -> None:
    assert refusal(FeatureSpec(name="rsi", parameters={"bar": 3})) == (
        "Feature rsi has no parameter 'bar': did you mean bars?"
    )
    assert refusal(FeatureSpec(name="ema_spread", parameters={"period": 3})) == (
        "Feature ema_spread has no parameter 'period': known are fast, slow."
    )
    assert refusal(FeatureSpec(name="time_of_day", parameters={"bars": 3})) == (
        "Feature time_of_day has no parameter 'bars': it takes none."
    )


@pytest.mark.parametrize("value", [1, 501, 2.5, float("nan"), float("inf"), -3, True])
def test_a_parameter_that_is_no_whole_number_within_its_bounds_is_refused(value: float) -> None:
    spec = FeatureSpec.model_construct(name="rsi", parameters={"bars": value})
    assert refusal(spec) == f"Feature rsi: bars is {value}. Give a whole number from 2 to 500."


def test_a_whole_number_may_be_written_as_a_float_and_is_the_same_feature(feature_set: SetOf) -> None:
    assert feature_set(("rsi", {"bars": 3.0})).labels == ("rsi(bars=3)",)
    assert refusal(FeatureSpec(name="rsi", parameters={"bars": 14.0}), FeatureSpec(name="rsi")) == (
        "Feature rsi(bars=14) is declared twice. Declare each once."
    )


@pytest.mark.parametrize("name", known_features())
def test_parameters_may_be_as_small_and_as_large_as_their_bounds(name: str) -> None:
    for parameter in known_features()[name].parameters:
        others = {"fast": {"slow": 1_000}, "slow": {"fast": 2}}.get(parameter.name, {})
        for value in (parameter.lowest, parameter.highest):
            if {**others, parameter.name: value} not in ({"fast": 1_000, "slow": 1_000}, {"fast": 2, "slow": 2}):
                spec = FeatureSpec(name=name, parameters={**others, parameter.name: value})
                assert f"{parameter.name}={value}" in FeatureSet([spec], Timeframe.MINUTE_1).labels[0]
        for value in (parameter.lowest - 1, parameter.highest + 1):
            assert f"{parameter.name} is {value}" in refusal(FeatureSpec(name=name, parameters={parameter.name: value}))


def test_a_fast_mean_that_is_not_faster_is_refused() -> None:
    assert refusal(FeatureSpec(name="ema_spread", parameters={"fast": 26})) == (
        "Feature ema_spread: fast is 26 and slow is 26. Let fast be less than slow."
    )


def test_no_features_at_all_are_refused() -> None:
    assert refusal().startswith("No features are declared. Name some of: return, ")


def test_an_unknown_exchange_is_refused_where_sessions_matter() -> None:
    with pytest.raises(ConfigurationError, match="There is no exchange calendar 'XXXX'"):
        FeatureSet([FeatureSpec(name="vwap_distance")], Timeframe.MINUTE_1, "XXXX")
