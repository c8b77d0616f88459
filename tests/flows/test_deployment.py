"""openbell deploy on a real server: what it writes, a second time, what a person changed meanwhile, and a run by a real worker."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from deployments.publishing.publish import Published, publish
from deployments.publishing.writing import MADE_HERE
from trading.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("prefect_server")

HOUSE = Path(__file__).parents[2]
SECONDS_AN_EVENT_MAY_TAKE = 60
FEW = ("session", "reconciliation", "halt", "train-policy")
STRATEGIES = """
[strategies.trend]
store.path = "trend.duckdb"
session.symbols = ["AAA"]
[strategies.calm]
store.path = "calm.duckdb"
policy.name = "buy_and_hold"
schedule.cron = "20 9 * * 1-5"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a stack, with a short prefect.yaml of its own: some of the house's deployments, as they stand there.

    Nothing of openbell is deployed yet.
    """
    monkeypatch.setenv("OPENBELL_HOME", str(tmp_path))
    monkeypatch.setenv("OPENBELL_VERSION", "9.9.9+tested")
    (tmp_path / "prefect.yaml").write_text("deployments: []", encoding="utf-8")
    publish(prune=True)
    document = yaml.safe_load((HOUSE / "prefect.yaml").read_text(encoding="utf-8"))
    document["deployments"] = [one for one in document["deployments"] if one["name"] in FEW]
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return tmp_path


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def became(published: Published) -> dict[str, str]:
    return {one.full_name: str(one.written) for one in published.deployments}


def process(*arguments: str, timeout_seconds: float = 180) -> str:
    """What a command in the house says. Fails the test when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=HOUSE,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_session_is_deployed_with_the_file_and_run_by_a_worker_in_the_home(
    home: Path, client: SyncPrefectClient
) -> None:
    (home / "openbell.toml").write_text(
        '[session]\ntimeframe = "30min"\nsymbols = ["AAA"]\n[policy]\nname = "buy_and_hold"\n[feed]\nkind = "synthetic"\n'
    )
    publish()
    deployment = client.read_deployment_by_name("trading-session/session")
    assert deployment.parameters == {
        "settings": {
            "session": {"pace": "live", "timeframe": "30min", "symbols": ["AAA"]},
            "policy": {"name": "buy_and_hold"},
            "feed": {"kind": "synthetic"},
        }
    }
    assert deployment.version == "9.9.9+tested"
    assert deployment.job_variables["env"]["OPENBELL_HOME"] == str(home)
    # A second runner would be refused by the ledger; a limit of Prefect would end the session with the server's next restart.
    assert deployment.global_concurrency_limit is None
    assert client.read_deployment_by_name("emergency-stop/halt").parameters["settings"]["session"]["symbols"] == ["AAA"]

    # A run that a schedule makes at this very minute would be taken instead.
    for name in ("trading-session/session", "reconciliation/reconciliation"):
        one = client.read_deployment_by_name(name)
        client.update_deployment_schedule(one.id, one.schedules[0].id, active=False)
    settings = {**deployment.parameters["settings"], "session": {"timeframe": "30min", "symbols": ["AAA"]}}
    run = client.create_flow_run_from_deployment(
        deployment.id, parameters={"settings": settings, "session_date": "2026-01-05"}
    )
    process("prefect", "worker", "start", "--pool", "openbell", "--run-once", "--limit", "1")
    finished = client.read_flow_run(run.id)
    assert finished.state is not None
    assert finished.state.is_completed(), finished.state.message
    # The path of the database is relative, and the home is where the worker was not.
    asked = process(
        *["deployments.terminal", "sql", "--json", "--db", str(home / "openbell.duckdb")],
        "select state, mode from sessions",
    )
    assert json.loads(asked)["rows"] == [["COMPLETED", "synthetic"]]


def test_a_second_time_changes_nothing_and_keeps_what_a_person_switched_off(
    home: Path, client: SyncPrefectClient
) -> None:
    publish()
    again = publish()
    assert set(became(again).values()) == {"unchanged"}
    assert not any(again.work_pools.values())

    pool = client.read_work_pool("openbell")
    template = {**pool.base_job_template, "x-mine": True}
    client.request("PATCH", "/work_pools/openbell", json={"base_job_template": template})
    session = client.read_deployment_by_name("trading-session/session")
    [schedule] = session.schedules
    client.update_deployment_schedule(session.id, schedule.id, active=False)
    client.request("PATCH", f"/deployments/{session.id}", json={"parameters": {"dry_run": True}})
    [crashed] = client.read_automations_by_name("reconcile after a crashed session")
    client.pause_automation(crashed.id)
    (home / "openbell.toml").write_text('[session]\nsymbols = ["AAA"]\n')

    after = publish()
    assert set(became(after).values()) == {"changed"}  # all of them take the settings
    session = client.read_deployment_by_name("trading-session/session")
    assert session.parameters == {"settings": {"session": {"pace": "live", "symbols": ["AAA"]}}}
    assert [(one.id, one.active) for one in session.schedules] == [(schedule.id, False)]
    assert [one.schedules for one in after.deployments if one.full_name == "trading-session/session"] == [()]
    [crashed] = client.read_automations_by_name("reconcile after a crashed session")
    assert (crashed.enabled, crashed.description) == (False, MADE_HERE)
    assert client.read_work_pool("openbell").base_job_template["x-mine"] is True


