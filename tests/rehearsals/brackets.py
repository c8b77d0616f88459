"""A session that sends what policies do not: entries with a stop and a target, changed on the way."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from one_session import COMPLETED, FAILED, Journal, as_exit_code, desk_of
from rehearsal_plan import Plan

from trading.bars import Bar
from trading.orchestrator_agent import OrchestratorAgent
from trading.orders import OrderIntent, OrderType, Side
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict
from trading.sessions import SessionState

_EVERY_BARS = 2
_LAST_ENTRY_BARS_BEFORE_CLOSE = 4
_LATE_ENTRY_BARS_BEFORE_CLOSE = 8
_SHARES = 100
_CENT = Decimal("0.01")


def trade(plan: Plan, port: int, journal: Journal) -> int:
    """As ``one_session.trade``; a bracket is sent every other bar where its symbol is free, and changed a bar later."""

    def work() -> int:
        with desk_of(plan.settings(port), journal) as agent:
            if agent.open_session().state is SessionState.COMPLETED:
                return COMPLETED
            try:
                _steps(agent)
            except BaseException as error:
                agent.abandon_session(error, str(error))
                raise
            return COMPLETED if agent.close_session(SessionState.COMPLETED).state is SessionState.COMPLETED else FAILED

    return as_exit_code(work, journal)


def _steps(agent: OrchestratorAgent) -> None:
    agent.load_warmup_data()
    agent.validate_data()
    agent.reconcile_or_refuse()
    # Risk approves what a policy decides; this is about the way behind it.
    agent.order_router.may_place = lambda *_: None
    agent.order_router.may_amend = lambda *_: None
    for moment, findings in agent.live_bars():
        agent.reconcile_if_due(moment.bar_time)
        # Nothing is decided: what happens is what is sent below.
        agent.route(agent.assess(replace(agent.generate_action(moment, findings), signals={})))
        number = (moment.bar_time - agent.hours.opens_at) // agent.loop.bar_length
        for turn, bar in enumerate(moment.bars.values()):
            if number % _EVERY_BARS == turn % _EVERY_BARS:
                _enter(agent, bar, number)
            else:
                _change(agent, bar)
    agent.end_of_session()
    agent.reconcile("close")


def _enter(agent: OrchestratorAgent, bar: Bar, number: int) -> None:
    router, at = agent.order_router, bar.bar_time + agent.loop.bar_length
    is_free = not router.has_open_orders(bar.symbol) and not agent.pnl_tracker.quantity(bar.symbol)
    last = agent.hours.closes_at - _LAST_ENTRY_BARS_BEFORE_CLOSE * agent.loop.bar_length
    if not is_free or at > last:
        return
    # The exits of late ones are too far away to be reached: something still works when orders are withdrawn before the close.
    late = agent.hours.closes_at - _LATE_ENTRY_BARS_BEFORE_CLOSE * agent.loop.bar_length
    distance = "0.02" if at > late else "0.002"
    side = Side.BUY if number % 4 < _EVERY_BARS else Side.SELL
    exit_side = Side.SELL if side is Side.BUY else Side.BUY

    def leg(name: str, of: Side) -> OrderIntent:
        return router.market_intent(bar.symbol, of, _SHARES, bar.close, bar.bar_time, at, name)

    entry = leg("entry", side)
    group = f"exits-{entry.client_order_id}"
    target = replace(
        leg("target", exit_side),
        order_type=OrderType.LIMIT,
        limit_price=_away(bar.close, side, distance),
        parent_id=entry.client_order_id,
        oca_group=group,
    )
    stop = replace(
        leg("stop", exit_side),
        order_type=OrderType.STOP,
        stop_price=_away(bar.close, exit_side, distance),
        parent_id=entry.client_order_id,
        oca_group=group,
    )
    _send(agent, [entry, target, stop], at)


def _change(agent: OrchestratorAgent, bar: Bar) -> None:
    """Take a working target nearer by a cent."""
    at: datetime = bar.bar_time + agent.loop.bar_length
    for name, order in list(agent.order_router.get_open_orders().items()):
        limit = order.intent.limit_price
        if order.intent.symbol == bar.symbol and limit is not None:
            agent.order_router.replace_order(name, at, limit_price=limit + order.intent.side.sign * _CENT)


def _away(price: Decimal, side: Side, fraction: str) -> Decimal:
    return (price * (1 + side.sign * Decimal(fraction))).quantize(_CENT)


def _send(agent: OrchestratorAgent, intents: list[OrderIntent], at: datetime) -> None:
    approved = [ApprovedOrder(intent, PreTradeVerdict(intent.quantity, ())) for intent in intents]
    agent._committed(agent.order_router.execute((), approved, at))
