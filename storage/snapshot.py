"""A copy of the whole database at one moment, for any other tool, also while a session trades.

The rule: what is in the copy was all there at one point between two commits. The copy gets its name when it is whole.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb

from storage.connection import CONFIG, Connection, translated
from storage.extensions import load_quack, quoted
from storage.schema import migrate
from storage.store import Store, give_name
from storage.visit import Visit, read_from
from trading.errors import ConfigurationError, StoreError

MADE_BY_MIGRATING = "schema_migrations"
"""The one table that is never copied: the copy's own migrations write it."""


def write_snapshot(path: Path, copy: Path, replace: bool = False) -> dict[str, int]:
    """Copy the database at ``path``, wherever it is, into the new file ``copy``; returns rows by table.

    Tables, views, macros and comments are all there. Raises ``ConfigurationError`` where ``copy`` cannot be a new file, or
    exists and ``replace`` is not said, ``StoreError`` where either cannot be opened; then there is no new file.
    """
    _require_room_for(path, copy, replace)
    draft = copy.with_name(f".{copy.name}.{os.getpid()}.new")
    try:
        rows = read_from(path, lambda store: _copied(store, draft))
        if replace:
            draft.replace(copy)
        else:
            give_name(draft, copy)
    except FileExistsError as error:
        raise ConfigurationError(f"The file {copy} appeared meanwhile. Name another one.") from error
    except OSError as error:
        raise StoreError(
            f"The copy {copy} could not be written: {error.strerror or error}. Name another file."
        ) from error
    except StoreError as error:
        said = str(error).replace(f"database {draft}", f"copy {copy}").replace(str(draft), str(copy))
        raise type(error)(said.replace(draft.name, copy.name)) from error
    finally:
        _remove(draft)
    return rows


def _require_room_for(path: Path, copy: Path, replace: bool) -> None:
    if not copy.parent.is_dir():
        raise ConfigurationError(
            f"There is no directory {copy.parent} for the copy {copy.name}. Create it, or name another file."
        )
    if not copy.exists():
        return
    if copy.is_dir():
        raise ConfigurationError(f"{copy} is a directory. Name a file in it for the copy.")
    if not copy.is_file():
        raise ConfigurationError(f"{copy} is no ordinary file. Name another one for the copy.")
    if path.exists() and copy.samefile(path):
        raise ConfigurationError(f"{copy} is the database itself. Name another file for the copy.")
    if not replace:
        raise ConfigurationError(f"The file {copy} is there already. Name another one, or write over it with --force.")


def _copied(store: Store, draft: Path) -> dict[str, int]:
    """Fill a new database at ``draft``; rows by table."""
    _remove(draft)
    connection = Connection(draft)
    try:
        migrate(connection)
        tables = [
            name
            for (name,) in connection.rows(
                "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND table_name <> ? ORDER BY table_name",
                [MADE_BY_MIGRATING],
            )
        ]
    finally:
        connection.close()
    with translated(draft, "written"), duckdb.connect(str(draft), config=CONFIG | {"threads": 1}) as raw:
        raw.execute("SET TimeZone = 'UTC'")
        raw.execute("SET enable_progress_bar = false")  # it would be printed into the answer
        with standing_still(store, raw) as source:
            raw.execute("BEGIN")
            rows = {table: _copy_table(raw, table, source.format(table=table)) for table in tables}
            raw.execute("COMMIT")
        return rows


def _copy_table(raw: duckdb.DuckDBPyConnection, table: str, source: str) -> int:
    row = raw.execute(f"INSERT INTO main.{table} BY NAME FROM {source}").fetchone()
    return int(row[0]) if row else 0


@contextlib.contextmanager
def standing_still(store: Store, raw: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """The database as it is at one moment, attached to ``raw``; gives what reads all of ``{table}``."""
    if not isinstance(store.connection, Visit):
        # Open for reading, here and by ``store``: nobody can write meanwhile.
        raw.execute(f"ATTACH {quoted(str(store.path))} AS source (READ_ONLY)")
        yield "source.main.{table}"
        return
    load_quack(raw)
    store.connection.attach_to(raw, "source")
    # One transaction on the holder's side: all tables are seen as of its beginning, whatever is committed since.
    raw.execute("FROM quack_query_by_name('source', 'BEGIN TRANSACTION READ ONLY')").fetchall()
    yield "quack_query_by_name('source', 'FROM main.{table}')"
    raw.execute("FROM quack_query_by_name('source', 'COMMIT')").fetchall()


def _remove(draft: Path) -> None:
    for leftover in (draft, draft.with_name(draft.name + ".wal")):
        with contextlib.suppress(OSError):  # it was never made, or the directory is gone
            leftover.unlink(missing_ok=True)
