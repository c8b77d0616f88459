import itertools
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from trading.bars import Bar
from trading.brokers.paper import PaperBroker
from trading.decisions import Action, Halt, Signal
from trading.errors import BrokerUnavailable, HookMayNotTrade, OutcomeUnknown, StoppedEarly, StoreError
from trading.hooks import Happening, Observers
from trading.orders import Execution, OrderAmendment, OrderIntent
from trading.policies.buy_and_hold import BuyAndHold
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, MarketWindow, OrderReport
from trading.sessions import SessionState

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SMALL = {"sizing": {"method": "fixed_shares", "shares": 50}}


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


class Deaf:
    """The paper broker behind a line that loses what it is told to: ``submit``, its answer, or ``find_order``."""

    def __init__(self, paper: PaperBroker) -> None:
        self._paper = paper
        self.loses: set[str] = set()
        self.submitted = 0

    @property
    def source(self) -> str:
        return self._paper.source

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        self.submitted += 1
        if "submit" in self.loses:
            raise OutcomeUnknown("nothing came back")
        answer = self._paper.submit(intent)
        if "answer" in self.loses:
            raise OutcomeUnknown("nothing came back")
        return answer

    @property
    def connections(self) -> int:
        return self._paper.connections

    @property
    def executions_kept_since(self) -> datetime | None:
        return self._paper.executions_kept_since

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        return self._paper.executions(since)

    def replace(self, amendment: OrderAmendment) -> None:
        self._paper.replace(amendment)

    def cancel(self, client_order_id: str) -> None:
        self._paper.cancel(client_order_id)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        if "find_order" in self.loses:
            raise BrokerUnavailable("silence")
        return self._paper.find_order(client_order_id)

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        return self._paper.poll()

    def account(self) -> BrokerAccount:
        return self._paper.account()


def bars(*closes: str, symbol: str = "SPY", volume: int = 100_000) -> list[Bar]:
    """A bar a minute from the open on; each opens where the one before closed."""
    prices = [Decimal(closes[0]), *map(Decimal, closes)]
    return [
        Bar(symbol, OPENS + timedelta(minutes=minute), was, max(was, now), min(was, now), now, volume)
        for minute, (was, now) in enumerate(itertools.pairwise(prices))
    ]


def opened(desk: Any) -> Any:
    agent = desk.agent
    agent.open_session()
    agent.load_warmup_data()
    agent.validate_data()
    agent.reconcile("open")
    return agent


def asked(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path / "ledger.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


# The three stages


def test_nothing_is_sent_before_the_third_stage(at_desk, tape) -> None:
    with at_desk(source=tape(bars("100", "100")), decider=BuyAndHold(), **SMALL) as desk:
        agent = opened(desk)
        moment, findings = next(agent.live_bars())
        decided = agent.generate_action(moment, findings)
        assert decided.signals == {"SPY": Signal(Action.BUY)}
        assessed = agent.assess(decided)
        assert [order.intent.quantity for order in assessed.approved] == [50]
        assert agent.get_open_orders() == {}
        routed = agent.route(assessed)
        assert (routed.orders_sent, routed.fills, routed.equity.equity) == (1, 0, 100_000)
        assert len(agent.get_open_orders()) == 1


def test_orders_of_one_bar_share_the_cash_there_is(at_desk, tape, tmp_path: Path) -> None:
    # 1,000 in cash and 0.6 of it for each of two symbols at 100: six shares of the first cost 600, and of the second
    # (400 - 1) / 100.005 = 3 are left.
    both = tape([*bars("100", "100", "100"), *bars("100", "100", "100", symbol="QQQ")])
    tight = {
        "session": {"symbols": ["SPY", "QQQ"]},
        "sizing": {"method": "fraction_of_cash", "fraction": "0.6"},
        "risk": {"max_position_fraction": "1"},
        "broker": {"paper": {"initial_cash": "1000"}},
    }
    with at_desk(source=both, decider=BuyAndHold(), **tight) as desk:
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT symbol, quantity FROM orders ORDER BY symbol") == [("QQQ", 3), ("SPY", 6)]
    assert asked(tmp_path, "SELECT symbol, rule, verdict FROM risk_checks") == [("QQQ", "buying_power", "TRIMMED")]


def test_what_the_loop_knows_of_a_symbol(at_desk, tape) -> None:
    with at_desk(source=tape(bars("100", "101", "102")), decider=BuyAndHold(), **SMALL) as desk:
        agent = opened(desk)
        before = agent.loop.trading_state("SPY")
        assert (before.position, before.last_price, before.last_bar_time, before.last_action) == (0, None, None, None)
        moments = agent.live_bars()
        agent.process_new_bar(*next(moments))
        [order] = agent.loop.trading_state("SPY").open_orders
        assert order.intent.quantity == 50
        agent.process_new_bar(*next(moments))
        state = agent.loop.trading_state("SPY")
        assert (state.position, state.last_price, state.open_orders) == (50, Decimal("101"), ())
        assert (state.last_bar_time, state.last_action) == (OPENS + timedelta(minutes=1), Action.BUY)


def test_a_size_that_cannot_be_told_is_a_refusal_on_record(at_desk, tape, tmp_path: Path) -> None:
    # The true range of 14 bars is not there yet.
    with at_desk(source=tape(bars("100", "100")), decider=BuyAndHold(), sizing={"method": "volatility_target"}) as desk:
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT DISTINCT rule, verdict, reason FROM risk_checks") == [
        ("sizing", "REFUSED", "no true range of 14 bars for SPY yet")
    ]


