"""The flow emergency-stop on a real Prefect server: at rest, beside a session, and beside the deployment that trades."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from flows.emergency_stop import emergency_stop
from storage.questions import ask
from tasks.composition import assemble
from trading.errors import ConfigurationError, StoppedEarly
from trading.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")

Artifacts = Callable[[State[Any]], dict[str, str]]
Shares = Callable[[Settings], int]
HOUSE = Path(__file__).parents[2]
PREFECT = [sys.executable, "-m", "prefect"]
SECONDS_A_WORKER_MAY_TAKE = 120


def traded_for(settings: Settings, bars: int) -> None:
    left = iter([False] * (bars - 1))
    at_once = settings.model_copy(update={"session": settings.session.model_copy(update={"pace": "max"})})
    with assemble(at_once, None) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(lambda: next(left, True))


def test_an_account_at_rest_is_stopped_step_by_step(trading_settings: Settings, artifacts: Artifacts) -> None:
    traded_for(trading_settings, 1)
    state = emergency_stop(trading_settings, "fat finger", return_state=True)
    assert state.is_completed(), state.message
    shown = artifacts(state)["emergency-stop"]
    assert "# Stop of all: SUCCEEDED" in shown
    assert "Reason: fat finger" in shown
    assert "| cancel | done |" in shown
    assert "Stands: **all**: fat finger" in shown
    assert ask(trading_settings.store.path, "SELECT status FROM orders").rows == (("CANCELLED",),)


def test_what_is_not_verified_fails_the_flow_as_an_alarm(trading_settings: Settings, artifacts: Artifacts) -> None:
    traded_for(trading_settings, 2)
    state = emergency_stop(trading_settings, "news", "account:synthetic", flatten=True, return_state=True)
    assert (state.name, state.is_failed()) == ("Alarm", True)
    assert "AAA are held" in str(state.message)
    assert "| flatten | **failed** |" in artifacts(state)["emergency-stop"]


def test_a_scope_that_is_none_fails_the_flow_with_words(trading_settings: Settings) -> None:
    state = emergency_stop(trading_settings, "x", "AAA", return_state=True)
    assert state.is_failed()
    assert isinstance(state.result(raise_on_failure=False), ConfigurationError)
    assert not trading_settings.store.path.exists()


def test_a_session_that_runs_is_flattened(running: Settings, shares_held: Shares) -> None:
    answer = emergency_stop(running, "news", flatten=True)
    assert isinstance(answer, dict)
    assert (answer["state"], answer["answered_by"]) == ("SUCCEEDED", "session")
    assert shares_held(running) == 0


def prefect(*arguments: str) -> None:
    done = subprocess.run(
        [*PREFECT, *arguments],
        cwd=HOUSE,
        env={**os.environ, "OPENBELL_HOME": str(HOUSE)},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def children(pid: int) -> list[int]:
    """The processes that one has started and that have not ended."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(status.parent.name))
    return found


def test_a_worker_runs_it_while_the_deployment_session_trades(
    trading_settings: Settings, tmp_path: Path, shares_held: Shares
) -> None:
    prefect("work-pool", "create", "--type", "process", "--overwrite", "openbell")
    prefect("--no-prompt", "deploy", "--all")
    given = {"settings": trading_settings.model_dump(mode="json")}
    with (tmp_path / "worker.log").open("w") as log:
        worker = subprocess.Popen(
            [*PREFECT, "worker", "start", "--pool", "openbell"],
            cwd=HOUSE,
            env={**os.environ, "OPENBELL_HOME": str(HOUSE)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        with get_client(sync_client=True) as client:
            session = client.read_deployment_by_name("trading-session/session")
            trading = client.create_flow_run_from_deployment(session.id, parameters=given)
            deadline = time.monotonic() + SECONDS_A_WORKER_MAY_TAKE
            while not (trading_settings.store.path.exists() and shares_held(trading_settings)):
                assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
                time.sleep(0.5)
            stop = client.read_deployment_by_name("emergency-stop/emergency-stop")
            run = client.create_flow_run_from_deployment(
                stop.id, parameters={**given, "reason": "from the UI", "flatten": True}
            )
            while not ((state := client.read_flow_run(run.id).state) and state.is_final()):
                assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
                time.sleep(0.5)
            assert state.is_completed(), state.message
            beside = client.read_flow_run(trading.id).state
            assert beside is not None
            assert beside.is_running(), beside.message
        assert shares_held(trading_settings) == 0
        assert ask(trading_settings.store.path, "SELECT reason, state FROM stops").rows == (
            ("from the UI", "SUCCEEDED"),
        )
    finally:
        # The runs that a worker starts outlive it.
        runs = children(worker.pid)
        worker.kill()
        worker.wait(30)
        for run_pid in runs:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(run_pid, signal.SIGKILL)
