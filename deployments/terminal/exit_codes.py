"""What a command's exit code says, in one table over the tree of errors."""

from enum import IntEnum

import typer

from trading.errors import ConfigurationError, RefusedToTrade, StoppedEarly
from trading.sessions import SessionState, SessionSummary


class ExitCode(IntEnum):
    """The contract with scripts and schedulers."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    REFUSED = 3
    STOPPED = 4


_OF_ERRORS: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (ConfigurationError, ExitCode.WRONG_USAGE),
    (typer.BadParameter, ExitCode.WRONG_USAGE),
    (RefusedToTrade, ExitCode.REFUSED),
    (StoppedEarly, ExitCode.STOPPED),
)


def code_of_error(error: BaseException) -> ExitCode:
    """The code of the first line of the table that fits; ``FAILED`` for everything that is not in it."""
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), ExitCode.FAILED)


def code_of_session(summary: SessionSummary) -> ExitCode:
    """The code of a session that left a summary: a halt in its course counts as stopped, also where it went on."""
    if summary.state is SessionState.REFUSED:
        return ExitCode.REFUSED
    if summary.state is SessionState.STOPPED or summary.halted:
        return ExitCode.STOPPED
    return ExitCode.DONE
