"""The health check as Prefect tasks: a look at the runs, a look at the ledger and the machine, and what is told of it.

Nothing is retried: the next look comes in a few minutes.
"""

import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from prefect import runtime, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_HOME

from tasks.backing_up import backups_folder
from tasks.health_checks import ledger_checks, room_checks, skew_check
from tasks.run_record import API_ERRORS
from tasks.scheduled_strategies import OURS, scheduled_strategies
from trading.checks import CheckState, bad, ok, warn
from trading.health import Looked
from trading.settings import Settings
from trading.trading_hours import TradingHours

_API_SECONDS = 5.0
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
_ALERTED_BY_NAME = frozenset({"session_missing", "data_stale", "disk", "discrepancy", "halt", "policy"})
"""Subjects that have an alert of their own, here or where the session tells of them; all others share one."""


@task(name="look-at-runs", task_run_name="runs", cache_policy=NO_CACHE, persist_result=False, retries=0)
def look_at_runs(settings: Settings) -> tuple[list[str], list[Looked]]:
    """The strategies whose sessions start by themselves, and what is not well of runs; an API that is away is a finding."""
    try:
        with get_client(httpx_settings={"timeout": _API_SECONDS}, sync_client=True) as client:
            before = datetime.now(UTC)
            told = client.request("GET", "/health").headers.get("date")
            looked = [] if told is None else [Looked(skew_check(parsedate_to_datetime(told), before))]
            scheduled = sorted(_strategy(theirs) for _, theirs in scheduled_strategies(client, settings))
            return scheduled, looked + _zombies(client)
    except API_ERRORS as error:
        get_run_logger().warning("runs not looked at error=%s", error)
        words = "Prefect's server did not say which runs are scheduled and which run"
        return [], [
            Looked(warn("prefect", words, "Sessions trade without it. See whether the server is up: openbell doctor."))
        ]


def _strategy(settings: Settings) -> str:
    """The name that the ledger has it under; empty where only the policy's bundle tells, which is not read here."""
    policy = settings.policy
    is_known = settings.session.strategy is not None or (policy.bundle is None and policy.stage is None)
    return settings.strategy if is_known else ""


def _zombies(client: SyncPrefectClient) -> list[Looked]:
    """Runs that say that they run, and whose process on this machine is not there."""
    running = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=[OURS]),
            state=FlowRunFilterState(
                type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING, StateType.PENDING])
            ),
        ),
        limit=50,
    )
    gone = [run for run in running if _is_gone(run, str(client.api_url.host))]
    found = [
        Looked(
            bad(
                "zombie_run",
                f"the run {run.name} says {run.state_name} and its process {run.infrastructure_pid} is gone",
                "Set its state to Crashed in the UI, and start it again if it was a session: it goes on after its last finished bar.",
            )
        )
        for run in gone
    ]
    return found or [Looked(ok("zombie_run", f"{len(running)} runs are at work"))]


def _is_gone(run: FlowRun, server: str) -> bool:
    """Whether its process ended on this machine; what cannot be told is there.

    A process worker names the number alone: it is one of this machine where the server is too.
    """
    host, _, number = (run.infrastructure_pid or "").rpartition(":")
    is_here = host == socket.gethostname() or (not host and server in _THIS_MACHINE)
    if not is_here or not number.isdigit() or str(run.id) == str(runtime.flow_run.id):
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@task(name="look-at-ledger", task_run_name="ledger and machine", cache_policy=NO_CACHE, persist_result=False, retries=0)
def look_at_ledger(settings: Settings, hours: TradingHours, expected: Sequence[str], now: datetime) -> list[Looked]:
    """Ledger, disks and memory; writes nothing."""
    prefect = Path(PREFECT_HOME.value())
    return [
        *ledger_checks(settings, hours, expected, now),
        *room_checks(settings, backups_folder(settings), prefect),
    ]


@task(name="tell-of-health", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def tell_of_health(looked: Sequence[Looked]) -> None:
    """An event for each thing that is not well, and a table of all; an API that is away is logged and costs nothing else."""
    for one in looked:
        if one.check.state is not CheckState.OK:
            get_run_logger().warning("subject=%s found=%s", one.check.subject, one.check.found)
            _emit(one)
    try:
        create_table_artifact(
            [
                {
                    "subject": one.check.subject,
                    "state": one.check.state.value,
                    "found": one.check.found,
                    "what to do": one.check.next_step,
                }
                for one in sorted(looked, key=lambda one: list(CheckState).index(one.check.state), reverse=True)
            ],
            key="health",
            description="What the health check saw, what is not well first",
        )
    except API_ERRORS as error:
        get_run_logger().warning("health not published error=%s", error)


def _emit(one: Looked) -> None:
    """``openbell.health.SUBJECT``, of the session that it is about, else of this machine."""
    check = one.check
    about = f"openbell.session.{one.session_id}" if one.session_id else f"openbell.machine.{socket.gethostname()}"
    message = f"{check.found[:1].upper()}{check.found[1:]}".rstrip(".")
    emit_event(
        event=f"openbell.health.{check.subject}",
        resource={
            "prefect.resource.id": about,
            "prefect.resource.name": one.session_id or socket.gethostname(),
            "openbell.health.subject": check.subject if check.subject in _ALERTED_BY_NAME else "other",
            # Alerts are told once in a window for each of these.
            "openbell.health.check": f"{check.subject} {one.strategy}".strip(),
        },
        related=[
            {"prefect.resource.id": f"prefect.flow-run.{runtime.flow_run.id}", "prefect.resource.role": "flow-run"}
        ],
        payload={
            "message": f"{message}.",
            "remedy": check.next_step,
            "level": check.state.value,
            "subject": check.subject,
            "session_id": one.session_id,
        },
    )
