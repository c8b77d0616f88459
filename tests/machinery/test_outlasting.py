"""Worker and server are killed at once while a session trades. Behind `make machinery`: a server takes its time to come back."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.environ.get("OPENBELL_TESTS") != "long", reason="make machinery")

Stack = Place = Any
Same = Callable[[Place], None]
PROCESSES = {"worker": "prefect worker start", "server": "patient_server"}
"""How they are known by their commands."""
SOME_SECONDS = 3_000.0
"""Times real time: a bar takes 0.2 seconds, the session 8."""


def test_a_session_outlasts_its_worker_and_its_server_and_its_run_ends_well(
    stack: Stack, place: Place, equal_to_undisturbed: Same
) -> None:
    run = stack.start_run(place.document(SOME_SECONDS))
    stack.until(lambda: place.orders_at_the_broker() >= 3, "it trades")
    session = stack.pid_of(run)
    killed = {name: stack.pids(words) for name, words in PROCESSES.items()}
    assert all(killed.values())
    for pid in (pid for pids in killed.values() for pid in pids):
        os.kill(pid, signal.SIGKILL)
    assert os.path.exists(f"/proc/{session}")
    # It has traded to its close before anybody of them is back, or soon after, and tells it when it can.
    assert stack.ended(run)["type"] == "COMPLETED"
    for name, pids in killed.items():
        stack.until(lambda name=name, pids=pids: set(stack.pids(PROCESSES[name])) - set(pids), f"another {name}")
    # Nobody has started it a second time.
    assert stack.asked("GET", f"/flow_runs/{run}")["run_count"] == 1
    assert place.asked("SELECT fence FROM session_leases") == [(1,)]
    equal_to_undisturbed(place)
