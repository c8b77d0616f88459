"""What a session needs of this machine and its settings, looked at one after the other. No Prefect is imported here.

The rule: nothing is made or changed. A database that is not there yet is no fault.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from packaging.requirements import Requirement

from storage.door_sign import read_sign
from storage.left_running import LeftRunning, sessions_left_running
from storage.store import open_store
from tasks.clock_checks import Stopwatch, clock_checks
from tasks.file_checks import file_checks
from tasks.prefect_address import prefect_address
from tasks.server_checks import AnsweringServer, open_server, port_check, server_checks
from trading.calendar import TradingCalendar
from trading.checks import Check, bad, ok, warn
from trading.errors import OpenbellError, StoreBusy
from trading.settings import Settings

_LITTLE_ROOM, _HARDLY_ANY_ROOM = 2 * 1024**3, 200 * 1024**2
PORT = 4200
"""Where a stack is unless it is told otherwise."""


def machine_checks(
    settings: Settings,
    file: Path | None,
    now: datetime,
    deployed_version: str | None = None,
    port: int = PORT,
    strategies: Sequence[Settings] = (),
) -> Iterator[Check]:
    """``file`` is where the settings came from, None for the defaults; ``now`` the machine's time.

    ``deployed_version`` is what deployments should carry; ``port`` is where a stack would be started; ``strategies`` are what
    is traded, the settings themselves where none is named.
    """
    watch = Stopwatch()
    yield _python()
    yield _packages()
    yield ok("settings", f"{file} is valid" if file is not None else "no file: the defaults")
    yield from file_checks(settings)
    traded = strategies or (settings,)
    for path in dict.fromkeys(one.store.path for one in traded):
        yield from _database(path, now)
    yield _disk(settings.store.path)
    server_time = None
    address = prefect_address()
    server = open_server(address) if address is not None else None
    if address is None or server is None:
        yield ok("prefect", "no server is named: each session starts one for itself, which takes about 20 s")
        yield port_check(port)
    elif isinstance(server, AnsweringServer):
        with contextlib.closing(server.client):
            if server.time_there is not None:
                server_time = now + (server.time_there - server.heard_at)
            yield from _asking(server_checks(server, address, settings, deployed_version), address)
    else:
        yield server
    yield _zones(settings)
    exchanges = list(dict.fromkeys(one.session.exchange for one in traded))
    yield from (_day(exchange, now) for exchange in exchanges)
    yield from clock_checks(exchanges, now, watch, server_time)


def _asking(checks: Iterator[Check], address: str) -> Iterator[Check]:
    """The checks, up to where the server goes away."""
    try:
        yield from checks
    except (httpx.HTTPError, ValueError) as error:
        yield bad(
            "prefect", f"{address} stopped answering ({type(error).__name__}: {error})", "Look at the server's log."
        )


def _python() -> Check:
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return ok("python", found)
    return bad("python", found, "Install openbell under Python 3.11, 3.12 or 3.13.")


def _packages() -> Check:
    wrong = []
    count = 0
    for line in requires("openbell") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} {found} is not {wanted.specifier}")
    if wrong:
        return bad("packages", "; ".join(wrong), "Install openbell again with its constraints.txt.")
    return ok("packages", f"all {count} are there, in versions that go together")


def _database(path: Path, now: datetime) -> Iterator[Check]:
    """How the file stands, and, where it can be opened, sessions that a killed process has left in it."""
    left: list[LeftRunning] = []
    yield _opened(path, now, left)
    yield from (_left_running(one) for one in left)


def _opened(path: Path, now: datetime, left: list[LeftRunning]) -> Check:
    subject = "database"
    if not path.exists():
        folder = path.absolute().parent
        if not folder.is_dir():
            return bad(subject, f"there is no folder {folder}", "Make it, or set store.path (--db) to another place.")
        if not os.access(folder, os.W_OK):
            return bad(
                subject, f"{folder} cannot be written", "Mend its permissions, or set store.path (--db) elsewhere."
            )
        return ok(subject, f"{path} is not there yet: the first session makes it")
    try:
        with open_store(path, read_only=True) as store:
            rows = store.connection.rows("SELECT count(*), max(started_at) FROM sessions")
            left += sessions_left_running(store.connection, now)
    except StoreBusy as error:
        sign = read_sign(path)
        who = f"process {sign.pid}, which answers questions" if sign is not None else str(error).split(";")[0]
        return warn(
            subject, f"{path} is held: {who}", "A session of it runs. A second one needs a database of its own (--db)."
        )
    except OpenbellError as error:
        return bad(subject, str(error), "Mend what it says, or set store.path (--db) to another file.")
    [(count, newest)] = rows
    if newest is not None and newest > now:
        return warn(
            subject,
            f"{path} has a session that was started at {newest:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M}",
            "This machine's clock was set back, or was wrong then.",
        )
    return ok(subject, f"{path} opens; {count} session{'' if count == 1 else 's'}")


def _left_running(one: LeftRunning) -> Check:
    """A session that is over for everyone but the ledger."""
    last = f", its last bar {one.last_bar_time:%Y-%m-%d %H:%M} UTC" if one.last_bar_time is not None else ""
    if not one.is_gone and one.holder is not None:
        return warn(
            "lease",
            f"{one.session_id} is held by process {one.holder.pid} on {one.holder.host.partition('#')[0]}{last}",
            "If that machine is gone, its lease runs out within a minute; then run the session again.",
        )
    process = f"process {one.holder.pid} that traded it" if one.holder is not None else "whoever traded it"
    return warn(
        "lease",
        f"{one.session_id} stands as running{last}, and {process} is gone",
        f"openbell session --date {one.session_date.isoformat()} with its settings goes on from that bar while its day lasts; "
        "openbell reconcile compares the account with the broker first.",
    )


def _disk(path: Path) -> Check:
    folder = path.absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:,.1f} GB free in {folder}"
    if free < _HARDLY_ANY_ROOM:
        return bad("disk", found, "Make room: what cannot be written down is not traded.")
    if free < _LITTLE_ROOM:
        return warn("disk", found, "A session takes about 50 MB with its run history; make room in time.")
    return ok("disk", found)


def _zones(settings: Settings) -> Check:
    named = settings.broker.ib.timezone
    try:
        winter, summer = (datetime(2026, month, 1, 12, tzinfo=ZoneInfo(named)).utcoffset() for month in (1, 7))
    except ZoneInfoNotFoundError as error:
        return bad("time zones", str(error), "Install the package tzdata.")
    return ok("time zones", f"{named} is known: {_hours(winter)} from UTC in winter, {_hours(summer)} in summer")


def _hours(offset: timedelta | None) -> str:
    return f"{(offset or timedelta()).total_seconds() / 3600:+g} h"


def _day(exchange: str, now: datetime) -> Check:
    calendar = TradingCalendar(exchange, now.date())
    today = calendar.exchange_date(now)
    clock = f"it is {now:%Y-%m-%d %H:%M:%S} UTC, {today:%A} {today.isoformat()} at {exchange}"
    if not calendar.is_session(today):
        following = calendar.next_session_date(today)
        return ok("clock", f"{clock}: no session today, the next on {following.isoformat()}")
    hours = calendar.hours(today)
    opens, closes = hours.local(hours.opens_at), hours.local(hours.closes_at)
    return ok("clock", f"{clock}, which trades from {opens:%H:%M} to {closes:%H:%M} {hours.zone.key}")
