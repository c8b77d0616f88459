"""The views against numbers worked out by hand, and against a plain fold over the same fills."""

from collections import defaultdict, deque
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.store import Store, open_store
from trading.decisions import PositionSnapshot
from trading.orders import Fill, Side
from trading.ports import LedgerEntries

TRADES = "SELECT direction, quantity, entry_price, exit_price, commissions, realized_pnl FROM trades ORDER BY booking, entry_booking"


def book_fills(store: Store, book: Any, *fills: Fill) -> None:
    store.ledger.commit(book.session, LedgerEntries(fills=list(fills)))


def numbers(*words: str) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, words))


@pytest.mark.parametrize("view", ["positions", "trades", "daily_pnl", "slippage", "open_orders"])
def test_every_documented_view_answers_on_an_empty_ledger(store: Store, view: str) -> None:
    assert store.connection.rows(f"SELECT * FROM {view}") == []


@pytest.mark.parametrize(
    "table",
    ["sessions", "bars", "session_bars", "decisions", "risk_checks", "orders", "order_events", "fills", "equity", "position_snapshots",
     "data_findings", "reconciliations", "discrepancies", "halts", "policies", "order_amendments", "superseded_fills", "repairs",
     "external_orders", "external_fills", "instrument_locks", "session_leases", "operator_requests",
     "stops", "stop_steps", "limit_changes", "account_balances", "restatements"],
)  # fmt: skip
def test_every_documented_table_says_what_it_holds(store: Store, table: str) -> None:
    assert store.connection.rows(f"SELECT * FROM {table}") == []
    [(comment,)] = store.connection.rows("SELECT comment FROM duckdb_tables() WHERE table_name = ?", [table])
    assert comment


def test_a_round_trip_is_one_trade_net_of_both_commissions(store: Store, book: Any) -> None:
    book_fills(store, book, book.fill(Side.BUY, 100, "10"), book.fill(Side.SELL, 100, "10.50", "1.25", minute=5))
    # 100 x 0.50 = 50, less 1 and 1.25
    assert store.connection.rows(TRADES) == [("LONG", 100, *numbers("10", "10.50", "2.25", "47.75"))]


def test_a_short_round_trip_earns_when_the_price_falls(store: Store, book: Any) -> None:
    book_fills(store, book, book.fill(Side.SELL, 100, "10"), book.fill(Side.BUY, 100, "9", minute=5))
    assert store.connection.rows(TRADES) == [("SHORT", 100, *numbers("10", "9", "2", "98"))]


def test_partial_closes_share_the_opening_commission(store: Store, book: Any) -> None:
    book_fills(
        store,
        book,
        book.fill(Side.BUY, 3, "10", "1"),
        book.fill(Side.SELL, 1, "11", "0", minute=1),
        book.fill(Side.SELL, 1, "12", "0", minute=2),
        book.fill(Side.SELL, 1, "13", "0", minute=3),
    )
    # A third of 1 each, to the micro, and 1 together.
    assert store.connection.rows(TRADES) == [
        ("LONG", 1, *numbers("10", "11", "0.333333", "0.666667")),
        ("LONG", 1, *numbers("10", "12", "0.333334", "1.666666")),
        ("LONG", 1, *numbers("10", "13", "0.333333", "2.666667")),
    ]


def test_the_oldest_shares_are_closed_first(store: Store, book: Any) -> None:
    book_fills(
        store,
        book,
        book.fill(Side.BUY, 100, "10", "0"),
        book.fill(Side.BUY, 50, "20", "0", minute=1),
        book.fill(Side.SELL, 120, "15", "0", minute=2),
    )
    # 100 bought at 10, then 20 of the 50 bought at 20; 30 are still held.
    assert store.connection.rows(TRADES) == [
        ("LONG", 100, *numbers("10", "15", "0", "500")),
        ("LONG", 20, *numbers("20", "15", "0", "-100")),
    ]


def test_a_fill_that_flips_the_position_closes_one_trade_and_opens_the_next(store: Store, book: Any) -> None:
    book_fills(
        store,
        book,
        book.fill(Side.BUY, 100, "10", "1"),
        book.fill(Side.SELL, 150, "11", "3", minute=1),
        book.fill(Side.BUY, 50, "8", "1", minute=2),
    )
    # The sale's 3 fall 2 on the 100 shares that close and 1 on the 50 that open.
    # Long: 100 x 1 - 1 - 2 = 97. Short: 50 x 3 - 1 - 1 = 148.
    assert store.connection.rows(TRADES) == [
        ("LONG", 100, *numbers("10", "11", "3", "97")),
        ("SHORT", 50, *numbers("11", "8", "2", "148")),
    ]


