"""The ledger and its simulated accounts as a folder of Parquet files, also while a session trades.

The rule: a folder under its final name is a whole backup. It is written under another name, put to the disk, and named last.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import duckdb

from storage.backup_manifest import (
    ACCOUNTS,
    FORMAT,
    SUMS,
    TABLES,
    BackedAccount,
    BackedTable,
    BackupManifest,
    hash_of,
    write_manifest,
)
from storage.backups_kept import backups_in, remove_abandoned
from storage.connection import CONFIG, first_lines
from storage.door_sign import read_sign
from storage.extensions import quoted
from storage.giving_way import giving_way
from storage.questions import accounts_of
from storage.schema import database_made_at, migrations, require_readable
from storage.snapshot import MADE_BY_MIGRATING, standing_still
from storage.store import Store
from storage.visit import DoorGone, Visit, read_from
from trading.errors import ConfigurationError, OpenbellError, StoreError

CopyAccounts = Callable[[Sequence[str], Path], Mapping[str, str]]
"""Puts a copy of each named account that is simulated into a folder; the copies' file names by account."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is there."""

    folder: Path
    manifest: BackupManifest


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What was copied of the ledger, all of one moment."""

    schema_version: int
    made_at: datetime  # the database, not the copy
    rows: Mapping[str, int]
    accounts: Sequence[str]
    bundles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Reading:
    """The DuckDB that copies, for whoever must be given way to."""

    path: Path
    raw: duckdb.DuckDBPyConnection

    def interrupt(self) -> None:
        self.raw.interrupt()


def write_backup(path: Path, folder: Path, made_at: datetime, copy_accounts: CopyAccounts) -> Backup:
    """Back the database at ``path`` up into the new folder ``folder``, with the simulated accounts that it knows.

    The tables are of one moment between two commits. The accounts are copied after them: a broker that is ahead of its ledger
    is what reconciling mends. A session that wants the file gets it, and is asked through its door instead. Raises
    ``ConfigurationError`` where ``folder`` cannot be a new one, ``StoreError`` where something cannot be read or written; then
    there is no new folder.
    """
    if not path.exists():
        raise StoreError(f"There is no database {path} to back up. Name another file with --db.")
    _require_room_for(folder)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    try:
        remove_abandoned(folder.parent)
        ledger = read_from(path, lambda store: _copied(store, folder, draft), older_too=True)
        with _said_of(folder, draft):
            manifest = _manifest(path, draft, ledger, made_at, copy_accounts)
            write_manifest(draft, manifest)
            _to_the_disk(draft)
            os.rename(draft, folder)  # never takes the place of a folder that has something in it
            _sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Backup(folder, manifest)


def backups_of(path: Path, folder: Path) -> dict[Path, BackupManifest]:
    """The backups in ``folder`` of the very database at ``path``, oldest first: another may have its name, and lie elsewhere.

    Raises ``StoreError`` where the database cannot be asked.
    """
    found = backups_in(folder, path.name)
    if not found:
        return {}
    made = read_from(path, lambda store: database_made_at(store.connection), older_too=True)
    return {
        backup: manifest
        for backup, manifest in found.items()
        if (manifest.database_in, manifest.database_made_at) == (_folder_of(path), made)
    }


def _folder_of(path: Path) -> str:
    return str(path.absolute().parent.resolve())


def _require_room_for(folder: Path) -> None:
    if not folder.parent.is_dir():
        raise ConfigurationError(
            f"There is no directory {folder.parent} for the backup {folder.name}. Create it, or name another folder."
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file. Name a new folder for the backup.")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(
            f"The folder {folder} is there already and has something in it. Name a new one: no backup is written over."
        )


def _copied(store: Store, folder: Path, draft: Path) -> _Ledger:
    """All tables as Parquet files; begins anew where it is called again."""
    shutil.rmtree(draft, ignore_errors=True)
    sign = read_sign(store.path)
    with (
        _said_of(folder, draft),
        duckdb.connect(config=CONFIG | {"threads": 1}) as raw,
        giving_way(_Reading(store.path, raw)) if not isinstance(store.connection, Visit) else contextlib.nullcontext(),
    ):
        (draft / TABLES).mkdir(parents=True)
        raw.execute("SET TimeZone = 'UTC'")
        raw.execute("SET enable_progress_bar = false")  # it would be printed into the answer
        raw.execute(f"SET temp_directory = {quoted(str(draft / 'spilled'))}")
        at = require_readable(store.connection)
        named = store.connection.rows(
            # Behind a door there is a database more, of answers.
            "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND database_name = current_database()"
            " AND table_name <> ? ORDER BY table_name",
            [MADE_BY_MIGRATING],
        )
        try:
            with standing_still(store, raw) as source:
                rows = {table: _copy_table(raw, source.format(table=table), draft, table) for (table,) in named}
        except duckdb.Error as error:
            if sign is not None and read_sign(store.path) != sign:
                raise DoorGone(f"The session that held {store.path} ended: {first_lines(error)}.") from error
            raise
        accounts, bundles = accounts_of(store), _bundles(store, at)
        made = database_made_at(store.connection)
    return _Ledger(at, made, rows, accounts, bundles)


def _copy_table(raw: duckdb.DuckDBPyConnection, source: str, draft: Path, table: str) -> int:
    file = draft / TABLES / f"{table}.parquet"
    row = raw.execute(f"COPY (FROM {source}) TO {quoted(str(file))} (FORMAT parquet, COMPRESSION zstd)").fetchone()
    return int(row[0]) if row else 0


def _bundles(store: Store, schema_version: int) -> dict[str, str]:
    """Where the registered policies were, by fingerprint; versions before the fifth had none."""
    if schema_version < 5:
        return {}
    return dict(store.connection.rows("SELECT fingerprint, path FROM policies ORDER BY fingerprint"))


def _manifest(
    path: Path, draft: Path, ledger: _Ledger, made_at: datetime, copy_accounts: CopyAccounts
) -> BackupManifest:
    (draft / ACCOUNTS).mkdir()
    copies = copy_accounts(ledger.accounts, draft / ACCOUNTS)
    tables = {}
    for name, rows in ledger.rows.items():
        file = draft / TABLES / f"{name}.parquet"
        _require_rows(file, rows)
        tables[name] = BackedTable(bytes=file.stat().st_size, sha256=hash_of(file), rows=rows)
    accounts = {}
    for account, name in copies.items():
        file = draft / ACCOUNTS / name
        accounts[account] = BackedAccount(bytes=file.stat().st_size, sha256=hash_of(file), file=name)
    return BackupManifest(
        format=FORMAT,
        made_at=made_at,
        openbell=version("openbell"),
        duckdb=duckdb.__version__,
        database=path.name,
        database_in=_folder_of(path),
        database_made_at=ledger.made_at,
        schema_version=ledger.schema_version,
        steps={step.version: step.checksum for step in migrations() if step.version <= ledger.schema_version},
        tables=tables,
        accounts=accounts,
        bundles=dict(ledger.bundles),
    )


def _require_rows(file: Path, rows: int) -> None:
    """Read the file back: a backup that says another number than was copied is none."""
    found = duckdb.sql(f"SELECT count(*) FROM read_parquet({quoted(str(file))})").fetchone()
    if found is None or found[0] != rows:
        raise StoreError(f"{file.name} holds {found and found[0]} rows, and {rows} were copied. Back up again.")


def _to_the_disk(draft: Path) -> None:
    """What is named next must not be lost to a power cut. The sums are written last and so are there last."""
    assert (draft / SUMS).exists()
    for folder, _, files in os.walk(draft, topdown=False):
        for name in files:
            _sync(Path(folder, name))
        _sync(Path(folder))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _said_of(folder: Path, draft: Path) -> Iterator[None]:
    """Failures of writing in words about ``folder``; what is ours already goes on as it is."""
    try:
        yield
    except OpenbellError:
        raise
    except (duckdb.Error, OSError) as error:
        text = first_lines(error) if isinstance(error, duckdb.Error) else str(error.strerror or error)
        text = text.replace(str(draft), str(folder))
        if any(sign in text.lower() for sign in ("no space left", "file too large", "disk quota", "not enough space")):
            raise StoreError(
                f"The disk is full: the backup {folder} could not be written. Nothing of it stayed. Make room, or name a folder "
                "on another disk."
            ) from error
        raise StoreError(
            f"The backup {folder} could not be written: {text}. Nothing of it stayed. Name another folder."
        ) from error
