"""Halts by rule, stops, changes of limits, and what risk asks of an account's past."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.questions import standing_halts
from storage.store import Store, open_store
from trading.decisions import Halt
from trading.limit_changes import LimitChange
from trading.orders import CLAIMED, OrderEvent, OrderStatus, Side
from trading.ports import LedgerEntries
from trading.sessions import session_id
from trading.stops import Stop, StopAction, StopState, StopStep


def stop_of(book: Any, name: str = "stop", minute: int = 1, account: str = "paper") -> Stop:
    return Stop(name, account, book.session, "all", "fat finger", True, "ada", book.at(minute))


def change_of(book: Any, name: str, value: str, change: str = "c1", minute: int = 1, refusal: str = "") -> LimitChange:
    return LimitChange(change, book.session, book.at(minute), "ada", name, '"1000"', value, refusal)


def test_several_rules_halt_one_scope_at_one_moment(store: Store, book: Any) -> None:
    halts = [
        Halt("account:paper", "fell", book.at(1), rule="max_drawdown"),
        Halt("account:paper", "lost", book.at(1), rule="max_loss"),
    ]
    for _ in range(2):
        store.ledger.commit(book.session, LedgerEntries(halts=halts))
    assert store.ledger.active_halts("paper", "sma", [], book.at(2)) == halts
    assert standing_halts(store, book.at(2)) == halts
    assert store.ledger.clear_halts("account:paper", "ada", book.at(2)) == 2


def test_a_halt_that_a_person_made_says_so(store: Store, book: Any) -> None:
    store.ledger.record_halt(Halt("all", "by hand", book.at(1)))
    assert [halt.rule for halt in store.ledger.active_halts("paper", "sma", [], book.at(2))] == ["operator"]


def test_a_halt_that_is_made_again_in_the_moment_it_was_cleared_stands(store: Store, book: Any) -> None:
    first = Halt("all", "first", book.at(1))
    again = Halt("all", "second", book.at(1), expires_at=book.at(10))
    store.ledger.record_halt(first)
    store.ledger.clear_halts("all", "ada", book.at(1))
    assert store.ledger.active_halts("paper", "sma", [], book.at(2)) == []
    store.ledger.record_halt(again)
    assert store.ledger.active_halts("paper", "sma", [], book.at(2)) == [again]
    assert store.ledger.clear_halts("all", "ada", book.at(2)) == 1


@pytest.mark.parametrize(
    ("first", "second", "lasts_until"), [(10, 20, 20), (20, 10, 20), (None, 10, None), (10, None, None)]
)
def test_a_second_halt_of_the_same_moment_never_shortens_the_first(
    store: Store, book: Any, first: int | None, second: int | None, lasts_until: int | None
) -> None:
    def until(minute: int | None) -> Any:
        return None if minute is None else book.at(minute)

    for expires in (first, second, first):
        store.ledger.record_halt(Halt("all", "by hand", book.at(1), until(expires)))
    [halt] = store.ledger.active_halts("paper", "sma", [], book.at(2))
    assert halt.expires_at == until(lasts_until)


def test_a_stop_becomes_what_it_says_now(store: Store, book: Any) -> None:
    stop = stop_of(book)
    for _ in range(2):
        store.ledger.commit(book.session, LedgerEntries(stops=[stop]))
    assert store.ledger.unfinished_stops("paper") == [stop]
    alarm = replace(stop, state=StopState.ALARM)
    store.ledger.commit(book.session, LedgerEntries(stops=[alarm]))
    assert store.ledger.unfinished_stops("paper") == [alarm]
    store.ledger.commit(
        book.session, LedgerEntries(stops=[alarm, replace(stop, state=StopState.SUCCEEDED, ended_at=book.at(9))])
    )
    assert store.ledger.unfinished_stops("paper") == []
    assert store.connection.rows("SELECT stop_id, reason, state, ended_at FROM stops") == [
        ("stop", "fat finger", "SUCCEEDED", book.at(9))
    ]


def test_unfinished_stops_are_the_accounts_own_oldest_first(store: Store, book: Any) -> None:
    late, early, other = (
        stop_of(book, "a", 5),
        stop_of(book, "b", 2),
        stop_of(book, "c", 1, account="other"),
    )
    given_up = replace(stop_of(book, "d", 1), state=StopState.ALARM, ended_at=book.at(3))
    store.ledger.commit(book.session, LedgerEntries(stops=[late, early, other, given_up]))
    assert store.ledger.unfinished_stops("paper") == [early, late]


def test_steps_of_a_stop_are_kept_once_in_their_order(store: Store, book: Any) -> None:
    steps = [
        StopStep("stop", 1, book.at(1), StopAction.HALT, True, "all"),
        StopStep("stop", 2, book.at(1), StopAction.CANCEL, False, "no answer"),
        StopStep("stop", 3, book.at(2), StopAction.CANCEL, True, "3 orders"),
    ]
    store.ledger.commit(book.session, LedgerEntries(stop_steps=steps[1:] + steps[1:]))
    store.ledger.commit(book.session, LedgerEntries(stop_steps=steps))
    store.ledger.commit(book.session, LedgerEntries(stop_steps=[replace(steps[0], stop_id="another")]))
    assert store.ledger.stop_steps("stop") == steps


def test_changes_of_limits_that_were_made_come_back_in_the_order_of_making(store: Store, book: Any) -> None:
    made = [change_of(book, "max_daily_loss", '"500"', minute=5), change_of(book, "allow_short", "false", minute=5)]
    refused = change_of(book, "max_daily_loss", '"-1"', "c2", 6, refusal="not positive")
    # A session that was taken up again may be at an earlier bar than when it was interrupted.
    later = change_of(book, "max_daily_loss", '"800"', "c0", minute=4)
    for changes in (made, [refused], [later], made):
        store.ledger.commit(book.session, LedgerEntries(limit_changes=changes))
    assert store.ledger.limit_changes(book.session) == [*made, later]
    assert store.connection.rows("SELECT refusal FROM limit_changes WHERE refusal <> ''") == [("not positive",)]
    assert store.ledger.limit_changes("another") == []


def test_the_high_water_mark_can_begin_on_a_date(store: Store, book: Any, next_day: Any) -> None:
    for day, cash in ((book, "101000"), (next_day, "99000")):
        store.ledger.open_session(day.record())
        store.ledger.commit(day.session, LedgerEntries(equity=[day.worth(1, cash, "0"), day.worth(2, "98000", "0")]))
    assert store.ledger.high_water_mark("paper") == Decimal("101000")
    assert store.ledger.high_water_mark("paper", date(2026, 1, 5)) == Decimal("101000")
    assert store.ledger.high_water_mark("paper", date(2026, 1, 6)) == Decimal("99000")
    assert store.ledger.high_water_mark("paper", date(2026, 1, 7)) is None


def test_equity_comes_back_as_it_was_written_over_sessions(store: Store, book: Any, next_day: Any) -> None:
    for day, cash in ((next_day, "99000"), (book, "101000")):
        store.ledger.open_session(day.record())
        store.ledger.commit(day.session, LedgerEntries(equity=[day.worth(1, cash, "0"), day.worth(2, "100", "-1")]))
    found = store.ledger.equity_since("paper", book.at(2))
    assert found == [
        (next_day.at(1), Decimal("99000")),
        (next_day.at(2), Decimal("99")),
        (book.at(2), Decimal("99")),
    ]
    assert store.ledger.equity_since("other", book.at(0)) == []


def test_the_first_session_of_a_date_is_the_first_that_processed_a_bar(store: Store, book: Any) -> None:
    assert store.ledger.first_session_of("paper", book.day) is None
    barren, late = book.record(), book.record()
    barren = replace(barren, session_id="a", strategy="a", started_at=book.at(0))
    first = replace(late, session_id="b", strategy="b", started_at=book.at(1), last_bar_time=book.at(3))
    late = replace(late, session_id="c", strategy="c", started_at=book.at(2), last_bar_time=book.at(3))
    for record in (late, barren, first):
        store.ledger.open_session(record)
    assert store.ledger.first_session_of("paper", book.day) == first
    assert store.ledger.first_session_of("paper", date(2026, 1, 6)) is None
    assert store.ledger.first_session_of("other", book.day) is None


def test_marks_before_a_date_are_the_last_that_were_kept(store: Store, book: Any, next_day: Any) -> None:
    assert store.ledger.marks_before("paper", next_day.day) == {}
    for day, prices in ((book, ("100", "101.25")), (next_day, ("110", "111"))):
        store.ledger.open_session(day.record())
        for minute, price in enumerate(prices):
            marks = {"SPY": Decimal(price), "QQQ": Decimal("50")}
            store.ledger.commit(day.session, LedgerEntries(equity=[day.worth(minute, "0", "1")], marks=marks))
        store.ledger.commit(day.session, LedgerEntries(equity=[day.worth(5, "0", "1")]))
    assert store.ledger.marks_before("paper", book.day) == {}
    assert store.ledger.marks_before("paper", next_day.day) == {"SPY": Decimal("101.25"), "QQQ": Decimal("50")}
    assert store.ledger.marks_before("paper", date(2026, 2, 1)) == {"SPY": Decimal("111"), "QQQ": Decimal("50")}
    assert store.ledger.marks_before("other", date(2026, 2, 1)) == {}


def test_a_cancel_counts_once_when_it_was_asked_for_first(store: Store, book: Any) -> None:
    def asked(order: str, minute: int, detail: str = "") -> OrderEvent:
        return OrderEvent(order, book.at(minute), OrderStatus.CANCEL_PENDING, detail)

    foreign = replace(book.intent("x", Side.BUY, 1), account="other")
    store.ledger.commit(
        book.session,
        LedgerEntries(
            intents=[*(book.intent(name, Side.BUY, 1) for name in "abc"), foreign],
            order_events=[
                asked("b", 9),
                asked("a", 7),
                asked("a", 8, "again"),
                asked("c", 2),
                asked("c", 6, "again"),
                asked("x", 7),
                OrderEvent("a", book.at(10), OrderStatus.CANCELLED),
            ],
        ),
    )
    assert store.ledger.cancels_since("paper", book.at(0)) == [book.at(2), book.at(7), book.at(9)]
    # That of c was asked for before, whatever was said of it again.
    assert store.ledger.cancels_since("paper", book.at(3)) == [book.at(7), book.at(9)]
    assert store.ledger.cancels_since("paper", book.at(9)) == [book.at(9)]


def trade(store: Store, day: Any, *fills: Any) -> None:
    store.ledger.open_session(day.record())
    store.ledger.commit(day.session, LedgerEntries(fills=list(fills)))


def test_a_round_trip_within_a_date_is_a_day_trade_per_closing_order(store: Store, book: Any, next_day: Any) -> None:
    trade(
        store,
        book,
        book.fill(Side.BUY, 100, "10", order="in"),
        book.fill(Side.SELL, 30, "11", order="out", minute=1),  # two fills of one order
        book.fill(Side.SELL, 20, "11", order="out", minute=2),
        book.fill(Side.SELL, 10, "11", order="out2", minute=3),  # 40 are held overnight
        book.fill(Side.SELL, 10, "50", order="q-in", symbol="QQQ"),
        book.fill(Side.BUY, 10, "49", order="q-out", symbol="QQQ", minute=1),
    )
    trade(
        store,
        next_day,
        next_day.fill(Side.SELL, 40, "12", order="overnight"),
        next_day.fill(Side.BUY, 5, "12", order="in3", minute=1),
        next_day.fill(Side.SELL, 5, "12", order="out3", minute=2),
    )
    first, second, third = date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7)
    assert store.ledger.day_trades("paper", first, third) == 4  # out, out2 and q-out; out3
    assert store.ledger.day_trades("paper", first, second) == 3
    assert store.ledger.day_trades("paper", second, third) == 1
    assert store.ledger.day_trades("paper", third, date(2026, 2, 1)) == 0
    assert store.ledger.day_trades("other", first, third) == 0


def test_two_strategies_of_an_account_can_make_a_day_trade_together(store: Store, book: Any) -> None:
    other = session_id(book.day, "paper", "other")
    trade(store, book, book.fill(Side.BUY, 10, "10", order="in"))
    store.ledger.open_session(replace(book.record(), session_id=other, strategy="other"))
    closing = replace(book.fill(Side.SELL, 10, "10", order="out"), session_id=other)
    store.ledger.commit(other, LedgerEntries(fills=[closing]))
    assert store.ledger.day_trades("paper", book.day, date(2026, 1, 6)) == 1


def test_closing_executions_without_an_order_of_ours_count_one_by_one(store: Store, book: Any) -> None:
    closings = [replace(book.fill(Side.SELL, 5, "11", order="", minute=minute), source=CLAIMED) for minute in (1, 2)]
    trade(store, book, book.fill(Side.BUY, 10, "10", order="in"), *closings)
    assert store.ledger.day_trades("paper", book.day, date(2026, 1, 6)) == 2


def test_the_past_is_read_the_same_from_a_file_that_is_open_for_reading(path: Path, book: Any) -> None:
    with open_store(path) as store:
        trade(store, book, book.fill(Side.BUY, 10, "10", order="in"), book.fill(Side.SELL, 10, "10", order="out"))
        store.ledger.commit(book.session, LedgerEntries(stops=[stop_of(book)]))
    with open_store(path, read_only=True) as store:
        assert store.ledger.day_trades("paper", book.day, date(2026, 1, 6)) == 1
        assert store.ledger.unfinished_stops("paper") == [stop_of(book)]
