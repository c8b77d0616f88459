import threading
import time
from datetime import UTC, datetime

import pytest

from trading.decisions import RiskCheck, Verdict
from trading.errors import HookMayNotTrade
from trading.hooks import refuse_inside_hook
from trading.risk_events import RiskEvent, RiskEventHandler, RiskEventKind, hearing_sessions, session_risk_events

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
LONG_SECONDS = 30.0


def a_check(verdict: Verdict, rule: str = "halted") -> RiskCheck:
    return RiskCheck("s", AT, "SPY", "o", rule, verdict, "because", None, None)


def an_event(message: str = "", kind: RiskEventKind = RiskEventKind.HALTED) -> RiskEvent:
    return RiskEvent(kind, "s", AT, message)


@pytest.fixture
def handler():
    made = RiskEventHandler()
    yield made
    made.close()


def test_each_verdict_is_told_as_its_kind(handler) -> None:
    heard: list[RiskEvent] = []
    handler.subscribe(heard.append)
    checks = [a_check(verdict) for verdict in Verdict]
    handler.emit_checks(checks)
    assert handler.drain()
    assert [event.kind for event in heard] == ["trimmed", "refused", "halted", "flattened", "alarm"]
    assert [event.check for event in heard] == checks
    assert {(event.session_id, event.at, event.message) for event in heard} == {("s", AT, "because")}


def test_subscribers_hear_the_kinds_they_asked_for_in_their_order(handler) -> None:
    everything: list[RiskEvent] = []
    halts: list[RiskEvent] = []
    handler.subscribe(everything.append)
    handler.subscribe(halts.append, [RiskEventKind.HALTED, RiskEventKind.RESUMED])
    told = [RiskEventKind.RESUMED, RiskEventKind.ALARM, RiskEventKind.HALTED, RiskEventKind.CLOSING]
    for number, kind in enumerate(told):
        handler.emit(an_event(str(number), kind))
    assert handler.drain()
    assert [event.kind for event in everything] == told
    assert [(event.kind, event.message) for event in halts] == [("resumed", "0"), ("halted", "2")]


def test_nothing_is_made_for_nobody(handler) -> None:
    assert not any(handler.wants(kind) for kind in RiskEventKind)
    handler.emit(an_event())
    handler.emit_checks([a_check(Verdict.HALTED)])
    handler.subscribe(lambda _: None, [RiskEventKind.ALARM])
    assert [kind for kind in RiskEventKind if handler.wants(kind)] == ["alarm"]
    handler.subscribe(lambda _: None, [RiskEventKind.HALTED])
    assert [kind for kind in RiskEventKind if handler.wants(kind)] == ["halted", "alarm"]
    assert handler.drain()


def test_a_handler_that_sleeps_delays_neither_the_caller_nor_another_handler(handler) -> None:
    wake = threading.Event()
    slept: list[str] = []
    heard: list[str] = []

    def sleep(event: RiskEvent) -> None:
        wake.wait(LONG_SECONDS)
        slept.append(event.message)

    handler.subscribe(sleep)
    handler.subscribe(lambda event: heard.append(event.message))
    before = time.monotonic()
    for number in range(100):
        handler.emit(an_event(str(number)))
    assert time.monotonic() - before < LONG_SECONDS / 10
    deadline = time.monotonic() + LONG_SECONDS / 2
    while len(heard) < 100 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert heard == [str(number) for number in range(100)]
    assert slept == []
    # Who waits for all of them learns that one was too slow.
    assert not handler.drain(0.05)
    wake.set()
    assert handler.drain()
    assert slept == heard


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)])
def test_a_handler_that_raises_goes_on_and_leaves_the_others_alone(handler, error: BaseException) -> None:
    asked: list[str] = []
    heard: list[str] = []

    def fail(event: RiskEvent) -> None:
        asked.append(event.message)
        raise error

    handler.subscribe(fail)
    handler.subscribe(lambda event: heard.append(event.message))
    for message in ("a", "b"):
        handler.emit(an_event(message))
    assert handler.drain()
    assert asked == heard == ["a", "b"]


def test_each_handler_has_a_thread_of_its_own_and_may_not_trade(handler) -> None:
    threads: list[str] = []
    refused: list[bool] = []

    def trade(event: RiskEvent) -> None:
        del event
        threads.append(str(threading.get_ident()))
        try:
            refuse_inside_hook("an order")
        except HookMayNotTrade:
            refused.append(True)

    handler.subscribe(trade)
    handler.subscribe(trade)
    handler.emit(an_event())
    assert handler.drain()
    assert refused == [True, True]
    assert len({*threads, str(threading.get_ident())}) == 3


def test_a_closed_handler_has_told_everything() -> None:
    handler = RiskEventHandler()
    heard: list[str] = []
    handler.subscribe(lambda event: heard.append(event.message))
    for number in range(50):
        handler.emit(an_event(str(number)))
    handler.close()
    assert len(heard) == 50
    handler.close()


def test_closing_waits_only_so_long_for_a_handler_that_hangs() -> None:
    handler = RiskEventHandler()
    wake = threading.Event()
    handler.subscribe(lambda _: wake.wait(LONG_SECONDS) and None)
    handler.emit(an_event())
    before = time.monotonic()
    handler.close(0.05)
    assert time.monotonic() - before < LONG_SECONDS / 10
    wake.set()


def test_who_starts_a_session_elsewhere_hears_what_was_asked_for() -> None:
    heard: list[str] = []

    def hear(event: RiskEvent) -> None:
        heard.append(event.message)

    def tell(events: RiskEventHandler, kind: RiskEventKind) -> None:
        events.emit(RiskEvent(kind, "a-session", datetime(2026, 1, 5, 15, tzinfo=UTC), f"told of {kind}"))

    with hearing_sessions(hear, [RiskEventKind.BROKER_LINE]):
        inside = session_risk_events()
    outside = session_risk_events()
    for events in (inside, outside):
        tell(events, RiskEventKind.BROKER_LINE)
        tell(events, RiskEventKind.TRIMMED)
        events.close()
    assert heard == ["told of broker_line"]
