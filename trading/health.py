"""When a session is not well: what is judged of it, as pure sentences over what the ledger tells.

The rule: silence is judged against the clock only where the session follows it. A replay, or a session at another pace than
real time, is never late.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from trading.checks import Check, bad, ok, warn
from trading.sessions import Mode
from trading.trading_hours import TradingHours

STARTED_WITHIN = timedelta(minutes=5)
"""After the open, by when a session has begun."""
STALE_AFTER_BARS = 3
FAILURES_IN_A_ROW = 3
LEASE_OVERDUE = timedelta(seconds=60)
"""How long after its end a lease that nobody renewed says that its session is gone."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One thing that was looked at; ``session_id`` names the session that it is about, empty for the machine.

    ``strategy`` is whose session is missing: each is told of by itself.
    """

    check: Check
    session_id: str = ""
    strategy: str = ""


class SessionSeen(Protocol):
    """A session as the ledger tells of it (``storage.health_facts``)."""

    @property
    def session_id(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def session_date(self) -> date: ...
    @property
    def mode(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def started_at(self) -> datetime: ...
    @property
    def last_bar_time(self) -> datetime | None: ...
    @property
    def pace(self) -> str: ...
    @property
    def bar_length(self) -> timedelta: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def is_gone(self) -> bool: ...
    @property
    def lease_expires_at(self) -> datetime | None: ...
    @property
    def failures(self) -> int: ...
    @property
    def newest_failure(self) -> str: ...


def missing_sessions(
    expected: Sequence[str], sessions: Sequence[SessionSeen], hours: TradingHours, now: datetime
) -> Iterator[Looked]:
    """Strategies whose sessions should run by now and have not begun.

    ``expected`` are those that are scheduled; an empty name is a strategy that only its policy's bundle names.
    """
    subject = "session_missing"
    due = hours.opens_at + STARTED_WITHIN
    if not expected:
        yield Looked(ok(subject, "no session is scheduled by itself"))
    elif not due <= now < hours.closes_at:
        yield Looked(ok(subject, f"sessions are expected from {hours.local(due):%H:%M} to the close"))
    else:
        for strategy in expected:
            its_own = [one for one in sessions if strategy in (one.strategy, "")]
            yield Looked(_missing(strategy, its_own, hours, now), strategy=strategy)


def _missing(strategy: str, found: Sequence[SessionSeen], hours: TradingHours, now: datetime) -> Check:
    subject = "session_missing"
    # A synthetic market has dates of its own; such a session is today's by when it was started.
    early = hours.opens_at - timedelta(hours=1)
    todays = [
        one
        for one in found
        if one.session_date == hours.session_date or (one.mode == Mode.SYNTHETIC and one.started_at >= early)
    ]
    traded = [one for one in todays if one.state != "REFUSED"]
    if traded:
        return ok(subject, f"{traded[-1].session_id} is {traded[-1].state}")
    whose = f" of {strategy}" if strategy else ""
    since = f"the market has been open since {hours.local(hours.opens_at):%H:%M} and it is {hours.local(now):%H:%M}"
    if todays:
        return bad(
            subject,
            f"the session{whose} was refused today, {since}",
            "Look with `openbell report` why, mend it, and run the session's deployment (Quick run).",
        )
    return bad(
        subject,
        f"no session{whose} has begun today, {since}",
        "Look in Prefect whether its run is Late or failed and whether a worker is there, then run the session's deployment (Quick run).",
    )


def stale_sessions(sessions: Sequence[SessionSeen], hours: TradingHours, now: datetime) -> Iterator[Looked]:
    """Sessions in real time that have had no bar for too long."""
    for one in sessions:
        if one.state == "RUNNING" and one.pace == "live" and one.session_date == hours.session_date and not one.is_gone:
            yield Looked(_stale(one, hours, now), one.session_id)


def _stale(one: SessionSeen, hours: TradingHours, now: datetime) -> Check:
    if one.last_bar_time is None:
        # It was decided on nothing yet: the first bar is awaited since the open, or since it came.
        since, newest = max(hours.opens_at, one.started_at), "no bar yet"
    else:
        since = one.last_bar_time + one.bar_length
        newest = f"its newest bar is that of {hours.local(one.last_bar_time):%H:%M}"
    silent = min(now, hours.closes_at) - since
    if silent <= STALE_AFTER_BARS * one.bar_length:
        return ok("data_stale", f"{one.session_id}: {newest}")
    minutes = silent.total_seconds() / 60
    return bad(
        "data_stale",
        f"{one.session_id} has had no bar for {minutes:.0f} min: {newest}, and it is {hours.local(now):%H:%M}",
        "Look at the broker's data line (openbell doctor) and at the session's log; openbell halt keeps it from new risk, openbell "
        "flatten closes what is held.",
    )


def lost_sessions(sessions: Sequence[SessionSeen], now: datetime) -> Iterator[Looked]:
    """Sessions that say RUNNING and whose process is not there, or has not renewed its lease."""
    for one in sessions:
        if one.state != "RUNNING":
            continue
        overdue = one.lease_expires_at is not None and now - one.lease_expires_at > LEASE_OVERDUE
        if one.is_gone or overdue:
            gone = (
                f"process {one.pid} is gone"
                if one.is_gone
                else f"its lease ended at {one.lease_expires_at:%H:%M:%S} UTC"
            )
            yield Looked(
                bad(
                    "lease",
                    f"{one.session_id} says RUNNING and {gone}",
                    "Start the same session again: it goes on after its last finished bar. Until then nobody watches its positions.",
                ),
                one.session_id,
            )
        else:
            yield Looked(ok("lease", f"{one.session_id} is held by process {one.pid}"), one.session_id)


def failing_policies(sessions: Sequence[SessionSeen]) -> Iterator[Looked]:
    """Sessions whose policy has decided nothing on the newest bars."""
    for one in sessions:
        if one.state == "RUNNING" and one.failures >= FAILURES_IN_A_ROW:
            yield Looked(
                warn(
                    "policy",
                    f"the policy of {one.session_id} failed on the last {one.failures} bars: {one.newest_failure}",
                    "Its symbols hold. Look with `openbell report`; openbell rollback puts the champion before it back for the next session.",
                ),
                one.session_id,
            )
