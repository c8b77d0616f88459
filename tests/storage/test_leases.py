"""One runner writes for a session: the one that took it last."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.runners import is_surely_gone, this_runner
from storage.store import Store, open_store
from trading.decisions import Halt
from trading.differences import ExternalFill, InstrumentLock, Reconciliation
from trading.errors import LeaseLost, SessionHeld
from trading.leases import LEASE_LASTS, Runner
from trading.orders import CLAIMED, Execution, Fill, OrderEvent, OrderStatus, Side
from trading.ports import Ledger, LedgerEntries
from trading.sessions import SessionState

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
EXPIRED = NOW + LEASE_LASTS
ME, OTHER = this_runner("one"), this_runner("another")


@pytest.fixture
def second(store: Store) -> Iterator[Store]:
    """Another ledger on the same database, as another run in this process has it."""
    with open_store(store.path) as opened:
        yield opened


def rows_of_all(store: Store) -> dict[str, int]:
    tables = store.connection.rows("SELECT table_name FROM duckdb_tables() WHERE NOT internal")
    return {name: store.connection.rows(f"SELECT count(*) FROM {name}")[0][0] for (name,) in tables}


def fence(store: Store) -> tuple[int, str]:
    [(number, run)] = store.connection.rows("SELECT fence, run FROM session_leases")
    return number, run


def test_a_lease_is_taken_renewed_and_given_back(store: Store, book: Any) -> None:
    lease = store.ledger.take_lease(book.session, ME, NOW)
    assert (lease.session_id, lease.runner, lease.fence, lease.expires_at) == (book.session, ME, 1, EXPIRED)
    store.ledger.renew_lease(NOW + timedelta(seconds=15))
    [(expires_at, released_at)] = store.connection.rows("SELECT expires_at, released_at FROM session_leases")
    assert expires_at == EXPIRED + timedelta(seconds=15)
    assert released_at is None
    store.ledger.release_lease()
    store.ledger.release_lease()
    assert store.connection.rows("SELECT released_at IS NOT NULL FROM session_leases") == [(True,)]
    with pytest.raises(LeaseLost, match="no lease to renew"):
        store.ledger.renew_lease(NOW)
    store.ledger.commit(book.session, book.bar(1))


def test_a_lease_that_is_held_is_refused_with_who_has_it(store: Store, second: Store, book: Any) -> None:
    store.ledger.take_lease(book.session, ME, NOW)
    with pytest.raises(
        SessionHeld, match=rf"{book.session} is traded by process {os.getpid()} on .* until 14:31:00 UTC"
    ):
        second.ledger.take_lease(book.session, OTHER, EXPIRED - timedelta(microseconds=1))
    second.ledger.commit(book.session, book.bar(1))  # who has no lease is bound to none
    store.ledger.commit(book.session, book.bar(2))
    assert fence(store) == (1, "one")


@pytest.mark.parametrize(
    "make_free",
    [
        pytest.param(lambda _: None, id="expired"),
        pytest.param(lambda ledger: ledger.release_lease(), id="given back"),
    ],
)
def test_a_lease_that_is_free_is_taken_with_a_higher_fence(
    store: Store, second: Store, book: Any, make_free: Callable[[Ledger], None]
) -> None:
    store.ledger.take_lease(book.session, ME, NOW)
    make_free(store.ledger)
    assert second.ledger.take_lease(book.session, OTHER, EXPIRED).fence == 2


def test_the_same_runner_takes_its_own_lease_again(store: Store, book: Any) -> None:
    assert [store.ledger.take_lease(book.session, ME, NOW).fence for _ in range(3)] == [1, 2, 3]
    store.ledger.commit(book.session, book.bar(1))


def test_leases_of_two_sessions_are_apart(store: Store, second: Store, book: Any, next_day: Any) -> None:
    store.ledger.take_lease(book.session, ME, NOW)
    second.ledger.take_lease(next_day.session, OTHER, NOW)
    store.ledger.commit(book.session, book.bar(1))
    second.ledger.commit(next_day.session, next_day.bar(1))


def test_an_expired_lease_that_nobody_took_still_writes_and_can_be_renewed(store: Store, book: Any) -> None:
    store.ledger.take_lease(book.session, ME, NOW)
    store.ledger.commit(book.session, book.bar(1))
    store.ledger.renew_lease(EXPIRED + timedelta(hours=1))


def claimed(book: Any) -> Fill:
    return Fill(Execution("e", "", "SPY", Side.BUY, 1, Decimal(1), None, NOW), book.session, "paper", CLAIMED)


WRITES: dict[str, Callable[[Any, Any], object]] = {
    "open_session": lambda ledger, book: ledger.open_session(book.record()),
    "commit": lambda ledger, book: ledger.commit(book.session, book.bar(1), book.at(1)),
    "commit of an intent": lambda ledger, book: ledger.commit(
        book.session, LedgerEntries(intents=[book.intent("o", Side.BUY, 1)])
    ),
    "commit of everything that a comparison does": lambda ledger, book: ledger.commit(
        book.session,
        LedgerEntries(
            order_events=[OrderEvent("p", book.at(1), OrderStatus.ACCEPTED)],
            fills=[book.fill(Side.BUY, 1, "1")],
            locks=[InstrumentLock("paper", "SPY", book.at(1), "why")],
            reconciliations=[Reconciliation("paper", book.session, book.at(1), "open", ())],
        ),
    ),
    "commit of nothing": lambda ledger, book: ledger.commit(book.session, LedgerEntries()),
    "commit_replay": lambda ledger, book: ledger.commit_replay([book.record()], book.bar(1)),
    "close_session": lambda ledger, book: ledger.close_session(book.session, SessionState.COMPLETED, book.at(1), ""),
    "record_halt": lambda ledger, book: ledger.record_halt(Halt("all", "stop", book.at(1))),
    "clear_halts": lambda ledger, book: ledger.clear_halts("all", "me", book.at(1)),
    "claim": lambda ledger, book: ledger.commit(book.session, LedgerEntries(fills=[claimed(book)])),
    "answer_request": lambda ledger, book: ledger.answer_request("r", {}, book.at(1)),
    "renew_lease": lambda ledger, book: ledger.renew_lease(book.at(1)),
}


@pytest.mark.parametrize("write", WRITES)
def test_who_has_lost_the_lease_writes_nothing_more(store: Store, second: Store, book: Any, write: str) -> None:
    seen = ExternalFill("paper", "e", "b", "SPY", Side.BUY, 1, Decimal(1), None, NOW, "e", 0, NOW)
    second.ledger.record_halt(Halt("all", "stop", book.at(0)))
    second.ledger.commit(book.session, LedgerEntries(external_fills=[seen]))
    store.ledger.take_lease(book.session, ME, NOW)
    second.ledger.take_lease(book.session, OTHER, EXPIRED)
    before = rows_of_all(second)
    for _ in range(2):
        with pytest.raises(LeaseLost, match="taken over by another runner"):
            WRITES[write](store.ledger, book)
    store.ledger.release_lease()  # gives back nothing of the other's, and does not set this one free
    with pytest.raises(LeaseLost):
        WRITES[write](store.ledger, book)
    assert rows_of_all(second) == before
    assert second.connection.rows("SELECT cleared_at FROM halts") == [(None,)]
    assert second.ledger.external_fills("paper") == [seen]
    assert fence(second) == (2, "another")
    second.ledger.commit(book.session, book.bar(1))


def test_a_taking_waits_for_a_write_that_has_begun_and_sees_it(store: Store, second: Store, book: Any) -> None:
    """Of a write and a taking one comes first: there is no write that a taker has not seen and that stays."""
    store.ledger.take_lease(book.session, ME, NOW)
    taken: list[float] = []

    def take() -> None:
        second.ledger.take_lease(book.session, OTHER, EXPIRED)
        taken.append(time.monotonic())

    with store.ledger._writing():
        store.connection.execute(
            "INSERT INTO data_findings (session_id, symbol, finding, action, detail) VALUES ('s', 'SPY', 'gap', 'warn', '')"
        )
        taker = threading.Thread(target=take)
        taker.start()
        time.sleep(0.2)
        assert not taken
    written = time.monotonic()
    taker.join(timeout=10)
    assert taken[0] > written - 0.1
    assert second.connection.rows("SELECT count(*) FROM data_findings") == [(1,)]
    with pytest.raises(LeaseLost):
        store.ledger.commit(book.session, book.bar(1))


def test_a_write_waits_for_a_taking_that_has_begun_and_leaves_nothing(store: Store, second: Store, book: Any) -> None:
    store.ledger.take_lease(book.session, ME, NOW)
    refused: list[BaseException] = []

    def write() -> None:
        try:
            store.ledger.commit(book.session, book.bar(1))
        except LeaseLost as error:
            refused.append(error)

    with second.connection.transaction():
        second.connection.execute("UPDATE session_leases SET fence = 2, writes = writes + 1, run = 'another'")
        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.2)
        assert writer.is_alive()
    writer.join(timeout=10)
    assert len(refused) == 1
    assert store.connection.rows("SELECT count(*) FROM decisions") == [(0,)]


def test_two_that_take_a_new_session_at_once_are_one_holder(store: Store, second: Store) -> None:
    for number in range(25):
        outcomes: list[object] = []

        def take(at: Store, runner: Runner, name: str) -> None:
            try:
                outcomes.append(at.ledger.take_lease(name, runner, NOW).fence)  # noqa: B023
            except SessionHeld:
                outcomes.append("held")  # noqa: B023

        both = [
            threading.Thread(target=take, args=(at, runner, f"s{number}"))
            for at, runner in ((store, ME), (second, OTHER))
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(timeout=10)
        assert sorted(map(str, outcomes)) == ["1", "held"]


def test_a_lease_is_renewed_by_another_thread_while_the_session_writes(store: Store, book: Any) -> None:
    store.ledger.take_lease(book.session, ME, NOW)
    done = threading.Event()
    failed: list[BaseException] = []

    def renew() -> None:
        moment = NOW
        while not done.is_set():
            moment += timedelta(seconds=1)
            try:
                store.ledger.renew_lease(moment)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test tells it
                failed.append(error)
                return

    renewing = threading.Thread(target=renew)
    renewing.start()
    for minute in range(150):
        store.ledger.commit(book.session, book.bar(minute), book.at(minute))
        assert store.ledger.last_bar_time("paper") is None  # the session was not opened: nothing to say
    done.set()
    renewing.join(timeout=10)
    assert failed == []
    [(writes,)] = store.connection.rows("SELECT writes FROM session_leases")
    assert writes > 150
    assert store.connection.rows("SELECT count(*) FROM decisions") == [(150,)]


def test_this_process_is_there_and_a_reused_number_is_another_process() -> None:
    assert not is_surely_gone(ME)
    assert is_surely_gone(replace(ME, started="1"))
    assert not is_surely_gone(replace(ME, started=""))  # cannot be told
    assert not is_surely_gone(replace(ME, host="elsewhere", started="1"))


def test_a_lease_of_a_reused_number_is_taken_at_once(store: Store, second: Store, book: Any) -> None:
    store.ledger.take_lease(book.session, replace(ME, started="1"), NOW)
    assert second.ledger.take_lease(book.session, OTHER, NOW).fence == 2
    with pytest.raises(LeaseLost):
        store.ledger.commit(book.session, book.bar(1))


HOLD_A_LEASE = """
import sys, time
from datetime import datetime, UTC
from pathlib import Path
from storage.runners import this_runner
from storage.store import open_store
with open_store(Path(sys.argv[1])) as store:
    store.ledger.take_lease(sys.argv[2], this_runner("killed"), datetime(2026, 1, 5, 14, 30, tzinfo=UTC))
    print("taken", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "not yet asked for by its parent"])
def test_the_lease_of_a_killed_process_is_taken_at_once(path: Path, book: Any, reaped: bool) -> None:
    command = [sys.executable, "-c", HOLD_A_LEASE, str(path), book.session]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        os.kill(holder.pid, signal.SIGKILL)
        if reaped:
            holder.wait()
        else:
            assert holder.stdout.read() == ""  # it has let go of everything
        with open_store(path) as store:
            lease = store.ledger.take_lease(book.session, ME, NOW + timedelta(seconds=1))
            assert lease.fence == 2
            store.ledger.commit(book.session, book.bar(1))
