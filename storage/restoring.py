"""A backup made a database again: verified first, loaded into a file beside its name, compared, and named last.

The rule: nothing that is there is touched, and what gets the name holds exactly what the backup's files hold.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from storage.backup_manifest import ACCOUNTS, TABLES, BackupManifest, hash_of, read_manifest, require_whole
from storage.backups_kept import backups_in
from storage.connection import CONFIG, Connection, translated
from storage.extensions import quoted
from storage.schema import migrate, migrations
from storage.snapshot import MADE_BY_MIGRATING
from storage.store import give_name, open_store
from trading.errors import ConfigurationError, StoreError, StoreTooNew

_STORED_AS = {"JSON": "VARCHAR"}
"""What a type may be called in the file where that is another word for the same values."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore came to. ``bundles_missing``: policies that the ledger knows and whose folders are not here."""

    path: Path
    manifest: BackupManifest
    schema_version: int
    rows: Mapping[str, int]
    accounts: Mapping[str, Path]
    bundles_missing: Mapping[str, str]


def restore_backup(folder: Path, path: Path, account_path: Callable[[str], Path]) -> Restored:
    """Make the new database ``path`` of the backup in ``folder``; its simulated accounts go where ``account_path`` says.

    A backup of an older version is loaded into that version's tables and then brought to this one. Raises
    ``ConfigurationError`` where a file is there already, ``StoreTooNew`` for a backup of a newer version, ``StoreError`` where the
    backup is not whole or not what was written; then there is no new database.
    """
    manifest = _manifest_in(folder)
    _require_nothing_there(folder, path, manifest, account_path)
    _require_known_steps(folder, manifest)
    require_whole(folder, manifest)
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        _load(folder, draft, manifest)
        with open_store(draft) as store:  # from that version to this one
            version = migrations()[-1].version
            rows = _counted(store.connection)
            _ask_every_view(store.connection)
        # The accounts first: a ledger without its account would find a broker that has nothing.
        accounts = {
            account: _put_account(folder / ACCOUNTS / said.file, account_path(account))
            for account, said in manifest.accounts.items()
        }
        give_name(draft, path)
    except FileExistsError as error:
        raise ConfigurationError(f"The file {path} appeared meanwhile. Name another one with --db.") from error
    except OSError as error:
        raise StoreError(
            f"The database {path} could not be restored: {error.strerror or error}. Name another file with --db."
        ) from error
    except StoreError as error:
        raise type(error)(str(error).replace(str(draft), str(path)).replace(draft.name, path.name)) from error
    finally:
        for leftover in (draft, draft.with_name(f"{draft.name}.wal")):
            with contextlib.suppress(OSError):  # it was never made, or the directory is gone
                leftover.unlink(missing_ok=True)
    missing = {fingerprint: where for fingerprint, where in manifest.bundles.items() if not Path(where).is_dir()}
    return Restored(path, manifest, version, rows, accounts, missing)


def _manifest_in(folder: Path) -> BackupManifest:
    if not folder.is_dir():
        raise ConfigurationError(f"There is no backup {folder}. Name the folder of one.")
    inside = list(backups_in(folder))
    if inside and not (folder / TABLES).is_dir():
        raise ConfigurationError(
            f"{folder} holds {len(inside)} backups and is none itself. Name one of them; the newest is {inside[-1]}."
        )
    return read_manifest(folder)


def _require_nothing_there(
    folder: Path, path: Path, manifest: BackupManifest, account_path: Callable[[str], Path]
) -> None:
    if not path.parent.is_dir():
        raise ConfigurationError(f"There is no directory {path.parent} for the database {path.name}. Create it first.")
    for taken in (path, path.with_name(f"{path.name}.wal")):
        if taken.exists() or taken.is_symlink():
            raise ConfigurationError(
                f"The file {taken} is there already, and a restore writes over nothing. Name a new file with --db, or move that "
                "one away."
            )
    for account, said in manifest.accounts.items():
        place = account_path(account)
        # The very same account may be there: a restore that was killed had put it there.
        if place.exists() and hash_of(place) != said.sha256:
            raise ConfigurationError(
                f"The simulated account {place} is there already and is not the one of the backup {folder}. Name another database "
                "with --db, or move the account away."
            )


