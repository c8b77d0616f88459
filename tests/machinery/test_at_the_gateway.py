"""Cancelled while an account at Interactive Brokers is traded: flattened, before the bell, and while the broker is silent.

Behind `make machinery`: each waits for a gateway and a broker's patience.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.environ.get("OPENBELL_TESTS") != "long", reason="make machinery")

Stack = Place = Any
Gateway = Any
Start = Callable[..., Gateway]
SECONDS_UNTIL_NOTHING_WORKS = 15.0


def document(place: Place, gateway: Gateway) -> dict[str, Any]:
    """Buys on its first bar, and is to be flat when it is cancelled."""
    return {
        "broker": {"kind": "ib", "ib": {"port": gateway.port}},
        "policy": {"name": "buy_and_hold"},
        "stopping": {"flatten_on_cancel": True},
        "store": {"path": str(place.ledger)},
    }


def stands(place: Place, state: str) -> bool:
    """Whether the ledger has the session so; one that is just let go of tells nobody anything."""
    with suppress(Exception):
        return bool(place.state() == state)
    return False


def shares_held(gateway: Gateway) -> int:
    accounts = gateway.book()["accounts"].values()
    return sum(abs(int(one["quantity"])) for account in accounts for one in account["positions"].values())


def test_a_cancelled_session_is_flat_at_the_broker(
    stack: Stack, place: Place, start_gateway: Start, record_property: Callable[[str, Any], None]
) -> None:
    with start_gateway("--speed", 60, "--start", "14:00", "--wait-for-client", running=True) as gateway:
        run = stack.start_run(document(place, gateway), session_date=None)
        stack.until(lambda: shares_held(gateway) > 0, "something is held")
        began = time.monotonic()
        stack.set_state(run, "CANCELLING")
        stack.until(lambda: shares_held(gateway) == 0 and stands(place, "STOPPED"), "it is flat")
        seconds = time.monotonic() - began
        record_property("cancel_to_flat_seconds", round(seconds, 1))
        assert seconds < SECONDS_UNTIL_NOTHING_WORKS
        assert stack.ended(run)["type"] == "CANCELLED"
        assert place.asked("SELECT state, flatten FROM stops") == [("SUCCEEDED", True)]


def test_a_session_that_waits_for_the_bell_can_be_cancelled(
    stack: Stack, place: Place, start_gateway: Start, record_property: Callable[[str, Any], None]
) -> None:
    with start_gateway("--speed", 1, "--start", "09:00", "--wait-for-client", running=True) as gateway:
        run = stack.start_run(document(place, gateway), session_date=None)
        stack.until(lambda: stands(place, "RUNNING"), "it waits")
        began = time.monotonic()
        stack.set_state(run, "CANCELLING")
        stack.until(lambda: stands(place, "STOPPED"), "the session has stopped")
        seconds = time.monotonic() - began
        record_property("cancel_before_the_bell_seconds", round(seconds, 1))
        assert seconds < SECONDS_UNTIL_NOTHING_WORKS
        assert stack.ended(run)["type"] == "CANCELLED"
        assert place.asked("SELECT state, last_bar_time FROM sessions") == [("STOPPED", None)]
        assert gateway.book()["orders"] == []


def test_a_session_whose_broker_is_silent_ends_all_the_same_and_raises_the_alarm(
    stack: Stack, place: Place, start_gateway: Start, record_property: Callable[[str, Any], None]
) -> None:
    with start_gateway("--speed", 60, "--start", "14:00", "--wait-for-client", running=True) as gateway:
        run = stack.start_run(document(place, gateway), session_date=None)
        stack.until(lambda: shares_held(gateway) > 0, "something is held")
        gateway.freeze()
        began = time.monotonic()
        stack.set_state(run, "CANCELLING")
        stack.until(lambda: stands(place, "STOPPED"), "the session has stopped")
        seconds = time.monotonic() - began
        record_property("cancel_with_a_silent_broker_seconds", round(seconds, 1))
        # The run is cancelled, and what stands in the ledger is that nobody knows what is held.
        assert stack.ended(run)["type"] in ("CANCELLED", "CRASHED")
        assert place.asked("SELECT state FROM stops") == [("ALARM",)]
        stack.until(lambda: stack.is_told("ALARM"), "somebody is told")
        assert seconds < 30.0
