"""The one place that knows which kind of weights is loaded by whom."""

from typing import Any, Literal, Protocol

from trading.policies.networks import load_network
from trading.policies.scoring import Scorer


class LabelledScorer(Scorer, Protocol):
    """A scorer that knows the labels of its inputs."""

    features: tuple[str, ...]
    """In the order of a row; empty where they were not written down."""
    classes: tuple[Any, ...]
    """What the columns of its scores stand for, in the model's own words; empty where it has none."""


def load_scorer(weights_format: Literal["skops", "arrays"], content: bytes) -> LabelledScorer:
    """The model of a bundle's weights, whose hash was checked before. scikit-learn is only imported for skops.

    Raises ``PolicyNotFit`` for content that is not of this format, without running anything in it.
    """
    if weights_format == "arrays":
        return load_network(content)
    from trading.policies.estimators import load_estimator

    return load_estimator(content)
