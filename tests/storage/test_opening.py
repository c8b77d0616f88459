"""What can be wrong with the file of a database: one paragraph that names it, and nothing half-made left behind."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.schema import migrations
from storage.store import open_store
from trading.errors import StoreBusy, StoreError, StoreTooNew
from trading.orders import Side
from trading.ports import LedgerEntries


def test_a_new_database_is_whole_and_alone_in_its_directory(path: Path) -> None:
    with open_store(path) as store:
        applied = store.connection.rows("SELECT version, name FROM schema_migrations ORDER BY version")
        assert applied == [(step.version, step.name) for step in migrations()]
        assert store.connection.rows("SELECT current_setting('TimeZone')") == [("UTC",)]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_a_killed_maker_left_goes_with_the_next_opening(path: Path) -> None:
    maker = subprocess.Popen([sys.executable, "-c", ""])
    maker.wait()  # its number is free now
    abandoned = [path.with_name(f".{path.name}.{maker.pid}.new{ending}") for ending in ("", ".wal")]
    abandoned.append(path.with_name(f".{path.name}.door.{maker.pid}.new"))
    made_right_now = path.with_name(f".{path.name}.{os.getppid()}.new")
    of_another = path.with_name(f".another.duckdb.{maker.pid}.new")
    for draft in (*abandoned, made_right_now, of_another):
        draft.touch()
    path.with_name(f"{path.name}.wanted").write_text(str(maker.pid))
    with open_store(path):
        pass
    assert sorted(path.parent.iterdir()) == sorted([path, made_right_now, of_another])


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))


def test_opening_again_migrates_nothing_and_finds_everything(path: Path, book: Any) -> None:
    fill = book.fill(Side.BUY, 1, "1")
    with open_store(path) as store:
        store.ledger.commit(book.session, LedgerEntries(fills=[fill]))
    for read_only in (False, True):
        with open_store(path, read_only) as store:
            assert store.ledger.fills("paper") == [fill]


def test_an_older_database_is_brought_up_to_date_when_it_may_be_written(path: Path) -> None:
    first = migrations()[0]
    with duckdb.connect(str(path)) as raw:
        raw.execute(
            "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
        )
        raw.execute(first.sql)
        raw.execute("INSERT INTO schema_migrations VALUES (1, 'the_ledger', now())")
    with (
        pytest.raises(StoreError, match="schema version 1 and this openbell reads version"),
        open_store(path, read_only=True),
    ):
        pass
    with open_store(path) as store:
        assert store.connection.rows("SELECT * FROM trades") == []


def test_a_database_from_a_newer_version_is_left_alone(path: Path) -> None:
    with open_store(path) as store, store.connection.transaction():
        store.connection.execute("INSERT INTO schema_migrations VALUES (999, 'the_future', now(), NULL)")
    for read_only in (False, True):
        with (
            pytest.raises(StoreTooNew, match=f"version 999 and this openbell knows versions up to {len(migrations())}"),
            open_store(path, read_only),
        ):
            pass


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    with duckdb.connect(str(path)) as raw:
        raw.execute("CREATE TABLE recipes (name VARCHAR)")
    with pytest.raises(StoreError, match="something else: it has the tables recipes"), open_store(path):
        pass
    with duckdb.connect(str(path)) as raw:
        assert raw.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("recipes",)]


def test_reading_a_database_that_is_not_there_says_how_to_make_one(path: Path) -> None:
    with (
        pytest.raises(StoreError, match="Run `openbell session` or `openbell import-bars`"),
        open_store(path, read_only=True),
    ):
        pass
    assert not path.exists()


def test_a_file_that_is_no_database_is_named_and_kept(path: Path) -> None:
    path.write_text("time,open,high,low,close\n" * 500)
    with pytest.raises(StoreError, match="is not a DuckDB database"), open_store(path):
        pass
    assert path.read_text().startswith("time,open")


def test_an_empty_file_is_no_database(path: Path) -> None:
    path.touch()
    with pytest.raises(StoreError, match="is not a DuckDB database"), open_store(path):
        pass


def test_a_database_with_free_blocks_at_its_end_is_whole(path: Path) -> None:
    """DuckDB numbers blocks that it frees and need not write: growing and shrinking leaves some past the file's end."""
    shorter_than_its_blocks = 0
    for rows in (400_000, 10) * 4:
        with open_store(path) as store:
            [(total, size)] = store.connection.rows("SELECT total_blocks, block_size FROM pragma_database_size()")
            shorter_than_its_blocks += path.stat().st_size < total * size
            store.connection.execute(f"CREATE OR REPLACE TABLE scratch AS SELECT random() AS n FROM range({rows})")
    assert shorter_than_its_blocks


@pytest.mark.parametrize("kept_fraction", [0.001, 0.02, 0.5, 0.9])
def test_a_truncated_database_is_noticed_when_it_is_opened(path: Path, kept_fraction: float) -> None:
    with open_store(path):
        pass
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept_fraction)])
    with pytest.raises(StoreError, match="truncated"), open_store(path):
        pass


def test_a_damaged_database_is_named(path: Path) -> None:
    with open_store(path):
        pass
    damaged = bytearray(path.read_bytes())
    for place in range(4096, 12288):
        damaged[place] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=f"{path} is damaged or truncated"), open_store(path):
        pass


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "x.duckdb"
    with pytest.raises(StoreError, match=f"no directory {path.parent} for the database x.duckdb"), open_store(path):
        pass


def test_a_file_where_the_directory_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not a directory")
    with (
        pytest.raises(StoreError, match=f"no directory {tmp_path / 'notes'}"),
        open_store(tmp_path / "notes" / "x.duckdb"),
    ):
        pass


def test_a_directory_is_not_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a directory"), open_store(tmp_path):
        pass


def test_another_process_that_holds_the_file_is_named(path: Path) -> None:
    with open_store(path):
        pass
    script = "import sys, pathlib\nfrom storage.store import open_store\nwith open_store(pathlib.Path(sys.argv[1])):\n    print('open', flush=True)\n    sys.stdin.read()\n"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        for read_only in (False, True):
            with pytest.raises(StoreBusy, match=f"{path} is held by process {holder.pid}"), open_store(path, read_only):
                pass
        holder.communicate(b"")
    with open_store(path):
        pass


def test_this_process_that_holds_the_file_is_named(path: Path) -> None:
    with (
        open_store(path),
        pytest.raises(StoreBusy, match="held by this very process"),
        open_store(path, read_only=True),
    ):
        pass


def test_a_migration_that_fails_leaves_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(
        "storage.schema.migrations", lambda: (replace_sql(migrations()[0], "CREATE TABLE x (y INT); nonsense"),)
    )
    with pytest.raises(StoreError, match="could not be written"), open_store(path):
        pass
    assert list(path.parent.iterdir()) == []


def replace_sql(step: Any, sql: str) -> Any:
    return type(step)(step.version, step.name, sql)
