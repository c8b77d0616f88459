"""One connection to one DuckDB file, and the one place where DuckDB's errors become words for a person.

The rule: work is done inside ``transaction()``, which leaves either everything or nothing behind, and a usable
connection in both cases.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from trading.errors import ConfigurationError, StoreBusy, StoreError, StoreTooNew

CONFIG: dict[str, str | bool | int | float | list[str]] = {
    # Modest on purpose: the machine also runs Prefect, and a ledger of years needs no more.
    "memory_limit": "1GB",
    # Never reach for the network.
    "autoinstall_known_extensions": False,
}
"""How every database is opened here."""
_THREADS_WRITING = 1
"""Handing a few rows to a pool of threads costs more than writing them."""
_THREADS_READING = 2
_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.005
_FIRST_BLOCK_AT = 3 * 4096
"""DuckDB's three header pages come before its blocks."""
_WAITED_FOR_VISITORS_SECONDS = 3.0
_stuck: set[Path] = set()
"""Files that this process cannot open any more: DuckDB would wait without end."""


class RepeatedFact(StoreError):
    """A key is there already: the transaction wrote nothing and can be done again with repeats absorbed."""


class ConflictingWrite(StoreError):
    """Another transaction changed the same row first: this one wrote nothing and can be done again from its start."""


class Doorway(Protocol):
    """Where others come in while the file is open (``storage.door``)."""

    def open_on(self, raw: duckdb.DuckDBPyConnection) -> None:
        """Let others in."""
        ...

    def shut(self) -> None:
        """Send everybody away: DuckDB lets go of the file only when nobody uses it any more."""
        ...


