"""The door of a database that is held: while one process trades, others can ask it in SQL.

DuckDB lets one process at a time into a file. So whoever holds it serves it: Quack on this machine alone, with a token
that only the holder's user can read. A question is run here, on a connection of its own, before Quack hands out its
answer; so it can be ended when it takes too long or too much memory, and when the door is shut.

The rule: a reader can neither change the ledger nor keep its holder from writing, ending or starting again. What comes
in is judged by ``door_rules``. When the door cannot be opened, the session goes on without.
"""

import contextlib
import logging
import os
import re
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from storage.connection import first_lines
from storage.door_rules import TurnedAway, explained, passes_as_it_is, question_in
from storage.door_sign import LEAVING, DoorSign, hang_out, sign_path, take_in
from storage.extensions import load_quack, quoted
from storage.store import Store
from trading.errors import StoreError

_log = logging.getLogger(__name__)

LONGEST_QUESTION_SECONDS = 20.0
MOST_BYTES = 500_000_000
"""Memory, of the connection's 1 GB, at which questions are ended; the rest is for writing."""
_MOST_SPILLED = 1_000_000_000
"""Bytes that questions may put aside on the disk, and never more than a quarter of what is free there."""
_QUESTIONS_AT_ONCE = 2
_ANSWER_KEPT_SECONDS = 10.0
"""Quack reads an answer in a transaction that begins at once; after this long the table can go."""
_LOOKED_AFTER_EVERY_SECONDS = 0.05
_INSTEAD = ", and a session is running: ask for less, or ask a copy that `openbell snapshot FILE` writes"
_NICENESS = 5
_PORTS_TRIED = 3
_ANSWERS = "openbell_answers"


@dataclass(slots=True)
class _Question:
    cursor: duckdb.DuckDBPyConnection
    asked_at: float
    ended_because: str = ""


