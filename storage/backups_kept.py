"""Which backups stay: those of the last days, one a week before that, and always the newest.

The rule: nothing is removed that is not a backup, or the draft of one whose process is gone. What is removed loses its name
first, so that half of a backup is never taken for one.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.backup_manifest import BackupManifest, read_manifest
from storage.store import is_running
from trading.errors import StoreError

_UNFINISHED = re.compile(r"\..+\.(\d+)\.(?:new|old)")


def backup_name(database: Path, made_at: datetime) -> str:
    """What a backup is called where nobody names it: the database and the moment, in UTC."""
    return f"{database.name.removesuffix('.duckdb')}-{made_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def backups_in(folder: Path, database: str | None = None) -> dict[Path, BackupManifest]:
    """The backups in ``folder`` (of databases of that name), oldest first. Their files are not looked at."""
    found = {}
    with contextlib.suppress(OSError):  # no such folder: no backups
        for inside in folder.iterdir():
            if inside.is_dir() and not inside.name.startswith("."):
                with contextlib.suppress(StoreError):  # something else, or not readable: not ours to remove
                    manifest = read_manifest(inside)
                    if database is None or manifest.database == database:
                        found[inside] = manifest
    return dict(sorted(found.items(), key=lambda one: one[1].made_at))


def superfluous(made: Mapping[Path, datetime], now: datetime, keep_days: int, keep_weeks: int) -> list[Path]:
    """What can go, oldest first.

    Of each of the last ``keep_days`` days the newest stays, of each of the last ``keep_weeks`` weeks (Monday to Sunday, UTC) too;
    so do the newest of all and what is of the future.
    """
    stays: dict[object, Path] = {}
    for path, at in sorted(made.items(), key=lambda one: one[1]):
        day = at.astimezone(UTC).date()
        today = now.astimezone(UTC).date()
        if day > today:
            stays[path] = path
        if (today - day).days < keep_days:
            stays[day] = path
        monday, this_monday = (one - timedelta(days=one.weekday()) for one in (day, today))
        if (this_monday - monday).days < 7 * keep_weeks:
            stays[f"week of {monday}"] = path
        stays["newest"] = path
    kept = set(stays.values())
    return [path for path in sorted(made, key=lambda path: made[path]) if path not in kept]


def remove_backup(folder: Path) -> None:
    """Take a backup away; raises ``StoreError``."""
    doomed = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise StoreError(f"The backup {folder} could not be removed: {error.strerror or error}.") from error


def abandoned(folder: Path) -> Iterator[Path]:
    """What processes left in ``folder`` that were killed while they wrote or removed a backup."""
    with contextlib.suppress(OSError):
        for inside in folder.iterdir():
            made_by = _UNFINISHED.fullmatch(inside.name)
            if made_by and inside.is_dir() and not is_running(int(made_by[1])):
                yield inside


def remove_abandoned(folder: Path) -> list[Path]:
    """Take that away, as far as it can be."""
    gone = list(abandoned(folder))
    for inside in gone:
        shutil.rmtree(inside, ignore_errors=True)
    return gone
