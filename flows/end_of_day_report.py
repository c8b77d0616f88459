"""The flow that closes a trading day: what it came to, what is left of it, and what was never brought to an end."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from tasks.appointment import wanted_by_schedule
from tasks.day_report import days_to_report, sentence_of
from tasks.end_of_day_steps import end_session, find_missed_days, find_unfinished, publish_day, report_day
from trading.errors import ClosedDay, OpenbellError
from trading.settings import Settings

_DEFAULTS = Settings()


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    days = [str(day) for day in (parameters["first_date"], parameters["last_date"]) if day is not None]
    return f"end of {' to '.join(days) or 'the day'}"


@flow(name="end-of-day-report", flow_run_name=_run_name, persist_result=False, retries=0)
def end_of_day_report(
    settings: Settings = _DEFAULTS,
    first_date: date | None = None,
    last_date: date | None = None,
    catch_up: bool = True,
    look_back_days: Annotated[int, Field(ge=0, le=60)] = 7,
    wait_minutes: Annotated[float, Field(ge=0, le=120)] = 5.0,
) -> dict[str, Any] | State[Any]:
    """Report a day from the ledger alone: each session with its charts, what was left open, what was not traded and why.

    Args:
        settings: Where the ledger is, its exchange, and the way to the broker that is asked about unfinished sessions.
        first_date: The first exchange date; empty means, in a run that a schedule made, the day it was scheduled for, and elsewhere the
            newest session that has begun.
        last_date: The last exchange date; empty means the first. At most a year later.
        catch_up: End sessions whose process died without a word, after comparing their accounts with the broker, and report days that no
            report was made of. Nothing is repaired, and no session that somebody trades is touched.
        look_back_days: How many days before the first one are looked through for missing reports.
        wait_minutes: How long to wait for the database, to end a session, while another one holds it.
    """
    try:
        days = days_to_report(settings.session.exchange, wanted_by_schedule(), datetime.now(UTC), first_date, last_date)
        unfinished = find_unfinished(settings, days[-1].session_date) if catch_up else []
        ended = [end_session(settings, session_id, 60.0 * wait_minutes) for session_id in unfinished]
        missed = find_missed_days(settings, days[0].session_date, look_back_days) if catch_up else []
        reports = [report_day(settings, hours) for hours in (*missed, *days)]
    except ClosedDay as closed:
        return Completed(name="ClosedDay", message=str(closed), data=closed)
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    meant = {hours.session_date for hours in days}
    told = [report for report in reports if report.pages or report.not_traded or report.day in meant]
    for report in told:
        publish_day(settings, report, ended if report.day == days[-1].session_date else [])
    answer = {
        "days": [report.day for report in told],
        "sessions": [page.summary.session_id for report in told for page in report.pages],
        "not_traded": [words for report in told for words in report.not_traded],
        "ended": [one.session_id for one in ended if one.is_ended],
        "left": [one.message for one in ended if not one.is_ended],
    }
    return Completed(message=" ".join(map(sentence_of, told)), data=answer)
