"""Ordered migrations: a step and its record in ``schema_migrations`` are one transaction, so a database is always at
one version wholly. A step that was released is never edited; the next one changes what it made.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from storage.connection import Connection
from storage.reading import utc
from trading.errors import StoreError, StoreTooNew


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number, its name and its statements."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Of its statements, however their lines end."""
        return hashlib.blake2s("\n".join(self.sql.splitlines()).encode(), digest_size=16).hexdigest()


def migrations() -> tuple[Migration, ...]:
    """All steps that this version knows, in order."""
    steps = sorted(files("storage").joinpath("migrations").iterdir(), key=lambda file: file.name)
    return tuple(
        Migration(int(step.name[:4]), step.name[5:].removesuffix(".sql"), step.read_text(encoding="utf-8"))
        for step in steps
        if step.name.endswith(".sql")
    )


def migrate(connection: Connection, upto: int | None = None) -> None:
    """Bring the database to this version. A step that fails leaves the database at the step before.

    ``upto`` is the last step to take where an older version's tables are wanted. Raises ``StoreTooNew`` where a newer version wrote it, ``StoreError`` where the tables are not openbell's, where a step
    was applied that is another now, or where steps are missing and the database is opened for reading only.
    """
    known = migrations()
    at = _version(connection)
    if at == known[-1].version:
        _require_same_steps(connection, known)
        return
    if at > known[-1].version:
        raise _too_new(connection, at, known)
    if connection.read_only:
        raise StoreError(
            f"The database {connection.path} has schema version {at} and this openbell reads version "
            f"{known[-1].version}. Run any session or import on it once: that brings it up to date."
        )
    for step in known:
        if step.version > at and (upto is None or step.version <= upto):
            _apply(connection, step)


def require_readable(connection: Connection) -> int:
    """The version of a database of this or an older version, as it is; raises as ``migrate`` does, but for older ones."""
    known = migrations()
    at = _version(connection)
    if at > known[-1].version:
        raise _too_new(connection, at, known)
    if at == 0:
        raise StoreError(f"The database {connection.path} is empty: it has no tables. Name another file with --db.")
    _require_same_steps(connection, known[:at])
    return at


def database_made_at(connection: Connection) -> datetime:
    """When the database was made, which tells two of one name apart."""
    [(made,)] = connection.rows("SELECT min(applied_at) FROM schema_migrations")
    return utc(made)


def _too_new(connection: Connection, at: int, known: tuple[Migration, ...]) -> StoreTooNew:
    return StoreTooNew(
        f"The database {connection.path} has schema version {at} and this openbell knows versions up to "
        f"{known[-1].version}. Update openbell, or name another file with --db."
    )


def _apply(connection: Connection, step: Migration) -> None:
    with connection.transaction():
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (version INTEGER PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMPTZ NOT NULL, checksum VARCHAR)"
        )
        connection.execute("ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS checksum VARCHAR")
        connection.run_script(step.sql)
        connection.execute(
            "INSERT INTO schema_migrations (version, name, applied_at, checksum) VALUES (?, ?, now(), ?)",
            [step.version, step.name, step.checksum],
        )


def _require_same_steps(connection: Connection, known: tuple[Migration, ...]) -> None:
    """Steps that were applied before checksums were kept have none, and are believed."""
    applied = dict(connection.rows("SELECT version, checksum FROM schema_migrations WHERE checksum IS NOT NULL"))
    for step in known:
        if applied.get(step.version, step.checksum) != step.checksum:
            raise StoreError(
                f"The database {connection.path} was made by another {step.version:04}_{step.name}.sql than this openbell "
                "has: a migration was edited after it was applied. Use the openbell that made it, or name another file with "
                "--db."
            )


def _version(connection: Connection) -> int:
    """The newest step that was applied, 0 for an empty database."""
    tables = {name for (name,) in connection.rows("SELECT table_name FROM duckdb_tables() WHERE NOT internal")}
    if "schema_migrations" in tables:
        [(version,)] = connection.rows("SELECT coalesce(max(version), 0) FROM schema_migrations")
        return int(version)
    if tables:
        raise StoreError(
            f"The file {connection.path} is a DuckDB database of something else: it has the tables "
            f"{', '.join(sorted(tables)[:5])} and no schema_migrations. Name another file with --db."
        )
    return 0
