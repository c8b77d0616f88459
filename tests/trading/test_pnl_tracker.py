from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.orders import INFERRED, Execution, Fill, Side
from trading.pnl_tracker import PnLTracker, drawdown_fraction
from trading.ports import BrokerAccount, BrokerPosition
from trading.settings import CostBasis

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SESSION = "2026-01-05.paper.sma"
BOTH = pytest.mark.parametrize("cost_basis", CostBasis)


def fill(
    exec_id: str,
    side: Side,
    quantity: int,
    price: str,
    commission: str | None = "0",
    symbol: str = "SPY",
    order: str | None = None,
) -> Fill:
    paid = None if commission is None else Decimal(commission)
    execution = Execution(exec_id, order or f"o-{exec_id}", symbol, side, quantity, Decimal(price), paid, AT)
    return Fill(execution, SESSION, "paper", "paper")


def book(
    cash: str = "10000", fills: Iterable[Fill] = (), cost_basis: CostBasis = CostBasis.FIFO, **prices: str
) -> PnLTracker:
    tracker = PnLTracker(cost_basis)
    tracker.initialize_portfolio_state(Decimal(cash))
    for one in fills:
        tracker.update_position(one)
    tracker.mark({symbol: Decimal(price) for symbol, price in prices.items()})
    return tracker


def test_cash_moves_on_every_fill() -> None:
    # 10,000 - (100 x 20 + 1) = 7,999; + (40 x 21 - 1) = 8,838.
    tracker = book(fills=[fill("1", Side.BUY, 100, "20", "1")])
    assert tracker.cash == Decimal("7999")
    tracker.update_position(fill("2", Side.SELL, 40, "21", "1"))
    assert tracker.cash == Decimal("8838")
    assert tracker.quantity("SPY") == 60


def test_profit_is_net_of_commissions_and_adds_up_to_the_change_in_equity() -> None:
    # 100 bought for 2,001: 40 of them cost 800.40 and bring 839, so 38.60 is realized. The other 60 cost 1,200.60 and
    # are worth 60 x 22 = 1,320: 119.40 unrealized. Equity 8,838 + 1,320 = 10,158 = 10,000 + 38.60 + 119.40.
    tracker = book(fills=[fill("1", Side.BUY, 100, "20", "1"), fill("2", Side.SELL, 40, "21", "1")], SPY="22")
    pnl = tracker.calculate_pnl()
    assert (pnl.realized, pnl.unrealized, pnl.commissions) == (Decimal("38.60"), Decimal("119.40"), Decimal("2"))
    assert tracker.equity == Decimal("10158")
    assert pnl.total == Decimal("158")


def test_a_short_position_counts_negative_and_gains_when_the_price_falls() -> None:
    # Sold 100 at 20 for 1,999: cash 11,999, value -1,900 at 19, unrealized 1,999 - 1,900 = 99.
    tracker = book(fills=[fill("1", Side.SELL, 100, "20", "1")], SPY="19")
    assert (tracker.cash, tracker.market_value, tracker.equity) == (
        Decimal("11999"),
        Decimal("-1900"),
        Decimal("10099"),
    )
    assert tracker.calculate_pnl().unrealized == Decimal("99")


def test_a_repeated_execution_changes_nothing() -> None:
    tracker = book(fills=[fill("1", Side.BUY, 100, "20", "1")])
    before = tracker.get_portfolio_state()
    assert tracker.update_position(fill("1", Side.BUY, 100, "20", "1")) is False
    assert tracker.get_portfolio_state() == before


def test_a_correction_is_booked_where_the_first_one_stands() -> None:
    wrong = fill("1", Side.BUY, 100, "20", "1")
    right = Fill(
        replace(wrong.execution, exec_id="1.02", lineage="1", revision=1, price=Decimal("20.50")),
        wrong.session_id, wrong.account, wrong.source,
    )  # fmt: skip
    later = fill("2", Side.BUY, 10, "30")
    straight = book(fills=[right, later, fill("3", Side.SELL, 100, "31")])
    tracker = book(fills=[])
    for one in (wrong, later, right, fill("3", Side.SELL, 100, "31"), wrong):
        tracker.update_position(one)
    for one in (straight, tracker):
        one.mark({"SPY": Decimal(31)})
    assert tracker.calculate_pnl() == straight.calculate_pnl()
    assert (tracker.cash, tracker.quantity("SPY"), tracker.filled_of("o-1")) == (straight.cash, 10, 100)
    assert tracker.get_portfolio_state().turnover == Decimal("5450") / 10_000


