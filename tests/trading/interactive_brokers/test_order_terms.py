"""Orders in the broker's words and back: every type, every time in force."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from trading.errors import OrderRefused
from trading.interactive_brokers.messages import WireOrder
from trading.interactive_brokers.order_terms import (
    order_type_of,
    prices_of,
    require_on_tick,
    side_of,
    wire_order,
)
from trading.orders import AUCTIONS, LIMITED, STOPPED, OrderIntent, OrderType, Side, TimeInForce

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)


def intent(kind: OrderType = OrderType.LIMIT, tif: TimeInForce = TimeInForce.DAY, **terms: object) -> OrderIntent:
    if kind in LIMITED:
        terms.setdefault("limit_price", Decimal("10.05"))
    if kind in STOPPED:
        terms.setdefault("stop_price", Decimal("9.95"))
    if kind is OrderType.TRAILING_STOP and "trail_fraction" not in terms:
        terms.setdefault("trail_amount", Decimal("0.50"))
    return OrderIntent(
        "260105-150000-SPY-0123456789",
        "s",
        "paper",
        NOW,
        "SPY",
        Side.SELL,
        30,
        Decimal(10),
        NOW,
        kind,
        tif,
        **terms,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("kind", "wire", "in_force"),
    [
        (OrderType.MARKET, "MKT", "DAY"),
        (OrderType.LIMIT, "LMT", "DAY"),
        (OrderType.STOP, "STP", "DAY"),
        (OrderType.STOP_LIMIT, "STP LMT", "DAY"),
        (OrderType.TRAILING_STOP, "TRAIL", "DAY"),
        (OrderType.MARKET_ON_OPEN, "MKT", "OPG"),
        (OrderType.LIMIT_ON_OPEN, "LMT", "OPG"),
        (OrderType.MARKET_ON_CLOSE, "MOC", "DAY"),
        (OrderType.LIMIT_ON_CLOSE, "LOC", "DAY"),
    ],
)
def test_every_type_has_a_word_and_comes_back_from_it(kind: OrderType, wire: str, in_force: str) -> None:
    order = wire_order(intent(kind), "DU1234567")
    assert (order.order_type, order.time_in_force) == (wire, in_force)
    assert order_type_of(order) is kind


def test_no_type_of_ours_is_left_out() -> None:
    for kind in OrderType:
        assert order_type_of(wire_order(intent(kind), "DU1234567")) is kind


@pytest.mark.parametrize("tif", TimeInForce)
@pytest.mark.parametrize("kind", sorted(set(OrderType) - AUCTIONS))
def test_a_time_in_force_is_always_set(kind: OrderType, tif: TimeInForce) -> None:
    """What is left empty the gateway fills from its presets, and tells error 10349."""
    assert wire_order(intent(kind, tif), "DU1234567").time_in_force == tif.value


def test_reference_account_side_and_quantity_are_always_set() -> None:
    order = wire_order(intent(), "DU1234567")
    assert (order.order_ref, order.account) == ("260105-150000-SPY-0123456789", "DU1234567")
    assert (order.action, order.quantity, order.transmit, order.parent_id) == ("SELL", Decimal(30), True, 0)


def test_prices_stand_where_their_type_has_them() -> None:
    order = wire_order(intent(OrderType.STOP_LIMIT), "DU1234567")
    assert (order.limit_price, order.aux_price, order.trailing_percent) == (Decimal("10.05"), Decimal("9.95"), None)
    assert prices_of(order) == (Decimal("10.05"), Decimal("9.95"))


def test_a_trail_is_an_amount_or_percent_and_no_price() -> None:
    amount = wire_order(intent(OrderType.TRAILING_STOP), "DU1234567")
    assert (amount.aux_price, amount.trailing_percent, prices_of(amount)) == (Decimal("0.50"), None, (None, None))
    percent = wire_order(intent(OrderType.TRAILING_STOP, trail_fraction=Decimal("0.015")), "DU1234567")
    assert (percent.aux_price, percent.trailing_percent) == (None, Decimal("1.5"))


def test_what_the_broker_writes_for_no_price_is_none() -> None:
    order = WireOrder("BUY", Decimal(1), "MKT", "DAY", limit_price=Decimal(0), aux_price=Decimal(0))
    assert prices_of(order) == (None, None)


def test_members_of_a_group_reduce_each_other_and_never_fill_twice() -> None:
    order = wire_order(intent(oca_group="exits"), "DU1234567")
    assert (order.oca_group, order.oca_type) == ("exits", 2)
    assert (wire_order(intent(), "DU1234567").oca_group, wire_order(intent(), "DU1234567").oca_type) == ("", 0)


def test_a_child_names_its_parent_and_waits_for_the_last_of_its_family() -> None:
    order = wire_order(intent(parent_id="P"), "DU1234567", parent_order_id=7, transmit=False)
    assert (order.parent_id, order.transmit) == (7, False)


@pytest.mark.parametrize(
    ("action", "side"),
    [("BUY", Side.BUY), ("BOT", Side.BUY), ("SELL", Side.SELL), ("SLD", Side.SELL), ("SSHORT", Side.SELL)],
)
def test_sides(action: str, side: Side) -> None:
    assert side_of(action) is side


@pytest.mark.parametrize(
    ("kind", "limit", "nearest"), [("REL", "10", OrderType.LIMIT), ("MIT", None, OrderType.MARKET)]
)
def test_an_order_of_a_type_that_we_do_not_have_is_taken_for_the_nearest(
    kind: str, limit: str | None, nearest: OrderType
) -> None:
    order = WireOrder("BUY", Decimal(1), kind, "DAY", limit_price=None if limit is None else Decimal(limit))
    assert order_type_of(order) is nearest


# Prices between two steps


@pytest.mark.parametrize("prices", [{"limit_price": Decimal("10.055")}, {"stop_price": Decimal("9.955")}])
def test_a_price_between_two_steps_is_refused_here(prices: dict[str, Decimal]) -> None:
    """The gateway answers it with error 110 and nothing else."""
    with pytest.raises(OrderRefused, match=r"tick_size = 0.01"):
        require_on_tick(intent(OrderType.STOP_LIMIT, **prices), Decimal("0.01"))


@pytest.mark.parametrize("tick", [Decimal("0.01"), Decimal("0.0001"), None, Decimal(0)])
def test_a_price_on_a_step_passes_and_so_does_one_whose_step_is_not_known(tick: Decimal | None) -> None:
    require_on_tick(intent(OrderType.STOP_LIMIT), tick)
