import pytest

from trading.decisions import Action, Signal


@pytest.mark.parametrize("confidence", [0.0, 1.0, None])
def test_confidence_is_between_nothing_and_certainty(confidence: float | None) -> None:
    assert Signal(Action.BUY, confidence).confidence == confidence


@pytest.mark.parametrize("confidence", [-0.01, 1.01, float("nan"), float("inf")])
def test_any_other_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        Signal(Action.BUY, confidence)


@pytest.mark.parametrize("action", [Action.BUY, Action.SELL])
def test_a_failed_decision_only_holds(action: Action) -> None:
    with pytest.raises(ValueError, match="can only hold"):
        Signal(action, error="no model")
