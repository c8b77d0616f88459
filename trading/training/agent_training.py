"""What is asked of an agent's training, and what comes out of it, as values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.bundles.manifest import AgentKind, Scaling
from trading.errors import ConfigurationError

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AgentTraining:
    """What to train, and for how long.

    ``parameters`` are those of the stable-baselines3 class, besides ``net_arch`` (widths of the hidden layers), ``activation`` (tanh
    or relu) and, for recurrent_ppo, ``lstm_hidden_size``, ``n_lstm_layers``, ``shared_lstm`` and ``enable_critic_lstm``. A leg has
    ``leg_steps`` or a little more. With ``patience`` and an environment to evaluate in, the run ends after so many legs
    without a better return, and the best leg's weights are what comes out.
    """

    kind: AgentKind
    total_steps: int
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    normalize: bool = True
    environments: int = 1
    leg_steps: int = 20_000
    patience: int | None = None

    def __post_init__(self) -> None:
        if min(self.total_steps, self.environments, self.leg_steps, 1 if self.patience is None else self.patience) < 1:
            raise ConfigurationError(
                "total_steps, environments, leg_steps and patience of an agent's training are 1 or more."
            )


@dataclass(frozen=True, slots=True)
class AgentAnswers:
    """``scores`` (N x K) and what the agent does: the column of its action, or the number itself where it answers with one."""

    scores: Rows
    actions: Rows


@dataclass(frozen=True, slots=True)
class TrainedAgent:
    """An agent after its training. ``weights`` is a file for ``trading.policies.networks``."""

    training: AgentTraining
    weights: bytes
    scaling: Scaling | None
    steps: int
    """Steps of the weights that came out."""
    returns: tuple[tuple[int, float], ...]
    """Steps and return of one evaluated episode after each leg; empty without an environment to evaluate in."""
    observed: Rows
    """Raw observations of the agent's first steps in the environment, one sequence from its beginning."""
    answer: Callable[[Rows], AgentAnswers]
    """What stable-baselines3 itself makes of raw observations; where the agent has a state, they are one sequence."""
