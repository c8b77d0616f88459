"""The actor of a stable-baselines3 policy as plain arrays, which a session can ask without stable-baselines3 and torch.

Policies come as they are, so that this file imports neither.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.bundles.manifest import AgentKind
from trading.bundles.network_file import Activation, Answers, Dense, Lstm, Network


def actor_network(kind: AgentKind, policy: Any, features: tuple[str, ...]) -> Network:
    """The actor of a policy as arrays; what only training needs (the critic, the deviation) stays behind."""
    modules = list(policy.q_net.q_net) if kind == "dqn" else [*policy.mlp_extractor.policy_net, policy.action_net]
    between = {type(module).__name__ for module in modules if not hasattr(module, "weight")}
    space, answers, bounds = policy.action_space, Answers.PROBABILITIES, None
    if kind == "dqn":
        answers = Answers.VALUES
    elif hasattr(space, "low"):
        answers, bounds = Answers.MEAN, (float(space.low[0]), float(space.high[0]))
    return Network(
        features=features,
        activation=Activation.RELU if between == {"ReLU"} else Activation.TANH,
        answers=answers,
        layers=tuple(
            Dense(_array(module.weight), _array(module.bias)) for module in modules if hasattr(module, "weight")
        ),
        lstm=_recurrent(policy.lstm_actor) if kind == "recurrent_ppo" else (),
        bounds=bounds,
    )


def _recurrent(lstm: Any) -> tuple[Lstm, ...]:
    """torch keeps two biases that are only ever added."""
    parts = ("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l")
    layers = [[_array(getattr(lstm, f"{part}{number}")) for part in parts] for number in range(lstm.num_layers)]
    return tuple(Lstm(taken, kept, one + other) for taken, kept, one, other in layers)


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32)
