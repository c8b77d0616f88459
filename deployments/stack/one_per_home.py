"""One stack for each home: a lock that ends with its process, and a note of where the stack is reached.

The rule: the lock tells whether a stack runs; the note only says where, and counts for nothing without the lock.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from trading.errors import ConfigurationError, OpenbellError


@dataclass(frozen=True, slots=True)
class StackNote:
    """What a stack says of itself once it can be used; ``api_url`` is empty while it starts."""

    pid: int
    api_url: str = ""
    ui_url: str = ""


class AlreadyUp(OpenbellError):
    """A stack of this home runs already; ``note`` says where it is reached."""

    def __init__(self, message: str, note: StackNote) -> None:
        super().__init__(message)
        self.note = note


@contextlib.contextmanager
def only_stack(home: Path) -> Iterator[Path]:
    """Hold the home for one stack; yields the file of its note. Raises ``AlreadyUp``, or ``ConfigurationError``."""
    folder = home / ".openbell"
    note = folder / "stack.json"
    try:
        # Prefect's database is in it, with blocks and the key that opens them.
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folder / "stack.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written: {error.strerror}. A stack keeps its database and its logs there: mend the permissions, "
            "or name another home with OPENBELL_HOME."
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _already_up(home) from error
        write_note(note, StackNote(os.getpid()))
        try:
            yield note
        finally:
            note.unlink(missing_ok=True)
    finally:
        os.close(lock)


def write_note(file: Path, note: StackNote) -> None:
    """Say where the stack is reached; whoever reads at the same time sees the old note or the new one."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(asdict(note)), encoding="utf-8")
    new.replace(file)


def read_note(home: Path) -> StackNote | None:
    """The note of the home's stack, whether that runs still or not; None without one."""
    try:
        return StackNote(**json.loads((home / ".openbell" / "stack.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _already_up(home: Path) -> AlreadyUp:
    note = read_note(home) or StackNote(0)
    process = f"process {note.pid}" if note.pid else "another process"
    if note.api_url:
        return AlreadyUp(f"The stack of {home} is up already ({process}): {note.ui_url}", note)
    return AlreadyUp(f"The stack of {home} is being started by {process}. Wait for it, or end that one first.", note)
