"""How a command fails: one paragraph on stderr, one JSON object where that was asked for, and the exit code."""

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer
from rich.text import Text

from deployments.terminal.answer import answer_json, aside
from deployments.terminal.exit_codes import ExitCode, code_of_error
from trading.errors import OpenbellError

DEBUG = "OPENBELL_DEBUG"


@contextlib.contextmanager
def failures_told(as_json: bool, known: Mapping[str, object] | None = None) -> Iterator[None]:
    """Whatever is raised inside ends the command in words. ``known`` is told along with it in JSON.

    ``known`` is read at the end, so that a command can fill it as it goes. A reader that has left is no failure.
    """
    try:
        yield
    except typer.Exit:
        raise
    except BrokenPipeError as error:
        # The reader (head, less) has what it wanted. Nothing may be written to it at exit any more either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.DONE) from error
    except (Exception, KeyboardInterrupt) as error:
        raise typer.Exit(tell(error, as_json, known or {})) from error


def tell(error: BaseException, as_json: bool, known: Mapping[str, object]) -> ExitCode:
    """Say what went wrong and return the exit code for it."""
    code, message = code_of_error(error), paragraph(error)
    if debugging():
        traceback.print_exception(error)
    say_error(message, code)
    if as_json:
        # Only a refusal refused to trade: a store that is busy, say, has decided nothing about the session.
        if code is not ExitCode.REFUSED:
            known = {name: value for name, value in known.items() if (name, value) != ("state", "REFUSED")}
        answer_json({**known, "error": in_words(error), "message": message, "exit_code": int(code)})
    return code


def say_error(message: str, code: ExitCode = ExitCode.FAILED) -> None:
    """One paragraph, with the first word marked where there is colour."""
    word = {ExitCode.REFUSED: "Refused", ExitCode.STOPPED: "Stopped"}.get(code, "Error")
    aside().print(Text.assemble((f"{word}: ", "bold red"), message))


def paragraph(error: BaseException) -> str:
    """What happened, the value it happened with, and what to do next."""
    if isinstance(error, OpenbellError):
        return " ".join(str(error).split())
    if isinstance(error, typer.TyperException):
        # The command's name is on the errors of its command line only.
        command = getattr(getattr(error, "ctx", None), "command_path", "openbell")
        return f"{error.format_message().rstrip('.')}. See '{command} --help'."
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted. What was finished before is kept; run the same command again to go on."
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" (raised in {Path(where[0].filename).name}, line {where[0].lineno})" if where else ""
    said = " ".join(str(error).split()) or "no message"
    return (
        f"Unexpected {type(error).__name__}{place}: {said}. This is a fault of openbell or of this machine, not of your "
        f"input. Run the same command with {DEBUG}=1 to see the traceback, and report it with that."
    )


def in_words(error: BaseException) -> str:
    """The kind of error: ``AlreadyTraded`` is "already traded"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def debugging() -> bool:
    """Whether a person asked for tracebacks and logs."""
    return os.environ.get(DEBUG, "") not in ("", "0")
