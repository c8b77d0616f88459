"""The lines that a person sees while a session runs."""

from datetime import UTC, date, datetime

import pytest

from deployments.terminal.alerts import AlertLines
from trading.calendar import TradingCalendar
from trading.risk_events import RiskEvent, RiskEventKind

DAY = date(2026, 1, 5)


def test_an_alert_is_a_line_with_its_time_at_the_exchange(capsys: pytest.CaptureFixture[str]) -> None:
    lines = AlertLines(TradingCalendar("XNYS", DAY).hours(DAY))
    for minute, over in ((5, False), (7, True)):
        at = datetime(2026, 1, 5, 15, minute, tzinfo=UTC)
        message = "The line is back." if over else "The line is lost."
        lines.show(RiskEvent(RiskEventKind.BROKER_LINE, "a-session", at, message, facts={"is_over": over}))
    assert capsys.readouterr() == ("", "10:05:00 The line is lost.\n10:07:00 The line is back.\n")
