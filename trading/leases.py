"""Who may trade a session: one runner at a time, for as long as it shows that it is there.

A lease is taken, renewed and given back in the store. Each taking has a higher ``fence`` than the one before; the store
writes for the newest fence alone, so that a runner which was slow and has lost its lease can write nothing more, and
sends nothing more because nothing is sent before it is written.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

LEASE_LASTS = timedelta(seconds=60)
"""How long a lease holds without being renewed."""
LEASE_RENEWED_EVERY = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Runner:
    """A process (and the run within it) that trades: enough to say whether it is still there.

    ``started`` is what the operating system says of the process's start, so that a reused ``pid`` is not mistaken.
    ``run`` is unique to one run within the process.
    """

    host: str
    pid: int
    started: str
    run: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to trade one session until ``expires_at``."""

    session_id: str
    runner: Runner
    fence: int
    expires_at: datetime
