"""The flow that trades one session, from the opening bell to the close."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import UUID

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Completed, Failed

from tasks.appointment import day_in_words, wanted_by_schedule
from tasks.cancelled_run import Cancellation, undisturbed_by_signals
from tasks.collection_pauses import no_long_pauses
from tasks.composition import Desk, assemble
from tasks.granularity import TaskPlan, plan_tasks
from tasks.lost_readers import outlast_readers
from tasks.run_record import API_ERRORS, RunReporter, reporting
from tasks.session_events import SessionEvents, telling
from tasks.session_publishing import TradedSession, publish_session, read_session
from tasks.session_steps import (
    NewBar,
    Sealed,
    assess,
    bar_label,
    decide,
    end_of_day_pnl,
    end_of_session,
    load_warmup,
    open_session,
    reconcile,
    reconcile_if_due,
    route,
    trade_bar,
    trade_chunk,
    validate_bars,
)
from trading.errors import AppointmentMissed, ClosedDay, OpenbellError, StoppedEarly
from trading.hooks import HookEvent
from trading.orchestrator_agent import OrchestratorAgent
from trading.sessions import SessionState, SessionSummary
from trading.settings import Granularity, Settings

_PATIENCE_SECONDS, _A_PERSONS_PATIENCE_SECONDS = 600.0, 20.0
"""How long a session that is over waits for an API that is away: a run of a deployment, and one that a person waits for."""

_NAME_PARTS = {
    Granularity.STAGE: (" decide", " risk", " route"),
    Granularity.BAR: (" bar",),
    Granularity.CHUNK: (" and on",),
}


class PrefectUnavailable(OpenbellError):
    """Prefect could not be asked, or would not run the flow. The ledger tells how far the session came."""


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    settings = parameters["settings"]
    day = parameters["session_date"] or day_in_words(settings.session.exchange)
    rehearsed = "dry run " if parameters["dry_run"] else ""
    return f"{rehearsed}{day} {settings.strategy} {' '.join(settings.session.symbols[:5])}"


_DEFAULTS = Settings()


@flow(name="trading-session", flow_run_name=_run_name, persist_result=False, retries=0)
def trading_session(
    settings: Settings = _DEFAULTS, session_date: date | None = None, dry_run: bool = False
) -> SessionSummary | State[Any]:
    """Trade one session: warm up, validate, reconcile; for each bar decide, check risk, route; reconcile, close.

    Args:
        settings: Everything that can be set; the defaults trade a synthetic market on a paper account.
        session_date: The exchange date to trade. Empty means, in a run that a schedule made, the day it was scheduled for, and
            elsewhere the next one of a synthetic market, or the newest of recorded bars, or today's with live ones.
        dry_run: Do everything but send, on a copy of the ledger that is made anew: orders end as REJECTED.
    """
    outlast_readers()
    events, cancellation = SessionEvents(UUID(str(runtime.flow_run.id)), settings.strategy), None
    try:
        with reporting(UUID(str(runtime.flow_run.id))) as reporter:
            cancellation = Cancellation(reporter.ask_whether_cancelled)
            scheduled_at = wanted_by_schedule()
            with telling(events), assemble(settings, session_date, dry_run=dry_run, scheduled_at=scheduled_at) as desk:
                traded = _trade(desk, reporter, events, cancellation)
            # The database is free again while the run history settles.
            events.completed(traded.summary)
            publish_session(reporter, events, traded, _patience_seconds())
            return traded.summary
    except AppointmentMissed as missed:
        return Completed(name="Skipped", message=str(missed), data=missed)
    except ClosedDay as closed:
        return Completed(name="ClosedDay", message=str(closed), data=closed)
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    except TerminationSignal:
        if cancellation is None or not cancellation.ended_here:
            raise
        stopped = StoppedEarly("The session was stopped, as its run was cancelled in Prefect.")
        return Cancelled(message=str(stopped), data=stopped)


def run(settings: Settings, session_date: date | None, dry_run: bool = False) -> SessionSummary:
    """Run the flow and return what the session came to; raises the ``OpenbellError`` that ended it otherwise.

    ``PrefectUnavailable`` says nothing about the session: it may have been traded to its end, as its ledger tells.
    """
    try:
        state = trading_session(settings, session_date, dry_run, return_state=True)
    except (*API_ERRORS, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "API" not in str(error):
            raise  # Prefect says so when it cannot reach its server; any other is a fault of ours
        raise PrefectUnavailable(
            f"The Prefect API does not answer ({type(error).__name__}: {error}). Start its server, or unset "
            "PREFECT_API_URL to run with a temporary one."
        ) from error
    result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    if not isinstance(result, SessionSummary):
        raise PrefectUnavailable(f"Prefect kept the flow run from running: {state.name}: {state.message}")
    return result


def _trade(desk: Desk, reporter: RunReporter, events: SessionEvents, cancellation: Cancellation) -> TradedSession:
    agent, session = desk.agent, desk.agent.settings.session
    events.follow(agent)
    record = open_session(agent)
    if record.state is SessionState.COMPLETED:
        return TradedSession(agent.summary())
    with _closing_in_order(agent, reporter), cancellation:
        events.started(record, session.symbols, str(desk.store.path))
        bars = desk.hours.bar_count(session.timeframe)
        plan = plan_tasks(session.granularity, bars, session.timeframe.length, session.pace)
        agent.register_hook(HookEvent.BAR_PROCESSED, reporter.follow(bars))
        agent.register_hook(HookEvent.TRADING_STOPPED, reporter.ended)
        agent.load_warmup_or_refuse(lambda: load_warmup(agent))
        validate_bars(agent)
        agent.reconcile_or_refuse(lambda: reconcile(agent, "open"))
        with no_long_pauses():
            bars_traded = _trade_bars(agent, plan)
        end_of_session(agent)
        reconcile(agent, "close")
        summary = end_of_day_pnl(agent)
    parts = _NAME_PARTS[plan.granularity]
    return read_session(desk, summary, {part: plan.runs_for(bars_traded) // len(parts) for part in parts})


def _trade_bars(agent: OrchestratorAgent, plan: TaskPlan) -> int:
    """Every bar of the session through its stages, as task runs of the plan's granularity; returns how many bars."""
    moments = agent.live_bars()
    if plan.granularity is Granularity.CHUNK:
        return _trade_chunks(agent, moments, plan.bars_per_task)
    traded = 0
    for moment, findings in moments:
        label, bar = bar_label(agent, moment.bar_time), Sealed((moment, findings))
        reconcile_if_due(agent, moment.bar_time)
        if plan.granularity is Granularity.STAGE:
            route(agent, assess(agent, decide(agent, bar, label), label), label)
        else:
            trade_bar(agent, bar, label)
        traded += 1
    return traded


def _trade_chunks(agent: OrchestratorAgent, moments: Iterator[Any], bars_per_task: int) -> int:
    traded = 0
    for first in moments:
        chunk: Sealed[Iterable[NewBar]] = Sealed(itertools.chain([first], itertools.islice(moments, bars_per_task - 1)))
        traded += trade_chunk(agent, chunk, bar_label(agent, first[0].bar_time))
    return traded


@contextmanager
def _closing_in_order(agent: OrchestratorAgent, reporter: RunReporter) -> Iterator[None]:
    """However the session ends, the ledger says so; a run that a person cancelled is an emergency stop of its account."""
    try:
        yield
    except BaseException as error:
        with undisturbed_by_signals():
            why = str(error)
            if isinstance(error, TerminationSignal):
                why = "stopped from outside"
                if reporter.was_cancelled():
                    why = "the session's run was cancelled in Prefect"
                    agent.stop_for_good(why, agent.settings.stopping.flatten_on_cancel)
            agent.abandon_session(error, why)
        raise


def _patience_seconds() -> float:
    return _PATIENCE_SECONDS if runtime.deployment.id else _A_PERSONS_PATIENCE_SECONDS