def test_an_inferred_fill_gives_way_to_what_really_happened() -> None:
    known = fill("inferred:o", Side.BUY, 100, "20", order="o")
    stand_in = Fill(replace(known.execution, commission=None), known.session_id, known.account, INFERRED)
    tracker = book(fills=[])
    tracker.update_position(stand_in)
    assert tracker.update_position(fill("1", Side.BUY, 60, "19", "1", order="o")) is True
    assert (tracker.quantity("SPY"), tracker.cash) == (100, 10_000 - 60 * 19 - 1 - 40 * 20)
    tracker.update_position(fill("2", Side.BUY, 40, "21", "1", order="o"))
    assert (tracker.quantity("SPY"), tracker.cash) == (100, 10_000 - 60 * 19 - 1 - 40 * 21 - 1)
    assert tracker.update_position(stand_in) is False


def test_a_position_without_a_newer_price_is_valued_at_its_first_fill() -> None:
    assert book(fills=[fill("1", Side.BUY, 10, "20")]).market_value == Decimal("200")


def test_a_held_symbol_without_a_price_cannot_start_a_book() -> None:
    with pytest.raises(ValueError, match="SPY is held and no price"):
        PnLTracker().initialize_portfolio_state(Decimal("1000"), [fill("1", Side.BUY, 1, "20")])


def test_a_symbol_that_was_closed_needs_no_price() -> None:
    tracker = PnLTracker()
    tracker.initialize_portfolio_state(
        Decimal("1000"), [fill("1", Side.BUY, 1, "20"), fill("2", Side.SELL, 1, "25")], {}
    )
    assert tracker.equity == Decimal("1005")
    assert tracker.held_symbols == ()


def test_drawdown_is_counted_from_the_highest_close() -> None:
    tracker = book(fills=[fill("1", Side.BUY, 100, "20")])
    drawdowns = []
    # Equity 8,000 + 100 x price: 10,000, 10,500, 9,975 (5 % below), 10,080 (4 %), 11,000.
    for price in ("20", "25", "19.75", "20.80", "30"):
        tracker.mark({"SPY": Decimal(price)})
        drawdowns.append(tracker.equity_point(SESSION, AT).drawdown)
    assert drawdowns == [0, 0, Decimal("0.05"), Decimal("0.04"), 0]


def test_drawdown_needs_something_to_fall_from() -> None:
    assert drawdown_fraction(Decimal("-5"), Decimal("0")) == 0


def test_a_high_water_mark_of_earlier_days_still_counts() -> None:
    tracker = PnLTracker()
    tracker.initialize_portfolio_state(Decimal("10000"), high_water_mark=Decimal("12500"))
    assert tracker.equity_point(SESSION, AT).drawdown == Decimal("0.2")


def test_an_equity_point_holds_both_identities() -> None:
    tracker = book(fills=[fill("1", Side.BUY, 7, "33.333333", "0.35")], SPY="34.1")
    point = tracker.equity_point(SESSION, AT)
    assert point.cash + point.market_value == point.equity
    assert point.realized_pnl + point.unrealized_pnl == point.equity - 10_000


def test_exposure_counts_shorts_in_gross_and_against_longs_in_net() -> None:
    # Cash 10,000 - 4,000 + 1,000 = 7,000; long 4,000, short 1,000; equity 10,000.
    tracker = book(fills=[fill("1", Side.BUY, 200, "20"), fill("2", Side.SELL, 10, "100", symbol="QQQ")])
    state = tracker.get_portfolio_state()
    assert (state.gross_exposure, state.net_exposure) == (Decimal("0.5"), Decimal("0.3"))


def test_exposure_is_unknown_without_equity() -> None:
    tracker = book(cash="0")
    state = tracker.get_portfolio_state()
    assert (state.gross_exposure, state.net_exposure, state.turnover) == (None, None, 0)


