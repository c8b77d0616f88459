"""Agents after their training: numpy says what stable-baselines3 says, the same seed makes the same weights, and a run that is
killed ends where one that was not ends."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("stable_baselines3", reason="agents are trained with the extra rl")

import gymnasium
from gymnasium import spaces

from trading.errors import ConfigurationError
from trading.policies.networks import load_network
from trading.training.agent_training import AgentTraining, TrainedAgent
from trading.training.agents import train_agent

FEATURES = ("signal", "noise", "level", "position")
STEPS = 100


class Walk(gymnasium.Env[NDArray[np.float64], Any]):
    """A hundred steps. The reward is the position (-1, 0, 1, or a weight) times the sign of the first number."""

    def __init__(self, weights: bool = False) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = spaces.Box(-0.25, 0.5, (1,), np.float32) if weights else spaces.Discrete(3)
        self._weights = weights

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], Any]:
        super().reset(seed=seed, options=options)
        self._rows = self.np_random.normal(3.0, 5.0, (STEPS + 1, 4))
        self._at = 0
        return self._rows[0], {}

    def step(self, action: Any) -> tuple[NDArray[np.float64], float, bool, bool, Any]:
        held = float(action[0]) if self._weights else int(action) - 1
        reward = held * float(np.sign(self._rows[self._at, 0] - 3.0))
        self._at += 1
        return self._rows[self._at], reward, False, self._at == STEPS, {}


def weights_walk() -> Walk:
    return Walk(weights=True)


SMALL = {"n_steps": 50, "batch_size": 50}
LSTM = {**SMALL, "lstm_hidden_size": 8, "learning_rate": 0.01}
Case = tuple[AgentTraining, Callable[[], Walk]]
CASES: dict[str, Case] = {
    "ppo": (AgentTraining("ppo", 300, 3, SMALL, leg_steps=100), Walk),
    "ppo of one number": (
        AgentTraining("ppo", 300, 3, {**SMALL, "net_arch": [16, 8, 8], "activation": "relu"}, leg_steps=100), weights_walk,
    ),
    "ppo without normalizing": (AgentTraining("ppo", 300, 3, {**SMALL, "net_arch": []}, normalize=False, leg_steps=100), Walk),
    "ppo in two environments": (AgentTraining("ppo", 300, 3, SMALL, environments=2, leg_steps=100), Walk),
    "a2c": (AgentTraining("a2c", 300, 3, leg_steps=100), Walk),
    "dqn": (AgentTraining("dqn", 300, 3, {"learning_starts": 40, "buffer_size": 500}, leg_steps=100), Walk),
    "recurrent_ppo": (AgentTraining("recurrent_ppo", 300, 3, LSTM, leg_steps=100), Walk),
    "recurrent_ppo of one number": (AgentTraining("recurrent_ppo", 300, 3, LSTM, leg_steps=100), weights_walk),
    "recurrent_ppo of two layers, shared": (
        AgentTraining(
            "recurrent_ppo", 300, 3, {**LSTM, "n_lstm_layers": 2, "shared_lstm": True, "enable_critic_lstm": False}, leg_steps=100
        ), Walk,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> Callable[[str], TrainedAgent]:
    """The agent of a case, trained once."""
    made: dict[str, TrainedAgent] = {}

    def of(name: str) -> TrainedAgent:
        if name not in made:
            training, environment = CASES[name]
            made[name] = train_agent(training, FEATURES, environment)
        return made[name]

    return of


def scores_of(agent: TrainedAgent, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a session makes of raw observations, one sequence from its beginning: scaling, then the network, in numpy."""
    if agent.scaling is not None:
        mean, variance = np.array(agent.scaling.mean), np.array(agent.scaling.variance)
        limit = agent.scaling.limit
        rows = np.clip((rows - mean) / np.sqrt(variance + agent.scaling.epsilon), -limit, limit)
    network = load_network(agent.weights)
    assert network.features == FEATURES
    if network.state_size == 0:
        return network.score(rows)[0]
    states, scores = None, []
    for row in rows:
        score, states = network.score(row[None], states)
        scores.append(score[0])
    return np.array(scores)


@pytest.mark.parametrize("name", CASES)
def test_numpy_says_what_stable_baselines3_says(name: str, trained: Callable[[str], TrainedAgent]) -> None:
    agent = trained(name)
    rows = np.random.default_rng(41).normal(3.0, 10.0, (200, 4))
    said = agent.answer(rows)
    scores = scores_of(agent, rows)
    assert np.abs(scores - said.scores).max() <= 1e-5
    if scores.shape[1] == 1:
        assert np.abs(scores[:, 0] - said.actions).max() <= 1e-5
        assert scores.min() >= -0.25
        assert scores.max() <= 0.5
    else:
        assert scores.argmax(axis=1).tolist() == said.actions.tolist()
        assert len(set(said.actions)) > 1, "one action for everything would prove little"


def test_what_scores_are(trained: Callable[[str], TrainedAgent]) -> None:
    kinds = {name: load_network(trained(name).weights) for name in ("ppo", "dqn", "recurrent_ppo", "ppo of one number")}
    assert [network.are_probabilities for network in kinds.values()] == [True, False, True, False]
    assert [network.outputs for network in kinds.values()] == [3, 3, 3, 1]
    # Eight numbers shown and eight remembered.
    assert [network.state_size for network in kinds.values()] == [0, 0, 16, 0]


