"""docs/alerts.md: the words that are sent, and commands and settings that exist."""

import ast
import re
from pathlib import Path

import pytest
import typer
import yaml

from deployments.alerts.catalogue import ALERTS
from deployments.alerts.page import page
from deployments.alerts.session_alerts import TRADING
from deployments.alerts.triggers import FINAL_STATES
from deployments.terminal.app import app
from trading.alert_settings import AlertName, AlertSettings
from trading.settings import Settings

HOUSE = Path(__file__).parents[2]
PAGE = (HOUSE / "docs" / "alerts.md").read_text(encoding="utf-8")
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_page_is_what_is_sent() -> None:
    assert page() == PAGE, "python -m deployments.alerts.page > docs/alerts.md"


@pytest.mark.parametrize("name", AlertName)
def test_a_message_names_its_section_and_says_what_to_do(name: AlertName) -> None:
    alert = ALERTS[name]
    assert f"\n### {name}\n" in PAGE
    body = alert.body()
    assert f"docs/alerts.md#{name}" in body
    assert alert.meaning in body
    assert [step for step in alert.steps if step not in body] == []
    words = " ".join((alert.meaning, *alert.steps))
    named = set(re.findall(r"\bopenbell ([a-z]+)\b", words))
    assert named <= COMMANDS | {"with"}, f"{named - COMMANDS} is no command"
    for section, key in re.findall(r"\[([a-z]+)\] ([a-z_]+)", words):
        assert key in type(getattr(Settings(), section)).model_fields


def test_beside_several_strategies_a_message_says_how_a_command_is_told_which_is_meant() -> None:
    alert = ALERTS[AlertName.HALTED]
    assert "--db" not in alert.body({"trend": Path("trend.duckdb")})
    both = alert.body({"trend": Path("trend.duckdb"), "calm": Path("calm.duckdb")})
    assert "--db trend.duckdb for trend, --db calm.duckdb for calm." in both


def test_settings_that_the_page_names_exist() -> None:
    fields = set(AlertSettings.model_fields)
    named = set(re.findall(r"^    ([a-z_]+) = ", PAGE, re.MULTILINE)) | set(re.findall(r"`([a-z]+_minutes)`", PAGE))
    assert named
    assert named <= fields


def flows_watched_for_silence() -> set[Path]:
    document = yaml.safe_load((HOUSE / "prefect.yaml").read_text(encoding="utf-8"))
    watched = [one for one in document["deployments"] if set(one["tags"]) & set(TRADING)]
    return {HOUSE / "flows" / f"{one['entrypoint'].partition(':')[0].split('.')[1]}.py" for one in watched}


def test_every_end_that_a_watched_flow_names_is_known_to_the_watch_for_silence() -> None:
    named = set()
    for file in flows_watched_for_silence():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Completed", "Failed", "Crashed", "Cancelled"}:
                names = [one.value for one in node.keywords if one.arg == "name"]
                assert all(isinstance(name, ast.Constant) for name in names), f"{file.name} names an end by a variable"
                named |= {name.value for name in names if isinstance(name, ast.Constant)}
    assert {"ClosedDay", "Alarm"} <= named
    assert named <= set(FINAL_STATES)
