"""Stopping, until the broker shows that it is done: halt, cancel, flatten where that is wished, look, and again.

One pass never waits: whoever drives it (a session between two bars, a command at rest) calls ``advance`` until the stop has
ended. Every step is written down as it is taken. A stop that is not shown to be done in time becomes an alarm, once, and is tried on.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from trading.decisions import Halt
from trading.stops import Stop, StopAction, StopState, StopStep

_log = logging.getLogger(__name__)

ALARM_AFTER = timedelta(seconds=180)
_SENT_AGAIN_AFTER = timedelta(seconds=5)
"""A broker that refuses what would close a position is not asked more often than that."""


class StopControls(Protocol):
    """What stopping needs; a session's ``ExecutionLoop`` has it, and so has an account at rest.

    Each may raise: then the step has failed and comes again with the next pass. ``symbol`` None means all of them.
    """

    def latch(self, halt: Halt) -> None:
        """Commit the halt and obey it."""
        ...

    def cancel_open_orders(self, at: datetime, symbol: str | None = None, spare_exits: bool = False) -> list[str]:
        """Ask for every open order to be cancelled; the ids that were not asked for before.

        With ``spare_exits`` those market orders stay that only close a position.
        """
        ...

    def flatten_positions(self, at: datetime, symbol: str | None = None, leg: str = "flatten") -> list[str]:
        """Send what closes every position and is not on its way already; the ids sent. ``leg`` makes their ids unique."""
        ...

    def exposure_at_broker(self, symbol: str | None = None, positions: bool = True) -> list[str]:
        """What the broker still has, in words: working orders, and positions where they count."""
        ...

    def record(self, stop: Stop, steps: Sequence[StopStep]) -> None:
        """Commit how the stop stands and its new steps."""
        ...


@dataclass(frozen=True, slots=True)
class StopReport:
    """A stop as it stands: its steps in words, those that failed, and what the broker still has.

    On a simulated market a flattening order fills with the next bar, so positions may be left until then.
    """

    stop: Stop
    steps: tuple[str, ...]
    failures: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """The broker has shown that nothing is left."""
        return self.stop.state is StopState.SUCCEEDED


class EmergencyStop:
    """One stop on its way. ``before`` are steps that were taken before a restart; ``halt`` is what it latches first."""

    def __init__(
        self,
        controls: StopControls,
        stop: Stop,
        before: Sequence[StopStep] = (),
        alarm_after: timedelta = ALARM_AFTER,
        halt: Halt | None = None,
    ) -> None:
        self._controls = controls
        self.stop = stop
        self.steps: list[StopStep] = list(before)
        self._unsaved: list[StopStep] = []
        self._alarm_after = alarm_after
        self._halt = halt if halt is not None else Halt(stop.scope, stop.reason, stop.started_at)
        self._latched = any(step.action is StopAction.HALT and step.succeeded for step in before)
        self._flattened_at: datetime | None = None
        self.left: tuple[str, ...] = ()
        self._saved = bool(before)

    @property
    def report(self) -> StopReport:
        """How it stands."""
        done = tuple(f"{step.action}: {step.detail}" for step in self.steps if step.succeeded)
        failed = tuple(f"{step.action}: {step.detail}" for step in self.steps if not step.succeeded)
        return StopReport(self.stop, done, failed, self.left)

    def advance(self, at: datetime) -> Stop:
        """One pass over everything that is left; how the stop stands after it. Never raises.

        The halt is latched first. Each step is tried even when one before it failed.
        """
        if self.stop.ended_at is not None:
            return self.stop
        stop, symbol = self.stop, self.stop.symbol
        failed = False
        if not self._latched:
            self._latched = self._attempt(at, StopAction.HALT, self._latch) is not None
            failed = not self._latched
        spare = stop.flatten
        asked = self._attempt(
            at, StopAction.CANCEL, lambda: self._controls.cancel_open_orders(at, symbol, spare_exits=spare)
        )
        failed |= asked is None
        if stop.flatten and (self._flattened_at is None or at - self._flattened_at >= _SENT_AGAIN_AFTER):
            leg = f"stop-{stop.stop_id[:8]}-{len(self.steps)}"
            sent = self._attempt(at, StopAction.FLATTEN, lambda: self._controls.flatten_positions(at, symbol, leg))
            failed |= sent is None
            self._flattened_at = at if sent else self._flattened_at
        self._verify(at, failed)
        self._save()
        return self.stop

    def look(self, at: datetime) -> Stop:
        """Look at the broker and send nothing: where what is sent now would only trade on another day."""
        if self.stop.ended_at is None:
            self._verify(at, failed=not self._latched)
            self._save()
        return self.stop

    def give_up(self, at: datetime, reason: str) -> Stop:
        """The end of the session: what is not done by now stays an alarm."""
        if self.stop.ended_at is None:
            self._alarm(at, reason)
            self.stop = replace(self.stop, ended_at=at)
            self._saved = False  # that it ended is news even where the alarm is none
            self._save()
        return self.stop

    def _latch(self) -> list[str]:
        self._controls.latch(self._halt)
        return [f"{self._halt.scope}: {self._halt.reason}"]

    def _verify(self, at: datetime, failed: bool) -> None:
        try:
            left = self._controls.exposure_at_broker(self.stop.symbol, positions=self.stop.flatten)
        except Exception as error:  # noqa: BLE001 - a stop goes on whatever one of its steps does
            left, failed = [f"unknown: the broker could not be asked ({error})"], True
        self.left = tuple(left)
        if not left and not failed:
            flat = "no position and no order is left" if self.stop.flatten else "no order is left"
            self._note(at, StopAction.VERIFY, True, f"{flat} at the broker")
            self._note(at, StopAction.DONE, True, f"done after {(at - self.stop.started_at).total_seconds():g} s")
            self.stop = replace(self.stop, state=StopState.SUCCEEDED, ended_at=at)
            return
        self._note(at, StopAction.VERIFY, not failed, f"left: {'; '.join(left) or 'a step failed'}")
        if at - self.stop.started_at >= self._alarm_after:
            self._alarm(at, f"not done after {self._alarm_after.total_seconds():g} s")

    def _alarm(self, at: datetime, reason: str) -> None:
        if self.stop.state is not StopState.ALARM:
            self._note(at, StopAction.ALARM, False, f"{reason}; left: {'; '.join(self.left) or 'unknown'}")
            self.stop = replace(self.stop, state=StopState.ALARM)

    def _attempt(self, at: datetime, action: StopAction, act: Callable[[], list[str]]) -> list[str] | None:
        """What was done; None where it failed."""
        try:
            done = act()
        except Exception as error:  # noqa: BLE001 - a stop goes on whatever one of its steps does
            self._note(at, action, False, f"{type(error).__name__}: {error}", error)
            return None
        if done or not any(step.action is action for step in self.steps):
            self._note(at, action, True, ", ".join(done) or "nothing to do")
        return done

    def _note(
        self, at: datetime, action: StopAction, succeeded: bool, detail: str, error: Exception | None = None
    ) -> None:
        """Write a step down, not again what the newest of its kind says already: a stop looks often."""
        newest = next((step for step in reversed(self.steps) if step.action is action), None)
        if newest is not None and (newest.succeeded, newest.detail) == (succeeded, detail):
            return
        if not succeeded:
            _log.warning("stop_id=%s %s failed: %s", self.stop.stop_id, action, detail, exc_info=error)
        step = StopStep(self.stop.stop_id, len(self.steps) + 1, at, action, succeeded, detail)
        self.steps.append(step)
        self._unsaved.append(step)

    def _save(self) -> None:
        if not self._unsaved and self._saved:
            return
        try:
            self._controls.record(self.stop, self._unsaved)
        except Exception:  # noqa: BLE001 - stopping matters more than writing it down, which is tried again
            _log.exception("stop not recorded stop_id=%s", self.stop.stop_id)
            return
        self._unsaved, self._saved = [], True


def emergency_stop(
    controls: StopControls, stop: Stop, at: datetime, alarm_after: timedelta = ALARM_AFTER
) -> EmergencyStop:
    """Begin a stop with its first pass: halt, cancel every open order, optionally flatten, look at the broker.

    What is left needs further passes (``EmergencyStop.advance``).
    """
    begun = EmergencyStop(controls, stop, alarm_after=alarm_after)
    begun.advance(at)
    return begun
