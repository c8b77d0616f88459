"""Retried in the UI: after a crash it goes on, and after a cancel the halt stands. Behind `make machinery`."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.environ.get("OPENBELL_TESTS") != "long", reason="make machinery")

Stack = Place = Any
WAITING = {"orders": {"order_type": "LIMIT", "limit_offset_bps": -500, "time_in_force": "GTC"}}
"""Orders that lie in the market unfilled."""


def asked(place: Place, sql: str) -> list[tuple[Any, ...]]:
    """What the ledger says; nothing while it passes from one process to another."""
    with suppress(Exception):
        return list(place.asked(sql))
    return []


def test_a_killed_session_that_is_retried_is_that_of_an_undisturbed_one(
    stack: Stack, place: Place, equal_to_undisturbed: Callable[[Place], None]
) -> None:
    run = stack.start_run(place.document(1_500))
    stack.until(lambda: place.orders_at_the_broker() >= 3, "it trades")
    os.kill(stack.pid_of(run), signal.SIGKILL)
    assert stack.ended(run)["type"] == "CRASHED"
    # Prefect's worker says Crashed a second time some seconds later, and takes back a retry that came before; nothing tells when.
    time.sleep(15)
    stack.set_state(run, "SCHEDULED", "AwaitingRetry")
    stack.until(lambda: stack.state_of(run)["type"] == "COMPLETED", "it goes on to its close")
    equal_to_undisturbed(place)


def test_a_cancelled_session_that_is_retried_goes_on_under_its_halt(stack: Stack, place: Place) -> None:
    run = stack.start_run(place.document(200, policy={"name": "buy_and_hold"}, **WAITING))
    stack.until(lambda: asked(place, "SELECT 1 FROM open_orders WHERE status = 'ACCEPTED'"), "orders work")
    stack.set_state(run, "CANCELLING")
    assert stack.ended(run)["type"] == "CANCELLED"
    [(stopped_at,)] = place.asked("SELECT last_bar_time FROM sessions")

    stack.set_state(run, "SCHEDULED", "AwaitingRetry")
    further = f"SELECT 1 FROM sessions WHERE state = 'RUNNING' AND last_bar_time > '{stopped_at.isoformat()}'"
    stack.until(lambda: asked(place, further), "it goes on")
    assert asked(place, "SELECT DISTINCT status FROM orders") == [("CANCELLED",)]
    assert asked(place, "SELECT count(*) FROM halts WHERE cleared_at IS NULL") == [(1,)]
    stack.set_state(run, "CANCELLING")
    assert stack.ended(run)["type"] == "CANCELLED"
