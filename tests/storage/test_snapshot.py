"""A copy of the database: everything of one moment, also while a session writes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.door import open_door
from storage.questions import ask
from storage.snapshot import write_snapshot
from storage.store import open_store
from trading.errors import ConfigurationError, StoreError
from trading.orders import Side
from trading.ports import LedgerEntries

WRITER = """
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from storage.door import open_door
from storage.store import open_store
from trading.decisions import EquityPoint
from trading.orders import Execution, Fill, OrderIntent, Side
from trading.ports import LedgerEntries
from trading.sessions import Mode, SessionRecord, SessionState

start, zero, one = datetime(2026, 1, 5, 14, 30, tzinfo=UTC), Decimal(0), Decimal(1)
with open_store(Path(sys.argv[1])) as store, open_door(store) as door:
    store.ledger.open_session(
        SessionRecord("s", "sma", "paper", date(2026, 1, 5), Mode.RECORDED, SessionState.RUNNING, start, "{}", "f", zero, zero)
    )
    print(door.wait_until_open(), flush=True)
    number = 0
    while True:
        at = start + timedelta(seconds=number)
        ids = [f"{number}-{leg}" for leg in range(3)]
        store.ledger.commit(
            "s",
            LedgerEntries(
                intents=[OrderIntent(name, "s", "paper", at, "SPY", Side.BUY, 1, one, at) for name in ids],
                fills=[Fill(Execution(f"x{name}", name, "SPY", Side.BUY, 1, one, one, at), "s", "paper", "paper") for name in ids],
                equity=[EquityPoint("s", at, zero, zero, zero, zero, zero, zero)],
            ),
            at,
        )
        number += 1
"""


@pytest.fixture
def trading(path: Path) -> Iterator[Path]:
    """A database to which another process commits three orders, their fills and an equity point at a time."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "True\n"
        yield path
        assert writer.poll() is None
        writer.kill()


def test_a_copy_of_a_running_session_is_of_one_moment(trading: Path, tmp_path: Path) -> None:
    seen = []
    for turn in range(8):
        copy = tmp_path / f"copy{turn}.duckdb"
        rows = write_snapshot(trading, copy)
        assert rows["orders"] == rows["fills"] == 3 * rows["equity"]
        [counted] = ask(
            copy,
            """
            SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM fills), (SELECT count(*) FROM equity),
                (SELECT count(*) FROM orders ANTI JOIN fills USING (client_order_id)),
                (SELECT date_diff('second', started_at, last_bar_time) + 1 FROM sessions)
            """,
        ).rows
        assert counted == (rows["orders"], rows["fills"], rows["equity"], 0, rows["equity"])
        seen.append(rows["equity"])
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]  # it was committed to meanwhile


def full(path: Path, book: Any) -> None:
    with open_store(path) as store:
        store.ledger.open_session(book.record())
        for minute in range(40):
            entries = LedgerEntries(
                fills=[book.fill(Side.BUY, 2, "10.25", minute=minute), book.fill(Side.SELL, 1, "11", minute=minute)],
                intents=[book.intent(f"o{minute}", Side.BUY, 2)],
                equity=[book.worth(minute, "100", "1")],
            )
            store.ledger.commit(book.session, entries, book.at(minute))


def everything(path: Path) -> dict[str, Any]:
    names = ask(path, "SELECT table_name FROM information_schema.tables ORDER BY ALL").rows
    rows = {name: ask(path, f"FROM {name}").rows for (name,) in names if name != "schema_migrations"}
    told = "SELECT {0}_name, sql, comment FROM duckdb_{0}s() WHERE NOT internal ORDER BY ALL"
    return rows | {kind: ask(path, told.format(kind)).rows for kind in ("table", "view")}


@pytest.mark.parametrize("held", [False, True])
def test_a_copy_has_every_row_view_and_comment(path: Path, tmp_path: Path, book: Any, held: bool) -> None:
    full(path, book)
    copy = tmp_path / "copy.duckdb"
    if held:
        with open_store(path) as store, open_door(store) as door:
            assert door.wait_until_open()
            write_snapshot(path, copy)
    else:
        write_snapshot(path, copy)
    assert everything(copy) == everything(path)
    assert len(everything(copy)["trades"]) == 40
    assert sorted(file.name for file in tmp_path.iterdir()) == ["copy.duckdb", "ledger.duckdb"]


def test_a_file_that_is_there_is_written_over_only_when_that_is_said(path: Path, tmp_path: Path, book: Any) -> None:
    full(path, book)
    copy = tmp_path / "copy.duckdb"
    copy.write_text("precious")
    with pytest.raises(ConfigurationError, match=r"is there already.*--force"):
        write_snapshot(path, copy)
    assert copy.read_text() == "precious"
    write_snapshot(path, copy, replace=True)
    assert ask(copy, "SELECT count(*) FROM fills").rows == ((80,),)


def test_a_copy_never_takes_the_databases_place(path: Path, book: Any) -> None:
    full(path, book)
    with pytest.raises(ConfigurationError, match="the database itself"):
        write_snapshot(path, path, replace=True)
    with pytest.raises(ConfigurationError, match="is a directory"):
        write_snapshot(path, path.parent, replace=True)
    with pytest.raises(ConfigurationError, match=r"There is no directory .*none for the copy"):
        write_snapshot(path, path.parent / "none" / "copy.duckdb")
    os.mkfifo(path.parent / "pipe")
    with pytest.raises(ConfigurationError, match="is no ordinary file"):
        write_snapshot(path, path.parent / "pipe", replace=True)
    (path.parent / "pipe").unlink()
    with pytest.raises(StoreError, match="There is no database"):
        write_snapshot(path.parent / "none.duckdb", path.parent / "copy.duckdb")
    assert ask(path, "SELECT count(*) FROM fills").rows == ((80,),)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_copy_that_has_no_room_is_called_one_and_leaves_nothing(path: Path, tmp_path: Path, book: Any) -> None:
    full(path, book)
    program = """
import resource, signal, sys
from pathlib import Path
from storage.snapshot import write_snapshot
from trading.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
try:
    write_snapshot(Path(sys.argv[1]), Path(sys.argv[2]))
except StoreError as error:
    print(error)
"""
    copy = tmp_path / "copy.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(copy)], capture_output=True, text=True, timeout=60, check=True
    )
    assert f"The disk is full: the copy {copy} could not be" in done.stdout
    assert ".new" not in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