def test_trades_are_matched_within_a_symbol_and_across_sessions(store: Store, book: Any, next_day: Any) -> None:
    book_fills(store, book, book.fill(Side.BUY, 10, "10"), book.fill(Side.BUY, 10, "50", symbol="QQQ"))
    book_fills(store, next_day, next_day.fill(Side.SELL, 10, "11"))
    assert store.connection.rows("SELECT symbol, entry_session_id, exit_session_id FROM trades") == [
        ("SPY", book.session, next_day.session)
    ]


def test_an_unknown_commission_counts_nothing_until_it_is_known(store: Store, book: Any) -> None:
    book_fills(store, book, book.fill(Side.BUY, 10, "10", None), book.fill(Side.SELL, 10, "11", "2"))
    assert store.connection.rows(TRADES) == [("LONG", 10, *numbers("10", "11", "2", "8"))]


def fold(fills: list[tuple[str, Side, int, int, int]]) -> tuple[dict[str, int], dict[str, int]]:
    """First in, first out, share by share: realized P&L before commissions and signed open shares per symbol."""
    lots: dict[str, deque[tuple[int, int]]] = defaultdict(deque)
    realized: dict[str, int] = defaultdict(int)
    for symbol, side, quantity, price, _ in fills:
        for _share in range(quantity):
            if lots[symbol] and lots[symbol][0][0] == -side.sign:
                sign, opened = lots[symbol].popleft()
                realized[symbol] += sign * (price - opened)
            else:
                lots[symbol].append((side.sign, price))
    return dict(realized), {symbol: sum(sign for sign, _ in queue) for symbol, queue in lots.items()}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["SPY", "QQQ"]),
            st.sampled_from(Side),
            st.integers(1, 9),
            st.integers(1, 50),
            st.integers(0, 5),
        ),
        max_size=25,
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_trades_say_what_a_fold_over_the_fills_says(store: Store, book: Any, fills: list[Any]) -> None:
    with store.connection.transaction():
        store.connection.execute("DELETE FROM fills")
    book_fills(
        store,
        book,
        *(
            book.fill(side, quantity, str(price), str(fee), symbol=symbol)
            for symbol, side, quantity, price, fee in fills
        ),
    )
    realized, held = fold(fills)
    gross = dict(store.connection.rows("SELECT symbol, sum(realized_pnl + commissions) FROM trades GROUP BY symbol"))
    closed = dict(store.connection.rows("SELECT symbol, sum(quantity) FROM trades GROUP BY symbol"))
    fees = dict(store.connection.rows("SELECT symbol, sum(commissions) FROM trades GROUP BY symbol"))
    for symbol, open_shares in held.items():
        mine = [fill for fill in fills if fill[0] == symbol]
        assert gross.get(symbol, 0) == realized.get(symbol, 0)
        assert 2 * closed.get(symbol, 0) + abs(open_shares) == sum(fill[2] for fill in mine)
        paid = sum(fill[4] for fill in mine)
        assert fees.get(symbol, 0) <= paid
        if open_shares == 0:  # all commissions are in the trades, to the micro
            assert fees.get(symbol, 0) == paid


