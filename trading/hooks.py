"""Observers of a session. They are told what happened, on a thread of their own, after it happened.

A callback may be slow, may fail, may be a coroutine function: no bar waits for it and nothing breaks. It cannot
trade: it gets values, not objects, and an attempt to place or cancel an order from inside one is refused.
"""

import asyncio
import contextlib
import inspect
import logging
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from trading.errors import HookMayNotTrade

_log = logging.getLogger(__name__)

_WAITING_EVENTS = 10_000
"""Events that may wait for slow observers; more than that are dropped and counted."""

_observing: ContextVar[bool] = ContextVar("observing", default=False)


class HookEvent(StrEnum):
    """What can be observed."""

    TRADING_STARTED = "trading_started"
    TRADING_STOPPED = "trading_stopped"
    ACTION_GENERATED = "action_generated"
    TRADE_BLOCKED = "trade_blocked"
    ORDER_TOO_SMALL = "order_too_small"
    TRADE_EXECUTED = "trade_executed"
    TRADE_ERROR = "trade_error"
    BAR_PROCESSED = "bar_processed"
    RECONCILED = "reconciled"


@dataclass(frozen=True, slots=True)
class Happening:
    """One observed event; ``facts`` are plain values and frozen dataclasses."""

    event: str
    session_id: str
    bar_time: datetime | None
    facts: Mapping[str, Any] = field(default_factory=dict)


Callback = Callable[[Happening], None] | Callable[[Happening], Awaitable[None]]


def refuse_inside_hook(what: str) -> None:
    """Raise ``HookMayNotTrade`` when called from an observing callback."""
    if _observing.get():
        raise HookMayNotTrade(f"{what} was asked for inside a hook. Hooks observe; let the policy decide instead.")


class Observers:
    """Callbacks per event, called in order of registration on one background thread."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {}
        self._waiting: queue.Queue[Happening | threading.Event | None] = queue.Queue(_WAITING_EVENTS)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self.dropped = 0

    def register(self, event: str, callback: Callback) -> None:
        """Call ``callback`` with each ``Happening`` of ``event`` from now on."""
        self._callbacks.setdefault(event, []).append(callback)

    def wants(self, event: str) -> bool:
        """Whether anyone observes ``event``: spares building facts for nobody."""
        return event in self._callbacks

    def emit(self, happening: Happening) -> None:
        """Tell the observers soon; returns at once."""
        if happening.event not in self._callbacks:
            return
        with self._starting:  # a broker's line tells its news on a thread of its own
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="openbell-observers", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(happening)
        except queue.Full:
            self.dropped += 1

    def drain(self, timeout_seconds: float = 5.0) -> bool:
        """Wait until everything emitted so far was observed; False when the time ran out first."""
        if self._thread is None:
            return True
        reached = threading.Event()
        try:
            self._waiting.put(reached, timeout=timeout_seconds)
        except queue.Full:
            return False
        return reached.wait(timeout_seconds)

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Let the observers finish, for at most ``timeout_seconds``, and end their thread."""
        if self._thread is None:
            return
        self.drain(timeout_seconds)
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(timeout_seconds)
        self._thread = None
        if self.dropped:
            _log.warning("observers were too slow events_dropped=%d", self.dropped)

    def _work(self) -> None:
        _observing.set(True)
        with asyncio.Runner() as runner:
            while (item := self._waiting.get()) is not None:
                if isinstance(item, threading.Event):
                    item.set()
                    continue
                for callback in self._callbacks.get(item.event, ()):
                    try:
                        outcome = callback(item)
                        if inspect.isawaitable(outcome):
                            runner.run(_finish(outcome))
                    # Whatever an observer does, trading goes on and the other observers are told.
                    except (Exception, asyncio.CancelledError, SystemExit):  # noqa: BLE001
                        _log.exception("observer failed event=%s session_id=%s", item.event, item.session_id)


async def _finish(awaitable: Awaitable[None]) -> None:
    _observing.set(True)
    await awaitable


_session_observers: ContextVar[tuple[tuple[str, Callback], ...]] = ContextVar("session_observers", default=())


@contextlib.contextmanager
def observing_sessions(callbacks: Mapping[str, Callback]) -> Iterator[None]:
    """Every session that starts inside the ``with`` is observed by ``callbacks`` (event -> callback).

    For those who start a session through a flow and never hold its objects: a terminal's progress bar.
    """
    token = _session_observers.set((*_session_observers.get(), *callbacks.items()))
    try:
        yield
    finally:
        _session_observers.reset(token)


def session_observers() -> Observers:
    """Fresh observers with those of the surrounding ``observing_sessions`` registered."""
    observers = Observers()
    for event, callback in _session_observers.get():
        observers.register(event, callback)
    return observers
