"""Fills in the ledger: corrections, inferred ones that give way, and the snapshots that go with them."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.store import Store
from trading.decisions import PositionSnapshot
from trading.fill_book import FillBook
from trading.orders import INFERRED, Execution, Fill, OrderStatus, Side
from trading.ports import LedgerEntries


def booked(store: Store) -> list[tuple[Any, ...]]:
    return store.connection.rows("SELECT exec_id, booking, quantity FROM fills ORDER BY booking")


def correction(fill: Fill, revision: int, **changes: Any) -> Fill:
    name = f"{fill.execution.lineage}.{revision}"
    return replace(fill, execution=replace(fill.execution, exec_id=name, revision=revision, **changes))


def guess(book: Any, quantity: int, order: str = "o") -> Fill:
    execution = Execution(f"{order}-inferred", order, "SPY", Side.BUY, quantity, Decimal(10), None, book.at(1))
    return Fill(execution, book.session, book.account, INFERRED)


def snapshot(book: Any, minute: int, quantity: int, cost: str, symbol: str = "SPY") -> PositionSnapshot:
    return PositionSnapshot(book.session, "paper", book.at(minute), symbol, quantity, Decimal(cost), Decimal(0))


def order_standing(store: Store) -> tuple[Any, ...]:
    [row] = store.connection.rows("SELECT status, filled_quantity FROM orders")
    return row


def test_a_corrected_fill_keeps_its_place_and_what_it_was_is_kept_apart(store: Store, book: Any) -> None:
    intent = book.intent("o", Side.BUY, 100)
    first, second = book.fill(Side.BUY, 60, "10"), book.fill(Side.BUY, 40, "11")
    store.ledger.commit(book.session, LedgerEntries(intents=[intent], fills=[first, second]))
    corrected = correction(first, 1, price=Decimal("9.5"), quantity=50)
    for _ in range(2):
        store.ledger.commit(book.session, LedgerEntries(fills=[corrected]))
    assert store.ledger.fills("paper") == [corrected, second]
    assert store.connection.rows("SELECT exec_id, booking, quantity, superseded_by FROM superseded_fills") == [
        (first.execution.exec_id, 1, 60, corrected.execution.exec_id)
    ]
    # 50 + 40 of 100 are filled; FILLED was said and is not taken back.
    assert order_standing(store) == ("FILLED", 90)


def test_a_correction_that_comes_first_stands_alone(store: Store, book: Any) -> None:
    first = book.fill(Side.BUY, 60, "10")
    corrected = correction(first, 2, price=Decimal("9.5"))
    for fill in (corrected, first, correction(first, 1)):
        store.ledger.commit(book.session, LedgerEntries(fills=[fill]))
    assert store.ledger.fills("paper") == [corrected]
    assert store.connection.rows("SELECT count(*) FROM superseded_fills") == [(0,)]


def test_an_execution_and_its_correction_in_one_commit_are_one_fill(store: Store, book: Any) -> None:
    first = book.fill(Side.BUY, 60, "10")
    corrected = correction(first, 1, quantity=70)
    store.ledger.commit(
        book.session, LedgerEntries(intents=[book.intent("o", Side.BUY, 100)], fills=[first, corrected])
    )
    assert booked(store) == [(corrected.execution.exec_id, 1, 70)]
    assert order_standing(store) == ("PARTIALLY_FILLED", 70)


def test_an_inferred_fill_gives_way_share_by_share_in_the_ledger(store: Store, book: Any) -> None:
    store.ledger.commit(
        book.session, LedgerEntries(intents=[book.intent("o", Side.BUY, 100)], fills=[guess(book, 100)])
    )
    assert order_standing(store) == ("FILLED", 100)
    store.ledger.commit(book.session, LedgerEntries(fills=[book.fill(Side.BUY, 30, "10.1")]))
    assert booked(store) == [("o-inferred:1", 1, 70), (f"{book.session}-x1", 2, 30)]
    store.ledger.commit(book.session, LedgerEntries(fills=[guess(book, 100), book.fill(Side.BUY, 80, "10.1")]))
    assert booked(store) == [(f"{book.session}-x1", 2, 30), (f"{book.session}-x2", 3, 80)]
    assert order_standing(store) == ("FILLED", 110)  # ten more than ordered: kept, for a comparison to tell
    store.ledger.commit(book.session, LedgerEntries(fills=[guess(book, 100)]))
    assert len(booked(store)) == 2
    assert store.connection.rows("SELECT exec_id, quantity FROM superseded_fills ORDER BY revision") == [
        ("o-inferred", 100),
        ("o-inferred:1", 70),
    ]


def test_hundreds_of_fills_are_folded_as_single_ones_are(store: Store, book: Any) -> None:
    fills = [book.fill(Side.BUY, 1, "10") for _ in range(150)]
    store.ledger.commit(book.session, LedgerEntries(fills=fills))
    corrected = [correction(fill, 1, price=Decimal(11)) for fill in fills[:100]]
    store.ledger.commit(book.session, LedgerEntries(fills=[*corrected, *fills]))
    assert store.ledger.fills("paper") == [*corrected, *fills[100:]]
    assert store.connection.rows("SELECT count(*) FROM superseded_fills") == [(100,)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), min_size=1, max_size=8), st.data())
def test_the_ledger_keeps_what_the_fill_book_says(
    store: Store, book: Any, told: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    with store.connection.transaction():
        for table in ("fills", "superseded_fills", "orders"):
            store.connection.execute(f"DELETE FROM {table}")
    fold = FillBook()
    store.ledger.commit(book.session, LedgerEntries(intents=[book.intent("o", Side.BUY, 100)]))
    for lineage, revision, known in [*told, *data.draw(st.lists(st.sampled_from(told), max_size=3))]:
        paid = Decimal(1) if known else None
        execution = Execution(
            f"L{lineage}.{revision}", "o", "SPY", Side.BUY, 5 + revision, Decimal(10), paid, book.at(0), f"L{lineage}", revision
        )  # fmt: skip
        fill = guess(book, 12) if lineage == 3 else Fill(execution, book.session, "paper", "ib")
        fold.absorb(fill)
        store.ledger.commit(book.session, LedgerEntries(fills=[fill]))
    assert store.ledger.fills("paper") == fold.fills
    assert order_standing(store)[1] == sum(fill.execution.quantity for fill in fold.fills)


def test_two_commits_at_one_bar_keep_both_snapshots(store: Store, book: Any) -> None:
    """A flatten at the close books at the bar that the loop has just committed."""
    store.ledger.commit(
        book.session,
        LedgerEntries(fills=[book.fill(Side.BUY, 10, "10", minute=5)], positions=[snapshot(book, 5, 10, "101")]),
    )
    sold = LedgerEntries(fills=[book.fill(Side.SELL, 10, "10", minute=5)], positions=[snapshot(book, 5, 0, "0")])
    for _ in range(2):
        store.ledger.commit(book.session, sold)
    assert store.connection.rows("SELECT booking, quantity FROM position_snapshots ORDER BY booking") == [
        (1, 10),
        (2, 0),
    ]
    assert store.connection.rows("SELECT * FROM positions") == []


def test_a_late_commission_restates_the_newest_snapshot(store: Store, book: Any) -> None:
    fill = book.fill(Side.BUY, 10, "10", commission=None)
    store.ledger.commit(book.session, LedgerEntries(fills=[fill], positions=[snapshot(book, 1, 10, "100")]))
    told = replace(fill, execution=replace(fill.execution, commission=Decimal(1)))
    store.ledger.commit(book.session, LedgerEntries(fills=[told], positions=[snapshot(book, 3, 10, "101")]))
    assert store.connection.rows(
        "SELECT booking, quantity, cost_basis, epoch_us(bar_time) FROM position_snapshots"
    ) == [(1, 10, Decimal(101), int(book.at(1).timestamp()) * 1_000_000)]
    assert store.connection.rows("SELECT cost_basis FROM positions") == [(Decimal(101),)]


def test_a_correction_that_pushes_an_inferred_fill_out_restates_the_newest_snapshot(store: Store, book: Any) -> None:
    real = book.fill(Side.BUY, 60, "10")
    store.ledger.commit(
        book.session, LedgerEntries(fills=[real, guess(book, 40)], positions=[snapshot(book, 1, 100, "1000")])
    )
    corrected = correction(real, 1, quantity=100)
    store.ledger.commit(book.session, LedgerEntries(fills=[corrected], positions=[snapshot(book, 2, 100, "1001")]))
    assert store.connection.rows("SELECT quantity, cost_basis FROM positions") == [(100, Decimal(1001))]


def test_an_account_that_trades_an_earlier_day_holds_what_it_booked_last(
    store: Store, book: Any, next_day: Any
) -> None:
    store.ledger.commit(
        next_day.session,
        LedgerEntries(fills=[next_day.fill(Side.BUY, 10, "10")], positions=[snapshot(next_day, 1, 10, "101")]),
    )
    store.ledger.commit(
        book.session, LedgerEntries(fills=[book.fill(Side.BUY, 5, "10")], positions=[snapshot(book, 1, 15, "152")])
    )
    assert store.connection.rows("SELECT quantity FROM positions") == [(15,)]


@pytest.mark.parametrize("at_open", [True, False], ids=["filled at the open", "filled within the bar"])
def test_the_snapshots_of_a_replay_have_the_fills_of_their_bars(store: Store, book: Any, at_open: bool) -> None:
    late = 0 if at_open else 0.5
    fills = [
        book.fill(side, quantity, "10", minute=minute + late)
        for minute, side, quantity in ((1, Side.BUY, 10), (2, Side.SELL, 4), (2, Side.SELL, 6), (5, Side.SELL, 3))
    ]
    store.ledger.commit_replay(
        [book.record()],
        LedgerEntries(
            fills=fills,
            positions=[snapshot(book, 1, 10, "101"), snapshot(book, 2, 0, "0"), snapshot(book, 5, -3, "-29")],
        ),
    )
    assert store.connection.rows("SELECT booking, quantity FROM position_snapshots ORDER BY booking") == [
        (1, 10),
        (3, 0),
        (4, -3),
    ]


def test_an_inferred_fill_that_was_shrunk_leaves_an_order_partially_filled(store: Store, book: Any) -> None:
    store.ledger.commit(
        book.session,
        LedgerEntries(
            intents=[book.intent("o", Side.BUY, 100)], fills=[guess(book, 40), book.fill(Side.BUY, 30, "10")]
        ),
    )
    assert store.ledger.find_orders(["o"])["o"].status is OrderStatus.PARTIALLY_FILLED
    assert order_standing(store) == ("PARTIALLY_FILLED", 40)
