"""That the comparison of the two books notices what it is there for."""

import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.store import open_store

HERE = Path(__file__).parent
PLACES = [str(HERE), str(HERE.parent / "crash")]
sys.path[:0] = PLACES
try:
    import books
    from rehearsal_plan import LEDGER, Plan
finally:
    for place in PLACES:
        sys.path.remove(place)

PLAN = Plan("by hand")
ORDER = {
    "order_ref": "a", "symbol": "AAA", "action": "BUY", "quantity": 100, "filled": 100, "status": "Filled", "is_over": True,
}  # fmt: skip
EXECUTION = {
    "exec_id": "0001.01", "order_ref": "a", "symbol": "AAA", "side": "BUY", "quantity": 100, "price": "10", "commission": "1",
}  # fmt: skip
BOOK = books.GatewaysBook([ORDER], [EXECUTION], [], {"AAA": 100}, Decimal(98_999), [], [])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A ledger in which one order has filled: 100 AAA at 10, for a commission of 1, out of 100,000."""
    with open_store(tmp_path / LEDGER) as store:
        for statement in (
            "INSERT INTO sessions BY NAME SELECT 's' AS session_id, 'sma' AS strategy, 'DU1234567' AS account, "
            "DATE '2026-01-05' AS session_date, 'live' AS mode, 'COMPLETED' AS state, now() AS started_at, '{}' AS settings, "
            "'p' AS policy_fingerprint, 100000 AS starting_equity, 0 AS starting_realized_pnl",
            "INSERT INTO orders BY NAME SELECT 'a' AS client_order_id, 's' AS session_id, 'DU1234567' AS account, "
            "TIMESTAMPTZ '2026-01-05 15:00:00+00' AS bar_time, 'AAA' AS symbol, 'BUY' AS side, 100 AS quantity, "
            "'MARKET' AS order_type, 'DAY' AS time_in_force, 10 AS reference_price, "
            "TIMESTAMPTZ '2026-01-05 15:01:00+00' AS created_at, 'FILLED' AS status, 100 AS filled_quantity, 0 AS attempts",
            "INSERT INTO fills BY NAME SELECT '0001.01' AS exec_id, 1 AS booking, '0001' AS lineage, 1 AS revision, "
            "'a' AS client_order_id, 's' AS session_id, 'DU1234567' AS account, 'AAA' AS symbol, 'BUY' AS side, "
            "100 AS quantity, 10 AS price, 1 AS commission, TIMESTAMPTZ '2026-01-05 15:01:00+00' AS filled_at, 'ib' AS source",
        ):
            store.connection.rows(statement)
    return tmp_path


def found(book: Any, home: Path) -> list[str]:
    return books.differences(book, home, PLAN, was_restarted=False)


def changed(home: Path, statement: str) -> None:
    with open_store(home / LEDGER) as store:
        store.connection.rows(statement)


def test_books_that_agree_are_left_alone(home: Path) -> None:
    assert found(BOOK, home) == []


def test_a_second_order_for_one_intent_is_noticed(home: Path) -> None:
    assert "2 broker orders for the one intent a" in found(replace(BOOK, orders=[ORDER, ORDER]), home)


def test_an_order_that_nobody_intended_is_noticed(home: Path) -> None:
    stray = {**ORDER, "order_ref": "b"}
    assert any("never intended: b" in one for one in found(replace(BOOK, orders=[ORDER, stray]), home))


def test_a_fill_that_was_lost_is_noticed_with_its_shares_and_money(home: Path) -> None:
    changed(home, "DELETE FROM fills")
    told = found(BOOK, home)
    assert any("is not in the ledger" in one for one in told)
    assert any("the ledger comes to 0, the broker holds 100" in one for one in told)
    assert any("cash comes to 100000" in one for one in told)


def test_a_position_that_is_locked_may_differ(home: Path) -> None:
    held = replace(BOOK, positions={"AAA": 150})
    assert any("the broker holds 150" in one for one in found(held, home))
    changed(
        home,
        "INSERT INTO instrument_locks BY NAME SELECT 'DU1234567' AS account, 'AAA' AS symbol, now() AS locked_at, '' AS reason",
    )
    assert found(held, home) == []


def test_a_commission_or_price_that_differs_is_noticed(home: Path) -> None:
    for name, value in (("commission", "2"), ("price", "10.5"), ("quantity", 90)):
        assert any(
            "fill 0001.01 is" in one for one in found(replace(BOOK, executions=[{**EXECUTION, name: value}]), home)
        )


def test_an_order_that_works_on_is_noticed(home: Path) -> None:
    changed(home, "UPDATE orders SET status = 'CANCELLED'")
    works = {**ORDER, "status": "Submitted", "is_over": False}
    assert any("works at the broker" in one for one in found(replace(BOOK, orders=[works]), home))


def test_an_end_that_was_none_is_noticed(home: Path) -> None:
    changed(
        home,
        "INSERT INTO order_events BY NAME SELECT 'a' AS client_order_id, now() AS event_time, 'CANCELLED' AS status, "
        "'' AS detail, 's' AS session_id",
    )
    assert found(BOOK, home) == ["order a was taken for CANCELLED and is Filled"]


def alerts(*words: tuple[str, bool]) -> list[str]:
    lines = [{"what": "alert", "kind": kind, "subject": "", "over": over, "text": "?"} for kind, over in words]
    return list(books.alerts_too_many([lines]))


def test_an_episode_that_is_told_twice_is_noticed() -> None:
    assert alerts(("line_lost", False), ("line_lost", True), ("line_lost", False)) == []
    assert len(alerts(("line_lost", False), ("line_lost", False))) == 1
    assert len(alerts(("line_lost", False), ("line_lost", True), ("line_lost", True))) == 1
