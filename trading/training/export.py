"""The actor of a stable-baselines3 model as plain arrays, which a session can ask without stable-baselines3 and torch, and what
stable-baselines3 itself answers, which shows whether the arrays are right.

Models come as they are, so that this file imports neither.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.bundles.manifest import AgentKind
from trading.bundles.network_file import Activation, Answers, Dense, Lstm, Network
from trading.training.agent_training import AgentAnswers


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


def agent_answers(kind: AgentKind, model: Any, rows: NDArray[Any]) -> AgentAnswers:
    """What the model itself makes of rows as it sees them, after normalizing; a recurrent one takes them for one sequence."""
    if kind == "recurrent_ppo":
        return _answers_in_sequence(model, rows)
    actions, _ = model.predict(rows, deterministic=True)
    seen, _ = model.policy.obs_to_tensor(rows)
    if kind == "dqn":
        scores = _doubles(model.policy.q_net(seen))
    else:
        scores = _scores(model.policy.get_distribution(seen), actions)
    return AgentAnswers(scores, np.asarray(actions, dtype=np.float64).reshape(-1))


def _answers_in_sequence(model: Any, rows: NDArray[Any]) -> AgentAnswers:
    """Actions come from ``predict`` and its own states, scores from the distribution and others: each checks the other."""
    policy, states, tensors = model.policy, None, None
    scores, actions = [], []
    for number in range(len(rows)):
        row, start = rows[number : number + 1], np.array([number == 0])
        action, states = model.predict(row, state=states, episode_start=start, deterministic=True)
        seen, _ = policy.obs_to_tensor(row)
        if tensors is None:
            shape = (policy.lstm_actor.num_layers, 1, policy.lstm_actor.hidden_size)
            tensors = (seen.new_zeros(shape), seen.new_zeros(shape))
        said, tensors = policy.get_distribution(seen, tensors, seen.new_zeros(1))
        tensors = tuple(tensor.detach() for tensor in tensors)
        scores.append(_scores(said, action))
        actions.append(np.asarray(action, dtype=np.float64).reshape(-1))
    return AgentAnswers(np.concatenate(scores), np.concatenate(actions))


def _scores(distribution: Any, actions: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities of discrete actions; the action itself where it is a number."""
    inner = distribution.distribution
    return _doubles(inner.probs) if hasattr(inner, "probs") else np.asarray(actions, dtype=np.float64).reshape(-1, 1)


def _doubles(tensor: Any) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)
