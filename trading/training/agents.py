"""Reinforcement-learning agents: trained by stable-baselines3, handed on as arrays that need none of it.

The only file that knows stable-baselines3, sb3-contrib and torch, and only inside its functions. A run consists of legs: at the
start of each the environments begin anew under a seed of that leg, and at its end everything is saved. So a run that was
killed and resumed ends with the weights of one that was not.
"""

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trading.bundles.manifest import AgentKind, Scaling
from trading.bundles.network_file import Activation, write_network
from trading.errors import ConfigurationError, PolicyNotFit
from trading.training.agent_parameters import class_arguments
from trading.training.agent_training import AgentAnswers, AgentTraining, Rows, TrainedAgent
from trading.training.checkpoints import Checkpoint, Checkpoints
from trading.training.export import actor_network, agent_answers

if TYPE_CHECKING:
    import gymnasium

Progress = Callable[[int, int], None]
"""Is told steps done and steps in all."""

OBSERVED_ROWS = 64
_TOLD_EVERY = 500


def train_agent(
    training: AgentTraining,
    features: Sequence[str],
    make_environment: Callable[[], "gymnasium.Env[Any, Any]"],
    *,
    make_evaluation: Callable[[], "gymnasium.Env[Any, Any]"] | None = None,
    progress: Progress | None = None,
    checkpoint_folder: Path | None = None,
    resume: bool = False,
) -> TrainedAgent:
    """Train an agent; the same arguments make the same weights.

    ``features`` are the labels of the observation's numbers in order. ``make_environment`` makes one environment with a flat Box of
    observations and Discrete actions, or a Box of one number (PPO and A2C); after ``reset(seed=...)`` an episode depends on the
    seed and the actions alone. With ``resume`` the run goes on from the newest checkpoint in ``checkpoint_folder``, and
    without it such checkpoints are removed. Raises ``ConfigurationError`` without the extra ``rl``, for parameters that the kind does
    not have, and for checkpoints of another run.
    """
    _require_frameworks()
    if resume and checkpoint_folder is None:
        raise ConfigurationError("Resuming a training needs the folder of its checkpoints.")
    with tempfile.TemporaryDirectory() as scratch:
        run = json.loads(json.dumps({**asdict(training), "features": list(features)}))
        checkpoints = Checkpoints(checkpoint_folder or Path(scratch), run)
        if not resume:
            checkpoints.clear()
        with _one_thread():
            return _Run(training, tuple(features), make_environment, make_evaluation, progress, checkpoints).go()


