"""What the ledger keeps, what it passes over, and what a failure leaves behind."""

from dataclasses import replace
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from storage.store import Store
from trading.bars import Bar, to_epoch_us
from trading.decisions import Action, DataFinding, Halt, PositionSnapshot, RiskCheck, Verdict
from trading.differences import Discrepancy, Reconciliation
from trading.errors import StoreError
from trading.orders import OrderEvent, OrderStatus, Side
from trading.ports import LedgerEntries, ReplayBlock
from trading.sessions import SessionState

TABLES = (
    "session_bars",
    "decisions",
    "risk_checks",
    "orders",
    "order_events",
    "fills",
    "equity",
    "position_snapshots",
    "data_findings",
    "halts",
)


def everything(book: Any) -> LedgerEntries:
    """One fact of every kind: 100 shares bought at 100.50 on minute 1."""
    prices = (Decimal("100"), Decimal("101"), Decimal("99.5"), Decimal("100.50"))
    return LedgerEntries(
        bars=[Bar("SPY", book.at(1), *prices, None)],
        decisions=[book.decision(1, action=Action.BUY, target=100)],
        risk_checks=[
            RiskCheck(
                book.session,
                book.at(1),
                None,
                None,
                "max_daily_loss",
                Verdict.HALTED,
                "lost",
                Decimal("1001"),
                Decimal("1000"),
            )
        ],
        intents=[book.intent("o1", Side.BUY, 100, minute=1)],
        order_events=[OrderEvent("o1", book.at(1), OrderStatus.ACCEPTED, "", "b1")],
        fills=[replace(book.fill(Side.BUY, 100, "100.50", order="o1", minute=2), source="paper")],
        positions=[PositionSnapshot(book.session, "paper", book.at(1), "SPY", 100, Decimal("10051"), Decimal("0"))],
        equity=[book.worth(1, "89949", "10050", unrealized="-1")],
        findings=[DataFinding("SPY", None, "too_little_history", "warn", "3 of 50 bars")],
        halts=[Halt("account:paper", "lost", book.at(1), book.at(390))],
        marks={"SPY": Decimal("100.50")},
    )


