"""Backups of the ledger: exact, whole or not there, also while a session trades; and the databases that are made of them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.backup import write_backup
from storage.backup_manifest import MANIFEST, SUMS, hash_of, read_manifest
from storage.connection import Connection
from storage.door import open_door
from storage.questions import ask
from storage.restoring import restore_backup
from storage.schema import migrate, migrations
from storage.store import open_store
from trading.errors import ConfigurationError, StoreError, StoreTooNew
from trading.orders import Side
from trading.ports import LedgerEntries

NOW = datetime(2026, 11, 27, 2, 0, tzinfo=UTC)
NEWEST = migrations()[-1].version


def no_accounts(_accounts: Sequence[str], _into: Path) -> dict[str, str]:
    return {}


def back_up(path: Path, folder: Path) -> Path:
    return write_backup(path, folder, NOW, no_accounts).folder


def restore(folder: Path, path: Path) -> Path:
    return restore_backup(folder, path, lambda account: path.with_name(f"{path.stem}.{account}.sqlite")).path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, new_book: type[Any]) -> Path:
    """A database and, beside it, its backup; tests change copies of them."""
    folder = tmp_path_factory.mktemp("original")
    fill(folder / "ledger.duckdb", new_book())
    back_up(folder / "ledger.duckdb", folder / "backup")
    return folder


@pytest.fixture
def filled(path: Path, original: Path) -> Path:
    shutil.copyfile(original / "ledger.duckdb", path)
    return path


@pytest.fixture
def whole_backup(tmp_path: Path, original: Path) -> Path:
    return Path(shutil.copytree(original / "backup", tmp_path / "backup"))


def fill(path: Path, book: Any) -> None:
    """Forty bars with fills; a row is taken out of the middle and one written again, so that rows have no gapless places."""
    with open_store(path) as store:
        store.ledger.open_session(book.record())
        for minute in range(40):
            entries = LedgerEntries(
                fills=[
                    book.fill(Side.BUY, 2, "10.25", minute=minute),
                    book.fill(Side.SELL, 1, "11.000001", minute=minute),
                ],
                intents=[book.intent(f"o{minute}", Side.BUY, 2)],
                equity=[book.worth(minute, "100", "1")],
            )
            store.ledger.commit(book.session, entries, book.at(minute))
    with duckdb.connect(str(path)) as raw:
        raw.execute("UPDATE equity SET marks = MAP {'SPY': 10.250001::DECIMAL(18, 6)} WHERE cash = 100")
        raw.execute("DELETE FROM fills WHERE booking = 7")
        raw.execute("INSERT INTO policy_states VALUES (?, 'SPY', 'f', now(), ?)", [book.session, b"\x00\xff'"])


def everything(path: Path) -> dict[str, Any]:
    """Every row in its order, of tables and views, and how they are made."""
    with duckdb.connect(str(path), read_only=True) as raw:
        raw.execute("SET TimeZone = 'UTC'")
        tables = [
            name for (name,) in raw.execute("SELECT table_name FROM duckdb_tables() WHERE NOT internal").fetchall()
        ]
        views = [name for (name,) in raw.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
        rows = {
            name: raw.execute(f"FROM {name} ORDER BY rowid").fetchall()
            for name in tables
            if name != "schema_migrations"
        }
        rows |= {name: raw.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in views}
        made = "SELECT sql FROM {}() WHERE schema_name = 'main' AND NOT coalesce(temporary, false) ORDER BY ALL"
        told = (
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
        )
        return rows | {
            "tables made": raw.execute(made.format("duckdb_tables")).fetchall(),
            "indexes made": raw.execute("SELECT sql FROM duckdb_indexes() ORDER BY ALL").fetchall(),
            "columns": raw.execute(told).fetchall(),
        }


@pytest.mark.parametrize("held", [False, True])
def test_what_is_restored_is_what_was_there(filled: Path, tmp_path: Path, held: bool) -> None:
    path = filled
    if held:
        with open_store(path) as store, open_door(store) as door:
            assert door.wait_until_open()
            back_up(path, tmp_path / "backup")
    else:
        back_up(path, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored.duckdb")
    assert everything(tmp_path / "restored.duckdb") == everything(path)
    [(price,)] = ask(tmp_path / "restored.duckdb", "SELECT max(price) FROM fills").rows
    assert price == Decimal("11.000001")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backup", "ledger.duckdb", "restored.duckdb"]
    assert read_manifest(tmp_path / "backup").tables["fills"].rows == 79


def test_the_hashes_can_be_checked_without_openbell(whole_backup: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=whole_backup, check=True)


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


def test_a_backup_of_a_running_session_is_of_one_moment(trading: Path, tmp_path: Path) -> None:
    seen = []
    for turn in range(3):
        manifest = read_manifest(back_up(trading, tmp_path / f"backup{turn}"))
        rows = {name: table.rows for name, table in manifest.tables.items()}
        assert rows["orders"] == rows["fills"] == 3 * rows["equity"]
        seen.append(rows["equity"])
    assert seen[0] < seen[1] < seen[2]  # it was committed to meanwhile
    copy = restore(tmp_path / "backup2", tmp_path / "restored.duckdb")
    assert ask(copy, "SELECT count(*) FROM orders ANTI JOIN fills USING (client_order_id)").rows == ((0,),)


def test_a_session_that_wants_the_file_gets_it_from_a_backup(path: Path, tmp_path: Path) -> None:
    """The backup ends its reading, and goes on through the session's door."""
    with open_store(path) as store, store.connection.transaction():
        store.connection.execute_planned(
            "INSERT INTO operator_requests BY NAME SELECT n::VARCHAR AS request_id, 'x' AS kind, 'me' AS asked_by, now() AS asked_at, "
            "to_json(string_agg(md5(random()::VARCHAR))) AS arguments FROM range(30) AS a(n), range(25000) GROUP BY n"
        )
    program = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from storage.backup import write_backup
