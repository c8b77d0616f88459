"""The machine loses its power: server, worker and session are gone at once, and the run says Running still.

Behind `make machinery`: a run is silent for a while before it counts as dead.
"""

import os
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.skipif(os.environ.get("OPENBELL_TESTS") != "long", reason="make machinery")

Stack = Place = Any
SECONDS_UNTIL_IT_COUNTS_AS_DEAD = 300.0
"""The stack's ``no_heartbeat_minutes`` and some."""


def test_after_a_reboot_the_session_goes_on_when_it_is_started_and_the_lost_run_is_marked(
    stack: Stack, place: Place, equal_to_undisturbed: Callable[[Place], None]
) -> None:
    lost = stack.start_run(place.document(120))
    stack.until(lambda: place.orders_at_the_broker() >= 3, "it trades")
    # The run began less than five minutes before the restart: of its end the new server tells at once all the same.
    heartbeat = {
        "filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{lost}"]}}
    }
    stack.until(lambda: stack.asked("POST", "/events/filter", heartbeat)["total"] > 0, "its heartbeat is written down")
    stack.kill()
    with pytest.raises(httpx.TransportError):
        stack.client.get("/health")
    stack.start()
    assert stack.state_of(lost)["type"] == "RUNNING"
    assert place.state() == "RUNNING"

    # Quick run in the UI: nothing of the lost run is in its way.
    again = stack.start_run(place.document("max"))
    assert stack.ended(again)["type"] == "COMPLETED"
    equal_to_undisturbed(place)

    state = stack.ended(lost, SECONDS_UNTIL_IT_COUNTS_AS_DEAD)
    assert (state["type"], state["message"].split(":")[0]) == ("CRASHED", "No heartbeat came from the run")
    stack.until(lambda: stack.is_told("no heartbeat"), "somebody is told")
