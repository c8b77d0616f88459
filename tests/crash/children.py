"""Children that trade or look: forked from a parent that has imported everything and opened nothing.

Starting Python and importing pandas, pyarrow and DuckDB takes a second; a fork takes a few milliseconds. The parent
never opens a DuckDB file, whose threads would not survive the fork.
"""

import json
import mmap
import os
import pickle
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import one_session
from market_days import ACCOUNT_FILE, LEDGER, MarketDays
from moments_of_death import Death, Watch, place_of
from same_rows import Table, all_tables
from truths import agreement_of, beyond_broker, half_done, not_stopped, sent_and_adding

from storage.store import open_store

HANGS_AFTER_SECONDS = 60.0
JOURNAL = "journal-"
DIARY = "diary.txt"
_PAUSE_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child that trades ended: killed at a place, or with an exit code. ``told`` is its journal."""

    killed: bool
    place: tuple[str, str]
    exit_code: int | None
    seconds: float
    told: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Child:
    """A child that trades. Its journal is its own, so that of two at once each can be heard."""

    pid: int
    home: Path
    journal: Path
    shared: mmap.mmap
    started: float
    dies_after_seconds: float | None

    def freeze(self) -> None:
        """Stop it where it is, as a machine that swaps or a debugger does."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)


def start(
    home: Path,
    days: MarketDays,
    day: date,
    death: Death | None = None,
    gate: int | None = None,
    largest_file: int | None = None,
) -> Child:
    """Let a child trade ``day`` in ``home`` and die as it should, if it lives that long.

    ``gate``: it starts when this file descriptor has something to read. ``largest_file``: in bytes; beyond that the disk is
    full for it, for the ledger sooner than for the broker's account.
    """
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    journal = home / f"{JOURNAL}{len(list(home.glob(JOURNAL + '*'))):03d}.jsonl"
    journal.touch()

    def work() -> int:
        os.chdir(home)
        watch = Watch(shared, os.open(journal.name, os.O_WRONLY | os.O_APPEND), death)
        if gate is not None:
            select.select([gate], [], [])
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
        code = one_session.trade(
            days.settings,
            day,
            watch,
            small_account=largest_file is not None,
            operator_stops=days.operator_stops,
        )
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        watch.note("survived", visits=watch.visits, seconds=watch.seconds)
        return code

    started = time.perf_counter()
    pid = _fork(work, home / DIARY)
    return Child(
        pid, home, journal, shared, started, death.after_seconds if death is not None and death.is_random else None
    )


def finish(child: Child) -> Ended:
    """Wait until the child has ended, killing it at its moment."""
    status, killed_by_us = _await(child.pid, child.dies_after_seconds)
    seconds = time.perf_counter() - child.started
    place = place_of(child.shared)
    child.shared.close()
    with child.journal.open("rb") as lines:
        # The last line may be cut in the middle: the kill can hit a write.
        told = [json.loads(line) for line in lines if line.endswith(b"\n")]
    if os.WIFEXITED(status):
        return Ended(False, place, os.WEXITSTATUS(status), seconds, told)
    if not killed_by_us and os.WTERMSIG(status) not in (signal.SIGKILL, signal.SIGALRM):
        raise ChildDied(f"a session died of signal {os.WTERMSIG(status)} by itself {place}; see {child.home / DIARY}")
    return Ended(True, place, None, seconds, told)


def trade(home: Path, days: MarketDays, day: date, death: Death | None) -> Ended:
    """Start a child and wait for its end."""
    return finish(start(home, days, day, death))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look into the files found."""

    violations: list[str]
    tables: dict[str, Table]
    last_bars: dict[str, str]
    activity: dict[str, int]


def look(home: Path, at_the_end: bool, sent_while_halted: Iterable[str] = (), must_be_flat: bool = False) -> Seen:
    """Judge the files as they lie in ``home`` in a child of its own, without touching them.

    ``sent_while_halted``: orders that were first sent while everything was halted. ``must_be_flat``: what was stopped has
    to be by now.
    """
    reading, writing = os.pipe()

    def work() -> int:
        os.close(reading)
        with os.fdopen(writing, "wb") as answer:
            pickle.dump(_look(home, at_the_end, sent_while_halted, must_be_flat), answer)
        return 0

    pid = _fork(work, home / DIARY)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        found = answer.read()
    status, _ = _await(pid, None)
    if status != 0 or not found:
        diary = (home / DIARY).read_text(errors="replace").strip().splitlines()
        return Seen([f"the files cannot be judged: {diary[-1] if diary else 'no word'}"], {}, {}, {})
    seen: Seen = pickle.loads(found)
    return seen


def prepare(home: Path, do: Callable[[], object]) -> bool:
    """Do something to the files in ``home`` between two sessions; whether it says that something was done."""

    def work() -> int:
        os.chdir(home)
        return 0 if do() is not None else 3

    status, _ = _await(_fork(work, home / DIARY), None)
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        raise ChildDied(f"what an operator does failed; see {home / DIARY}")
    return status == 0


def remove(home: Path) -> None:
    """Take away what a case has left that nobody needs to look at."""
    shutil.rmtree(home)


class ChildDied(Exception):
    """A child ended in a way that is nobody's plan."""