class Connection:
    """A DuckDB file, opened. Used by one thread at a time: a second one waits until a transaction is over.

    It has two hands on the file: one reads what is committed, one writes. The writing one plans its statements without
    the optimizer, which has nothing to find in an INSERT of a few rows and takes half of its time.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._parsed: dict[str, duckdb.Statement] = {}
        self._in_use = threading.RLock()
        self._doorway: Doorway | None = None
        self._is_over = False
        self._reader, self._writer = self._open()

    def _open(self) -> tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection]:
        with translated(self.path, "opened"):
            if self.path.resolve() in _stuck:
                raise StoreError(
                    f"DuckDB gave the database {self.path} up, after a full disk or the like, and does not let go of it in this "
                    "process. What was committed is intact. Run the command again."
                )
            threads = _THREADS_READING if self.read_only else _THREADS_WRITING
            reader = duckdb.connect(str(self.path), self.read_only, CONFIG | {"threads": threads})
            try:
                writer = reader.cursor()
                for hand in (reader, writer):
                    hand.execute("SET TimeZone = 'UTC'")
                    hand.execute("SET enable_progress_bar = false")  # it would be printed into the answer
                writer.execute("PRAGMA disable_optimizer")
                self._require_whole_file(reader)
            except BaseException:
                reader.close()
                raise
            return reader, writer

    def _require_whole_file(self, raw: duckdb.DuckDBPyConnection) -> None:
        """DuckDB notices missing blocks only when a query reaches for them: too late for a ledger.

        Only blocks in use are counted: free ones at the end are numbered and need never have been written.
        """
        row = raw.execute("SELECT used_blocks * block_size FROM pragma_database_size()").fetchone()
        expected = _FIRST_BLOCK_AT + (row[0] if row else 0)
        actual = self.path.stat().st_size
        if actual < expected:
            raise StoreError(
                f"The database {self.path} is truncated: it has {actual:,} bytes and says that it needs {expected:,}. "
                "Restore it from a copy, or name another file with --db."
            )

    def execute(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> duckdb.DuckDBPyConnection:
        """Run one statement inside a ``transaction()``; DuckDB's errors are translated there."""
        statement = self._parsed.get(sql)
        if statement is None:
            [statement] = self._writer.extract_statements(sql)
            self._parsed[sql] = statement
        return self._writer.execute(statement, parameters)

    def execute_planned(self, sql: str, parameters: Sequence[object] = ()) -> duckdb.DuckDBPyConnection:
        """``execute`` with the optimizer: for statements that look for rows in a table that grows."""
        self._writer.execute("PRAGMA enable_optimizer")
        done = self._writer.execute(sql, parameters)
        self._writer.execute("PRAGMA disable_optimizer")  # where the statement failed, the rollback sees to it
        return done

    def run_script(self, sql: str) -> None:
        """Run several statements inside a ``transaction()``."""
        self._writer.execute(sql)

    def load(self, rows: pa.Table, sql: str) -> None:
        """Run ``sql`` inside a ``transaction()`` with ``rows`` visible to it under the name ``arriving``."""
        self._writer.register("arriving", rows)
        try:
            self.execute_planned(sql)
        finally:
            with contextlib.suppress(duckdb.Error):  # the transaction was broken already; the error above tells
                self._writer.unregister("arriving")

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of one reading statement, as of the last commit."""
        with self._in_use, translated(self.path, "read"):
            return self._reader.execute(sql, parameters).fetchall()

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """The result of one reading statement as Arrow columns, as of the last commit."""
        with self._in_use, translated(self.path, "read"):
            return self._reader.execute(sql, parameters).to_arrow_table()

    def answer(self, sql: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Column names and rows of one statement that a person wrote; nothing outside the database is let in.

        Raises ``ConfigurationError`` with DuckDB's words where the statement is wrong, or is not one statement.
        """
        try:
            self._reader.execute("SET enable_external_access = false")
            statements = self._reader.extract_statements(sql)
            if len(statements) != 1:
                raise ConfigurationError(
                    f"One query at a time: {len(statements)} were given. Ask them one after another."
                )
            result = self._reader.execute(statements[0])
            return tuple(column[0] for column in result.description or ()), result.fetchall()
        except duckdb.Error as error:
            raise ConfigurationError(f"The query has no answer: {first_lines(error, 4)}.") from error

    @contextlib.contextmanager
    def transaction(self, claim: Callable[[], None] | None = None) -> Iterator[None]:
        """Everything inside is written together, or nothing of it.

        ``claim`` comes first and changes a row that all who must not write at once change: another that is just doing so
        is waited for. It has to be a change indeed: DuckDB passes over an UPDATE that leaves every value as it was. Raises
        ``RepeatedFact`` where a key is taken, ``ConflictingWrite`` where another changed the same row first, ``StoreError``
        otherwise; the connection can be used again.
        """
        with self._in_use, translated(self.path, "written"):
            try:
                self._begin(claim)
                yield
                self._writer.execute("COMMIT")
            except BaseException:
                self._recover()
                raise

    def _begin(self, claim: Callable[[], None] | None) -> None:
        give_up_at = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self._writer.execute("BEGIN")
            if claim is None:
                return
            try:
                claim()
                return
            except duckdb.TransactionException:  # another changes the same row: whoever it is commits or goes back
                if time.monotonic() > give_up_at:
                    raise
                with contextlib.suppress(duckdb.Error):  # DuckDB has gone back by itself where the conflict broke it
                    self._writer.execute("ROLLBACK")
                time.sleep(_PAUSE_SECONDS)

    def _recover(self) -> None:
        """Back to the last commit. A full disk can make DuckDB give up the whole instance: then open it again.

        What was closed stays closed: another process may have the file by now.
        """
        with contextlib.suppress(duckdb.Error):  # a failed COMMIT has rolled back already
            self._writer.execute("ROLLBACK")
        try:
            self._writer.execute("PRAGMA disable_optimizer")
            self._reader.execute("SELECT 1")
        except duckdb.Error:
            if self._is_over:
                return
            self._let_go()
            with contextlib.suppress(StoreError):  # the error that led here is the one to tell
                self._open_again()

    def _open_again(self) -> None:
        """Open the file anew after DuckDB gave it up, and the door with it.

        DuckDB waits for everybody who still uses what it gave up, and a visitor who was cut off stays on its list for
        ever. So this waits for a while only; after that the file can be opened by another process alone.
        """
        if self._doorway is None:
            self._reader, self._writer = self._open()
            return
        opened: Future[tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection]] = Future()

        def open_it() -> None:
            try:
                opened.set_result(self._open())
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                opened.set_exception(error)

        threading.Thread(target=open_it, daemon=True).start()
        try:
            self._reader, self._writer = opened.result(_WAITED_FOR_VISITORS_SECONDS)
        except TimeoutError:
            _stuck.add(self.path.resolve())
            return
        self._doorway.open_on(self._reader)

    def interrupt(self) -> None:
        """End what is being read, which fails then. May be called from another thread."""
        self._reader.interrupt()

    def let_in(self, doorway: Doorway | None) -> None:
        """Let others in through ``doorway`` as long as the file is open; None shuts the one that is there."""
        if self._doorway is not None:
            self._doorway.shut()
        self._doorway = doorway
        if doorway is not None:
            doorway.open_on(self._reader)

    def close(self) -> None:
        """Let go of the file for good. What was committed is in it, or in the log beside it that the next opening reads."""
        with self._in_use:  # whatever another thread is writing is written first
            self._is_over = True
            self._let_go()

    def _let_go(self) -> None:
        if self._doorway is not None:
            self._doorway.shut()
        for hand in (self._writer, self._reader):
            with contextlib.suppress(duckdb.Error):  # a checkpoint that fails on a full disk loses nothing
                hand.close()


