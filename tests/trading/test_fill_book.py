"""Which executions count, whatever order their messages come in and however often."""

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.fill_book import FillBook
from trading.orders import INFERRED, Execution, Fill, Side

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def fill(
    lineage: str,
    quantity: int = 100,
    price: str = "10",
    revision: int = 0,
    commission: str | None = "1",
    order: str = "o",
    source: str = "paper",
    session: str = "monday",
) -> Fill:
    paid = None if commission is None else Decimal(commission)
    name = f"{lineage}.{revision}"
    return Fill(
        Execution(name, order, "SPY", Side.BUY, quantity, Decimal(price), paid, AT, lineage, revision),
        session,
        "paper",
        source,
    )


def inferred(quantity: int, name: str = "guess", order: str = "o", commission: str | None = None) -> Fill:
    return fill(name, quantity, order=order, source=INFERRED, commission=commission)


def after(messages: Iterable[Fill], book: FillBook | None = None) -> FillBook:
    book = book or FillBook()
    for message in messages:
        book.absorb(message)
    return book


def shares(book: FillBook) -> list[tuple[str, int]]:
    return [(it.execution.lineage, it.execution.quantity) for it in book.fills]


def test_a_correction_takes_the_place_of_what_it_corrects() -> None:
    first, other = fill("a", price="10"), fill("b")
    book = after([first, other])
    corrected = fill("a", price="11", revision=1)
    [change] = book.absorb(corrected)
    assert (change.before, change.after, change.cause) == (first, corrected, "a.1")
    assert book.fills == [corrected, other]


def test_an_execution_that_is_told_after_its_correction_is_passed_over() -> None:
    corrected = fill("a", price="11", revision=2)
    book = after([corrected])
    for late in (fill("a", revision=0), fill("a", revision=1), corrected):
        assert book.absorb(late) == []
    assert book.fills == [corrected]


def test_a_correction_of_the_next_day_belongs_to_the_session_and_order_of_the_execution() -> None:
    book = after([fill("a", session="monday", order="o")])
    book.absorb(fill("a", price="11", revision=1, session="tuesday", order=""))
    [kept] = book.fills
    assert (kept.session_id, kept.execution.client_order_id, kept.execution.price) == ("monday", "o", Decimal("11"))


def test_a_commission_becomes_known_once_and_for_its_own_execution_alone() -> None:
    book = after([fill("a", commission=None)])
    [change] = book.absorb(fill("a", commission="1.25"))
    assert change.is_commission
    assert book.absorb(fill("a", commission="9")) == []
    assert book.absorb(fill("a", commission=None)) == []
    assert book.fills[0].execution.commission == Decimal("1.25")
    book = after([fill("a", revision=1, commission=None), fill("a", revision=0, commission="1")])
    assert book.fills[0].execution.commission is None


def test_an_execution_id_names_one_execution_whatever_lineage_it_is_told_with() -> None:
    known = fill("a")
    book = after([known])
    again = replace(known, execution=replace(known.execution, lineage="another", revision=3))
    assert book.absorb(again) == []
    assert book.fills == [known]


def test_inferred_shares_give_way_to_as_many_executed_ones() -> None:
    book = after([inferred(100, commission="1")])
    [new, reduced] = book.absorb(fill("a", 30))
    assert new.before is None
    assert reduced.cause == "a.0"
    # 70 of the 100 shares are still inferred, with 70 % of their commission.
    assert [(it.execution.quantity, it.execution.commission, it.is_inferred) for it in book.fills] == [
        (70, Decimal("0.7"), True),
        (30, Decimal(1), False),
    ]
    [_, dropped] = book.absorb(fill("b", 70))
    assert dropped.after is None
    assert shares(book) == [("a", 30), ("b", 70)]


def test_more_executed_than_inferred_is_kept_and_a_repeated_inference_does_not_come_back() -> None:
    book = after([inferred(50), fill("a", 80), inferred(50)])
    assert shares(book) == [("a", 80)]


def test_a_repeated_inference_does_not_undo_what_gave_way() -> None:
    assert shares(after([inferred(50), fill("a", 20), inferred(50)])) == [("guess", 30), ("a", 20)]


def test_the_oldest_inference_gives_way_first_and_other_orders_keep_theirs() -> None:
    book = after([inferred(10, "g1"), inferred(10, "g2"), inferred(10, "g3", order="p"), fill("a", 15)])
    assert shares(book) == [("g2", 5), ("g3", 10), ("a", 15)]