def test_strategies_are_deployed_side_by_side_and_what_is_left_goes_with_prune(
    home: Path, client: SyncPrefectClient
) -> None:
    publish()
    (home / "openbell.toml").write_text(STRATEGIES)
    both = publish()
    assert {name for name, how in became(both).items() if how == "created"} == {
        *("trading-session/trend", "trading-session/calm"),
        *(f"reconciliation/reconciliation-{name}" for name in ("trend", "calm")),
        *(f"emergency-stop/halt-{name}" for name in ("trend", "calm")),
        *(f"train-policy/train-policy-{name}" for name in ("trend", "calm")),
    }
    assert became(both)["trading-session/session"] == "left"
    trend, calm = (client.read_deployment_by_name(f"trading-session/{name}") for name in ("trend", "calm"))
    assert trend.parameters["settings"]["session"] == {"pace": "live", "symbols": ["AAA"], "strategy": "trend"}
    assert [cron(one) for one in (trend, calm)] == ["15 9 * * 1-5", "20 9 * * 1-5"]
    assert {"session", "strategy:calm"} <= set(calm.tags)
    halt = client.read_deployment_by_name("emergency-stop/halt-calm")
    assert halt.parameters["settings"]["store"] == {"path": "calm.duckdb"}
    # A crash of one is compared with that one's account.
    run = client.create_flow_run_from_deployment(calm.id)
    client.set_flow_run_state(run.id, Crashed(message="its process died"), force=True)
    comparing = wait_for_a_run_of(client, "reconciliation/reconciliation-calm")
    assert comparing.parameters.get("repair") in (None, False)
    assert runs_of(client, "reconciliation/reconciliation-trend") == []

    (home / "openbell.toml").write_text(STRATEGIES.replace("calm.duckdb", "trend.duckdb"))
    with pytest.raises(ConfigurationError, match="trend and calm share the database"):
        publish(prune=True)
    assert client.read_deployment_by_name("trading-session/session")
    (home / "openbell.toml").write_text(STRATEGIES)

    pruned = publish(prune=True)
    assert became(pruned)["trading-session/session"] == "removed"
    with pytest.raises(ObjectNotFound):
        client.read_deployment_by_name("trading-session/session")
    assert client.read_automations_by_name("reconcile after a crashed session") == []
    assert set(became(publish()).values()) == {"unchanged"}


def test_it_writes_what_prefect_deploy_writes(home: Path, client: SyncPrefectClient) -> None:
    publish()
    names = [
        "trading-session/session",
        "reconciliation/reconciliation",
        "emergency-stop/halt",
        "train-policy/train-policy",
    ]
    ours = {name: as_written(client, client.read_deployment_by_name(name)) for name in names}
    for name in names:
        client.delete_deployment(client.read_deployment_by_name(name).id)
    process("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(home / "prefect.yaml"))
    theirs = {name: as_written(client, client.read_deployment_by_name(name)) for name in names}
    assert ours == theirs
    assert theirs["reconciliation/reconciliation"]["automations"]
    # Ours takes theirs over as they are, but for whose automation it is.
    assert became(publish())["trading-session/session"] == "unchanged"


def runs_of(client: SyncPrefectClient, name: str) -> list[FlowRun]:
    """Runs of a deployment that something started now: no schedule did."""
    deployment = client.read_deployment_by_name(name)
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
    )
    return [run for run in runs if not run.auto_scheduled]


def wait_for_a_run_of(client: SyncPrefectClient, name: str) -> FlowRun:
    deadline = time.monotonic() + SECONDS_AN_EVENT_MAY_TAKE
    while not (found := runs_of(client, name)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found[0]


def cron(deployment: DeploymentResponse) -> str:
    [schedule] = deployment.schedules
    return schedule.schedule.cron  # type: ignore[union-attr]


def as_written(client: SyncPrefectClient, deployment: DeploymentResponse) -> dict[str, Any]:
    """Everything that a person or a worker sees of a deployment, without the ids and moments of its writing."""
    moments = {"id", "created", "updated", "last_polled", "status", "version_id", "version_info", "deployment_id"}
    told = deployment.model_dump(mode="json", exclude=moments)
    limit = deployment.global_concurrency_limit
    related = client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    return {
        **{key: value for key, value in told.items() if key != "labels"},
        "tags": sorted(deployment.tags),
        "global_concurrency_limit": limit.limit if limit else None,
        "schedules": [one.model_dump(mode="json", exclude=moments) for one in deployment.schedules],
        "automations": [
            (one.name, one.enabled, one.trigger.model_dump_json(), [action.type for action in one.actions])
            for one in related
        ],
    }