def test_partial_fills_move_the_position_bar_by_bar(at_desk, tape, tmp_path: Path) -> None:
    # A tenth of 200 shares is 20 a bar: 20, 20 and the last 10; one order and one minimum commission.
    thin = tape(bars("100", "100", "100", "100", "100", "100", volume=200))
    slow = {**SMALL, "broker": {"paper": {"max_volume_fraction": "0.1"}}, "risk": {"max_participation_fraction": None}}
    with at_desk(source=thin, decider=BuyAndHold(), **slow) as desk:
        summary = desk.agent.run_session()
    assert (summary.orders, summary.fills, summary.commissions) == (1, 3, 1)
    assert asked(tmp_path, "SELECT quantity FROM position_snapshots ORDER BY bar_time") == [(20,), (40,), (50,)]
    assert asked(tmp_path, "SELECT status, filled_quantity FROM orders") == [("FILLED", 50)]


# A broker that does not answer


def test_an_order_whose_answer_was_lost_is_not_sent_again(at_desk, tape, tmp_path: Path) -> None:
    lines: list[Deaf] = []

    def line(paper: PaperBroker) -> Deaf:
        lines.append(Deaf(paper))
        lines[0].loses = {"answer"}
        return lines[0]

    with at_desk(source=tape(bars("100", "100", "100", "100")), decider=BuyAndHold(), wrap=line, **SMALL) as desk:
        summary = desk.agent.run_session()
    assert (summary.orders, summary.fills, summary.discrepancies) == (1, 1, 0)
    assert lines[0].submitted == 1
    # The market has filled it by the next bar, and its news says so before anybody has to ask.
    assert asked(tmp_path, "SELECT status FROM orders") == [("FILLED",)]
    steps = {status for (status,) in asked(tmp_path, "SELECT status FROM order_events")}
    assert steps == {"SUBMITTED", "UNKNOWN", "ACCEPTED", "FILLED"}


def test_an_order_that_was_lost_on_the_way_is_over_at_the_next_bar_and_decided_anew(
    at_desk, tape, tmp_path: Path
) -> None:
    lines: list[Deaf] = []

    def line(paper: PaperBroker) -> Deaf:
        lines.append(Deaf(paper))
        return lines[0]

    with at_desk(source=tape(bars("100", "100", "100", "100")), decider=BuyAndHold(), wrap=line, **SMALL) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        lines[0].loses = {"submit", "find_order"}
        agent.process_new_bar(*next(moments))
        # Silence is not a no: it is asked again, and nothing is sent meanwhile.
        agent.process_new_bar(*next(moments))
        assert [order.status for order in agent.get_open_orders().values()] == ["UNKNOWN"]
        lines[0].loses = set()
        for moment, findings in moments:
            agent.process_new_bar(moment, findings)
        agent.close_session(SessionState.COMPLETED)
        assert agent.pnl_tracker.quantity("SPY") == 50
    assert lines[0].submitted == 2
    assert asked(tmp_path, "SELECT status FROM orders ORDER BY bar_time") == [("EXPIRED",), ("FILLED",)]


# A store that fails in an operator's hands


def test_a_halt_that_cannot_be_written_down_is_obeyed(at_desk, tape) -> None:
    with at_desk(source=tape(bars("100", "100", "100")), decider=BuyAndHold(), **SMALL) as desk:
        agent = opened(desk)
        desk.store.connection.close()
        report = agent.emergency_stop("fat finger")
        # What has failed in one step is not shown to be done by looking at the broker.
        assert [failure.partition(":")[0] for failure in report.failures] == ["halt", "verify"]
        assert not report.succeeded
        assert agent.loop.gate.halted == "fat finger"


def test_a_cancel_that_cannot_be_written_down_is_asked_for_all_the_same(at_desk, tape) -> None:
    waiting = {**SMALL, "orders": {"order_type": "LIMIT", "limit_offset_bps": -500, "time_in_force": "GTC"}}
    papers: list[PaperBroker] = []

    def keep(paper: PaperBroker) -> PaperBroker:
        papers.append(paper)
        return paper

    with at_desk(source=tape(bars("100", "100", "100")), decider=BuyAndHold(), wrap=keep, **waiting) as desk:
        agent = opened(desk)
        agent.process_new_bar(*next(agent.live_bars()))
        assert len(papers[0].account().open_orders) == 1
        desk.store.connection.close()
        report = agent.emergency_stop("the disk is full")
        assert papers[0].account().open_orders == ()
        assert not report.succeeded


