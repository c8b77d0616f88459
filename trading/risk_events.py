"""What risk has to say to people, and how it reaches those who asked for it.

Each handler has a thread of its own: one that is slow or fails holds up neither an order nor another handler.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from trading.decisions import RiskCheck, Verdict
from trading.hooks import Happening, Observers


class RiskEventKind(StrEnum):
    """What can happen."""

    REFUSED = "refused"
    TRIMMED = "trimmed"
    LIMIT_NEAR = "limit_near"
    HALTED = "halted"
    RESUMED = "resumed"
    EMERGENCY_STOP = "emergency_stop"
    LIMITS_CHANGED = "limits_changed"
    CLOSING = "closing"
    FLATTENED = "flattened"
    ALARM = "alarm"
    POLICY_FAILED = "policy_failed"
    BROKER_LINE = "broker_line"
    LATE_START = "late_start"


_OF_VERDICT = {
    Verdict.REFUSED: RiskEventKind.REFUSED,
    Verdict.TRIMMED: RiskEventKind.TRIMMED,
    Verdict.HALTED: RiskEventKind.HALTED,
    Verdict.FLATTENED: RiskEventKind.FLATTENED,
    Verdict.ALARM: RiskEventKind.ALARM,
}


@dataclass(frozen=True, slots=True)
class RiskEvent:
    """One message: a sentence, the check it is about where there is one, and further facts as plain values.

    ``at`` is session time.
    """

    kind: RiskEventKind
    session_id: str
    at: datetime
    message: str
    check: RiskCheck | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class RiskEventHandler:
    """Carries risk events to those who asked for them, off the trading thread; none can hold up an order."""

    def __init__(self) -> None:
        self._subscribers: list[tuple[frozenset[str], Observers]] = []
        self._wanted: frozenset[str] = frozenset()

    def subscribe(self, handler: Callable[[RiskEvent], None], kinds: Iterable[RiskEventKind] = RiskEventKind) -> None:
        """Call ``handler`` with each event of these kinds, in their order, on a thread of its own."""

        def unwrap(happening: Happening) -> None:
            handler(happening.facts["event"])

        observers = Observers()
        wanted = frozenset(kinds)
        for kind in wanted:
            observers.register(kind, unwrap)
        self._subscribers.append((wanted, observers))
        self._wanted |= wanted

    def wants(self, kind: RiskEventKind) -> bool:
        """Whether anyone asked for events of this kind: spares making them for nobody."""
        return kind in self._wanted

    def emit(self, event: RiskEvent) -> None:
        """Tell the subscribers soon; returns at once."""
        if event.kind not in self._wanted:
            return
        happening = Happening(event.kind, event.session_id, event.at, {"event": event})
        for wanted, observers in self._subscribers:
            if event.kind in wanted:
                observers.emit(happening)

    def emit_checks(self, checks: Sequence[RiskCheck]) -> None:
        """Tell the subscribers of each check."""
        if not self._wanted:
            return
        for check in checks:
            kind = _OF_VERDICT[check.verdict]
            self.emit(RiskEvent(kind, check.session_id, check.bar_time, check.reason, check))

    def drain(self, timeout_seconds: float = 5.0) -> bool:
        """Wait until every handler has seen what was emitted so far; False where one was too slow."""
        drained = [observers.drain(timeout_seconds) for _, observers in self._subscribers]
        return all(drained)

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Let the handlers finish, each for at most ``timeout_seconds``, and end their threads."""
        for _, observers in self._subscribers:
            observers.close(timeout_seconds)


_Subscription = tuple[Callable[[RiskEvent], None], frozenset[RiskEventKind]]
_session_subscriptions: ContextVar[tuple[_Subscription, ...]] = ContextVar("session_subscriptions", default=())


@contextlib.contextmanager
def hearing_sessions(handler: Callable[[RiskEvent], None], kinds: Iterable[RiskEventKind]) -> Iterator[None]:
    """``handler`` hears these kinds of events of every session that starts inside the ``with``, on a thread of its own.

    For those who start a session through a flow and never hold its objects: a terminal.
    """
    token = _session_subscriptions.set((*_session_subscriptions.get(), (handler, frozenset(kinds))))
    try:
        yield
    finally:
        _session_subscriptions.reset(token)


def session_risk_events() -> RiskEventHandler:
    """A fresh handler with the subscriptions of the surrounding ``hearing_sessions``."""
    events = RiskEventHandler()
    for handler, kinds in _session_subscriptions.get():
        events.subscribe(handler, kinds)
    return events