def _require_known_steps(folder: Path, manifest: BackupManifest) -> None:
    known = {step.version: step.checksum for step in migrations()}
    if manifest.schema_version > max(known):
        raise StoreTooNew(
            f"The backup {folder} has schema version {manifest.schema_version} and this openbell knows versions up to {max(known)}. "
            f"Update openbell (it was made by {manifest.openbell}), or restore an older backup."
        )
    if manifest.steps != {number: known[number] for number in range(1, manifest.schema_version + 1)}:
        raise StoreError(
            f"The backup {folder} was made of tables that other migrations made than this openbell has. Restore it with the openbell "
            f"that made it ({manifest.openbell})."
        )


def _load(folder: Path, draft: Path, manifest: BackupManifest) -> None:
    """All rows into tables of the backup's version, compared with the files afterwards."""
    connection = Connection(draft)
    try:
        migrate(connection, upto=manifest.schema_version)
        columns = _columns(connection)
    finally:
        connection.close()
    if set(columns) != set(manifest.tables):
        different = ", ".join(sorted(set(columns) ^ set(manifest.tables)))
        raise StoreError(
            f"The backup {folder} is not whole: its tables differ from schema version {manifest.schema_version} in {different}."
        )
    with translated(draft, "written"), duckdb.connect(str(draft), config=CONFIG | {"threads": 1}) as raw:
        raw.execute("SET TimeZone = 'UTC'")
        raw.execute("SET enable_progress_bar = false")  # it would be printed into the answer
        for table, types in columns.items():
            file = quoted(str(folder / TABLES / f"{table}.parquet"))
            _require_types(raw, folder, table, file, types)
            # No table refers to another, so any order is right; rows come in the order in which they were written, which
            # views and the ledger go by (rowid).
            raw.execute(f"INSERT INTO main.{table} BY NAME FROM read_parquet({file})")
            place = raw.execute(_fingerprint(f"main.{table}", "rowid", types)).fetchone()
            source = f"read_parquet({file}, file_row_number = true)"
            origin = raw.execute(_fingerprint(source, "file_row_number", types)).fetchone()
            if place != origin or place is None or place[0] != manifest.tables[table].rows:
                raise StoreError(
                    f"The table {table} of the backup {folder} was not restored as it is in its file: {place} against {origin} and "
                    f"{manifest.tables[table].rows} rows. Nothing was restored; report this."
                )


def _fingerprint(source: str, place: str, types: Mapping[str, str]) -> str:
    """Rows, and a hash over every value of every row and the row's place."""
    values = ", ".join(f'CAST("{name}" AS {kind})' for name, kind in types.items())
    return f"SELECT count(*), sum(hash(CAST({place} AS BIGINT), {values})) FROM {source}"


def _require_types(
    raw: duckdb.DuckDBPyConnection, folder: Path, table: str, file: str, types: Mapping[str, str]
) -> None:
    found = {name: kind for name, kind, *_ in raw.execute(f"DESCRIBE FROM read_parquet({file})").fetchall()}
    wanted = {name: _STORED_AS.get(kind, kind) for name, kind in types.items()}
    if {name: _STORED_AS.get(kind, kind) for name, kind in found.items()} != wanted:
        raise StoreError(
            f"The table {table} of the backup {folder} has other columns than its schema version: {found}."
        )


def _columns(connection: Connection) -> dict[str, dict[str, str]]:
    """Types by column by table, of all that are restored."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.rows(
        "SELECT duckdb_tables.table_name, column_name, data_type FROM duckdb_columns() JOIN duckdb_tables() USING (table_oid)"
        " WHERE NOT duckdb_tables.internal AND duckdb_tables.table_name <> ? ORDER BY 1, column_index",
        [MADE_BY_MIGRATING],
    ):
        found.setdefault(table, {})[column] = kind
    return found


def _counted(connection: Connection) -> dict[str, int]:
    return {table: connection.rows(f"SELECT count(*) FROM main.{table}")[0][0] for table in _columns(connection)}


def _ask_every_view(connection: Connection) -> None:
    """A view that does not answer raises ``StoreError``."""
    for (view,) in connection.rows("SELECT view_name FROM duckdb_views() WHERE NOT internal"):
        connection.rows(f"SELECT count(*) FROM main.{view}")


def _put_account(copy: Path, place: Path) -> Path:
    if not place.exists():
        draft = place.with_name(f".{place.name}.{os.getpid()}.new")
        try:
            shutil.copyfile(copy, draft)
            give_name(draft, place)
        finally:
            draft.unlink(missing_ok=True)
    return place