def test_turnover_is_the_money_traded_as_a_fraction_of_the_days_first_equity() -> None:
    # 2,000 bought and 840 sold of 10,000.
    tracker = book(fills=[fill("1", Side.BUY, 100, "20"), fill("2", Side.SELL, 40, "21")])
    assert tracker.get_portfolio_state().turnover == Decimal("0.284")


def test_the_win_rate_counts_closing_executions_net_of_commission() -> None:
    tracker = book(fills=[fill("1", Side.BUY, 40, "20")])
    assert tracker.get_portfolio_state().win_rate is None
    # + 9, then 10 x 0.05 - 0.50 = 0 exactly (no win), then - 10; opening again counts for nothing.
    for one in (
        fill("2", Side.SELL, 10, "21", "1"),
        fill("3", Side.SELL, 10, "20.05", "0.50"),
        fill("4", Side.SELL, 10, "19"),
        fill("5", Side.BUY, 10, "19"),
    ):
        tracker.update_position(one)
    assert tracker.get_portfolio_state().win_rate == Decimal(1) / 3


def test_a_new_day_counts_from_its_own_start_and_keeps_the_account() -> None:
    tracker = book(fills=[fill("1", Side.BUY, 100, "20", "1"), fill("2", Side.SELL, 50, "22", "1")], SPY="22")
    # 9,999 - 2,000 + 1,099 = 9,098 cash and 1,100 in shares: 10,198.
    tracker.roll_day()
    state = tracker.get_portfolio_state()
    assert (state.session_pnl, state.session_realized_pnl, state.session_commissions) == (0, 0, 0)
    assert (state.turnover, state.win_rate) == (0, None)
    assert (state.equity, state.pnl.commissions) == (Decimal("10198"), Decimal("2"))

    # The 50 left cost 1,000.50; sold at 21 for 1,050 - 1: 48.50 realized. The day lost 50 + 1.
    tracker.update_position(fill("3", Side.SELL, 50, "21", "1"))
    state = tracker.get_portfolio_state()
    assert state.session_realized_pnl == Decimal("48.50")
    assert state.session_pnl == Decimal("-51")
    assert state.session_commissions == Decimal("1")
    assert state.turnover == Decimal("1050") / Decimal("10198")


def test_a_day_that_is_taken_up_again_goes_on_from_its_own_start() -> None:
    before, morning = [fill("1", Side.BUY, 100, "20", "1")], [fill("2", Side.SELL, 40, "21", "1")]
    undisturbed = book(fills=before)
    undisturbed.roll_day()
    for one in morning:
        undisturbed.update_position(one)
    undisturbed.mark({"SPY": Decimal("21")})

    resumed = PnLTracker()
    resumed.initialize_portfolio_state(Decimal("10000"), before + morning, {"SPY": Decimal("21")})
    resumed.resume_day(undisturbed.starting_equity, undisturbed.starting_realized, morning)

    there, here = undisturbed.get_portfolio_state(), resumed.get_portfolio_state()
    for measure in ("session_pnl", "session_realized_pnl", "session_commissions", "turnover", "positions"):
        assert getattr(here, measure) == getattr(there, measure)


def test_positions_say_what_they_cost_and_are_worth() -> None:
    tracker = book(fills=[fill("1", Side.SELL, 100, "20", "1")], SPY="19")
    held = tracker.get_portfolio_state().positions["SPY"]
    assert (held.quantity, held.cost_basis, held.market_value) == (-100, Decimal("-1999"), Decimal("-1900"))
    assert (held.average_cost, held.unrealized_pnl) == (Decimal("19.99"), Decimal("99"))


def test_a_snapshot_has_what_the_symbol_realized_since_the_account_began() -> None:
    tracker = book(
        fills=[
            fill("1", Side.BUY, 10, "20"),
            fill("2", Side.SELL, 10, "21"),
            fill("3", Side.BUY, 5, "30", symbol="QQQ"),
        ]
    )
    tracker.roll_day()
    closed, held = (tracker.snapshot(SESSION, "paper", AT, symbol) for symbol in ("SPY", "QQQ"))
    assert (closed.quantity, closed.cost_basis, closed.realized_pnl) == (0, 0, 10)
    assert (held.quantity, held.cost_basis, held.realized_pnl) == (5, 150, 0)


