from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.lots import Position
from trading.orders import Execution, Side
from trading.settings import CostBasis

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
BOTH = pytest.mark.parametrize("cost_basis", CostBasis)


def executed(side: Side, quantity: int, price: str, commission: str | None = "0") -> Execution:
    paid = None if commission is None else Decimal(commission)
    return Execution("x", "o", "SPY", side, quantity, Decimal(price), paid, AT)


def buy(quantity: int, price: str, commission: str | None = "0") -> Execution:
    return executed(Side.BUY, quantity, price, commission)


def sell(quantity: int, price: str, commission: str | None = "0") -> Execution:
    return executed(Side.SELL, quantity, price, commission)


def booked(cost_basis: CostBasis, executions: Sequence[Execution]) -> tuple[Position, list[Decimal | None]]:
    position = Position(cost_basis)
    return position, [position.apply(execution) for execution in executions]


@BOTH
def test_opening_realizes_nothing_and_carries_its_commission_in_the_basis(cost_basis: CostBasis) -> None:
    position, realized = booked(cost_basis, [buy(100, "10", "1")])
    assert realized == [None]
    assert (position.quantity, position.basis) == (100, Decimal("1001"))


def test_fifo_closes_the_oldest_shares_first() -> None:
    # Bought 100 for 1,001 and 50 for 601. Selling 120 at 15 brings 1,798.80 and takes the first lot whole and 20 of
    # the 50 (240.40): 1,798.80 - 1,241.40 = 557.40. Thirty of the second lot stay: 360.60.
    position, realized = booked(CostBasis.FIFO, [buy(100, "10", "1"), buy(50, "12", "1"), sell(120, "15", "1.20")])
    assert realized[-1] == Decimal("557.40")
    assert (position.quantity, position.basis) == (30, Decimal("360.60"))


def test_average_cost_closes_a_part_of_every_share() -> None:
    # 150 shares for 1,602: 120 of them cost 1,281.60. 1,798.80 - 1,281.60 = 517.20, and 320.40 stays in 30 shares.
    position, realized = booked(CostBasis.AVERAGE, [buy(100, "10", "1"), buy(50, "12", "1"), sell(120, "15", "1.20")])
    assert realized[-1] == Decimal("517.20")
    assert (position.quantity, position.basis) == (30, Decimal("320.40"))


def test_fifo_keeps_lots_apart_and_average_merges_them() -> None:
    trades = [buy(100, "10"), buy(50, "12")]
    fifo, _ = booked(CostBasis.FIFO, trades)
    average, _ = booked(CostBasis.AVERAGE, trades)
    assert [(lot.quantity, lot.basis) for lot in fifo.lots] == [(100, 1000), (50, 600)]
    assert [(lot.quantity, lot.basis) for lot in average.lots] == [(150, 1600)]


@BOTH
def test_a_short_position_has_its_net_proceeds_as_negative_basis(cost_basis: CostBasis) -> None:
    position, _ = booked(cost_basis, [sell(100, "20", "1")])
    assert (position.quantity, position.basis) == (-100, Decimal("-1999"))


@BOTH
def test_covering_part_of_a_short_realizes_what_those_shares_brought(cost_basis: CostBasis) -> None:
    # 40 of 100 shares were sold for 800 less 0.40; buying them back costs 720 and 1: 799.60 - 721 = 78.60.
    position, realized = booked(cost_basis, [sell(100, "20", "1"), buy(40, "18", "1")])
    assert realized[-1] == Decimal("78.60")
    assert (position.quantity, position.basis) == (-60, Decimal("-1199.40"))


@BOTH
def test_a_flip_closes_everything_and_opens_the_rest_with_its_share_of_the_commission(cost_basis: CostBasis) -> None:
    # 150 sold for 1.50 in commission: 1.00 closes, 0.50 opens. Closing: 1,100 - 1 - 1,001 = 98. Opening: 550 - 0.50.
    position, realized = booked(cost_basis, [buy(100, "10", "1"), sell(150, "11", "1.50")])
    assert realized[-1] == Decimal("98")
    assert (position.quantity, position.basis) == (-50, Decimal("-549.50"))


