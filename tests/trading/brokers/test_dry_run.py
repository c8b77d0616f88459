"""The wall of a dry run: questions pass, and nothing that trades."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from trading.brokers.dry_run import NOT_SENT, DryRun
from trading.brokers.paper import PaperBroker
from trading.errors import BrokerUnavailable, OrderRefused
from trading.orders import OrderAmendment, OrderIntent, OrderStatus, Side
from trading.ports import Resting
from trading.settings import PaperSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def intent(name: str) -> OrderIntent:
    return OrderIntent(name, "a-session", "paper", OPEN, "SPY", Side.BUY, 10, Decimal(100), OPEN)


class Tired(PaperBroker):
    """A broker that rests at noon, New York's time."""

    def no_new_orders(self, at: datetime) -> str | None:
        return "it rests" if at.hour == 17 else None


def test_nothing_that_trades_passes_and_every_question_does() -> None:
    paper = PaperBroker("paper", PaperSettings(), OPEN)
    paper.submit(intent("by somebody else"))
    dry = DryRun(paper)
    with pytest.raises(OrderRefused, match=NOT_SENT):
        dry.submit(intent("ours"))
    with pytest.raises(BrokerUnavailable, match=NOT_SENT):
        dry.cancel("by somebody else")
    amendment = OrderAmendment("by somebody else", 1, OPEN, OrderStatus.SUBMITTED, quantity=5)
    with pytest.raises(OrderRefused, match=NOT_SENT):
        dry.replace(amendment)
    assert dry.find_order("ours") is None
    found = dry.find_order("by somebody else")
    assert found is not None
    assert (found.quantity, found.status.is_final) == (10, False)
    assert dry.account() == paper.account()
    assert (dry.source, dry.connections, dry.executions_kept_since) == ("paper", 1, None)
    assert [report.client_order_id for report in dry.poll()] == ["by somebody else"]
    assert dry.executions(None) == ()


def test_a_broker_that_rests_says_so_through_the_wall() -> None:
    dry = DryRun(Tired("paper", PaperSettings(), OPEN))
    assert isinstance(dry, Resting)
    assert dry.no_new_orders(OPEN.replace(hour=17)) == "it rests"
    assert dry.no_new_orders(OPEN) is None
    assert DryRun(PaperBroker("paper", PaperSettings(), OPEN)).no_new_orders(OPEN.replace(hour=17)) is None
