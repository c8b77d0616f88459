"""What the database file can be freed of while nobody needs it: the log beside it, and blocks at its end that hold nothing."""

from pathlib import Path

from storage.connection import Connection
from storage.schema import require_readable


def fold_log(path: Path) -> tuple[int, int]:
    """Fold the log into the file and give back what is free at its end; bytes of both before and after.

    Raises ``StoreBusy`` while somebody holds the database: then nothing was touched and nothing has to be.
    """
    before = _bytes(path)
    connection = Connection(path)
    try:
        require_readable(connection)
        connection.rows("CHECKPOINT")
    finally:
        connection.close()
    return before, _bytes(path)


def _bytes(path: Path) -> int:
    beside = path.with_name(f"{path.name}.wal")
    return sum(file.stat().st_size for file in (path, beside) if file.exists())
