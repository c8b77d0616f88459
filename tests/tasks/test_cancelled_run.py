"""A run that hears for itself that it was cancelled, and a stop that no second signal interrupts."""

import signal
import time
from collections.abc import Callable

import httpx
import pytest
from prefect.exceptions import TerminationSignal
from prefect.utilities.engine import capture_sigterm

from tasks.cancelled_run import Cancellation, undisturbed_by_signals


def trades_for(seconds: float, was_cancelled: Callable[[], bool], workers_turn_seconds: float = 0.05) -> Cancellation:
    """A run that does something for so long, as Prefect's engine has it; ended early where it was told to."""
    with capture_sigterm():
        cancellation = Cancellation(was_cancelled, 0.01, workers_turn_seconds)
        try:
            with cancellation:
                time.sleep(seconds)
        except TerminationSignal:
            assert cancellation.ended_here
        return cancellation


def test_a_run_that_nobody_ends_after_it_was_cancelled_ends_itself() -> None:
    began = time.monotonic()
    assert trades_for(30.0, lambda: True).ended_here
    assert time.monotonic() - began < 20.0


def test_a_run_that_is_not_cancelled_or_ends_in_its_workers_turn_is_left_alone() -> None:
    assert not trades_for(0.2, lambda: False).ended_here
    assert not trades_for(0.2, lambda: True, workers_turn_seconds=60.0).ended_here


def test_a_server_that_is_away_has_cancelled_nothing() -> None:
    asked = []

    def ask() -> bool:
        asked.append(1)
        raise httpx.ConnectError("nobody there")

    assert not trades_for(0.3, ask).ended_here
    assert len(asked) > 1


def test_a_proxy_that_answers_in_the_servers_place_is_asked_again() -> None:
    answers = iter([ValueError("a page of HTML"), KeyError("state")])

    def ask() -> bool:
        for error in answers:
            raise error
        return True

    assert trades_for(30.0, ask).ended_here


def test_a_second_signal_does_not_interrupt_a_stop() -> None:
    with capture_sigterm():
        with undisturbed_by_signals():
            signal.raise_signal(signal.SIGTERM)
        # What came meanwhile is not made up for; the next one is heard again.
        with pytest.raises(TerminationSignal):
            signal.raise_signal(signal.SIGTERM)
