"""A Prefect worker under a guard that ends its sessions in order, for a stack, a unit of systemd or a container.

The rule: whoever wants the worker to stop signals the guard. Runs are ended first, then the worker.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from deployments.stack.environment import worker_environment
from deployments.stack.kept_process import KeptProcess, StackFailed
from deployments.stack.run_processes import STACK_MARK, end_rest, end_runs, run_processes

RUN_SECONDS = 60.0
"""A session ends within 15; its last facts and its report take the rest on a busy machine."""
_SETTLE_SECONDS = 2.0
_WORKER_SECONDS = 20.0
_LOOK_SECONDS = 0.5


class Signals:
    """Counts what a person or a system asks for: the first signal stops, the second one hurries."""

    def __init__(self) -> None:
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup has its reason for ignoring a closed terminal.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._heard)

    @property
    def is_stopping(self) -> bool:
        return self._count > 0

    @property
    def in_hurry(self) -> bool:
        return self._count > 1

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1


def guard_worker(pool: str, name: str | None, home: Path, log: Path | None, say: Callable[[str], None]) -> bool:
    """Run a process worker of the pool until a signal; whether its runs all ended in order.

    It is started again when it dies, and sessions that it had go on meanwhile; raises ``StackFailed`` when it does not stay up.
    """
    signals = Signals()
    # Below the stack's, so that this guard ends what is its own, and the stack whatever is left.
    mark = f"{os.environ.get(STACK_MARK, 'openbell')}/worker-{os.getpid()}-{time.time_ns()}"
    environment = worker_environment(home, mark, os.environ)
    command = [sys.executable, "-m", "deployments.stack.once_served"]
    command += ["prefect", "worker", "start", "--pool", pool, "--type", "process"]
    worker = KeptProcess(
        "worker",
        [*command, "--name", name or socket.gethostname()],
        environment,
        home,
        log,
        say,
        # One whose guard was killed goes on with its sessions; its stack finds it by the mark.
        ends_with_parent=False,
    )
    worker.start()
    try:
        while not signals.is_stopping:
            worker.look()
            time.sleep(_LOOK_SECONDS)
    except StackFailed:
        _stop(worker, mark, signals, say)
        raise
    return _stop(worker, mark, signals, say)


def _stop(worker: KeptProcess, mark: str, signals: Signals, say: Callable[[str], None]) -> bool:
    had_runs = bool(run_processes(mark))
    in_order = end_runs(mark, RUN_SECONDS, lambda: signals.in_hurry, say)
    if had_runs and not signals.in_hurry:
        # What became of them is for the worker to tell the server.
        time.sleep(_SETTLE_SECONDS)
    worker.stop(_WORKER_SECONDS, lambda: signals.in_hurry)
    end_rest(mark, 0.0 if signals.in_hurry else 5.0)
    return in_order
