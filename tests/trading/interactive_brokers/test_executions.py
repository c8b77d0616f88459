"""Executions by the broker's ids: what corrects what, what they cost, and what of it counts."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from trading.interactive_brokers.executed_shares import ExecutedShares
from trading.interactive_brokers.executions import Executions, lineage_and_revision
from trading.interactive_brokers.messages import CommissionTold, ExecutionTold, Instrument
from trading.orders import Execution, Side

NINE = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)


def told(
    exec_id: str = "0000e0d5.63a1b2c3.01.01", shares: str = "100", price: str = "10", side: str = "BOT", minute: int = 0
) -> ExecutionTold:
    spy = Instrument("SPY", 756733)
    at = NINE + timedelta(minutes=minute)
    return ExecutionTold(exec_id, 5, 17, 900, "A", "DU1234567", spy, side, Decimal(shares), Decimal(price), at)


@pytest.fixture
def executions() -> Executions:
    return Executions(lambda instrument: instrument.symbol)


def execution(exec_id: str, quantity: int) -> Execution:
    lineage, revision = lineage_and_revision(exec_id)
    return Execution(exec_id, "A", "SPY", Side.BUY, quantity, Decimal(10), None, NINE, lineage, revision)


@pytest.mark.parametrize(
    ("exec_id", "lineage", "revision"),
    [
        ("0000e0d5.63a1b2c3.01.01", "0000e0d5.63a1b2c3.01", 1),
        ("0000e0d5.63a1b2c3.01.12", "0000e0d5.63a1b2c3.01", 12),
        ("0000e0d5.63a1b2c3.02.01", "0000e0d5.63a1b2c3.02", 1),
        ("without-any-dot", "without-any-dot", 0),
        ("e.1", "e.1", 0),
        ("e.100", "e.100", 0),
        ("ends.in-words", "ends.in-words", 0),
        (".01", ".01", 0),
        ("F-12.", "F-12.", 0),
    ],
)
def test_the_last_part_of_an_id_counts_corrections(exec_id: str, lineage: str, revision: int) -> None:
    assert lineage_and_revision(exec_id) == (lineage, revision)


def test_of_an_execution_and_its_corrections_the_newest_counts_in_whatever_order_they_come() -> None:
    corrections = [told("e.1.01", "100"), told("e.1.02", "90"), told("e.1.03", "95", "11")]
    for order in itertools.permutations(corrections):
        heard = Executions(lambda instrument: instrument.symbol)
        for one in order:
            assert heard.hear(one, "A")
        assert [(one.exec_id, one.quantity, one.price) for one in heard.counting()] == [("e.1.03", 95, Decimal(11))]


def test_what_another_order_did_is_no_correction(executions: Executions) -> None:
    executions.hear(told("e.01", "100"), "A")
    executions.hear(replace(told("e.02", "50"), perm_id=901), "B")
    assert [(one.exec_id, one.quantity) for one in executions.counting()] == [("e.01", 100), ("e.02", 50)]


def test_an_execution_that_is_told_again_is_no_news(executions: Executions) -> None:
    assert executions.hear(told(), "A")
    assert not executions.hear(told(), "A")
    assert len(executions.counting()) == 1


@pytest.mark.parametrize(("side", "ours"), [("BOT", Side.BUY), ("SLD", Side.SELL)])
def test_sides_are_told_in_words_of_executions(executions: Executions, side: str, ours: Side) -> None:
    executions.hear(told(side=side), "A")
    assert executions.counting()[0].side is ours


@pytest.mark.parametrize(("shares", "price"), [("0.5", "10"), ("0", "10"), ("-5", "10"), ("10", "0"), ("10", "-1")])
def test_what_is_no_execution_of_whole_shares_at_a_price_is_left_out(
    executions: Executions, shares: str, price: str
) -> None:
    """Options that are exercised, transfers, fractions: positions show them, and the comparison tells."""
    assert not executions.hear(told(shares=shares, price=price), "")
    assert executions.counting() == ()


def test_executions_are_told_oldest_first_and_since_when_they_are_asked_for(executions: Executions) -> None:
    for exec_id, minute in (("e.3.01", 3), ("e.1.01", 1), ("e.2.01", 2)):
        executions.hear(told(exec_id, minute=minute), "A")
    assert [one.exec_id for one in executions.counting()] == ["e.1.01", "e.2.01", "e.3.01"]
    assert [one.exec_id for one in executions.counting(NINE + timedelta(minutes=2))] == ["e.2.01", "e.3.01"]


# Commissions


def test_a_commission_is_unknown_until_it_is_told(executions: Executions) -> None:
    executions.hear(told(), "A")
    assert executions.counting()[0].commission is None
    assert executions.hear_commission(CommissionTold(told().exec_id, Decimal("1.25"), "USD"))
    assert executions.counting()[0].commission == Decimal("1.25")


def test_a_commission_may_be_told_before_its_execution(executions: Executions) -> None:
    assert not executions.hear_commission(CommissionTold(told().exec_id, Decimal("1.25"), "USD"))
    executions.hear(told(), "A")
    assert executions.counting()[0].commission == Decimal("1.25")


def test_a_commission_that_is_no_amount_stays_unknown(executions: Executions) -> None:
    executions.hear(told(), "A")
    assert not executions.hear_commission(CommissionTold(told().exec_id, None, ""))
    assert executions.counting()[0].commission is None


def test_a_commission_that_is_told_again_is_no_news_and_the_newest_counts(executions: Executions) -> None:
    executions.hear(told(), "A")
    assert executions.hear_commission(CommissionTold(told().exec_id, Decimal(1), "USD"))
    assert not executions.hear_commission(CommissionTold(told().exec_id, Decimal(2), "USD"))
    assert executions.counting()[0].commission == Decimal(2)


def test_a_correction_has_a_commission_of_its_own(executions: Executions) -> None:
    executions.hear(told("e.1.01"), "A")
    executions.hear_commission(CommissionTold("e.1.01", Decimal(1), "USD"))
    executions.hear(told("e.1.02"), "A")
    assert executions.counting()[0].commission is None


def test_a_rebate_is_a_commission_below_zero(executions: Executions) -> None:
    executions.hear(told(), "A")
    executions.hear_commission(CommissionTold(told().exec_id, Decimal("-0.20"), "USD"))
    assert executions.counting()[0].commission == Decimal("-0.20")


# What an order's executions come to


def test_executions_explain_what_the_broker_says_is_filled() -> None:
    shares = ExecutedShares()
    assert shares.explain(0)
    assert not shares.explain(1)
    shares.take(execution("e.1.01", 60))
    assert not shares.explain(100)
    shares.take(execution("e.2.01", 40))
    assert shares.explain(100)
    assert not shares.has_corrections


@pytest.mark.parametrize("told_filled", [90, 100])
def test_a_total_may_count_before_or_after_a_correction(told_filled: int) -> None:
    shares = ExecutedShares()
    shares.take(execution("e.1.01", 100))
    shares.take(execution("e.1.02", 90))
    assert (shares.shares, shares.has_corrections) == (90, True)
    assert shares.explain(told_filled)
    assert not shares.explain(101)


def test_a_correction_upwards_explains_the_higher_total() -> None:
    shares = ExecutedShares()
    shares.take(execution("e.1.01", 90))
    shares.take(execution("e.1.02", 100))
    assert shares.explain(100)
    assert shares.shares == 100


def test_where_only_a_correction_is_told_nothing_is_waited_for() -> None:
    shares = ExecutedShares()
    shares.take(execution("e.1.02", 90))
    assert shares.explain(100)
    assert shares.has_corrections
    shares.take(execution("e.1.01", 95))
    assert not shares.explain(100)  # now it is known that five are missing
