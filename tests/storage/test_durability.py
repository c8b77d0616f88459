"""What stays after a full disk, a read-only folder and a killed process: exactly what was committed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.store import Store, open_store
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


TRADE_WITHOUT_END = """
import sys, resource
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from storage.runners import this_runner
from storage.store import open_store
from trading.differences import *
from trading.errors import StoreError
from trading.orders import *
from trading.ports import LedgerEntries
from trading.sessions import Mode, SessionRecord, SessionState

start, one = datetime(2026, 1, 5, 14, 30, tzinfo=UTC), Decimal(1)
kind, room = sys.argv[2], int(sys.argv[3])

def order(n):
    return OrderIntent(f"o{n}", "s", "paper", start, "SPY", Side.BUY, 10, one, start + timedelta(seconds=n))

def fill(n, revision, source="ib"):
    name = f"x{n}" if source == "ib" else f"guess{n}"
    return Fill(Execution(f"{name}.{revision}", f"o{n}", "SPY", Side.BUY, 10, one + revision, one, start, name, revision), "s", "paper", source)

def steps(n):
    # Each step is a commit that changes several tables at once, and would be seen if half of it stayed.
    at = start + timedelta(seconds=n)
    amendment = OrderAmendment(f"o{n}", 1, at, OrderStatus.SUBMITTED, quantity=9)
    found = Discrepancy(DiscrepancyKind.POSITION, "SPY", "1", "2", "look " * room_for_words, "SPY", locking=True)
    seen = ExternalFill("paper", f"e{n}", "b", "QQQ", Side.BUY, 1, one, one, at, f"e{n}", 0, at)
    lock = InstrumentLock("paper", "SPY", at, "why")
    return {
        "intent": LedgerEntries(intents=[order(n)], order_events=[OrderEvent(f"o{n}", at, OrderStatus.SUBMITTED, "x" * room_for_words)]),
        "inferred": LedgerEntries(fills=[fill(n, 0, "inferred")], order_events=[OrderEvent(f"o{n}", at, OrderStatus.ACCEPTED, "x" * room_for_words)]),
        "fill": LedgerEntries(fills=[fill(n, 0)], order_events=[OrderEvent(f"o{n}", at, OrderStatus.FILLED, "x" * room_for_words)]),
        "correction": LedgerEntries(fills=[fill(n, 1)], order_events=[OrderEvent(f"o{n}", at, OrderStatus.FILLED, "y" * room_for_words)]),
        "amendment": LedgerEntries(amendments=[replace(amendment, status=OrderStatus.ACCEPTED)], order_events=[OrderEvent(f"o{n}", at, OrderStatus.FILLED, "z" * room_for_words)]),
        "comparison": LedgerEntries(external_fills=[seen], lifted_locks=[lock], locks=[lock], reconciliations=[Reconciliation("paper", "s", at, "open", (found,), (Repair(found.kind, "SPY", "done"),), (found,))]),
    }

room_for_words = 400 if room else 1
with open_store(Path(sys.argv[1])) as store:
    ledger = store.ledger
    ledger.open_session(SessionRecord("s", "sma", "paper", date(2026, 1, 5), Mode.RECORDED, SessionState.RUNNING, start, "{}", "f", one, one))
    ledger.take_lease("s", this_runner("r"), start)
    print("ready", flush=True)
    for n in range(100_000):
        for name, entries in steps(n).items():
            if room and n == 3 and name == kind:
                size = max(f.stat().st_size for f in Path(sys.argv[1]).parent.glob("*.wal"))
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, resource.RLIM_INFINITY))
                try:
                    ledger.commit("s", entries)
                    print("there was room", flush=True)
                except StoreError as error:
                    print("refused", error, flush=True)
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            ledger.commit("s", entries)
        print("traded", n, flush=True)
        if room and n == 6:
            break
"""

HALF_A_STEP = {
    "an order without its first step": "SELECT client_order_id FROM orders ANTI JOIN order_events USING (client_order_id)",
    "an order that does not say what its fills come to": """
        SELECT client_order_id FROM orders LEFT JOIN fills USING (client_order_id)
        GROUP BY client_order_id, filled_quantity HAVING filled_quantity <> coalesce(sum(fills.quantity), 0)""",
    "two fills of one lineage": "SELECT lineage FROM fills GROUP BY lineage HAVING count(*) > 1",
    "an inferred fill beside the execution it was for": """
        SELECT client_order_id FROM fills GROUP BY client_order_id HAVING sum(quantity) > 10""",
    "a correction without what it corrected": """
        SELECT exec_id FROM fills WHERE revision > 0 AND lineage NOT IN (SELECT lineage FROM superseded_fills)""",
    "a fill that counts and does not": "SELECT exec_id FROM fills SEMI JOIN superseded_fills USING (exec_id)",
    "an amendment that was accepted and not applied": """
        SELECT client_order_id FROM order_amendments JOIN orders USING (client_order_id)
        WHERE order_amendments.status = 'ACCEPTED' AND orders.quantity <> 9""",
    "a comparison without what it found": """
        SELECT reconciliation_id FROM reconciliations
        WHERE reconciliation_id NOT IN (SELECT reconciliation_id FROM discrepancies)
            OR reconciliation_id NOT IN (SELECT reconciliation_id FROM repairs)""",
    "two locks on one symbol": """
        SELECT symbol FROM instrument_locks WHERE lifted_at IS NULL GROUP BY symbol HAVING count(*) > 1""",
}


def halves(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """What stayed of steps that did not stay wholly."""
    return {name: found for name, sql in HALF_A_STEP.items() if (found := store.connection.rows(sql))}


def trade(path: Path, kind: str = "", room: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", TRADE_WITHOUT_END, str(path), kind, str(room)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("after", [0, 3, 11])
def test_a_process_killed_while_it_trades_leaves_no_half_of_a_step(path: Path, after: int) -> None:
    with trade(path) as trader:
        assert trader.stdout is not None
        for line in trader.stdout:
            if line == f"traded {after}\n":
                break
        os.kill(trader.pid, signal.SIGKILL)
        rest = trader.stdout.read()
    told = max([after, *(int(line.split()[1]) for line in rest.splitlines() if line.startswith("traded "))])
    for read_only in (True, False):  # the log read, then folded into the file
        with open_store(path, read_only) as store:
            assert halves(store) == {}
            [(orders,)] = store.connection.rows("SELECT count(*) FROM orders")
            assert orders in (told + 1, told + 2)


@pytest.mark.parametrize("kind", ["intent", "inferred", "fill", "correction", "amendment", "comparison"])
def test_a_full_disk_takes_back_one_commit_of_any_kind_and_it_can_be_done_again(path: Path, kind: str) -> None:
    with trade(path, kind, room=60) as trader:
        told, _ = trader.communicate(timeout=120)
    assert trader.returncode == 0
    assert "there was room" not in told
    assert told.count("refused The disk is full") == 1
    assert "traded 6" in told
    with open_store(path) as store:
        assert halves(store) == {}
        assert store.connection.rows("SELECT count(*), sum(attempts) FROM orders") == [(7, 7)]
        assert store.connection.rows("SELECT count(*) FROM superseded_fills") == [(14,)]
        assert store.connection.rows("SELECT count(*) FROM reconciliations") == [(7,)]


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


def test_a_database_that_was_closed_is_not_opened_again_by_whoever_still_writes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    with open_store(path) as store:
        pass
    with pytest.raises(StoreError), store.connection.transaction():
        store.connection.execute("DELETE FROM halts")
    # Opened as it was before, it could not be opened otherwise.
    with open_store(path, read_only=True) as other:
        assert other.ledger.fills("paper") == []
