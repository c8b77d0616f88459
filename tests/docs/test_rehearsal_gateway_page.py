"""docs/rehearsal-gateway.md: every option, fault and command of the gateway, and no other; its script of faults is one."""

import asyncio
import json
import re
from pathlib import Path

import typer.main

from deployments.terminal.app import app
from tasks.gateway_composition import GatewayAsked, assemble_gateway
from trading.rehearsal_gateway.control_door import ControlDoor
from trading.rehearsal_gateway.faults import FAULTS, FaultKind, faults_in
from trading.rehearsal_gateway.server import NEWEST_VERSION, OLDEST_VERSION
from trading.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "rehearsal-gateway.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the table rows under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def fault_cells(name: str, kind: FaultKind) -> list[str]:
    """A fault as its line has it."""
    waits_for = "a time" if kind.on is None else f"`{kind.on}`"
    parameters = ", ".join(f"`{parameter} = {json.dumps(value)}`" for parameter, value in kind.parameters.items())
    return [f"`{name}`", kind.what, waits_for, parameters]


def test_every_option_has_its_line() -> None:
    command = typer.main.get_command(app).commands["gateway"]  # type: ignore[attr-defined]
    options = {name for option in command.params for name in option.opts if name.startswith("--")} - {"--help"}
    assert {name for cells in table("The command") for name in re.findall(r"`(--[a-z-]+)`", cells[0])} == options


def test_every_fault_has_its_line() -> None:
    assert table("Faults") == [fault_cells(name, kind) for name, kind in FAULTS.items()]


def test_every_command_of_the_control_door_has_its_line() -> None:
    async def door() -> ControlDoor:
        asked = GatewayAsked(control_port=0)
        return ControlDoor(assemble_gateway(Settings(), asked).gateway)

    assert tuple(cells[0].strip("`") for cells in table("The control door")) == asyncio.run(door()).commands


def test_the_versions_are_those_that_are_spoken() -> None:
    assert f"versions {OLDEST_VERSION} to {NEWEST_VERSION} are spoken" in PAGE


def test_the_script_is_one(tmp_path: Path) -> None:
    [script] = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "faults.toml"
    file.write_text(script, encoding="utf-8")
    assert [fault.action for fault in faults_in(file)] == ["drop_after_order", "restart", "data_stop"]
