"""What lies beside a database that nobody needs any more: old copies of dry runs, and drafts of processes that are gone. No Prefect here.

The rule: only what openbell itself made under names of its own, and only while nobody uses it.
"""

import contextlib
import fcntl
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from storage.backups_kept import abandoned
from storage.store import is_running
from tasks.dry_run_copies import settings_of_dry_run
from trading.settings import Settings

_DRAFT = re.compile(r"\.(.+)\.(\d+)\.new(?:\.wal)?")


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that was taken away, or would be; ``bytes`` is what it took, None where that is not known."""

    kind: str
    what: str
    bytes: int | None = None


def leftovers(settings: Settings, backups: Path, now: datetime, keep: timedelta) -> Iterator[tuple[Removed, Path]]:
    """What can go: dry runs' copies that were not written for ``keep``, and drafts of ended processes."""
    path = settings.store.path.absolute()
    stem = path.name.removesuffix(".duckdb")
    if path.parent.is_dir():
        for file in sorted(path.parent.iterdir()):
            draft = _DRAFT.fullmatch(file.name)
            if file.is_file() and draft and draft[1].startswith(stem) and not is_running(int(draft[2])):
                yield _file("draft of an ended process", file)
        yield from _dry_run(settings, now - keep)
    for folder in abandoned(backups):
        yield Removed("draft of an ended backup", str(folder), size_of(folder)), folder


def take_away(path: Path) -> None:
    """Remove a file or folder; one that is gone already is no fault."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _dry_run(settings: Settings, before: datetime) -> Iterator[tuple[Removed, Path]]:
    copy = settings_of_dry_run(settings).store.path.absolute()
    lock = copy.with_name(f"{copy.name}.lock")
    if not copy.exists() or copy.stat().st_mtime > before.timestamp() or _is_locked(lock):
        return
    stem = copy.name.removesuffix(".duckdb")
    for file in sorted(copy.parent.iterdir()):
        if file.is_file() and (file.name in {copy.name, f"{copy.name}.wal", lock.name} or _is_account(file, stem)):
            yield _file("copy of a dry run", file)


def _is_account(file: Path, stem: str) -> bool:
    return file.name.startswith(f"{stem}.") and re.search(r"\.sqlite(-wal|-shm)?$", file.name) is not None


def _is_locked(lock: Path) -> bool:
    """Whether a dry run is at work: it holds the lock for as long as it lives."""
    with contextlib.suppress(OSError), lock.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _file(kind: str, file: Path) -> tuple[Removed, Path]:
    return Removed(kind, str(file), file.stat().st_size), file