def test_after_a_flatten_that_could_not_be_written_down_the_session_goes_on_from_the_ledger_alone(
    at_desk, tape
) -> None:
    with at_desk(source=tape(bars("100", "100", "100", "100")), decider=BuyAndHold(), **SMALL) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        for _ in range(2):
            agent.process_new_bar(*next(moments))
        desk.store.connection.close()
        with pytest.raises(StoreError):
            agent.loop.flatten_positions(OPENS + timedelta(minutes=2))
        with pytest.raises(StoppedEarly):
            agent.process_new_bar(*next(moments))


# Observers


def test_the_observers_of_a_session_hear_everything_in_its_order(at_desk, tape) -> None:
    told: list[str] = []
    observers = Observers()
    limits = {**SMALL, "orders": {"minimum_quantity": 40}, "risk": {"max_position_shares": 30}}
    script = Script(Action.BUY)
    with at_desk(source=tape(bars("100", "100")), decider=script, observers=observers, **limits) as desk:
        for event in ("trading_started", "trading_stopped", "action_generated", "order_too_small", "trade_blocked"):
            desk.agent.register_hook(event, lambda happening: told.append(happening.event))
        desk.agent.run_session()
    assert told == ["trading_started", "action_generated", "order_too_small", "action_generated", "trading_stopped"]


def test_fills_refusals_and_errors_are_told_with_their_facts(at_desk, tape) -> None:
    told: list[tuple[str, object]] = []
    observers = Observers()
    halted = {"session": {"symbols": ["SPY", "QQQ"]}, **SMALL}
    both = tape([*bars("100", "100", "100"), *bars("50", "50", "50", symbol="QQQ")])
    with at_desk(source=both, decider=BuyAndHold(), observers=observers, **halted) as desk:
        desk.store.ledger.record_halt(Halt("symbol:QQQ", "odd", OPENS - timedelta(days=1)))
        desk.agent.register_hook(
            "trade_executed", lambda told_of: told.append(("fill", told_of.facts["fill"].execution.quantity))
        )
        desk.agent.register_hook("trade_blocked", lambda told_of: told.append(("blocked", told_of.facts["check"].rule)))
        desk.agent.run_session()
    assert told == [("blocked", "halted"), ("fill", 50), ("blocked", "halted"), ("blocked", "halted")]


def test_an_event_that_does_not_exist_is_refused(at_desk) -> None:
    with at_desk() as desk, pytest.raises(ValueError, match="trade_exploded"):
        desk.agent.register_hook("trade_exploded", print)


def test_a_session_finishes_while_an_observer_is_still_busy_with_its_first_bar(at_desk) -> None:
    release, busy = threading.Event(), threading.Event()

    def slow(_: Happening) -> None:
        busy.set()
        release.wait(30)

    observers = Observers()
    observers.register("bar_processed", slow)
    with at_desk(observers=observers, decider=BuyAndHold(), session={"timeframe": "15min"}) as desk:
        agent = opened(desk)
        for moment, findings in agent.live_bars():
            agent.process_new_bar(moment, findings)
        agent.end_of_session()
        assert agent.reconcile("close") == []
        assert agent.summary().bars == 26
        assert busy.wait(5)
        assert not release.is_set()
        release.set()
        agent.close_session(SessionState.COMPLETED)


def test_a_failing_observer_changes_nothing_of_a_session(at_desk, facts, tmp_path: Path) -> None:
    tables = ("decisions", "orders", "fills", "equity")
    session = {"session": {"timeframe": "15min"}, "policy": {"parameters": {"fast": 2, "slow": 5}}}
    with at_desk(**session) as desk:
        desk.agent.run_session()
    undisturbed = facts(tmp_path / "ledger.duckdb", *tables)
    for file in tmp_path.iterdir():
        file.unlink()

    def fail(_: Happening) -> None:
        raise RuntimeError("an observer")

    async def fail_later(_: Happening) -> None:
        raise RuntimeError("an observer")

    with at_desk(**session) as desk:
        for event in ("action_generated", "trade_executed", "bar_processed"):
            desk.agent.register_hook(event, fail)
            desk.agent.register_hook(event, fail_later)
        desk.agent.run_session()
    assert facts(tmp_path / "ledger.duckdb", *tables) == undisturbed


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_observer_can_neither_flatten_nor_halt_nor_cancel(at_desk, tape, tmp_path: Path, asynchronous: bool) -> None:
    refused: list[str] = []
    with at_desk(source=tape(bars("100", "100", "100", "100")), decider=BuyAndHold(), **SMALL) as desk:
        agent = desk.agent

        def meddle(_: Happening) -> None:
            for act in (
                lambda: agent.loop.flatten_positions(OPENS),
                lambda: agent.loop.latch(Halt("all", "from a hook", OPENS)),
                lambda: [agent.cancel_order(order_id) for order_id in agent.get_open_orders()] or refused.append("-"),
            ):
                try:
                    act()
                except HookMayNotTrade as error:
                    refused.append(str(error).partition(" was")[0])

        async def meddle_later(told: Happening) -> None:
            meddle(told)

        agent.register_hook("trade_executed", meddle_later if asynchronous else meddle)
        summary = agent.run_session()
    assert refused == ["a flatten", "a halt", "-"]
    assert (summary.orders, summary.fills, summary.halted) == (1, 1, False)
    assert asked(tmp_path, "SELECT * FROM halts") == []