print(flush=True)
made = write_backup(Path(sys.argv[1]), Path(sys.argv[2]), datetime.now(UTC), lambda accounts, into: {})
print(made.manifest.tables["operator_requests"].rows)
"""
    arguments = [sys.executable, "-c", program, str(path), str(tmp_path / "backup")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as backing:
        assert backing.stdout is not None
        backing.stdout.readline()
        drafts = tmp_path.glob(".backup.*.new/tables/account_balances.parquet")
        while not list(drafts) and backing.poll() is None:
            drafts = tmp_path.glob(".backup.*.new/tables/account_balances.parquet")
        with open_store(path) as store, open_door(store) as door:
            assert door.wait_until_open()
            said, _ = backing.communicate(timeout=60)
    assert said.strip() == "30"


def test_a_backup_takes_the_place_of_nothing(filled: Path, tmp_path: Path) -> None:
    path = filled
    folder = back_up(path, tmp_path / "backup")
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(ConfigurationError, match="has something in it"):
        back_up(path, folder)
    with pytest.raises(ConfigurationError, match="is a file"):
        back_up(path, path)
    with pytest.raises(ConfigurationError, match="no directory"):
        back_up(path, tmp_path / "none" / "backup")
    with pytest.raises(StoreError, match="There is no database"):
        back_up(tmp_path / "none.duckdb", tmp_path / "other")
    assert (folder / MANIFEST).read_bytes() == before
    (tmp_path / "empty").mkdir()
    assert read_manifest(back_up(path, tmp_path / "empty")).tables["fills"].rows == 79
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backup", "empty", "ledger.duckdb"]


FULL = """
import resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from storage.backup import write_backup
from trading.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
try:
    write_backup(Path(sys.argv[1]), Path(sys.argv[2]), datetime.now(UTC), lambda accounts, into: {})
except StoreError as error:
    print(error)
"""


def test_a_backup_that_has_no_room_leaves_nothing(filled: Path, tmp_path: Path) -> None:
    path = filled
    folder = tmp_path / "backup"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(folder)], capture_output=True, text=True, timeout=60, check=True
    )
    assert f"The disk is full: the backup {folder} could not be written" in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


DYING = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from storage.backup import write_backup

def die(accounts, into):
    os.kill(os.getpid(), signal.SIGKILL)

write_backup(Path(sys.argv[1]), Path(sys.argv[2]), datetime.now(UTC), die)
"""


def test_what_a_killed_backup_left_is_no_backup_and_goes_with_the_next(filled: Path, tmp_path: Path) -> None:
    path = filled
    folder = tmp_path / "backup"
    killed = subprocess.run([sys.executable, "-c", DYING, str(path), str(folder)], timeout=60, check=False)
    assert killed.returncode == -9
    [left] = tmp_path.glob(".backup.*.new")
    assert not folder.exists()
    with pytest.raises(StoreError, match="no whole backup"):
        restore(left, tmp_path / "restored.duckdb")
    back_up(path, folder)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backup", "ledger.duckdb"]


def flip_a_byte(folder: Path) -> None:
    file = folder / "tables" / "fills.parquet"
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 1
    file.write_bytes(held)


def drop_a_table(folder: Path) -> None:
    (folder / "tables" / "fills.parquet").unlink()


