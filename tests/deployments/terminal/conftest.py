"""The command as its users have it: arguments in; exit code, stdout and stderr out; a directory of its own around it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.terminal.app import run
from tasks.composition import assemble
from trading.sessions import SessionSummary
from trading.settings import Settings


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        [line] = self.out.splitlines()
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


Command = Callable[..., Outcome]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the command, empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENBELL_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def openbell(here: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs one command line in this process."""

    assert Path.cwd() == here

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(code), captured.out, captured.err)

    return call


@pytest.fixture
def openbell_process(here: Path) -> Command:
    """Runs one command line in a process of its own, as a shell does."""

    def call(*arguments: object, stdin: str = "", **options: Any) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.terminal", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            cwd=here,
            check=False,
            **options,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def bars_file(here: Path) -> Callable[..., Path]:
    """Writes a CSV of minute bars of one exchange day; closes go up a cent a minute from 100.00."""

    def write(
        name: str = "bars.csv",
        day: date = date(2011, 1, 18),
        symbols: Sequence[str] = ("SPY",),
        minutes: int = 390,
        zone: str = "Z",
        opening: str = "14:30",
    ) -> Path:
        start = datetime.fromisoformat(f"{day.isoformat()}T{opening}:00").replace(tzinfo=UTC)
        lines = ["timestamp,symbol,open,high,low,close,volume"]
        for symbol in symbols:
            for minute in range(minutes):
                close = 10_000 + minute
                at = (start + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%S")
                prices = ",".join(f"{cents / 100:.2f}" for cents in (close - 1, close + 2, close - 3, close))
                lines.append(f"{at}{zone},{symbol},{prices},50000")
        path = here / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture(scope="session")
def traded_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SessionSummary]:
    """The session of ``traded``, in a folder of its own that nobody changes."""
    folder = tmp_path_factory.mktemp("traded")
    with contextlib.chdir(folder), assemble(Settings(), None) as desk:
        return folder, desk.agent.run_session()


@pytest.fixture
def traded(here: Path, traded_once: tuple[Path, SessionSummary]) -> SessionSummary:
    """A session of the synthetic market in ``openbell.duckdb``, traded without Prefect."""
    folder, summary = traded_once
    shutil.copytree(folder, here, dirs_exist_ok=True)
    return summary
