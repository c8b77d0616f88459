"""Comparisons with the broker, what was made elsewhere, locks, and requests of operators."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from storage.store import Store
from trading.account_balances import Balance, BalanceReading, BalanceTag
from trading.differences import (
    GONE,
    Discrepancy,
    DiscrepancyKind,
    ExternalFill,
    ExternalOrder,
    InstrumentLock,
    Reconciliation,
    Repair,
)
from trading.operator_requests import OperatorRequest, RequestKind
from trading.orders import CLAIMED, Execution, Fill, Side
from trading.ports import LedgerEntries


def commit(store: Store, book: Any, **entries: Any) -> None:
    store.ledger.commit(book.session, LedgerEntries(**entries))


def external(book: Any, name: str, side: Side = Side.BUY, quantity: int = 10, **changes: Any) -> ExternalFill:
    known = ExternalFill(
        "paper", name, "b9", "SPY", side, quantity, Decimal("10.5"), Decimal(1), book.at(0), name, 0, book.at(1)
    )
    return replace(known, **changes)


def test_a_comparison_is_written_with_what_it_found_and_what_was_repaired(store: Store, book: Any) -> None:
    missing = Discrepancy(DiscrepancyKind.MISSING_FILL, "x1", "nothing", "10 SPY", "book it", "SPY", repairable=True)
    position = Discrepancy(DiscrepancyKind.POSITION, "SPY", "0", "5", "find out", "SPY", locking=True)
    cash = Discrepancy(DiscrepancyKind.CASH, "cash", "1", "2", "look at the statement")
    commit(
        store,
        book,
        reconciliations=[
            Reconciliation(
                "paper",
                book.session,
                book.at(0),
                "open",
                (missing, position, cash),
                (Repair(DiscrepancyKind.MISSING_FILL, "x1", "booked 10 SPY"),),
                (position, cash),
            ),
            Reconciliation("paper", "", book.at(0), "manual", ()),
        ],
    )
    assert store.connection.rows(
        "SELECT reconciliation_id, account, session_id, stage, discrepancies, repairs, remaining FROM reconciliations"
        " ORDER BY reconciliation_id"
    ) == [(1, "paper", book.session, "open", 3, 1, 2), (2, "paper", "", "manual", 0, 0, 0)]
    assert store.connection.rows(
        "SELECT number, kind, symbol, repairable, locking, remains FROM discrepancies ORDER BY number"
    ) == [
        (1, "missing_fill", "SPY", True, False, False),
        (2, "position", "SPY", False, True, True),
        (3, "cash", None, False, False, True),
    ]
    assert store.connection.rows("SELECT kind, subject, done FROM repairs") == [("missing_fill", "x1", "booked 10 SPY")]


def test_an_order_made_elsewhere_is_kept_as_it_was_last_seen(store: Store, book: Any) -> None:
    seen = ExternalOrder("paper", "b9", "SPY", Side.BUY, 100, 0, "Submitted", book.at(1))
    later = replace(seen, filled=40, seen_at=book.at(2))
    commit(store, book, external_orders=[seen])
    commit(store, book, external_orders=[seen, later])
    assert store.connection.rows("SELECT broker_order_id, filled_quantity, status FROM external_orders") == [
        ("b9", 40, "Submitted")
    ]


def test_a_fill_made_elsewhere_is_kept_once_by_its_newest_revision(store: Store, book: Any) -> None:
    first, other = external(book, "e1", commission=None), external(book, "e2", seen_at=book.at(2))
    corrected = replace(first, exec_id="e1.1", revision=1, quantity=12, commission=Decimal(2))
    commit(store, book, external_fills=[first, other])
    commit(store, book, external_fills=[replace(first, commission=Decimal(3)), other])
    assert store.ledger.external_fills("paper") == [replace(first, commission=Decimal(3)), other]
    for _ in range(2):
        commit(store, book, external_fills=[corrected, first])
    assert store.ledger.external_fills("paper") == [corrected, other]
    assert store.ledger.external_fills("another") == []
    assert store.ledger.fills("paper") == []


def test_a_claimed_fill_is_in_the_book_once_and_no_longer_external(store: Store, book: Any) -> None:
    mine, theirs = external(book, "e1"), external(book, "e2", symbol="QQQ")
    commit(store, book, external_fills=[mine, theirs])
    execution = Execution("e1", "", "SPY", Side.BUY, 10, Decimal("10.5"), Decimal(1), book.at(0))
    claimed = Fill(execution, book.session, "paper", CLAIMED)
    for _ in range(2):
        commit(store, book, fills=[claimed], external_fills=[mine])
    assert store.ledger.fills("paper") == [claimed]
    assert store.ledger.external_fills("paper") == [theirs]


def test_an_external_order_that_works_no_more_is_left_out(store: Store, book: Any) -> None:
    seen = ExternalOrder("paper", "b9", "SPY", Side.BUY, 100, 0, "Submitted", book.at(1))
    other = replace(seen, broker_order_id="b1")
    commit(store, book, external_orders=[seen, other])
    assert store.ledger.external_orders("paper") == [other, seen]
    commit(store, book, external_orders=[replace(seen, status=GONE, seen_at=book.at(2))])
    assert store.ledger.external_orders("paper") == [other]


def test_one_lock_stands_per_symbol_until_it_is_lifted(store: Store, book: Any) -> None:
    lock = InstrumentLock("paper", "SPY", book.at(1), "5 shares nobody can explain")
    commit(store, book, locks=[lock, InstrumentLock("paper", "QQQ", book.at(2), "1 share")])
    commit(store, book, locks=[replace(lock, locked_at=book.at(3), reason="still")])
    assert [it.symbol for it in store.ledger.locks("paper")] == ["SPY", "QQQ"]
    assert store.ledger.locks("paper")[0] == lock
    commit(store, book, lifted_locks=[replace(lock, locked_at=book.at(4))])
    assert [it.symbol for it in store.ledger.locks("paper")] == ["QQQ"]
    again = replace(lock, locked_at=book.at(6))
    commit(store, book, locks=[again])
    commit(store, book, lifted_locks=[replace(lock, locked_at=book.at(4))])  # told again: of a lock before this one
    assert again in store.ledger.locks("paper")
    assert store.ledger.locks("another") == []


def test_a_lock_that_is_lifted_and_made_in_one_comparison_stands(store: Store, book: Any) -> None:
    lock = InstrumentLock("paper", "SPY", book.at(1), "5 shares")
    commit(store, book, locks=[lock])
    new = replace(lock, locked_at=book.at(2), reason="7 shares")
    commit(store, book, lifted_locks=[new], locks=[new])
    assert store.ledger.locks("paper") == [new]


def ask(store: Store, book: Any, name: str, kind: str = "reconcile", arguments: str = "{}", minute: int = 0) -> None:
    with store.connection.transaction():
        store.connection.execute(
            "INSERT INTO operator_requests (request_id, kind, arguments, asked_by, asked_at) VALUES (?, ?, ?, 'me', ?)",
            [name, kind, arguments, book.at(minute)],
        )


def test_requests_wait_in_their_order_until_they_are_answered(store: Store, book: Any) -> None:
    ask(store, book, "r2", minute=2)
    ask(store, book, "r1", arguments='{"repair": true}', minute=1)
    assert store.ledger.requests() == [
        OperatorRequest("r1", RequestKind.RECONCILE, {"repair": True}, "me", book.at(1)),
        OperatorRequest("r2", RequestKind.RECONCILE, {}, "me", book.at(2)),
    ]
    store.ledger.answer_request("r1", {"cash": Decimal("1.5"), "remaining": []}, book.at(3))
    store.ledger.answer_request("r1", {"second": "answer"}, book.at(4))
    assert [it.request_id for it in store.ledger.requests()] == ["r2"]
    [(answer,)] = store.connection.rows("SELECT answer FROM operator_requests WHERE request_id = 'r1'")
    assert json.loads(answer) == {"cash": "1.5", "remaining": []}


@pytest.mark.parametrize("arguments", ["[1]", "null", "7", '"words"'])
def test_arguments_that_are_no_object_count_as_none(store: Store, book: Any, arguments: str) -> None:
    ask(store, book, "r1", arguments=arguments)
    assert store.ledger.requests()[0].arguments == {}


def test_a_request_that_nobody_knows_here_is_left_alone(store: Store, book: Any) -> None:
    ask(store, book, "r1", kind="dance")
    assert store.ledger.requests() == []


def test_nonsense_for_arguments_does_not_get_in(store: Store, book: Any) -> None:
    with pytest.raises(Exception, match="JSON") as raised:
        ask(store, book, "r1", arguments="{not json")
    assert isinstance(raised.value.__cause__, duckdb.Error)
    assert store.ledger.requests() == []


def test_balances_are_kept_by_comparison_tag_and_currency(store: Store, book: Any) -> None:
    def read(
        tag: BalanceTag, currency: str, amount: str, minute: int = 0, session: str = book.session
    ) -> BalanceReading:
        return BalanceReading("paper", session, book.at(minute), Balance(tag, currency, Decimal(amount)))

    told = [
        read(BalanceTag.CASH, "USD", "1000"),
        read(BalanceTag.CASH, "EUR", "-12.50"),
        read(BalanceTag.BUYING_POWER, "USD", "4000"),
        read(BalanceTag.CASH, "USD", "990", minute=1),
        read(BalanceTag.CASH, "USD", "980", session=""),
    ]
    for _ in range(2):
        commit(store, book, balances=told)
    commit(store, book, balances=[read(BalanceTag.CASH, "EUR", "-12.40"), read(BalanceTag.CASH, "EUR", "-12.30")])
    assert store.connection.rows(
        "SELECT session_id <> '', tag, currency, amount FROM account_balances"
        " ORDER BY session_id DESC, read_at, tag, currency"
    ) == [
        (True, "buying_power", "USD", Decimal(4000)),
        (True, "cash", "EUR", Decimal("-12.30")),
        (True, "cash", "USD", Decimal(1000)),
        (True, "cash", "USD", Decimal(990)),
        (False, "cash", "USD", Decimal(980)),
    ]


def test_a_balance_that_is_no_amount_is_none() -> None:
    with pytest.raises(ValueError, match="Infinity is not an amount"):
        Balance(BalanceTag.NET_LIQUIDATION, "USD", Decimal("Infinity"))
