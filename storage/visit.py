"""Reading a database wherever it is: the file when it is free, the door of the process that holds it otherwise.

The rule: whoever asks does not notice which. Between two attempts a session may begin or end; then it is tried again.
"""

import functools
import re
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from storage.connection import Connection, first_lines
from storage.door_sign import LEAVING, DoorSign, read_sign
from storage.extensions import ExtensionMissing, load_quack, quoted
from storage.giving_way import GaveWay, giving_way, is_wanted
from storage.ledger import DuckLedger
from storage.schema import migrate
from storage.store import Store, open_store
from trading.errors import ConfigurationError, StoreBusy, StoreError

Answered = TypeVar("Answered")

_TRIED_FOR_SECONDS = 3.0
_TRIED_EVERY_SECONDS = 0.05
_ANSWER_AWAITED_SECONDS = 60
"""Longer than any question may take behind the door."""
_known_doors: set[DoorSign] = set()
"""Doors behind which the tables are those that this version knows."""


class DoorGone(StoreError):
    """Nobody answers behind the door's sign, or no longer."""


class Visit(Connection):
    """A database behind its door: reads as ``Connection`` does, and cannot write."""

    def __init__(self, path: Path, sign: DoorSign) -> None:
        self.path = path
        self.read_only = True
        self._sign = sign
        self._doorway = None
        self._raw = _asking().cursor()
        self._raw.execute("SET TimeZone = 'UTC'")
        self._raw.execute("SET enable_progress_bar = false")

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of one reading statement, as of the last commit."""
        return self._told(_filled_in(sql, parameters)).fetchall()

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """The result of one reading statement as Arrow columns, as of the last commit."""
        return self._told(_filled_in(sql, parameters)).to_arrow_table()

    def answer(self, sql: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Column names and rows of one statement that a person wrote; raises ``ConfigurationError`` as the file does."""
        try:
            statements = self._raw.extract_statements(sql)
        except duckdb.Error as error:
            raise ConfigurationError(f"The query has no answer: {first_lines(error, 4)}.") from error
        if len(statements) > 1 and not all(statement.query for statement in statements):
            raise _not_let_in(self.path)  # one statement that DuckDB works off as several, a PIVOT
        if len(statements) != 1:
            raise ConfigurationError(f"One query at a time: {len(statements)} were given. Ask them one after another.")
        if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            raise _not_let_in(self.path)
        try:
            result = self._told(sql)
            return tuple(column[0] for column in result.description or ()), result.fetchall()
        except _Refused as error:
            raise _not_let_in(self.path) from error
        except DoorGone:
            raise
        except StoreError as error:
            raise ConfigurationError(f"The query has no answer: {str(error).rstrip('.')}.") from error

    def hand_in(self, insert: str) -> None:
        """Send the one kind of INSERT that is let in; it is committed when this returns."""
        self._told(insert).fetchall()

    def attach_to(self, raw: duckdb.DuckDBPyConnection, name: str) -> None:
        """Attach the holder's database to another DuckDB of this process that has Quack, over a connection of its own."""
        _set_asking(raw)
        raw.execute(f"ATTACH 'quack:127.0.0.1:{self._sign.port}' AS {name} (TOKEN {quoted(self._sign.token)})")

    def close(self) -> None:
        """Leave."""
        self._raw.close()

    def _told(self, sql: str) -> duckdb.DuckDBPyConnection:
        where = f"'quack:127.0.0.1:{self._sign.port}', {quoted(sql)}, token = {quoted(self._sign.token)}"
        try:
            return self._raw.execute(f"FROM quack_query({where})")
        except duckdb.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: duckdb.Error) -> StoreError:
        text = re.split(r"\n+LINE 1: FROM quack_query\(", str(error))[0].removeprefix("Invalid Input Error: ").strip()
        refused = "Authorization failed" in text
        left = LEAVING in text or (refused and read_sign(self.path) != self._sign)
        if left or "Authentication failed" in text or isinstance(error, duckdb.IOException | duckdb.HTTPException):
            return DoorGone(f"Nobody answers for {self.path}: {first_lines(text)}.")
        if refused:
            return _Refused(f"The holder of {self.path} did not let it in.")
        return StoreError(first_lines(text, 4))


class _Refused(StoreError):
    """The holder did not let the text in."""


