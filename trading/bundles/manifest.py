"""What a bundle says of itself: everything that a session checks before it trades with the model.

The manifest is the bundle's identity: its fingerprint is a hash of it, and it holds the hash of every other file.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, model_validator

from trading.bars import Timeframe
from trading.decisions import MAX_WEIGHT, Action
from trading.features.spec import FeatureSpec
from trading.setting_types import Name, Section, Symbol

BUNDLE_FORMAT = 1
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.json"

AgentKind = Literal["ppo", "a2c", "dqn", "recurrent_ppo"]
PolicyKind = Literal["classifier", "regressor", "ppo", "a2c", "dqn", "recurrent_ppo"]

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
# Strict: true is no weight of one.
Weight = Annotated[float, Field(strict=True, ge=-MAX_WEIGHT, le=MAX_WEIGHT)]


class TrainingWindow(Section):
    """The bars that a model was fitted on, the purged and validated ones included."""

    symbols: tuple[Symbol, ...]
    first: AwareDatetime
    """Open of the first bar."""
    last: AwareDatetime
    """Open of the last bar: the model's age counts from here."""
    bars: int
    """Bars of all symbols together."""
    data_fingerprint: str
    """Hash of those bars."""


class Scaling(Section):
    """Standardising before the model, as VecNormalize does it: ``clip((x - mean) / sqrt(variance + epsilon), -limit, limit)``."""

    mean: tuple[Number, ...]
    variance: tuple[Annotated[Number, Field(ge=0)], ...]
    epsilon: Annotated[Number, Field(gt=0)] = 1e-8
    limit: Annotated[Number, Field(gt=0)] = 10.0


class Choice(Section):
    """The model scores each of its actions, and the highest score wins; of equal ones the first."""

    kind: Literal["choice"] = "choice"
    actions: tuple[Action | Weight, ...]
    """For each column of the scores, in order: a word, or a target weight (signed fraction of equity)."""


class Bands(Section):
    """The model's one number (a predicted return, as a fraction) is compared with two levels; between them it holds."""

    kind: Literal["bands"] = "bands"
    sell_below: Number
    buy_above: Number

    @model_validator(mode="after")
    def _in_order(self) -> "Bands":
        if not self.sell_below < self.buy_above:
            raise ValueError("sell_below must be less than buy_above")
        return self


class TargetWeight(Section):
    """The model's one number is a target weight, after ``scale`` and limits: a signed fraction of equity."""

    kind: Literal["target_weight"] = "target_weight"
    scale: Number = 1.0
    lowest: Weight
    highest: Weight

    @model_validator(mode="after")
    def _in_order(self) -> "TargetWeight":
        if not self.lowest < self.highest:
            raise ValueError("lowest must be less than highest")
        return self


ActionMap = Annotated[Choice | Bands | TargetWeight, Field(discriminator="kind")]


class Weights(Section):
    """Where the model itself is: ``skops`` is a scikit-learn estimator, ``arrays`` a network as numpy arrays."""

    format: Literal["skops", "arrays"]
    file: FileName


class Lineage(Section):
    """How the model came about; for people, and for training it again."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the training run."""
    code_version: str = ""
    """Version of openbell, with the commit where it is known."""
    seed: int | None = None
    libraries: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries that trained it."""


class Manifest(Section):
    """``manifest.json`` of a bundle."""

    format: Literal[1] = 1
    """Version of this layout."""
    kind: PolicyKind
    name: Name
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]{1,64}$")]
    created: AwareDatetime
    exchange: str
    timeframe: Timeframe
    """Length of the bars it was trained on: it is asked on no others."""
    trained: TrainingWindow
    features: Annotated[tuple[FeatureSpec, ...], Field(min_length=1, max_length=500)]
    """In the order of the model's inputs."""
    feature_version: int
    """``FEATURE_VERSION`` of the features' meaning."""
    scaling: Scaling | None = None
    """None where the model scales for itself."""
    actions: ActionMap
    weights: Weights
    requires: dict[str, str] = Field(default_factory=dict)
    """Libraries that a session needs for the weights, in exactly these versions."""
    lineage: Lineage = Lineage()
    files: dict[FileName, Digest]
    """SHA-256 of every other file of the bundle."""

    @model_validator(mode="after")
    def _scaled_one_by_one(self) -> "Manifest":
        scaling = self.scaling
        if scaling is not None and not len(scaling.mean) == len(scaling.variance) == len(self.features):
            raise ValueError("scaling needs a mean and a variance for each feature")
        return self

    @property
    def trained_until(self) -> datetime:
        """Open of the newest bar that it has seen."""
        return self.trained.last


class Golden(Section):
    """Samples with what the model made of them when it was written: a model that makes something else is not asked.

    ``observations`` are raw rows (N x F, before scaling) of ``features`` (labels as in ``FeatureSet.labels``); ``scores`` (N x K)
    and ``actions`` are the answers, row by row. Where the model has a state, the rows are one sequence from its beginning.
    """

    features: tuple[str, ...]
    observations: tuple[tuple[Number, ...], ...]
    scores: tuple[tuple[Number, ...], ...]
    actions: tuple[Action | float, ...]
