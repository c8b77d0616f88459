"""The flow that trades one session, from the opening bell to the close."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import UUID

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from tasks.closing_report import closing_report
from tasks.composition import Desk, assemble
from tasks.granularity import TaskPlan, plan_tasks
from tasks.run_record import RunReporter, reporting
from tasks.session_steps import (
    Chunk,
    assess,
    bar_label,
    decide,
    end_of_day_pnl,
    end_of_session,
    load_warmup,
    open_session,
    reconcile,
    route,
    trade_bar,
    trade_chunk,
    validate_bars,
)
from trading.errors import ClosedDay, OpenbellError
from trading.hooks import HookEvent
from trading.orchestrator_agent import OrchestratorAgent
from trading.sessions import SessionState, SessionSummary
from trading.settings import Granularity, Settings

_NAME_PARTS = {
    Granularity.STAGE: (" decide", " risk", " route"),
    Granularity.BAR: (" bar",),
    Granularity.CHUNK: (" and on",),
}


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    settings = parameters["settings"]
    day = parameters["session_date"] or "next session"
    return f"{day} {settings.strategy} {' '.join(settings.session.symbols[:5])}"


_DEFAULTS = Settings()


@flow(name="trading-session", flow_run_name=_run_name, persist_result=False, retries=0)
def trading_session(settings: Settings = _DEFAULTS, session_date: date | None = None) -> SessionSummary | State[Any]:
    """Trade one session: warm up, validate, reconcile; for each bar decide, check risk, route; reconcile, close.

    Args:
        settings: Everything that can be set; the defaults trade a synthetic market on a paper account.
        session_date: The exchange date to trade; empty means the next one of a synthetic market, or the newest of
            recorded bars.
    """
    try:
        with assemble(settings, session_date) as desk:
            return _trade(desk)
    except ClosedDay as closed:
        return Completed(name="ClosedDay", message=str(closed), data=closed)
    except OpenbellError as error:
        return Failed(message=str(error), data=error)


def run(settings: Settings, session_date: date | None) -> SessionSummary:
    """Run the flow and return what the session came to; raises the ``OpenbellError`` that ended it otherwise."""
    state = trading_session(settings, session_date, return_state=True)
    result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    assert isinstance(result, SessionSummary)
    return result


def _trade(desk: Desk) -> SessionSummary:
    agent = desk.agent
    if open_session(agent).state is SessionState.COMPLETED:
        return agent.summary()
    bars = desk.hours.bar_count(agent.settings.session.timeframe)
    plan = plan_tasks(
        agent.settings.session.granularity, bars, agent.settings.session.timeframe.length, agent.settings.session.pace
    )
    with reporting(UUID(str(runtime.flow_run.id)), bars) as reporter:
        agent.register_hook(HookEvent.BAR_PROCESSED, reporter.bar_processed)
        with _closing_in_order(agent):
            load_warmup(agent)
            validate_bars(agent)
            reconcile(agent, "open")
            traded = _trade_bars(agent, plan)
            end_of_session(agent)
            reconcile(agent, "close")
            summary = end_of_day_pnl(agent)
        _publish(desk, reporter, plan, traded, summary)
    return summary


def _trade_bars(agent: OrchestratorAgent, plan: TaskPlan) -> int:
    """Every bar of the session through its stages, as task runs of the plan's granularity; returns how many bars."""
    moments = agent.live_bars()
    if plan.granularity is Granularity.CHUNK:
        return _trade_chunks(agent, moments, plan.bars_per_task)
    traded = 0
    for moment, findings in moments:
        label = bar_label(agent, moment.bar_time)
        if plan.granularity is Granularity.STAGE:
            route(agent, assess(agent, decide(agent, moment, findings, label), label), label)
        else:
            trade_bar(agent, moment, findings, label)
        traded += 1
    return traded


def _trade_chunks(agent: OrchestratorAgent, moments: Iterator[Any], bars_per_task: int) -> int:
    traded = 0
    for first in moments:
        chunk = Chunk(itertools.chain([first], itertools.islice(moments, bars_per_task - 1)))
        traded += trade_chunk(agent, chunk, bar_label(agent, first[0].bar_time))
    return traded


@contextmanager
def _closing_in_order(agent: OrchestratorAgent) -> Iterator[None]:
    """However the session ends, the ledger says so."""
    try:
        yield
    except BaseException as error:
        agent.abandon_session(error)
        raise


def _publish(desk: Desk, reporter: RunReporter, plan: TaskPlan, traded: int, summary: SessionSummary) -> None:
    """Compare the run history with the bars, and put the closing report where a person looks."""
    parts = _NAME_PARTS[plan.granularity]
    records = [reporter.compare_runs(part, plan.runs_for(traded) // len(parts)) for part in parts]
    for record in records:
        if record.gap != 0:
            get_run_logger().warning("session_id=%s %s", summary.session_id, record.sentence())
    reporter.finish(
        f"session-{summary.session_date.isoformat()}", closing_report(desk.store, desk.hours, summary, records)
    )
