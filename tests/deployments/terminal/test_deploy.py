"""openbell deploy where nothing can be written: no server, one that does not answer, settings that are not valid."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.terminal.exit_codes import ExitCode

Command = Callable[..., Any]
TWO = '[strategies.trend]\nstore.path = "a.duckdb"\n[strategies.calm]\n'


@pytest.fixture(autouse=True)
def no_home_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBELL_HOME", raising=False)


def test_without_a_server_it_says_how_to_name_one(openbell: Command) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        done = openbell("deploy", "--json")
    assert done.code == ExitCode.WRONG_USAGE
    assert "Set PREFECT_API_URL" in done.answer["message"]


def test_a_server_that_does_not_answer_is_named(openbell: Command) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: address}):
            done = openbell("deploy")
    assert done.code == ExitCode.WRONG_USAGE
    assert f"at {address} does not answer" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ("[sizing]\nfractoin = 1", [], "did you mean fraction"),
        (TWO + 'store.path = "./a.duckdb"', [], "share the database"),
        (TWO + 'store.path = "b.duckdb"', ["--db", "c.duckdb"], "Leave out --db"),
        (TWO + 'schedule.cron = "early"', [], "cron = 'early'"),
    ],
)
def test_settings_are_looked_at_before_the_server(
    openbell: Command, here: Path, settings: str, options: list[str], said: str
) -> None:
    (here / "openbell.toml").write_text(settings, encoding="utf-8")
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        done = openbell("deploy", "--json", *options)
    assert done.code == ExitCode.WRONG_USAGE
    assert said in done.answer["message"]


def test_a_home_that_is_not_there_is_named(openbell: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBELL_HOME", "/nowhere/at/all")
    done = openbell("deploy", "--json")
    assert done.code == ExitCode.WRONG_USAGE
    assert "/nowhere/at/all is no folder" in done.answer["message"]
