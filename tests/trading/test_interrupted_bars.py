"""A bar in whose middle the process ended, after its orders were sent, and a world that went on meanwhile."""

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.bars import Bar
from trading.decisions import Action, Signal
from trading.ports import MarketWindow

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
LIMITED: dict[str, Any] = {
    "sizing": {"method": "fixed_shares", "shares": 50},
    "orders": {"order_type": "LIMIT", "limit_offset_bps": "-100"},
}
"""Orders that wait for a price that never comes."""
MARKET: dict[str, Any] = {"sizing": {"method": "fixed_shares", "shares": 50}}


class Script:
    """Says for each bar in turn what the test wrote down; then HOLD."""

    name = fingerprint = "script"
    warmup_bars = 1

    def __init__(self, *says: Action) -> None:
        self._says = list(says)

    def decide(self, window: MarketWindow, holdings: object) -> Mapping[str, Signal]:
        return dict.fromkeys(window.symbols, Signal(self._says.pop(0) if self._says else Action.HOLD))

    def decide_history(self, bars: object) -> Any:
        raise NotImplementedError


def bars(*closes: str) -> list[Bar]:
    """A bar a minute from the open on; each opens where the one before closed."""
    prices = [Decimal(closes[0]), *map(Decimal, closes)]
    return [
        Bar("SPY", OPENS + timedelta(minutes=minute), was, max(was, now), min(was, now), now, 100_000)
        for minute, (was, now) in enumerate(itertools.pairwise(prices))
    ]


DAY = bars("100", "100", "100", "100", "100", "100")


def opened(desk: Any) -> Any:
    agent = desk.agent
    agent.open_session()
    agent.load_warmup_data()
    agent.validate_data()
    agent.reconcile("open")
    return agent


def die_after_sending(agent: Any, moment: Any) -> None:
    """The bar's orders and cancels reach the broker; the bar itself is never committed."""
    assessed = agent.assess(agent.generate_action(*moment))
    agent.order_router.execute(assessed.cancels, assessed.approved, moment[0].bar_time + timedelta(minutes=1))


@pytest.mark.parametrize("bars_before", [0, 1])
def test_an_order_of_a_bar_that_does_not_come_again_is_not_ordered_a_second_time(
    at_desk, tape, bars_before: int
) -> None:
    holds = [Action.HOLD] * bars_before
    with at_desk(source=tape(DAY), decider=Script(*holds, Action.BUY), **LIMITED) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        for _ in range(bars_before):
            agent.process_new_bar(*next(moments))
        die_after_sending(agent, next(moments))
    # The feed does not bring the interrupted bar again.
    rest = [bar for bar in DAY if bar.bar_time != OPENS + timedelta(minutes=bars_before)]
    with at_desk(source=tape(rest), decider=Script(Action.BUY), **LIMITED) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        agent.process_new_bar(*next(moments))
        assert [order.remaining for order in agent.get_open_orders().values()] == [50]
        assert len(agent.order_router.broker_account().open_orders) == 1


def test_an_emergency_stop_before_an_interrupted_bar_comes_again_cancels_its_orders(at_desk, tape) -> None:
    with at_desk(source=tape(DAY), decider=Script(Action.BUY), **LIMITED) as desk:
        die_after_sending(opened(desk), next(desk.agent.live_bars()))
    with at_desk(source=tape(DAY), decider=Script(Action.BUY), **LIMITED) as desk:
        agent = opened(desk)
        report = agent.emergency_stop("out")
        assert report.succeeded
        for moment in agent.live_bars():
            agent.process_new_bar(*moment)
        assert agent.get_open_orders() == {}
        assert agent.pnl_tracker.quantity("SPY") == 0


def test_a_flatten_before_an_interrupted_bar_comes_again_closes_nothing_twice(at_desk, tape) -> None:
    with at_desk(source=tape(DAY), decider=Script(Action.BUY, Action.HOLD, Action.SELL), **MARKET) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        for _ in range(2):
            agent.process_new_bar(*next(moments))
        assert agent.pnl_tracker.quantity("SPY") == 50
        die_after_sending(agent, next(moments))
    with at_desk(source=tape(DAY), decider=Script(Action.SELL), **MARKET) as desk:
        agent = opened(desk)
        agent.loop.flatten_positions(OPENS + timedelta(minutes=2))
        for moment in agent.live_bars():
            agent.process_new_bar(*moment)
        assert agent.pnl_tracker.quantity("SPY") == 0
        assert agent.order_router.broker_account().positions == ()
