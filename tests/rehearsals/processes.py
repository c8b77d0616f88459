"""Processes of a rehearsal: forked from one that has imported everything and opened nothing, and ended by their own numbers.

Starting Python with all that a session needs takes two seconds of a processor; a fork takes milliseconds.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HANGS_AFTER_SECONDS = 90.0
_PAUSE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Process:
    """A child of ours; what it writes goes to ``diary``."""

    pid: int
    diary: Path
    started: float

    def kill(self) -> None:
        """End it at once, without a word; nothing where it has ended."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def ask_to_end(self) -> None:
        """Ask it to end in order; nothing where it has ended."""
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return

    def wait(self, kill_after_seconds: float | None = None, meanwhile: Callable[[], None] = lambda: None) -> int | None:
        """Its exit code once it has ended; None where it was killed, after ``kill_after_seconds`` or because it hangs.

        ``meanwhile`` is done again and again.
        """
        while True:
            meanwhile()
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else None
            passed = time.monotonic() - self.started
            if passed > HANGS_AFTER_SECONDS or (kill_after_seconds is not None and passed > kill_after_seconds):
                self.kill()
            time.sleep(_PAUSE_SECONDS)


def fork(work: Callable[[], int], diary: Path, zone: str | None = None) -> Process:
    """Do ``work`` in a child; what it returns is the exit code. ``zone``: the time zone that the child believes to be in."""
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid:
        return Process(pid, diary, started)
    # The child: nothing of the parent's may run in it, whatever happens.
    code = 1
    try:
        if zone is not None:
            os.environ["TZ"] = zone
            time.tzset()
        with diary.open("ab", buffering=0) as writing:
            os.dup2(writing.fileno(), 1)
            os.dup2(writing.fileno(), 2)
        code = work()
    except BaseException:  # noqa: BLE001 - said in the diary; the parent sees the exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