@contextlib.contextmanager
def translated(path: Path, verb: str) -> Iterator[None]:
    """DuckDB's exceptions as ours; ``verb`` says what could not be done with the file."""
    try:
        yield
    except duckdb.ConstraintException as error:
        raise RepeatedFact(
            f"The database {path} could not be {verb}: {first_lines(error)}. Nothing of it stayed."
        ) from error
    except duckdb.Error as error:
        if isinstance(error, duckdb.TransactionException) and "constraint violat" in str(error):  # found at the COMMIT
            raise RepeatedFact(
                f"The database {path} could not be {verb}: {first_lines(error)}. Nothing of it stayed."
            ) from error
        explained = _explained(path, verb, error)
        if isinstance(error, duckdb.TransactionException) and "conflict" in str(error).lower():
            raise ConflictingWrite(str(explained)) from error
        raise explained from error
    except pa.ArrowInvalid as error:  # a number that its column cannot hold, found while many rows are made ready
        raise StoreError(f"The database {path} could not be {verb}: {error}. Nothing of it stayed.") from error


def _explained(path: Path, verb: str, error: duckdb.Error) -> StoreError:
    text = str(error)
    lowered = text.lower()
    if "could not set lock" in lowered or "different configuration" in lowered:
        holder = re.search(r"\(PID (\d+)\)", text)
        who = (
            f"process {holder[1]}"
            if holder
            else "this very process"
            if "configuration" in lowered
            else "another process"
        )
        return StoreBusy(
            f"The database {path} is held by {who}; DuckDB lets one process at a time in. "
            "Wait until it is done or end it, or name another file with --db."
        )
    if versions := re.search(r"with version number (\S+), but we can only read versions? ([^.]+)", text):
        return StoreTooNew(
            f"The database {path} has DuckDB storage version {versions[1]} and this DuckDB reads {versions[2].strip()}. "
            "Update openbell, or name another file with --db."
        )
    if any(sign in lowered for sign in ("no space left", "file too large", "disk quota", "not enough space")):
        return StoreError(
            f"The disk is full: the database {path} could not be {verb} ({first_lines(error)}). The last step was rolled back "
            "and what was committed before is intact. Make room and run the same command again."
        )
    if "not a valid duckdb" in lowered:
        return StoreError(
            f"The file {path} is not a DuckDB database. Name another file with --db, or move this one away to start a new one."
        )
    if (
        "corrupt" in lowered
        or "could not read enough bytes" in lowered
        or isinstance(error, duckdb.SerializationException)
    ):
        return StoreError(
            f"The database {path} is damaged or truncated: {first_lines(error)}. Restore it from a copy, "
            "or name another file with --db."
        )
    if "is a directory" in lowered:
        return StoreError(f"{path} is a directory, not a database file. Name a file in it with --db.")
    if "no such file" in lowered or "not a directory" in lowered:
        return StoreError(
            f"There is no directory {path.parent} for the database {path.name}. Create it, or name another file with --db."
        )
    if any(sign in lowered for sign in ("permission denied", "read-only file system", "operation not permitted")):
        return StoreError(
            f"The database {path} may not be {verb}: {first_lines(error)}. "
            f"Allow writing to {path.name} and to its directory {path.parent}, or name another file with --db."
        )
    return StoreError(
        f"The database {path} could not be {verb}: {first_lines(error)}. What was committed before is intact."
    )


def first_lines(error: duckdb.Error | str, count: int = 2) -> str:
    """DuckDB's own words without its stack traces and hints at its manual."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:count]).rstrip(".")
