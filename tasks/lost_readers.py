"""A run that goes on when nobody reads any more what it prints: a session, and a stop or a repair that is half done.

A worker reads its runs' output through a pipe. When it is killed, the pipe breaks with the next line that is logged, and rich, which
Prefect's log is written with, then ends the process: a session that trades well would be gone in mid-order, and without a trace.
"""

import contextlib
import os

from rich.console import Console


def outlast_readers() -> None:
    """From now on a pipe that breaks costs what is printed, and nothing else. A second call changes nothing."""
    setattr(Console, "on_broken_pipe", _go_quiet)  # noqa: B010 - by name, as mypy knows no other way to change a method


def _go_quiet(console: Console) -> None:
    console.quiet = True
    # What is left in the buffers would break the pipe again at the end of the process.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, console.file.fileno())
        os.close(nowhere)