def test_comparing_with_the_broker_changes_nothing() -> None:
    tracker = book(fills=[fill("1", Side.BUY, 10, "20")])
    before = tracker.get_portfolio_state()
    account = BrokerAccount("paper", Decimal("1"), (BrokerPosition("SPY", 11, Decimal("20")),), ())
    found = tracker.synchronize_portfolio_state_with_broker(account)
    assert [(one.kind, one.ours, one.brokers) for one in found] == [("position", "10", "11"), ("cash", "9800", "1")]
    assert tracker.get_portfolio_state() == before


def micros(most: int) -> st.SearchStrategy[Decimal]:
    return st.integers(1, most).map(lambda number: Decimal(number).scaleb(-6))


SYMBOLS = ("QQQ", "SPY")
TRADES = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.sampled_from(Side),
        st.integers(1, 500),
        micros(500_000_000),
        st.none() | micros(5_000_000),
    ),
    max_size=20,
)
PRICES = st.fixed_dictionaries({symbol: micros(500_000_000) for symbol in SYMBOLS})


def fills_of(trades: Sequence[tuple[str, Side, int, Decimal, Decimal | None]]) -> list[Fill]:
    return [
        Fill(
            Execution(f"x{number}", "o", symbol, side, quantity, price, paid, AT + timedelta(minutes=number)),
            SESSION,
            "paper",
            "paper",
        )
        for number, (symbol, side, quantity, price, paid) in enumerate(trades)
    ]


@BOTH
@given(trades=TRADES, prices=PRICES)
def test_the_identities_hold_exactly_after_every_fill(
    cost_basis: CostBasis, trades: list[tuple[str, Side, int, Decimal, Decimal | None]], prices: dict[str, Decimal]
) -> None:
    tracker = book(cost_basis=cost_basis)
    tracker.mark(prices)
    for one in fills_of(trades):
        tracker.update_position(one)
        point = tracker.equity_point(SESSION, AT)
        assert point.cash + point.market_value == point.equity
        assert point.realized_pnl + point.unrealized_pnl == point.equity - 10_000
    state = tracker.get_portfolio_state()
    assert sum(held.unrealized_pnl for held in state.positions.values()) == state.pnl.unrealized
    assert sum(held.market_value for held in state.positions.values()) == state.market_value
    assert state.pnl.commissions == sum(paid or 0 for *_, paid in trades)


@BOTH
@given(trades=TRADES, prices=PRICES, repeats=st.lists(st.integers(0, 19), max_size=5))
def test_a_book_rebuilt_from_its_fills_is_the_same_book(
    cost_basis: CostBasis,
    trades: list[tuple[str, Side, int, Decimal, Decimal | None]],
    prices: dict[str, Decimal],
    repeats: list[int],
) -> None:
    fills = fills_of(trades)
    lived = book(cost_basis=cost_basis)
    for one in fills + [fills[place] for place in repeats if place < len(fills)]:
        lived.update_position(one)
    lived.mark(prices)
    rebuilt = PnLTracker(cost_basis)
    rebuilt.initialize_portfolio_state(Decimal("10000"), fills, prices)

    for symbol in {one.execution.symbol for one in fills}:
        snapshots = [tracker.snapshot(SESSION, "paper", AT, symbol) for tracker in (lived, rebuilt)]
        assert snapshots[0] == snapshots[1]
    assert lived.calculate_pnl() == rebuilt.calculate_pnl()
    assert (lived.cash, lived.equity, lived.cost_basis) == (rebuilt.cash, rebuilt.equity, rebuilt.cost_basis)


@given(data=st.data(), trades=TRADES, prices=PRICES)
def test_the_order_of_fills_changes_neither_position_nor_cash_nor_total_profit(
    data: st.DataObject, trades: list[tuple[str, Side, int, Decimal, Decimal | None]], prices: dict[str, Decimal]
) -> None:
    fills = fills_of(trades)
    one, other = book(fills=fills), book(fills=data.draw(st.permutations(fills)))
    for tracker in (one, other):
        tracker.mark(prices)
    assert {symbol: one.quantity(symbol) for symbol in SYMBOLS} == {
        symbol: other.quantity(symbol) for symbol in SYMBOLS
    }
    assert (one.cash, one.equity) == (other.cash, other.equity)
    assert one.calculate_pnl().total == other.calculate_pnl().total
