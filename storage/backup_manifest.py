"""What a backup says of itself: which files belong to it, how many rows they have, and what they hash to.

The rule: a folder is a backup when its manifest is there and everything that the manifest names is as the manifest says.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trading.errors import StoreError, StoreTooNew

FORMAT = 1
MANIFEST, SUMS, TABLES, ACCOUNTS = "manifest.json", "SHA256SUMS", "tables", "accounts"
_PIECE = 1 << 20

_TableName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,200}$")]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackedFile(_Told):
    """A file of the backup."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: _Hash


class BackedTable(BackedFile):
    """A table, as ``tables/NAME.parquet``, its rows in the order in which they were written."""

    rows: Annotated[int, Field(ge=0)]


class BackedAccount(BackedFile):
    """A simulated account, as ``accounts/FILE``."""

    file: _FileName


class BackupManifest(_Told):
    """Everything of one moment. ``steps`` are the migrations that made the tables, with their checksums; ``bundles`` the
    policies that the ledger knows, which are folders of their own and not in the backup. ``database_in`` (its folder) and
    ``database_made_at`` tell ledgers of one name apart; backups of before do not say."""

    format: int
    made_at: datetime
    openbell: str
    duckdb: str
    database: str
    database_in: str = ""
    database_made_at: datetime | None = None
    schema_version: Annotated[int, Field(ge=1)]
    steps: dict[int, str]
    tables: dict[_TableName, BackedTable]
    accounts: dict[str, BackedAccount]
    bundles: dict[str, str]

    @field_validator("made_at")
    @classmethod
    def _says_its_zone(cls, made_at: datetime) -> datetime:
        if made_at.tzinfo is None:
            raise ValueError("has no time zone")
        return made_at

    def files(self) -> Iterator[tuple[str, BackedFile]]:
        """Every file but the manifest itself, by its place in the folder."""
        yield from ((f"{TABLES}/{name}.parquet", table) for name, table in self.tables.items())
        yield from ((f"{ACCOUNTS}/{account.file}", account) for account in self.accounts.values())

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    @property
    def bytes(self) -> int:
        return sum(file.bytes for _, file in self.files())


def write_manifest(folder: Path, manifest: BackupManifest) -> None:
    """Write the manifest and, in the form of ``sha256sum -c``, all hashes."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    lines = [f"{file.sha256}  {name}" for name, file in manifest.files()]
    lines.append(f"{hash_of(folder / MANIFEST)}  {MANIFEST}")
    (folder / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> BackupManifest:
    """The manifest of the backup in ``folder``, as it was written; the files are not looked at.

    Raises ``StoreTooNew`` for the format of a newer version, ``StoreError`` where there is none, or another than was written.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
        sums = (folder / SUMS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{folder} is no whole backup: {MANIFEST} or {SUMS} cannot be read ({_reason(error)}). Name another folder."
        ) from error
    hashes = dict(line.split("  ", 1)[::-1] for line in sums.splitlines() if "  " in line)
    if hashes.get(MANIFEST) != hashlib.sha256(text).hexdigest():
        raise changed(folder, MANIFEST)
    try:
        document = json.loads(text)
        if isinstance(document, dict) and isinstance(document.get("format"), int) and document["format"] > FORMAT:
            raise StoreTooNew(
                f"The backup {folder} has format {document['format']} and this openbell knows formats up to {FORMAT}. Update "
                "openbell, or restore another backup."
            )
        return BackupManifest.model_validate(document)
    except (ValueError, ValidationError) as error:
        raise StoreError(
            f"The manifest of the backup {folder} does not say what one says: {_reason(error)}. Name another folder."
        ) from error


def require_whole(folder: Path, manifest: BackupManifest) -> None:
    """Read every file once; raises ``StoreError`` that names the first one that is missing or is not as it was written."""
    for name, said in manifest.files():
        file = folder / name
        try:
            same = file.is_file() and file.stat().st_size == said.bytes and hash_of(file) == said.sha256
        except OSError as error:
            raise StoreError(
                f"{name} of the backup {folder} cannot be read: {_reason(error)}. Nothing was restored."
            ) from error
        if not file.is_file():
            raise StoreError(
                f"The backup {folder} is not whole: {name} is missing. Nothing was restored: take another."
            )
        if not same:
            raise changed(folder, name)


def changed(folder: Path, name: str) -> StoreError:
    """A file that is not the one that was written."""
    return StoreError(
        f"The backup {folder} cannot be trusted: {name} is not what was written (its SHA-256 differs). Nothing was restored: "
        "take another backup."
    )


def hash_of(file: Path) -> str:
    """SHA-256 of the file's bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
