"""A database that is held can be asked by others, who can neither change it nor keep its holder from anything."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.door import Door, open_door
from storage.door_sign import DoorSign, hang_out, read_sign, sign_path
from storage.giving_way import wanted_path
from storage.questions import ask
from storage.store import Store, open_store
from storage.visit import visit
from trading.errors import ConfigurationError, StoreBusy, StoreError
from trading.orders import Side
from trading.ports import LedgerEntries

VISITOR = """
import json, sys
from pathlib import Path
from storage.door_sign import read_sign
from storage.extensions import load_quack
from storage.giving_way import wanted_path
from storage.questions import ask
import duckdb

path = Path(sys.argv[1])
raw = duckdb.connect()
load_quack(raw)
for line in sys.stdin:
    way, text = json.loads(line)
    try:
        if way == "ask":
            told = [list(map(repr, row)) for row in ask(path, text).rows]
        elif way == "send":  # past every check of ours on this side
            sign = read_sign(path)
            told = raw.execute(
                "SELECT * FROM quack_query(?, ?, token = ?)", [f"quack:127.0.0.1:{sign.port}", text, sign.token]
            ).fetchall()
        else:  # an attached database, as any DuckDB client has it
            sign = read_sign(path)
            raw.execute(f"ATTACH 'quack:127.0.0.1:{sign.port}' AS held (TOKEN '{sign.token}')")
            try:
                told = raw.execute(text).fetchall()
            finally:
                if way == "attached":
                    raw.execute("DETACH held")
    except Exception as error:
        told = {"refused": type(error).__name__, "words": str(error)}
    print(json.dumps(told, default=repr), flush=True)
"""

HOLDER = """
import sys, time
from pathlib import Path
from storage.door import open_door
from storage.store import open_store

with open_store(Path(sys.argv[1])) as store, open_door(store) as door:
    print(door.wait_until_open(), flush=True)
    time.sleep(float(sys.argv[2]))
