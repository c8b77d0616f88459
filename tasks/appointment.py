"""For when a schedule wanted the flow run that is running: which day a session is for hangs on that, never on when it came to run."""

from datetime import datetime

from prefect.context import FlowRunContext


def wanted_by_schedule() -> datetime | None:
    """When the schedule that made this run wanted it to start; None for a run that a person or an automation made.

    The time stays what it was when a late run is started by hand, run again or taken up after an outage.
    """
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    return run.expected_start_time if run is not None and run.auto_scheduled else None
