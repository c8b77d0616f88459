"""The units of systemd: what they start exists, waits for what it needs, and gives a session its time."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from deployments.terminal.app import app

FOLDER = Path(__file__).parents[3] / "deployments" / "systemd"
NAMES = ("openbell-server", "openbell-worker", "openbell-deploy")
INSTALLED = "/opt/openbell/.venv/bin/"


def unit(name: str) -> configparser.ConfigParser:
    """A unit; none of ours sets a key twice."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((FOLDER / f"{name}.service").read_text(encoding="utf-8"))
    return parser


def test_there_are_units_for_server_worker_and_deploying() -> None:
    assert {file.stem for file in FOLDER.glob("*.service")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_runs_a_command_of_ours_as_a_user_that_may_write_its_home_alone(name: str) -> None:
    service = unit(name)["Service"]
    program, *arguments = service["ExecStart"].split()
    assert program.startswith(INSTALLED)
    if program.endswith("/python"):
        assert arguments[:2] == ["-m", "deployments.stack.once_served"]
        program, *arguments = arguments[2:]
    assert program.removeprefix(INSTALLED) == "openbell"
    assert arguments[0] in get_command(app).commands  # type: ignore[attr-defined]
    assert service["User"] == "openbell"
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"] == "/var/lib/openbell" == service["WorkingDirectory"]
    assert service["EnvironmentFile"] == "-/etc/openbell/secrets.env"
    assert "OPENBELL_HOME=/var/lib/openbell" in service["Environment"]
    assert not re.search(r"password|auth", service["Environment"], re.IGNORECASE)


def test_a_worker_is_told_alone_and_has_its_time() -> None:
    from deployments.stack.worker import RUN_SECONDS

    worker = unit("openbell-worker")
    assert (worker["Service"]["KillMode"], worker["Service"]["KillSignal"]) == ("mixed", "SIGTERM")
    assert int(worker["Service"]["TimeoutStopSec"]) > RUN_SECONDS + 30
    assert worker["Service"]["Restart"] == "on-failure"
    assert "openbell-server.service" in worker["Unit"]["After"].split()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_nothing_to_say_about_them(tmp_path: Path) -> None:
    for name in NAMES:
        text = (FOLDER / f"{name}.service").read_text(encoding="utf-8")
        # The program has to exist here; which one it is, is judged above.
        (tmp_path / f"{name}.service").write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", text))
    looked = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / f"{name}.service") for name in NAMES)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (looked.returncode, looked.stderr) == (0, "")
