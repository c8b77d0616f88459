"""What is made of a policy's word before anyone trades on it: a model that goes wrong ends in "no order", with the reason.

A failed decision holds and says why. Too many of a symbol in a row, and the session takes no new risk until its close or
until a person says otherwise.
"""

import itertools
import logging
import math
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from trading.decisions import Action, Decision, Halt, Signal
from trading.policy_settings import PolicySettings
from trading.ports import HistorySignals, Holdings, MarketWindow, Policy, Trained, WarmingUp
from trading.risk_events import RiskEvent, RiskEventHandler, RiskEventKind

_log = logging.getLogger(__name__)

POLICY_FAILURES = "policy_failures"
"""The rule of the halt that comes of a policy that fails again and again."""

_NOTHING_SAID = Signal(Action.HOLD, error="the policy said nothing about this symbol")
_MOST_LETTERS = 500


@dataclass(frozen=True, slots=True)
class Heard:
    """A policy's word on each symbol of a bar, and how long it took."""

    signals: Mapping[str, Signal]
    latency_ms: float


class PolicyWatch:
    """Asks one policy in one session, and counts its failures. Used by the thread that trades.

    ``timed``: whether what comes later than the budget is no decision; a replay of the past is in no hurry.
    """

    def __init__(
        self,
        policy: Policy,
        settings: PolicySettings,
        session_id: str,
        events: RiskEventHandler,
        timed: bool = True,
    ) -> None:
        self.policy = policy
        self._minimum_confidence = settings.minimum_confidence
        self._budget_ms = float(settings.decision_budget_ms) if timed else None
        self._most_failures = settings.failures_until_reduce_only
        self._fit_until = fit_until(policy, settings)
        self._max_age_days = settings.max_age_days
        self._session_id = session_id
        self._events = events
        self._failures: dict[str, int] = {}
        self._newest: dict[str, str] = {}

    def take_up(self, decisions: Iterable[Decision]) -> None:
        """Count the failures of a session that goes on; its decisions in the order of their bars."""
        for _, of_bar in itertools.groupby(decisions, lambda decision: decision.bar_time):
            for decision in of_bar:
                self._count(decision.symbol, decision.error)
            if max(self._failures.values(), default=0) >= self._most_failures:
                self._failures.clear()  # the halt that came of it was made then

    def warm_up(self, symbols: Sequence[str], window: MarketWindow) -> None:
        """Let the policy take in what the window shows before the first bar; what goes wrong will show when it is asked."""
        if isinstance(self.policy, WarmingUp):
            try:
                self.policy.warm_up(window, symbols)
            except Exception:  # noqa: BLE001 - a failed model means no order, and no stopped session
                _log.error("warmup of the policy failed policy=%s\n%s", self.policy.name, _traceback())

    def hear(self, symbols: Sequence[str], window: MarketWindow, holdings: Holdings, bar_time: datetime) -> Heard:
        """The policy's word on each of ``symbols`` at the window's newest bar, which is that of ``bar_time``."""
        said, latency_ms = self._ask(symbols, window, holdings, bar_time)
        signals = {symbol: held_back(signal, self._minimum_confidence) for symbol, signal in said.items()}
        for symbol, signal in signals.items():
            self._count(symbol, signal.error)
            if signal.error is not None:
                self._tell(symbol, bar_time, signal.error)
        return Heard(signals, latency_ms)

    def halt_due(self, scope: str, at: datetime, until: datetime) -> Halt | None:
        """The halt of ``scope`` that its failures have come to by now; they are counted from none again."""
        failed = max(self._failures, key=lambda symbol: self._failures[symbol], default=None)
        if failed is None or self._failures[failed] < self._most_failures:
            return None
        count = self._failures[failed]
        self._failures.clear()
        times = "once" if count == 1 else f"{count} times in a row"
        reason = f"policy {self.policy.name} failed {times} on {failed}, at last because {self._newest[failed]}"
        return Halt(scope, reason, at, until, self._session_id, POLICY_FAILURES)

    def _ask(
        self, symbols: Sequence[str], window: MarketWindow, holdings: Holdings, bar_time: datetime
    ) -> tuple[dict[str, Signal], float]:
        if self._fit_until is not None and bar_time > self._fit_until:
            return dict.fromkeys(symbols, _failed(self._too_old(bar_time))), 0.0
        started = time.perf_counter()
        try:
            said = self.policy.decide(window, holdings)
            if not isinstance(said, Mapping):
                raise TypeError(f"the policy said {said!r} instead of a signal for each symbol")
            heard = {symbol: _heard(said.get(symbol)) for symbol in symbols}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a failed model means no order, whatever it raised
            _log.error("policy failed bar_time=%s policy=%s\n%s", bar_time.isoformat(), self.policy.name, _traceback())
            heard = dict.fromkeys(symbols, _failed(_in_words(error)))
        latency_ms = (time.perf_counter() - started) * 1000
        if self._budget_ms is not None and latency_ms > self._budget_ms:
            late = f"the decision took {latency_ms:.0f} ms, and policy.decision_budget_ms is {self._budget_ms:g}"
            heard = dict.fromkeys(symbols, _failed(late))
        return heard, latency_ms

    def _too_old(self, bar_time: datetime) -> str:
        policy = self.policy
        until = policy.trained_until if isinstance(policy, Trained) else bar_time
        return (
            f"the model has seen nothing since {until:%Y-%m-%d}, {(bar_time - until).days} days ago, and policy.max_age_days is "
            f"{self._max_age_days}: train it again"
        )

    def _count(self, symbol: str, error: str | None) -> None:
        if error is not None:
            self._failures[symbol] = self._failures.get(symbol, 0) + 1
            self._newest[symbol] = error
        elif self._failures:
            self._failures.pop(symbol, None)

    def _tell(self, symbol: str, bar_time: datetime, error: str) -> None:
        if self._events.wants(RiskEventKind.POLICY_FAILED):
            message = f"policy {self.policy.name} decided nothing on {symbol}: {error}"
            facts = {"symbol": symbol, "policy": self.policy.fingerprint, "error": error}
            self._events.emit(RiskEvent(RiskEventKind.POLICY_FAILED, self._session_id, bar_time, message, facts=facts))


