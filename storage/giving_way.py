"""Readers of a free file give way to whoever wants to write it: a question at the terminal must not keep a session from
beginning.

The rule: who wants to write says so in a small file beside the database. Readers that hold the database look there, end
their question, and ask it again when somebody else has the file.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

_LOOKED_FOR_EVERY_SECONDS = 0.05


class Readable(Protocol):
    """Something that reads a database and can be told to stop."""

    @property
    def path(self) -> Path:
        """The database."""
        ...

    def interrupt(self) -> None:
        """End what is being read. Called from another thread."""
        ...


class GaveWay(Exception):
    """The question was ended so that another process could write; ask it again."""


def wanted_path(database: Path) -> Path:
    """The file that says that somebody waits to write."""
    return database.with_name(f"{database.name}.wanted")


def is_wanted(database: Path) -> bool:
    """Whether a process waits to write the database. What a killed one left counts for nothing."""
    try:
        pid = int(wanted_path(database).read_text(encoding="utf-8"))
        if pid <= 0:
            return False
        os.kill(pid, 0)
    except PermissionError:
        return True  # another user's process
    except (OSError, ValueError, OverflowError):
        return False
    return True


@contextlib.contextmanager
def wanting(database: Path) -> Iterator[None]:
    """Say meanwhile that this process waits to write. Where that cannot be said, readers are not told."""
    with contextlib.suppress(OSError):
        wanted_path(database).write_text(str(os.getpid()), encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            wanted_path(database).unlink()


@contextlib.contextmanager
def giving_way(reader: Readable) -> Iterator[None]:
    """End what is asked inside when somebody wants to write; raises ``GaveWay`` then."""
    done, gave_way = threading.Event(), threading.Event()

    def look() -> None:
        while not done.wait(_LOOKED_FOR_EVERY_SECONDS):
            if is_wanted(reader.path):
                gave_way.set()
                reader.interrupt()

    looking = threading.Thread(target=look, name="openbell-giving-way", daemon=True)
    looking.start()
    try:
        yield
    except Exception as error:  # an interrupted question fails in many ways; any other failure goes on as it is
        if gave_way.is_set():
            raise GaveWay from error
        raise
    finally:
        done.set()
        looking.join()
