"""A trained policy in a session: its bundle's features, model and action map behind the policy port.

Everything that can be checked is checked when it is made (``load_policy``); what goes wrong later on a symbol is that
symbol's HOLD with a reason.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from trading.bars import BarColumns, Timeframe, from_epoch_us
from trading.bundles.folder import Bundle
from trading.bundles.manifest import Choice, Scaling, TargetWeight
from trading.calendar import TradingCalendar
from trading.decisions import Action, Signal
from trading.errors import ConfigurationError, PolicyNotFit
from trading.features.feature_set import FeatureSet
from trading.features.feature_stream import FeatureStream
from trading.features.spec import FEATURE_VERSION
from trading.policies.action_maps import answer_of, codes_of, gives_weights, near_another, outputs_of, signal_of
from trading.policies.scorer_of import LabelledScorer, load_scorer
from trading.policies.scoring import Rows, Scorer, States
from trading.ports import HistorySignals, Holdings, MarketWindow

_GOLDEN_TOLERANCE = 1e-5
"""How far a score may be from the one that was written down, as a part of the largest of them: agents are trained in float32."""

_HOLD = Signal(Action.HOLD)


class BundlePolicy:
    """Implements ``trading.ports.Policy`` for a model without a memory."""

    def __init__(self, bundle: Bundle, features: FeatureSet, scorer: Scorer) -> None:
        manifest = bundle.manifest
        self.name = manifest.name
        self.fingerprint = bundle.fingerprint
        self.trained_until: datetime = manifest.trained_until
        self.warmup_bars = features.warmup_bars
        self._features = features
        self._scorer = scorer
        self._actions = manifest.actions
        self._scale = scaler_of(manifest.scaling)
        self._streams: dict[str, FeatureStream] = {}

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        signals: dict[str, Signal] = {}
        symbols, rows = [], []
        for symbol in window.symbols:
            row = self._row(window, symbol, holdings)
            if isinstance(row, Signal):
                signals[symbol] = row
            else:
                symbols.append(symbol)
                rows.append(row)
        if symbols:
            scores = self._scored(symbols, np.array(rows), window)
            certain = self._scorer.are_probabilities
            for symbol, score in zip(symbols, scores.tolist(), strict=True):
                signals[symbol] = signal_of(self._actions, score, certain)
        return signals

    def decide_history(self, bars: BarColumns) -> HistorySignals | None:
        if self._features.needs_holdings or self._scorer.state_size or gives_weights(self._actions):
            return None
        if isinstance(self._actions, TargetWeight):
            raise AssertionError("a target weight is a weight")
        rows = self._features.history(bars)
        action = np.zeros(len(bars), dtype=np.int8)
        certain = self._scorer.are_probabilities and isinstance(self._actions, Choice)
        confidence = np.full(len(bars), math.nan) if certain else None
        finite = np.isfinite(rows).all(axis=1)
        errors = {row: self._not_finite(rows[row]) for row in self._failed_rows(np.asarray(~finite))}
        asked = np.flatnonzero(finite)
        if not len(asked):
            return HistorySignals(action, confidence, errors)
        scores = self._scores(rows[asked])
        said = np.isfinite(scores).all(axis=1)
        for at in np.flatnonzero(~said).tolist():
            errors[int(asked[at])] = str(signal_of(self._actions, scores[at].tolist(), certain).error)
        asked, scores = asked[said], scores[said]
        for at in np.flatnonzero(near_another(self._actions, scores)).tolist():
            scores[at] = self._scores(rows[asked[at] : asked[at] + 1])[0]
        action[asked] = codes_of(self._actions, scores)
        if confidence is not None:
            confidence[asked] = np.clip(scores.max(axis=1), 0.0, 1.0)
        return HistorySignals(action, confidence, errors)

    def warm_up(self, window: MarketWindow, symbols: Sequence[str]) -> None:
        """Follow the bars before the session (``trading.ports.WarmingUp``): their features are made of hundreds of bars."""
        for symbol in symbols:
            if window.available(symbol):
                self._stream(symbol).row(window, symbol)

    def _stream(self, symbol: str) -> FeatureStream:
        stream = self._streams.get(symbol)
        if stream is None:
            stream = self._streams[symbol] = self._features.stream()
        return stream

    def _row(self, window: MarketWindow, symbol: str, holdings: Holdings) -> NDArray[np.float64] | Signal:
        """The symbol's features, or what is said of it without asking the model."""
        quantity = holdings.quantity(symbol)
        row = self._stream(symbol).row(
            window, symbol, (quantity > 0) - (quantity < 0), holdings.unrealized_fraction(symbol) if quantity else 0.0
        )
        if row is None:
            return _HOLD
        return row if np.isfinite(row).all() else Signal(Action.HOLD, error=self._not_finite(row))

    def _scored(self, symbols: Sequence[str], rows: Rows, window: MarketWindow) -> Rows:
        """The model's scores of these rows, one for each symbol."""
        del symbols, window
        return self._scores(rows)

    def _scores(self, rows: Rows) -> Rows:
        return self._scorer.score(self._scale(rows))[0]

    def _not_finite(self, row: NDArray[np.float64]) -> str:
        strange = (f"{label} is {value:g}" for label, value in zip(self._features.labels, row, strict=True))
        return ", ".join(text for text, value in zip(strange, row, strict=True) if not math.isfinite(value))[:500]

    def _failed_rows(self, failed: NDArray[np.bool_]) -> list[int]:
        """Rows that failed; those before the first that can be told have not, they come too early."""
        failed = failed.copy()
        failed[: self.warmup_bars - 1] = False
        return np.flatnonzero(failed).tolist()


