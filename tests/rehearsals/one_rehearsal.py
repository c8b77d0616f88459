"""One rehearsal: a gateway in a process of its own, sessions started again until the day is through, then both books side by side."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from datetime import time as wall_time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import books
import brackets
import one_session
from gateway_process import GatewayGone, GatewayProcess, Played, gateway
from one_session import COMPLETED, OVER, REFUSED, STOPPED, Journal
from processes import Process, fork
from rehearsal_plan import BEFORE, LEDGER, MONDAY, Plan
from situations import DAYS

_MOST_STARTS = 12
_SHOWN_CHARACTERS = 240
_LATE = ("late_execution", "late_commission", "correct_execution", "delay_answers", "silence")
"""Faults that may delay what would have been told in the session until it is over."""
_PAUSE_BETWEEN_STARTS_SECONDS = 0.2
_SECONDS_TO_GET_READY = 0.4
_OPENS = datetime(2026, 1, 5, 9, 30)  # noqa: DTZ001 - of the exchange's wall clock
_EARLIEST = timedelta(hours=9)
_EXCHANGE = ZoneInfo("America/New_York")


@dataclass(slots=True)
class Outcome:
    """What became of a rehearsal."""

    name: str
    home: str
    violations: list[str] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    """Faults that happened, in their order."""
    unproven: list[str] = field(default_factory=list)
    """Faults that never happened: the rehearsal proves nothing of them."""
    orders: int = 0
    fills: int = 0
    connections: int = 0
    starts: int = 0
    kills: int = 0
    gateway_kills: int = 0
    alerts: int = 0
    seconds: float = 0.0
    story: list[str] = field(default_factory=list)


def rehearse(plan: Plan, home: Path) -> Outcome:
    """Trade the day of ``plan`` in ``home``, which is not there yet. The folder is kept where anything is wrong with it."""
    outcome = Outcome(plan.name, str(home))
    home.mkdir(parents=True)
    started = time.monotonic()
    played = Played(plan.market(), MONDAY, plan.symbols, plan.speed, plan.written)
    try:
        with gateway(home, played) as running:
            early = [fault for fault in plan.faults if fault.get("at") == BEFORE]
            running.start([fault for fault in plan.faults if fault not in early], _begins(plan.speed))
            for fault in early:
                running.ask("fault", **{name: value for name, value in fault.items() if name != "at"})
            _Rehearsal(plan, home, running, outcome).run()
    except GatewayGone as gone:
        outcome.violations.append(str(gone))
    outcome.seconds = time.monotonic() - started
    if not outcome.violations:
        shutil.rmtree(home)
    return outcome


def _begins(speed: float) -> wall_time:
    """When the gateway's time begins, once somebody asks for live bars: early enough to be ready at the open."""
    early = min(timedelta(seconds=speed * _SECONDS_TO_GET_READY), _EARLIEST)
    return (_OPENS - early).time()


