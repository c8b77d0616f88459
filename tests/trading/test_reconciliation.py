"""Every way in which ledger and broker can differ, one by one: what is found, and what it would lead to."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.account_views import BookedPosition, BrokerView, Difference, LedgerView
from trading.differences import Discrepancy, DiscrepancyKind, ExternalFill, ExternalOrder
from trading.fill_book import FillBook
from trading.orders import (
    INFERRED,
    Execution,
    Fill,
    OpenOrder,
    OrderEvent,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
)
from trading.ports import BrokerAccount, BrokerOrder, BrokerPosition
from trading.reconciliation import compare, find_differences
from trading.settings import ReconciliationSettings

KIND = DiscrepancyKind
AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
LATER = AT + timedelta(hours=2)
TOLERANCES = ReconciliationSettings()
START = Decimal(100_000)


def intent(order_id: str = "a", side: Side = Side.BUY, quantity: int = 100, symbol: str = "SPY") -> OrderIntent:
    return OrderIntent(order_id, "s", "paper", AT, symbol, side, quantity, Decimal(10), AT)


def order(order_id: str = "a", status: OrderStatus = OrderStatus.ACCEPTED, filled: int = 0) -> OpenOrder:
    return OpenOrder(intent(order_id), status, filled)


def executed(
    exec_id: str,
    order_id: str = "a",
    quantity: int = 100,
    price: str = "10",
    commission: str | None = "1",
    side: Side = Side.BUY,
    at: datetime = AT,
    symbol: str = "SPY",
    lineage: str = "",
    revision: int = 0,
) -> Execution:
    paid = None if commission is None else Decimal(commission)
    return Execution(exec_id, order_id, symbol, side, quantity, Decimal(price), paid, at, lineage, revision)


def booked(execution: Execution, source: str = "paper") -> Fill:
    return Fill(execution, "s", "paper", source)


def external(execution: Execution) -> ExternalFill:
    return ExternalFill(
        "paper",
        execution.exec_id,
        execution.client_order_id,
        execution.symbol,
        execution.side,
        execution.quantity,
        execution.price,
        execution.commission,
        execution.executed_at,
        execution.lineage,
        execution.revision,
        AT,
    )


def account(
    executions: Iterable[Execution], working: tuple[BrokerOrder, ...] = (), cash: Decimal | None = None
) -> BrokerAccount:
    """What an account holds after these executions."""
    quantities: dict[str, int] = {}
    basis: dict[str, Decimal] = {}
    money = START
    for one in executions:
        signed = one.side.sign * one.quantity
        quantities[one.symbol] = quantities.get(one.symbol, 0) + signed
        paid = signed * one.price + (one.commission or 0)
        basis[one.symbol] = basis.get(one.symbol, Decimal(0)) + paid
        money -= paid
    positions = tuple(
        BrokerPosition(symbol, quantity, basis[symbol] / quantity)
        for symbol, quantity in quantities.items()
        if quantity
    )
    return BrokerAccount("paper", money if cash is None else cash, positions, working)


def ledger(
    *fills: Fill,
    working: Iterable[OpenOrder] = (),
    over: Iterable[OpenOrder] = (),
    external_fills: Iterable[ExternalFill] = (),
    external_orders: Iterable[ExternalOrder] = (),
    counts_average_cost: bool = False,
) -> LedgerView:
    after = account([fill.execution for fill in fills])
    return LedgerView(
        "paper",
        after.cash,
        {held.symbol: BookedPosition(held.quantity, held.average_cost) for held in after.positions},
        fills,
        {one.intent.client_order_id: one for one in working},
        {one.intent.client_order_id: one for one in over},
        tuple(external_fills),
        tuple(external_orders),
        counts_average_cost,
    )


def broker(
    *executions: Execution,
    told: Iterable[Execution] | None = None,
    working: tuple[BrokerOrder, ...] = (),
    looked_up: Mapping[str, BrokerOrder | None] | None = None,
    kept_since: datetime | None = None,
    cash: Decimal | None = None,
) -> BrokerView:
    """A broker whose account is made of ``executions`` and that tells ``told`` of them (all, unless said)."""
    return BrokerView(
        account(executions, working, cash),
        LATER,
        "paper",
        tuple(executions if told is None else told),
        kept_since,
        looked_up or {},
    )


def there(
    order_id: str = "a",
    filled: int = 0,
    status: OrderStatus = OrderStatus.ACCEPTED,
    average: str | None = None,
    quantity: int = 100,
) -> BrokerOrder:
    average_price = None if average is None else Decimal(average)
    return BrokerOrder(order_id, f"B-{order_id}", "SPY", "BUY", quantity, filled, status, average_price=average_price)


def found(ours: LedgerView, theirs: BrokerView) -> list[Difference]:
    return find_differences(ours, theirs, TOLERANCES)


def kinds(ours: LedgerView, theirs: BrokerView) -> list[DiscrepancyKind]:
    return [one.kind for one in compare(ours, theirs, TOLERANCES)]


def only(ours: LedgerView, theirs: BrokerView) -> tuple[Discrepancy, object]:
    [difference] = found(ours, theirs)
    return difference.discrepancy, difference.remedy


def test_two_sides_that_agree_have_no_difference() -> None:
    one = executed("x1", quantity=40)
    working = replace(order(filled=40), status=OrderStatus.PARTIALLY_FILLED)
    assert found(ledger(booked(one), working=[working]), broker(one, working=(there(filled=40),))) == []


def test_nothing_on_both_sides_is_no_difference() -> None:
    assert found(ledger(), broker()) == []


# Fills


def test_a_missed_fill_is_booked_and_explains_position_and_cash() -> None:
    missed = executed("x1")
    discrepancy, remedy = only(ledger(working=[order()]), broker(missed, looked_up={"a": there(filled=100)}))
    assert discrepancy.kind is KIND.MISSING_FILL
    assert (discrepancy.subject, discrepancy.symbol) == ("x1", "SPY")
    assert discrepancy.brokers == "BUY 100 SPY at 10 at 2026-01-05T14:30:00+00:00"
    assert discrepancy.repairable
    assert not discrepancy.locking
    assert remedy == Fill(missed, "s", "paper", "paper")


def test_a_missed_fill_completes_its_order_without_a_second_difference() -> None:
    theirs = broker(executed("x1"), looked_up={"a": there(filled=100, status=OrderStatus.FILLED, average="10")})
    assert kinds(ledger(working=[order()]), theirs) == [KIND.MISSING_FILL]


def test_a_missed_fill_of_an_order_that_is_over_here_is_booked_too() -> None:
    over = order(status=OrderStatus.CANCELLED)
    assert kinds(ledger(over=[over]), broker(executed("x1", quantity=5))) == [KIND.MISSING_FILL]


def test_executions_told_twice_are_one() -> None:
    missed = executed("x1")
    theirs = broker(missed, told=[missed, missed])
    assert kinds(ledger(working=[order()]), theirs) == [KIND.MISSING_FILL]


def test_of_a_corrected_execution_that_was_missed_the_correction_is_booked() -> None:
    first = executed("x1.01", price="10", lineage="x1")
    correction = executed("x1.02", price="11", lineage="x1", revision=1)
    _, remedy = only(ledger(working=[order()]), broker(correction, told=[correction, first]))
    assert isinstance(remedy, Fill)
    assert remedy.execution == correction


def test_a_correction_counts_also_when_it_is_dated_before_the_first() -> None:
    first = executed("x1.01", price="10", lineage="x1")
    correction = executed("x1.02", price="11", lineage="x1", revision=1, at=AT - timedelta(seconds=1))
    _, remedy = only(ledger(working=[order()]), broker(correction, told=[first, correction]))
    assert isinstance(remedy, Fill)
    assert remedy.execution == correction


def test_a_correction_takes_the_place_of_the_first() -> None:
    first = executed("x1.01", price="10", lineage="x1")
    correction = executed("x1.02", price="11", commission=None, lineage="x1", revision=1)
    # The account shows the correction with the commission of the first: it was not charged anew.
    theirs = broker(replace(correction, commission=Decimal(1)), told=[first, correction])
    discrepancy, remedy = only(ledger(booked(first)), theirs)
    assert discrepancy.kind is KIND.CHANGED_FILL
    assert (discrepancy.ours, discrepancy.brokers) == ("BUY 100 SPY at 10", "BUY 100 SPY at 11")
    assert remedy == booked(replace(correction, commission=Decimal(1)))


def test_an_execution_is_the_booked_one_whatever_lineage_it_is_told_with() -> None:
    mine, told = executed("x1.01"), executed("x1.01", lineage="x1")
    assert found(ledger(booked(mine)), broker(told)) == []
    # Its corrections follow it.
    correction = executed("x1.02", price="11", lineage="x1", revision=1)
    _, remedy = only(ledger(booked(mine)), broker(correction, told=[correction, told]))
    assert remedy == booked(replace(correction, lineage="x1.01"))
    elsewhere = ledger(external_fills=[external(mine)])
    assert found(elsewhere, broker(told)) == []


def test_an_execution_that_changed_without_a_correction_becomes_one() -> None:
    mine, changed = executed("x1", quantity=100), executed("x1", quantity=90)
    discrepancy, remedy = only(ledger(booked(mine)), broker(changed))
    assert discrepancy.kind is KIND.CHANGED_FILL
    assert isinstance(remedy, Fill)
    assert remedy.execution == replace(changed, exec_id="x1~1", lineage="x1", revision=1)
    # Once booked, both agree, and another change makes another correction.
    assert found(ledger(remedy), broker(changed)) == []
    _, again = only(ledger(remedy), broker(executed("x1", quantity=80)))
    assert isinstance(again, Fill)
    assert (again.execution.exec_id, again.execution.revision, again.execution.quantity) == ("x1~2", 2, 80)


def test_a_correction_here_that_the_broker_no_longer_tells_is_doubted_and_locks() -> None:
    correction = executed("x1.02", quantity=50, lineage="x1", revision=1)
    original = executed("x1.01", quantity=100, lineage="x1")
    discrepancy, remedy = only(ledger(booked(correction)), broker(original))
    assert (discrepancy.kind, discrepancy.locking, remedy) == (KIND.CHANGED_FILL, True, None)


def test_a_commission_that_became_known_is_booked() -> None:
    mine = executed("x1", commission=None)
    discrepancy, remedy = only(ledger(booked(mine)), broker(executed("x1", commission="3")))
    assert (discrepancy.kind, discrepancy.ours, discrepancy.brokers) == (KIND.COMMISSION, "not known", "3")
    assert remedy == booked(replace(mine, commission=Decimal(3)))


def test_another_commission_is_booked_as_a_correction() -> None:
    discrepancy, remedy = only(ledger(booked(executed("x1"))), broker(executed("x1", commission="5")))
    assert (discrepancy.kind, discrepancy.ours, discrepancy.brokers) == (KIND.COMMISSION, "1", "5")
    assert isinstance(remedy, Fill)
    assert (remedy.execution.lineage, remedy.execution.revision) == ("x1", 1)


def test_a_commission_that_the_broker_has_not_told_yet_is_no_difference() -> None:
    assert found(ledger(booked(executed("x1"))), broker(executed("x1"), told=[executed("x1", commission=None)])) == []


def test_a_fill_that_the_broker_denies_is_kept_and_locks() -> None:
    discrepancy, remedy = only(ledger(booked(executed("x1"))), broker())
    assert (discrepancy.kind, discrepancy.subject, discrepancy.symbol) == (KIND.UNCONFIRMED_FILL, "x1", "SPY")
    assert discrepancy.locking
    assert remedy is None


def test_a_fill_that_the_broker_has_in_its_position_but_not_in_its_executions_is_doubted_once() -> None:
    mine = executed("x1")
    assert kinds(ledger(booked(mine)), broker(mine, told=[])) == [KIND.UNCONFIRMED_FILL]


def test_fills_of_before_the_time_that_the_broker_keeps_are_not_doubted() -> None:
    yesterday = executed("x1", at=AT - timedelta(days=1))
    assert found(ledger(booked(yesterday)), broker(yesterday, told=[], kept_since=AT)) == []


def test_a_fill_of_the_very_moment_from_which_executions_are_kept_is_answered_for() -> None:
    assert kinds(ledger(booked(executed("x1"))), broker(kept_since=AT)) == [KIND.UNCONFIRMED_FILL]


# Fills that only the order's total shows


def test_a_fill_of_yesterday_is_inferred_from_its_order() -> None:
    # 40 of 100 filled yesterday at 11; the broker keeps today alone and says 40 at 11 on average.
    yesterday = executed("x1", quantity=40, price="11", at=AT - timedelta(days=1))
    theirs = broker(yesterday, told=[], kept_since=AT, working=(there(filled=40, average="11"),))
    discrepancy, remedy = only(ledger(working=[order()]), theirs)
    assert (discrepancy.kind, discrepancy.ours) == (KIND.UNEXPLAINED_FILL, "filled 0")
    assert isinstance(remedy, Fill)
    assert remedy.source == INFERRED
    assert remedy.execution == executed("a~0-40~260105163000", quantity=40, price="11", commission=None, at=LATER)


def test_the_inferred_price_makes_the_total_right() -> None:
    # 60 at 10 are known; 100 at 10.40 on average: the other 40 cost 1040 - 600 = 440, 11 each.
    known, hidden = executed("x1", quantity=60, price="10"), executed("x2", quantity=40, price="11")
    theirs = broker(known, hidden, told=[known], looked_up={"a": there(filled=100, average="10.40")})
    _, remedy = only(ledger(booked(known), working=[order(filled=60)]), theirs)
    assert isinstance(remedy, Fill)
    assert (remedy.execution.quantity, remedy.execution.price) == (40, Decimal(11))


def test_missed_executions_come_off_what_is_inferred() -> None:
    seen, hidden = executed("x1", quantity=60, price="10"), executed("x2", quantity=40, price="11")
    theirs = broker(seen, hidden, told=[seen], looked_up={"a": there(filled=100, average="10.40")})
    [missing, inferred] = found(ledger(working=[order()]), theirs)
    assert (missing.discrepancy.kind, inferred.discrepancy.kind) == (KIND.MISSING_FILL, KIND.UNEXPLAINED_FILL)
    assert isinstance(inferred.remedy, Fill)
    assert inferred.remedy.execution.quantity == 40


def test_inferred_shares_give_way_to_their_execution() -> None:
    guess = booked(executed("a~0-40", quantity=40, price="10.50", commission=None), INFERRED)
    real = executed("x1", quantity=40, price="11")
    theirs = broker(real, working=(there(filled=40, average="11"),))
    # Neither the position nor the order's total counts the forty shares twice.
    assert kinds(ledger(guess, working=[order(filled=40)]), theirs) == [KIND.MISSING_FILL]


def test_inferred_shares_give_way_share_by_share() -> None:
    # The commission of the 15 shares that were not seen is within the tolerance of cash.
    guess = booked(executed("a~0-40", quantity=40, price="11", commission=None), INFERRED)
    seen, hidden = executed("x1", quantity=25, price="11"), executed("x2", quantity=15, price="11", commission="0.5")
    theirs = broker(seen, hidden, told=[seen], working=(there(filled=40, average="11"),))
    assert kinds(ledger(guess, working=[order(filled=40)]), theirs) == [KIND.MISSING_FILL]


def test_an_inferred_fill_is_not_doubted_because_no_execution_shows_it() -> None:
    guess = booked(executed("a~0-40", quantity=40, price="10", commission=None), INFERRED)
    theirs = broker(guess.execution, told=[], working=(there(filled=40, average="10"),))
    assert found(ledger(guess, working=[order(filled=40)]), theirs) == []


def test_an_inferred_fill_that_the_order_no_longer_shows_is_doubted() -> None:
    guess = booked(executed("a~0-40", quantity=40, price="10", commission=None), INFERRED)
    really = executed("x1", quantity=15, commission=None)
    theirs = broker(really, told=[], working=(there(filled=15, average="10"),))
    discrepancy, remedy = only(ledger(guess, working=[order(filled=40)]), theirs)
    assert (discrepancy.kind, discrepancy.ours, discrepancy.brokers) == (
        KIND.UNCONFIRMED_FILL,
        "filled 40",
        "filled 15",
    )
    assert discrepancy.locking
    assert remedy is None


def test_a_fill_of_yesterday_that_its_order_denies_is_doubted() -> None:
    yesterday, today = executed("x1", quantity=40, at=AT - timedelta(days=1)), executed("x2", quantity=15)
    theirs = broker(today, kept_since=AT, working=(there(filled=15, average="10"),))
    discrepancy, remedy = only(ledger(booked(yesterday), booked(today), working=[order(filled=55)]), theirs)
    assert (discrepancy.kind, discrepancy.ours, discrepancy.brokers) == (
        KIND.UNCONFIRMED_FILL,
        "filled 55",
        "filled 15",
    )
    assert remedy is None


def test_a_total_that_lags_behind_its_executions_is_no_difference() -> None:
    one = executed("x1", quantity=40)
    assert found(ledger(booked(one), working=[order(filled=40)]), broker(one, working=(there(filled=0),))) == []


def test_a_fill_without_any_price_is_not_invented_and_locks() -> None:
    hidden = executed("x1", quantity=40)
    theirs = broker(hidden, told=[], working=(there(filled=40),))
    discrepancy, remedy = only(ledger(working=[order()]), theirs)
    assert (discrepancy.kind, discrepancy.locking, remedy) == (KIND.UNEXPLAINED_FILL, True, None)


def test_an_average_that_would_make_a_price_of_nothing_is_no_price() -> None:
    # 60 at 10 are known, and 100 at 5 on average would give the other 40 away and money with them.
    known = executed("x1", quantity=60, price="10")
    theirs = broker(known, working=(there(filled=100, average="5"),))
    discrepancy = next(one for one in compare(ledger(booked(known), working=[order()]), theirs, TOLERANCES))
    assert (discrepancy.kind, discrepancy.repairable) == (KIND.UNEXPLAINED_FILL, False)


def test_more_filled_than_ordered_is_kept_and_flagged() -> None:
    mine, more = executed("x1", quantity=100), executed("x2", quantity=5)
    [missing, overfill] = found(ledger(booked(mine), over=[order(status=OrderStatus.FILLED)]), broker(mine, more))
    assert missing.discrepancy.kind is KIND.MISSING_FILL
    assert (overfill.discrepancy.kind, overfill.discrepancy.brokers) == (KIND.OVERFILL, "filled 105")
    assert overfill.remedy == OrderEvent("a", LATER, OrderStatus.FILLED, "overfilled: 105 of 100")


def test_an_overfill_that_both_sides_know_is_no_difference() -> None:
    mine, more = executed("x1", quantity=100), executed("x2", quantity=5)
    assert found(ledger(booked(mine), booked(more), over=[order(status=OrderStatus.FILLED)]), broker(mine, more)) == []


# Orders


@pytest.mark.parametrize("ending", [OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED])
def test_an_order_that_is_gone_ends_as_the_broker_says(ending: OrderStatus) -> None:
    discrepancy, remedy = only(ledger(working=[order()]), broker(looked_up={"a": there(status=ending)}))
    assert (discrepancy.kind, discrepancy.subject) == (KIND.ORDER_GONE, "a")
    assert discrepancy.proposed_repair == f"end it as {ending.lower()}"
    assert remedy == OrderEvent("a", LATER, ending, "found at the broker", "B-a")


def test_an_order_that_nobody_asked_the_broker_for_gets_no_end() -> None:
    assert found(ledger(working=[order()]), broker()) == []


def test_an_order_that_the_broker_never_had_ends_as_expired() -> None:
    unsent = order(status=OrderStatus.SUBMITTED)
    discrepancy, remedy = only(ledger(working=[unsent]), broker(looked_up={"a": None}))
    assert discrepancy.kind is KIND.ORDER_NEVER_ARRIVED
    assert remedy == OrderEvent("a", LATER, OrderStatus.EXPIRED, "never reached the broker")


def test_an_order_with_fills_that_the_broker_says_it_never_had_is_left_for_a_person() -> None:
    one = executed("x1", quantity=40)
    discrepancy, remedy = only(ledger(booked(one), working=[order(filled=40)]), broker(one, looked_up={"a": None}))
    assert (discrepancy.kind, discrepancy.locking, remedy) == (KIND.ORDER_NEVER_ARRIVED, True, None)


def test_an_order_that_is_over_here_and_works_there_is_taken_up_again() -> None:
    over = replace(order(status=OrderStatus.EXPIRED), attempts=2)
    discrepancy, remedy = only(ledger(over=[over]), broker(working=(there(),)))
    assert (discrepancy.kind, discrepancy.ours) == (KIND.ORDER_REOPENED, "BUY 100 SPY, EXPIRED")
    assert remedy == OpenOrder(over.intent, OrderStatus.ACCEPTED, 0, 2)


def test_an_order_that_is_filled_here_and_still_shown_as_working_is_not_taken_up_again() -> None:
    one = executed("x1")
    ours = ledger(booked(one), over=[order(status=OrderStatus.FILLED, filled=100)])
    assert found(ours, broker(one, working=(there(filled=60),))) == []


def test_an_order_that_is_known_to_work_by_another_word_is_no_difference() -> None:
    assert found(ledger(working=[order(status=OrderStatus.UNKNOWN)]), broker(working=(there(),))) == []


def test_an_order_that_was_changed_at_the_broker_is_reported() -> None:
    discrepancy, remedy = only(ledger(working=[order()]), broker(working=(there(quantity=70),)))
    assert (discrepancy.kind, discrepancy.ours, discrepancy.brokers) == (
        KIND.ORDER_CHANGED,
        "BUY 100 SPY",
        "BUY 70 SPY",
    )
    assert remedy is None
    assert not discrepancy.locking


def test_a_limit_that_was_changed_at_the_broker_is_reported() -> None:
    limited = replace(intent(), order_type=OrderType.LIMIT, limit_price=Decimal("9.50"))
    at_the_broker = replace(there(), order_type=OrderType.LIMIT, limit_price=Decimal("9.4"))
    discrepancy, _ = only(
        ledger(working=[OpenOrder(limited, OrderStatus.ACCEPTED, 0)]), broker(working=(at_the_broker,))
    )
    assert (discrepancy.ours, discrepancy.brokers) == ("BUY 100 SPY, limit 9.5", "BUY 100 SPY, limit 9.4")


def test_the_moving_price_of_a_trailing_stop_is_no_change() -> None:
    trailing = replace(intent(), order_type=OrderType.TRAILING_STOP, trail_amount=Decimal(1))
    at_the_broker = replace(there(), order_type=OrderType.TRAILING_STOP, stop_price=Decimal("9.4"))
    ours = ledger(working=[OpenOrder(trailing, OrderStatus.ACCEPTED, 0)])
    assert found(ours, broker(working=(at_the_broker,))) == []


@pytest.mark.parametrize("tie", [{"parent_id": "p"}, {"oca_group": "g"}])
def test_an_order_that_the_broker_sizes_by_others_may_be_smaller_there(tie: dict[str, str]) -> None:
    child = OpenOrder(replace(intent(), **tie), OrderStatus.ACCEPTED, 0)  # type: ignore[arg-type]
    assert found(ledger(working=[child]), broker(working=(there(quantity=40),))) == []
    assert kinds(ledger(working=[child]), broker(working=(there(quantity=140),))) == [KIND.ORDER_CHANGED]


# What was made elsewhere


def made_elsewhere(quantity: int = 10, status: OrderStatus = OrderStatus.ACCEPTED) -> BrokerOrder:
    return BrokerOrder("", "77", "SPY", "SELL", quantity, 0, status)


def test_an_order_made_elsewhere_is_recorded_once() -> None:
    discrepancy, remedy = only(ledger(), broker(working=(made_elsewhere(),)))
    assert (discrepancy.kind, discrepancy.subject, discrepancy.ours) == (KIND.EXTERNAL_ORDER, "77", "no such order")
    assert remedy == ExternalOrder("paper", "77", "SPY", Side.SELL, 10, 0, "ACCEPTED", LATER)
    noted = replace(remedy, seen_at=AT)
    assert found(ledger(external_orders=[noted]), broker(working=(made_elsewhere(),))) == []


def test_an_order_made_elsewhere_that_changed_or_ended_is_recorded_again() -> None:
    noted = ExternalOrder("paper", "77", "SPY", Side.SELL, 10, 0, "ACCEPTED", AT)
    _, changed = only(ledger(external_orders=[noted]), broker(working=(made_elsewhere(7),)))
    assert changed == replace(noted, quantity=7, seen_at=LATER)
    discrepancy, gone = only(ledger(external_orders=[noted]), broker())
    assert discrepancy.brokers == "not working any more"
    assert gone == replace(noted, status="GONE", seen_at=LATER)
    assert found(ledger(external_orders=[gone]), broker()) == []


def test_an_order_with_an_id_that_the_ledger_does_not_have_is_external() -> None:
    assert kinds(ledger(), broker(working=(there("lost"),))) == [KIND.EXTERNAL_ORDER]


def test_a_trade_made_elsewhere_is_recorded_and_explains_position_and_cash() -> None:
    trade = executed("x9", order_id="")
    discrepancy, remedy = only(ledger(), broker(trade))
    assert (discrepancy.kind, discrepancy.symbol, discrepancy.locking) == (KIND.EXTERNAL_FILL, "SPY", False)
    assert remedy == replace(external(trade), seen_at=LATER)
    assert found(ledger(external_fills=[external(trade)]), broker(trade)) == []


def test_a_trade_made_elsewhere_explains_the_position_also_when_it_is_no_longer_told() -> None:
    trade = executed("x9", order_id="", at=AT - timedelta(days=3))
    assert found(ledger(external_fills=[external(trade)]), broker(trade, told=[], kept_since=AT)) == []


def test_a_trade_of_an_order_that_a_restored_ledger_does_not_have_is_external() -> None:
    assert kinds(ledger(), broker(executed("x1", order_id="lost"))) == [KIND.EXTERNAL_FILL]


def test_a_trade_made_elsewhere_that_was_corrected_is_recorded_again() -> None:
    first = executed("x9.01", order_id="", lineage="x9")
    correction = executed("x9.02", order_id="", price="11", lineage="x9", revision=1)
    discrepancy, remedy = only(ledger(external_fills=[external(first)]), broker(correction, told=[first, correction]))
    assert discrepancy.kind is KIND.EXTERNAL_FILL
    assert remedy == replace(external(correction), seen_at=LATER)


def test_a_trade_made_elsewhere_that_changed_without_a_correction_becomes_one() -> None:
    trade = executed("x9", order_id="")
    changed = replace(trade, quantity=70)
    _, remedy = only(ledger(external_fills=[external(trade)]), broker(changed))
    assert remedy == replace(external(changed), exec_id="x9~1", revision=1, seen_at=LATER)
    assert found(ledger(external_fills=[remedy]), broker(changed)) == []


def test_a_commission_of_a_trade_made_elsewhere_that_became_known_is_recorded() -> None:
    trade = executed("x9", order_id="", commission=None)
    told = replace(trade, commission=Decimal(2))
    _, remedy = only(ledger(external_fills=[external(trade)]), broker(told))
    assert remedy == replace(external(told), seen_at=LATER)


def test_a_commission_of_a_trade_made_elsewhere_is_not_forgotten() -> None:
    trade = executed("x9", order_id="")
    theirs = broker(trade, told=[replace(trade, commission=None)])
    assert found(ledger(external_fills=[external(trade)]), theirs) == []


def test_a_trade_made_elsewhere_that_was_claimed_is_ours() -> None:
    trade = executed("x9", order_id="")
    assert found(ledger(booked(trade)), broker(trade)) == []


# Positions, average cost and cash


def test_a_position_that_nothing_explains_locks_its_symbol_and_no_other() -> None:
    spy, qqq = executed("x1"), executed("x2", order_id="b", symbol="QQQ")
    theirs = broker(spy, replace(qqq, quantity=70), told=[spy, qqq], cash=account([spy, qqq]).cash)
    discrepancy, remedy = only(ledger(booked(spy), booked(qqq)), theirs)
    assert (discrepancy.kind, discrepancy.symbol) == (KIND.POSITION, "QQQ")
    assert (discrepancy.ours, discrepancy.brokers) == ("100", "70")
    assert discrepancy.proposed_repair == "find the executions behind -30 QQQ; until then no new risk in QQQ"
    assert discrepancy.locking
    assert remedy is None


def test_a_position_may_be_missing_on_either_side_or_have_the_other_sign() -> None:
    ours = replace(
        ledger(),
        positions={"BOTH": BookedPosition(-3, Decimal(1)), "ONLY_OURS": BookedPosition(5, Decimal(1))},
    )
    positions = (BrokerPosition("ONLY_THEIRS", -7, Decimal(1)), BrokerPosition("BOTH", 3, Decimal(1)))
    theirs = replace(broker(), account=BrokerAccount("paper", START, positions, ()))
    assert [(one.symbol, one.ours, one.brokers) for one in compare(ours, theirs, TOLERANCES)] == [
        ("BOTH", "-3", "3"),
        ("ONLY_OURS", "5", "0"),
        ("ONLY_THEIRS", "0", "-7"),
    ]


def test_a_position_of_nothing_at_the_broker_is_none() -> None:
    theirs = replace(broker(), account=BrokerAccount("paper", START, (BrokerPosition("SPY", 0, Decimal(0)),), ()))
    assert found(ledger(), theirs) == []


def test_what_a_missed_fill_does_not_explain_of_a_position_remains() -> None:
    missed, unseen = executed("x1"), executed("x2", quantity=7)
    theirs = broker(missed, unseen, told=[missed], cash=account([missed]).cash)
    [missing, position] = compare(ledger(working=[order()]), theirs, TOLERANCES)
    assert (missing.kind, position.kind) == (KIND.MISSING_FILL, KIND.POSITION)
    assert position.ours == "100 (+100 by what is proposed and by trades made elsewhere)"
    assert position.brokers == "107"


@pytest.mark.parametrize(
    ("counted_alike", "average", "differs"),
    [(True, "10.01", False), (True, "10.012", True), (True, "10.0111", True), (False, "10.5", False)],
)
def test_average_cost_is_compared_where_both_sides_count_alike(
    counted_alike: bool, average: str, differs: bool
) -> None:
    # 100 at 10 with a commission of 1 cost 10.01 each; a ten-thousandth of that is 0.001.
    one = executed("x1")
    positions = (BrokerPosition("SPY", 100, Decimal(average)),)
    theirs = replace(broker(one), account=replace(account([one]), positions=positions))
    ours = ledger(booked(one), counts_average_cost=counted_alike)
    assert kinds(ours, theirs) == ([KIND.AVERAGE_PRICE] if differs else [])


def test_an_average_of_fills_that_were_found_late_is_told_as_that() -> None:
    bought, sold = executed("x1"), executed("x2", price="11", side=Side.SELL, at=AT + timedelta(minutes=1))
    again = executed("x3", price="12", at=AT + timedelta(minutes=2))
    late = ledger(booked(bought), booked(again), booked(sold), counts_average_cost=True)
    late = replace(late, positions={"SPY": BookedPosition(100, Decimal("11.01"))})
    theirs = broker(bought, sold, again)
    account = replace(theirs.account, positions=(BrokerPosition("SPY", 100, Decimal("12.01")),))
    discrepancy, remedy = only(late, replace(theirs, account=account))
    assert (discrepancy.kind, remedy) == (KIND.AVERAGE_PRICE, None)
    assert "some were found late and count after fills that were executed later" in discrepancy.proposed_repair
    in_time = replace(late, fills=(booked(bought), booked(sold), booked(again)))
    assert "found late" not in only(in_time, replace(theirs, account=account))[0].proposed_repair


def test_average_cost_is_not_compared_while_a_commission_is_not_known() -> None:
    one = executed("x1", commission=None)
    positions = (BrokerPosition("SPY", 100, Decimal("10.5")),)
    theirs = replace(broker(one), account=replace(account([one]), positions=positions))
    assert found(ledger(booked(one), counts_average_cost=True), theirs) == []


@pytest.mark.parametrize(("off", "differs"), [("1", False), ("-1", False), ("1.000001", True), ("-250", True)])
def test_cash_beyond_its_tolerance_is_reported(off: str, differs: bool) -> None:
    found_kinds = kinds(ledger(), broker(cash=START + Decimal(off)))
    assert found_kinds == ([KIND.CASH] if differs else [])


def test_a_difference_in_cash_has_its_sign_and_locks_nothing() -> None:
    discrepancy, remedy = only(ledger(), broker(cash=START - Decimal("12.50")))
    assert (discrepancy.subject, discrepancy.symbol, discrepancy.locking) == ("paper", None, False)
    assert discrepancy.proposed_repair == "find the fee, interest, dividend or transfer of -12.5"
    assert remedy is None


def test_differences_come_in_one_order_whatever_order_the_broker_tells_them_in() -> None:
    first, second = executed("x1", "a", 5), executed("x2", "b", 5, at=AT + timedelta(minutes=1))
    foreign = executed("x0", "", 5)
    working = (there("c"), made_elsewhere())
    ours = ledger(working=[order("a"), order("b"), order("d", OrderStatus.SUBMITTED)])
    looked_up = {"d": None, "b": there("b", 5), "a": there("a", 5)}
    one = broker(first, second, foreign, working=working, looked_up=looked_up, cash=START)
    other = broker(
        foreign,
        second,
        first,
        working=working[::-1],
        looked_up=dict(reversed(looked_up.items())),
        cash=START,
    )
    told = compare(ours, one, TOLERANCES)
    assert told == compare(ours, other, TOLERANCES)
    assert [(difference.kind, difference.subject) for difference in told] == [
        (KIND.EXTERNAL_FILL, "x0"),
        (KIND.MISSING_FILL, "x1"),
        (KIND.MISSING_FILL, "x2"),
        (KIND.ORDER_NEVER_ARRIVED, "d"),
        (KIND.EXTERNAL_ORDER, "77"),
        (KIND.EXTERNAL_ORDER, "B-c"),
        (KIND.CASH, "paper"),
    ]


def test_a_remedy_belongs_to_what_is_repairable_and_to_nothing_else() -> None:
    with pytest.raises(ValueError, match="repairable means there is a remedy"):
        Difference(Discrepancy(KIND.CASH, "paper", "1", "2", "?", repairable=True))


# Whatever both sides have


@st.composite
def two_sides(draw: st.DrawFn) -> tuple[list[Fill], list[Execution], list[OpenOrder], dict[str, BrokerOrder]]:
    """Executions of a few orders at the broker, and what a ledger that missed, misread or invented some has of them."""
    told: list[Execution] = []
    fills: list[Fill] = []
    totals: dict[str, list[Execution]] = {"a": [], "b": [], "c": []}
    for number in range(draw(st.integers(0, 8))):
        order_id = draw(st.sampled_from(["a", "b", "c", ""]))
        one = executed(
            f"x{number}",
            order_id,
            draw(st.integers(1, 60)),
            draw(st.sampled_from(["9.5", "10", "11.25"])),
            draw(st.sampled_from([None, "1", "2"])),
            at=AT + timedelta(minutes=draw(st.integers(0, 3))),
        )
        totals.setdefault(order_id, []).append(one)
        fate = draw(st.sampled_from(["both", "missed", "misread", "corrected", "hidden", "denied"]))
        if fate != "denied":
            told += [one] if fate != "hidden" else []
        else:
            totals[order_id].remove(one)
        if fate == "corrected":
            told.append(replace(one, exec_id=f"{one.exec_id}.1", quantity=one.quantity + 5, revision=1))
            totals[order_id][-1] = told[-1]
        if order_id and fate in ("both", "corrected", "denied"):
            fills.append(booked(one))
        if order_id and fate == "misread":
            fills.append(booked(replace(one, price=one.price + 1, commission=None)))
    working = {
        order_id: there(
            order_id,
            filled := sum(one.quantity for one in executions),
            average=str(sum(one.quantity * one.price for one in executions) / filled) if filled else None,
            quantity=1_000,
        )
        for order_id, executions in totals.items()
        if order_id
    }
    orders = [OpenOrder(intent(order_id, quantity=1_000), OrderStatus.ACCEPTED, 0) for order_id in sorted(working)]
    return fills, told, orders, working


@given(sides=two_sides(), data=st.data())
def test_remedies_leave_what_has_none_and_the_order_of_telling_does_not_matter(
    sides: tuple[list[Fill], list[Execution], list[OpenOrder], dict[str, BrokerOrder]], data: st.DataObject
) -> None:
    fills, told, orders, working = sides
    really = list({one.lineage: one for one in sorted(told, key=lambda one: one.revision)}.values())
    theirs = broker(*really, told=told, working=tuple(working.values()))
    first = found(ledger(*fills, working=orders), theirs)
    shuffled = replace(
        theirs,
        executions=tuple(data.draw(st.permutations(theirs.executions))),
        account=replace(theirs.account, open_orders=tuple(data.draw(st.permutations(theirs.account.open_orders)))),
    )
    assert found(ledger(*fills, working=orders), shuffled) == first

    book = FillBook(fills)
    for difference in first:
        if isinstance(difference.remedy, Fill):
            book.absorb(difference.remedy)
    elsewhere = [one.remedy for one in first if isinstance(one.remedy, ExternalFill)]
    after = found(ledger(*book.fills, working=orders, external_fills=elsewhere), theirs)
    left = {(one.discrepancy.kind, one.discrepancy.subject) for one in first if one.remedy is None}
    assert {(one.discrepancy.kind, one.discrepancy.subject) for one in after} == left
