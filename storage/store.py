"""The database file as a whole: opening it, making it, and what it holds.

The rule: a file under the database's name is always a whole database. A new one is made beside it and given the name
when it is finished.
"""

import contextlib
import glob
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.bars import StoredBars
from storage.connection import Connection
from storage.door_sign import read_sign
from storage.giving_way import wanted_path, wanting
from storage.ledger import DuckLedger
from storage.schema import migrate, require_readable
from trading.bars import Timeframe
from trading.errors import StoreBusy, StoreError

_READERS_AWAITED_SECONDS = 2.0
_TRIED_EVERY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Store:
    """An open database."""

    path: Path
    connection: Connection
    ledger: DuckLedger

    @property
    def bars(self) -> StoredBars:
        """The stored minute bars."""
        return self.bars_of(Timeframe.MINUTE_1)

    def bars_of(self, timeframe: Timeframe) -> StoredBars:
        """The stored bars of one timeframe."""
        return StoredBars(self.connection, timeframe)


@contextlib.contextmanager
def open_store(path: Path, read_only: bool = False, older_too: bool = False) -> Iterator[Store]:
    """The database at ``path``, made or brought up to date where it must be, closed at the end.

    ``older_too`` goes with ``read_only``: a database that an older version left is read as it is. No other process can open the file meanwhile, not even for reading, unless both read only. Raises ``StoreBusy``,
    ``StoreTooNew`` or another ``StoreError``; then nothing has been left behind that was not there before.
    """
    if not read_only:
        _remove_abandoned_drafts(path)
    if not path.exists():
        if read_only:
            raise StoreError(
                f"There is no database {path}. Run `openbell session` or `openbell import-bars` with --db {path} to make one."
            )
        _make(path)
    connection = Connection(path, read_only) if read_only else _open_when_readers_have_left(path)
    try:
        if older_too and read_only:
            require_readable(connection)
        else:
            migrate(connection)
        yield Store(path, connection, DuckLedger(connection))
    finally:
        connection.close()


def _open_when_readers_have_left(path: Path) -> Connection:
    """The database opened to write it. Readers are asked to give way and waited for; a session is not."""
    try:
        return Connection(path)
    except StoreBusy:
        give_up_at = time.monotonic() + _READERS_AWAITED_SECONDS
        with wanting(path):
            while True:
                time.sleep(_TRIED_EVERY_SECONDS)
                try:
                    return Connection(path)
                except StoreBusy:
                    if read_sign(path) is not None or time.monotonic() > give_up_at:
                        raise


def _make(path: Path) -> None:
    """A finished, empty database at ``path``; nothing at all when that fails."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        connection = Connection(draft)
        try:
            migrate(connection)
        finally:
            connection.close()
        with contextlib.suppress(FileExistsError):  # another process was quicker: its database is as good
            give_name(draft, path)
    except StoreError as error:
        raise type(error)(str(error).replace(str(draft), str(path)).replace(draft.name, path.name)) from error
    except OSError as error:
        raise StoreError(
            f"The database {path} could not be made: {error.strerror or error}. Name another file with --db."
        ) from error
    finally:
        for leftover in (draft, draft.with_name(draft.name + ".wal")):
            with contextlib.suppress(OSError):  # it was never made, or the directory is gone
                leftover.unlink(missing_ok=True)


def _remove_abandoned_drafts(path: Path) -> None:
    """Take away what a process left that was killed while it made this database or its door's sign, or waited for it."""
    # Pieces of a name are no pattern: a database may be called [x].duckdb.
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*.new*"):
        maker = draft.name.removeprefix(f".{path.name}.").removeprefix("door.").split(".")[0]
        if maker.isdigit() and not is_running(int(maker)):
            with contextlib.suppress(OSError):  # another process took it away, or may and we may not
                draft.unlink()
    with contextlib.suppress(OSError, ValueError):  # there is none; or it is being written right now
        if not is_running(int(wanted_path(path).read_text(encoding="utf-8"))):
            wanted_path(path).unlink()


def is_running(pid: int) -> bool:
    """Whether there is a process of this number here, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's process; no process of ours has such a number
        return True
    return True


def give_name(draft: Path, path: Path) -> None:
    """Let the finished file ``draft`` be found at ``path``; raises ``FileExistsError`` where there is one already."""
    try:
        os.link(draft, path)  # unlike a rename, never replaces a file
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        draft.rename(path)
