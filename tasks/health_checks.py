"""What is not well of a ledger, its sessions and this machine, looked at lightly, beside a session that trades. No Prefect is imported here.

The rule: nothing is written, and no lock is kept: the database is asked through its holder's door, or opened for a moment.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from storage.health_facts import HealthFacts, health_facts
from trading.calendar import TradingCalendar
from trading.checks import Check, bad, ok, warn
from trading.errors import StoreBusy, StoreError
from trading.health import Looked, failing_policies, lost_sessions, missing_sessions, stale_sessions
from trading.settings import Settings
from trading.trading_hours import TradingHours

_LITTLE_ROOM, _HARDLY_ANY_ROOM = 2 * 1024**3, 200 * 1024**2
_LITTLE_MEMORY, _HARDLY_ANY_MEMORY = 500 * 1024**2, 200 * 1024**2
_SKEW_SECONDS = 5.0
_LOOKED_BEFORE, _LOOKED_AFTER = timedelta(minutes=45), timedelta(minutes=60)
"""Around the session: what is wrong before the open can still be mended, and a session ends some time after the close."""


def hours_to_look_in(settings: Settings, now: datetime) -> TradingHours | str:
    """Today's session, or in words why there is nothing to look at now."""
    calendar = TradingCalendar(settings.session.exchange, now.date())
    today = calendar.exchange_date(now)
    if not calendar.is_session(today):
        following = calendar.next_session_date(today)
        return f"{settings.session.exchange} has no session on {today.isoformat()}; the next is on {following.isoformat()}."
    hours = calendar.hours(today)
    if not hours.opens_at - _LOOKED_BEFORE <= now <= hours.closes_at + _LOOKED_AFTER:
        return (
            f"{settings.session.exchange} trades from {hours.local(hours.opens_at):%H:%M} to {hours.local(hours.closes_at):%H:%M} "
            f"today, and it is {hours.local(now):%H:%M}."
        )
    return hours


def ledger_checks(settings: Settings, hours: TradingHours, expected: Sequence[str], now: datetime) -> Iterator[Looked]:
    """What the ledger says. ``expected`` are the strategies whose sessions start by themselves."""
    path = settings.store.path
    if not path.exists():
        yield Looked(ok("database", f"{path} is not there yet: the first session makes it"))
        yield from missing_sessions(expected, (), hours, now)
        return
    try:
        facts = health_facts(path, hours.session_date, now)
    except StoreBusy as error:
        yield Looked(
            bad(
                "database",
                _with_program(str(error).split(". ")[0].split(";")[0]),
                "End that process, or wait for it: no session can begin meanwhile. openbell snapshot FILE makes a copy to work on.",
            )
        )
        return
    except StoreError as error:
        yield Looked(bad("database", str(error), "Mend what it says, or restore a backup: openbell restore."))
        return
    yield Looked(ok("database", f"{path} answers"))
    yield from missing_sessions(expected, facts.sessions, hours, now)
    yield from stale_sessions(facts.sessions, hours, now)
    yield from lost_sessions(facts.sessions, now)
    yield from failing_policies(facts.sessions)
    yield from _differences(facts)
    yield from _halts(facts)
    yield Looked(_written_later(facts, now))


def room_checks(settings: Settings, *others: Path) -> Iterator[Looked]:
    """Room on the disks of the database and of the ``others``, and memory of this machine."""
    seen = set()
    for folder in (settings.store.path.absolute().parent, *others):
        while not folder.is_dir():
            folder = folder.parent
        if (device := folder.stat().st_dev) not in seen:
            seen.add(device)
            yield Looked(_room(folder))
    yield from (Looked(check) for check in _memory(Path("/proc/meminfo")))


def skew_check(theirs: datetime, now: datetime) -> Check:
    """This machine's clock against the Prefect server's, which tells whole seconds."""
    skew = (now - theirs).total_seconds()
    if abs(skew) > _SKEW_SECONDS:
        return warn(
            "clock",
            f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the Prefect server's",
            "Let both follow a time server (timedatectl set-ntp true): bars and schedules go by the clock.",
        )
    return ok("clock", "this machine and the Prefect server agree")


def _written_later(facts: HealthFacts, now: datetime) -> Check:
    newest = facts.newest_moment
    if newest is not None and newest > now + timedelta(seconds=_SKEW_SECONDS):
        return bad(
            "clock",
            f"the ledger has a session of {newest:%Y-%m-%d %H:%M:%S} UTC, and it is {now:%Y-%m-%d %H:%M:%S}",
            "This machine's clock was set back, or was wrong then. Let it follow a time server.",
        )
    return ok("clock", f"it is {now:%Y-%m-%d %H:%M:%S} UTC")


def _differences(facts: HealthFacts) -> Iterator[Looked]:
    for one in facts.differences:
        yield Looked(
            bad(
                "discrepancy",
                f"{one.remaining} differences between the ledger and the broker of account {one.account} stand since {one.seen_at:%H:%M} UTC",
                "Look with `openbell reconcile`, and repair with --repair what the broker's records explain.",
            ),
            one.session_id,
        )
    for lock in facts.locks:
        yield Looked(
            bad(
                "discrepancy",
                f"no new risk in {lock.symbol} of account {lock.account} since {lock.locked_at:%Y-%m-%d %H:%M} UTC: {lock.reason}",
                "Look with `openbell reconcile`; --claim SYMBOL takes what was traded elsewhere into the book.",
            )
        )
    if not facts.differences and not facts.locks:
        yield Looked(ok("discrepancy", "none stands"))


def _halts(facts: HealthFacts) -> Iterator[Looked]:
    for halt in facts.halts:
        until = f" until {halt.expires_at:%H:%M} UTC" if halt.expires_at is not None else ""
        yield Looked(
            warn(
                "halt",
                f"{halt.scope} is halted since {halt.halted_at:%Y-%m-%d %H:%M} UTC{until}: {halt.reason}",
                f"Only reductions are traded. `openbell resume --scope {halt.scope}` clears it once its reason is gone.",
            ),
            halt.session_id or "",
        )
    if not facts.halts:
        yield Looked(ok("halt", "none stands"))


def _room(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:,.1f} GB free in {folder}"
    if free < _HARDLY_ANY_ROOM:
        return bad("disk", found, "Make room now: what cannot be written down is not traded.")
    if free < _LITTLE_ROOM:
        return warn("disk", found, "Make room: run the deployment housekeeping, move old backups away.")
    return ok("disk", found)


def _memory(told: Path) -> Iterator[Check]:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", told.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:  # no Linux: not told
        return
    if found is None:
        return
    free = 1024 * int(found[1])
    words = f"{free / 1024**2:,.0f} MB of memory are free"
    if free < _HARDLY_ANY_MEMORY:
        yield bad(
            "memory",
            words,
            "End what is not needed now: the system ends processes when memory runs out, and may choose a session.",
        )
    elif free < _LITTLE_MEMORY:
        yield warn("memory", words, "End what is not needed beside a session, such as a training.")
    else:
        yield ok("memory", words)


def _with_program(words: str) -> str:
    """The name of the program behind a ``process NUMBER``, where the system tells it."""
    holder = re.search(r"process (\d+)", words)
    if holder is None:
        return words
    try:
        called = Path("/proc", holder[1], "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return words
    return f"{words} ({called[:120]})" if called else words
