"""Loading history as Prefect tasks: the plan, one run for each session of a symbol, and what a person finds of it.

Only silence is asked again: a source that gave no answer. What was stored is not stored twice.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from tasks.history_loading import LoadedSession, LoadingPlan, load_session, plan_loading
from tasks.history_page import difference_rows, page_of, session_rows
from tasks.run_record import API_ERRORS
from trading.bar_gaps import SessionGap
from trading.errors import BrokerUnavailable
from trading.past_bars import PastBars
from trading.settings import Settings


def _gave_no_answer(_task: Any, _run: Any, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), BrokerUnavailable)


@task(name="find-gaps", task_run_name="find gaps", cache_policy=NO_CACHE, persist_result=False, retries=0)
def find_gaps(
    settings: Settings,
    source: PastBars,
    symbols: Sequence[str],
    days: int,
    until: date | None,
    compare: bool,
    ask_again: bool,
) -> LoadingPlan:
    """Look through the stored bars. Only reads, also while a session holds the database."""
    plan = plan_loading(settings, source, symbols, days, until, compare, ask_again)
    get_run_logger().info(
        "source=%s first=%s last=%s sessions=%d wanted=%d not_traded=%d",
        source.name,
        plan.first,
        plan.last,
        plan.sessions,
        len(plan.wanted),
        len(plan.not_traded),
    )
    return plan


@task(
    name="load-session",
    task_run_name="{gap.label}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=_gave_no_answer,
)
def load_gap(
    settings: Settings, source: PastBars, gap: SessionGap, replace: bool, wait_seconds: float
) -> LoadedSession:
    """Ask for one symbol's session and store what is missing. Safe to repeat: a bar is stored once."""
    loaded = load_session(settings, source, gap, replace, wait_seconds)
    get_run_logger().info(
        "symbol=%s session=%s missing=%d loaded=%d still_missing=%d differing=%d findings=%s %s",
        gap.symbol,
        gap.hours.session_date,
        gap.missing,
        loaded.loaded,
        loaded.still_missing,
        len(loaded.differing),
        loaded.findings,
        loaded.note,
    )
    return loaded


@task(name="publish-history", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_history(answer: Mapping[str, Any]) -> None:
    """Put what was missing, loaded and is still missing where a person looks."""
    try:
        create_markdown_artifact(page_of(answer), key="load-history", description="What was missing, and what is")
        if answer["by_session"]:
            create_table_artifact(
                session_rows(answer), key="load-history-sessions", description="Each session that was asked for"
            )
        if answer["differences"]:
            create_table_artifact(
                difference_rows(answer),
                key="load-history-differences",
                description="Bars that are stored with other values than they come with",
            )
    except API_ERRORS as error:
        get_run_logger().warning("history not published: %s", error)