@pytest.mark.parametrize("name", ["ppo", "ppo in two environments", "a2c", "dqn", "recurrent_ppo"])
def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    name: str, trained: Callable[[str], TrainedAgent], tmp_path: Path
) -> None:
    training, environment = CASES[name]

    class Killed(Exception):
        pass

    def kill(done: int, _: int) -> None:
        if done >= 150:
            raise Killed

    with pytest.raises(Killed):
        train_agent(training, FEATURES, environment, progress=kill, checkpoint_folder=tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["steps-000000000100"]
    told: list[int] = []
    resumed = train_agent(
        training,
        FEATURES,
        environment,
        progress=lambda done, _: told.append(done),
        checkpoint_folder=tmp_path,
        resume=True,
    )
    assert min(told) > 100
    assert resumed.weights == trained(name).weights
    assert resumed.scaling == trained(name).scaling
    again = train_agent(training, FEATURES, environment, checkpoint_folder=tmp_path, resume=True)
    assert again.weights == resumed.weights


def test_another_seed_makes_other_weights(trained: Callable[[str], TrainedAgent]) -> None:
    training, environment = CASES["ppo"]
    assert train_agent(training, FEATURES, environment).weights == trained("ppo").weights
    assert train_agent(replace(training, seed=4), FEATURES, environment).weights != trained("ppo").weights


def test_a_run_without_resuming_begins_anew(tmp_path: Path, trained: Callable[[str], TrainedAgent]) -> None:
    training, environment = CASES["a2c"]
    train_agent(replace(training, total_steps=200, seed=9), FEATURES, environment, checkpoint_folder=tmp_path)
    assert train_agent(training, FEATURES, environment, checkpoint_folder=tmp_path).weights == trained("a2c").weights


def test_a_training_leaves_nothing_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    training, environment = CASES["a2c"]
    train_agent(training, FEATURES, environment)
    assert list(tmp_path.iterdir()) == []


def test_progress_reaches_the_end() -> None:
    told: list[tuple[int, int]] = []
    agent = train_agent(CASES["a2c"][0], FEATURES, Walk, progress=lambda *at: told.append(at))
    assert told == [(100, 300), (200, 300), (300, 300)]
    assert agent.steps == 300
    assert agent.observed.shape == (64, 4)
    assert agent.observed[0].tolist() == Walk().reset(seed=3)[0].tolist()


class Spoilt(Walk):
    """The better an agent does, the worse it is told it did: what it learns makes the evaluation worse."""

    def step(self, action: Any) -> tuple[NDArray[np.float64], float, bool, bool, Any]:
        row, reward, terminated, truncated, told = super().step(action)
        return row, -reward, terminated, truncated, told


def test_a_run_stops_when_it_no_longer_gets_better_and_hands_out_the_best(tmp_path: Path) -> None:
    parameters = {**SMALL, "learning_rate": 0.01}
    training = AgentTraining("ppo", 2_000, 3, parameters, leg_steps=200, patience=2)
    agent = train_agent(training, FEATURES, Walk, make_evaluation=Spoilt, checkpoint_folder=tmp_path)
    steps, returns = zip(*agent.returns, strict=True)
    best = int(np.argmax(returns))
    assert len(returns) == best + 1 + 2 < 10
    assert agent.steps == steps[best]
    # The leg's own weights: a run that ends there has the same.
    shorter = train_agent(replace(training, total_steps=agent.steps, patience=None), FEATURES, Walk)
    assert agent.weights == shorter.weights
    resumed = train_agent(training, FEATURES, Walk, make_evaluation=Spoilt, checkpoint_folder=tmp_path, resume=True)
    assert (resumed.weights, resumed.returns) == (agent.weights, agent.returns)


def test_checkpoints_of_another_run_are_refused(tmp_path: Path) -> None:
    training = CASES["a2c"][0]
    train_agent(training, FEATURES, Walk, checkpoint_folder=tmp_path)
    with pytest.raises(ConfigurationError, match=r"training with other settings \(seed\)"):
        train_agent(replace(training, seed=8), FEATURES, Walk, checkpoint_folder=tmp_path, resume=True)
    with pytest.raises(ConfigurationError, match="needs the folder"):
        train_agent(training, FEATURES, Walk, resume=True)


REFUSED: dict[str, tuple[AgentTraining, Callable[[], Any], str]] = {
    "a parameter misspelt": (AgentTraining("ppo", 10, 0, {"learning_rat": 1}), Walk, "ppo has no parameter learning_rat; did you mean learning_rate"),
    "a parameter of another kind": (AgentTraining("ppo", 10, 0, {"lstm_hidden_size": 8}), Walk, "ppo has no parameter lstm_hidden_size"),
    "the place of the weights": (AgentTraining("ppo", 10, 0, {"device": "cuda"}), Walk, "ppo has no parameter device"),
    "an unknown activation": (AgentTraining("ppo", 10, 0, {"activation": "gelu"}), Walk, "activation = 'gelu' is not known; there are tanh and relu"),
    "a word for a number": (AgentTraining("ppo", 10, 0, {"n_steps": "many"}), Walk, "ppo cannot be made with {'n_steps': 'many'}"),
    "a rate that blows weights up": (AgentTraining("ppo", 300, 0, {**SMALL, "learning_rate": 1e30}), Walk, "weights of ppo diverged"),
    "a number from dqn": (AgentTraining("dqn", 10), weights_walk, "dqn cannot act in Box"),
}  # fmt: skip


@pytest.mark.parametrize(("training", "environment", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_is_refused(
    training: AgentTraining, environment: Callable[[], Any], reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        train_agent(training, FEATURES, environment)


def test_an_environment_of_other_features_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"have the shape \(4,\), and there are 3 features"):
        train_agent(AgentTraining("ppo", 10), FEATURES[:3], Walk)


def test_a_run_of_no_steps_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="are 1 or more"):
        AgentTraining("ppo", 0)
