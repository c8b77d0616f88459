"""For when a schedule wanted the flow run that is running: which day a session is for hangs on that, never on when it came to run."""

from datetime import datetime

from prefect import runtime
from prefect.context import FlowRunContext

from trading.calendar import TradingCalendar


def wanted_by_schedule() -> datetime | None:
    """When the schedule that made this run wanted it to start; None for a run that a person or an automation made.

    The time stays what it was when a late run is started by hand, run again or taken up after an outage.
    """
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    return run.expected_start_time if run is not None and run.auto_scheduled else None


def day_in_words(exchange: str) -> str:
    """The day that the running flow run is for where it names none: the one that its schedule wanted, else "next session"."""
    if "auto-scheduled" not in runtime.flow_run.tags:
        return "next session"
    wanted_at = runtime.flow_run.scheduled_start_time
    return TradingCalendar(exchange, wanted_at.date()).exchange_date(wanted_at).isoformat()