class _Run:
    """One training in progress."""

    def __init__(
        self,
        training: AgentTraining,
        features: tuple[str, ...],
        make_environment: Callable[[], "gymnasium.Env[Any, Any]"],
        make_evaluation: Callable[[], "gymnasium.Env[Any, Any]"] | None,
        progress: Progress | None,
        checkpoints: Checkpoints,
    ) -> None:
        from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

        self._training, self._features, self._progress, self._checkpoints = training, features, progress, checkpoints
        self._make_environment = make_environment
        self._evaluation = None if make_evaluation is None else make_evaluation()
        plain = DummyVecEnv([make_environment] * training.environments)
        _check_spaces(training.kind, plain, features)
        gamma = float(training.parameters.get("gamma", 0.99))
        self._normalized = VecNormalize(plain, gamma=gamma) if training.normalize else None
        self._environments = self._normalized or plain
        self._class = _class_of(training.kind)
        self._returns: list[tuple[int, float]] = []
        newest = checkpoints.newest()
        if newest is None:
            self._model = self._made()
        else:
            self._take_up(newest)

    def _made(self) -> Any:
        """A model that has learned nothing."""
        given = _parameters(self._training, self._class)
        try:
            return self._class(env=self._environments, seed=self._training.seed, device="cpu", **given)
        except (TypeError, ValueError, AssertionError) as error:
            raise ConfigurationError(
                f"{self._training.kind} cannot be made with {dict(self._training.parameters)}: {error}"
            ) from error

    def go(self) -> TrainedAgent:
        total = self._training.total_steps
        while self._model.num_timesteps < total and not self._has_stalled:
            done = self._model.num_timesteps
            self._begin_leg(done)
            steps = min(self._training.leg_steps, total - done)
            self._learn(steps)
            if self._evaluation is not None:
                self._returns.append((self._model.num_timesteps, self._episode_return(self._evaluation)))
            self._save()
        best = self._checkpoints.newest()
        if best is not None and self._returns:
            self._take_up(best, "best")
        return self._trained()

    @property
    def _has_stalled(self) -> bool:
        if self._training.patience is None or not self._returns:
            return False
        return len(self._returns) - 1 - self._best > self._training.patience - 1

    @property
    def _best(self) -> int:
        """Number of the leg with the highest return, the first of equal ones."""
        return max(range(len(self._returns)), key=lambda leg: (self._returns[leg][1], -leg))

    def _learn(self, steps: int) -> None:
        from stable_baselines3.common.logger import Logger

        told = _telling(self._progress, self._training.total_steps)
        # One of its own would be a temporary folder that stays, for each leg.
        self._model.set_logger(Logger(folder=None, output_formats=[]))
        try:
            self._model.learn(steps, callback=told, reset_num_timesteps=False)
        except ValueError as error:
            if "invalid values" not in str(error):
                raise
            # torch's words for a distribution of NaN.
            raise ConfigurationError(
                f"The weights of {self._training.kind} diverged after {self._model.num_timesteps} steps. Try a smaller learning_rate."
            ) from error

    def _begin_leg(self, done: int) -> None:
        """Environments, and everything that draws lots, begin anew."""
        seed = int(np.random.SeedSequence([self._training.seed, done]).generate_state(1)[0] >> 1)
        self._model.set_env(self._environments, force_reset=True)
        self._model.set_random_seed(seed)
        self._environments.seed(seed)

    def _episode_return(self, environment: "gymnasium.Env[Any, Any]") -> float:
        """Sum of the rewards of one episode in which the agent does what it thinks best."""
        observation, _ = environment.reset(seed=self._training.seed)
        total, over, state, start = 0.0, False, None, np.ones(1, dtype=bool)
        while not over:
            seen = self._scaled(np.asarray(observation, dtype=np.float64)[None])
            action, state = self._model.predict(seen, state=state, episode_start=start, deterministic=True)
            observation, reward, terminated, truncated, _ = environment.step(action[0])
            total, over, start = total + float(reward), terminated or truncated, np.zeros(1, dtype=bool)
        return total

    def _scaled(self, rows: Rows) -> Rows | NDArray[np.float32]:
        return rows if self._normalized is None else self._normalized.normalize_obs(rows)

    def _save(self) -> None:
        before = self._checkpoints.newest()
        is_best = bool(self._returns) and self._best == len(self._returns) - 1

        def write(folder: Path) -> None:
            self._write(folder / "last")
            if is_best:
                self._write(folder / "best")
            elif self._returns and before is not None:
                _copy(before.folder / "best", folder / "best")

        self._checkpoints.save(self._model.num_timesteps, {"returns": self._returns}, write)

    def _write(self, folder: Path) -> None:
        folder.mkdir()
        self._model.save(folder / "model.zip")
        if folder.name == "last" and self._training.kind == "dqn":
            self._model.save_replay_buffer(folder / "experience.pkl")
        if self._normalized is not None:
            kept = {name: _statistics(getattr(self._normalized, name)) for name in ("obs_rms", "ret_rms")}
            (folder / "normalizing.json").write_text(json.dumps(kept), encoding="utf-8")

    def _take_up(self, checkpoint: Checkpoint, which: str = "last") -> None:
        folder = checkpoint.folder / which
        self._returns = [(int(steps), float(value)) for steps, value in checkpoint.state["returns"]]
        self._model = self._class.load(folder / "model.zip", env=self._environments, device="cpu")
        if (folder / "experience.pkl").exists():
            self._model.load_replay_buffer(folder / "experience.pkl")
        if self._normalized is not None:
            for name, kept in json.loads((folder / "normalizing.json").read_text(encoding="utf-8")).items():
                statistics = getattr(self._normalized, name)
                statistics.mean, statistics.var = np.array(kept["mean"]), np.array(kept["variance"])
                statistics.count = kept["count"]

    def _trained(self) -> TrainedAgent:
        scaling = None
        try:
            network = actor_network(self._training.kind, self._model.policy, self._features)
        except PolicyNotFit as error:
            raise ConfigurationError(f"What came out of the training is no agent: {error}") from error
        if self._normalized is not None:
            seen = self._normalized
            scaling = Scaling(
                mean=tuple(seen.obs_rms.mean.tolist()), variance=tuple(seen.obs_rms.var.tolist()),
                epsilon=seen.epsilon, limit=seen.clip_obs,
            )  # fmt: skip
        return TrainedAgent(
            training=self._training,
            weights=write_network(network),
            scaling=scaling,
            steps=self._model.num_timesteps,
            returns=tuple(self._returns),
            observed=self._observe(self._make_environment()),
            answer=self._answer,
        )

    def _observe(self, environment: "gymnasium.Env[Any, Any]") -> Rows:
        observation, _ = environment.reset(seed=self._training.seed)
        rows, state, start = [], None, np.ones(1, dtype=bool)
        for _ in range(OBSERVED_ROWS):
            rows.append(np.asarray(observation, dtype=np.float64))
            action, state = self._model.predict(
                self._scaled(rows[-1][None]), state=state, episode_start=start, deterministic=True
            )
            observation, _, terminated, truncated, _ = environment.step(action[0])
            start = np.zeros(1, dtype=bool)
            if terminated or truncated:
                break
        return np.array(rows)

    def _answer(self, rows: Rows) -> AgentAnswers:
        with _one_thread():
            return agent_answers(self._training.kind, self._model, np.asarray(self._scaled(rows)))


