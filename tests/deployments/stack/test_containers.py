"""The image and the compose file, as far as they can be judged without an engine: what runs, as whom, and what is reached from where."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from deployments.terminal.app import app

HOUSE = Path(__file__).parents[3]
FOLDER = HOUSE / "deployments" / "containers"
SECRET = re.compile(r"password|auth|secret|token", re.IGNORECASE)
VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])((?:[^{}]|\$\{[^{}]*\})*))?\}")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    assert set(document["volumes"]) == {"database", "server", "home"}
    services = document["services"]
    assert isinstance(services, dict)
    return services


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile with its words, lines put together."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest) for line in lines if line.strip() for word, _, rest in [line.partition(" ")]]


def test_everything_that_a_stack_needs_is_there_and_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    assert set(services) == {"database", "server", "deploy", "worker"}
    waits = {
        name: {one: how["condition"] for one, how in of.get("depends_on", {}).items()} for name, of in services.items()
    }
    assert waits == {
        "database": {},
        "server": {"database": "service_healthy"},
        "deploy": {"server": "service_healthy"},
        "worker": {"server": "service_healthy", "deploy": "service_completed_successfully"},
    }


def test_services_are_checked_restarted_and_hold_no_more_rights_than_they_need(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        if name == "deploy":
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["environment"]["TZ"] == "UTC", name


def test_a_session_has_its_time_before_a_worker_is_killed(services: dict[str, Any]) -> None:
    from deployments.stack.worker import RUN_SECONDS

    minutes = int(re.fullmatch(r"(\d+)m", services["worker"]["stop_grace_period"])[1])  # type: ignore[index]
    assert minutes * 60 > RUN_SECONDS + 30
    # A signal reaches our command and no shell before it.
    assert services["worker"]["init"] is True
    assert services["worker"]["volumes"] == ["home:/var/lib/openbell"]


def test_only_this_machine_reaches_the_api_and_nobody_the_database(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"server"}
    assert all(port.startswith("127.0.0.1:") for port in ports["server"])


def test_no_secret_is_written_down_and_nothing_starts_without_one(services: dict[str, Any]) -> None:
    seen = 0
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if value is None or not (SECRET.search(name) or ("://" in str(value) and "@" in str(value))):
                continue
            seen += 1
            variables = VARIABLE.findall(value)
            assert variables, f"{name} is written down"
            assert all(how == "?" and words for _, how, words in variables), f"{name} may be left out"
    assert seen >= 5
    for line in (FOLDER / "env.example").read_text(encoding="utf-8").splitlines():
        assert not line or line.startswith("#") or line.endswith("="), line


def test_every_variable_is_in_the_example() -> None:
    example = (FOLDER / "env.example").read_text(encoding="utf-8")
    used = {name for name, _, _ in VARIABLE.findall((FOLDER / "compose.yaml").read_text(encoding="utf-8"))}
    told = set(re.findall(r"^#?([A-Z_]+)=", example, flags=re.MULTILINE))
    assert used - told <= {"OPENBELL_VERSION", "OPENBELL_UI_API_URL", "OPENBELL_UI_ORIGINS"}


def test_every_command_is_one_of_ours_with_options_that_it_has(
    services: dict[str, Any], instructions: list[tuple[str, str]]
) -> None:
    ours = get_command(app).commands  # type: ignore[attr-defined]
    words = dict(instructions)
    assert yaml.safe_load(words["ENTRYPOINT"]) == ["openbell"]
    for command in [yaml.safe_load(words["CMD"]), *(one["command"] for one in services.values() if "command" in one)]:
        assert command[0] in ours
        options = {name for parameter in ours[command[0]].params for name in parameter.opts}
        assert {word for word in command if word.startswith("--")} <= options
    for service in services.values():
        test = service.get("healthcheck", {}).get("test", [])
        if "-m" in test:
            assert (HOUSE / (test[test.index("-m") + 1].replace(".", "/") + ".py")).is_file()


def test_the_image_is_built_of_files_that_exist_with_versions_that_are_fixed(
    instructions: list[tuple[str, str]],
) -> None:
    bases = [words.split()[0] for instruction, words in instructions if instruction == "FROM"]
    assert set(bases) == {"python:3.11-slim"}
    left_out = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [
        shlex.split(words) for instruction, words in instructions if instruction == "COPY" and "--from" not in words
    ]
    for *sources, _ in copied:
        for source in sources:
            assert (HOUSE / source).exists(), source
            assert f"!{source}" in left_out, f"{source} is not sent to the build"
    assert "ADD" not in dict(instructions)
    [install] = [words for instruction, words in instructions if instruction == "RUN" and "pip install" in words]
    assert "-c constraints.txt" in install


def test_the_image_runs_as_nobody_special_and_carries_no_secret(instructions: list[tuple[str, str]]) -> None:
    last_stage = instructions[max(i for i, (word, _) in enumerate(instructions) if word == "FROM") :]
    users = [words for instruction, words in last_stage if instruction == "USER"]
    assert users == ["10001:10001"]
    after = [word for word, _ in last_stage[[word for word, _ in last_stage].index("USER") :]]
    assert "RUN" not in after
    assert "HEALTHCHECK" in after
    for instruction, words in instructions:
        if instruction in ("ENV", "ARG"):
            assert not SECRET.search(words), words


def test_the_health_check_says_no_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.stack.healthy import main

    monkeypatch.setitem(os.environ, "PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert (main("server"), main("worker")) == (1, 1)
