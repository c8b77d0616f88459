"""Golden samples and what an agent looks at, from models whose answers are worked out by hand."""

from collections import Counter

import numpy as np
import pytest

from trading.bundles.manifest import ActionMap, Bands, Choice, TargetWeight, Weights
from trading.decisions import Action
from trading.training.fitted_models import Answers, FittedModel, decision_importance, golden_of
from trading.training.training_data import Rows

BUY, HOLD, SELL = Action.BUY, Action.HOLD, Action.SELL


def model_of(actions: ActionMap, answer: object, samples: Rows, remembers: bool = False) -> FittedModel:
    return FittedModel(
        kind="ppo",
        weights=Weights(format="arrays", file="model.npz"),
        content=b"",
        actions=actions,
        scaling=None,
        requires={},
        libraries={},
        labels=tuple(f"f{column}" for column in range(samples.shape[1])),
        answer=answer,  # type: ignore[arg-type]
        samples=samples,
        rows=len(samples),
        remembers=remembers,
    )


def choosing(rows: Rows) -> Answers:
    """Scores 1 - x for HOLD and x for BUY; HOLD where they are equal."""
    scores = np.column_stack([1 - rows[:, 0], rows[:, 0]])
    return Answers(scores, tuple(BUY if score > 0.5 else HOLD for score in rows[:, 0]))


def test_golden_samples_cover_a_decision_however_rare() -> None:
    # 998 rows that hold, and two that buy.
    samples = np.concatenate([np.linspace(0.0, 0.3, 998), [0.8, 0.9]])[:, None]
    golden = golden_of(model_of(Choice(actions=(HOLD, BUY)), choosing, samples))
    assert Counter(golden.actions) == {HOLD: 62, BUY: 2}
    assert golden.observations[0] == (0.0,)
    assert golden.observations[-2:] == ((0.8,), (0.9,))
    assert golden.scores[-1] == pytest.approx((0.1, 0.9))
    assert golden.features == ("f0",)


def test_a_row_that_rounding_could_turn_is_no_golden_sample_where_there_are_others() -> None:
    samples = np.array([[0.2], [0.5 + 1e-7], [0.9]])
    golden = golden_of(model_of(Choice(actions=(HOLD, BUY)), choosing, samples))
    assert golden.observations == ((0.2,), (0.9,))
    only = golden_of(model_of(Choice(actions=(HOLD, BUY)), choosing, samples[1:2]))
    assert only.observations == ((0.5 + 1e-7,),)

    def predicting(rows: Rows) -> Answers:
        return Answers(rows, tuple(BUY if one > 0.001 else HOLD for one in rows[:, 0]))

    levels = np.array([[0.0005], [0.001], [0.001 + 1e-9], [0.002]])
    golden = golden_of(model_of(Bands(sell_below=-0.001, buy_above=0.001), predicting, levels))
    assert golden.observations == ((0.0005,), (0.002,))


def test_a_memory_is_shown_its_sequence_from_the_beginning() -> None:
    samples = np.linspace(0.9, 0.0, 100)[:, None]
    golden = golden_of(model_of(Choice(actions=(HOLD, BUY)), choosing, samples, remembers=True))
    assert golden.observations == tuple((one,) for one in samples[:64, 0].tolist())


def test_a_feature_that_decides_is_important_and_one_that_is_not_looked_at_is_not() -> None:
    draws = np.random.default_rng(1)
    rows = np.column_stack([draws.permutation(np.repeat([0.0, 1.0], 100)), draws.normal(size=200)])
    found = decision_importance(model_of(Choice(actions=(HOLD, BUY)), choosing, rows), rows, seed=3, repeats=20)
    # Of 100 holds and 100 buys half come to stand where the other was: 100 x 100 / 200 of 200, twice.
    assert [one.feature for one in found] == ["f0", "f1"]
    assert found[0].mean == pytest.approx(0.5, abs=0.03)
    assert found[1].mean == 0.0
    remembering = model_of(Choice(actions=(HOLD, BUY)), choosing, rows, remembers=True)
    assert decision_importance(remembering, rows, seed=3) == ()


def test_of_weights_only_a_change_of_a_hundredth_counts() -> None:
    def weighing(rows: Rows) -> Answers:
        return Answers(rows[:, :1], tuple(float(one) for one in rows[:, 0] + 0.001 * rows[:, 1]))

    rows = np.column_stack([np.tile([0.0, 0.5], 50), np.tile([0.0, 1.0], 50)])
    found = decision_importance(model_of(TargetWeight(lowest=0, highest=1), weighing, rows), rows, seed=3)
    assert found[0].feature == "f0"
    assert found[0].mean > 0.3
    assert found[1].mean == 0.0
