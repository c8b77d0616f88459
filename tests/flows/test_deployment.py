"""prefect.yaml on a real server: `prefect deploy --all`, a run from the deployment, a real process worker."""

import json
import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import get_client

HOUSE = Path(__file__).parents[2]
PREFECT = [sys.executable, "-m", "prefect"]


def prefect(*arguments: str, timeout_seconds: float = 120) -> str:
    """Run a prefect command in the house; its output. Fails the test when it fails."""
    environment = {**os.environ, "OPENBELL_HOME": str(HOUSE)}
    done = subprocess.run(
        [*PREFECT, *arguments],
        cwd=HOUSE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_session_is_deployed_scheduled_and_run_by_a_worker(prefect_server: str, tmp_path: Path) -> None:
    assert prefect_server.startswith("http://127.0.0.1")
    prefect("work-pool", "create", "--type", "process", "--overwrite", "openbell")
    prefect("--no-prompt", "deploy", "--all")

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("trading-session/session")
        schedule = deployment.schedules[0].schedule
        assert (schedule.cron, schedule.timezone) == ("15 9 * * 1-5", "America/New_York")  # type: ignore[union-attr]
        assert deployment.parameters == {"settings": {"session": {"pace": "live"}}}

        settings = {
            "session": {"timeframe": "30min", "symbols": ["AAA"]},
            "policy": {"name": "buy_and_hold"},
            "feed": {"kind": "synthetic"},
            "store": {"path": str(tmp_path / "worker.duckdb")},
        }
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters={"settings": settings, "session_date": "2026-01-05"}
        )
        prefect("worker", "start", "--pool", "openbell", "--run-once", "--limit", "1", timeout_seconds=180)
        finished = client.read_flow_run(run.id)

    assert finished.state is not None
    assert finished.state.is_completed(), finished.state.message
    answer = subprocess.run(
        [
            *[sys.executable, "-m", "deployments.terminal", "sql", "--json"],
            *["--db", str(tmp_path / "worker.duckdb"), "select state, mode from sessions"],
        ],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(answer.stdout)["rows"] == [["COMPLETED", "synthetic"]]