def test_an_execution_that_was_booked_before_the_inference_does_not_replace_it() -> None:
    # The broker said 100, 60 were seen: 40 were inferred. The 60 told again are those same 60.
    assert shares(after([fill("a", 60), inferred(40), fill("a", 60)])) == [("a", 60), ("guess", 40)]


def test_shares_that_a_correction_adds_were_inferred_before() -> None:
    book = after([fill("a", 60), inferred(40), fill("a", 75, revision=1)])
    assert shares(book) == [("a", 75), ("guess", 25)]
    book.absorb(fill("a", 50, revision=2))
    assert shares(book) == [("a", 50), ("guess", 25)]  # the next comparison finds the missing 25


def test_an_inference_that_was_corrected_to_a_real_execution_gives_way_no_more() -> None:
    real = replace(fill("guess", 40, revision=1), source="paper")
    assert shares(after([inferred(40), real, fill("a", 40)])) == [("guess", 40), ("a", 40)]


def test_a_book_that_is_begun_from_what_counts_goes_on_as_if_it_had_seen_it_all() -> None:
    begun = after([inferred(100), fill("a", 30)])
    again = FillBook(begun.fills)
    for book in (begun, again):
        book.absorb(fill("b", 20))
    assert begun.fills == again.fills
    assert FillBook(gone=["guess"]).absorb(inferred(10)) == []


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[Fill], list[Fill]]:
    """Executions with their corrections and late commissions, in two orders and with repeats."""
    told: list[Fill] = []
    for number in range(draw(st.integers(1, 5))):
        for revision in range(draw(st.integers(1, 3))):
            quantity, price = draw(st.integers(1, 500)), draw(st.integers(1, 50))
            it = fill(f"L{number}", quantity, str(price), revision, "1.5", order=f"o{number % 2}")
            told.append(it)
            if draw(st.booleans()):
                told.append(replace(it, execution=replace(it.execution, commission=None)))
    repeated = told + draw(st.lists(st.sampled_from(told), max_size=8))
    seed = draw(st.integers(0, 2**16))
    shuffled = list(repeated)
    random.Random(seed).shuffle(shuffled)
    return told, shuffled


def by_lineage(book: FillBook) -> list[Fill]:
    return sorted(book.fills, key=lambda it: it.execution.lineage)


@given(messages())
def test_whatever_order_the_messages_come_in_the_same_fills_count(told: tuple[list[Fill], list[Fill]]) -> None:
    straight, shuffled = told
    assert by_lineage(after(straight)) == by_lineage(after(shuffled))
    once = after(shuffled)
    assert after(shuffled, once).fills == once.fills


@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 3)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_an_order_never_counts_less_than_was_inferred_nor_a_share_twice(
    guess: int, executed: list[tuple[int, int]], chance: random.Random
) -> None:
    """Executions with price corrections after an inference, in any order: the larger of the two totals counts."""
    told = [
        fill(f"L{number}", quantity, str(10 + revision), revision)
        for number, (quantity, revisions) in enumerate(executed)
        for revision in range(revisions)
    ]
    shuffled = [*told, chance.choice(told), inferred(guess)]
    chance.shuffle(shuffled)
    book = after([inferred(guess), *shuffled])
    total = sum(it.execution.quantity for it in book.fills)
    assert total == max(guess, sum(quantity for quantity, _ in executed))


@given(messages())
def test_the_changes_that_are_told_lead_from_one_state_to_the_next(told: tuple[list[Fill], list[Fill]]) -> None:
    book = after([inferred(150, order="o0"), inferred(40, "guess2", order="o1")])
    counting = {it.execution.exec_id: it for it in book.fills}
    for message in told[1]:
        for change in book.absorb(message):
            if change.before is not None:
                assert counting.pop(change.before.execution.exec_id) == change.before
            if change.after is not None:
                counting[change.after.execution.exec_id] = change.after
    assert sorted(counting) == sorted(it.execution.exec_id for it in book.fills)
    assert all(counting[it.execution.exec_id] == it for it in book.fills)


@pytest.mark.parametrize("source", ["paper", "claimed"])
def test_a_source_is_that_of_the_revision_that_counts(source: str) -> None:
    book = after([fill("a", source="ib"), fill("a", revision=1, source=source)])
    assert book.fills[0].source == source
