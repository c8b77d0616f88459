"""docs/events.md against a real server: each event that a session tells is a line of its table, with what its payload has."""

import re
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client

from tasks.session_events import SessionEvents, SessionNews
from trading.differences import Discrepancy, DiscrepancyKind, Reconciliation
from trading.errors import ClosedDay, Halted, StoppedEarly
from trading.hooks import Happening, HookEvent
from trading.orders import Execution, Fill, OrderEvent, OrderStatus, Side
from trading.risk_events import RiskEvent, RiskEventKind
from trading.sessions import Mode, SessionRecord, SessionState, SessionSummary

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
DAY = date(2026, 1, 5)
ALWAYS = {"message", "remedy", "session_id"}
SECONDS_A_SERVER_MAY_TAKE = 30


def table() -> dict[str, set[str]]:
    """What the page says: names of events, and of what their payloads have."""
    found = {}
    for line in PAGE.splitlines():
        if line.startswith("| `openbell."):
            name, _, payload = (cell.strip(" |") for cell in line.split(" | "))
            found[name.strip("`")] = set(re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", payload)))
    return found


TABLE = table()


def tell_everything(events: SessionEvents, session: str) -> int:
    """One of each; how many."""
    zero = Decimal(0)
    execution = Execution("e1", "o1", "SPY", Side.BUY, 100, Decimal("101.5"), None, AT)
    found = Discrepancy(DiscrepancyKind.POSITION, "SPY", "100", "90", "Look at the broker's statement.", "SPY")
    record = SessionRecord(
        session, "flat", "paper", DAY, Mode.SYNTHETIC, SessionState.RUNNING, AT, "{}", "f", zero, zero
    )
    summary = SessionSummary(
        session,
        DAY,
        Mode.SYNTHETIC,
        SessionState.COMPLETED,
        390,
        390,
        1,
        1,
        zero,
        zero,
        zero,
        zero,
        False,
        0,
        "l.duckdb",
    )
    events.started(record, ("SPY",), "l.duckdb")
    events.completed(summary)
    for error in (ClosedDay("closed"), Halted("halted"), StoppedEarly("stopped"), KeyboardInterrupt()):
        events.ended(error)
    events.filled(
        Happening(HookEvent.TRADE_EXECUTED, session, AT, {"fill": Fill(execution, session, "paper", "paper")})
    )
    for status in (OrderStatus.REJECTED, OrderStatus.UNKNOWN):
        step = OrderEvent("o1", AT, status, "no reason")
        events.order_failed(Happening(HookEvent.TRADE_ERROR, session, AT, {"order_event": step, "error": ""}))
    compared = Reconciliation("paper", session, AT, "scheduled", (found,), (), (found,))
    for _ in range(2):  # told once, as long as it stands
        events.reconciled(Happening(HookEvent.RECONCILED, session, AT, {"reconciliation": compared}))
    events.risk(RiskEvent(RiskEventKind.RESUMED, session, AT, "a halt was cleared"))
    return 11


@pytest.mark.usefixtures("prefect_server")
def test_what_a_session_tells_is_what_the_page_says() -> None:
    session = f"2026-01-05.paper.{uuid4().hex}"
    events = SessionEvents(uuid4(), session)
    count = tell_everything(events, session)

    told = events_of(session, count)
    assert events.count == count
    for event in told:
        name = "openbell.risk.KIND" if event["event"].startswith("openbell.risk.") else event["event"]
        assert set(event["payload"]) - ALWAYS == TABLE[name], name
        assert set(event["payload"]) >= ALWAYS
        assert event["payload"]["message"]
    # Health is told by the health check.
    assert {event["event"].replace(".resumed", ".KIND") for event in told} == set(TABLE) - {"openbell.health.SUBJECT"}
    assert {f"openbell.session.{news}" for news in SessionNews} <= set(TABLE)


def events_of(session: str, count: int) -> list[dict[str, Any]]:
    """The session's events at the server, once all of them are there."""
    body = {"filter": {"resource": {"id": [f"openbell.session.{session}"]}}, "limit": 50}
    deadline = time.monotonic() + SECONDS_A_SERVER_MAY_TAKE
    with get_client(sync_client=True) as client:
        while True:
            found: list[dict[str, Any]] = client.request("POST", "/events/filter", json=body).json()["events"]
            if len(found) >= count:
                assert len(found) == count
                return found
            assert time.monotonic() < deadline, [event["event"] for event in found]
            time.sleep(0.2)
