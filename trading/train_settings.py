"""Settings of a training: what is taught, on which days, and how it is looked at afterwards."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator, model_validator

from trading.bundles.manifest import PolicyKind
from trading.features.spec import FeatureSpec
from trading.policy_settings import BUILT_IN
from trading.setting_types import Name, Off, Section

DEFAULT_FEATURES = (
    FeatureSpec(name="return", parameters={"bars": 1}),
    FeatureSpec(name="return", parameters={"bars": 5}),
    FeatureSpec(name="return", parameters={"bars": 30}),
    FeatureSpec(name="session_return"),
    FeatureSpec(name="realised_volatility", parameters={"bars": 30}),
    FeatureSpec(name="rsi", parameters={"bars": 14}),
    FeatureSpec(name="ema_distance", parameters={"bars": 20}),
    FeatureSpec(name="ema_spread", parameters={"fast": 12, "slow": 26}),
    FeatureSpec(name="bollinger", parameters={"bars": 20}),
    FeatureSpec(name="vwap_distance"),
    FeatureSpec(name="time_of_day"),
)
"""What a model sees where nothing else is asked for; agents also see what they hold."""
HOLDINGS_FEATURES = (FeatureSpec(name="position"), FeatureSpec(name="unrealized_pnl"))


class LabelSettings(Section):
    """What a classifier or a regressor is taught to see coming. An agent needs no labels: it learns from its account."""

    kind: Literal["return", "triple_barrier"] = "return"
    """`return`: how far the close is away after `horizon_bars`. `triple_barrier`: which of a gain, a loss and the end of `horizon_bars` comes first."""
    horizon_bars: Annotated[int, Field(ge=1, le=10_000)] = 30
    """How many bars it looks ahead. A bar whose horizon leaves its session is not trained on."""
    band_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.001
    """For `return`: BUY is a return above this fraction, SELL one below its negative, HOLD lies between."""
    gain_volatilities: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] = 4.0
    """For `triple_barrier`: how far above the close a gain lies, in volatilities of one bar."""
    loss_volatilities: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] = 4.0
    """For `triple_barrier`: how far below the close a loss lies, in volatilities of one bar."""
    volatility_bars: Annotated[int, Field(ge=2, le=10_000)] = 30
    """For `triple_barrier`: span of the exponential mean that the volatility is taken over, in bars."""
    sign_at_end: bool = False
    """For `triple_barrier`: whether a bar that touches nothing gets the sign of its return, and not HOLD."""
    across_sessions: bool = False
    """Whether a label may look into the next session. Only sensible where positions are held overnight."""


class WalkForwardSettings(Section):
    """How the sessions are split into folds: each is trained on what came before, and judged on the sessions after."""

    folds: Annotated[int, Field(ge=1, le=100)] = 4
    """How many times it is trained and judged. The last fold ends with the last session."""
    test_sessions: Annotated[int, Field(ge=1, le=250)] = 5
    """Sessions that each fold is judged on. They follow one another."""
    train_sessions: Annotated[int, Field(ge=1, le=5_000)] = 20
    """Sessions that the first fold is trained on at least; with `rolling` those of every fold."""
    embargo_sessions: Annotated[int, Field(ge=0, le=250)] = 1
    """Sessions between training and judging that neither uses, because features look back over them."""
    rolling: bool = False
    """Whether each fold is trained on the newest `train_sessions` only, and not on all since the first."""


class AgentSettings(Section):
    """For ppo, a2c, dqn and recurrent_ppo: how long and on what an agent learns."""

    total_steps: Annotated[int, Field(ge=1, le=1_000_000_000)] = 200_000
    """Bars that each fold's agent decides on while it learns."""
    environments: Annotated[int, Field(ge=1, le=64)] = 1
    """Accounts that it trades side by side; at least one for each symbol."""
    leg_steps: Annotated[int, Field(ge=1, le=1_000_000_000)] = 20_000
    """A checkpoint is kept, and progress judged, each time after so many steps."""
    patience: Annotated[int | None, Field(ge=1, le=10_000), Off] = None
    """Early stopping: the agent's best leg is taken after so many legs without a better return on the last sessions of its training, which it then does not learn from. `off` trains to the end."""
    normalize: bool = True
    """Whether observations and rewards are standardised, with statistics of the training sessions alone."""
    sessions_per_episode: Annotated[int, Field(ge=1, le=250)] = 1
    """Sessions in a row before the account begins anew."""
    turnover_penalty: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Taken off the reward for each unit of equity that is traded, on top of the real costs."""
    target_weights: bool = False
    """Whether it says a target weight, and not BUY, SELL or HOLD. Not for dqn."""
    highest_weight: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.1
    """For `target_weights`: the largest position as a fraction of equity, short as well where `orders.allow_short` is set."""


class TrainSettings(Section):
    """What `openbell train` fits, on the bars of `[session]` and with the costs, sizes and limits of a session.

    Where no `features` are named it sees returns over 1, 5 and 30 bars and since the open, volatility, RSI, distances from averages,
    Bollinger bands and the VWAP, and the time of day; an agent also what it holds and what that has made.
    """

    name: Name = Field(default="trained", validate_default=True)
    """Name that the policy is registered under. Its stages, and the trials it is judged by, are those of this name."""
    kind: PolicyKind = "classifier"
    """What is trained: a scikit-learn `classifier` or `regressor`, or an agent."""
    estimator: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Estimator by name, for example `logistic_regression`, `gradient_boosting`, `random_forest` or `ridge`, or `module:function` that returns one of your own. Where none is given: `logistic_regression` for a classifier, `ridge` for a regressor."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """Parameters of the estimator, or of the agent's class in stable-baselines3 (also `net_arch`, `activation`)."""
    features: Annotated[tuple[FeatureSpec, ...], Field(max_length=500)] = ()
    """What the model sees, in this order, for example [{name = "rsi", parameters = {bars = 14}}]. Where none are named, those of `[train]`'s description."""
    label: LabelSettings = LabelSettings()
    walk_forward: WalkForwardSettings = WalkForwardSettings()
    agent: AgentSettings = AgentSettings()
    first_date: date | None = None
    """First session that is trained on; the first with stored bars where none is given."""
    last_date: date | None = None
    """Last session that is used; the last with stored bars where none is given."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7
    """Seed of everything that is drawn: the same command on the same bars gives the same weights."""
    buy_above_fraction: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] = 0.0005
    """For a regressor: it buys where it foresees a return above this fraction."""
    sell_below_fraction: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] = -0.0005
    """For a regressor: it sells where it foresees a return below this fraction."""
    validation_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Early stopping of agents and of gradient boosting: this fraction of the training sessions, its last ones, shows when to stop."""
    other_trials: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Trials on these bars that no registered policy tells of. They count when the Sharpe ratio is deflated."""

    @property
    def is_agent(self) -> bool:
        """Whether it is trained by trading, and not on labels."""
        return self.kind not in ("classifier", "regressor")

    @property
    def estimator_name(self) -> str:
        """The estimator that is meant."""
        return self.estimator or ("ridge" if self.kind == "regressor" else "logistic_regression")

    @property
    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """The features that are meant."""
        return self.features or (DEFAULT_FEATURES + (HOLDINGS_FEATURES if self.is_agent else ()))

    @field_validator("name")
    @classmethod
    def _not_a_built_in_name(cls, name: str) -> str:
        if name in BUILT_IN:
            raise ValueError(f"{name} is a built-in policy: choose another name")
        return name

    @field_validator("last_date")
    @classmethod
    def _last_is_not_before_first(cls, last: date | None, known: ValidationInfo) -> date | None:
        first = known.data.get("first_date")
        if last is not None and first is not None and last < first:
            raise ValueError(f"it is before first_date, {first}")
        return last

    @model_validator(mode="after")
    def _what_goes_together(self) -> "TrainSettings":
        if not self.sell_below_fraction < self.buy_above_fraction:
            raise ValueError("train.sell_below_fraction must be less than train.buy_above_fraction")
        if self.is_agent and self.estimator is not None:
            raise ValueError(f"train.estimator goes with a classifier or a regressor, not with {self.kind}")
        if self.kind == "dqn" and self.agent.target_weights:
            raise ValueError("a dqn chooses among words: train.agent.target_weights is not for it")
        return self
