"""Training an agent on sessions of the training data: what it is told, how long it learns, and what it becomes."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from trading.bars import to_epoch_us
from trading.bundles.manifest import AgentKind, Choice, TargetWeight, Weights
from trading.decisions import Action
from trading.errors import ConfigurationError
from trading.training.agent_training import AgentTraining, TrainedAgent
from trading.training.fitted_models import Answers, FittedModel
from trading.training.training_data import Rows, TrainingData

if TYPE_CHECKING:
    import gymnasium

Told = Callable[[int, int], None]
_SAMPLED_ROWS = 2_000


def train_on(
    data: TrainingData,
    dates: Sequence[date],
    told: Told,
    checkpoints: Path | None = None,
    resume: bool = False,
) -> FittedModel:
    """The agent of the settings, trained on the sessions of ``dates``; the same arguments give the same weights.

    Raises ``ConfigurationError`` without the extra ``rl``, or where the sessions are too few.
    """
    try:
        from trading.training.agents import train_agent
        from trading.training.environment import ACTIONS
    except ImportError as error:
        raise ConfigurationError(
            f"Training an agent needs gymnasium and stable-baselines3 ({error}). Install openbell with its extra: pip install 'openbell[rl]'."
        ) from error
    train, weight = data.train, _target_weight(data)
    learned, judged = _sessions(data, dates)
    symbols = len(data.symbols)
    trained = train_agent(
        AgentTraining(
            kind=cast(AgentKind, train.kind),
            total_steps=train.agent.total_steps,
            seed=train.seed,
            parameters=train.parameters,
            normalize=train.agent.normalize,
            # Each symbol has as many accounts as any other.
            environments=-(-max(train.agent.environments, symbols) // symbols) * symbols,
            leg_steps=train.agent.leg_steps,
            patience=train.agent.patience,
        ),
        data.features.labels,
        _environments(data, learned, weight),
        make_evaluation=None if not judged else _evaluations(data, judged, weight),
        progress=told,
        checkpoint_folder=checkpoints,
        resume=resume,
    )
    actions = Choice(actions=ACTIONS) if weight is None else weight
    remembers = train.kind == "recurrent_ppo"
    return FittedModel(
        kind=train.kind,
        weights=Weights(format="arrays", file="model.npz"),
        content=trained.weights,
        actions=actions,
        scaling=trained.scaling,
        requires={},
        libraries={name: version(name) for name in ("stable-baselines3", "sb3-contrib", "torch", "gymnasium", "numpy")},
        labels=data.features.labels,
        answer=lambda rows: _answers(trained, actions, rows),
        samples=trained.observed if remembers else observations(data, dates),
        rows=sum(map(len, data.within(dates).values())),
        remembers=remembers,
        learning=trained.returns,
    )


def observations(data: TrainingData, dates: Sequence[date]) -> Rows:
    """Rows of the sessions as an agent could see them, spread evenly: those of the bars, with what is held made up.

    In turn it holds nothing, is long at a small gain, and is long at a small loss (short, where that is allowed).
    """
    pooled = np.concatenate([data.rows[symbol][at] for symbol, at in data.within(dates).items()])
    market = [column for column in range(pooled.shape[1]) if column not in data.features.holdings_columns]
    warm = pooled[np.isfinite(pooled[:, market]).all(axis=1)]
    taken = warm[
        np.unique(np.linspace(0, len(warm) - 1, min(len(warm), _SAMPLED_ROWS)).round().astype(np.int64))
    ].copy()
    turn = np.arange(len(taken)) % 3
    other = -1.0 if data.settings.orders.allow_short else 1.0
    for column, name in _holdings(data).items():
        made_up = (0.0, 1.0, other) if name == "position" else (0.0, 0.001, -0.001)
        taken[:, column] = np.array(made_up)[turn]
    # As the environment hands them out.
    return np.asarray(taken.astype(np.float32), dtype=np.float64)


def _sessions(data: TrainingData, dates: Sequence[date]) -> tuple[Sequence[date], Sequence[date]]:
    """Sessions that it learns from, and those on which it is seen when to stop."""
    if data.train.agent.patience is None:
        return dates, ()
    count = max(round(len(dates) * data.train.validation_fraction), 1)
    if count >= len(dates):
        raise ConfigurationError(f"{len(dates)} sessions are too few to learn from some and to stop by others.")
    return dates[:-count], dates[-count:]


def _environments(
    data: TrainingData, dates: Sequence[date], weight: TargetWeight | None
) -> "Callable[[], gymnasium.Env[Any, Any]]":
    """Makes an environment of one symbol after another, the first again after the last."""
    symbols = itertools.cycle(data.symbols)
    return lambda: _environment(data, next(symbols), dates, weight, drawn=True)


def _evaluations(
    data: TrainingData, dates: Sequence[date], weight: TargetWeight | None
) -> "Callable[[], gymnasium.Env[Any, Any]]":
    """The sessions in one go. Of several symbols the first shows when to stop."""
    return lambda: _environment(data, data.symbols[0], dates, weight, drawn=False)


def _environment(
    data: TrainingData, symbol: str, dates: Sequence[date], weight: TargetWeight | None, *, drawn: bool
) -> "gymnasium.Env[Any, Any]":
    from trading.training.environment import TradingEnvironment

    hours = data.hours_of(dates)
    bars = data.bars[symbol]
    # Nothing after its last session is even there.
    upto = slice(0, int(np.searchsorted(bars.time, to_epoch_us(hours[-1].closes_at))))
    count = min(data.train.agent.sessions_per_episode, len(hours)) if drawn else len(hours)
    return TradingEnvironment(
        data.settings,
        bars.take(upto),
        hours,
        data.rows[symbol][upto],
        _holdings(data),
        sessions_per_episode=count,
        drawn=drawn,
        target_weight=weight,
        turnover_penalty=data.train.agent.turnover_penalty,
    )


def _holdings(data: TrainingData) -> Mapping[int, str]:
    return {column: data.features.specs[column].name for column in data.features.holdings_columns}


def _target_weight(data: TrainingData) -> TargetWeight | None:
    agent = data.train.agent
    if not agent.target_weights:
        return None
    highest = agent.highest_weight
    return TargetWeight(scale=highest, lowest=-highest if data.settings.orders.allow_short else 0.0, highest=highest)


def _answers(trained: TrainedAgent, actions: Choice | TargetWeight, rows: Rows) -> Answers:
    said = trained.answer(rows)
    if isinstance(actions, Choice):
        return Answers(said.scores, tuple(Action(str(actions.actions[int(code)])) for code in said.actions.tolist()))
    weights = np.clip(said.actions * actions.scale, actions.lowest, actions.highest)
    return Answers(said.scores, tuple(float(weight) for weight in weights.tolist()))
