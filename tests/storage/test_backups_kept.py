"""Which backups stay, and that only backups go."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.backup import write_backup
from storage.backups_kept import abandoned, backup_name, backups_in, remove_abandoned, remove_backup, superfluous
from storage.store import open_store

NOW = datetime(2026, 11, 27, 2, 0, tzinfo=UTC)
"""A Friday in UTC, Thursday evening in New York."""


def made(*days_ago: float) -> dict[Path, datetime]:
    return {Path(f"{days:g}"): NOW - timedelta(days=days) for days in days_ago}


@pytest.mark.parametrize(
    ("there", "keep_days", "keep_weeks", "go"),
    [
        # Today and the two days before it stay.
        ((0, 1, 2, 3, 4), 3, 0, ["4", "3"]),
        # Of one day only the newest stays: 0.01 days ago is the same date, 26 November is another.
        ((0, 0.01, 0.02), 3, 0, ["0.02", "0.01"]),
        # A week's newest stays: Friday the 20th is 7 days ago, Thursday the 19th 8.
        ((0, 7, 8, 14), 1, 3, ["8"]),
        # This week counts as the first.
        ((0, 7, 8, 14), 1, 2, ["14", "8"]),
        # The newest stays however old it is.
        ((100, 200), 3, 2, ["200"]),
        # What seems to be of the future is left alone, and does not push out today's.
        ((-5, 0, 1), 1, 0, ["1"]),
        ((), 3, 2, []),
    ],
)
def test_what_can_go(there: tuple[float, ...], keep_days: int, keep_weeks: int, go: list[str]) -> None:
    assert [path.name for path in superfluous(made(*there), NOW, keep_days, keep_weeks)] == go


def test_a_backup_is_named_by_its_moment_in_utc() -> None:
    assert backup_name(Path("/x/openbell.duckdb"), NOW) == "openbell-20261127T020000Z"


def test_only_whole_backups_of_the_database_are_counted_and_go(path: Path, tmp_path: Path) -> None:
    with open_store(path):
        pass
    folder = tmp_path / "backups"
    folder.mkdir()
    for days in (2, 1):
        at = NOW - timedelta(days=days)
        write_backup(path, folder / backup_name(path, at), at, lambda _accounts, _into: {})
    (folder / "holiday pictures").mkdir()
    (folder / "notes.txt").write_text("mine")
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (folder / f".ledger.{ended.stdout.decode().strip()}.new" / "tables").mkdir(parents=True)
    (folder / ".ledger.1.new").mkdir()  # of a process that is there

    assert list(backups_in(folder, "other.duckdb")) == []
    older, newer = backups_in(folder, path.name)
    assert (older.name, newer.name) == ("ledger-20261125T020000Z", "ledger-20261126T020000Z")
    remove_backup(older)
    assert len(list(abandoned(folder))) == len(remove_abandoned(folder)) == 1
    assert sorted(inside.name for inside in folder.iterdir()) == [
        ".ledger.1.new",
        "holiday pictures",
        newer.name,
        "notes.txt",
    ]
    assert list(backups_in(tmp_path / "none")) == []
