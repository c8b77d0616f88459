"""The parameters of an agent's training, as the classes of stable-baselines3 take them."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from trading.bundles.network_file import Activation
from trading.errors import ConfigurationError
from trading.training.agent_training import AgentTraining

_OURS = ("net_arch", "activation")
_RECURRENT = ("lstm_hidden_size", "n_lstm_layers", "shared_lstm", "enable_critic_lstm")
_NOT_SETTINGS = frozenset(
    {"self", "policy", "env", "policy_kwargs", "seed", "device", "verbose", "tensorboard_log", "_init_setup_model"}
    | {"replay_buffer_class", "replay_buffer_kwargs", "rollout_buffer_class", "rollout_buffer_kwargs"}
    | {"stats_window_size", "use_sde", "sde_sample_freq", "optimize_memory_usage"}
)


def class_arguments(
    training: AgentTraining, taken: Iterable[str], activations: Mapping[Activation, Any]
) -> dict[str, Any]:
    """Arguments of the class, whose constructor takes those called ``taken``; ``activations`` are torch's by our names.

    Raises ``ConfigurationError`` for a parameter that it does not have.
    """
    recurrent, is_dqn = training.kind == "recurrent_ppo", training.kind == "dqn"
    known = (set(taken) - _NOT_SETTINGS) | set(_OURS) | (set(_RECURRENT) if recurrent else set())
    for name in training.parameters:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"{training.kind} has no parameter {name}" + (f"; did you mean {near[0]}?" if near else ".")
            )
    given = dict(training.parameters)
    widths = [int(width) for width in given.pop("net_arch", (64, 64))]
    activation = given.pop("activation", Activation.RELU if is_dqn else Activation.TANH)
    if activation not in tuple(Activation):
        raise ConfigurationError(f"activation = {activation!r} is not known; there are {' and '.join(Activation)}.")
    built: dict[str, Any] = {name: given.pop(name) for name in _RECURRENT if name in given}
    built["net_arch"] = widths if is_dqn else {"pi": widths, "vf": widths}
    built["activation_fn"] = activations[Activation(activation)]
    if is_dqn:
        # A million experiences, the default, are saved with every checkpoint.
        given.setdefault("buffer_size", 100_000)
    return {"policy": "MlpLstmPolicy" if recurrent else "MlpPolicy", "policy_kwargs": built, **given}
