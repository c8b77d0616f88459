import asyncio
import threading

import pytest

from trading.errors import HookMayNotTrade
from trading.hooks import Happening, HookEvent, Observers, observing_sessions, refuse_inside_hook, session_observers


def happening(event: str = "trade_executed") -> Happening:
    return Happening(event, "s", None)


def test_the_events_are_those_that_were_promised() -> None:
    promised = {
        "trading_started",
        "trading_stopped",
        "action_generated",
        "trade_blocked",
        "order_too_small",
        "trade_executed",
        "trade_error",
    }
    assert promised <= {str(event) for event in HookEvent}


def test_several_callbacks_hear_an_event_in_the_order_of_registration() -> None:
    heard: list[str] = []

    async def later(told: Happening) -> None:
        await asyncio.sleep(0)
        heard.append(f"async {told.event}")

    observers = Observers()
    observers.register("trade_executed", lambda told: heard.append(f"first {told.event}"))
    observers.register("trade_executed", later)
    observers.register("trade_executed", lambda told: heard.append(f"last {told.event}"))
    observers.register("trade_error", lambda told: heard.append(f"other {told.event}"))
    observers.emit(happening())
    observers.close()
    assert heard == ["first trade_executed", "async trade_executed", "last trade_executed"]


def test_nobody_is_told_what_nobody_asked_for() -> None:
    observers = Observers()
    assert not observers.wants("trade_executed")
    observers.emit(happening())
    assert observers.drain()
    observers.close()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("failure", [ValueError("no"), asyncio.CancelledError(), SystemExit(1)])
def test_a_failing_observer_harms_no_other(failure: BaseException, asynchronous: bool) -> None:
    heard: list[str] = []

    def fail(told: Happening) -> None:
        heard.append(told.event)
        raise failure

    async def fail_later(told: Happening) -> None:
        fail(told)

    observers = Observers()
    observers.register("trade_executed", fail_later if asynchronous else fail)
    observers.register("trade_executed", lambda _: heard.append("second"))
    for _ in range(2):
        observers.emit(happening())
    observers.close()
    assert heard == ["trade_executed", "second"] * 2


def test_a_slow_observer_holds_up_nobody_and_its_backlog_is_bounded() -> None:
    release, begun = threading.Event(), threading.Event()

    def slow(_: Happening) -> None:
        begun.set()
        release.wait(10)

    observers = Observers()
    observers.register("trade_executed", slow)
    observers.emit(happening())
    assert begun.wait(5)
    # Ten thousand events wait; what comes on top is counted and not kept. None of it waits for the observer.
    for _ in range(10_005):
        observers.emit(happening())
    assert observers.dropped == 5
    assert not observers.drain(timeout_seconds=0.01)
    release.set()
    observers.close()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_observer_is_recognized_wherever_it_acts(asynchronous: bool) -> None:
    refused: list[str] = []

    def act(_: Happening) -> None:
        try:
            refuse_inside_hook("an order")
        except HookMayNotTrade as error:
            refused.append(str(error))

    async def act_later(told: Happening) -> None:
        act(told)
        # A task, and a thread that the coroutine starts, are still the observer.
        await asyncio.create_task(asyncio.to_thread(act, told))

    observers = Observers()
    observers.register("trade_executed", act_later if asynchronous else act)
    observers.emit(happening())
    observers.close()
    assert refused == ["an order was asked for inside a hook. Hooks observe; let the policy decide instead."] * (
        2 if asynchronous else 1
    )
    refuse_inside_hook("an order by whoever is no observer")


def test_observers_go_on_after_they_were_closed() -> None:
    heard: list[str] = []
    observers = Observers()
    observers.register("trade_executed", lambda told: heard.append(told.event))
    for _ in range(2):
        observers.emit(happening())
        observers.close()
    observers.close()
    assert len(heard) == 2


def test_sessions_that_start_inside_the_with_are_observed() -> None:
    heard: list[str] = []
    with (
        observing_sessions({"trade_executed": lambda _: heard.append("outer")}),
        observing_sessions({"trade_executed": lambda _: heard.append("inner")}),
    ):
        inside = session_observers()
    outside = session_observers()
    for observers in (inside, outside):
        observers.emit(happening())
        observers.close()
    assert heard == ["outer", "inner"]
