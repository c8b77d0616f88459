"""A child process that is kept up: its output in a file, started again with back-off, ended in order."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from trading.errors import OpenbellError

FAILURES_IN_A_ROW = 3
_LIVED_SECONDS = 60.0
"""A process that lived for so long has started; what ends it then is a first failure again."""
_LOG_BYTES = 20 * 1024**2
_PAUSE_SECONDS = 0.1
_HURRY_SECONDS = 8.0
_DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>

_C = ctypes.CDLL(None) if sys.platform == "linux" else None


class StackFailed(OpenbellError):
    """A process of the stack does not stay up, or did not come up."""


class KeptProcess:
    """One child under one name. ``say`` tells a person what happens to it.

    It has a group of its own, so that Ctrl-C at a terminal reaches nobody but the parent, and, with ``ends_with_parent``
    and on Linux, is told to end (SIGTERM) when the parent is killed. Each pause before it is started again is four times the last.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path | None,
        say: Callable[[str], None],
        ends_with_parent: bool = True,
        first_pause_seconds: float = 1.0,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._log = log
        self._say = say
        self._ends_with_parent = ends_with_parent
        self._first_pause_seconds = first_pause_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._started_at = 0.0
        self._again_at: float | None = None
        self._says_from = 0

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs, and before it was started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it; raises ``StackFailed`` where the system does not."""
        output = _opened(self._log) if self._log is not None else None
        self._says_from = output.tell() if output is not None else 0
        try:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                start_new_session=True,
                preexec_fn=_with_parent if self._ends_with_parent else _alone,
            )
        except OSError as error:
            raise StackFailed(f"The {self.name} could not be started: {error}.") from error
        finally:
            if output is not None:
                output.close()
        self._started_at = time.monotonic()
        self._again_at = None

    def look(self) -> bool:
        """Start it again where it has ended; whether it runs now. Raises ``StackFailed`` after three failures in a row."""
        if self.pid is not None:
            self._put_aside_what_is_long()
            return True
        if self._again_at is None:
            lived = time.monotonic() - self._started_at
            self._failures = 1 if lived > _LIVED_SECONDS else self._failures + 1
            how = f"The {self.name} ended with {self._how()} after {lived:.0f} s"
            if self._failures >= FAILURES_IN_A_ROW:
                raise StackFailed(f"{how}, for the third time in a row. {self.last_words()}")
            pause = self._first_pause_seconds * 4 ** (self._failures - 1)
            self._again_at = time.monotonic() + pause
            self._say(f"{how}; it is started again in {pause:g} s. {self.last_words()}")
        if time.monotonic() >= self._again_at:
            self.start()
        return False

    def stop(self, seconds: float, hurry: Callable[[], bool]) -> bool:
        """Tell it to end and wait; whether it ended by itself.

        In a ``hurry`` it is told once more and has a few seconds. Whoever has not ended after ``seconds`` is killed.
        """
        process = self._process
        if process is None or process.poll() is not None:
            return True
        process.terminate()
        deadline = time.monotonic() + seconds
        is_hurried = False
        while process.poll() is None:
            if hurry() and not is_hurried:
                is_hurried = True
                process.terminate()
                deadline = min(deadline, time.monotonic() + _HURRY_SECONDS)
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                return False
            time.sleep(_PAUSE_SECONDS)
        return True

    def said(self) -> str:
        """What it has printed since it was started; empty where that goes elsewhere."""
        try:
            return "" if self._log is None else self._log.read_bytes()[self._says_from :].decode(errors="replace")
        except OSError:
            return ""

    def last_words(self) -> str:
        """Where its output is, with the last line of it that says something."""
        if self._log is None:
            return "Its output is above."
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - 4_000))
                lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        except OSError:
            lines = []
        said = next((line for line in reversed(lines) if any(letter.isalpha() for letter in line)), "")
        return f"Its output is in {self._log}" + (f", the last of it: {said}" if said else ".")

    def _put_aside_what_is_long(self) -> None:
        """What has been printed so far goes into another file, in place of what that had; the process prints on into its own.

        It appends, so that it goes on at the file's new end. What it prints between copy and cut is lost: a line, once in 20 MB.
        """
        if self._log is None:
            return
        with contextlib.suppress(OSError):  # a disk that is full is told by others
            if self._log.stat().st_size > _LOG_BYTES:
                shutil.copyfile(self._log, _aside(self._log))
                os.truncate(self._log, 0)
                self._says_from = 0

    def _how(self) -> str:
        code = self._process.returncode if self._process is not None else 0
        return f"signal {-code}" if code < 0 else f"code {code}"


def _opened(log: Path) -> BinaryIO:
    """The file to append to; one that has become large is put aside first."""
    try:
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(_aside(log))
        return log.open("ab")
    except OSError as error:
        raise StackFailed(f"{log} cannot be written: {error.strerror}. Mend its permissions.") from error


def _aside(log: Path) -> Path:
    return log.with_suffix(".1.log")


def _alone() -> None:
    # A shell in the background ignores Ctrl-C for all its children; a Prefect worker is stopped by it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _with_parent() -> None:
    _alone()
    if _C is not None:
        _C.prctl(_DEATH_OF_PARENT, signal.SIGTERM)