class RememberingBundlePolicy(BundlePolicy):
    """A model with a memory: carried from bar to bar of a symbol, begun anew with each session (``trading.ports.Remembering``)."""

    def __init__(self, bundle: Bundle, features: FeatureSet, scorer: Scorer, exchange: str) -> None:
        super().__init__(bundle, features, scorer)
        self._exchange = exchange
        self._states: dict[str, tuple[int, NDArray[np.float32]]] = {}
        self._asked: list[str] = []
        self._day: tuple[int, int] = (0, 0)

    def states(self) -> Mapping[str, bytes]:
        return {
            symbol: np.int64(at).astype("<i8").tobytes() + state.astype("<f4").tobytes()
            for symbol in self._asked
            for at, state in [self._states[symbol]]
        }

    def take_up_states(self, states: Mapping[str, bytes]) -> None:
        size = self._scorer.state_size
        taken = {}
        for symbol, content in states.items():
            if len(content) != 8 + 4 * size:
                raise ValueError(f"{len(content)} bytes are no state of {self.fingerprint}: it has {size} numbers")
            at = int(np.frombuffer(content[:8], "<i8")[0])
            taken[symbol] = (at, np.frombuffer(content[8:], "<f4").astype(np.float32))
        self._states = taken

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        self._asked = []
        return super().decide(window, holdings)

    def _scored(self, symbols: Sequence[str], rows: Rows, window: MarketWindow) -> Rows:
        now = int(window.times(symbols[0], 1)[-1])
        begins = self._session_begins(now)
        size = self._scorer.state_size
        before = np.zeros((len(symbols), size), dtype=np.float32)
        for at, symbol in enumerate(symbols):
            kept = self._states.get(symbol)
            if kept is not None and kept[0] >= begins:
                before[at] = kept[1]
        scores, after = self._scorer.score(self._scale(rows), before)
        if after is None:
            raise PolicyNotFit(f"The model of {self.fingerprint} has lost its memory.")
        self._remember(symbols, now, after)
        return scores

    def _remember(self, symbols: Sequence[str], now: int, states: States) -> None:
        self._asked = list(symbols)
        for symbol, state in zip(symbols, states, strict=True):
            self._states[symbol] = (now, state)

    def _session_begins(self, now: int) -> int:
        """Microseconds of the open of the session that ``now`` lies in."""
        begins, ends = self._day
        if not begins <= now < ends:
            moment = from_epoch_us(now)
            calendar = TradingCalendar(self._exchange, moment.date())
            day = calendar.exchange_date(moment)
            if not calendar.is_session(day):
                return now
            hours = calendar.hours(day)
            self._day = begins, ends = (
                int(hours.opens_at.timestamp()) * 1_000_000,
                int(hours.closes_at.timestamp()) * 1_000_000,
            )
        return begins


def load_policy(bundle: Bundle, timeframe: Timeframe, exchange: str) -> BundlePolicy:
    """The policy of a bundle for sessions of this timeframe and exchange. Raises ``PolicyNotFit`` where anything is not as it was."""
    manifest = bundle.manifest
    if (manifest.timeframe, manifest.exchange) != (timeframe, exchange):
        raise PolicyNotFit(
            f"The policy {bundle.fingerprint} was trained on {manifest.timeframe} bars of {manifest.exchange}; the session has "
            f"{timeframe} bars of {exchange}."
        )
    if manifest.feature_version != FEATURE_VERSION:
        raise PolicyNotFit(
            f"The policy {bundle.fingerprint} was trained on features of version {manifest.feature_version}, and they have another "
            f"meaning in version {FEATURE_VERSION}. Train it again."
        )
    try:
        features = FeatureSet(manifest.features, timeframe, exchange)
    except ConfigurationError as error:
        raise PolicyNotFit(f"The policy {bundle.fingerprint} needs features that are not here: {error}") from error
    scorer = load_scorer(manifest.weights.format, bundle.weights)
    _require_shape(bundle, features, scorer)
    _require_golden(bundle, scorer)
    if scorer.state_size:
        return RememberingBundlePolicy(bundle, features, scorer, exchange)
    return BundlePolicy(bundle, features, scorer)