def read_from(path: Path, question: Callable[[Store], Answered], older_too: bool = False) -> Answered:
    """What ``question`` finds in the database at ``path``, opened read-only or visited through its holder's door.

    With ``older_too`` a database that an older version left is read as it is. ``question`` may be called again when the holder ends or another begins in the middle of it. Raises ``StoreBusy``
    where the database is held by a process that lets nobody in, or another ``StoreError``.
    """
    deadline = time.monotonic() + _TRIED_FOR_SECONDS
    while True:
        try:
            if not is_wanted(path) or time.monotonic() > deadline:
                with open_store(path, True, older_too) as store, giving_way(store.connection):
                    return question(store)
        except GaveWay:
            deadline = time.monotonic() + _TRIED_FOR_SECONDS
        except StoreBusy as busy:
            sign = read_sign(path)
            late = time.monotonic() > deadline
            if sign is None and late:
                raise StoreBusy(
                    f"{str(busy).split(';')[0]}, and its door is not open: `[store] serve` is off there, its log says why, "
                    "or it is no session. Wait until it is done, or ask a copy that `openbell snapshot FILE` wrote before."
                ) from busy
            if sign is not None:
                asked_at = time.monotonic()
                try:
                    return question(_visited(path, sign))
                except DoorGone as gone:
                    if time.monotonic() - asked_at > _TRIED_FOR_SECONDS:  # it was there, and left in the middle
                        deadline = time.monotonic() + _TRIED_FOR_SECONDS
                    elif late:
                        raise StoreBusy(f"{busy} Its door did not answer: {gone}") from gone
                except ExtensionMissing as missing:
                    raise StoreBusy(
                        f"{str(busy).split(';')[0]}. It could be asked all the same, but: {missing} Or wait until it is "
                        "done, or ask a copy that `openbell snapshot FILE` wrote where the extension is there."
                    ) from missing
        time.sleep(_TRIED_EVERY_SECONDS)


def visit(path: Path) -> Visit | None:
    """A visit to the holder of the database, None where no door is open. Raises ``ExtensionMissing``."""
    sign = read_sign(path)
    return None if sign is None else Visit(path, sign)


def _visited(path: Path, sign: DoorSign) -> Store:
    visited = Visit(path, sign)
    if sign not in _known_doors:
        migrate(visited)  # writes nothing: it says where this openbell and the holder's differ
        _known_doors.add(sign)
    return Store(path, visited, DuckLedger(visited))


@functools.cache
def _asking() -> duckdb.DuckDBPyConnection:
    """The DuckDB that asks: in memory, once a process."""
    raw = duckdb.connect(config={"autoinstall_known_extensions": False, "memory_limit": "1GB", "threads": 2})
    load_quack(raw)
    _set_asking(raw)
    return raw


def _set_asking(raw: duckdb.DuckDBPyConnection) -> None:
    # A question is never sent twice: the first may still be on its way, or be the row that was handed in.
    raw.execute("SET http_retries = 0")
    raw.execute(f"SET http_timeout = {_ANSWER_AWAITED_SECONDS}")
    raw.execute("SET http_proxy = ''")


def _not_let_in(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"The query has no answer: a session holds {path}, and through its door only questions are let in that read the "
        "database alone (SELECT, FROM, WITH, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN; no files, and PIVOT only while no session runs). "
        "Ask when the session is over, or ask a copy that `openbell snapshot FILE` writes."
    )


def _filled_in(sql: str, parameters: Sequence[object]) -> str:
    """``sql`` with its parameters (``?`` or ``$1``) as literals: text is all that goes through the door."""
    if not parameters:
        return sql
    if "$1" in sql:
        return re.sub(r"\$(\d+)", lambda found: _literal(parameters[int(found[1]) - 1]), sql)
    pieces = sql.split("?")
    if len(pieces) != len(parameters) + 1:
        raise ValueError(f"{len(parameters)} parameters for {len(pieces) - 1} places")
    return pieces[0] + "".join(_literal(value) + piece for value, piece in zip(parameters, pieces[1:], strict=True))


def _literal(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return str(value)
        case str():
            return quoted(value)
        case datetime():
            return f"TIMESTAMPTZ {quoted(value.isoformat())}"
        case date():
            return f"DATE {quoted(value.isoformat())}"
        case list() | tuple():
            return f"[{', '.join(map(_literal, value))}]"
        case _:
            raise TypeError(f"{type(value).__name__} cannot be asked with through a door")
