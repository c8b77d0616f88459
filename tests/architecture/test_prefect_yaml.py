"""prefect.yaml against the code: what it deploys exists, what it sets is valid, and every deployment is of one manner."""

import importlib
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule

HOUSE = Path(__file__).parents[2]
TEXT = (HOUSE / "prefect.yaml").read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
DEPLOYMENTS: list[dict[str, Any]] = DOCUMENT["deployments"]
KINDS = {"session", "reconciliation", "operator", "history", "policy", "watch", "maintenance"}

each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    """The flow that an entrypoint (module.flow) names."""
    module, name = deployment["entrypoint"].rsplit(".", 1)
    flow = getattr(importlib.import_module(module), name)
    assert isinstance(flow, Flow)
    return flow


def schedules(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deployment.get("schedules", [])
    return found


@each_deployment
def test_an_entrypoint_is_a_flow_that_takes_the_parameters(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    given = deployment.get("parameters", {})
    assert set(given) <= set(flow.parameters.properties)
    assert set(given) <= set(flow.validate_parameters(given))


@each_deployment
def test_what_is_misspelt_in_a_deployment_would_be_refused(deployment: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="sesion"):
        flow_of(deployment).validate_parameters({"settings": {"sesion": {"pace": "live"}}})


@each_deployment
def test_every_schedule_is_a_cron_in_new_york_that_a_person_can_read(deployment: dict[str, Any]) -> None:
    for schedule in schedules(deployment):
        assert schedule["timezone"] == "America/New_York"
        ZoneInfo(schedule["timezone"])
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        assert isinstance(schedule["active"], bool)
        # What a person paused is found again by its slug.
        assert re.fullmatch(r"[a-z][a-z-]+", schedule["slug"])
        above = TEXT[: TEXT.index(f'- cron: "{schedule["cron"]}"')].rstrip().splitlines()[-1]
        assert above.strip().startswith("# ")
        assert "New York" in above


@each_deployment
def test_a_deployment_says_what_it_does_for_whom_and_where(deployment: dict[str, Any]) -> None:
    assert deployment["description"].endswith(".")
    kinds = [tag for tag in deployment["tags"] if tag in KINDS]
    assert "openbell" in deployment["tags"]
    assert len(kinds) == 1
    assert deployment["work_pool"] == DOCUMENT["anchors"]["pool"]
    assert deployment["version"] == DOCUMENT["anchors"]["version"]


def test_what_trades_or_stops_is_held_up_by_no_limit_of_prefect() -> None:
    # A run that holds a slot is ended by Prefect when it cannot renew its lease: with every restart of the server.
    limited = {one["name"] for one in DEPLOYMENTS if "concurrency_limit" in one}
    urgent = {one["name"] for one in DEPLOYMENTS if {"session", "operator"} & set(one["tags"])}
    assert {"session", "halt", "flatten", "resume"} <= urgent
    assert limited
    assert not limited & urgent


def test_limits_are_those_that_the_anchors_explain() -> None:
    anchors = DOCUMENT["anchors"]
    for deployment in DEPLOYMENTS:
        limit = deployment.get("concurrency_limit")
        assert limit in (None, anchors["one_after_the_other"], anchors["one_or_none"])
    assert anchors["one_after_the_other"]["collision_strategy"] == "ENQUEUE"


def test_names_are_said_once() -> None:
    names = [deployment["name"] for deployment in DEPLOYMENTS]
    assert len(names) == len(set(names))


def test_the_session_starts_before_the_bell_on_weekdays() -> None:
    [session] = [deployment for deployment in DEPLOYMENTS if deployment["name"] == "session"]
    assert [(one["cron"], one["active"]) for one in schedules(session)] == [("15 9 * * 1-5", True)]


def test_a_crashed_session_is_reconciled_without_repair() -> None:
    [reconciliation] = [deployment for deployment in DEPLOYMENTS if deployment["name"] == "reconciliation"]
    [trigger] = reconciliation["triggers"]
    assert trigger["expect"] == ["prefect.flow-run.Crashed"]
    assert trigger["match_related"]["prefect.resource.id"] == "prefect.tag.session"
    assert "repair" not in {**reconciliation.get("parameters", {}), **trigger.get("parameters", {})}


def test_the_operations_page_lists_every_deployment_with_its_times() -> None:
    page = (HOUSE / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    told = {name: row for row in rows for name in re.findall(r"`([a-z-]+/[a-z-]+)`", row.split("|")[1])}
    assert set(told) == {f"{flow_of(one).name}/{one['name']}" for one in DEPLOYMENTS}
    for deployment in DEPLOYMENTS:
        row = told[f"{flow_of(deployment).name}/{deployment['name']}"]
        crons = [one["cron"] for one in schedules(deployment)]
        assert re.findall(r"`([^`]+)`", row.split("|")[2]) == crons
        assert ("switched off" in row) == any(not one["active"] for one in schedules(deployment))


def test_every_flow_module_is_deployed() -> None:
    modules = {file.stem for file in (HOUSE / "flows").glob("*.py")} - {"__init__"}
    deployed = {deployment["entrypoint"].split(".")[1] for deployment in DEPLOYMENTS}
    assert deployed == modules