def lie_about_rows(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    document["tables"]["fills"]["rows"] = 3
    (folder / MANIFEST).write_text(json.dumps(document))


def lie_well(folder: Path) -> None:
    """Another number of rows, with all hashes made anew."""
    lie_about_rows(folder)
    sign_again(folder)


def leave_a_table_out(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    del document["tables"]["fills"]
    (folder / MANIFEST).write_text(json.dumps(document))
    sign_again(folder)


def swap_two_tables(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    tables = folder / "tables"
    (tables / "fills.parquet").write_bytes((tables / "equity.parquet").read_bytes())
    document["tables"]["fills"] = document["tables"]["equity"]
    (folder / MANIFEST).write_text(json.dumps(document))
    sign_again(folder)


def reach_outside(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    document["tables"]["../../x"] = document["tables"]["fills"]
    (folder / MANIFEST).write_text(json.dumps(document))
    sign_again(folder)


def drop_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def other_migrations(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    document["steps"]["3"] = "0" * 32
    (folder / MANIFEST).write_text(json.dumps(document))
    sign_again(folder)


def sign_again(folder: Path) -> None:
    lines = [line for line in (folder / SUMS).read_text().splitlines() if not line.endswith(MANIFEST)]
    (folder / SUMS).write_text("\n".join([*lines, f"{hash_of(folder / MANIFEST)}  {MANIFEST}"]) + "\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (flip_a_byte, r"tables/fills.parquet is not what was written"),
        (drop_a_table, r"tables/fills.parquet is missing"),
        (lie_about_rows, r"manifest.json is not what was written"),
        (lie_well, r"fills .* was not restored as it is in its file"),
        (leave_a_table_out, r"differ from schema version .* in fills"),
        (swap_two_tables, r"fills .* has other columns"),
        (reach_outside, r"does not say what one says"),
        (drop_the_manifest, r"manifest.json or SHA256SUMS cannot be read"),
        (other_migrations, r"other migrations"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_backup_that_was_changed_is_refused(
    whole_backup: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    folder = whole_backup
    spoil(folder)
    with pytest.raises(StoreError, match=words):
        restore(folder, tmp_path / "restored.duckdb")
    assert not list(tmp_path.glob("*restored*"))


def test_a_restore_writes_over_nothing(whole_backup: Path, filled: Path, tmp_path: Path) -> None:
    path = filled
    before = everything(path)
    with pytest.raises(ConfigurationError, match="is there already, and a restore writes over nothing"):
        restore(whole_backup, path)
    assert everything(path) == before
    with pytest.raises(ConfigurationError, match="no directory"):
        restore(whole_backup, tmp_path / "none" / "restored.duckdb")
    with pytest.raises(ConfigurationError, match=r"There is no backup"):
        restore(tmp_path / "none", tmp_path / "restored.duckdb")
    with pytest.raises(ConfigurationError, match=rf"holds 1 backups and is none itself.*{whole_backup}"):
        restore(tmp_path, tmp_path / "restored.duckdb")


def test_a_backup_of_a_newer_version_is_refused(whole_backup: Path, tmp_path: Path) -> None:
    document = json.loads((whole_backup / MANIFEST).read_text())
    document["schema_version"] = NEWEST + 1
    (whole_backup / MANIFEST).write_text(json.dumps(document))
    sign_again(whole_backup)
    with pytest.raises(StoreTooNew, match=rf"schema version {NEWEST + 1} .* up to {NEWEST}"):
        restore(whole_backup, tmp_path / "restored.duckdb")
    document["format"] = 2
    (whole_backup / MANIFEST).write_text(json.dumps(document))
    sign_again(whole_backup)
    with pytest.raises(StoreTooNew, match="format 2"):
        restore(whole_backup, tmp_path / "restored.duckdb")


@pytest.mark.parametrize("version", [2, 5])
def test_a_backup_of_an_older_version_is_brought_to_this_one(path: Path, tmp_path: Path, version: int) -> None:
    """Restored and then migrated, it is what the database becomes when it is migrated itself."""
    connection = Connection(path)
    migrate(connection, upto=version)
    with connection.transaction():
        connection.execute(
            f"INSERT INTO halts (scope, halted_at, reason{', rule' if version >= 4 else ''}) VALUES "
            f"('all', TIMESTAMPTZ '2026-01-05 15:00:00+00', 'a test'{', ' + repr('r') if version >= 4 else ''})"
        )
        connection.execute(
            "INSERT INTO equity VALUES ('s', TIMESTAMPTZ '2026-01-05 15:00:00+00', 1.000001, 0, 1.000001, 0, 0, 0, "
            "MAP {'SPY': 2.000002::DECIMAL(18, 6)})"
        )
    connection.close()
    manifest = read_manifest(back_up(path, tmp_path / "backup"))
    assert (manifest.schema_version, len(manifest.steps)) == (version, version)

    restore(tmp_path / "backup", tmp_path / "restored.duckdb")
    with open_store(path):
        pass  # brings it to this version
    assert everything(tmp_path / "restored.duckdb") == everything(path)
    assert ask(path, "SELECT max(version) FROM schema_migrations").rows == ((NEWEST,),)
    assert len(everything(path)["halts"]) == 1


def test_a_full_disk_while_restoring_leaves_nothing(whole_backup: Path, tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from storage.restoring import restore_backup
from trading.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
try:
    restore_backup(Path(sys.argv[1]), Path(sys.argv[2]), lambda account: Path(sys.argv[2] + account))
except StoreError as error:
    print(error)
"""
    before = sorted(os.listdir(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", program, str(whole_backup), str(tmp_path / "restored.duckdb")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "The disk is full" in done.stdout
    assert sorted(os.listdir(tmp_path)) == before
