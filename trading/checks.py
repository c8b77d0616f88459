"""What a look at a machine, a setting or a broker finds: one line each, with what to do next where it is not well."""

from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """How it stands. ``BAD``: a session would be refused, or would not get far."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``found`` is what was seen, ``next_step`` what a person does about it."""

    subject: str
    state: CheckState
    found: str
    next_step: str = ""


def ok(subject: str, found: str) -> Check:
    """It is well."""
    return Check(subject, CheckState.OK, found)


def warn(subject: str, found: str, next_step: str = "") -> Check:
    """A session can be traded, and a person should know."""
    return Check(subject, CheckState.WARN, found, next_step)


def bad(subject: str, found: str, next_step: str) -> Check:
    """A session would be refused."""
    return Check(subject, CheckState.BAD, found, next_step)


def refused(subject: str, error: Exception) -> Check:
    """What such an error says: its first sentence is what was found, the others are what to do."""
    found, _, next_step = str(error).partition(". ")
    return bad(subject, found, next_step)