def counts(store: Store) -> dict[str, int]:
    return {table: store.connection.rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def test_a_session_is_read_back_as_it_was_written(store: Store, book: Any) -> None:
    record = book.record(equity="100000.123456", settings='{"a": 1}')
    assert store.ledger.find_session(book.session) is None
    store.ledger.open_session(record)
    assert store.ledger.find_session(book.session) == record


def test_a_stopped_session_that_is_opened_again_is_what_its_record_says(store: Store, book: Any) -> None:
    store.ledger.open_session(book.record())
    store.ledger.close_session(book.session, SessionState.STOPPED, book.at(5), "lost too much")
    again = replace(book.record(), last_bar_time=book.at(4))
    store.ledger.open_session(again)
    assert store.ledger.find_session(book.session) == again
    assert store.connection.rows("SELECT reason FROM sessions") == [("",)]


def test_a_replay_is_there_wholly_or_not_at_all(store: Store, book: Any, next_day: Any) -> None:
    finished = [replace(day.record(), state=SessionState.COMPLETED, ended_at=day.at(390)) for day in (book, next_day)]
    entries = LedgerEntries(blocks=[block(book), block(next_day)])
    store.ledger.commit(next_day.session, LedgerEntries(blocks=[block(next_day)]))
    with pytest.raises(StoreError, match="could not be written"):
        store.ledger.commit_replay(finished, entries)
    assert store.ledger.find_session(book.session) is None
    store.ledger.commit_replay(finished[:1], LedgerEntries(blocks=[block(book)]))
    assert store.ledger.find_session(book.session) == finished[0]


def test_every_kind_of_fact_is_written_once_however_often_it_is_committed(store: Store, book: Any) -> None:
    store.ledger.open_session(book.record())
    entries = everything(book)
    for _ in range(3):
        store.ledger.commit(book.session, entries, book.at(1))
    assert set(counts(store).values()) == {1}
    [order] = store.connection.rows("SELECT status, filled_quantity, broker_order_id FROM orders")
    assert order == ("FILLED", 100, "b1")


def test_a_repeat_among_new_facts_does_not_keep_the_new_ones_out(store: Store, book: Any) -> None:
    first, second = book.bar(1), book.bar(2)
    store.ledger.commit(book.session, first)
    store.ledger.commit(book.session, LedgerEntries(decisions=first.decisions + second.decisions, equity=second.equity))
    assert store.connection.rows("SELECT count(*) FROM decisions") == [(2,)]
    assert store.connection.rows("SELECT count(*) FROM equity") == [(2,)]


def test_the_same_execution_twice_in_one_commit_is_one_fill(store: Store, book: Any) -> None:
    fill = book.fill(Side.BUY, 100, "100")
    store.ledger.commit(book.session, LedgerEntries(intents=[book.intent("o", Side.BUY, 300)], fills=[fill, fill]))
    assert store.ledger.fills("paper") == [fill]
    assert store.ledger.open_orders("paper")[0].remaining == 200


def test_many_repeats_are_absorbed_as_few_are(store: Store, book: Any) -> None:
    entries = LedgerEntries(decisions=[book.decision(minute) for minute in range(200)])
    store.ledger.commit(book.session, entries)
    store.ledger.commit(book.session, entries)
    assert store.connection.rows("SELECT count(*) FROM decisions") == [(200,)]


def test_a_commission_that_was_unknown_becomes_known_and_then_stays(store: Store, book: Any) -> None:
    fill = book.fill(Side.BUY, 100, "100", commission=None)
    store.ledger.commit(book.session, LedgerEntries(fills=[fill]))
    for commission in ("1.25", "9"):
        told = replace(fill, execution=replace(fill.execution, commission=Decimal(commission)))
        store.ledger.commit(book.session, LedgerEntries(fills=[told]))
    assert store.ledger.fills("paper")[0].execution.commission == Decimal("1.25")


def test_a_fact_that_fails_takes_the_whole_commit_with_it(store: Store, book: Any) -> None:
    store.ledger.open_session(book.record())
    entries = everything(book)
    entries.equity = [replace(entries.equity[0], cash=Decimal("1e15"))]  # more than DECIMAL(18, 6) holds
    with pytest.raises(StoreError, match="could not be written"):
        store.ledger.commit(book.session, entries, book.at(1))
    assert set(counts(store).values()) == {0}
    record = store.ledger.find_session(book.session)
    assert record is not None
    assert record.last_bar_time is None
    store.ledger.commit(book.session, everything(book), book.at(1))
    assert set(counts(store).values()) == {1}


def test_a_fact_that_fails_among_many_fails_in_the_same_words(store: Store, book: Any) -> None:
    points = [book.worth(minute, "1e15" if minute == 99 else "1", "0") for minute in range(100)]
    with pytest.raises(StoreError, match="could not be written"):
        store.ledger.commit(book.session, LedgerEntries(decisions=[book.decision(1)], equity=points))
    assert set(counts(store).values()) == {0}


def test_amounts_are_exact_however_they_are_spelled(store: Store, book: Any) -> None:
    store.ledger.commit(book.session, LedgerEntries(fills=[book.fill(Side.BUY, 1, "1E+5", commission="0.0000005")]))
    [fill] = store.ledger.fills("paper")
    assert fill.execution.price == Decimal("100000")
    assert fill.execution.commission == Decimal("0")  # half to even at six places


def test_times_come_back_aware_in_utc(store: Store, book: Any) -> None:
    fill = book.fill(Side.BUY, 1, "1", minute=3)
    store.ledger.commit(book.session, LedgerEntries(fills=[fill]))
    [read] = store.ledger.fills("paper")
    assert read == fill
    assert read.execution.executed_at.tzinfo is UTC


def test_fills_come_back_in_the_order_of_booking_not_of_time(store: Store, book: Any) -> None:
    late, early = book.fill(Side.BUY, 1, "1", minute=9), book.fill(Side.SELL, 1, "1", minute=2)
    store.ledger.commit(book.session, LedgerEntries(fills=[late]))
    store.ledger.commit(book.session, LedgerEntries(fills=[early]))
    assert store.ledger.fills("paper") == [late, early]
    many = [book.fill(Side.BUY, 1, "1", minute=100 - number) for number in range(100)]
    store.ledger.commit(book.session, LedgerEntries(fills=many))
    assert store.ledger.fills("paper") == [late, early, *many]


def test_an_order_takes_the_steps_of_its_events_and_fills(store: Store, book: Any) -> None:
    intent = book.intent("o", Side.BUY, 100)
    store.ledger.commit(book.session, LedgerEntries(intents=[intent]))
    [order] = store.ledger.open_orders("paper")
    assert (order.intent, order.status, order.remaining) == (intent, OrderStatus.CREATED, 100)
    store.ledger.commit(
        book.session, LedgerEntries(order_events=[OrderEvent("o", book.at(1), OrderStatus.ACCEPTED, "", "b7")])
    )
    store.ledger.commit(book.session, LedgerEntries(fills=[book.fill(Side.BUY, 40, "100")]))
    [order] = store.ledger.open_orders("paper")
    assert (order.status, order.filled, order.signed_remaining) == (OrderStatus.PARTIALLY_FILLED, 40, 60)
    store.ledger.commit(book.session, LedgerEntries(fills=[book.fill(Side.BUY, 60, "100")]))
    assert store.ledger.open_orders("paper") == []
    assert store.connection.rows("SELECT status, filled_quantity, broker_order_id FROM orders") == [
        ("FILLED", 100, "b7")
    ]


def test_a_late_event_is_recorded_and_moves_nothing(store: Store, book: Any) -> None:
    store.ledger.commit(
        book.session,
        LedgerEntries(
            intents=[book.intent("o", Side.BUY, 100)],
            order_events=[
                OrderEvent("o", book.at(1), OrderStatus.FILLED),
                OrderEvent("o", book.at(2), OrderStatus.ACCEPTED),
            ],
        ),
    )
    assert store.connection.rows("SELECT status FROM orders") == [("FILLED",)]
    assert store.connection.rows("SELECT count(*) FROM order_events") == [(2,)]


def test_an_event_that_is_told_again_does_not_move_an_order_that_went_on(store: Store, book: Any) -> None:
    accepted = OrderEvent("o", book.at(1), OrderStatus.ACCEPTED)
    store.ledger.commit(book.session, LedgerEntries(intents=[book.intent("o", Side.BUY, 100)], order_events=[accepted]))
    pending = OrderEvent("o", book.at(2), OrderStatus.CANCEL_PENDING)
    store.ledger.commit(book.session, LedgerEntries(order_events=[pending]))
    store.ledger.commit(book.session, LedgerEntries(order_events=[accepted]))
    assert store.ledger.open_orders("paper")[0].status is OrderStatus.CANCEL_PENDING
    assert store.connection.rows("SELECT count(*) FROM order_events") == [(2,)]


def test_a_cancel_that_lost_against_the_fill_ends_filled(store: Store, book: Any) -> None:
    store.ledger.commit(
        book.session,
        LedgerEntries(
            intents=[book.intent("o", Side.BUY, 100)], order_events=[OrderEvent("o", book.at(1), OrderStatus.CANCELLED)]
        ),
    )
    store.ledger.commit(book.session, LedgerEntries(fills=[book.fill(Side.BUY, 100, "100")]))
    assert store.connection.rows("SELECT status, filled_quantity FROM orders") == [("FILLED", 100)]


def test_orders_by_the_hundred_end_as_single_ones_do(store: Store, book: Any) -> None:
    names = [f"o{number}" for number in range(200)]
    store.ledger.commit(book.session, LedgerEntries(intents=[book.intent(name, Side.BUY, 10) for name in names]))
    entries = LedgerEntries(
        order_events=[OrderEvent(name, book.at(1), OrderStatus.ACCEPTED, "", f"b-{name}") for name in names],
        fills=[book.fill(Side.BUY, 10, "100", order=name) for name in names[:150]],
    )
    store.ledger.commit(book.session, entries)
    store.ledger.commit(book.session, entries)
    found = store.connection.rows(
        "SELECT status, count(*), sum(filled_quantity), count(broker_order_id) FROM orders GROUP BY 1 ORDER BY 1"
    )
    assert found == [("ACCEPTED", 50, 0, 50), ("FILLED", 150, 1500, 150)]


def block(book: Any, rows: int = 3) -> ReplayBlock:
    """Two symbols; the second has no bar on the middle row. Cash falls by a cent a bar."""
    step = np.arange(rows, dtype=np.int64)
    present = np.ones((rows, 2), dtype=np.bool_)
    present[1, 1] = False
    return ReplayBlock(
        session_id=book.session,
        symbols=("SPY", "QQQ"),
        bar_time=to_epoch_us(book.at(0)) + step * 60_000_000,
        present=present,
        action=np.tile(np.array([1, -1], dtype=np.int8), (rows, 1)),
        target=np.tile(np.array([10, -5], dtype=np.int64), (rows, 1)),
        cash=np.int64(100_000_000_000) - step * 10_000,
        market_value=np.full(rows, -7, dtype=np.int64),
        realized_pnl=-step,
        unrealized_pnl=step,
        drawdown=step / 1000,
    )


def test_a_block_becomes_the_rows_that_single_bars_would_have_made(store: Store, book: Any) -> None:
    store.ledger.open_session(book.record())
    entries = LedgerEntries(blocks=[block(book)], marks={"SPY": Decimal("101")})
    store.ledger.commit(book.session, entries, book.at(2))
    store.ledger.commit(book.session, entries, book.at(2))
    assert store.connection.rows(
        "SELECT epoch_us(bar_time), symbol, action, target_quantity, confidence, latency_ms, error FROM decisions ORDER BY ALL"
    ) == [
        (to_epoch_us(book.at(minute)), symbol, *wanted, None, 0.0, None)
        for minute in range(3)
        for symbol, wanted in (("QQQ", ("SELL", -5)), ("SPY", ("BUY", 10)))
        if (minute, symbol) != (1, "QQQ")
    ]
    assert store.connection.rows(
        "SELECT cash, market_value, equity, realized_pnl, unrealized_pnl, drawdown, marks FROM equity ORDER BY bar_time"
    ) == [
        (Decimal("100000"), Decimal("-0.000007"), Decimal("99999.999993"), Decimal("0"), Decimal("0"), Decimal("0"), None),
        (Decimal("99999.99"), Decimal("-0.000007"), Decimal("99999.989993"), Decimal("-0.000001"), Decimal("0.000001"), Decimal("0.001"), None),
        (Decimal("99999.98"), Decimal("-0.000007"), Decimal("99999.979993"), Decimal("-0.000002"), Decimal("0.000002"), Decimal("0.002"), {"SPY": Decimal("101")}),
    ]  # fmt: skip


def test_blocks_of_several_sessions_go_in_one_commit(store: Store, book: Any, next_day: Any) -> None:
    store.ledger.commit(book.session, LedgerEntries(blocks=[block(book), block(next_day)]))
    assert store.connection.rows("SELECT session_id, count(*) FROM decisions GROUP BY 1 ORDER BY 1") == [
        (book.session, 5),
        (next_day.session, 5),
    ]


def test_last_prices_are_the_marks_of_what_is_held(store: Store, book: Any) -> None:
    store.ledger.open_session(book.record())
    assert store.ledger.last_prices("paper") == {}
    store.ledger.commit(
        book.session,
        LedgerEntries(
            fills=[book.fill(Side.BUY, 10, "100"), book.fill(Side.SELL, 10, "50", symbol="QQQ")],
            equity=[book.worth(1, "99500", "510")],
            marks={"SPY": Decimal("101.25"), "QQQ": Decimal("5.05E+1")},
        ),
    )
    assert store.ledger.last_prices("paper") == {"SPY": Decimal("101.25"), "QQQ": Decimal("50.5")}
    store.ledger.commit(
        book.session,
        LedgerEntries(fills=[book.fill(Side.SELL, 10, "102"), book.fill(Side.BUY, 3, "20", symbol="IWM")]),
    )
    # SPY is closed; IWM was bought and not valued since: its fill is the last price known.
    assert store.ledger.last_prices("paper") == {"QQQ": Decimal("50.5"), "IWM": Decimal("20")}


def test_marks_without_a_bar_that_they_value_are_refused(store: Store, book: Any) -> None:
    with pytest.raises(ValueError, match="marks belong"):
        store.ledger.commit(book.session, LedgerEntries(marks={"SPY": Decimal("1")}))


def test_the_account_remembers_over_its_sessions(store: Store, book: Any, next_day: Any) -> None:
    ledger = store.ledger
    assert ledger.high_water_mark("paper") is None
    assert ledger.last_bar_time("paper") is None
    assert ledger.last_session_date("paper", "sma") is None
    for day, cash in ((book, "101000"), (next_day, "99000")):
        ledger.open_session(day.record())
        ledger.commit(day.session, LedgerEntries(equity=[day.worth(1, cash, "0")]), day.at(1))
    assert ledger.high_water_mark("paper") == Decimal("101000")
    assert ledger.last_bar_time("paper") == next_day.at(1)
    assert ledger.last_session_date("paper", "sma") == date(2026, 1, 6)
    assert ledger.high_water_mark("another") is None


def test_a_halt_stands_for_what_it_covers_until_it_is_cleared(store: Store, book: Any) -> None:
    ledger, noon = store.ledger, book.at(100)
    for scope in ("all", "account:other", "strategy:sma", "symbol:SPY", "symbol:QQQ"):
        ledger.record_halt(Halt(scope, "by hand", book.at(1)))
    ledger.record_halt(Halt("all", "by hand", book.at(1)))

    def standing() -> list[str]:
        return [halt.scope for halt in ledger.active_halts("paper", "sma", ["SPY"], noon)]

    assert standing() == ["all", "strategy:sma", "symbol:SPY"]
    assert ledger.clear_halts("all", "ada", noon) == 1
    assert ledger.clear_halts("all", "ada", noon) == 0
    assert standing() == ["strategy:sma", "symbol:SPY"]
    assert store.connection.rows("SELECT cleared_by FROM halts WHERE scope = 'all'") == [("ada",)]


def test_a_halt_ends_by_itself_when_it_expires(store: Store, book: Any) -> None:
    halt = Halt("account:paper", "daily loss", book.at(10), expires_at=book.at(390))
    store.ledger.commit(book.session, LedgerEntries(halts=[halt]))
    assert store.ledger.active_halts("paper", "sma", [], book.at(389)) == [halt]
    assert store.ledger.active_halts("paper", "sma", [], book.at(390)) == []


def test_the_summary_says_what_the_facts_say(store: Store, book: Any, next_day: Any) -> None:
    earlier = [book.fill(Side.BUY, 100, "10"), book.fill(Side.SELL, 100, "12.52", minute=5)]
    store.ledger.commit(book.session, LedgerEntries(fills=earlier))
    store.ledger.open_session(next_day.record(equity="100000", realized="250"))
    entries = everything(next_day)
    lost = [next_day.fill(side, 10, price, symbol="QQQ") for side, price in ((Side.BUY, "100"), (Side.SELL, "96.20"))]
    entries.fills = [*lost, *entries.fills]
    # Cumulative figures of the account: 250 were realized on earlier days, 40 of today's loss are realized.
    entries.equity = [next_day.worth(1, "89909", "10050", realized="210", unrealized="-1")]
    store.ledger.commit(next_day.session, entries, next_day.at(1))
    found = Discrepancy("position", "SPY", "100", "0", "ask again")
    for stage in ("before", "after"):
        store.ledger.commit(
            next_day.session,
            LedgerEntries(
                reconciliations=[
                    Reconciliation("paper", next_day.session, next_day.at(2), stage, (found,), remaining=(found,))
                ]
            ),
        )
    store.ledger.close_session(next_day.session, SessionState.STOPPED, next_day.at(3), "daily loss")
    summary = store.ledger.summary(next_day.session)
    assert (summary.bars, summary.decisions, summary.orders, summary.fills) == (1, 1, 1, 3)
    assert (summary.realized_pnl, summary.unrealized_pnl) == (Decimal("-40"), Decimal("-1"))
    assert (summary.commissions, summary.equity) == (Decimal("3"), Decimal("99959"))
    assert (summary.halted, summary.discrepancies, summary.reason) == (True, 1, "daily loss")
    assert summary.state is SessionState.STOPPED
    with pytest.raises(StoreError, match="no session"):
        store.ledger.summary(book.session)


def test_a_session_without_a_bar_is_worth_what_it_started_with(store: Store, book: Any) -> None:
    store.ledger.open_session(book.record(equity="5000", realized="70"))
    summary = store.ledger.summary(book.session)
    assert (summary.equity, summary.realized_pnl, summary.unrealized_pnl) == (
        Decimal("5000"),
        Decimal("0"),
        Decimal("0"),
    )
    assert (summary.bars, summary.halted) == (0, False)


def test_two_comparisons_at_one_moment_are_two(store: Store, book: Any) -> None:
    for _ in range(2):
        store.ledger.commit(
            book.session,
            LedgerEntries(reconciliations=[Reconciliation("paper", book.session, book.at(0), "before", ())]),
        )
    assert store.connection.rows("SELECT count(*) FROM reconciliations") == [(2,)]


def test_a_bar_that_is_done_again_after_a_crash_adds_nothing(store: Store, book: Any) -> None:
    store.ledger.open_session(book.record())
    entries = everything(book)
    store.ledger.commit(book.session, LedgerEntries(decisions=entries.decisions, intents=entries.intents))
    store.ledger.commit(book.session, entries, book.at(1))
    assert set(counts(store).values()) == {1}
    assert store.ledger.last_bar_time("paper") == book.at(1)
    assert store.ledger.last_bar_time("paper") != book.at(1) + timedelta(minutes=1)


@pytest.mark.parametrize("others", [0, 100])
def test_a_fact_without_a_key_is_kept_once_without_help_of_an_index(store: Store, book: Any, others: int) -> None:
    """DuckDB can lose entries of a unique index in a crash, so that repeats are looked up each time: few, or among many."""
    for index in ("data_findings_once", "risk_checks_once"):
        store.connection.execute(f"DROP INDEX {index}")
    finding = DataFinding("SPY", None, "too_little_history", "warn", "3 of 50 bars")
    more = [replace(finding, bar_time=book.at(minute), detail=f"{minute}") for minute in range(others)]
    [check] = everything(book).risk_checks
    of_a_symbol = replace(check, symbol="SPY", observed=None)
    for _ in range(2):
        entries = LedgerEntries(findings=[finding, *more, finding], risk_checks=[check, of_a_symbol, check])
        store.ledger.commit(book.session, entries)
    store.ledger.commit(book.session, LedgerEntries(findings=[replace(finding, bar_time=book.at(1000))]))
    assert store.connection.rows("SELECT count(*) FROM data_findings") == [(others + 2,)]
    assert store.connection.rows("SELECT symbol FROM risk_checks ORDER BY ALL") == [("SPY",), (None,)]
