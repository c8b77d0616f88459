"""The end of a day as Prefect tasks: sessions that nobody closed, the day's report, and what Prefect knows of sessions that never were.

Nothing is retried by Prefect: a ledger that is held is waited for, and a report can be made again at any time.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from prefect import runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import emit_event
from prefect.logging import get_run_logger

from tasks.day_report import DayReport, day_page, days_before, report_of_day
from tasks.run_record import API_ERRORS
from tasks.scheduled_strategies import scheduled_strategies
from tasks.session_publishing import artifact_key, artifact_name
from tasks.unfinished_sessions import EndedSession, end_unfinished, unfinished_sessions
from trading.settings import Settings
from trading.trading_hours import TradingHours

_API_SECONDS = 5.0
_NOT_SAID = "Prefect did not say which sessions were scheduled, and whether they ran."


@task(name="find-unfinished", task_run_name="find unfinished", cache_policy=NO_CACHE, persist_result=False, retries=0)
def find_unfinished(settings: Settings, until: date) -> list[str]:
    """Sessions that the ledger has as running and that nobody trades."""
    found = unfinished_sessions(settings, until, datetime.now(UTC))
    get_run_logger().info("unfinished=%s", found)
    return found


@task(name="end-session", task_run_name="end {session_id}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def end_session(settings: Settings, session_id: str, wait_seconds: float) -> EndedSession:
    """Compare the session's account with its broker, write its end, and tell."""
    ended = end_unfinished(settings, session_id, wait_seconds, datetime.now(UTC))
    get_run_logger().warning("session_id=%s ended=%s %s", session_id, ended.is_ended, ended.message)
    _tell(ended)
    return ended


@task(name="find-missed-days", task_run_name="find missed days", cache_policy=NO_CACHE, persist_result=False, retries=0)
def find_missed_days(settings: Settings, day: date, look_back_days: int) -> list[TradingHours]:
    """Days before ``day`` of which no report was published; none where Prefect does not say."""
    earlier = days_before(settings.session.exchange, day, look_back_days)
    keys = {day_key(settings, hours.session_date): hours for hours in earlier}
    try:
        with _client() as client:
            question = {"artifacts": {"key": {"any_": list(keys)}}}
            told = client.request("POST", "/artifacts/latest/filter", json=question).json() if keys else []
    except API_ERRORS as error:
        get_run_logger().warning("missed days not looked for: %s", error)
        return []
    known = {one["key"] for one in told}
    return [hours for key, hours in keys.items() if key not in known]


@task(
    name="report-day",
    task_run_name="report {hours.session_date}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=0,
)
def report_day(settings: Settings, hours: TradingHours) -> DayReport:
    """The day's sessions from the ledger, and those that should have been."""
    report = report_of_day(settings, hours)
    traded = {page.strategy for page in report.pages}
    report = replace(report, not_traded=tuple(_not_traded(settings, hours, traded)))
    get_run_logger().info("day=%s sessions=%d not_traded=%d", report.day, len(report.pages), len(report.not_traded))
    return report


@task(name="publish-day", task_run_name="publish {report.day}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_day(settings: Settings, report: DayReport, ended: Sequence[EndedSession]) -> None:
    """Put the day, and each of its sessions, where a person looks."""
    try:
        for page in report.pages:
            create_markdown_artifact(
                page.page,
                key=artifact_key(page.summary.session_id),
                description="What was traded, what was refused and why, what did not reconcile",
            )
        # Last: a day without it is missed, and reported again.
        create_markdown_artifact(
            day_page(report, ended),
            key=day_key(settings, report.day),
            description="What the day came to, and what is left of it",
        )
    except API_ERRORS as error:
        get_run_logger().warning("day=%s not published: %s", report.day, error)


def _not_traded(settings: Settings, hours: TradingHours, traded: set[str]) -> list[str]:
    """Of each strategy that a schedule should have traded and that has no session: what became of its run, in words."""
    try:
        with _client() as client:
            missing = [
                (one, theirs.strategy)
                for one, theirs in scheduled_strategies(client, settings)
                if theirs.strategy not in traded and one.created is not None and one.created < hours.opens_at
            ]
            found = [
                (one, strategy, _runs_on(client, one, hours))
                for one, strategy in sorted(missing, key=lambda pair: pair[1])
            ]
    except API_ERRORS as error:
        get_run_logger().warning("day=%s scheduled sessions not looked for: %s", hours.session_date, error)
        return [_NOT_SAID]
    # A strategy that is named by its bundle has another name in the ledger: what its run says counts.
    return [
        f"not traded: {strategy} (deployment {one.name}); {_what_became(runs)}"
        for one, strategy, runs in found
        if not any(name == "Completed" for name, _ in runs)
    ]


def _runs_on(client: SyncPrefectClient, one: DeploymentResponse, hours: TradingHours) -> list[tuple[str, str]]:
    """State and message of the deployment's runs that were wanted on the session's date, the newest last."""
    midnight = hours.local(hours.opens_at).replace(hour=0, minute=0, second=0, microsecond=0)
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[one.id]),
            expected_start_time=FlowRunFilterExpectedStartTime(
                after_=midnight.astimezone(UTC), before_=(midnight + timedelta(days=1)).astimezone(UTC)
            ),
        ),
        limit=20,
    )
    ordered = sorted(runs, key=lambda run: str(run.expected_start_time))
    return [(run.state.name or "", run.state.message or "") for run in ordered if run.state is not None]


def _what_became(runs: Sequence[tuple[str, str]]) -> str:
    if not runs:
        return "no run was made: see whether its schedule and Prefect's server were up"
    name, message = runs[-1]
    return f"its run is {name}{f': {message}' if message else ''}"


def _tell(ended: EndedSession) -> None:
    """``openbell.health.unfinished_session``; an event that Prefect does not take costs nothing."""
    run = runtime.flow_run.id
    emit_event(
        event="openbell.health.unfinished_session",
        resource={
            "prefect.resource.id": f"openbell.session.{ended.session_id}",
            "prefect.resource.name": ended.session_id,
            "openbell.health.subject": "other",
            # Alerts are told once in a window for each of these.
            "openbell.health.check": f"unfinished_session {ended.session_id}",
        },
        related=[{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}]
        if run
        else [],
        payload={
            "message": ended.message,
            "remedy": ended.remedy,
            "level": "bad",
            "subject": "unfinished_session",
            "session_id": ended.session_id,
        },
    )


def day_key(settings: Settings, day: date) -> str:
    """The key of a day's page: with the strategy's name where that was given one, as those of several strategies have a ledger each,
    and a day that was reported of one may be missed of another."""
    own = settings.session.strategy
    return artifact_name(f"end-of-day-{day.isoformat()}" + (f"-{own}" if own is not None else ""))


def _client() -> Any:
    return get_client(httpx_settings={"timeout": _API_SECONDS}, sync_client=True)
