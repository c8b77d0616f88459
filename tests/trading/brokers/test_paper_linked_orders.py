"""Brackets and one-cancels-other: who sleeps, who gives way, and what is assumed where a bar does not tell."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.errors import OrderRefused

Maker = Callable[..., Any]
QUIET = "100 101 99 100"


def bracket(paper: Any, quantity: int = 10, **entry: Any) -> None:
    """An entry with a target at 110 and a stop at 95, which exclude each other."""
    paper.send("entry", quantity=quantity, **entry)
    children = {"parent_id": "entry", "oca_group": "exits", "time_in_force": "GTC"}
    paper.send("target", "LIMIT", "SELL", quantity, limit_price="110", **children)
    paper.send("stop", "STOP", "SELL", quantity, stop_price="95", **children)


# Children and their parent


def test_children_sleep_until_their_parent_has_a_fill(market: Maker) -> None:
    paper = market(slippage_bps=0)
    bracket(paper, kind="LIMIT", limit_price="90")
    assert paper.bar("100 120 91 100") == []
    assert (paper.status("target"), paper.status("stop")) == ("ACCEPTED 0", "ACCEPTED 0")


def test_children_do_not_trade_in_the_bar_of_their_parents_fill(market: Maker) -> None:
    # The way between open and close is unknown: 94 may have been before the entry's 99.
    paper = market(slippage_bps=0)
    bracket(paper, kind="LIMIT", limit_price="99")
    assert paper.bar("100 111 94 100") == [("entry", 10, "99")]
    assert paper.bar("100 111 96 100") == [("target", 10, "110")]
    assert paper.status("stop") == "CANCELLED 0"
    assert paper.history()[-2:] == [("target", "FILLED", paper.now), ("stop", "CANCELLED", paper.now)]


def test_children_are_no_larger_than_what_their_parent_has_filled(market: Maker) -> None:
    # 4 of 10 are bought. In the next bar 12 could trade: 6 for the entry, and of the 6 left the target may sell those 4 only.
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    bracket(paper)
    assert paper.bar(QUIET, volume=40) == [("entry", 4, "100")]
    assert paper.bar("111 112 110 111", volume=120) == [("entry", 6, "111"), ("target", 4, "111")]
    assert paper.bar("111 112 110 111") == [("target", 6, "111")]
    assert (paper.status("target"), paper.status("stop")) == ("FILLED 10", "CANCELLED 0")


def test_children_of_a_parent_that_ends_without_a_fill_are_cancelled(market: Maker) -> None:
    paper = market()
    bracket(paper, kind="LIMIT", limit_price="90")
    paper.bar(QUIET)
    paper.cancel("entry")
    assert [paper.status(name) for name in ("entry", "target", "stop")] == ["CANCELLED 0"] * 3
    assert [told[:2] for told in paper.history()[3:]] == [
        ("entry", "CANCELLED"),
        ("target", "CANCELLED"),
        ("stop", "CANCELLED"),
    ]


def test_children_end_with_a_parent_that_expires(market: Maker) -> None:
    paper = market()
    bracket(paper, kind="LIMIT", limit_price="90")
    paper.close()
    assert [paper.status(name) for name in ("entry", "target", "stop")] == ["EXPIRED 0", "CANCELLED 0", "CANCELLED 0"]


def test_children_of_a_parent_that_ends_in_parts_are_for_that_part(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    bracket(paper)
    paper.bar(QUIET, volume=40)
    paper.cancel("entry")
    assert (paper.order("target").quantity, paper.order("stop").quantity) == (4, 4)
    assert paper.bar("94 95 93 94") == [("stop", 4, "94")]
    assert (paper.status("stop"), paper.status("target")) == ("FILLED 4", "CANCELLED 0")


def test_a_child_that_has_closed_all_its_parent_ever_filled_is_over_with_it(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    bracket(paper)
    paper.bar(QUIET, volume=40)
    # 4 at the target; the entry gets 3 of the 7 shares that are left.
    paper.amend("entry", quantity=7)
    assert paper.bar("111 112 110 111", volume=70) == [("entry", 3, "111"), ("target", 4, "111")]
    assert paper.order("target").quantity == 7
    assert paper.bar("111 112 110 111") == [("target", 3, "111")]
    assert (paper.status("target"), paper.status("stop")) == ("FILLED 7", "CANCELLED 0")


def test_children_outlive_the_session_where_they_are_meant_to(market: Maker) -> None:
    paper = market(slippage_bps=0)
    bracket(paper)
    paper.bar(QUIET)
    paper.close()
    paper.next_day()
    assert paper.bar("90 91 89 90") == [("stop", 10, "90")]


def test_a_trailing_child_follows_from_its_parents_first_fill(market: Maker) -> None:
    # Bought at 90 with a trail of 3: from there the stop is 87, and not 107 below the 110 seen while it slept.
    paper = market(slippage_bps=0)
    paper.send("entry", "LIMIT", limit_price="90")
    paper.send("trail", "TRAILING_STOP", "SELL", trail_amount="3", parent_id="entry")
    paper.bar("100 110 91 92")
    assert paper.bar("92 93 89 91") == [("entry", 10, "90")]
    assert paper.bar("91 92 88.5 91.5") == []
    # 92 has moved it to 89.
    assert paper.bar("91 91.5 89 90") == [("trail", 10, "89")]


def test_children_without_a_group_share_what_their_parent_filled(market: Maker) -> None:
    # Two targets of 5 and a stop over all 10.
    paper = market(slippage_bps=0)
    paper.send("entry")
    paper.send("near", "LIMIT", "SELL", 5, limit_price="105", parent_id="entry")
    paper.send("far", "LIMIT", "SELL", 5, limit_price="110", parent_id="entry")
    paper.send("stop", "STOP", "SELL", 10, stop_price="95", parent_id="entry")
    paper.bar(QUIET)
    assert paper.bar("100 106 99 104") == [("near", 5, "105")]
    assert paper.order("stop").quantity == 5
    assert paper.bar("104 104 94 95") == [("stop", 5, "95")]
    assert (paper.status("stop"), paper.status("far")) == ("FILLED 5", "CANCELLED 0")


def test_a_child_for_the_close_closes_what_was_filled(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    paper.send("entry")
    paper.send("exit", "MARKET_ON_CLOSE", "SELL", parent_id="entry")
    paper.bar(QUIET, volume=40)
    paper.cancel("entry")
    paper.bar("100 104 99 103")
    assert paper.close() == [("exit", 4, "103")]
    assert paper.status("exit") == "FILLED 4"


def test_a_child_of_an_unknown_parent_is_refused(market: Maker) -> None:
    paper = market()
    with pytest.raises(OrderRefused, match="its parent entry is not known here"):
        paper.send("stop", "STOP", "SELL", stop_price="95", parent_id="entry")
    paper.send("entry")
    paper.send("stop", "STOP", "SELL", stop_price="95", parent_id="entry")
    assert paper.status("stop") == "ACCEPTED 0"


def test_a_child_that_comes_after_its_parents_end_is_for_what_is_left(market: Maker) -> None:
    paper = market(slippage_bps=0)
    paper.send("entry")
    paper.bar(QUIET)
    paper.send("late", "STOP", "SELL", 12, stop_price="95", parent_id="entry")
    assert paper.order("late").quantity == 10
    assert paper.bar("94 95 93 94") == [("late", 10, "94")]
    with pytest.raises(OrderRefused, match="has left nothing to close"):
        paper.send("too late", "STOP", "SELL", stop_price="90", parent_id="entry")


def test_a_bracket_in_another_symbol_waits_for_the_next_moment(market: Maker) -> None:
    paper = market(slippage_bps=0)
    paper.send("entry")
    paper.send("hedge", side="SELL", symbol="QQQ", parent_id="entry")
    assert paper.bars({"SPY": QUIET, "QQQ": QUIET}) == [("entry", 10, "100")]
    assert paper.bars({"SPY": QUIET, "QQQ": QUIET}) == [("hedge", 10, "100")]


# Groups


def test_a_fill_takes_as_many_shares_from_the_others(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    paper.send("target", "LIMIT", "SELL", 10, limit_price="110", oca_group="g")
    paper.send("stop", "STOP", "SELL", 10, stop_price="95", oca_group="g")
    assert paper.bar("111 112 110 111", volume=40) == [("target", 4, "111")]
    assert paper.order("stop").quantity == 6
    assert paper.bar("94 95 93 94") == [("stop", 6, "94")]
    # The reduced order has filled all it was for: that ends the other.
    assert (paper.status("stop"), paper.status("target")) == ("FILLED 6", "CANCELLED 4")


def test_a_smaller_member_with_nothing_left_is_cancelled(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    paper.send("large", "LIMIT", "SELL", 10, limit_price="110", oca_group="g")
    paper.send("small", "STOP", "SELL", 3, stop_price="95", oca_group="g")
    paper.bar("111 112 110 111", volume=40)
    assert (paper.status("large"), paper.status("small")) == ("PARTIALLY_FILLED 4", "CANCELLED 0")


BOTH_INSIDE = [
    # A sale: 95 is worse than 110 in a bar that saw both.
    ("SELL", {"limit_price": "110"}, {"stop_price": "95"}, "100 111 94 100", ("stop", 10, "95")),
    # A purchase: 105 is worse than 90.
    ("BUY", {"limit_price": "90"}, {"stop_price": "105"}, "100 106 89 100", ("stop", 10, "105")),
    # The open comes before everything else of its bar.
    ("SELL", {"limit_price": "110"}, {"stop_price": "95"}, "111 112 94 100", ("limit", 10, "111")),
    ("BUY", {"limit_price": "90"}, {"stop_price": "105"}, "89 106 88 100", ("limit", 10, "89")),
]


@pytest.mark.parametrize(("side", "limit", "stop", "bar", "expected"), BOTH_INSIDE)
@pytest.mark.parametrize("limit_is_older", [True, False])
def test_where_two_members_could_fill_in_one_bar_the_worse_is_assumed(
    market: Maker, limit_is_older: bool, side: str, limit: Any, stop: Any, bar: str, expected: tuple[str, int, str]
) -> None:
    paper = market(slippage_bps=0)
    sends: list[Callable[[], None]] = [
        lambda: paper.send("limit", "LIMIT", side, oca_group="g", **limit),
        lambda: paper.send("stop", "STOP", side, oca_group="g", **stop),
    ]
    for send in sends if limit_is_older else reversed(sends):
        send()
    assert paper.bar(bar) == [expected]


def test_a_limit_passed_on_the_way_up_is_worse_than_a_stop_that_followed_to_the_top(market: Maker) -> None:
    # The trailing stop would give 108 after the high of 110; 101 was passed before it.
    paper = market(slippage_bps=0)
    paper.send("trail", "TRAILING_STOP", "SELL", trail_amount="2", oca_group="g")
    paper.send("limit", "LIMIT", "SELL", limit_price="101", oca_group="g")
    assert paper.bar("100 110 99 107") == [("limit", 10, "101")]


def test_of_an_entry_on_either_side_the_one_that_loses_more_by_the_close_is_assumed(market: Maker) -> None:
    # At the close of 98 the purchase at 105 has lost 7, the sale at 95 has lost 3.
    paper = market(slippage_bps=0)
    paper.send("down", "STOP", "SELL", stop_price="95", oca_group="g")
    paper.send("up", "STOP", "BUY", stop_price="105", oca_group="g")
    assert paper.bar("100 106 94 98") == [("up", 10, "105")]
    assert paper.status("down") == "CANCELLED 0"


def test_other_orders_keep_their_place_beside_a_group(market: Maker) -> None:
    # A share of 12: the oldest order of all first, then the stop in the group's first place, then the rest.
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    paper.send("first", quantity=5)
    paper.send("target", "LIMIT", "SELL", 4, limit_price="110", oca_group="g")
    paper.send("between", quantity=5)
    paper.send("stop", "STOP", "SELL", 4, stop_price="95", oca_group="g")
    assert paper.bar("100 111 94 100", volume=120) == [("first", 5, "100"), ("stop", 4, "95"), ("between", 3, "100")]


def test_an_order_for_the_close_takes_the_place_of_a_target_that_was_not_reached(market: Maker) -> None:
    paper = market(slippage_bps=0)
    paper.send("target", "LIMIT", "SELL", limit_price="110", oca_group="g")
    paper.send("exit", "MARKET_ON_CLOSE", "SELL", oca_group="g")
    paper.bar(QUIET)
    assert paper.close() == [("exit", 10, "100")]
    assert paper.status("target") == "CANCELLED 0"


def test_cancelling_one_member_leaves_the_others(market: Maker) -> None:
    paper = market(slippage_bps=0)
    paper.send("target", "LIMIT", "SELL", limit_price="110", oca_group="g")
    paper.send("stop", "STOP", "SELL", stop_price="95", oca_group="g")
    paper.cancel("target")
    assert paper.bar("94 95 93 94") == [("stop", 10, "94")]


def test_a_member_that_comes_late_is_for_what_its_group_has_left(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    paper.send("target", "LIMIT", "SELL", 10, limit_price="110", oca_group="g")
    paper.bar("111 112 110 111", volume=40)
    paper.send("stop", "STOP", "SELL", 10, stop_price="95", oca_group="g")
    assert paper.order("stop").quantity == 6
    paper.bar("111 112 110 111")
    with pytest.raises(OrderRefused, match="its group g has filled its shares"):
        paper.send("later", "STOP", "SELL", 20, stop_price="95", oca_group="g")


def test_all_or_nothing_counts_what_the_group_has_left(market: Maker) -> None:
    paper = market(max_volume_fraction="0.1", slippage_bps=0)
    paper.send("target", "LIMIT", "SELL", 10, limit_price="110", oca_group="g")
    paper.bar("111 112 110 111", volume=40)
    paper.send("rest", "MARKET", "SELL", 10, oca_group="g", time_in_force="FOK")
    assert paper.bar(QUIET, volume=60) == [("rest", 6, "100")]


def test_children_of_children_follow_too(market: Maker) -> None:
    paper = market(slippage_bps=0)
    paper.send("entry", "LIMIT", limit_price="90")
    paper.send("exit", "LIMIT", "SELL", limit_price="110", parent_id="entry")
    paper.send("again", "LIMIT", limit_price="90", parent_id="exit")
    paper.cancel("entry")
    assert [paper.status(name) for name in ("entry", "exit", "again")] == ["CANCELLED 0"] * 3


def test_the_time_of_a_linked_ending_is_that_of_its_cause(market: Maker) -> None:
    paper = market(slippage_bps=0)
    bracket(paper)
    paper.bar(QUIET)
    paper.bar("94 95 93 94")
    ends = [(name, at) for name, status, at in paper.history() if status in ("FILLED", "CANCELLED")]
    assert ends == [("entry", paper.now - timedelta(minutes=1)), ("stop", paper.now), ("target", paper.now)]
    assert paper.order("stop").average_price == Decimal("94")
