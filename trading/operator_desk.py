"""What people ask of a session from outside, and the emergency stops that come of it or of a loss limit.

The session's own thread does all of it between two bars. Nobody waits inside: a stop goes on with every look and every bar
until the broker shows it done.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from trading.closing_out import FLATTEN_RULE
from trading.closing_steps import ClosingStep
from trading.decisions import Halt
from trading.emergency_stop import EmergencyStop
from trading.errors import Halted
from trading.execution_loop import ExecutionLoop
from trading.limits_at_runtime import change_limits
from trading.operator_requests import OperatorRequest, RequestKind
from trading.ports import Clock, Ledger, LedgerEntries
from trading.settings import Settings
from trading.stops import Stop, StopState

_log = logging.getLogger(__name__)


class DeskPorts(Protocol):
    """What the desk needs of a session's ports."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def wall(self) -> Clock: ...


class Session(Protocol):
    """What the desk needs of the session; ``OrchestratorAgent`` has it."""

    settings: Settings
    session_id: str

    @property
    def session_time(self) -> datetime: ...

    def reconcile_for(self, request: OperatorRequest) -> Mapping[str, Any]: ...


class OperatorDesk:
    """Answers operators for one session. Used by the thread that trades, between two bars."""

    def __init__(self, session: Session, loop: ExecutionLoop, ports: DeskPorts, account: str) -> None:
        self._session = session
        self._loop = loop
        self._ledger = ports.ledger
        self._wall = ports.wall
        self._account = account
        self._stops: list[EmergencyStop] = []
        self._waiting: dict[str, OperatorRequest] = {}
        self._to_begin: list[tuple[Stop, Halt]] = []
        self._begun = 0
        self._closed_without_bars = False
        self._alarm_after = timedelta(seconds=float(session.settings.stopping.alarm_after_seconds))

    # Before the first bar

    def obey_before_start(self, standing_halts: Callable[[], list[Halt]]) -> None:
        """Latch what was asked for while nobody was there to hear it, then take up the halts that stand.

        Raises ``Halted`` where they keep the session from starting; then the requests are answered by that.
        """
        waiting = self._ledger.requests()
        pending = [request for request in waiting if request.kind in (RequestKind.HALT, RequestKind.FLATTEN)]
        for request in waiting:
            # Asked of a session that is over: what was right then may undo what was decided since.
            if request.kind in (RequestKind.RESUME, RequestKind.LIMITS):
                words = (
                    "The session that this was asked of has ended without hearing it. Ask again if it is still wanted."
                )
                self._answer(request, {"error": "too late", "message": words})
        for request in pending:
            self._ledger.commit("", LedgerEntries(halts=[self._halt_of(request)]))
        try:
            self._loop.gate.take_up_halts(standing_halts())
        except Halted:
            for request in pending:
                halt = self._halt_of(request)
                self._answer(request, _answer_of(self._stop_of(request, halt), [], []) | {"state": "SUCCEEDED"})
            raise

    def take_up_stops(self) -> None:
        """Go on with the stops that a restart interrupted."""
        for stop in self._ledger.unfinished_stops(self._account):
            steps = self._ledger.stop_steps(stop.stop_id)
            # One that came of a loss has its halt already.
            halts = self._loop.gate.latches.standing
            halt = next((halt for halt in halts if (halt.scope, halt.rule) == (stop.scope, stop.asked_by)), None)
            self._stops.append(EmergencyStop(self._loop, stop, steps, self._alarm_after, halt))

    # Between two bars

    def attend(self) -> None:
        """Go on with stops, and answer what is asked."""
        self._close_without_bars()
        self._advance()
        for request in sorted(self._ledger.requests(), key=lambda request: request.asked_at):
            if request.request_id not in self._waiting:
                self._serve(request)

    def before_commit(self, halts: Sequence[Halt], entries: LedgerEntries) -> None:
        """A loss limit has halted the account and is to close its positions: that is committed with the bar.

        A session that dies right after the commit goes on with it as with any other stop.
        """
        self._to_begin = []
        if not self._session.settings.stopping.flatten_on_loss:
            return
        stopped = {running.stop.scope for running in self._stops if running.stop.flatten}
        for halt in halts:
            if halt.scope in stopped:
                continue
            stopped.add(halt.scope)
            name = f"{self._session.session_id} {halt.halted_at.isoformat()} {halt.scope} {halt.rule}"
            stop = self._new_stop(_id_of(name), halt.scope, halt.reason, True, halt.rule, halt.halted_at)
            entries.stops.append(stop)
            self._to_begin.append((stop, halt))

    def after_bar(self) -> None:
        """A bar is committed: stops go on, those that came with it begin."""
        begun = [
            EmergencyStop(self._loop, stop, alarm_after=self._alarm_after, halt=halt) for stop, halt in self._to_begin
        ]
        self._to_begin = []
        self._stops += begun
        if self._stops:
            self._advance()

    def stop(
        self,
        scope: str,
        reason: str,
        flatten: bool,
        asked_by: str,
        stop_id: str = "",
        halt: Halt | None = None,
    ) -> EmergencyStop:
        """Begin an emergency stop: its first pass is done when this returns."""
        at = self._session.session_time
        self._begun += 1
        if not stop_id:
            stop_id = _id_of(f"{self._session.session_id} {at.isoformat()} {scope} {self._begun}")
        stop = self._new_stop(stop_id, scope, reason, flatten, asked_by, at)
        begun = EmergencyStop(self._loop, stop, alarm_after=self._alarm_after, halt=halt)
        self._stops.append(begun)
        self._go_on(begun)
        return begun

    def give_up(self, at: datetime, reason: str) -> None:
        """The session ends: stops that are not done are alarms from now on, and their askers are told."""
        for running in self._stops:
            running.look(at)
            running.give_up(at, reason)
            self._tell_asker(running)
        self._stops.clear()

    def _new_stop(self, stop_id: str, scope: str, reason: str, flatten: bool, asked_by: str, at: datetime) -> Stop:
        return Stop(stop_id, self._account, self._session.session_id, scope, reason, flatten, asked_by, at)

    def _close_without_bars(self) -> None:
        """Flatten before the close where the bars whose end would do it do not come: data stops, and the clock does not.

        Only where the session runs in real time: a rehearsal's bars may lag behind its clock.
        """
        if self._closed_without_bars or self._session.settings.session.pace != "live":
            return
        gate, length, at = self._loop.gate, self._loop.bar_length, self._session.session_time
        begins = gate.closing.begin_of(ClosingStep.FLATTEN)
        last = self._loop.last_bar_time
        if at < begins + 2 * length or (last is not None and last + length >= begins):
            return
        self._closed_without_bars = True
        if not gate.has_anything_open:
            return
        reason = (
            f"no bar has come since {self._loop.hours.local(last + length):%H:%M}, and the session closes"
            if last
            else "no bar has come"
        )
        halt = Halt(
            f"account:{self._account}", reason, at, self._loop.hours.closes_at, self._session.session_id, FLATTEN_RULE
        )
        self.stop(halt.scope, reason, True, FLATTEN_RULE, halt=halt)

    def _advance(self) -> None:
        for running in tuple(self._stops):
            self._go_on(running)

    def _go_on(self, running: EmergencyStop) -> None:
        running.advance(self._session.session_time)
        if running.stop.state is not StopState.RUNNING:
            self._tell_asker(running)
        if running.stop.ended_at is not None:
            self._stops.remove(running)
            _log.warning("stop %s stop_id=%s scope=%s", running.stop.state, running.stop.stop_id, running.stop.scope)

    def _tell_asker(self, running: EmergencyStop) -> None:
        request = self._waiting.pop(running.stop.stop_id, None)
        if request is not None:
            self._answer(request, stop_answer(running))

    def _serve(self, request: OperatorRequest) -> None:
        match request.kind:
            case RequestKind.RECONCILE:
                self._answer(request, self._session.reconcile_for(request))
            case RequestKind.HALT | RequestKind.FLATTEN:
                self._serve_stop(request)
            case RequestKind.RESUME:
                self._answer(request, self._resume(request))
            case RequestKind.LIMITS:
                answer = change_limits(
                    self._loop.gate,
                    self._ledger,
                    self._loop.session,
                    request.arguments.get("limits"),
                    request.asked_by,
                    request.request_id,
                    self._session.session_time,
                )
                self._answer(request, answer)

    def _serve_stop(self, request: OperatorRequest) -> None:
        halt = self._halt_of(request)
        asked = self._stop_of(request, halt)
        if not self._covers(halt.scope):
            self._ledger.commit("", LedgerEntries(halts=[halt]))
            words = (
                f"the session that runs trades account {self._account} and is not concerned: only the halt was recorded"
            )
            left = ["unknown: the broker of that scope was not asked; ask again when no session holds the database"]
            self._answer(request, _answer_of(replace(asked, state=StopState.ALARM), [], left) | {"note": words})
            return
        self._waiting[request.request_id] = request
        self.stop(halt.scope, halt.reason, asked.flatten, request.asked_by, request.request_id, halt)

    def _resume(self, request: OperatorRequest) -> Mapping[str, Any]:
        scope, at = str(request.arguments.get("scope") or "all"), self._session.session_time
        for running in tuple(self._stops):
            if running.stop.scope == scope:
                running.give_up(at, f"trading was resumed by {request.asked_by}")
                self._tell_asker(running)
                self._stops.remove(running)
        cleared = self._ledger.clear_halts(scope, request.asked_by, at)
        self._loop.gate.clear_halts(scope, at)
        return {"resumed": scope, "cleared": cleared}

    def _covers(self, scope: str) -> bool:
        strategy = self._session.settings.strategy
        return scope in ("all", f"account:{self._account}", f"strategy:{strategy}") or scope.startswith("symbol:")

    def _halt_of(self, request: OperatorRequest) -> Halt:
        arguments, at = request.arguments, self._session.session_time
        flattens = request.kind is RequestKind.FLATTEN
        scope = str(arguments.get("scope") or (f"account:{self._account}" if flattens else "all"))
        kind, _, name = scope.partition(":")
        scope = f"symbol:{name.upper()}" if kind == "symbol" else scope
        reason = str(arguments.get("reason") or f"asked for by {request.asked_by}")
        minutes = arguments.get("minutes")
        until = self._loop.hours.closes_at if flattens else None
        if isinstance(minutes, int | float) and not isinstance(minutes, bool) and minutes > 0:
            until = at + timedelta(minutes=min(float(minutes), 5_256_000.0))
        return Halt(scope, reason, at, until)

    def _stop_of(self, request: OperatorRequest, halt: Halt) -> Stop:
        flatten = request.kind is RequestKind.FLATTEN or bool(request.arguments.get("flatten"))
        return Stop(
            request.request_id,
            self._account,
            self._session.session_id,
            halt.scope,
            halt.reason,
            flatten,
            request.asked_by,
            halt.halted_at,
        )

    def _answer(self, request: OperatorRequest, answer: Mapping[str, Any]) -> None:
        self._ledger.answer_request(request.request_id, answer, self._wall.now())
        _log.info("session_id=%s answered %s of %s", self._session.session_id, request.kind, request.asked_by)


def _id_of(name: str) -> str:
    return hashlib.blake2s(name.encode(), digest_size=16).hexdigest()


def stop_answer(stopping: EmergencyStop) -> dict[str, Any]:
    """How a stop stands, as plain values that JSON can say."""
    steps = [
        {
            "number": step.number,
            "taken_at": step.taken_at.isoformat(),
            "action": str(step.action),
            "succeeded": step.succeeded,
            "detail": step.detail,
        }
        for step in stopping.steps
    ]
    return _answer_of(stopping.stop, steps, list(stopping.left))


def _answer_of(stop: Stop, steps: list[dict[str, Any]], left: list[str]) -> dict[str, Any]:
    return {
        "stop_id": stop.stop_id,
        "state": str(stop.state),
        "scope": stop.scope,
        "reason": stop.reason,
        "flatten": stop.flatten,
        "steps": steps,
        "left": left,
    }