def test_positions_are_the_newest_snapshots_at_the_newest_marks(store: Store, book: Any, next_day: Any) -> None:
    def snapshot(day: Any, minute: int, symbol: str, quantity: int, cost: str) -> PositionSnapshot:
        return PositionSnapshot(day.session, "paper", day.at(minute), symbol, quantity, Decimal(cost), Decimal(0))

    for day in (book, next_day):
        store.ledger.open_session(day.record())
    store.ledger.commit(
        book.session,
        LedgerEntries(
            positions=[
                snapshot(book, 1, "SPY", 50, "5001"),
                snapshot(book, 1, "QQQ", -10, "-499"),
                snapshot(book, 1, "IWM", 5, "100"),
            ],
            equity=[book.worth(1, "0", "0")],
            marks={"SPY": Decimal("99")},
        ),
    )
    store.ledger.commit(
        next_day.session,
        LedgerEntries(
            positions=[snapshot(next_day, 2, "SPY", 100, "10002"), snapshot(next_day, 2, "IWM", 0, "0")],
            equity=[next_day.worth(2, "0", "0")],
            marks={"SPY": Decimal("101"), "QQQ": Decimal("48")},
        ),
    )
    found = store.connection.rows(
        "SELECT symbol, quantity, average_cost, cost_basis, last_price, market_value, unrealized_pnl, as_of FROM positions ORDER BY symbol"
    )
    assert [(*row[:-1], row[-1].timestamp()) for row in found] == [
        # Short 10 for 499 net, worth -480 now: 19 earned.
        ("QQQ", -10, *numbers("49.9", "-499", "48", "-480", "19"), next_day.at(2).timestamp()),
        ("SPY", 100, *numbers("100.02", "10002", "101", "10100", "98"), next_day.at(2).timestamp()),
    ]


def test_a_days_pnl_is_the_difference_to_its_start(store: Store, book: Any, next_day: Any) -> None:
    store.ledger.open_session(book.record())
    store.ledger.commit(
        book.session,
        LedgerEntries(
            fills=[book.fill(Side.BUY, 100, "100", "1")],
            equity=[book.worth(1, "89999", "10000", "0", "-1"), book.worth(2, "89999", "10100", "0", "99")],
        ),
    )
    # Next day the 100 shares go at 102 for another 1: 198 realized since the first session, all of it on this day,
    # of which 99 had been made before on paper.
    store.ledger.open_session(next_day.record(equity="100099"))
    store.ledger.commit(
        next_day.session,
        LedgerEntries(
            fills=[next_day.fill(Side.SELL, 100, "102", "1")], equity=[next_day.worth(1, "100198", "0", "198", "0")]
        ),
    )
    found = store.connection.rows(
        "SELECT realized_pnl, unrealized_pnl, unrealized_change, total_pnl, commissions, starting_equity, ending_equity,"
        " fills, mode, session_id FROM daily_pnl"
    )
    assert found == [
        (*numbers("0", "99", "99", "99", "1", "100000", "100099"), 1, "recorded", book.session),
        (*numbers("198", "0", "-99", "99", "1", "100099", "100198"), 1, "recorded", next_day.session),
    ]


def test_slippage_is_positive_where_the_fill_was_worse(store: Store, book: Any) -> None:
    store.ledger.commit(
        book.session,
        LedgerEntries(
            intents=[
                book.intent("buy", Side.BUY, 100, reference="100"),
                book.intent("sell", Side.SELL, 10, reference="50"),
                book.intent("unfilled", Side.SELL, 10, reference="50"),
            ],
            fills=[
                book.fill(Side.BUY, 60, "100.10", order="buy"),
                book.fill(Side.BUY, 40, "100.20", order="buy"),
                book.fill(Side.SELL, 10, "50.05", order="sell"),
            ],
        ),
    )
    # Bought: 60 x 0.10 + 40 x 0.20 = 14 on 10,000, 14 bps. Sold: 10 x 0.05 better on 500, 10 bps.
    assert store.connection.rows(
        "SELECT client_order_id, quantity, average_price, slippage, slippage_bps FROM slippage ORDER BY 1"
    ) == [
        ("buy", 100, *numbers("100.14", "14", "14")),
        ("sell", 10, *numbers("50.05", "-0.5", "-10")),
    ]


def test_open_orders_show_what_is_left(store: Store, book: Any) -> None:
    store.ledger.commit(
        book.session,
        LedgerEntries(
            intents=[book.intent("o", Side.BUY, 100), book.intent("done", Side.BUY, 5)],
            fills=[book.fill(Side.BUY, 30, "100", order="o"), book.fill(Side.BUY, 5, "100", order="done")],
        ),
    )
    assert store.connection.rows("SELECT client_order_id, filled_quantity, remaining, status FROM open_orders") == [
        ("o", 30, 70, "PARTIALLY_FILLED")
    ]


def test_views_read_only_too(path: Path, book: Any) -> None:
    with open_store(path) as store:
        book_fills(store, book, book.fill(Side.BUY, 1, "1"), replace(book.fill(Side.SELL, 1, "2")))
    with open_store(path, read_only=True) as store:
        assert len(store.connection.rows("SELECT * FROM trades")) == 1
