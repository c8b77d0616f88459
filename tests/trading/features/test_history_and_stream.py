"""One definition, two ways: a history worked out at once and a stream that began anywhere say the same, on any data; and
neither knows what comes later."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trading.bars import BarColumns, Timeframe
from trading.features.feature_set import FeatureSet, known_features
from trading.features.spec import FeatureSpec
from trading.market_window import HistoryWindow

SPANS = ("clocks go forward", "clocks go back", "thanksgiving", "christmas and new year")
STRETCHES = ("calm", "flat", "wild", "ticks of one micro", "halves and doubles", "cheap", "nonsense")
AGREEMENT = 1e-9
OF_THE_MARKET = [name for name in known_features() if name not in ("position", "unrealized_pnl")]

# The longest of these looks back 312 bars, four sessions of five minutes.
EVERYTHING = FeatureSet(
    [
        *(FeatureSpec(name=name) for name in OF_THE_MARKET),
        FeatureSpec(name="return", parameters={"bars": 78}),
        FeatureSpec(name="realised_volatility", parameters={"bars": 1}),
        FeatureSpec(name="rsi", parameters={"bars": 2}),
        FeatureSpec(name="atr", parameters={"bars": 5}),
        FeatureSpec(name="ema_distance", parameters={"bars": 2}),
        FeatureSpec(name="bollinger", parameters={"bars": 2}),
        FeatureSpec(name="bollinger", parameters={"bars": 255}),
        FeatureSpec(name="volume_zscore", parameters={"bars": 77}),
    ],
    Timeframe.MINUTE_5,
)
WARM = EVERYTHING.warmup_bars - 1

markets = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 32),
        "span": st.sampled_from(SPANS),
        "stretches": st.lists(st.sampled_from(STRETCHES), min_size=1, max_size=8).map(tuple),
        "left_out": st.sampled_from((0.0, 0.01, 0.3)),
        "outside": st.sampled_from((0, 3)),
    }
)
many = settings(suppress_health_check=[HealthCheck.too_slow])


def followed(bars: BarColumns, first: int) -> NDArray[np.float64]:
    """What a stream says that begins on row ``first``, on that and every later bar."""
    window, stream = HistoryWindow({"SPY": bars}), EVERYTHING.stream()
    rows = []
    for row in range(first, len(bars)):
        window.move_to({"SPY": row})
        rows.append(stream.row(window, "SPY"))
    return np.array(rows)


@many
@given(markets, st.floats(0, 1))
def test_a_stream_that_began_anywhere_says_what_the_history_says(
    wild_market: Any, market: dict[str, Any], beginning: float
) -> None:
    bars = wild_market(**market).bars()
    first = WARM + int(beginning * (len(bars) - 1 - WARM))
    at_once, said = EVERYTHING.history(bars)[first:], followed(bars, first)
    assert said.shape == at_once.shape
    assert not np.isinf(said).any()
    for place, label in enumerate(EVERYTHING.labels):
        one, other = at_once[:, place], said[:, place]
        assert np.array_equal(np.isnan(one), np.isnan(other)), label
        # Absolute for what is about 1 in size, relative for what grows with wild prices.
        apart = np.nan_to_num(np.abs(one - other) / np.maximum(1, np.abs(one)))
        assert apart.max() <= AGREEMENT, f"{label}: {one[apart.argmax()]} at once, {other[apart.argmax()]} bar by bar"


@many
@given(markets, st.floats(0, 1))
def test_a_stream_that_is_taken_up_again_goes_on_to_the_last_bit(
    wild_market: Any, market: dict[str, Any], again: float
) -> None:
    bars = wild_market(**market).bars()
    first = WARM + int(again * (len(bars) - 1 - WARM))
    throughout = followed(bars, WARM)[first - WARM :]
    assert np.array_equal(followed(bars, first), throughout, equal_nan=True)


@many
@given(markets, markets, st.floats(0, 1))
def test_no_row_knows_what_comes_after_it(
    wild_market: Any, market: dict[str, Any], another: dict[str, Any], now: float
) -> None:
    bars = wild_market(**market).bars()
    last = int(now * (len(bars) - 1))
    known = bars.take(slice(last + 1))
    before = EVERYTHING.history(bars)[: last + 1]
    assert np.array_equal(EVERYTHING.history(known), before, equal_nan=True), "a history that ends here"
    other = wild_market(**{**another, "span": market["span"]}).bars()
    future = known.joined(other.take(other.time > known.time[-1]))
    assert np.array_equal(EVERYTHING.history(future)[: last + 1], before, equal_nan=True), "another future"


@many
@given(markets)
def test_rows_are_worked_out_from_the_warmup_alone(wild_market: Any, market: dict[str, Any]) -> None:
    bars = wild_market(**market).bars()
    shortest = EVERYTHING.history(bars.take(slice(len(bars) - EVERYTHING.warmup_bars, None)))
    assert np.isnan(shortest[:-1]).all()
    at_once = EVERYTHING.history(bars)[-1]
    np.testing.assert_allclose(shortest[-1], at_once, rtol=AGREEMENT, atol=AGREEMENT)


@pytest.mark.parametrize("name", OF_THE_MARKET)
def test_every_feature_is_known_where_the_market_is_sane(wild_market: Any, name: str) -> None:
    bars = wild_market(seed=4, span="thanksgiving", stretches=("calm",), left_out=0.0).bars()
    volume = np.maximum(bars.volume, 1)
    sane = BarColumns("SPY", bars.time, bars.open, bars.high, bars.low, bars.close, volume)
    features = FeatureSet([FeatureSpec(name=name)], Timeframe.MINUTE_5)
    said = features.history(sane)[features.warmup_bars - 1 :, 0]
    assert np.isfinite(said).all()
    assert len(set(said.tolist())) > 3, "it says different things on different bars"