def _class_of(kind: AgentKind) -> Any:
    import sb3_contrib
    import stable_baselines3

    if kind == "recurrent_ppo":
        return sb3_contrib.RecurrentPPO
    return {"ppo": stable_baselines3.PPO, "a2c": stable_baselines3.A2C, "dqn": stable_baselines3.DQN}[kind]


def _parameters(training: AgentTraining, chosen: Any) -> dict[str, Any]:
    import torch

    taken = inspect.signature(chosen.__init__).parameters
    return class_arguments(training, taken, {Activation.TANH: torch.nn.Tanh, Activation.RELU: torch.nn.ReLU})


def _telling(progress: Progress | None, total: int) -> Any:
    """A callback of stable-baselines3 that tells the steps done, and lets schedules run over the whole training and not a leg."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Telling(BaseCallback):  # type: ignore[misc]
        def _on_training_start(self) -> None:
            self.model._total_timesteps = total

        def _on_step(self) -> bool:
            if progress is not None and self.n_calls % _TOLD_EVERY == 0:
                progress(min(self.num_timesteps, total), total)
            return True

        def _on_training_end(self) -> None:
            if progress is not None:
                progress(min(self.num_timesteps, total), total)

    return Telling()


def _check_spaces(kind: AgentKind, environments: Any, features: tuple[str, ...]) -> None:
    seen, acted = environments.observation_space, environments.action_space
    if seen.shape != (len(features),):
        raise ConfigurationError(
            f"The environment's observations have the shape {seen.shape}, and there are {len(features)} features."
        )
    discrete = hasattr(acted, "n")
    if not discrete and (
        kind == "dqn" or acted.shape != (1,) or not (np.isfinite(acted.low) & np.isfinite(acted.high)).all()
    ):
        raise ConfigurationError(
            f"{kind} cannot act in {acted}: one of some actions is needed, or (not for dqn) one bounded number."
        )


def _statistics(running: Any) -> dict[str, Any]:
    return {"mean": running.mean.tolist(), "variance": running.var.tolist(), "count": float(running.count)}


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one thread: sums then come out the same each time, and networks as small as these are slower on several."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _require_frameworks() -> None:
    try:
        import sb3_contrib  # noqa: F401
        import stable_baselines3  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"Training an agent needs stable-baselines3, sb3-contrib and torch ({error}). Install openbell with its extra: pip install 'openbell[rl]'."
        ) from error
