"""Whole sessions that are stopped: in the middle of a fill, with the broker away, over a restart, by request, by a loss limit."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.store import Store
from tasks.composition import Desk
from trading.bars import Bar
from trading.brokers.paper import PaperBroker
from trading.decisions import Action, Signal
from trading.errors import BrokerUnavailable, Halted, NotApproved
from trading.orchestrator_agent import OrchestratorAgent
from trading.orders import Execution, OrderAmendment, OrderIntent, Side
from trading.policies.buy_and_hold import BuyAndHold
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, OrderReport
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict
from trading.sessions import SessionState
from trading.stops import StopState

MONDAY = date(2026, 1, 5)
OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
A_MINUTE = timedelta(minutes=1)
MakeDesk = Callable[..., contextlib.AbstractContextManager[Desk]]


def bars(count: int, price: Callable[[int], str] = lambda _: "100", volume: int = 10_000) -> list[Bar]:
    """Minutes without a range."""
    return [Bar("SPY", OPENS + n * A_MINUTE, *[Decimal(price(n))] * 4, volume) for n in range(count)]


class Line:
    """The paper broker behind a line that can be cut: then nothing is asked and nothing arrives."""

    def __init__(self, paper: PaperBroker) -> None:
        self._paper = paper
        self.source = paper.source
        self.executions_kept_since = None
        self.connections = 1
        self.is_cut = False
        self.sent: list[OrderIntent] = []

    def _there(self) -> PaperBroker:
        if self.is_cut:
            raise BrokerUnavailable("the line is cut")
        return self._paper

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        there = self._there()
        self.sent.append(intent)
        return there.submit(intent)

    def cancel(self, client_order_id: str) -> None:
        self._there().cancel(client_order_id)

    def replace(self, amendment: OrderAmendment) -> None:
        self._there().replace(amendment)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        return self._there().find_order(client_order_id)

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        return self._there().executions(since)

    def account(self) -> BrokerAccount:
        return self._there().account()

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        return self._there().poll()


def begun(desk: Desk) -> OrchestratorAgent:
    """A session up to its first bar."""
    agent = desk.agent
    agent.open_session()
    agent.load_warmup_data()
    agent.validate_data()
    agent.reconcile("open")
    return agent


def trading(agent: OrchestratorAgent) -> Iterator[int]:
    """The session's bars, one a step: how many are done."""
    for done, (moment, findings) in enumerate(agent.live_bars(), start=1):
        agent.reconcile_if_due(moment.bar_time)
        agent.process_new_bar(moment, findings)
        yield done


def ended(agent: OrchestratorAgent) -> None:
    agent.end_of_session()
    agent.reconcile("close")
    agent.close_session(SessionState.COMPLETED)


def ask(store: Store, kind: str, **arguments: Any) -> None:
    """A person's request, as the door lets it in."""
    store.connection.execute(
        "INSERT INTO operator_requests (request_id, kind, arguments, asked_by, asked_at) VALUES (?, ?, ?, 'anna', now())",
        [f"{kind}-1", kind, json.dumps(arguments)],
    )


def answer(store: Store, kind: str) -> dict[str, Any] | None:
    [[text]] = store.connection.rows("SELECT answer FROM operator_requests WHERE request_id = ?", [f"{kind}-1"])
    return None if text is None else json.loads(text)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path / "ledger.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


HUNDRED = {"sizing": {"method": "fixed_shares", "shares": 100}, "risk": {"max_participation_fraction": "off"}}


def test_a_halt_in_the_middle_of_a_fill_cancels_the_rest_and_closes_what_was_filled(
    at_desk: MakeDesk, tape: type, tmp_path: Path
) -> None:
    # A bar gives 30 of 300 shares: of the hundred, thirty come with each bar from the second on.
    slowly = {**HUNDRED, "broker": {"paper": {"max_volume_fraction": "0.1"}}}
    with at_desk(MONDAY, source=tape(bars(20, volume=300)), decider=BuyAndHold(), **slowly) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 3:
                assert agent.pnl_tracker.quantity("SPY") == 60
                report = agent.emergency_stop("out", flatten=True)
                assert not report.succeeded
                assert "60 SPY are held" in report.left
        assert agent.pnl_tracker.held_symbols == ()
        ended(agent)
    # Sixty in two fills, and out again in two.
    assert rows(tmp_path, "SELECT side, quantity FROM fills ORDER BY booking") == [
        ("BUY", 30), ("BUY", 30), ("SELL", 30), ("SELL", 30),
    ]  # fmt: skip
    assert rows(tmp_path, "SELECT side, quantity, status FROM orders ORDER BY created_at, side") == [
        ("BUY", 100, "CANCELLED"),
        ("SELL", 60, "FILLED"),
    ]
    assert rows(tmp_path, "SELECT state, flatten FROM stops") == [("SUCCEEDED", True)]
    assert rows(tmp_path, "SELECT action, succeeded FROM stop_steps WHERE action IN ('halt', 'done')") == [
        ("halt", True),
        ("done", True),
    ]


