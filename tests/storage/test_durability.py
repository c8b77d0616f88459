"""What stays after a full disk, a read-only folder and a killed process: exactly what was committed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.store import open_store
from trading.errors import StoreError

WRITE_WITHOUT_END = """
import sys, os, resource
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from storage.store import open_store
from trading.decisions import Action, Decision, EquityPoint
from trading.errors import StoreError
from trading.ports import LedgerEntries
from trading.sessions import Mode, SessionRecord, SessionState

start, zero = datetime(2026, 1, 5, 14, 30, tzinfo=UTC), Decimal(0)
rows, bars, room = (int(number) for number in sys.argv[2:5])

def bar(number):
    at = start + timedelta(minutes=number)
    return at, LedgerEntries(
        decisions=[Decision("s", at, f"S{n}", Action.HOLD, 0, None, 0.1, os.urandom(150).hex()) for n in range(rows)],
        equity=[EquityPoint("s", at, zero, zero, zero, zero, zero, zero)],
    )

with open_store(Path(sys.argv[1])) as store:
    store.ledger.open_session(
        SessionRecord("s", "sma", "paper", date(2026, 1, 5), Mode.RECORDED, SessionState.RUNNING, start, "{}", "f", zero, zero)
    )
    print("ready", flush=True)
    unlimited = resource.RLIM_INFINITY
    if room:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, unlimited))
    for number in range(bars):
        at, entries = bar(number)
        try:
            store.ledger.commit("s", entries, at)
        except StoreError as error:
            print("refused", error, flush=True)
            [(there,)] = store.connection.rows("SELECT count(DISTINCT bar_time) FROM decisions")
            print("intact", there == number, store.ledger.last_bar_time("paper") == start + timedelta(minutes=number - 1), flush=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
            store.ledger.commit("s", entries, at)
            room = 0
        else:
            print("committed", number, flush=True)
"""


def write(path: Path, rows: int, bars: int, room: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITE_WITHOUT_END, str(path), str(rows), str(bars), str(room)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def committed_bars(path: Path) -> tuple[int, int, int]:
    """Moments with decisions, moments with equity, and bars that the session says are processed."""
    with open_store(path, read_only=True) as store:
        [found] = store.connection.rows(
            """
            SELECT (SELECT count(DISTINCT bar_time) FROM decisions), (SELECT count(*) FROM equity),
                (SELECT date_diff('minute', started_at, last_bar_time) + 1 FROM sessions)
            """
        )
    decided, valued, processed = found
    return decided, valued, processed


@pytest.mark.parametrize(
    ("rows", "bars", "room"),
    [
        pytest.param(500, 30, 2_000_000, id="while the log grows"),
        pytest.param(3000, 36, 20_000_000, id="while the log is folded into the file"),
    ],
)
def test_a_full_disk_takes_back_one_commit_and_the_store_goes_on(path: Path, rows: int, bars: int, room: int) -> None:
    with write(path, rows, bars, room) as writer:
        told, _ = writer.communicate(timeout=60)
    assert writer.returncode == 0
    assert told.count("refused") == 1
    assert f"refused The disk is full: the database {path} could not be written" in told
    assert "intact True True" in told
    assert committed_bars(path) == (bars, bars, bars)


def test_a_killed_writer_leaves_what_it_committed(path: Path) -> None:
    with write(path, 20, 10_000) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if line == "committed 40\n":
                break
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read()
    told = max(int(line.split()[1]) for line in f"committed 40\n{rest}".splitlines() if line.startswith("committed "))
    decided, valued, processed = committed_bars(path)  # read only: the log is there and is read, not folded in
    assert decided == valued == processed
    assert decided in (told + 1, told + 2)  # the last one may have been committed and not told
    with open_store(path) as store:
        assert store.connection.rows("SELECT count(*) FROM decisions") == [(20 * decided,)]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may write to: by its permissions, or mounted read-only where we are root."""
    folder = tmp_path / "archive"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("root may write anywhere, and may not mount here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_folder_is_named_with_what_to_do(read_only_folder: Path) -> None:
    path = read_only_folder / "x.duckdb"
    with (
        pytest.raises(
            StoreError, match=r"may not be opened.*Allow writing to x\.duckdb and to its directory"
        ) as refused,
        open_store(path),
    ):
        pass
    assert ".new" not in str(refused.value)
    assert list(read_only_folder.iterdir()) == []
