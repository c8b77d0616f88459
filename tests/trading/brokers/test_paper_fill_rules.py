"""Each kind of order against bars that stay away from its price, touch it, trade through it and gap over it.

Slippage is 10 basis points: 0.10 of 100. Sales are mirrored: 200 - price.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.errors import OrderRefused

Maker = Callable[..., Any]
SEEN = datetime(2026, 1, 5, 14, 31, tzinfo=UTC)


def mirrored(prices: str) -> str:
    """The bar reflected at 100: high and low change places."""
    opened, high, low, close = (200 - Decimal(price) for price in prices.split())
    return f"{opened} {low} {high} {close}"


def filled(executions: list[tuple[str, int, str]]) -> str | None:
    """The price of the one execution, None where there was none."""
    return executions[0][2] if executions else None


LIMITS = [
    ("stays above", "101 102 99.5 101", None),
    ("touches the limit", "101 102 99 101", None),
    ("trades through", "101 102 98.99 101", "99"),
    ("gaps far below: better than the limit", "95 102 94 101", "95.095"),
    ("opens just below: slippage never goes beyond the limit", "98.95 102 98 101", "99"),
    ("opens at the limit", "99 102 98 101", "99"),
    ("opens at the limit and never goes lower", "99 102 99 101", "99"),
]


@pytest.mark.parametrize(("bar", "price"), [case[1:] for case in LIMITS], ids=[case[0] for case in LIMITS])
def test_a_limit_order_to_buy_at_99(market: Maker, bar: str, price: str | None) -> None:
    paper = market()
    paper.send("a", "LIMIT", limit_price="99")
    assert filled(paper.bar(bar)) == price


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ("99 101 98 99", None),
        ("99 101.01 98 99", "101"),
        # 105 less 0.105
        ("105 106 98 99", "104.895"),
        ("101.05 102 98 99", "101"),
    ],
)
def test_a_limit_order_to_sell_at_101(market: Maker, bar: str, price: str | None) -> None:
    paper = market()
    paper.send("a", "LIMIT", "SELL", limit_price="101")
    assert filled(paper.bar(bar)) == price


STOPS = [
    ("stays below", "100 100.99 98 99", None),
    ("touches the stop", "100 101 98 99", "101.101"),
    ("trades through", "100 104 98 99", "101.101"),
    # The gap is the trader's loss.
    ("gaps far above", "110 112 98 99", "110.11"),
    ("opens at the stop", "101 101 98 99", "101.101"),
]


@pytest.mark.parametrize(("bar", "price"), [case[1:] for case in STOPS], ids=[case[0] for case in STOPS])
def test_a_stop_order_to_buy_at_101(market: Maker, bar: str, price: str | None) -> None:
    paper = market()
    paper.send("a", "STOP", stop_price="101")
    assert filled(paper.bar(bar)) == price


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ("100 102 99.01 101", None),
        ("100 102 99 101", "98.901"),
        ("90 102 88 101", "89.91"),
    ],
)
def test_a_stop_order_to_sell_at_99(market: Maker, bar: str, price: str | None) -> None:
    paper = market()
    paper.send("a", "STOP", "SELL", stop_price="99")
    assert filled(paper.bar(bar)) == price


def test_a_stop_that_was_reached_is_a_market_order_from_then_on(market: Maker) -> None:
    # A tenth of 50 shares a bar: 5 at the stop, the rest at the next open although that is far below the stop.
    paper = market(max_volume_fraction="0.1")
    paper.send("a", "STOP", stop_price="101")
    assert paper.bar("100 102 98 99", volume=50) == [("a", 5, "101.101")]
    assert paper.bar("90 91 89 90", volume=50) == [("a", 5, "90.09")]


def test_a_stop_is_reached_also_where_no_volume_is_left(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1")
    paper.send("a", "STOP", stop_price="101")
    assert paper.bar("100 102 98 99", volume=9) == []
    assert paper.bar("90 91 89 90") == [("a", 10, "90.09")]


STOP_LIMITS = [
    ("is not reached", "102", "100 100.9 98 99", None),
    ("is reached with the stop within the limit", "102", "100 103 98 99", "101.101"),
    ("slips up to the limit and not beyond", "101.05", "100 103 98 99", "101.05"),
    ("gaps to within the limit", "102", "101.5 103 98 99", "101.6015"),
    ("gaps beyond the limit and comes back through it", "102", "105 106 101.9 103", "102"),
    ("gaps beyond the limit and comes back to it", "102", "105 106 102 103", None),
    ("gaps beyond the limit and stays", "102", "105 106 103 104", None),
    ("is reached inside the bar with the stop beyond the limit", "100.5", "100 103 98 99", None),
]


@pytest.mark.parametrize(
    ("limit", "bar", "price"), [case[1:] for case in STOP_LIMITS], ids=[case[0] for case in STOP_LIMITS]
)
def test_a_stop_limit_order_to_buy_from_101(market: Maker, limit: str, bar: str, price: str | None) -> None:
    paper = market()
    paper.send("a", "STOP_LIMIT", stop_price="101", limit_price=limit)
    assert filled(paper.bar(bar)) == price


def test_a_stop_limit_order_that_was_reached_is_a_limit_order_from_the_next_bar_on(market: Maker) -> None:
    paper = market()
    paper.send("a", "STOP_LIMIT", stop_price="101", limit_price="100.5")
    assert paper.bar("100 103 98 99") == []
    # Below the stop again: an order that had not been reached would wait.
    assert paper.bar("99 99.5 98 99") == [("a", 10, "99.099")]


# The mirror


@pytest.mark.parametrize(
    ("kind", "prices"),
    [
        ("LIMIT", {"limit_price": "99"}),
        ("STOP", {"stop_price": "101"}),
        ("STOP_LIMIT", {"stop_price": "101", "limit_price": "102"}),
        ("TRAILING_STOP", {"trail_amount": "1.5"}),
        ("MARKET_ON_OPEN", {}),
        ("LIMIT_ON_OPEN", {"limit_price": "99"}),
    ],
)
def test_a_sale_is_the_mirror_of_a_purchase(market: Maker, kind: str, prices: dict[str, str]) -> None:
    bars = [case[-2] for case in (*LIMITS, *STOPS, *STOP_LIMITS)]
    for bar in bars:
        paper = market(slippage_bps=0)
        paper.minute = -5
        paper.send("buy", kind, symbol="SPY", **prices)
        reflected = {name: str(200 - Decimal(price)) for name, price in prices.items() if name != "trail_amount"}
        paper.send("sell", kind, "SELL", symbol="QQQ", **prices | reflected)
        paper.minute = -1
        executed = {name: price for name, _, price in paper.bars({"SPY": bar, "QQQ": mirrored(bar)})}
        expected = {"sell": f"{(200 - Decimal(executed['buy'])).normalize():f}"} if "buy" in executed else {}
        assert {name: price for name, price in executed.items() if name == "sell"} == expected, bar


# Trailing stops


def test_a_trailing_stop_follows_the_best_price_of_earlier_bars(market: Maker) -> None:
    # From 100 at a distance of 2: 98, then 103 after the first bar's high of 105.
    paper = market()
    paper.send("a", "TRAILING_STOP", "SELL", trail_amount="2")
    assert paper.bar("100 105 98.5 104") == []
    assert paper.bar("104 104.5 103.01 103.5") == []
    assert paper.bar("103.5 104 102 103.5") == [("a", 10, "102.897")]


def test_a_trailing_stop_that_is_gapped_over_fills_at_the_open(market: Maker) -> None:
    paper = market()
    paper.send("a", "TRAILING_STOP", "SELL", trail_amount="2")
    paper.bar("100 105 98.5 104")
    assert paper.bar("95 96 94 95") == [("a", 10, "94.905")]


def test_the_stop_of_earlier_bars_comes_before_the_high_of_this_one(market: Maker) -> None:
    # The low of 97 may have come before the high of 110: 98 counts, not 108.
    paper = market()
    paper.send("a", "TRAILING_STOP", "SELL", trail_amount="2")
    assert paper.bar("100 110 97 109") == [("a", 10, "97.902")]


def test_an_open_beyond_the_best_price_moves_the_stop_before_the_rest_of_its_bar(market: Maker) -> None:
    # The open of 105 comes first: the stop is at 103 when the low of 102.5 comes, wherever the bar closes.
    paper = market()
    paper.send("a", "TRAILING_STOP", "SELL", trail_amount="2")
    assert paper.bar("105 105.5 102.5 105") == [("a", 10, "102.897")]


def test_an_open_beyond_the_best_price_moves_a_purchases_stop_as_well(market: Maker) -> None:
    # The open of 95 moves the stop from 102 to 97; the high of 103 goes through 97 first.
    paper = market()
    paper.send("a", "TRAILING_STOP", "BUY", trail_amount="2")
    assert paper.bar("95 103 94.5 95") == [("a", 10, "97.097")]


def test_a_close_beyond_the_moved_stop_was_crossed_after_the_high(market: Maker) -> None:
    # The high of 110 moves the stop to 108, and the bar closes below it; its low of 99 never reached 98.
    paper = market()
    paper.send("a", "TRAILING_STOP", "SELL", trail_amount="2")
    assert paper.bar("100 110 99 107") == [("a", 10, "107.892")]


def test_a_low_beyond_the_moved_stop_may_have_come_before_the_high(market: Maker) -> None:
    paper = market()
    paper.send("a", "TRAILING_STOP", "SELL", trail_amount="2")
    assert paper.bar("100 110 99 108.5") == []
    assert paper.bar("108.5 108.5 107 107.5") == [("a", 10, "107.892")]


def test_a_trailing_stop_by_a_fraction_keeps_its_distance_in_proportion(market: Maker) -> None:
    # 2 % of 100.01 is 2.0002: the stop is 98.0098; of 110 it is 107.8.
    paper = market(slippage_bps=0)
    paper.send("a", "TRAILING_STOP", "SELL", trail_fraction="0.02", reference_price="100.01")
    assert paper.bar("100 100 98.01 99") == []
    assert paper.bar("99 110 99 108") == []
    assert paper.bar("108 108 107.8 107.9") == [("a", 10, "107.8")]


def test_the_stop_of_a_fraction_is_rounded_as_money_is(market: Maker) -> None:
    # 100.0001 x 0.99999 = 99.999099999 -> 99.9991
    paper = market(slippage_bps=0)
    paper.send("a", "TRAILING_STOP", "SELL", trail_fraction="0.00001", reference_price="100.0001")
    assert paper.bar("100 100 99 99.5") == [("a", 10, "99.9991")]


def test_a_trailing_purchase_follows_the_lowest_price(market: Maker) -> None:
    paper = market()
    paper.send("a", "TRAILING_STOP", "BUY", trail_amount="2")
    assert paper.bar("100 101.99 95 96") == []
    assert paper.bar("96 97 96 96.5") == [("a", 10, "97.097")]


def test_a_distance_larger_than_the_price_is_never_reached(market: Maker) -> None:
    paper = market()
    paper.send("a", "TRAILING_STOP", "SELL", trail_amount="500")
    assert paper.bar("100 100 0.01 0.02") == []


# The open and the close


def test_an_order_for_the_open_trades_in_the_first_bar_of_the_next_session(market: Maker) -> None:
    paper = market()
    paper.send("a", "MARKET_ON_OPEN")
    assert paper.bar("100 101 99 100") == []
    assert paper.close() == []
    assert paper.status("a") == "ACCEPTED 0"
    paper.next_day()
    assert paper.bar("105 106 104 105") == [("a", 10, "105.105")]


def test_an_order_made_before_the_open_trades_at_it(market: Maker) -> None:
    paper = market()
    paper.minute = -30
    paper.send("a", "MARKET_ON_OPEN")
    assert paper.bar("90 91 89 90") == [], "a bar before the open is no opening"
    paper.minute = -1
    assert paper.bar("105 106 104 105") == [("a", 10, "105.105")]


def test_what_does_not_fill_at_the_open_expires_there(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1")
    paper.minute = -30
    paper.send("a", "MARKET_ON_OPEN")
    paper.minute = -1
    assert paper.bar("105 106 104 105", volume=40) == [("a", 4, "105.105")]
    assert paper.status("a") == "EXPIRED 4"
    assert paper.history()[-1] == ("a", "EXPIRED", paper.now)


@pytest.mark.parametrize(("opened", "price"), [("99", "99"), ("98", "98.098"), ("99.01", None)])
def test_a_limit_for_the_open_is_judged_at_the_open_alone(market: Maker, opened: str, price: str | None) -> None:
    # Later in the bar 95 was traded: too late.
    paper = market()
    paper.minute = -30
    paper.send("a", "LIMIT_ON_OPEN", limit_price="99")
    paper.minute = -1
    assert filled(paper.bar(f"{opened} 101 95 100")) == price
    assert paper.status("a") == ("EXPIRED 0" if price is None else "FILLED 10")


def test_a_first_bar_in_which_nothing_was_traded_is_no_opening(market: Maker) -> None:
    paper = market()
    paper.minute = -30
    paper.send("a", "MARKET_ON_OPEN")
    paper.minute = -1
    assert paper.bar("105 106 104 105", volume=0) == []
    assert paper.bar("106 106 104 105") == [("a", 10, "106.106")]


def test_an_order_for_the_open_that_comes_too_late_waits_for_the_next_one(market: Maker) -> None:
    paper = market()
    paper.bar("100 101 99 100")
    paper.minute = -30
    paper.send("a", "MARKET_ON_OPEN")
    paper.minute = 1
    assert paper.bar("100 101 99 100") == [], "decided before the open, and there after it"
    paper.close()
    paper.next_day()
    assert paper.bar("105 106 104 105") == [("a", 10, "105.105")]


def test_an_order_for_an_open_that_never_came_expires_at_the_close(market: Maker) -> None:
    paper = market()
    paper.minute = -30
    paper.send("a", "MARKET_ON_OPEN")
    paper.close()
    assert paper.status("a") == "EXPIRED 0"


def test_an_order_for_the_close_trades_at_the_close_of_the_last_bar(market: Maker) -> None:
    paper = market()
    paper.send("a", "MARKET_ON_CLOSE")
    assert paper.bar("100 101 99 100") == []
    assert paper.bar("100 103 99 102") == []
    assert paper.bar("50 50 50 50", volume=0) == [], "nothing was traded: its close is nobody's"
    assert paper.close() == [("a", 10, "102.102")]
    closed_at = datetime(2026, 1, 5, 21, 0, tzinfo=UTC)
    assert paper.history()[-1] == ("a", "FILLED", closed_at)
    assert paper.close() == []


@pytest.mark.parametrize(("close", "price"), [("99", "99"), ("98", "98.098"), ("99.01", None)])
def test_a_limit_for_the_close_is_judged_at_the_close_alone(market: Maker, close: str, price: str | None) -> None:
    paper = market()
    paper.send("a", "LIMIT_ON_CLOSE", limit_price="99")
    paper.bar(f"100 101 90 {close}")
    assert filled(paper.close()) == price
    assert paper.status("a") == ("EXPIRED 0" if price is None else "FILLED 10")


def test_orders_for_the_close_share_what_others_left_of_the_last_bar(market: Maker) -> None:
    # A tenth of 200 is 20: 8 for the market order in the bar, 10 of 12 for the older one, 2 of 10 for the younger one.
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    paper.send("old", "MARKET_ON_CLOSE")
    paper.send("young", "MARKET_ON_CLOSE")
    paper.send("now", quantity=8)
    assert paper.bar("100 101 99 100", volume=200) == [("now", 8, "100")]
    assert paper.close() == [("old", 10, "100"), ("young", 2, "100")]
    assert paper.status("young") == "EXPIRED 2"


def test_an_order_for_the_close_that_saw_no_bar_expires(market: Maker) -> None:
    paper = market()
    paper.bar("100 101 99 100")
    paper.send("a", "MARKET_ON_CLOSE")
    assert paper.close() == []
    assert paper.status("a") == "EXPIRED 0"


# How long an order works


def test_a_day_order_ends_with_its_session_and_a_lasting_one_does_not(market: Maker) -> None:
    paper = market()
    paper.send("day", "LIMIT", limit_price="90")
    paper.send("lasting", "LIMIT", limit_price="90", time_in_force="GTC")
    paper.bar("100 101 99 100")
    paper.close()
    assert (paper.status("day"), paper.status("lasting")) == ("EXPIRED 0", "ACCEPTED 0")
    paper.next_day()
    assert paper.bar("85 101 84 100") == [("lasting", 10, "85.085")]


def test_a_trailing_stop_goes_on_from_its_best_price_in_the_next_session(market: Maker) -> None:
    paper = market()
    paper.send("a", "TRAILING_STOP", "SELL", trail_amount="2", time_in_force="GTC")
    paper.bar("100 110 99 109")
    paper.close()
    paper.next_day()
    assert paper.bar("107.9 109 107 108") == [("a", 10, "107.7921")]


AT_ONCE: list[tuple[str, dict[str, str], str, str | None]] = [
    ("MARKET", {}, "100 101 99 100", "100.1"),
    ("LIMIT", {"limit_price": "99"}, "98 101 97 100", "98.098"),
    # Traded through later in the bar: too late.
    ("LIMIT", {"limit_price": "99"}, "100 101 97 100", None),
    ("STOP", {"stop_price": "101"}, "102 103 99 100", "102.102"),
    ("STOP", {"stop_price": "101"}, "100 103 99 100", None),
    ("STOP_LIMIT", {"stop_price": "101", "limit_price": "103"}, "102 104 99 100", "102.102"),
    ("STOP_LIMIT", {"stop_price": "101", "limit_price": "103"}, "104 104 99 100", None),
    ("STOP_LIMIT", {"stop_price": "101", "limit_price": "103"}, "100 104 99 100", None),
    ("TRAILING_STOP", {"trail_amount": "1"}, "101 104 99 100", "101.101"),
    ("TRAILING_STOP", {"trail_amount": "1"}, "100 104 99 104", None),
]


@pytest.mark.parametrize("time_in_force", ["IOC", "FOK"])
@pytest.mark.parametrize(("kind", "prices", "bar", "price"), AT_ONCE)
def test_an_order_at_once_takes_the_first_open_or_nothing(
    market: Maker, time_in_force: str, kind: str, prices: dict[str, str], bar: str, price: str | None
) -> None:
    paper = market()
    paper.send("a", kind, time_in_force=time_in_force, **prices)
    assert filled(paper.bar(bar)) == price
    assert paper.status("a") == ("CANCELLED 0" if price is None else "FILLED 10")
    assert paper.history()[-1][2] == SEEN


def test_an_order_at_once_cancels_what_it_cannot_get(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1")
    paper.send("a", time_in_force="IOC")
    assert paper.bar("100 101 99 100", volume=40) == [("a", 4, "100.1")]
    assert paper.status("a") == "CANCELLED 4"


def test_all_or_nothing_is_nothing_where_the_volume_share_is_too_small(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1")
    paper.send("a", time_in_force="FOK")
    paper.send("b", quantity=4)
    assert paper.bar("100 101 99 100", volume=99) == [("b", 4, "100.1")]
    assert paper.status("a") == "CANCELLED 0"


def test_all_or_nothing_takes_all_where_it_can(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1")
    paper.send("a", time_in_force="FOK")
    assert paper.bar("100 101 99 100", volume=100) == [("a", 10, "100.1")]


def test_an_order_at_once_waits_for_a_bar_with_trades_and_ends_at_the_close(market: Maker) -> None:
    paper = market()
    paper.send("a", time_in_force="IOC")
    assert paper.bar("100 101 99 100", volume=0) == []
    assert paper.status("a") == "ACCEPTED 0"
    paper.close()
    assert paper.status("a") == "EXPIRED 0"


# Changing an order


def test_a_changed_order_trades_by_its_new_terms_from_the_next_bar_on(market: Maker) -> None:
    paper = market(slippage_bps=0)
    paper.send("limit", "LIMIT", limit_price="90")
    paper.send("stop", "STOP", stop_price="120")
    paper.send("trail", "TRAILING_STOP", "SELL", trail_amount="50")
    paper.bar("100 101 99 100")
    paper.amend("limit", quantity=7, limit_price="99.5")
    paper.amend("stop", stop_price="102")
    paper.amend("trail", trail_amount="3")
    # The best price so far was 101: the trailing stop stands at 98 now.
    executed = paper.bar("100 103 98 100")
    assert sorted(executed) == [("limit", 7, "99.5"), ("stop", 10, "102"), ("trail", 10, "98")]
    assert paper.status("limit") == "FILLED 7"


def test_the_same_amendment_again_changes_nothing(market: Maker) -> None:
    paper = market()
    paper.send("a", "LIMIT", limit_price="90")
    paper.amend("a", 1, limit_price="91")
    paper.amend("a", 2, limit_price="92")
    paper.amend("a", 1, limit_price="91")
    assert paper.order("a").limit_price == Decimal("92")
    paper.cancel("a")
    # It was taken before the order was over; whoever lost the answer hears that again.
    paper.amend("a", 2, limit_price="92")


def test_an_amendment_to_no_more_than_has_filled_ends_the_order_as_filled(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1")
    paper.send("a")
    paper.bar("100 101 99 100", volume=40)
    paper.amend("a", quantity=3)
    assert paper.status("a") == "FILLED 4"
    assert paper.order("a").quantity == 4
    assert paper.history()[-1] == ("a", "FILLED", paper.now)


@pytest.mark.parametrize(
    ("kind", "prices", "change", "why"),
    [
        ("MARKET", {}, {"limit_price": "99"}, "has no limit price"),
        ("LIMIT", {"limit_price": "90"}, {"stop_price": "99"}, "has no stop price"),
        ("LIMIT", {"limit_price": "90"}, {"trail_amount": "1"}, "has no trail amount"),
        ("TRAILING_STOP", {"trail_amount": "9"}, {"trail_fraction": "0.1"}, "has no trail fraction"),
        ("TRAILING_STOP", {"trail_fraction": "0.9"}, {"trail_fraction": "1"}, "not below 1"),
        ("LIMIT", {"limit_price": "90"}, {"limit_price": "0"}, "not positive"),
        ("LIMIT", {"limit_price": "90"}, {"limit_price": "NaN"}, "not positive"),
        ("LIMIT", {"limit_price": "90"}, {"quantity": 11}, "11 shares are not between 1 and its 10"),
        ("LIMIT", {"limit_price": "90"}, {"quantity": 0}, "0 shares are not between 1 and its 10"),
    ],
)
def test_an_amendment_that_does_not_fit_is_refused_and_the_order_works_on(
    market: Maker, kind: str, prices: dict[str, str], change: dict[str, Any], why: str
) -> None:
    paper = market()
    paper.send("a", kind, **prices)
    before = paper.order("a")
    with pytest.raises(OrderRefused, match=why):
        paper.amend("a", **change)
    assert paper.order("a") == before


def test_what_is_over_or_unknown_cannot_be_changed(market: Maker) -> None:
    paper = market()
    with pytest.raises(OrderRefused, match="not known here"):
        paper.amend("a", quantity=5)
    paper.send("a")
    paper.bar("100 101 99 100")
    with pytest.raises(OrderRefused, match="the order is FILLED"):
        paper.amend("a", quantity=5)


def test_a_stop_that_was_reached_cannot_be_moved(market: Maker) -> None:
    paper = market()
    paper.send("a", "STOP_LIMIT", stop_price="101", limit_price="100.5")
    paper.bar("100 103 99 102")
    with pytest.raises(OrderRefused, match="comes too late"):
        paper.amend("a", stop_price="105")
    paper.amend("a", limit_price="101.5")
    assert paper.bar("102 102 101 102") == [("a", 10, "101.5")]


# Quantities


def test_orders_share_a_bar_in_the_order_in_which_they_came_also_after_a_restart(market: Maker) -> None:
    # Five shares a bar: the older one is changed by its first fill and stays the older one.
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    paper.send("old")
    paper.send("young")
    assert [paper.bar("100 101 99 100", volume=50) for _ in range(3)] == [
        [("old", 5, "100")],
        [("old", 5, "100")],
        [("young", 5, "100")],
    ]


def test_the_average_price_is_that_of_all_fills(market: Maker) -> None:
    # 4 at 100 and 6 at 105 are 103 a share.
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    paper.send("a")
    assert paper.order("a").average_price is None
    paper.bar("100 101 99 100", volume=40)
    paper.bar("105 106 104 105")
    assert paper.order("a").average_price == Decimal("103")


def test_an_order_that_comes_late_trades_with_bars_after_those_seen(market: Maker) -> None:
    paper = market()
    for _ in range(3):
        paper.bar("100 101 99 100")
    paper.minute = 1
    paper.send("decided on the first bar")
    paper.minute = 2
    assert paper.bar("100 101 99 100") == []
    assert len(paper.bar("100 101 99 100")) == 1


def test_every_change_of_status_has_its_own_time(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1")
    paper.send("a")
    paper.bar("100 101 99 100", volume=40)
    paper.cancel("a")
    minute = timedelta(minutes=1)
    assert paper.history() == [
        ("a", "ACCEPTED", SEEN),
        ("a", "PARTIALLY_FILLED", SEEN),
        ("a", "CANCELLED", SEEN),
    ]
    paper.send("b")
    paper.cancel("b")
    # Never before it was accepted.
    assert paper.history()[3:] == [("b", "ACCEPTED", SEEN + minute), ("b", "CANCELLED", SEEN + minute)]
