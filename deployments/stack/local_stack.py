"""The stack of one home, from the first process to the last: server, deployments, worker, what happens on them, and the end.

The rule: nothing that it started outlives it. Sessions end in order first, then the worker, then the server.
"""

import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from deployments.stack.address import StackAddress
from deployments.stack.environment import WORK_POOL, make_prefect_home, stack_environment
from deployments.stack.kept_process import KeptProcess, StackFailed
from deployments.stack.news import News, Newsroom
from deployments.stack.one_per_home import StackNote, write_note
from deployments.stack.run_processes import end_rest, run_processes
from deployments.stack.worker import RUN_SECONDS, Signals
from tasks.port_holder import port_holder
from tasks.prefect_access import PrefectAccess
from trading.errors import ConfigurationError

NO_LONGER_NAMED = "No longer in the files:"
"""How ``openbell deploy`` begins to tell of deployments that stand, and may start by themselves, though nobody names them any more."""
_PATIENT = ("-m", "deployments.stack.once_served", "openbell")
_START_SECONDS = 300.0
_SERVER_STOP_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
_ASK_SECONDS = 2.0
_LATER_PORTS = 10


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What is to be started where. ``deploy`` is our command that writes the deployments; empty leaves them as they are."""

    home: Path
    address: StackAddress
    deploy: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Telling:
    """How a person hears of the stack: sentences, news, and once that it can be used."""

    say: Callable[[str], None]
    news: Callable[[News], None]
    ready: Callable[[StackAddress, float], None]


def free_address(host: str, port: int) -> StackAddress:
    """The address, its port chosen by the system for 0. Raises ``ConfigurationError`` where somebody has the port."""
    if port == 0:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
            return StackAddress(host, int(probe.getsockname()[1]))
    holder = port_holder(host, port)
    if holder is None:
        return StackAddress(host, port)
    other = next((later for later in range(port + 1, port + _LATER_PORTS) if port_holder(host, later) is None), 0)
    raise ConfigurationError(
        f"Port {port} of {host} is taken by {holder.in_words()}. End that, or name another port: --port {other}."
    )


class LocalStack:
    """One stack. ``run`` holds until a signal, and raises ``StackFailed`` when a process does not stay up."""

    def __init__(self, plan: StackPlan, environment: dict[str, str], telling: Telling) -> None:
        self._plan = plan
        self._mark = secrets.token_hex(8)
        self._environment = stack_environment(plan.home, plan.address, self._mark, environment)
        self._access = PrefectAccess(plan.address.api_url, self._environment)
        # One for all questions: each new one would read the machine's certificates first.
        self._client = httpx.Client(base_url=plan.address.api_url, auth=self._access, timeout=_ASK_SECONDS)
        self._telling = telling
        logs = make_prefect_home(plan.home, environment) / "logs"
        logs.mkdir(exist_ok=True)
        self._logs = logs
        self._began_at = datetime.now(UTC)
        self._server = self._kept("server", ["-m", "deployments.stack.patient_server"], logs / "server.log")
        guard = ["-m", "deployments.terminal", "worker", "--pool", WORK_POOL, "--log", str(logs / "worker.log")]
        self._worker = self._kept("worker", guard, None)
        self._deploying = (
            self._kept("deploying", [*_PATIENT, *plan.deploy], logs / "deploy.log") if plan.deploy else None
        )

    def run(self, note: Path, signals: Signals) -> None:
        """Bring everything up, tell what happens, and end it in order after the first signal; a second one hurries."""
        began, self._began_at = time.monotonic(), datetime.now(UTC)
        try:
            self._server.start()
            # They import what they need while the server makes its database, and wait for it by themselves.
            self._worker.start()
            if self._deploying is not None:
                self._deploying.start()
            if self._is_up(signals):
                write_note(note, StackNote(os.getpid(), self._plan.address.api_url, self._plan.address.ui_url))
                self._telling.ready(self._plan.address, time.monotonic() - began)
                self._watch(signals)
        finally:
            self._end(signals)

    def _kept(self, name: str, arguments: Sequence[str], log: Path | None) -> KeptProcess:
        command = [sys.executable, *arguments]
        return KeptProcess(name, command, self._environment, self._plan.home, log, self._telling.say)

    def _is_up(self, signals: Signals) -> bool:
        """Wait until the server answers, the deployments are written and a worker takes runs; False after a signal."""
        deadline = time.monotonic() + _START_SECONDS
        if not self._until(lambda: self._asked("/health"), self._server, deadline, signals):
            return False
        self._telling.say(f"The server answers at {self._plan.address.ui_url}; deployments and worker follow.")
        if self._deploying is not None:
            if not self._until(self._has_deployed, self._deploying, deadline, signals):
                return False
            _, named, words = " ".join(self._deploying.said().split()).partition(NO_LONGER_NAMED)
            if named:
                # A strategy that was taken out of the settings would trade on, and nobody reads the log of a deploying that went well.
                self._telling.say(f"{named}{words}")
        return self._until(self._has_worker, self._worker, deadline, signals)

    def _until(self, is_so: Callable[[], bool], process: KeptProcess, deadline: float, signals: Signals) -> bool:
        """Wait for what the process has to come to; False after a signal, ``StackFailed`` when it takes too long."""
        while not is_so():
            if signals.is_stopping:
                return False
            self._server.look()
            self._worker.look()
            if time.monotonic() > deadline:
                raise StackFailed(
                    f"The {process.name} was not ready within {_START_SECONDS:g} s. {process.last_words()}"
                )
            time.sleep(_PAUSE_SECONDS)
        return True

    def _has_deployed(self) -> bool:
        code = self._deploying.exit_code if self._deploying is not None else 0
        if code and self._deploying is not None:
            raise StackFailed(f"The deployments could not be written. {self._deploying.last_words()}")
        return code == 0

    def _watch(self, signals: Signals) -> None:
        # A worker may have taken up late runs while the deployments were still written.
        newsroom = Newsroom(self._plan.address.api_url, self._access, self._began_at)
        try:
            while not signals.is_stopping:
                self._server.look()
                self._worker.look()
                for one in newsroom.latest():
                    self._telling.news(one)
                time.sleep(_PAUSE_SECONDS)
            names = newsroom.running() if run_processes(self._mark) else []
        finally:
            newsroom.close()
        if names:
            self._telling.say(
                f"Running: {', '.join(names)}. Each is told to end in order; a second Ctrl-C does not wait."
            )

    def _end(self, signals: Signals) -> None:
        if self._deploying is not None:
            self._deploying.stop(1.0, lambda: signals.in_hurry)
        # The guard has as long as it gives its runs, and some time for the worker itself.
        self._worker.stop(RUN_SECONDS + 30.0, lambda: signals.in_hurry)
        self._client.close()
        self._server.stop(_SERVER_STOP_SECONDS, lambda: signals.in_hurry)
        end_rest(self._mark, 2.0)

    def _asked(self, path: str) -> bool:
        """Whether the server answers with what was asked for."""
        try:
            answer = self._client.get(path)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    def _has_worker(self) -> bool:
        try:
            online = {"workers": {"status": {"any_": ["ONLINE"]}}}
            found = self._client.post(f"/work_pools/{WORK_POOL}/workers/filter", json=online)
            return found.status_code == 200 and bool(found.json())
        except (httpx.HTTPError, ValueError):
            return False
