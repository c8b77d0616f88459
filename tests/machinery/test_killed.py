"""The session's process is killed without a word."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.environ.get("OPENBELL_TESTS") != "long", reason="make machinery")

Stack = Place = Any
Same = Callable[[Place], None]
SOME_SECONDS = 3_000.0
"""Times real time: a bar takes 0.2 seconds, the session 8."""


def test_a_killed_session_is_marked_told_compared_and_goes_on_when_it_is_started_again(
    stack: Stack, place: Place, equal_to_undisturbed: Same
) -> None:
    run = stack.start_run(place.document(SOME_SECONDS))
    stack.until(lambda: place.orders_at_the_broker() >= 3, "it trades")
    compared_before = len(stack.runs_of("reconciliation"))
    os.kill(stack.pid_of(run), signal.SIGKILL)
    assert stack.ended(run)["type"] == "CRASHED"
    place.wait_until_let_go()
    assert place.state() == "RUNNING"
    before = place.orders_at_the_broker()

    # "Quick run" in the UI: another run goes on after the last bar that was committed.
    again = stack.start_run(place.document(SOME_SECONDS))
    assert stack.ended(again)["type"] == "COMPLETED"
    assert place.orders_at_the_broker() > before
    equal_to_undisturbed(place)
    stack.until(lambda: stack.is_told("session crashed"), "somebody is told")
    stack.until(lambda: len(stack.runs_of("reconciliation")) > compared_before, "a comparison follows a crash")