@BOTH
def test_a_flip_from_short_to_long(cost_basis: CostBasis) -> None:
    # Sold 10 for 100 - 1 = 99. Bought 30 at 8 for 3: 1 closes (99 - 80 - 1 = 18), 2 opens 20 shares at 160 + 2.
    position, realized = booked(cost_basis, [sell(10, "10", "1"), buy(30, "8", "3")])
    assert realized[-1] == Decimal("18")
    assert (position.quantity, position.basis) == (20, Decimal("162"))


@BOTH
def test_a_commission_that_does_not_divide_is_split_without_losing_a_micro(cost_basis: CostBasis) -> None:
    # 1.00 over one closing and two opening shares: 0.333333 closes, 0.666667 opens.
    position, realized = booked(cost_basis, [buy(1, "10"), sell(3, "10", "1")])
    assert realized[-1] == Decimal("-0.333333")
    assert position.basis == Decimal("-19.333333")


@BOTH
def test_shares_closed_one_by_one_take_the_whole_basis_with_them(cost_basis: CostBasis) -> None:
    # Three shares for 10: the first costs 3.333333, the second half of 6.666667 (to even), the third what is left.
    position, realized = booked(cost_basis, [buy(3, "3", "1"), *[sell(1, "5") for _ in range(3)]])
    assert realized[1:] == [Decimal("1.666667"), Decimal("1.666666"), Decimal("1.666667")]
    assert (position.quantity, position.basis, position.lots) == (0, 0, ())


@BOTH
def test_a_commission_that_is_not_known_yet_counts_as_nothing(cost_basis: CostBasis) -> None:
    position, realized = booked(cost_basis, [buy(10, "10", None), sell(5, "11", None)])
    assert realized[-1] == Decimal("5")
    assert position.basis == Decimal("50")


@BOTH
def test_a_closed_position_forgets_its_cost(cost_basis: CostBasis) -> None:
    position, realized = booked(cost_basis, [buy(10, "10"), sell(10, "12"), buy(10, "20"), sell(10, "21")])
    assert realized == [None, Decimal("20"), None, Decimal("10")]
    assert position.quantity == 0


def micros(most: int) -> st.SearchStrategy[Decimal]:
    return st.integers(0, most).map(lambda number: Decimal(number).scaleb(-6))


EXECUTIONS = st.lists(
    st.builds(
        Execution,
        st.just("x"),
        st.just("o"),
        st.just("SPY"),
        st.sampled_from(Side),
        st.integers(1, 1_000),
        micros(1_000_000_000).map(lambda price: price + Decimal("0.000001")),
        st.none() | micros(10_000_000),
        st.just(AT),
    ),
    max_size=25,
)


def cash_moved(execution: Execution) -> Decimal:
    return -execution.side.sign * execution.quantity * execution.price - (execution.commission or 0)


@BOTH
@given(executions=EXECUTIONS)
def test_realized_less_basis_is_the_cash_that_moved_to_the_last_micro(
    cost_basis: CostBasis, executions: list[Execution]
) -> None:
    position, realized = booked(cost_basis, executions)
    assert sum(amount or 0 for amount in realized) - position.basis == sum(map(cash_moved, executions))


@BOTH
@given(executions=EXECUTIONS)
def test_the_lots_are_the_position_and_never_of_both_signs(cost_basis: CostBasis, executions: list[Execution]) -> None:
    position, _ = booked(cost_basis, executions)
    assert position.quantity == sum(execution.side.sign * execution.quantity for execution in executions)
    assert sum(lot.quantity for lot in position.lots) == position.quantity
    assert all(lot.quantity * position.quantity > 0 for lot in position.lots)
    assert position.basis == sum(lot.basis for lot in position.lots)


@given(executions=EXECUTIONS)
def test_both_methods_agree_on_every_flat_position(executions: list[Execution]) -> None:
    fifo, average = Position(CostBasis.FIFO), Position(CostBasis.AVERAGE)
    totals = [Decimal(0), Decimal(0)]
    for execution in executions:
        for which, position in enumerate((fifo, average)):
            totals[which] += position.apply(execution) or 0
        if fifo.quantity == 0:
            assert totals[0] == totals[1]