def test_a_halt_while_the_broker_is_away_is_obeyed_at_once_and_done_when_it_is_back(
    at_desk: MakeDesk, tape: type, tmp_path: Path
) -> None:
    lines: list[Line] = []

    def line(paper: PaperBroker) -> Line:
        lines.append(Line(paper))
        return lines[0]

    with at_desk(MONDAY, source=tape(bars(20)), decider=BuyAndHold(), wrap=line, **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 3:
                lines[0].is_cut = True
                report = agent.emergency_stop("out", flatten=True)
                assert agent.loop.gate.halted == "out"
                assert report.left == ("unknown: the broker could not be asked (the line is cut)",)
            if done == 8:
                assert [intent.side for intent in lines[0].sent] == ["BUY"]
                assert agent.pnl_tracker.quantity("SPY") == 100
                lines[0].is_cut = False
        assert agent.pnl_tracker.held_symbols == ()
        ended(agent)
    assert [(intent.side, intent.quantity) for intent in lines[0].sent] == [("BUY", 100), ("SELL", 100)]
    # Away from the third bar's end to the ninth's: three minutes make an alarm, and then it was done after all.
    assert rows(tmp_path, "SELECT state FROM stops") == [("SUCCEEDED",)]
    actions = [action for (action,) in rows(tmp_path, "SELECT action FROM stop_steps ORDER BY number")]
    assert actions.index("alarm") < actions.index("done")


def test_a_stop_goes_on_after_a_restart_and_sends_nothing_twice(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    source = tape(bars(20))
    with at_desk(MONDAY, source=source, decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 3:
                agent.emergency_stop("out", flatten=True)
                break  # the process dies: nothing is closed, and the closing order works at the broker
    with at_desk(MONDAY, source=source, decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        assert agent.loop.gate.halted == "out"
        for _ in trading(agent):
            pass
        ended(agent)
    assert rows(tmp_path, "SELECT side, quantity, status FROM orders ORDER BY created_at") == [
        ("BUY", 100, "FILLED"),
        ("SELL", 100, "FILLED"),
    ]
    assert rows(tmp_path, "SELECT state FROM stops") == [("SUCCEEDED",)]
    assert rows(tmp_path, "SELECT count(*) FROM halts WHERE cleared_at IS NULL") == [(1,)]
    with at_desk(date(2026, 1, 6), decider=BuyAndHold(), **HUNDRED) as desk, pytest.raises(Halted, match="out"):
        desk.agent.open_session()


def test_a_request_is_answered_once_the_stop_is_done(at_desk: MakeDesk, tape: type) -> None:
    with at_desk(MONDAY, source=tape(bars(20)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        answers = []
        for done in trading(agent):
            if done == 3:
                ask(desk.store, "halt", scope="account:paper", reason="lunch", flatten=True)
                agent.attend()
            answers.append(answer(desk.store, "halt") if done >= 3 else None)
        first = next(number for number, said in enumerate(answers, start=1) if said is not None)
        said = answers[first - 1]
        assert first == 4  # the closing order fills with the fourth bar
        assert said is not None
        assert (said["stop_id"], said["state"], said["left"]) == ("halt-1", "SUCCEEDED", [])
        assert [step["action"] for step in said["steps"]] == ["halt", "cancel", "flatten", "verify", "verify", "done"]


def test_what_cannot_be_shown_in_time_is_an_alarm_that_is_answered_and_told(at_desk: MakeDesk, tape: type) -> None:
    lines: list[Line] = []

    def line(paper: PaperBroker) -> Line:
        lines.append(Line(paper))
        return lines[0]

    alarms: list[str] = []
    with at_desk(MONDAY, source=tape(bars(10)), decider=BuyAndHold(), wrap=line, **HUNDRED) as desk:
        agent = begun(desk)
        agent.risk_events.subscribe(lambda event: alarms.append(event.message) if event.kind == "alarm" else None)
        for done in trading(agent):
            if done == 3:
                lines[0].is_cut = True
                ask(desk.store, "halt", reason="lunch")
                agent.attend()
            said = answer(desk.store, "halt") if done >= 3 else None
            # 180 seconds of session time.
            assert (said is not None) == (done >= 6)
        assert said is not None
        assert said["state"] == "ALARM"
        lines[0].is_cut = False
        ended(agent)
    assert len(alarms) == 1
    assert alarms[0].startswith("alarm: not done after 180 s")


def test_an_alarm_at_the_end_of_a_session_is_over_with_it(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    # The bars end right after the stop: what it has sent can no longer fill.
    with at_desk(MONDAY, source=tape(bars(3)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 3:
                agent.emergency_stop("out", flatten=True)
        ended(agent)
    assert rows(tmp_path, "SELECT state, ended_at IS NOT NULL FROM stops") == [("ALARM", True)]


def test_a_resume_lets_trading_go_on(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    with at_desk(MONDAY, source=tape(bars(12)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 3:
                agent.emergency_stop("out", flatten=True)
            if done == 6:
                ask(desk.store, "resume", scope="all")
                agent.attend()
                assert answer(desk.store, "resume") == {"resumed": "all", "cleared": 1}
        ended(agent)
    assert rows(tmp_path, "SELECT side FROM orders ORDER BY created_at") == [("BUY",), ("SELL",), ("BUY",)]
    assert rows(tmp_path, "SELECT cleared_by FROM halts") == [("anna",)]


def test_a_halt_with_an_end_of_its_own_ends(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    with at_desk(MONDAY, source=tape(bars(12)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        ask(desk.store, "halt", reason="the opening", minutes=5)
        agent.loop.announce_start()
        agent.attend()
        for _ in trading(agent):
            pass
        ended(agent)
    # From 14:30 to 14:35: the bar that ends then is the first whose order may go.
    assert rows(tmp_path, "SELECT created_at FROM orders") == [(OPENS + 5 * A_MINUTE,)]


def test_a_flatten_is_for_the_rest_of_the_session(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    with at_desk(MONDAY, source=tape(bars(12)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 3:
                ask(desk.store, "flatten")
                agent.attend()
        ended(agent)
        assert agent.pnl_tracker.held_symbols == ()
    [(scope, expires_at)] = rows(tmp_path, "SELECT scope, expires_at FROM halts")
    assert (scope, expires_at) == ("account:paper", datetime(2026, 1, 5, 21, 0, tzinfo=UTC))
    with at_desk(date(2026, 1, 6), decider=BuyAndHold(), **HUNDRED) as desk:
        assert desk.agent.open_session().state is SessionState.RUNNING


def test_a_halt_of_another_account_is_written_down_and_changes_nothing_here(at_desk: MakeDesk, tape: type) -> None:
    with at_desk(MONDAY, source=tape(bars(6)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 2:
                ask(desk.store, "halt", scope="account:other", reason="theirs")
                agent.attend()
                said = answer(desk.store, "halt")
        assert said is not None
        assert "not concerned" in said["note"]
        assert agent.loop.gate.halted is None
        assert [halt.scope for halt in desk.store.ledger.active_halts("other", "x", [], OPENS)] == ["account:other"]


@pytest.mark.parametrize("flatten", [False, True])
def test_a_loss_limit_stops_and_closes_where_that_is_wished(
    at_desk: MakeDesk, tape: type, tmp_path: Path, flatten: bool
) -> None:
    # A hundred shares bought at 100 lose 200 when the price is 98.
    falling = bars(12, lambda n: "100" if n < 5 else "98")
    wished = {**HUNDRED, "stopping": {"flatten_on_loss": flatten}, "risk": {**HUNDRED["risk"], "max_daily_loss": 150}}
    with at_desk(MONDAY, source=tape(falling), decider=BuyAndHold(), **wished) as desk:
        agent = begun(desk)
        for _ in trading(agent):
            pass
        assert agent.pnl_tracker.quantity("SPY") == (0 if flatten else 100)
        ended(agent)
    assert rows(tmp_path, "SELECT rule FROM halts") == [("max_daily_loss",)]
    assert rows(tmp_path, "SELECT state FROM stops") == ([("SUCCEEDED",)] if flatten else [])


def test_what_was_asked_for_while_nobody_was_there_is_obeyed_before_the_first_bar(
    at_desk: MakeDesk, tape: type
) -> None:
    with at_desk(MONDAY, source=tape(bars(6)), decider=BuyAndHold(), **HUNDRED) as desk:
        ask(desk.store, "halt", reason="not today")
        with pytest.raises(Halted, match="not today"):
            desk.agent.open_session()
        said = answer(desk.store, "halt")
        assert said is not None
        assert said["state"] == "SUCCEEDED"
        assert desk.store.ledger.requests() == []


@pytest.mark.parametrize(("minutes_to_close", "closed"), [(4, False), (3, True)])
def test_positions_are_closed_by_the_clock_where_no_bars_come_any_more(
    at_desk: MakeDesk, tape: type, tmp_path: Path, minutes_to_close: int, closed: bool
) -> None:
    # Flattened is from 15:55 on; the bars that end then and a minute later are waited for.
    live: dict[str, Any] = {**HUNDRED, "session": {"pace": "live"}, "closing": {"hold_overnight": False}}
    lines: list[Line] = []

    def line(paper: PaperBroker) -> Line:
        lines.append(Line(paper))
        return lines[0]

    with at_desk(MONDAY, source=tape(bars(5)), decider=BuyAndHold(), wrap=line, **live) as desk:
        agent = begun(desk)
        for _ in trading(agent):
            pass
        agent._ports.clock.wait_until(desk.hours.closes_at - minutes_to_close * A_MINUTE)
        agent.attend()
        agent.attend()
        assert [str(intent.side) for intent in lines[0].sent] == ["BUY", "SELL"][: 1 + closed]
        ended(agent)
    # Nothing trades without bars here: what is left is an alarm.
    assert rows(tmp_path, "SELECT count(*) FROM risk_checks WHERE verdict = 'ALARM'") == [(1,)]
    assert rows(tmp_path, "SELECT rule FROM halts") == ([("flatten_before_close",)] if closed else [])


def test_limits_change_between_two_bars_and_are_kept_over_a_restart(
    at_desk: MakeDesk, tape: type, tmp_path: Path
) -> None:
    source = tape(bars(20))
    with at_desk(MONDAY, source=source, decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        ask(desk.store, "limits", limits={"max_order_shares": 40})
        agent.loop.announce_start()
        agent.attend()
        assert answer(desk.store, "limits") == {"changed": {"max_order_shares": [500, 40]}}
        for done in trading(agent):
            if done == 4:
                break
    with at_desk(MONDAY, source=source, decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        assert agent.loop.gate.limits.max_order_shares == 40
    assert rows(tmp_path, "SELECT quantity FROM orders") == [(40,)]
    assert rows(tmp_path, "SELECT name, old_value, new_value, changed_by, refusal FROM limit_changes") == [
        ("max_order_shares", "500", "40", "anna", "")
    ]


def test_a_change_that_is_not_valid_leaves_every_limit_as_it_was(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    with at_desk(MONDAY, source=tape(bars(6)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        before = agent.loop.gate.limits
        ask(desk.store, "limits", limits={"max_order_shares": 40, "duplicate_window_seconds": -1})
        agent.loop.announce_start()
        agent.attend()
        said = answer(desk.store, "limits")
        assert said is not None
        assert "duplicate_window_seconds" in said["message"]
        assert agent.loop.gate.limits is before
    refused = rows(tmp_path, "SELECT name, old_value, new_value, refusal <> '' FROM limit_changes ORDER BY name")
    assert refused == [("duplicate_window_seconds", "60", "-1", True), ("max_order_shares", "500", "40", True)]


def test_loosening_a_limit_that_tripped_does_not_clear_its_halt(at_desk: MakeDesk, tape: type) -> None:
    falling = bars(12, lambda n: "100" if n < 5 else "98")
    tight = {**HUNDRED, "risk": {**HUNDRED["risk"], "max_daily_loss": 150}}
    with at_desk(MONDAY, source=tape(falling), decider=BuyAndHold(), **tight) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 8:
                assert agent.loop.gate.halted is not None
                ask(desk.store, "limits", limits={"max_daily_loss": "off"})
                agent.attend()
        assert agent.loop.gate.halted is not None


# What risk was talked round with, once


def test_a_shorter_halt_does_not_end_a_longer_one(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    with at_desk(MONDAY, source=tape(bars(12)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        agent.loop.announce_start()
        ask(desk.store, "flatten")
        agent.attend()
        ask(desk.store, "halt", scope="account:paper", reason="a minute", minutes=1)
        agent.attend()
        for _ in trading(agent):
            pass
        ended(agent)
    assert rows(tmp_path, "SELECT count(*) FROM orders") == [(0,)]


def test_a_resume_that_nobody_heard_does_not_undo_a_later_halt(at_desk: MakeDesk, tape: type) -> None:
    with at_desk(MONDAY, source=tape(bars(6)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 2:
                agent.emergency_stop("out", flatten=True)
            if done == 4:
                break
    with at_desk(MONDAY, source=tape(bars(12)), decider=BuyAndHold(), **HUNDRED) as desk:
        ask(desk.store, "resume", scope="all")
        ask(desk.store, "limits", limits={"max_daily_loss": "off"})
        agent = begun(desk)
        for _ in trading(agent):
            agent.attend()
        assert agent.loop.gate.halted == "out"
        for kind in ("resume", "limits"):
            said = answer(desk.store, kind)
            assert said is not None
            assert said["error"] == "too late"
        ended(agent)


def test_what_was_approved_before_a_halt_is_not_sent_after_it(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    with at_desk(MONDAY, source=tape(bars(6)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        moments = agent.live_bars()
        assessed = agent.assess(agent.generate_action(*next(moments)))
        assert len(assessed.approved) == 1
        agent.emergency_stop("out")
        assert agent.route(assessed).orders_sent == 0
        agent.operator_desk.give_up(OPENS, "over")
    assert rows(tmp_path, "SELECT count(*) FROM orders") == [(0,)]
    assert rows(tmp_path, "SELECT rule, verdict FROM risk_checks") == [("halted", "REFUSED")]


def test_an_approval_is_for_that_order_at_that_moment_and_beside_the_others(at_desk: MakeDesk, tape: type) -> None:
    class Still(BuyAndHold):
        def decide(self, window: Any, holdings: object) -> dict[str, Signal]:
            return dict.fromkeys(window.symbols, Signal(Action.HOLD))

    both = tape([*bars(3), *(replace(bar, symbol="QQQ") for bar in bars(3))])
    tight = {
        "session": {"symbols": ["SPY", "QQQ"]},
        "risk": {**HUNDRED["risk"], "max_gross_exposure": 10_000}, "orders": {"allow_short": True},
    }  # fmt: skip
    with at_desk(MONDAY, source=both, decider=Still(), **tight) as desk:
        agent = begun(desk)
        agent.process_new_bar(*next(agent.live_bars()))
        [approved] = agent.approve("SPY", Side.BUY, 95).approved
        # 5 of the other, because 95 of 100 were approved.
        [beside] = agent.approve("QQQ", Side.BUY, 95).approved
        assert beside.intent.quantity == 5
        with pytest.raises(NotApproved):
            agent.place_order(replace(approved, intent=replace(approved.intent, side=Side.SELL, symbol="QQQ")))
        agent.emergency_stop("out")
        with pytest.raises(NotApproved, match="before trading was halted"):
            agent.place_order(approved)


def test_reductions_are_judged_together(at_desk: MakeDesk, tape: type) -> None:
    with at_desk(MONDAY, source=tape(bars(6)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 3:
                break
        router, at = agent.order_router, OPENS + 3 * A_MINUTE
        orders = [
            ApprovedOrder(
                router.market_intent("SPY", Side.SELL, 100, Decimal(100), OPENS, at, f"mine-{number}"),
                PreTradeVerdict(100, ()),
            )
            for number in range(3)
        ]
        with pytest.raises(NotApproved):
            router.place_orders(orders)
        assert router.place_orders(orders[:1])


def test_an_entry_is_not_amended_to_a_worse_price(at_desk: MakeDesk, tape: type) -> None:
    waiting: dict[str, Any] = {**HUNDRED, "orders": {"order_type": "LIMIT", "limit_offset_bps": -500}}
    with at_desk(MONDAY, source=tape(bars(6)), decider=BuyAndHold(), **waiting) as desk:
        agent = begun(desk)
        agent.process_new_bar(*next(agent.live_bars()))
        [order_id] = agent.get_open_orders()
        with pytest.raises(NotApproved, match="worse price"):
            agent.order_router.replace_order(order_id, OPENS + A_MINUTE, limit_price=Decimal(5_000))
        assert agent.order_router.replace_order(order_id, OPENS + A_MINUTE, limit_price=Decimal(90)) is not None


@pytest.mark.parametrize("kind", ["LIMIT", "STOP"])
def test_with_long_bars_an_exit_that_waits_is_out_of_the_way_before_the_last_bar(
    at_desk: MakeDesk, tape: type, tmp_path: Path, kind: str
) -> None:
    class Out(BuyAndHold):
        """Buys, and wants out from the eleventh half hour on."""

        def decide(self, window: Any, holdings: object) -> dict[str, Signal]:
            action = Action.BUY if window.available("SPY") < 11 else Action.SELL
            return dict.fromkeys(window.symbols, Signal(action))

    halves = [Bar("SPY", OPENS + n * 30 * A_MINUTE, *[Decimal(100)] * 4, 10_000) for n in range(13)]
    # Entries are stops and limits too, at a price that a flat market trades through at once only as a limit above it.
    waiting: dict[str, Any] = {
        **HUNDRED,
        "session": {"timeframe": "30min"},
        "closing": {"hold_overnight": False},
        "orders": {"order_type": kind, "limit_offset_bps": 50, "stop_offset_bps": "0.01"},
    }
    moving = [replace(bar, high=bar.high + 1) if n < 5 else bar for n, bar in enumerate(halves)]
    with at_desk(MONDAY, source=tape(moving), decider=Out(), **waiting) as desk:
        agent = begun(desk)
        for _ in trading(agent):
            pass
        ended(agent)
        assert agent.pnl_tracker.held_symbols == ()
    assert rows(tmp_path, "SELECT count(*) FROM risk_checks WHERE verdict = 'ALARM'") == [(0,)]
    assert rows(tmp_path, "SELECT count(*) FROM fills") == [(2,)]


def test_another_strategy_on_the_same_day_has_the_days_losses_and_can_be_restarted(
    at_desk: MakeDesk, tape: type, tmp_path: Path
) -> None:
    # Each of the two would lose 200 of a limit of 300 in the symbol.
    falling = tape(bars(390, lambda n: "100" if n < 5 else "98"))
    two: dict[str, Any] = {
        **HUNDRED,
        "risk": {**HUNDRED["risk"], "max_symbol_loss": 300},
        "closing": {"hold_overnight": False},
    }
    with at_desk(MONDAY, source=falling, decider=BuyAndHold(), **two, session={"strategy": "one"}) as desk:
        desk.agent.run_session()
    with at_desk(MONDAY, source=falling, decider=BuyAndHold(), **two, session={"strategy": "two"}) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 4:
                break
    with at_desk(MONDAY, source=falling, decider=BuyAndHold(), **two, session={"strategy": "two"}) as desk:
        desk.agent.run_session()
    # It bought at 100 and lost 200 more with the sixth bar.
    assert rows(tmp_path, "SELECT scope, rule, session_id LIKE '%two' FROM halts") == [
        ("symbol:SPY", "max_symbol_loss", True)
    ]


def test_a_tightened_limit_is_looked_at_with_the_next_bar(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    class InAndOut(BuyAndHold):
        def decide(self, window: Any, holdings: object) -> dict[str, Signal]:
            action = Action.BUY if window.available("SPY") in (1, 2) or window.available("SPY") > 8 else Action.SELL
            return dict.fromkeys(window.symbols, Signal(action))

    falling = tape(bars(12, lambda n: "100" if n < 2 else "98"))
    with at_desk(MONDAY, source=falling, decider=InAndOut(), **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 6:
                assert agent.pnl_tracker.held_symbols == ()
                ask(desk.store, "limits", limits={"max_symbol_loss": 100})
                agent.attend()
        ended(agent)
    assert rows(tmp_path, "SELECT rule, halted_at FROM halts") == [("max_symbol_loss", OPENS + 7 * A_MINUTE)]
    assert rows(tmp_path, "SELECT side FROM orders ORDER BY created_at") == [("BUY",), ("SELL",)]


def test_a_trailing_stop_is_worth_what_it_lets_the_price_rise_to(at_desk: MakeDesk, tape: type, tmp_path: Path) -> None:
    # At 100 with half of it to trail a share may cost 150: of 10,000 sixty-six.
    wide: dict[str, Any] = {
        **HUNDRED, "risk": {**HUNDRED["risk"], "max_order_notional": 10_000},
        "orders": {"order_type": "TRAILING_STOP", "time_in_force": "GTC", "trail_fraction": "0.5"},
    }  # fmt: skip
    with at_desk(MONDAY, source=tape(bars(3)), decider=BuyAndHold(), **wide) as desk:
        agent = begun(desk)
        agent.process_new_bar(*next(agent.live_bars()))
    assert rows(tmp_path, "SELECT quantity FROM orders") == [(66,)]


@pytest.mark.parametrize("said", [1, "SELL IT", None, 0.5])
def test_what_is_no_action_is_no_order(at_desk: MakeDesk, tape: type, tmp_path: Path, said: object) -> None:
    class Odd(BuyAndHold):
        def decide(self, window: Any, holdings: object) -> dict[str, Signal]:
            return dict.fromkeys(window.symbols, Signal(said))  # type: ignore[arg-type]

    with at_desk(MONDAY, source=tape(bars(3)), decider=Odd(), **HUNDRED, orders={"allow_short": True}) as desk:
        desk.agent.run_session()
    assert rows(tmp_path, "SELECT count(*) FROM orders") == [(0,)]
    assert rows(tmp_path, "SELECT DISTINCT action, error IS NULL FROM decisions") == [("HOLD", False)]


def test_a_word_for_an_action_is_that_action() -> None:
    assert Signal("BUY").action is Action.BUY  # type: ignore[arg-type]


def test_a_stop_that_is_given_up_at_the_close_sends_nothing_any_more(
    at_desk: MakeDesk, tape: type, tmp_path: Path
) -> None:
    with at_desk(MONDAY, source=tape(bars(3)), decider=BuyAndHold(), **HUNDRED) as desk:
        agent = begun(desk)
        for done in trading(agent):
            if done == 3:
                agent.emergency_stop("out", flatten=True)
        ended(agent)
    assert rows(tmp_path, "SELECT side, status FROM orders ORDER BY created_at") == [
        ("BUY", "FILLED"),
        ("SELL", "EXPIRED"),
    ]


@settings(settings.get_profile("whole sessions"), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.booleans(), min_size=12, max_size=12), stopped_at=st.integers(1, 6), restart=st.booleans())
def test_however_the_line_breaks_a_stop_ends_flat_and_adds_nothing(
    at_desk: MakeDesk,
    tape: type,
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[bool],
    stopped_at: int,
    restart: bool,
) -> None:
    folder = tmp_path_factory.mktemp("stop")
    lines: list[Line] = []

    def line(paper: PaperBroker) -> Line:
        lines.append(Line(paper))
        return lines[-1]

    made: dict[str, Any] = {
        "source": tape(bars(30, volume=300)), "decider": BuyAndHold(), "wrap": line, "folder": folder,
        **HUNDRED, "broker": {"paper": {"max_volume_fraction": "0.1"}},
    }  # fmt: skip
    held = []
    for run in range(1 + restart):
        with at_desk(MONDAY, **made) as desk:
            agent = begun(desk)
            for done in trading(agent):
                if run == 0 and done == stopped_at:
                    agent.emergency_stop("out", flatten=True)
                held.append(agent.pnl_tracker.quantity("SPY"))
                lines[-1].is_cut = run == 0 and done < len(cuts) and cuts[done]
                if run < restart and done == stopped_at + 3:
                    break
            else:
                ended(agent)
                assert agent.pnl_tracker.held_symbols == ()
    sent = [intent for one in lines for intent in one.sent]
    bought = [intent for intent in sent if intent.side == "BUY"]
    assert len(bought) <= 1
    assert all(shares >= 0 for shares in held)
    [(state,)] = rows(folder, "SELECT state FROM stops")
    assert state == StopState.SUCCEEDED
    assert rows(folder, "SELECT count(*) FROM open_orders") == [(0,)]
