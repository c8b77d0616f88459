"""The flow emergency-stop on a real Prefect server: at rest, beside a session, and beside the deployment that trades."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelling, Crashed
from rich.console import Console

from flows.emergency_stop import emergency_stop
from storage.questions import ask
from tasks.composition import assemble
from trading.errors import Halted, StoppedEarly
from trading.orders import OrderType, TimeInForce
from trading.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")

Artifacts = Callable[[State[Any]], dict[str, str]]
Shares = Callable[[Settings], int]
HOUSE = Path(__file__).parents[2]
PREFECT = [sys.executable, "-m", "prefect"]
SECONDS_A_WORKER_MAY_TAKE = 120


def ends_the_process(_console: Console) -> None:
    """As rich does it."""
    raise SystemExit(1)


def traded_for(settings: Settings, bars: int) -> None:
    left = iter([False] * (bars - 1))
    at_once = settings.model_copy(update={"session": settings.session.model_copy(update={"pace": "max"})})
    with assemble(at_once, None) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(lambda: next(left, True))


def test_an_account_at_rest_is_stopped_step_by_step(
    trading_settings: Settings, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    traded_for(trading_settings, 1)
    with monkeypatch.context() as as_rich_comes:
        as_rich_comes.setattr(Console, "on_broken_pipe", ends_the_process)
        state = emergency_stop("fat finger", settings=trading_settings, return_state=True)
        # A worker that is killed in the middle must not end the stop with the next line that is logged.
        assert Console.on_broken_pipe is not ends_the_process
    assert state.is_completed(), state.message
    shown = artifacts(state)["emergency-stop"]
    assert "# Stop of all: SUCCEEDED" in shown
    assert "Reason: fat finger" in shown
    assert "| cancel | done |" in shown
    assert "Stands: **all**: fat finger" in shown
    assert ask(trading_settings.store.path, "SELECT status FROM orders").rows == (("CANCELLED",),)


def test_what_is_not_verified_fails_the_flow_as_an_alarm(trading_settings: Settings, artifacts: Artifacts) -> None:
    traded_for(trading_settings, 2)
    state = emergency_stop("news", "account:synthetic", settings=trading_settings, flatten=True, return_state=True)
    assert (state.name, state.is_failed()) == ("Alarm", True)
    assert "AAA are held" in str(state.message)
    assert "| flatten | **failed** |" in artifacts(state)["emergency-stop"]


def test_a_scope_that_is_none_fails_the_flow_with_words(trading_settings: Settings) -> None:
    state = emergency_stop("x", "AAA", settings=trading_settings, return_state=True)
    assert state.is_failed()
    assert "scope: String should match pattern '^(all|(account|strategy|symbol):" in str(state.message)
    assert not trading_settings.store.path.exists()


def test_a_session_that_runs_is_flattened(running: Settings, shares_held: Shares) -> None:
    answer = emergency_stop("news", settings=running, flatten=True)
    assert isinstance(answer, dict)
    assert (answer["state"], answer["answered_by"]) == ("SUCCEEDED", "session")
    assert shares_held(running) == 0


def children(pid: int) -> list[int]:
    """The processes that one has started and that have not ended."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(status.parent.name))
    return found


@pytest.fixture
def worker(tmp_path: Path, deployed_house: Path) -> Iterator[Path]:
    """A process worker that runs what is deployed, for the length of a test; its log."""
    assert deployed_house.is_dir()
    path = tmp_path / "worker.log"
    with path.open("w") as log:
        process = subprocess.Popen(
            [*PREFECT, "worker", "start", "--pool", "openbell"],
            cwd=HOUSE,
            env={**os.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield path
    finally:
        # The runs that a worker starts outlive it.
        runs = children(process.pid)
        process.kill()
        process.wait(30)
        for run_pid in runs:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(run_pid, signal.SIGKILL)
        # The server would take them for running.
        running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
        with get_client(sync_client=True) as client:
            for run in client.read_flow_runs(flow_run_filter=running):
                client.set_flow_run_state(run.id, Crashed())


def wait_for(is_so: Callable[[], Any], log: Path) -> Any:
    deadline = time.monotonic() + SECONDS_A_WORKER_MAY_TAKE
    while not (found := is_so()):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    return found


def deployed(name: str, parameters: dict[str, Any]) -> UUID:
    """A run of a deployment, by its id."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def state_of(run_id: UUID) -> State[Any]:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run_id).state
        assert state is not None
        return state


def final_state(run_id: UUID) -> State[Any] | None:
    state = state_of(run_id)
    return state if state.is_final() else None


def test_a_worker_runs_it_while_the_deployment_session_trades(
    trading_settings: Settings, worker: Path, shares_held: Shares
) -> None:
    given = {"settings": trading_settings.model_dump(mode="json")}
    session = deployed("trading-session/session", given)
    wait_for(lambda: trading_settings.store.path.exists() and shares_held(trading_settings), worker)
    stop = deployed("emergency-stop/flatten", {**given, "reason": "from the UI"})
    done = wait_for(lambda: final_state(stop), worker)
    assert done.is_completed(), done.message
    beside = state_of(session)
    assert beside.is_running(), beside.message
    assert shares_held(trading_settings) == 0
    assert ask(trading_settings.store.path, "SELECT reason, state FROM stops").rows == (("from the UI", "SUCCEEDED"),)


def test_cancelling_the_sessions_run_stops_its_account_for_good(trading_settings: Settings, worker: Path) -> None:
    # What is held cannot be closed without a further bar; what works can be cancelled.
    orders = trading_settings.orders.model_copy(
        update={"order_type": OrderType.LIMIT, "limit_offset_bps": Decimal(-500), "time_in_force": TimeInForce.GTC}
    )
    waiting = trading_settings.model_copy(update={"orders": orders})
    path = waiting.store.path
    session = deployed("trading-session/session", {"settings": waiting.model_dump(mode="json")})
    wait_for(lambda: path.exists() and ask(path, "SELECT 1 FROM open_orders WHERE status = 'ACCEPTED'").rows, worker)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(session, Cancelling())
    assert wait_for(lambda: final_state(session), worker).is_cancelled()
    assert ask(path, "SELECT status FROM orders").rows == (("CANCELLED",),)
    assert ask(path, "SELECT state, reason FROM stops").rows == (
        ("SUCCEEDED", "the session's run was cancelled in Prefect"),
    )
    assert ask(path, "SELECT state FROM sessions").rows == (("STOPPED",),)
    # It stays stopped: the next session of the account does not begin.
    with assemble(waiting, date(2026, 1, 6)) as desk, pytest.raises(Halted, match="cancelled in Prefect"):
        desk.agent.open_session()