def scaler_of(scaling: Scaling | None) -> Callable[[Rows], Rows]:
    """What is done to rows before the model sees them (see ``Scaling``)."""
    if scaling is None:
        return lambda rows: rows
    mean = np.array(scaling.mean)
    deviation = np.sqrt(np.array(scaling.variance) + scaling.epsilon)
    limit = scaling.limit
    return lambda rows: np.clip((rows - mean) / deviation, -limit, limit)


def _require_shape(bundle: Bundle, features: FeatureSet, scorer: LabelledScorer) -> None:
    """The manifest, the golden samples and the model itself agree on the features, in their order, and on the answers."""
    manifest = bundle.manifest
    # A model from elsewhere may not know what its inputs are called.
    for whose, labels in (("golden samples", bundle.golden.features), ("model", scorer.features or features.labels)):
        if labels != features.labels:
            raise PolicyNotFit(
                f"The manifest of {bundle.fingerprint} lists the features {', '.join(features.labels)}; its {whose} had "
                f"{', '.join(labels)}. In another order the model would see one thing for another."
            )
    if scorer.inputs != len(features.labels):
        raise PolicyNotFit(
            f"The model of {bundle.fingerprint} takes {scorer.inputs} features, and its manifest lists {len(features.labels)}."
        )
    wanted = outputs_of(manifest.actions)
    if scorer.outputs != wanted:
        raise PolicyNotFit(
            f"The model of {bundle.fingerprint} gives {scorer.outputs} scores, and its action map is for {wanted}."
        )
    if not isinstance(manifest.actions, Choice) or not all(isinstance(one, str) for one in scorer.classes):
        return
    for column, (said, mapped) in enumerate(zip(scorer.classes, manifest.actions.actions, strict=False)):
        if said in tuple(Action) and said != mapped:
            raise PolicyNotFit(
                f"Column {column + 1} of the scores of {bundle.fingerprint} is {said} in the model's own words, and {mapped} in the manifest's "
                "action map: it would do the one for the other."
            )


def _require_golden(bundle: Bundle, scorer: Scorer) -> None:
    """The model answers its golden samples as it did when it was written."""
    golden, actions = bundle.golden, bundle.manifest.actions
    try:
        observations, expected = (np.array(rows, dtype=np.float64) for rows in (golden.observations, golden.scores))
    except ValueError as error:
        raise PolicyNotFit(f"The golden samples of {bundle.fingerprint} are no table: {error}.") from error
    count = len(golden.actions)
    if not count or observations.shape != (count, scorer.inputs) or expected.shape != (count, scorer.outputs):
        raise PolicyNotFit(f"The golden samples of {bundle.fingerprint} are missing or not of the model's shape.")
    rows = scaler_of(bundle.manifest.scaling)(observations)
    scores = _in_sequence(scorer, rows) if scorer.state_size else scorer.score(rows)[0]
    largest = float(np.abs(expected).max())
    for at, (made, written) in enumerate(zip(scores.tolist(), expected.tolist(), strict=True)):
        answer = answer_of(actions, made)
        known = golden.actions[at]
        same = (
            math.isclose(answer, known, rel_tol=1e-5, abs_tol=1e-5)
            if isinstance(answer, float) and isinstance(known, float)
            else answer == known
        )
        near = np.allclose(made, written, rtol=0.0, atol=_GOLDEN_TOLERANCE * largest)
        if not (same and near):
            raise PolicyNotFit(
                f"The model of {bundle.fingerprint} does not decide as it did when it was written: golden sample {at + 1} of {count} "
                f"was {known} ({_numbers(written)}) and is {answer} ({_numbers(made)}) here. Train it again, or "
                "trade where it was made."
            )


def _in_sequence(scorer: Scorer, rows: Rows) -> Rows:
    states: States | None = None
    scores = []
    for row in rows:
        score, states = scorer.score(row[None, :], states)
        scores.append(score[0])
    return np.array(scores)


def _numbers(scores: Sequence[float]) -> str:
    return ", ".join(f"{score:.6g}" for score in scores)
