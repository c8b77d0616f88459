import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, runtime
from prefect.client.orchestration import get_client

from tasks.risk_events import payload_of
from tasks.session_events import SessionEvents
from trading.decisions import RiskCheck, Verdict
from trading.risk_callbacks import RiskEvent, RiskEventKind

SECONDS_A_SERVER_MAY_TAKE = 30
AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
CHECK = RiskCheck(
    "s1", AT, "SPY", None, "max_daily_loss", Verdict.HALTED, "lost 1000", Decimal("1000.50"), Decimal(1000)
)
EVENT = RiskEvent(RiskEventKind.HALTED, "2026-01-05.paper.flat", AT, "lost 1000", CHECK)


def test_an_event_is_told_in_plain_values() -> None:
    told = json.loads(json.dumps(payload_of(EVENT)))
    assert told["at"] == "2026-01-05T15:00:00+00:00"
    assert (told["kind"], told["message"]) == ("halted", "lost 1000")
    assert (told["check"]["rule"], told["check"]["verdict"]) == ("max_daily_loss", "HALTED")
    assert (told["check"]["observed"], told["check"]["limit_value"]) == ("1000.50", "1000")
    assert payload_of(RiskEvent(RiskEventKind.EMERGENCY_STOP, "s", AT, "stopped"))["check"] is None


def found_soon(name: str) -> dict[str, Any]:
    """The one event of that name, once the server has written it down."""
    body = {"filter": {"event": {"name": [name]}, "resource": {"id": [f"openbell.session.{EVENT.session_id}"]}}}
    deadline = time.monotonic() + SECONDS_A_SERVER_MAY_TAKE
    with get_client(sync_client=True) as client:
        while True:
            events: list[dict[str, Any]] = client.request("POST", "/events/filter", json=body).json()["events"]
            if events:
                [event] = events
                return event
            assert time.monotonic() < deadline, "the event never came"
            time.sleep(0.2)


@pytest.mark.usefixtures("prefect_server")
def test_the_server_has_the_event_with_its_session_and_its_run() -> None:
    @flow
    def halting() -> str:
        SessionEvents(UUID(str(runtime.flow_run.id)), EVENT.session_id).risk(EVENT)
        return str(runtime.flow_run.id)

    run = halting()
    event = found_soon("openbell.risk.halted")
    assert event["resource"]["prefect.resource.id"] == "openbell.session.2026-01-05.paper.flat"
    assert event["payload"]["check"]["rule"] == "max_daily_loss"
    assert f"prefect.flow-run.{run}" in {one["prefect.resource.id"] for one in event["related"]}
