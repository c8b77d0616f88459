"""The processes of flow runs that a stack's workers have started, found by a mark in their environment, and ended in order.

The rule: a session is told to end (SIGTERM) and given its time before the worker above it is stopped. A Prefect worker that is
stopped first kills the processes of its runs at once, and a session would end in mid-order.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STACK_MARK = "OPENBELL_STACK"
_RUN_ID = "PREFECT__FLOW_RUN_ID"
_PROCESSES = Path("/proc")
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class StackProcess:
    """One process of a stack; ``flow_run_id`` is empty for one that runs no flow."""

    pid: int
    flow_run_id: str


def stack_processes(mark: str) -> list[StackProcess]:
    """All processes under the mark or one below it (``MARK/worker``), without this one. Empty where the system has no /proc."""
    found = []
    with contextlib.suppress(OSError):
        for folder in _PROCESSES.iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            environment = _environment(folder)
            if f"{environment.get(STACK_MARK, '')}/".startswith(f"{mark}/"):
                found.append(StackProcess(int(folder.name), environment.get(_RUN_ID, "")))
    return found


def run_processes(mark: str) -> list[StackProcess]:
    """The processes of flow runs: the first of each, whose number is that of its group, not what a flow may have started."""
    return [one for one in stack_processes(mark) if one.flow_run_id and _group(one.pid) == one.pid]


def end_runs(mark: str, seconds: float, hurry: Callable[[], bool], say: Callable[[str], None]) -> bool:
    """Tell every run to end and wait until all have; whether all ended by themselves.

    A run that begins meanwhile is told too. After ``seconds``, or when somebody is in a ``hurry``, what is left is killed.
    """
    told: set[int] = set()
    deadline = time.monotonic() + seconds
    while left := run_processes(mark):
        new = [one for one in left if one.pid not in told]
        if new:
            say(
                f"{len(new)} run{'s are' if len(new) > 1 else ' is'} told to end in order; a session writes down how far it came."
            )
        for one in new:
            _send(one.pid, signal.SIGTERM)
            told.add(one.pid)
        if time.monotonic() > deadline or hurry():
            for one in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(one.pid, signal.SIGKILL)
            say(f"{len(left)} of them did not end in time and {'were' if len(left) > 1 else 'was'} killed.")
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def end_rest(mark: str, seconds: float) -> None:
    """End whatever else the stack has left behind: asked first, killed after ``seconds``."""
    deadline = time.monotonic() + seconds
    for one in stack_processes(mark):
        _send(one.pid, signal.SIGTERM)
    while left := stack_processes(mark):
        if time.monotonic() > deadline:
            for one in left:
                _send(one.pid, signal.SIGKILL)
            return
        time.sleep(_PAUSE_SECONDS)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended meanwhile
        os.kill(pid, number)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _environment(folder: Path) -> dict[str, str]:
    try:
        text = (folder / "environ").read_bytes()
    except OSError:  # somebody else's, or gone; one that has ended has none either
        return {}
    pairs = (pair.partition("=") for pair in text.decode(errors="replace").split("\0"))
    return {name: value for name, _, value in pairs}
