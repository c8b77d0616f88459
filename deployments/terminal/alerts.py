"""What a person at the terminal has to know while a session runs: a line each on stderr, with its time at the exchange."""

from rich.text import Text

from deployments.terminal.answer import aside
from trading.risk_events import RiskEvent, RiskEventKind
from trading.trading_hours import TradingHours

ALERTS = (RiskEventKind.BROKER_LINE, RiskEventKind.ALARM, RiskEventKind.LATE_START)


class AlertLines:
    """Writes events as they come, on the thread that brings them."""

    def __init__(self, hours: TradingHours) -> None:
        self._hours = hours

    def show(self, event: RiskEvent) -> None:
        """Write one line; what is over again is written dim."""
        style = "dim" if event.facts.get("is_over") else "yellow"
        aside().print(Text(f"{self._hours.local(event.at):%H:%M:%S} {event.message}", style=style))