def fit_until(policy: Policy, settings: PolicySettings) -> datetime | None:
    """The last bar that the policy may be asked about before it is too old; None where it never is."""
    if settings.max_age_days is None or not isinstance(policy, Trained):
        return None
    try:
        return policy.trained_until + timedelta(days=settings.max_age_days)
    except OverflowError:  # from beyond the end of the calendar
        return None


def held_back(signal: Signal, minimum_confidence: float | None) -> Signal:
    """The signal, or a HOLD that says why it is not confident enough."""
    if minimum_confidence is None or signal.action is Action.HOLD:
        return signal
    if signal.confidence is None:
        return _failed(f"{signal.action} without a confidence, and policy.minimum_confidence is {minimum_confidence:g}")
    if signal.confidence >= minimum_confidence:
        return signal
    return replace(
        signal,
        action=Action.HOLD,
        target_weight=None,
        note=too_little_confidence(signal.action, signal.confidence, minimum_confidence),
    )


@dataclass(frozen=True, slots=True)
class HeldBackHistory:
    """A policy's word on consecutive bars of one symbol with what is held back: codes, confidences, and texts by row."""

    action: NDArray[np.int8]
    confidence: NDArray[np.float64]
    errors: Mapping[int, str]
    notes: Mapping[int, str]


def held_back_in_history(said: HistorySignals, rows: slice, minimum_confidence: float | None) -> HeldBackHistory:
    """``held_back`` for the bars of ``rows`` at once."""
    action = said.action[rows]
    confidence = np.full(len(action), math.nan) if said.confidence is None else said.confidence[rows]
    errors = {row - rows.start: text for row, text in said.errors.items() if rows.start <= row < rows.stop}
    if minimum_confidence is None:
        return HeldBackHistory(action, confidence, errors, {})
    action = action.copy()
    notes = {}
    for row in np.flatnonzero((action != 0) & ~(confidence >= minimum_confidence)).tolist():
        word = Action.BUY if action[row] > 0 else Action.SELL
        known = None if math.isnan(confidence[row]) else float(confidence[row])
        signal = held_back(Signal(word, known), minimum_confidence)
        if signal.error is not None:
            errors[row] = signal.error
        if signal.note is not None:
            notes[row] = signal.note
        action[row] = 0
    return HeldBackHistory(action, confidence, errors, notes)


def too_little_confidence(action: Action, confidence: float, minimum: float) -> str:
    """Why a decision was held back, as written to ``decisions.note``."""
    return f"{action} at {confidence:.6g}, below policy.minimum_confidence {minimum:g}"


def _failed(error: str) -> Signal:
    # What cannot be written down would end the session instead of this decision.
    return Signal(Action.HOLD, error=_writable(error[:_MOST_LETTERS]))


def _traceback() -> str:
    """Where the error that is being handled came from, in letters that every log can take."""
    return _writable(traceback.format_exc())


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _in_words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an exception that cannot even be told
        return type(error).__name__


def _heard(signal: Signal | None) -> Signal:
    if signal is None:
        return _NOTHING_SAID
    if not isinstance(signal, Signal):
        return _failed(f"the policy said {signal!r} instead of a signal")
    return signal
