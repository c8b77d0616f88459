"""The steps of a session as Prefect tasks, in the order in which a trader would name them.

Reads retry on the wire and only on the wire: a feed or broker that gave no answer is asked again, which changes
nothing on their side. Arithmetic is never retried. Nothing that sends is retried by Prefect, whatever
its profile has for a default: ``route`` saves an
intent before it sends it, and what was not confirmed is asked for by id at the next bar.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Generic, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from trading.bars import BarSlice
from trading.decisions import DataFinding
from trading.differences import Discrepancy
from trading.errors import BrokerUnavailable
from trading.execution_loop import AssessedBar, DecidedBar, RoutedBar
from trading.orchestrator_agent import OrchestratorAgent
from trading.sessions import SessionRecord, SessionState, SessionSummary

T = TypeVar("T")

_READ_RETRIES = 3
_READ_DELAYS = [1.0, 5.0, 15.0]
_READ_TIMEOUT_SECONDS = 300


def _gave_no_answer(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Only silence is worth asking again; a refusal stays one."""
    return isinstance(state.result(raise_on_failure=False), BrokerUnavailable)


def bar_label(agent: OrchestratorAgent, bar_time: datetime) -> str:
    """A bar's name for people: its open in exchange time."""
    return agent.hours.local(bar_time).strftime("%H:%M")


@task(name="open-session", task_run_name="open session", cache_policy=NO_CACHE, persist_result=False, retries=0)
def open_session(agent: OrchestratorAgent) -> SessionRecord:
    """Bring the book up from the ledger and write the session down as running."""
    record = agent.open_session()
    get_run_logger().info(
        "session_id=%s mode=%s state=%s resumes_after=%s",
        record.session_id,
        record.mode,
        record.state,
        record.last_bar_time,
    )
    return record


@task(
    name="load-warmup",
    task_run_name="load warmup",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=_READ_RETRIES,
    retry_delay_seconds=_READ_DELAYS,
    retry_condition_fn=_gave_no_answer,
    timeout_seconds=_READ_TIMEOUT_SECONDS,
)
def load_warmup(agent: OrchestratorAgent) -> None:
    """Read the bars before the session. Safe to repeat: it only reads."""
    for symbol, bars in agent.load_warmup_data().items():
        get_run_logger().info("session_id=%s symbol=%s warmup_bars=%d", agent.session_id, symbol, len(bars))


@task(name="validate-bars", task_run_name="validation", cache_policy=NO_CACHE, persist_result=False, retries=0)
def validate_bars(agent: OrchestratorAgent) -> list[DataFinding]:
    """Judge the warmup bars and record what was found."""
    findings = agent.validate_data()
    get_run_logger().info("session_id=%s findings=%d", agent.session_id, len(findings))
    return findings


@task(
    name="reconcile",
    task_run_name="reconcile: {stage}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=_READ_RETRIES,
    retry_delay_seconds=_READ_DELAYS,
    retry_condition_fn=_gave_no_answer,
)
def reconcile(agent: OrchestratorAgent, stage: str) -> list[Discrepancy]:
    """Compare ledger and broker and repair the ledger. Safe to repeat: what is booked is booked by its id."""
    found = agent.reconcile(stage)
    get_run_logger().info("session_id=%s stage=%s discrepancies=%d", agent.session_id, stage, len(found))
    return found


def reconcile_if_due(agent: OrchestratorAgent, bar_time: datetime) -> None:
    """Between two bars, a comparison where one is due; not retried, because the next bar asks again."""
    stage = agent.reconciliation_due(bar_time)
    if stage is None:
        return
    try:
        reconcile.with_options(retries=0)(agent, stage)
    except BrokerUnavailable as error:
        get_run_logger().warning("session_id=%s not reconciled: %s", agent.session_id, error)


class Sealed(Generic[T]):
    """A value that goes from task to task as it is: Prefect walks through the fields of any other, on every bar."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


NewBar = tuple[BarSlice, list[DataFinding]]
"""A bar as it came, and what was found about it."""


@task(name="decide", task_run_name="{label} decide", cache_policy=NO_CACHE, persist_result=False, retries=0)
def decide(agent: OrchestratorAgent, bar: Sealed[NewBar], label: str) -> Sealed[DecidedBar]:
    """Stage one of a bar: book the broker's news, value the book, ask the policy."""
    del label  # names the run
    return Sealed(agent.generate_action(*bar.value))


@task(name="risk", task_run_name="{label} risk", cache_policy=NO_CACHE, persist_result=False, retries=0)
def assess(agent: OrchestratorAgent, decided: Sealed[DecidedBar], label: str) -> Sealed[AssessedBar]:
    """Stage two of a bar: what risk lets through. Sends nothing."""
    del label
    assessed = agent.assess(decided.value)
    for check in assessed.checks:
        get_run_logger().info(
            "session_id=%s bar_time=%s symbol=%s client_order_id=%s rule=%s verdict=%s reason=%s",
            check.session_id,
            check.bar_time.isoformat(),
            check.symbol,
            check.client_order_id,
            check.rule,
            check.verdict,
            check.reason,
        )
    return Sealed(assessed)


@task(name="route", task_run_name="{label} route", cache_policy=NO_CACHE, persist_result=False, retries=0)
def route(agent: OrchestratorAgent, assessed: Sealed[AssessedBar], label: str) -> Sealed[RoutedBar]:
    """Stage three of a bar: save intents, send orders, commit the bar. Never retried."""
    del label
    for order in assessed.value.approved:
        intent = order.intent
        get_run_logger().info(
            "session_id=%s client_order_id=%s side=%s quantity=%d symbol=%s",
            intent.session_id,
            intent.client_order_id,
            intent.side,
            intent.quantity,
            intent.symbol,
        )
    return Sealed(agent.route(assessed.value))


@task(name="bar", task_run_name="{label} bar", cache_policy=NO_CACHE, persist_result=False, retries=0)
def trade_bar(agent: OrchestratorAgent, bar: Sealed[NewBar], label: str) -> Sealed[RoutedBar]:
    """One bar, all three stages. Never retried."""
    del label
    return Sealed(agent.process_new_bar(*bar.value))


@task(name="bars", task_run_name="{label} and on", cache_policy=NO_CACHE, persist_result=False, retries=0)
def trade_chunk(agent: OrchestratorAgent, moments: Sealed[Iterable[NewBar]], label: str) -> int:
    """A chunk of bars, each all three stages, as they come. Returns how many. Never retried."""
    del label
    processed = 0
    for moment, findings in moments.value:
        agent.reconcile_if_due(moment.bar_time)
        agent.process_new_bar(moment, findings)
        processed += 1
    return processed


@task(name="end-of-session", task_run_name="end of session", cache_policy=NO_CACHE, persist_result=False, retries=0)
def end_of_session(agent: OrchestratorAgent) -> None:
    """The bell: DAY orders that are left expire on a simulated market."""
    agent.end_of_session()


@task(name="end-of-day-pnl", task_run_name="end of day P&L", cache_policy=NO_CACHE, persist_result=False, retries=0)
def end_of_day_pnl(agent: OrchestratorAgent) -> SessionSummary:
    """Write the session's end and say what it came to."""
    summary = agent.close_session(SessionState.COMPLETED)
    get_run_logger().info(
        "session_id=%s bars=%d orders=%d fills=%d realized_pnl=%s unrealized_pnl=%s commissions=%s equity=%s",
        summary.session_id,
        summary.bars,
        summary.orders,
        summary.fills,
        summary.realized_pnl,
        summary.unrealized_pnl,
        summary.commissions,
        summary.equity,
    )
    return summary
