"""The flow that looks every few minutes whether what should run does, and says so where it does not. It changes nothing."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import AwareDatetime

from tasks.health_checks import hours_to_look_in
from tasks.health_steps import look_at_ledger, look_at_runs, tell_of_health
from trading.checks import CheckState
from trading.settings import Settings

_DEFAULTS = Settings()


@flow(name="health-check", flow_run_name="health check", persist_result=False, retries=0)
def health_check(settings: Settings = _DEFAULTS, at: AwareDatetime | None = None) -> State[Any]:
    """Look at sessions, ledger, runs and machine while the exchange trades, and emit openbell.health.SUBJECT where one is not well.

    Args:
        settings: Whose sessions and ledger; the same as the session's.
        at: Judge as of this moment, to try what would be said; empty means now.
    """
    now = at or datetime.now(UTC)
    hours = hours_to_look_in(settings, now)
    if isinstance(hours, str):
        return Completed(name="Closed", message=hours)
    expected, of_runs = look_at_runs(settings)
    looked = [*of_runs, *look_at_ledger(settings, hours, expected, now)]
    tell_of_health(looked)
    unwell = [one.check for one in looked if one.check.state is not CheckState.OK]
    # Completed all the same: the look was taken, and what it saw is told by its events.
    if unwell:
        return Completed(name="Unwell", message="; ".join(f"{check.subject}: {check.found}" for check in unwell))
    return Completed(name="Healthy", message=f"{len(looked)} things were looked at, and all are well.")
