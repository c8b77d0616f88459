"""Where a session can be killed: the ports of a running session, watched from outside.

Nothing in openbell knows of this. A child that trades wraps its ports in ``Watched`` proxies; each call is a point
before, during and after which the process can die. A shared byte tells the parent where the child was when it died.
"""

import json
import mmap
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PLACES = (
    "starting",
    "opening the files",
    "ledger read",
    "opening the session",
    "broker asked",
    "reconciling",
    "deciding",
    "market sees bars",
    "intent commit",
    "send",
    "acknowledgement",
    "cancel",
    "bar commit",
    "other commit",
    "DuckDB's COMMIT",
    "end of session",
    "closing the session",
    "closing the files",
    "over",
)
"""What a session is doing, in the order in which it comes to it first."""

WHENS = ("before", "during", "after")

_DOES: dict[tuple[str, str], str] = {
    ("ledger", "open_session"): "opening the session",
    ("market", "begin_session"): "opening the session",
    ("ledger", "close_session"): "closing the session",
    ("policy", "decide"): "deciding",
    ("market", "see"): "market sees bars",
    ("market", "end_of_session"): "end of session",
    ("broker", "submit"): "send",
    ("broker", "cancel"): "cancel",
    ("broker", "replace"): "cancel",
}
"""What a call of a port's method is; calls that are not named here are a ledger read or the broker being asked."""


@dataclass(frozen=True, slots=True)
class Death:
    """When a child is to die.

    ``after_seconds`` alone is a moment that the parent picks. With a ``place`` the child dies on its ``visit``-th time
    there: at once before or after, ``after_seconds`` into it during.
    """

    when: str = ""
    place: str = ""
    visit: int = 0
    after_seconds: float = 0.0

    @property
    def is_random(self) -> bool:
        return not self.place

    def __str__(self) -> str:
        if self.is_random:
            return f"{self.after_seconds * 1000:.1f} ms after its start"
        into = f", {self.after_seconds * 1e6:.0f} us into it" if self.when == "during" else ""
        return f"{self.when} {self.place} (visit {self.visit}{into})"


class Watch:
    """Follows one child from place to place, and kills it where it is to die. Lives in the child."""

    def __init__(self, shared: mmap.mmap, journal: int, death: Death | None) -> None:
        self._shared = shared
        self._journal = journal
        self._death = death
        self._acknowledged = False
        self._around: list[int] = []
        self.visits: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def reach(self, when: str, place: str) -> None:
        """The child is here now; it may be the last thing it does."""
        self._shared[0] = WHENS.index(when) * len(PLACES) + PLACES.index(place)
        point = f"{when} {place}"
        self.visits[point] = self.visits.get(point, 0) + 1
        death = self._death
        if death is None or death.is_random or (death.when, death.place) != (when, place):
            return
        if self.visits[point] != death.visit:
            return
        if when == "during":
            # The default action of SIGALRM ends the process as SIGKILL does, and the kernel keeps the time to the
            # microsecond: no thread of ours has to be woken while DuckDB or SQLite write.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, max(death.after_seconds, 1e-6))
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def inside(self, place: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Make the call with its points before, during and after."""
        if self._acknowledged:
            self._acknowledged = False
            # The router has its answer and nothing of it is written down yet.
            self.reach("after", "acknowledgement")
        self.reach("before", place)
        self.reach("during", place)
        started = time.perf_counter()
        self._around.append(self._shared[0])
        try:
            return call(*arguments, **named)
        finally:
            self._around.pop()
            self.seconds[place] = self.seconds.get(place, 0.0) + time.perf_counter() - started
            self.reach("after", place)
            self._acknowledged = place == "send"
            if self._around:
                self._shared[0] = self._around[-1]

    def note(self, what: str, **facts: Any) -> None:
        """Write a line to the journal; it is there even when the child dies right after."""
        os.write(self._journal, (json.dumps({"what": what, **facts}, default=str) + "\n").encode())


def place_of(shared: mmap.mmap) -> tuple[str, str]:
    """Where the child was last: before, during or after which place."""
    when, place = divmod(shared[0], len(PLACES))
    return WHENS[when], PLACES[place]


class Watched:
    """A port whose method calls are points. What is not a method is passed through."""

    def __init__(self, port: str, inner: Any, watch: Watch) -> None:
        self._port, self._inner, self._watch = port, inner, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._journal(name, arguments)
            try:
                done = self._watch.inside(_place(self._port, name, arguments), found, *arguments, **named)
            except Exception as error:
                self._watch.note("raised", port=self._port, call=name, error=f"{type(error).__name__}: {error}")
                raise
            if (self._port, name) == ("ledger", "commit") and len(arguments) + len(named) > 2:
                self._watch.note("committed", bar=arguments[2] if len(arguments) > 2 else named["last_bar_time"])
            return done

        return call

    def _journal(self, name: str, arguments: tuple[Any, ...]) -> None:
        if (self._port, name) == ("broker", "submit"):
            self._watch.note("sent", order=arguments[0].client_order_id)
        elif (self._port, name) == ("broker", "find_order"):
            self._watch.note("asked", order=arguments[0])
        elif (self._port, name) == ("market", "see"):
            self._watch.note("bar", bar=arguments[0].bar_time)


class WatchedHand:
    """DuckDB's writing connection: the COMMIT statement itself is a place."""

    def __init__(self, inner: Any, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, sql: Any, parameters: Any = ()) -> Any:
        if sql == "COMMIT":
            return self._watch.inside("DuckDB's COMMIT", self._inner.execute, sql, parameters)
        return self._inner.execute(sql, parameters)


def _place(port: str, name: str, arguments: tuple[Any, ...]) -> str:
    if (port, name) == ("ledger", "commit"):
        if len(arguments) > 1 and arguments[1].intents:
            return "intent commit"
        return "bar commit" if len(arguments) > 2 or (len(arguments) > 1 and arguments[1].equity) else "other commit"
    return _DOES.get((port, name), "ledger read" if port == "ledger" else "broker asked")
