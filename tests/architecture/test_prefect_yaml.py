"""prefect.yaml against the code: what it deploys exists, and what it sets is valid."""

import importlib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect import Flow

HOUSE = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((HOUSE / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = DOCUMENT["deployments"]


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    """The flow that an entrypoint (path:name) names, imported as a module of the house."""
    path, name = deployment["entrypoint"].split(":")
    assert (HOUSE / path).is_file()
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    flow = getattr(module, name)
    assert isinstance(flow, Flow)
    return flow


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_an_entrypoint_is_a_flow_that_takes_the_parameters(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    given = deployment.get("parameters", {})
    assert set(given) <= set(flow.parameters.properties)
    assert set(given) <= set(flow.validate_parameters(given))


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_what_is_misspelt_in_a_deployment_would_be_refused(deployment: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="sesion"):
        flow_of(deployment).validate_parameters({"settings": {"sesion": {"pace": "live"}}})


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_every_schedule_says_its_time_zone(deployment: dict[str, Any]) -> None:
    for schedule in deployment.get("schedules", []):
        if "cron" in schedule:
            ZoneInfo(schedule["timezone"])
            assert len(schedule["cron"].split()) == 5


def test_every_flow_module_is_deployed() -> None:
    modules = {file.name for file in (HOUSE / "flows").glob("*.py")} - {"__init__.py"}
    deployed = {deployment["entrypoint"].split(":")[0] for deployment in DEPLOYMENTS}
    assert deployed == {f"flows/{name}" for name in modules}
