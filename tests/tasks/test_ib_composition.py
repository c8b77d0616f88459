"""What the connection tells people, and that nobody pays for it who trades elsewhere."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from tasks.ib_composition import Alerts
from trading.interactive_brokers.episodes import Alert, EpisodeKind
from trading.risk_events import RiskEvent, RiskEventHandler, RiskEventKind

AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)


def lost(subject: str = "", is_over: bool = False) -> Alert:
    return Alert(EpisodeKind.LINE_LOST, subject, "The line is lost.", AT, is_over)


def test_alerts_are_kept_for_the_session_and_end_with_it() -> None:
    heard: list[RiskEvent] = []
    events = RiskEventHandler()
    events.subscribe(heard.append)
    alerts = Alerts()
    alerts.tell(lost("before there was a session"))
    alerts.carry(events, "a-session")
    alerts.tell(lost("in its course", is_over=True))
    alerts.leave()
    alerts.tell(lost("after it"))
    assert events.drain()
    events.close()
    assert [(event.kind, event.session_id, event.at, dict(event.facts)) for event in heard] == [
        (
            RiskEventKind.BROKER_LINE,
            "a-session",
            AT,
            {"episode": "line_lost", "subject": subject, "is_over": is_over},
        )
        for subject, is_over in (("before there was a session", False), ("in its course", True))
    ]


def test_a_session_elsewhere_imports_nothing_of_interactive_brokers() -> None:
    look = "import sys, tasks.composition; print([n for n in sys.modules if n.startswith(('ib_insync', 'trading.interactive_brokers'))])"
    done = subprocess.run(
        [sys.executable, "-c", look],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "[]\n"