"""


@dataclass
class Visitor:
    """Another process that asks the database."""

    process: "subprocess.Popen[str]"

    def begin(self, way: str, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([way, text]) + "\n")
        self.process.stdin.flush()

    def end(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def __call__(self, way: str, text: str) -> Any:
        self.begin(way, text)
        return self.end()


@pytest.fixture
def visitor(path: Path) -> Iterator[Visitor]:
    command = [sys.executable, "-c", VISITOR, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Visitor(process)
        process.kill()


@pytest.fixture
def door(store: Store, book: Any) -> Iterator[Door]:
    """A door of a database with a session, an order, two fills and what they are worth."""
    store.ledger.open_session(book.record())
    entries = LedgerEntries(
        intents=[book.intent("o", Side.BUY, 2), book.intent("p", Side.BUY, 3)],
        fills=[book.fill(Side.BUY, 2, "10.25"), book.fill(Side.SELL, 1, "13", minute=7)],
        equity=[book.worth(1, "99979.5", "20.5")],
    )
    store.ledger.commit(book.session, entries, book.at(1))
    with open_door(store) as opened:
        assert opened.wait_until_open()
        yield opened


def start_holder(path: Path, seconds: float) -> "subprocess.Popen[str]":
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    return holder


# Asking


@pytest.mark.usefixtures("door")
def test_a_database_that_is_held_answers_as_the_free_file_does(store: Store, visitor: Visitor) -> None:
    queries = [
        "SELECT price, filled_at, symbol, commission FROM fills ORDER BY filled_at; -- all of them",
        "SELECT settings, started_at, session_date FROM sessions",
        "FROM positions",
        "FROM trades",
        "FROM daily_pnl",
        "FROM slippage",
        "FROM open_orders ORDER BY client_order_id",
        "SELECT marks FROM equity",
        "SELECT micros_borne(price, 1, 2) FROM fills ORDER BY filled_at DESC",
        "WITH f AS (SELECT * FROM fills) SELECT count(*) AS n, sum(price * quantity) FROM f",
        "SELECT strftime(filled_at, '%H:%M'), filled_at::DATE FROM fills ORDER BY ALL",
        "DESCRIBE fills",
        "SHOW TABLES",
        "SUMMARIZE SELECT quantity FROM fills",
        "PRAGMA table_info('fills')",
        "VALUES (1.50, 'é;''')",
    ]
    through = [(visitor("ask", query), ask(store.path, query).columns) for query in queries]
    store.connection.let_in(None)
    store.connection.close()
    opened = [
        ([list(map(repr, row)) for row in ask(store.path, query).rows], ask(store.path, query).columns)
        for query in queries
    ]
    assert through == opened
    assert opened[0][0][0][0] == "Decimal('10.250000')"
    assert opened[0][0][0][1] == repr(datetime(2026, 1, 5, 14, 30, tzinfo=UTC))


@pytest.mark.usefixtures("door")
def test_what_was_just_committed_is_seen(store: Store, book: Any, visitor: Visitor) -> None:
    assert visitor("ask", "SELECT count(*) FROM fills") == [["2"]]
    store.ledger.commit(book.session, LedgerEntries(fills=[book.fill(Side.BUY, 1, "11")]))
    assert visitor("ask", "SELECT count(*) FROM fills") == [["3"]]


@pytest.mark.usefixtures("door")
def test_a_wrong_query_is_told_in_duckdbs_words_with_its_own_lines(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no answer: Binder Error.*nosuch.*LINE 1: SELECT nosuch"):
        ask(path, "SELECT nosuch\nFROM fills")
    with pytest.raises(ConfigurationError, match="Parser Error"):
        ask(path, "SELEKT 1")
    with pytest.raises(ConfigurationError, match="One query at a time"):
        ask(path, "SELECT 1; SELECT 2")


@pytest.mark.usefixtures("door")
def test_a_plan_is_explained(path: Path) -> None:
    [(kind, plan)] = ask(path, "EXPLAIN ANALYZE SELECT count(*) FROM fills").rows
    assert kind == "analyzed_plan"
    assert "fills" in plan


# Turned away

WRITING = [
    "INSERT INTO fills SELECT * FROM fills",
    "insert into halts (scope, halted_at, reason) values ('all', now(), '')",
    "UPDATE orders SET quantity = 1",
    "DELETE FROM fills",
    "/* only reading */ DELETE FROM fills -- SELECT",
    "\n\n  dElEtE FROM fills",
    "TRUNCATE fills",
    "DROP TABLE fills",
    "DROP VIEW trades",
    "ALTER TABLE fills ADD COLUMN x INT",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE OR REPLACE MACRO micros_borne(a, b, c) AS 0",
    "CREATE SCHEMA x",
    "COMMENT ON TABLE fills IS 'x'",
    "WITH x AS (SELECT 1) INSERT INTO halts SELECT 'all', now(), '' FROM x",
    "WITH x AS (DELETE FROM fills RETURNING *) SELECT * FROM x",
    "MERGE INTO fills USING fills AS f ON true WHEN MATCHED THEN DELETE",
    "EXPLAIN ANALYZE DELETE FROM fills",
    "EXPLAIN (ANALYZE) DELETE FROM fills",
    "explain /* */ analyze delete from fills",
    "EXPLAIN EXPLAIN ANALYZE DELETE FROM fills",
    "EXPLAIN ANALYZE EXPLAIN DELETE FROM fills",
    "PREPARE x AS DELETE FROM fills",
    "EXECUTE x",
    "SELECT 1; DELETE FROM fills",
    "SELECT 1;;DELETE FROM fills",
    "DELETE FROM fills; SELECT 1",
    "FROM main.fills; DELETE FROM fills",
    "FROM main.fills\n; DELETE FROM fills",
    "SELECT 1) ; DELETE FROM fills ; --",
    "SELECT 1\n) ; DELETE FROM fills ; FROM (SELECT 1",
]
ACTING = [
    "SET memory_limit = '1MB'",
    "SET GLOBAL quack_authorization_function = 'quack_nop_authorization'",
    "RESET GLOBAL quack_authorization_function",
    "SET enable_external_access = true",
    "SET VARIABLE x = 1",
    "PRAGMA force_checkpoint",
    "PRAGMA disable_checkpoint_on_shutdown",
    "PRAGMA enable_profiling",
    "CALL quack_stop('quack:127.0.0.1:1')",
    "CALL force_checkpoint()",
    "SELECT * FROM force_checkpoint()",
    "SELECT * FROM checkpoint()",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "ATTACH ':memory:' AS x",
    "DETACH openbell_answers",
    "USE openbell_answers",
    "INSTALL httpfs",
    "LOAD httpfs",
    "BEGIN",
    "BEGIN TRANSACTION",
    "begin transaction read only; delete from fills",
    "ROLLBACK",
    "COPY fills TO '/tmp/x.csv'",
    "COPY (SELECT 1) TO '/tmp/x.csv'",
    "COPY fills FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/x'",
    "IMPORT DATABASE '/tmp/x'",
    "SELECT * FROM quack_serve('quack:127.0.0.1:1', token = 'abcd')",
    "SELECT * FROM quack_stop('quack:127.0.0.1:1')",
    "SELECT * FROM quack_query('quack:127.0.0.1:1', 'DELETE FROM fills', token = 'abcd')",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM enable_profiling()",
    "SELECT * FROM truncate_duckdb_logs()",
    "SELECT write_log('x')",
    "SELECT nextval('x')",
    "SELECT sleep_ms(100000)",
    "SELECT openbell_door('x', 'SELECT 1')",
]
PEEPING = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM READ_TEXT('/etc/passwd')",
    "SELECT * FROM main.read_blob('/etc/passwd')",
    "SELECT * FROM system.main.read_text('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM parquet_scan('/tmp/x.parquet')",
    "SELECT * FROM read_duckdb('/tmp/x.duckdb')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "WITH x AS MATERIALIZED (FROM read_text('/etc/passwd')) FROM x",
    "SELECT * FROM range(1), LATERAL (FROM read_text('/etc/passwd'))",
    "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "SELECT * FROM query_table('fills')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT * FROM seq_scan('fills')",
    "SELECT * FROM arrow_scan(1::POINTER, 1::POINTER, 1::POINTER)",
    "SELECT * FROM pandas_scan(1::POINTER)",
    "SELECT * FROM '/etc/passwd'",
    "FROM 'https://127.0.0.1/x.parquet'",
    "FROM raw",
    "FROM store",
]


@pytest.mark.usefixtures("door")
def test_a_visitor_writes_nothing_acts_on_nothing_and_sees_nothing_else(store: Store, visitor: Visitor) -> None:
    def everything() -> list[Any]:
        named = store.connection.rows(
            """
            SELECT sql FROM duckdb_tables() WHERE database_name = current_database()
            UNION ALL SELECT sql FROM duckdb_views() WHERE database_name = current_database() ORDER BY ALL
            """
        )
        counted = [
            store.connection.rows(f"SELECT count(*) FROM {table}") for table in ("fills", "orders", "halts", "sessions")
        ]
        return [named, counted, store.connection.rows("SELECT current_setting('memory_limit')")]

    before = everything()
    for text in WRITING + ACTING + PEEPING:
        told = visitor("send", text)
        assert isinstance(told, dict), f"{text} was let in: {told}"
        told = visitor("ask", text)
        assert isinstance(told, dict), f"{text} was let in by ask: {told}"
    assert everything() == before
    assert visitor("ask", "SELECT count(*) FROM fills") == [["2"]]


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO held.fills SELECT * FROM held.fills",
        "INSERT INTO held.halts (scope, halted_at, reason) VALUES ('all', now(), '')",
        "CREATE TABLE held.x (i INT)",
        "CREATE TABLE held.x AS SELECT 1",
        "DROP TABLE held.fills",
        "DELETE FROM held.fills",
        "UPDATE held.fills SET quantity = 1",
    ],
)
@pytest.mark.usefixtures("door")
def test_an_attached_database_is_read_only(store: Store, visitor: Visitor, text: str) -> None:
    assert visitor("attached", "SELECT count(*) FROM held.fills") == [[2]]
    assert "refused" in visitor("attached", text)
    assert store.connection.rows("SELECT count(*) FROM fills") == [(2,)]
    assert store.connection.rows("SELECT count(*) FROM halts") == [(0,)]


@pytest.mark.usefixtures("door")
def test_without_the_token_nobody_comes_in(path: Path) -> None:
    sign = read_sign(path)
    assert sign is not None
    stranger = visit(path)
    assert stranger is not None
    assert stranger.rows("SELECT 1") == [(1,)]
    hang_out(path, DoorSign(sign.port, "0" * 64, sign.pid))
    stranger = visit(path)
    assert stranger is not None
    with pytest.raises(StoreError, match="Authentication failed"):
        stranger.rows("SELECT 1")
    with pytest.raises(StoreBusy):
        ask(path, "SELECT 1")


# The sign


def test_the_sign_is_its_owners_alone_and_goes_with_the_door(store: Store, door: Door) -> None:
    sign = sign_path(store.path)
    assert stat.S_IMODE(sign.stat().st_mode) == 0o600
    assert json.loads(sign.read_text())["pid"] == os.getpid()
    store.connection.let_in(None)
    assert not sign.exists()
    assert not door.is_open


def test_the_sign_of_a_killed_process_does_no_harm(path: Path, visitor: Visitor) -> None:
    holder = start_holder(path, 60)
    assert visitor("ask", "SELECT count(*) FROM fills") == [["0"]]
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert sign_path(path).exists()
    assert visitor("ask", "SELECT count(*) FROM fills") == [["0"]]
    with open_store(path) as store, open_door(store) as door:
        assert door.wait_until_open()
        assert visitor("ask", "SELECT count(*) FROM fills") == [["0"]]
    assert not sign_path(path).exists()


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"port": 1}', '{"port": "x", "token": 1, "pid": null}'])
def test_a_sign_that_says_nothing_is_none(path: Path, text: str) -> None:
    sign_path(path).write_text(text)
    assert read_sign(path) is None


@pytest.mark.usefixtures("store")
def test_who_asks_a_database_without_a_door_is_told_what_remains(path: Path) -> None:
    with pytest.raises(StoreBusy, match=r"held by this very process.*door is not open.*serve.*Wait.*snapshot"):
        ask(path, "SELECT 1")


@pytest.mark.usefixtures("store")
def test_a_door_that_nobody_answers_is_none(path: Path) -> None:
    hang_out(path, DoorSign(1, "0" * 64, os.getpid()))
    with pytest.raises(StoreBusy, match="did not answer"):
        ask(path, "SELECT 1")


# The holder is never kept waiting


@pytest.mark.usefixtures("door")
def test_the_holder_ends_in_the_middle_of_a_question(store: Store, visitor: Visitor) -> None:
    visitor.begin("send", "SELECT count(*) FROM fills a, range(100000000) b, range(1000) c")
    time.sleep(0.5)
    started = time.monotonic()
    store.connection.let_in(None)
    store.connection.close()
    assert time.monotonic() - started < 2
    with open_store(store.path) as again:  # no visitor holds on to the file
        assert again.connection.rows("SELECT count(*) FROM fills") == [(2,)]


def test_a_question_that_the_holders_end_cut_off_is_asked_again(path: Path, visitor: Visitor) -> None:
    holder = start_holder(path, 1)
    query = "SELECT count(*) FROM range(15000) a, range(15000) b WHERE (a.range * b.range) % 7 = 8"
    visitor.begin("ask", query)
    holder.communicate()
    assert visitor.end() == [["0"]]  # from the file, once it was free


def test_a_reader_of_the_free_file_gives_way_to_a_session(path: Path, visitor: Visitor) -> None:
    with open_store(path):
        pass
    slow = "SELECT count(*) FROM range(20000) a, range(20000) b WHERE (a.range * b.range) % 7 = 8"
    assert visitor("ask", "SELECT 1") == [["1"]]
    visitor.begin("ask", slow)
    time.sleep(0.7)
    began = time.monotonic()
    with open_store(path) as store, open_door(store) as door:
        assert time.monotonic() - began < 2
        assert door.wait_until_open()
        assert store.connection.rows("SELECT count(*) FROM fills") == [(0,)]
        time.sleep(0.3)
    assert visitor.end() == [["0"]]  # asked again, behind the door and at the file
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", "x", "999999999", "-1"])
def test_what_a_killed_writer_left_keeps_no_reader_out(path: Path, text: str) -> None:
    with open_store(path):
        pass
    wanted_path(path).write_text(text)
    assert ask(path, "SELECT count(*) FROM fills").rows == ((0,),)


def test_sessions_begin_and_end_between_questions(path: Path, visitor: Visitor) -> None:
    for _ in range(3):
        with open_store(path) as store, open_door(store) as door:
            assert door.wait_until_open()
            assert visitor("ask", "SELECT count(*) FROM fills") == [["0"]]
        assert visitor("ask", "SELECT count(*) FROM fills") == [["0"]]


@pytest.mark.usefixtures("door")
def test_a_question_may_not_take_the_memory_that_writing_needs(store: Store, book: Any, visitor: Visitor) -> None:
    visitor.begin("send", "SELECT list(md5(a.range::VARCHAR)) FROM range(100000000) a")
    refused, commits = [], 0
    told: list[Any] = []
    ended = threading.Thread(target=lambda: told.append(visitor.end()))
    ended.start()
    while ended.is_alive():
        try:
            store.ledger.commit(book.session, LedgerEntries(fills=[book.fill(Side.BUY, 1, "11")]))
            commits += 1
        except StoreError as error:
            refused.append(error)
        time.sleep(0.005)
    assert "memory" in told[0]["words"].lower()
    assert refused == []
    assert commits > 10
    assert visitor("ask", "SELECT count(*) FROM fills") == [[str(2 + commits)]]


def test_a_question_that_takes_too_long_is_ended_and_the_next_one_answered(store: Store, path: Path) -> None:
    door = Door(path, longest_seconds=0.5)
    store.connection.let_in(door)
    assert door.wait_until_open()
    with pytest.raises(ConfigurationError, match=r"took longer than 0\.5 s.*ask for less.*snapshot"):
        ask(path, "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1")
    assert ask(path, "SELECT 42").rows == ((42,),)


@pytest.mark.usefixtures("door")
def test_a_visitor_who_takes_only_the_first_rows_keeps_nobody_waiting(store: Store) -> None:
    there = visit(store.path)
    assert there is not None
    result = there._told("SELECT range FROM range(5000000)")
    assert result.fetchone() == (0,)
    started = time.monotonic()
    store.connection.let_in(None)
    store.connection.close()
    assert time.monotonic() - started < 2
    with open_store(store.path) as again:
        assert again.connection.rows("SELECT count(*) FROM fills") == [(2,)]


def test_the_door_opens_again_after_duckdb_gave_the_database_up(store: Store, door: Door, visitor: Visitor) -> None:
    first = read_sign(store.path)
    assert visitor("ask", "SELECT count(*) FROM fills") == [["2"]]
    with pytest.raises(StoreError, match="File too large"), store.connection.transaction():
        give_up(store)
    assert store.connection.rows("SELECT count(*) FROM fills") == [(2,)]
    assert door.wait_until_open()
    assert read_sign(store.path) != first
    assert visitor("ask", "SELECT count(*) FROM fills") == [["2"]]


def test_a_visitor_who_stays_cannot_make_the_holder_wait_for_ever() -> None:
    """In a process of its own: DuckDB keeps a core busy with waiting for that visitor as long as the process lives."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-o",
        "python_functions=holder_*",
    ]
    done = subprocess.run([*command, __file__], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "[100%]" in done.stdout


@pytest.mark.usefixtures("door")
def holder_with_a_visitor_who_stays(store: Store, visitor: Visitor) -> None:
    assert visitor("stay", "SELECT count(*) FROM held.fills") == [[2]]
    started = time.monotonic()
    with pytest.raises(StoreError, match="File too large"), store.connection.transaction():
        give_up(store)
    with pytest.raises(StoreError):
        store.connection.rows("SELECT count(*) FROM fills")
    with pytest.raises(StoreError, match=r"gave the database .* up"), open_store(store.path):
        pass
    assert time.monotonic() - started < 10


def give_up(store: Store) -> None:
    """Let the log fail to be folded into the file, on a disk that is full: then DuckDB gives up the whole instance."""
    raw, unlimited = store.connection._writer, resource.RLIM_INFINITY
    raw.execute("ROLLBACK")
    resource.setrlimit(resource.RLIMIT_FSIZE, (store.path.stat().st_size // 2, unlimited))
    try:
        raw.execute("CHECKPOINT")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))


# Without a door


def test_a_session_goes_on_where_the_door_cannot_be_opened(path: Path) -> None:
    sign_path(path).mkdir()  # no file can be written under this name
    with open_store(path) as store, open_door(store) as door:
        assert not door.wait_until_open()
        assert store.connection.rows("SELECT count(*) FROM fills") == [(0,)]
        with pytest.raises(StoreBusy, match="its door is not open"):
            ask(path, "SELECT 1")


def test_a_database_that_is_not_served_has_no_door(path: Path) -> None:
    with open_store(path) as store, open_door(store, serve=False) as door:
        assert not door.is_open
        assert not sign_path(path).exists()


@pytest.fixture
def without_quack(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment that has everything that this one has, save the wheels of DuckDB's extensions."""
    folder = tmp_path_factory.mktemp("packages")
    for packages in {Path(duckdb.__file__).parents[1], Path(pytest.__file__).parents[1]}:
        for package in packages.iterdir():
            if not package.name.startswith("duckdb_extension"):
                (folder / package.name).symlink_to(package)
    house = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": f"{house}{os.pathsep}{folder}"}


def test_who_cannot_load_the_extension_is_told_what_remains(
    path: Path, without_quack: dict[str, str], door: Door
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"from deployments.terminal.app import run; run(['sql', 'select 1', '--db', {str(path)!r}])",
        ],
        env=without_quack,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    said = " ".join(done.stderr.split())
    assert f"held by process {os.getpid()}" in said
    assert "pip install duckdb-extension-httpfs==" in said
    assert "wait until it is done" in said
    assert "openbell snapshot FILE" in said
    assert door.is_open


def test_a_holder_that_cannot_load_the_extension_goes_on(path: Path, without_quack: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", HOLDER, str(path), "0"],
        env=without_quack,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "False\n")
    assert done.stderr.count("\n") <= 1
    assert "duckdb-extension-httpfs" in done.stderr
    assert ask(path, "SELECT count(*) FROM fills").rows == ((0,),)


def test_visitors_at_every_moment_of_opening_and_shutting(path: Path) -> None:
    command = [sys.executable, "-c", VISITOR, str(path)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        told: list[Any] = []
        ending = threading.Event()

        def keep_asking(visitor: Visitor) -> None:
            while not ending.is_set():
                told.append(visitor("ask", "SELECT count(*) FROM fills"))

        threads = [threading.Thread(target=keep_asking, args=(Visitor(process),)) for process in (one, other)]
        with open_store(path):
            pass
        for thread in threads:
            thread.start()
        for turn in range(20):
            with open_store(path) as store, open_door(store) as door:
                if turn % 3:
                    door.wait_until_open()
                time.sleep(0.02 * (turn % 5))
        ending.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        one.kill()
        other.kill()
    assert told
    assert [answer for answer in told if answer != [["0"]]] == []
