import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.bundles.manifest import Bands, Choice, TargetWeight
from trading.decisions import Action, Signal
from trading.policies.action_maps import answer_of, codes_of, gives_weights, near_another, outputs_of, signal_of

WORDS = Choice(actions=(Action.SELL, Action.HOLD, Action.BUY))
BANDS = Bands(sell_below=-0.001, buy_above=0.002)
CODES = {Action.BUY: 1, Action.SELL: -1, Action.HOLD: 0}


def test_the_highest_score_decides_and_is_the_confidence() -> None:
    assert signal_of(WORDS, [0.2, 0.3, 0.5], True) == Signal(Action.BUY, 0.5)
    assert signal_of(WORDS, [0.4, 0.4, 0.2], True) == Signal(Action.SELL, 0.4)  # of equal ones the first
    assert signal_of(WORDS, [7.0, -3.0, 1.0], False) == Signal(Action.SELL)


def test_the_map_is_the_models_own_and_not_an_order_of_codes() -> None:
    turned = Choice(actions=(Action.BUY, Action.HOLD, Action.SELL))
    assert signal_of(turned, [0.8, 0.1, 0.1], True).action is Action.BUY


def test_a_choice_may_be_of_weights() -> None:
    weights = Choice(actions=(-0.1, 0.0, 0.25))
    assert signal_of(weights, [0.1, 0.2, 0.7], True) == Signal(Action.BUY, 0.7, target_weight=0.25)
    assert signal_of(weights, [0.1, 0.8, 0.1], True) == Signal(Action.SELL, 0.8, target_weight=0.0)
    assert gives_weights(weights)
    assert not gives_weights(WORDS)


@pytest.mark.parametrize(
    ("score", "action"),
    [
        (-0.0011, Action.SELL),
        (-0.001, Action.HOLD),
        (0.0, Action.HOLD),
        (0.002, Action.HOLD),
        (0.0021, Action.BUY),
    ],
)
def test_one_number_is_compared_with_two_levels(score: float, action: Action) -> None:
    assert signal_of(BANDS, [score], False) == Signal(action)
    assert codes_of(BANDS, np.array([[score]])).tolist() == [CODES[action]]


def test_a_weight_is_scaled_and_limited() -> None:
    weight = TargetWeight(scale=0.5, lowest=-0.1, highest=0.3)
    assert answer_of(weight, [0.4]) == 0.2
    assert answer_of(weight, [1.0]) == 0.3
    assert answer_of(weight, [-1.0]) == -0.1
    assert gives_weights(weight)
    assert [outputs_of(one) for one in (weight, BANDS, WORDS)] == [1, 1, 3]


@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_decides_nothing(strange: float) -> None:
    for actions, scores in (
        (WORDS, [0.1, strange, 0.2]),
        (BANDS, [strange]),
        (TargetWeight(lowest=0, highest=1), [strange]),
    ):
        signal = signal_of(actions, scores, True)
        assert signal.action is Action.HOLD
        assert signal.error is not None


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=20))
def test_a_whole_history_is_decided_as_its_rows_are(rows: list[list[float]]) -> None:
    for actions, scores in ((WORDS, np.array(rows)), (BANDS, np.array(rows)[:, :1])):
        said = [CODES[signal_of(actions, row, False).action] for row in scores.tolist()]
        assert codes_of(actions, scores).tolist() == said


def test_scores_that_the_last_digits_could_turn_are_known() -> None:
    close = np.array([[1.0, 1.0 + 1e-9, 0.0], [1.0, 0.9, 0.0], [0.0, 0.0, -1.0]])
    assert near_another(WORDS, close).tolist() == [True, False, True]
    assert near_another(BANDS, np.array([[0.002 * (1 + 1e-8)], [0.0021], [-0.001]])).tolist() == [True, False, True]
