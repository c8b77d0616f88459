"""This process, and whether another one is still there, as far as the operating system tells.

The rule: what cannot be told is not gone. A wrong "gone" would let two runners trade one session; a wrong "still there"
costs the time until a lease expires.
"""

import contextlib
import hashlib
import os
import socket
from pathlib import Path

from trading.leases import Runner

_PROCESSES = Path("/proc")
_DEAD = ("Z", "X")
"""States of a process that has ended and whose parent has not asked how."""


def this_runner(run: str) -> Runner:
    """This process as a runner; ``run`` tells its runs apart."""
    return Runner(_this_host(), os.getpid(), _started(os.getpid()) or "", run)


def is_surely_gone(runner: Runner) -> bool:
    """Whether the runner's process ended: there is none of its number here, or another one has it by now."""
    if runner.host != _this_host():
        return False
    try:
        os.kill(runner.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and somebody else's
        pass
    started = _started(runner.pid)
    if started is None or not runner.started:
        return False
    return started != runner.started or _state(runner.pid) in _DEAD


def _this_host() -> str:
    """Where process numbers mean the same: the machine since it started and, in it, the container."""
    scope = ""
    with contextlib.suppress(OSError):  # no Linux: the machine's name alone
        boot = (_PROCESSES / "sys/kernel/random/boot_id").read_text().strip()
        scope = boot + os.readlink(_PROCESSES / "self/ns/pid")
    if not scope:
        return socket.gethostname()
    return f"{socket.gethostname()}#{hashlib.blake2s(scope.encode(), digest_size=4).hexdigest()}"


def _started(pid: int) -> str | None:
    """When the process started, in clock ticks since the machine did; None where it is not told."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else None


def _state(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[0] if fields else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which can hold anything; the first is the state."""
    try:
        return (_PROCESSES / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
