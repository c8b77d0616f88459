"""The two ways out of a command: the answer on stdout, everything said about it on stderr."""

import json
import math
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from rich.console import Console

Answer = Mapping[str, Any]


def screen() -> Console:
    """Stdout as a person sees it. Made anew for each use, because tests and redirections change what stdout is."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def aside() -> Console:
    """Stderr: progress, notes and errors. Lines are wrapped only where a person reads them."""
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def answer_json(answer: Answer) -> None:
    """Print the one JSON object of a command.

    A stdout that is closed or full is said on stderr and changes nothing: what was done is done, and a caller that is
    told of a failure might do it again.
    """
    try:
        sys.stdout.write(json.dumps(as_json(answer), ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # the reader left on purpose; the command ends quietly
    except (OSError, ValueError, AttributeError) as error:
        aside().print(f"The answer could not be written to stdout: {error}.")


def as_json(value: object) -> Any:
    """A value in JSON's words: money as a number, moments as ISO text, what is not a number as null."""
    match value:
        case None | bool() | int() | str():
            return value
        case Decimal():
            return as_json(float(value))
        case float():
            return value if math.isfinite(value) else None
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case Mapping():
            return {str(key): as_json(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [as_json(item) for item in value]
        case _:
            return str(value)