class Door:
    """The door of one database. Opened and shut by the thread that owns the connection, used by Quack's threads."""

    def __init__(self, path: Path, longest_seconds: float = LONGEST_QUESTION_SECONDS) -> None:
        self._path = path
        self._longest_seconds = longest_seconds
        self._state = threading.Condition()
        self._shut = True
        self._running: list[_Question] = []
        self._places = threading.BoundedSemaphore(_QUESTIONS_AT_ONCE)
        self._answers: list[tuple[int, float]] = []
        self._count = 0
        self._raw: duckdb.DuckDBPyConnection | None = None
        self._sign: DoorSign | None = None
        self._opening: threading.Thread | None = None
        self._watching: threading.Thread | None = None

    def open_on(self, raw: duckdb.DuckDBPyConnection) -> None:
        """Begin to serve the database that ``raw`` is connected to. Returns at once; loading takes its time elsewhere."""
        self._shut = False
        self._raw = raw.cursor()
        self._opening = threading.Thread(target=self._open, args=(self._raw,), name="openbell-door", daemon=True)
        self._opening.start()

    @property
    def is_open(self) -> bool:
        """Whether others can come in by now."""
        return self._sign is not None

    def wait_until_open(self, timeout_seconds: float = 10.0) -> bool:
        """Wait for the opening to come to its end; whether the door is open then."""
        if self._opening is not None:
            self._opening.join(timeout_seconds)
        return self.is_open

    def shut(self) -> None:
        """End all questions, stop serving and take the sign in. Shutting a door that is shut does nothing."""
        if self._raw is None:
            return
        if self._opening is not None:
            self._opening.join()
        if self._sign is not None:
            take_in(self._path, self._sign)  # first: who is turned away from here on can see why
        with self._state:
            self._shut = True
            self._state.notify_all()
        if self._sign is not None:
            self._stop_serving(self._raw, self._sign.port)
        while self._questions_end():
            time.sleep(0.002)
        if self._watching is not None:
            self._watching.join()
        self._raw.close()
        self._raw = self._sign = self._opening = self._watching = None
        self._answers.clear()

    def _open(self, raw: duckdb.DuckDBPyConnection) -> None:
        try:
            load_quack(raw)
            raw.execute("SET TimeZone = 'UTC'")
            room = min(_MOST_SPILLED, shutil.disk_usage(self._path.parent).free // 4)
            raw.execute(f"SET max_temp_directory_size = '{room} bytes'")
            # Folding the log into the file is the one thing that can fail so that DuckDB gives the instance up, and then it
            # would wait for every visitor. It is done at the end, when the door is shut.
            raw.execute("SET wal_autocheckpoint = '256MB'")
            raw.execute(f"ATTACH ':memory:' AS {_ANSWERS}")
            # From here on the holder's DuckDB reads and writes its own file and nothing else, for readers as for itself.
            raw.execute("SET python_enable_replacements = false")
            raw.execute("SET enable_external_access = false")
            # Not folded into a constant: it runs once for each text, when it comes in.
            raw.create_function("openbell_door", self._judge, ["VARCHAR", "VARCHAR"], "VARCHAR", side_effects=True)
            raw.execute("SET GLOBAL quack_authorization_function = 'openbell_door'")
            sign = self._serve(raw)
            hang_out(self._path, sign)
        except (duckdb.Error, StoreError, OSError) as error:
            words = first_lines(error) if isinstance(error, duckdb.Error) else str(error)
            _log.warning("door=shut db=%s nobody can ask while this runs: %s", self._path, words)
            return
        self._sign = sign
        self._watching = threading.Thread(target=self._watch, args=(raw,), name="openbell-door-watch", daemon=True)
        self._watching.start()
        _log.info("door=open db=%s sign=%s port=%d", self._path, sign_path(self._path), sign.port)

    def _serve(self, raw: duckdb.DuckDBPyConnection) -> DoorSign:
        token = secrets.token_hex(32)
        for remaining in reversed(range(_PORTS_TRIED)):
            with socket.socket() as probe:  # Quack takes no port 0
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            try:
                raw.execute(f"CALL quack_serve('quack:127.0.0.1:{port}', token = '{token}')")
                return DoorSign(port, token, os.getpid())
            except duckdb.Error:
                if not remaining:
                    raise
        raise AssertionError("unreachable")

    def _stop_serving(self, raw: duckdb.DuckDBPyConnection, port: int) -> None:
        try:
            raw.execute(f"CALL quack_stop('quack:127.0.0.1:{port}')")
        except duckdb.Error:
            # A full disk can make DuckDB give up the instance; it then stops nothing either, and waits for its visitors
            # to leave before it lets go of the file.
            _hang_up(port)

    def _judge(self, visitor: str, sql: str) -> str | None:  # noqa: ARG002 - Quack tells who asks
        """What Quack shall run for a visitor's text; None turns it away. Called on Quack's threads.

        Quack asks here for rows that a client appends, too, in the form of an INSERT of its own making, and takes any
        text for a yes: so what is no question gets None, never an explanation.
        """
        try:
            if self._shut or self._raw is None:
                return None
            _step_back()
            if passes_as_it_is(sql):
                return sql
            return self._answered(self._raw, sql)
        except TurnedAway:
            return None
        except Exception:  # noqa: BLE001 - on a thread of Quack's, where a text that is not judged is not let in
            _log.exception("door=open db=%s a text was turned away", self._path)
            return None

    def _answered(self, raw: duckdb.DuckDBPyConnection, sql: str) -> str:
        """Run a question to its end and keep the answer; returns the text that reads it."""
        cursor = raw.cursor()
        try:
            inner = explained(sql)
            question = question_in(cursor, sql if inner is None else inner)
            if not self._places.acquire(timeout=self._longest_seconds):
                return _saying("others are asking too; ask again")
            try:
                return self._run(cursor, sql if inner is not None else question, inner is not None)
            finally:
                self._places.release()
        except duckdb.Error as error:  # no SQL, or of files: reading it fails where running it would
            raise TurnedAway(str(error)) from error
        finally:
            cursor.close()

    def _run(self, cursor: duckdb.DuckDBPyConnection, question: str, is_explanation: bool) -> str:
        asked = _Question(cursor, time.monotonic())
        with self._state:
            self._count += 1
            number = self._count
            self._running.append(asked)
            self._state.notify_all()
        table = f"{_ANSWERS}.main.a{number}"
        try:
            cursor.execute("SET TimeZone = 'UTC'")
            if is_explanation:
                plan = cursor.execute(question).fetchone() or ("", "")
                cursor.execute(
                    f"CREATE TABLE {table} AS SELECT CAST(? AS VARCHAR) AS explain_key, CAST(? AS VARCHAR) AS explain_value",
                    list(plan),
                )
            else:
                cursor.execute(f"CREATE TABLE {table} AS FROM (\n{question}\n)")
            return f"FROM {table}"
        except duckdb.Error as error:
            return _saying(asked.ended_because or _of_the_question(error))
        finally:
            with self._state:
                self._running.remove(asked)
                self._answers.append((number, time.monotonic()))

    def _watch(self, raw: duckdb.DuckDBPyConnection) -> None:
        """End questions that take too long or too much, and throw away answers that were handed out."""
        cursor = raw.cursor()
        while not self._shut:
            with self._state:
                if not self._running and not self._shut:
                    self._state.wait(_ANSWER_KEPT_SECONDS if self._answers else None)
            with contextlib.suppress(
                duckdb.Error
            ):  # DuckDB gave the instance up: whoever writes finds out and shuts us
                self._throw_away_answers(cursor)
            time.sleep(_LOOKED_AFTER_EVERY_SECONDS)
            if self._running and not self._shut:
                self._look_after_questions(cursor)
        cursor.close()

    def _look_after_questions(self, cursor: duckdb.DuckDBPyConnection) -> None:
        reason = ""
        with contextlib.suppress(duckdb.Error):
            row = cursor.execute(
                "SELECT sum(memory_usage_bytes) FROM duckdb_memory() WHERE tag <> 'BASE_TABLE'"
            ).fetchone()
            if row and row[0] > MOST_BYTES:
                reason = f"it took more than {MOST_BYTES // 1_000_000} MB of the session's memory{_INSTEAD}"
        now = time.monotonic()
        with self._state:
            for question in self._running:
                if now - question.asked_at > self._longest_seconds:
                    self._end(question, f"it took longer than {self._longest_seconds:g} s{_INSTEAD}")
                elif reason:
                    self._end(question, reason)

    def _end(self, question: _Question, reason: str) -> None:
        question.ended_because = reason
        question.cursor.interrupt()

    def _questions_end(self) -> bool:
        """Interrupt what still runs; whether anything does. A question that is about to begin hears it the next time."""
        with self._state:
            for question in self._running:
                self._end(question, LEAVING)
            return bool(self._running)

    def _throw_away_answers(self, cursor: duckdb.DuckDBPyConnection) -> None:
        oldest = time.monotonic() - _ANSWER_KEPT_SECONDS
        with self._state:
            gone = [number for number, answered_at in self._answers if answered_at < oldest]
            self._answers = [answer for answer in self._answers if answer[1] >= oldest]
        for number in gone:
            cursor.execute(f"DROP TABLE IF EXISTS {_ANSWERS}.main.a{number}")


@contextlib.contextmanager
def open_door(store: Store, serve: bool = True) -> Iterator[Door]:
    """Let others ask the open database until the end. Never fails: without a door there is one line in the log."""
    door = Door(store.path)
    if not serve:
        yield door
        return
    store.connection.let_in(door)
    try:
        yield door
    finally:
        store.connection.let_in(None)


def _of_the_question(error: duckdb.Error) -> str:
    """DuckDB's words, with lines counted as in the question and not as in the statement around it."""
    return re.sub(r"LINE (\d+):", lambda found: f"LINE {int(found[1]) - 1}:", str(error))


def _saying(words: str) -> str:
    """A statement that fails with these words."""
    return f"SELECT error({quoted(words)})"


def _step_back() -> None:
    """Let this thread give way to the one that trades, wherever there are fewer cores than work."""
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        thread = threading.get_native_id()
        if os.getpriority(os.PRIO_PROCESS, thread) < _NICENESS:
            os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)


def _as_socket(descriptor: int) -> socket.socket:
    """A second handle on an open socket; ``OSError`` for anything else."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _hang_up(port: int) -> None:
    """Cut every connection of this process to its own ``port``, and the listening one."""
    folder = next((name for name in ("/proc/self/fd", "/dev/fd") if os.path.isdir(name)), None)
    for name in os.listdir(folder) if folder else ():
        # Most are no sockets, and one is the listing itself, closed by now.
        with contextlib.suppress(OSError), _as_socket(int(name)) as one:
            if one.family in (socket.AF_INET, socket.AF_INET6) and one.getsockname()[1] == port:
                one.shutdown(socket.SHUT_RDWR)