@dataclass(slots=True)
class _Rehearsal:
    plan: Plan
    home: Path
    gateway: GatewayProcess
    outcome: Outcome
    journals: list[Path] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    ended_with: int | None = None
    fired_before: list[str] = field(default_factory=list)
    """Faults of a gateway that was killed since."""

    def run(self) -> None:
        code = self.ended_with = self._until_it_is_through()
        if code not in (COMPLETED, OVER):
            self.outcome.violations.append(
                f"the session never came to its end; its last start: {self._how_it_ended(code)}"
            )
            return
        if not self._comes_late():
            # What was told in the session is in its ledger, without anybody's help.
            found = books.differences(self._book(), self.home, self.plan, self.outcome.starts > 1)
            self.outcome.violations += [f"before the evening's comparison: {one}" for one in found]
        self._judge(self._reconciled())

    def _until_it_is_through(self) -> int | None:
        """Start the session as a scheduler does, again and again; the exit code of the last start."""
        kills, trade = list(self.plan.kills), brackets.trade if self.plan.brackets else one_session.trade
        code: int | None = None
        while self.outcome.starts < _MOST_STARTS:
            kill_after = kills.pop(0) if kills else None
            code = self._start(trade, "session").wait(kill_after, self._kill_gateway_if_due)
            self.outcome.starts += 1
            self.outcome.kills += code is None
            self.outcome.story.append(f"start {self.outcome.starts}: {self._how_it_ended(code)}")
            if code not in (REFUSED, STOPPED, None):
                break  # it is through, or something is wrong with the program
            time.sleep(_PAUSE_BETWEEN_STARTS_SECONDS)
        return code

    def _kill_gateway_if_due(self) -> None:
        """End the gateway's process once without a word, and start another that goes on with its book and what was to happen."""
        due = self.plan.gateway_killed_at
        if due is None or self.outcome.gateway_kills or time.monotonic() < self.started + due:
            return
        book = self.gateway.ask("book")
        self.gateway.kill()
        self.outcome.gateway_kills += 1
        self.fired_before = [one["action"] for one in book["faults_fired"]]
        waiting = list(book["faults_waiting"])
        faults = []
        for fault in self.plan.faults:
            if fault["action"] in waiting:
                waiting.remove(fault["action"])
                faults.append(fault)
        self.gateway.start(faults, datetime.fromisoformat(book["time"]).astimezone(_EXCHANGE).time())

    def _reconciled(self) -> list[dict[str, Any]]:
        """Compare by hand once the market is closed, as the evening's schedule does."""
        code: int | None = None
        if not (self.home / LEDGER).exists():
            return []
        for _ in range(3):
            code = self._start(one_session.reconcile, "evening").wait()
            if code == COMPLETED:
                break
        else:
            self.outcome.violations.append(f"nobody could reconcile in the evening: {self._how_it_ended(code)}")
        return [one for one in _lines_of(self.journals[-1]) if one["what"] == "remaining"]

    def _start(self, work: Callable[[Plan, int, Journal], int], name: str) -> Process:
        journal = self.home / f"journal-{len(self.journals):02d}-{name}.jsonl"
        journal.touch()
        self.journals.append(journal)
        port = self.gateway.port

        def child() -> int:
            os.chdir(self.home)
            return work(self.plan, port, Journal(journal))

        return fork(child, self.home / "diary.txt", self.plan.zone)

    def _how_it_ended(self, code: int | None) -> str:
        said = [one for one in _lines_of(self.journals[-1]) if "why" in one]
        why = f": {said[-1]['what']}: {said[-1]['why'][:_SHOWN_CHARACTERS]}" if said else ""
        return ("killed" if code is None else f"exit code {code}") + why

    def _book(self) -> books.GatewaysBook:
        return books.GatewaysBook.of(self.gateway.ask("book"))

    def _comes_late(self) -> bool:
        """Whether something of the day may have been told after its session had ended, or no session saw its end."""
        fired = [*self.fired_before, *self._book().faults_fired]
        return self.ended_with == OVER or (self.plan.name not in DAYS and any(action in _LATE for action in fired))

    def _judge(self, remaining: list[dict[str, Any]]) -> None:
        book = self._book()
        outcome, told = self.outcome, [list(_lines_of(journal)) for journal in self.journals]
        outcome.violations += books.differences(book, self.home, self.plan, outcome.starts > 1)
        outcome.violations += [
            f"the evening's comparison leaves {one['kind']} {one['subject']}: ledger {one['ours']}, broker {one['brokers']}"
            for one in remaining
            if not books.is_expected(one["kind"], one["subject"], book)
        ]
        outcome.violations += books.alerts_too_many(told)
        outcome.fired = [*self.fired_before, *book.faults_fired]
        outcome.unproven = book.faults_waiting
        outcome.orders, outcome.fills = len(book.orders), len(book.executions)
        outcome.alerts = sum(one["what"] == "alert" and not one["over"] for lines in told for one in lines)
        outcome.connections = sum(one.get("connections", 0) for lines in told for one in lines)


def _lines_of(journal: Path) -> Iterator[dict[str, Any]]:
    with journal.open("rb") as lines:
        # The last line may be cut in the middle: a kill can hit a write.
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)
