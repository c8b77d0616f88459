"""Files beside the database that ask whoever holds it to halt, for when neither Prefect nor the door can be reached.

``touch openbell.duckdb.halt`` is enough. The rule: whatever such a file says or fails to say, it halts; what cannot be
understood of it counts as its strictest meaning.

The first flag is ``<database>.halt``, further ones ``<database>.halt.<request_id>``. As long as any is up the first name is
taken, so that one look at it tells that there is none.
"""

import contextlib
import glob
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2s
from pathlib import Path
from typing import Any
from uuid import uuid4

from trading.operator_requests import OperatorRequest, RequestKind

_LONGEST_READ = 65_536
_LONGEST_WORDS = 1_000
_LONGEST_MINUTES = 60 * 24 * 366
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
_SCOPE = re.compile(r"all|(?:account|strategy|symbol):.+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Flag:
    path: Path
    request: OperatorRequest


def flag_path(database: Path) -> Path:
    """The file that halts by being there."""
    return database.with_name(f"{database.name}.halt")


def raise_flag(database: Path, arguments: Mapping[str, Any], asked_by: str, at: datetime) -> OperatorRequest:
    """Put up a halt: ``scope``, ``reason``, ``flatten`` and ``minutes``, each of which may be missing.

    It is whole and on the disk when this returns, beside those that are up already. Raises ``OSError``.
    """
    flag = flag_path(database)
    request_id = uuid4().hex
    request = OperatorRequest(
        request_id, RequestKind.HALT, _arguments(arguments, flag.name), _words(asked_by) or "halt file", at
    )
    told = {
        "request_id": request_id,
        "arguments": request.arguments,
        "asked_by": request.asked_by,
        "asked_at": at.isoformat(),
    }
    draft = database.with_name(f".{database.name}.{os.getpid()}.{request_id}.halt.new")
    try:
        with draft.open("x", encoding="utf-8") as file:
            json.dump(told, file)
            file.flush()
            os.fsync(file.fileno())
        if not _take_name(draft, flag):
            draft.replace(flag.with_name(f"{flag.name}.{request_id}"))
            _keep_first_name_taken(database)  # the flag that had it may be coming down right now
    finally:
        draft.unlink(missing_ok=True)
    _sync_directory(flag.parent)
    return request


def flagged(database: Path, look_around: bool = False) -> list[OperatorRequest]:
    """The halts that are asked for, oldest first.

    One look where there is none. ``look_around`` also finds what a killed process left under further names alone.
    """
    if not look_around and not os.path.lexists(f"{database}.halt"):
        return []
    asked = {flag.request.request_id: flag.request for flag in _flags(database)}
    return sorted(asked.values(), key=lambda request: (request.asked_at, request.request_id))


def take_down(database: Path, request_id: str) -> None:
    """Remove the flag of one request; the others stay up. Raises ``OSError`` where it cannot be removed."""
    for flag in list(_flags(database)):
        if flag.request.request_id == request_id:
            flag.path.unlink(missing_ok=True)
    _keep_first_name_taken(database)


def _flags(database: Path) -> Iterator[_Flag]:
    for path in _paths(database):
        with contextlib.suppress(FileNotFoundError):  # taken down since it was listed
            yield _Flag(path, _read(path))


def _paths(database: Path) -> list[Path]:
    flag = flag_path(database)
    further = [
        path
        for path in flag.parent.glob(f"{glob.escape(flag.name)}.*")
        if _REQUEST_ID.fullmatch(path.name.removeprefix(f"{flag.name}."))
    ]
    return [flag, *sorted(further)] if os.path.lexists(flag) else sorted(further)


def _read(path: Path) -> OperatorRequest:
    """What one file asks for; raises ``FileNotFoundError`` alone."""
    about = os.lstat(path)
    content = b""
    try:
        # A pipe would be waited for, and something else has nothing to say: being there is enough.
        if stat.S_ISREG(path.stat().st_mode):
            with path.open("rb") as file:
                content = file.read(_LONGEST_READ)
        told = _told(content)
    except OSError as error:
        told = {"reason": f"halt file {path.name}, which cannot be read: {error.strerror or error}"}
    named = path.name.rpartition(".")[2]
    request_id = next(
        (it for it in (told.get("request_id"), named) if isinstance(it, str) and _REQUEST_ID.fullmatch(it)),
        blake2s(content + f"|{about.st_mtime_ns}|{about.st_ctime_ns}".encode(), digest_size=16).hexdigest(),
    )
    arguments = told.get("arguments", told)
    return OperatorRequest(
        request_id,
        RequestKind.HALT,
        _arguments(arguments if isinstance(arguments, dict) else {}, path.name),
        _words(told.get("asked_by")) or _owner(path),
        _moment(told.get("asked_at")) or datetime.fromtimestamp(min(max(about.st_mtime, 0), _LATEST), UTC),
    )


def _told(content: bytes) -> dict[str, Any]:
    """The JSON object in the file; a text that is none is the reason."""
    text = content.decode("utf-8", errors="replace").lstrip("\ufeff")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {"reason": text}
    if isinstance(told, dict):
        return told
    return {"reason": told if isinstance(told, str) else text}


def _arguments(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The arguments of a halt: those that make sense, and for the others what halts most."""
    scope, minutes = _words(told.get("scope")), told.get("minutes")
    lasts = isinstance(minutes, int | float) and not isinstance(minutes, bool) and 0 < minutes <= _LONGEST_MINUTES
    return {
        "scope": scope if scope and _SCOPE.fullmatch(scope) else "all",
        "reason": _words(told.get("reason")) or f"halt file {name}",
        "flatten": str(told.get("flatten")).strip().lower() in ("true", "1", "yes", "on"),
        "minutes": minutes if lasts else None,
    }


def _words(value: object) -> str:
    """A text that every table can hold, on one line; empty where it is none."""
    if not isinstance(value, str):
        return ""
    return " ".join(value.encode("utf-8", errors="replace").decode().replace("\0", " ").split())[:_LONGEST_WORDS]


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return None if moment is None or moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError, NotImplementedError):  # a user without a name, or a system without owners
        return "halt file"


def _keep_first_name_taken(database: Path) -> None:
    """Give the first name to one of the further flags where no flag has it."""
    flag = flag_path(database)
    while not os.path.lexists(flag):
        further = _paths(database)
        if not further:
            return
        with contextlib.suppress(FileNotFoundError):  # another process does the same
            if _take_name(further[0], flag):
                further[0].unlink(missing_ok=True)


def _take_name(file: Path, name: Path) -> bool:
    """Let ``file`` be found at ``name`` too, unless a flag is there already."""
    try:
        os.link(file, name)  # unlike a rename, never replaces another flag
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(name):
            return False
        file.rename(name)
    return True


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # not every system lets a directory be synced; the file itself is on the disk
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