def _look(home: Path, at_the_end: bool, sent_while_halted: Iterable[str], must_be_flat: bool) -> Seen:
    """Opens copies: whoever opens a file replays its log, and that is for the next session to do."""
    if not (home / LEDGER).exists():
        if (home / ACCOUNT_FILE).exists():
            return Seen(["the broker has an account and there is no ledger"], {}, {}, {})
        return Seen([], {}, {}, {})
    with tempfile.TemporaryDirectory(prefix="look-", dir=home) as copies:
        for file in home.iterdir():
            if file.name.startswith((LEDGER.name, ACCOUNT_FILE.name)) and not file.name.endswith("-shm"):
                shutil.copyfile(file, Path(copies, file.name))
        account = Path(copies, ACCOUNT_FILE)
        with open_store(Path(copies, LEDGER), read_only=True) as store:
            rows = store.connection.rows
            violations = [*half_done(rows), *beyond_broker(rows, account), *sent_and_adding(rows, sent_while_halted)]
            if at_the_end:
                violations += list(agreement_of(rows, account))
            if must_be_flat:
                violations += list(not_stopped(rows, account))
            last_bars = {
                name: last.isoformat()
                for name, last in rows("SELECT session_id, last_bar_time FROM sessions WHERE last_bar_time IS NOT NULL")
            }
            tables = all_tables(rows) if at_the_end else {}
            return Seen(list(dict.fromkeys(violations)), tables, last_bars, _activity(rows) if at_the_end else {})


def _activity(rows: Callable[[str], Any]) -> dict[str, int]:
    """How busy the sessions were."""
    [counted] = rows(
        """
        SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM orders), (SELECT count(*) FROM fills),
            (SELECT count(*) FROM fills JOIN orders USING (client_order_id) WHERE fills.quantity < orders.quantity),
            (SELECT count(*) FROM orders WHERE status = 'CANCELLED'), (SELECT count(*) FROM halts),
            (SELECT count(*) FROM (
                SELECT symbol FROM fills WHERE session_id = (SELECT arg_min(session_id, session_date) FROM sessions)
                GROUP BY 1 HAVING sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END) <> 0)),
            (SELECT count(*) FROM risk_checks WHERE verdict = 'FLATTENED'),
            (SELECT count(*) FROM risk_checks WHERE rule = 'entries_withdrawn'),
            (SELECT count(*) FROM stops)
        """
    )
    names = ("sessions", "orders", "fills", "partial fill", "cancel", "halt", "carried position")
    names += ("flattened", "withdrawn", "stop")
    return dict(zip(names, counted, strict=True))


def _fork(work: Callable[[], int], diary: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    # The child: nothing of the parent's may run in it, whatever happens.
    code = 1
    try:
        with diary.open("ab", buffering=0) as writing:
            os.dup2(writing.fileno(), 1)
            os.dup2(writing.fileno(), 2)
        code = work()
    except BaseException:  # noqa: BLE001 - said in the diary; the parent sees the exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _await(pid: int, kill_after_seconds: float | None) -> tuple[int, bool]:
    """Wait for our child, killing it after a while where asked for; its wait status and whether we killed it."""
    started = time.perf_counter()
    killed = False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status, killed and os.WIFSIGNALED(status)
        passed = time.perf_counter() - started
        if not killed and kill_after_seconds is not None and passed >= kill_after_seconds:
            os.kill(pid, signal.SIGKILL)
            killed = True
        if passed > HANGS_AFTER_SECONDS:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise ChildDied(f"a child did not end within {HANGS_AFTER_SECONDS:.0f} s")
        time.sleep(
            _PAUSE_SECONDS
            if kill_after_seconds is None
            else min(_PAUSE_SECONDS, max(kill_after_seconds - passed, 1e-5))
        )
