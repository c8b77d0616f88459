"""A request handed in through the door: one row of one form, and the answer back. Nothing else is written by visitors."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.door import Door, open_door
from storage.extensions import load_quack
from storage.handed_in import answer_to, hand_in
from storage.store import Store
from storage.visit import visit
from trading.errors import StoreError
from trading.operator_requests import RequestKind

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
