"""A request handed in through the door: one row of one form, and the answer back. Nothing else is written by visitors."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.door import Door, open_door
from storage.extensions import load_quack
from storage.halt_flag import raise_flag
from storage.handed_in import answer_to, hand_in
from storage.ledger import DuckLedger
from storage.store import Store
from storage.visit import visit
from trading.decisions import Halt
from trading.errors import StoreError
from trading.limit_changes import LimitChange
from trading.operator_requests import RequestKind
from trading.orders import Side
from trading.ports import LedgerEntries
from trading.stops import Stop, StopAction, StopStep

AT = datetime(2026, 1, 5, 15, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(autouse=True)
def door(store: Store) -> Iterator[Door]:
    with open_door(store) as opened:
        assert opened.wait_until_open()
        yield opened


def test_a_request_reaches_the_session_and_its_answer_the_asker(store: Store, path: Path) -> None:
    asked = hand_in(path, RequestKind.RECONCILE, {"repair": True, "why": "it's 'odd'; --"}, "o'neill", AT)
    assert store.ledger.requests() == [asked]
    assert answer_to(path, asked.request_id, timeout_seconds=0) is None
    store.ledger.answer_request(asked.request_id, {"discrepancies": 2, "repaired": ["é"]}, AT)
    assert answer_to(path, asked.request_id, timeout_seconds=0) == {"discrepancies": 2, "repaired": ["é"]}
    assert store.ledger.requests() == []


@pytest.mark.parametrize("kind", list(RequestKind))
def test_every_kind_of_request_is_let_in(store: Store, path: Path, kind: RequestKind) -> None:
    asked = hand_in(path, kind, {"scope": "symbol:SPY", "reason": "it's odd", "minutes": None}, "anna", AT)
    assert store.ledger.requests() == [asked]


def test_a_whole_section_of_limits_is_let_in(store: Store, path: Path) -> None:
    # 120 settings of 60 characters: more than [risk] has, and every quote of the values is written twice.
    limits = {f"max_something_fraction_{number:03}": "0.25, it's 'quoted' or so" for number in range(120)}
    assert 7_000 < len(json.dumps(limits)) < 10_000
    asked = hand_in(path, RequestKind.LIMITS, {"limits": limits}, "anna", AT)
    assert store.ledger.requests() == [asked]


def test_flags_and_rows_are_asked_for_alike_and_a_visitor_sees_rows_alone(store: Store, path: Path) -> None:
    flag, row = raise_flag(path, {}, "ada", AT), hand_in(path, RequestKind.RESUME, {"scope": "all"}, "anna", AT)
    assert store.ledger.requests() == [flag, row]
    assert with_door(path, lambda ledger: ledger.requests()) == [row]
    store.ledger.answer_request(flag.request_id, {"halted": True}, AT)
    assert answer_to(path, flag.request_id, timeout_seconds=0) == {"halted": True}


def test_the_accounts_past_can_be_asked_through_the_door(store: Store, path: Path, book: Any) -> None:
    store.ledger.open_session(book.record())
    store.ledger.commit(
        book.session,
        LedgerEntries(
            fills=[book.fill(Side.BUY, 1, "10", order="in"), book.fill(Side.SELL, 1, "10", order="out")],
            equity=[book.worth(1, "99", "1")],
            marks={"SPY": Decimal("10")},
            halts=[Halt("all", "stop", book.at(1), rule="max_drawdown")],
            stops=[Stop("s", "paper", book.session, "all", "stop", True, "ada", book.at(1))],
            stop_steps=[StopStep("s", 1, book.at(1), StopAction.HALT, True, "")],
            limit_changes=[LimitChange("c", book.session, book.at(1), "ada", "allow_short", "true", "false")],
        ),
        book.at(1),
    )
    tomorrow = book.day + timedelta(days=1)

    def questions(ledger: DuckLedger) -> list[Any]:
        return [
            ledger.high_water_mark("paper"),
            ledger.high_water_mark("paper", tomorrow),
            ledger.equity_since("paper", book.at(0)),
            ledger.first_session_of("paper", book.day),
            ledger.marks_before("paper", tomorrow),
            ledger.cancels_since("paper", book.at(0)),
            ledger.day_trades("paper", book.day, tomorrow),
            ledger.active_halts("paper", "sma", [], book.at(2)),
            ledger.unfinished_stops("paper"),
            ledger.stop_steps("s"),
            ledger.limit_changes(book.session),
        ]

    here = questions(store.ledger)
    assert with_door(path, questions) == here
    assert [bool(answer) for answer in here] == [True, False, True, True, True, False, *[True] * 5]


def with_door(path: Path, question: Callable[[DuckLedger], Any]) -> Any:
    there = visit(path)
    assert there is not None
    try:
        return question(DuckLedger(there))
    finally:
        there.close()


def test_an_answer_is_waited_for(store: Store, path: Path) -> None:
    asked = hand_in(path, RequestKind.RECONCILE, {}, "anna", AT)

    def session() -> None:
        time.sleep(0.5)
        store.ledger.answer_request(asked.request_id, {"done": True}, AT)

    answering = threading.Thread(target=session)
    answering.start()
    assert answer_to(path, asked.request_id, timeout_seconds=10) == {"done": True}
    answering.join()


def test_a_request_is_written_while_the_session_writes(store: Store, path: Path, book: Any) -> None:
    asked: list[Any] = []

    def operator() -> None:
        for _ in range(20):
            asked.append(hand_in(path, RequestKind.RECONCILE, {}, "anna", AT))

    asking = threading.Thread(target=operator)
    asking.start()
    store.ledger.open_session(book.record())
    for minute in range(100):
        store.ledger.commit(book.session, book.bar(minute))
        time.sleep(0.002)
    asking.join()
    assert sorted(request.request_id for request in store.ledger.requests()) == sorted(one.request_id for one in asked)
    assert store.connection.rows("SELECT count(*) FROM equity") == [(100,)]


GOOD = (
    "INSERT INTO operator_requests (request_id, kind, arguments, asked_by, asked_at) "
    "VALUES ('{id}', 'reconcile', '{{}}', 'anna', TIMESTAMPTZ '2026-01-05T15:00:00+00:00')"
).format(id="0" * 32)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("operator_requests", "fills"),
        GOOD.replace("INSERT INTO operator_requests", "INSERT OR REPLACE INTO operator_requests"),
        GOOD.replace("'anna'", "(SELECT content FROM read_text('/etc/passwd'))"),
        GOOD.replace("'anna'", "getvariable('x')"),
        GOOD.replace("'anna'", "'anna' || 'x'"),
        GOOD.replace("'anna'", "'anna\\', x'"),
        GOOD.replace("'anna'", "NULL"),
        GOOD + ", " + GOOD.partition("VALUES ")[2].replace("'0", "'1"),
        GOOD + "; DELETE FROM fills",
        GOOD + "\n",
        GOOD + " RETURNING *",
        GOOD + " ON CONFLICT DO UPDATE SET kind = 'x'",
        "\n" + GOOD,
        GOOD.lower(),
        GOOD.replace("'{}'", "'" + "x" * 20_000 + "'"),
        GOOD.replace("'{}'", "'no JSON'"),
        GOOD.replace("asked_at)", "asked_at, answered_at)").replace("+00:00')", "+00:00', now())"),
        "INSERT INTO main.operator_requests VALUES (NULL)",
        "INSERT INTO operator_requests SELECT * FROM operator_requests",
        "UPDATE operator_requests SET kind = 'flatten'",
        "DELETE FROM operator_requests",
    ],
)
def test_a_row_of_any_other_form_is_not_let_in(store: Store, path: Path, text: str) -> None:
    there = visit(path)
    assert there is not None
    with pytest.raises(StoreError):
        there.hand_in(text)
    assert store.connection.rows("SELECT count(*) FROM operator_requests") == [(0,)]


def test_a_request_is_handed_in_once(store: Store, path: Path) -> None:
    there = visit(path)
    assert there is not None
    there.hand_in(GOOD)
    with pytest.raises(StoreError):
        there.hand_in(GOOD)
    assert len(store.ledger.requests()) == 1


def test_rows_cannot_be_appended_past_the_form(store: Store, path: Path) -> None:

    there = visit(path)
    assert there is not None
    with duckdb.connect() as raw:
        load_quack(raw)
        there.attach_to(raw, "held")
        with pytest.raises(duckdb.Error, match="Authorization failed"):
            raw.execute("INSERT INTO held.operator_requests VALUES ('x', 'reconcile', '{}', 'anna', now(), NULL, NULL)")
    assert store.ledger.requests() == []


def test_where_no_session_is_there_is_nobody_to_ask(store: Store, path: Path) -> None:
    store.connection.let_in(None)
    with pytest.raises(StoreError, match=r"No session that can be asked.*serve"):
        hand_in(path, RequestKind.RECONCILE, {}, "anna", AT)
