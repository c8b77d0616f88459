"""A training from bars to a bundle: judged fold by fold on sessions that it has not seen, then fitted on all of them.

The rule: a fold's model is judged as the bundle that it is written as, by whatever replays a session; nothing of the training's
own arithmetic is in its result. Replays and places on disk are handed in: ``trading`` knows no adapters.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trading.bars import BarColumns, to_epoch_us
from trading.bundles.folder import Bundle
from trading.errors import ConfigurationError
from trading.trading_hours import TradingHours
from trading.training import agent_fit, estimator_fit
from trading.training.bundle_drafts import Origin, write_draft
from trading.training.fitted_models import FittedModel, decision_importance
from trading.training.labels import BUY, SELL
from trading.training.model_quality import Importance
from trading.training.track_record import TrackRecord
from trading.training.training_data import PooledFold, Rows, TrainingData

YARDSTICKS = ("flat", "buy_and_hold", "sma_crossover")
"""Built-in policies that trade the same sessions."""
_LONGEST_YARDSTICK_WARMUP = 500

Told = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much of it is done."""


class Replayed(Protocol):
    """What a policy came to over sessions in order (``tasks.policy_replays.PolicyReplay``)."""

    @property
    def record(self) -> TrackRecord: ...

    @property
    def orders(self) -> int: ...

    @property
    def refused(self) -> int: ...

    @property
    def failures(self) -> int: ...

    @property
    def halted(self) -> str | None: ...


class Replays(Protocol):
    """Trades sessions over bars that begin earlier (warmup), with a session's costs and limits, on an account of its own."""

    def bundle(self, bundle: Bundle, bars: Mapping[str, BarColumns], sessions: Sequence[TradingHours]) -> Replayed:
        """By the bundle's policy, loaded as a session loads it. Raises ``PolicyNotFit`` where a session would refuse it."""
        ...

    def built_in(self, name: str, bars: Mapping[str, BarColumns], sessions: Sequence[TradingHours]) -> Replayed:
        """By a built-in policy with its default parameters."""
        ...


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What a classifier promised of one class on unseen rows with a label (N), and whether it came (N)."""

    probability: Rows
    happened: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FoldOutcome:
    """A fold, judged on its test sessions. ``replays`` are by name, the model's under ``model``.

    ``rows`` were fitted on. ``forecasts`` are by word, empty for whatever has no probabilities. ``learning`` are an agent's steps and
    returns while it learned.
    """

    fold: PooledFold
    rows: int
    replays: Mapping[str, Replayed]
    forecasts: Mapping[str, Forecasts]
    importance: tuple[Importance, ...]
    learning: tuple[tuple[int, float], ...]


class Trainer:
    """One training. ``checkpoints`` is where agents keep theirs; with ``resume`` they go on from there."""

    def __init__(
        self,
        data: TrainingData,
        origin: Origin,
        replays: Replays,
        *,
        checkpoints: Path | None = None,
        resume: bool = False,
    ) -> None:
        self.data = data
        self.origin = origin
        self._replays = replays
        self._checkpoints = checkpoints
        self._resume = resume

    @property
    def folds(self) -> tuple[PooledFold, ...]:
        """Oldest first."""
        return self.data.folds

    def judge_fold(self, fold: PooledFold, told: Told) -> FoldOutcome:
        """Fit on the fold's training rows alone, and trade its test sessions. Leaves nothing on disk but checkpoints."""
        data, words = self.data, f"fold {fold.number} of {len(self.folds)}"
        model = self._fit(fold, words, told)
        told(f"{words}: trading its sessions", 0, 1)
        hours = data.hours_of(fold.test_dates)
        bars = self._bars_for(hours)
        with tempfile.TemporaryDirectory(prefix="openbell-fold-") as scratch:
            # The bundle's training ends with its last training session: it is that old when it is judged.
            bundle = write_draft(
                Path(scratch) / "bundle", data, model, fold.train_dates, self.origin, f"fold-{fold.number}"
            )
            replays = {"model": self._replays.bundle(bundle, bars, hours)}
        replays |= {name: self._replays.built_in(name, bars, hours) for name in YARDSTICKS}
        told(f"{words}: trading its sessions", 1, 1)
        return FoldOutcome(
            fold, model.rows, replays, self._forecasts(model, fold), self._importance(model, fold), model.learning
        )

    def fit_final(self, folder: Path, told: Told) -> Bundle:
        """Fit on all sessions, write the bundle ``folder``, read it back, and have it loaded as a session loads it."""
        data = self.data
        dates = tuple(hours.session_date for hours in data.sessions)
        whole = PooledFold(0, data.within(dates), {}, dates, (), 0)
        model = self._fit(whole, "final model", told)
        bundle = write_draft(folder, data, model, dates, self.origin)
        # Trades nothing that counts: it only has to be let in.
        hours = data.sessions[-1:]
        self._replays.bundle(bundle, self._bars_for(hours), hours)
        return bundle

    def _fit(self, fold: PooledFold, words: str, told: Told) -> FittedModel:
        data = self.data
        if not data.train.is_agent:
            told(f"{words}: fitting", 0, 1)
            model = estimator_fit.fit_on(data, fold.train, fold.train_dates)
            told(f"{words}: fitting", 1, 1)
            return model
        where = (
            None
            if self._checkpoints is None
            else self._checkpoints / (f"fold-{fold.number}" if fold.number else "final")
        )
        return agent_fit.train_on(
            data,
            fold.train_dates,
            lambda done, total: told(f"{words}: learning", done, total),
            where,
            self._resume,
        )

    def _bars_for(self, hours: Sequence[TradingHours]) -> dict[str, BarColumns]:
        """Bars of the sessions and as many before as anybody looks back on."""
        warmup = max(self.data.features.warmup_bars, _LONGEST_YARDSTICK_WARMUP)
        opens, closes = to_epoch_us(hours[0].opens_at), to_epoch_us(hours[-1].closes_at)
        cut = {}
        for symbol, bars in self.data.bars.items():
            begin, end = np.searchsorted(bars.time, (opens, closes))
            cut[symbol] = bars.take(slice(max(int(begin) - warmup, 0), int(end)))
        return cut

    def _forecasts(self, model: FittedModel, fold: PooledFold) -> dict[str, Forecasts]:
        if model.kind != "classifier":
            return {}
        seen, _, sides = self.data.pooled(self.data.trainable(fold.test))
        said = estimator_fit.probabilities(model, seen)
        return {word: Forecasts(said[side], sides == side) for side, word in ((BUY, "BUY"), (SELL, "SELL"))}

    def _importance(self, model: FittedModel, fold: PooledFold) -> tuple[Importance, ...]:
        if model.estimator is not None:
            return estimator_fit.importance_on(self.data, model, fold.test)
        return decision_importance(model, agent_fit.observations(self.data, fold.test_dates), seed=self.data.train.seed)


def moved(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle after its folder was renamed: its files, and so its fingerprint, are the same.

    Raises ``ConfigurationError`` where there is such a folder already.
    """
    if folder.exists():
        raise ConfigurationError(f"There is a {folder} already: a bundle is never changed.")
    bundle.folder.rename(folder)
    return replace(bundle, folder=folder)
