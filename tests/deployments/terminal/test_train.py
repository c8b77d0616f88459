"""``openbell train``, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.terminal.exit_codes import ExitCode
from storage.store import open_store
from trading.bars import BarColumns, Timeframe

Command = Callable[..., Any]
HOUSE = Path(__file__).parents[3]
FILE = """
[session]
timeframe = "5min"
[train]
name = "reverting"
features = [{ name = "return", parameters = { bars = 1 } }, { name = "ema_distance", parameters = { bars = 3 } }]
[train.label]
horizon_bars = 3
[train.walk_forward]
folds = 1
test_sessions = 2
train_sessions = 4
"""


@pytest.fixture
def eight_sessions(here: Path, market_that_reverts: Callable[..., BarColumns]) -> Path:
    """``openbell.duckdb`` with bars, and an ``openbell.toml`` that asks for one fold of two sessions."""
    with open_store(here / "openbell.duckdb") as store:
        store.bars_of(Timeframe.MINUTE_5).import_bars([market_that_reverts(sessions=8)])
    (here / "openbell.toml").write_text(FILE)
    return here


def test_it_answers_with_the_report_and_registers(
    eight_sessions: Path, openbell_process: Command, openbell: Command
) -> None:
    done = openbell_process("train", "--name", "mine", "--from", "2026-01-06", "--json")
    assert done.code == ExitCode.DONE, done.err
    answer = done.answer
    assert answer["out_of_sample"] == {"sessions": 2, "first_session": "2026-01-13", "last_session": "2026-01-14"}
    assert answer["folds"][0]["trained_first"] == "2026-01-06"
    assert json.loads((eight_sessions / answer["report"] / "report.json").read_text())["folds"] == answer["folds"]
    assert "fold 1 of 1: fitting" in done.err

    listed = openbell("policies", "--json").answer["policies"]
    assert [(one["fingerprint"], one["stage"], one["name"]) for one in listed] == [
        (answer["policy"], "candidate", "mine")
    ]
    said = openbell("train", "--kind", "regressor").out
    assert "Out of sample and after costs it made" in said
    assert "is registered at candidate. Bundle: policies/reverting/" in said
    assert all(name in said for name in ("model", "flat", "buy_and_hold", "sma_crossover"))


def test_what_cannot_be_trained_ends_with_two_and_a_sentence(eight_sessions: Path, openbell: Command) -> None:
    too_few = openbell("train", "--to", "2026-01-08", "--json")
    assert too_few.code == ExitCode.WRONG_USAGE
    assert too_few.answer["exit_code"] == 2
    assert "4 sessions are too few" in too_few.answer["message"]
    assert openbell("train", "--kind", "sac").code == ExitCode.WRONG_USAGE
    assert openbell("train", "--from", "tomorrow").code == ExitCode.WRONG_USAGE
    assert openbell("train", "--resume").code == ExitCode.WRONG_USAGE
    nobody = openbell("train", "--symbols", "QQQ")
    assert nobody.code == ExitCode.WRONG_USAGE
    assert "which has SPY" in nobody.err
    assert not (eight_sessions / "policies").exists()


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_interrupted_leaves_nothing(
    eight_sessions: Path, openbell: Command, ended_by: signal.Signals
) -> None:
    """Trees that would grow for hours, and a person who presses Ctrl-C, or a machine that shuts down."""
    file = eight_sessions / "openbell.toml"
    endless = "parameters = { max_iter = 10_000_000, early_stopping = false }"
    file.write_text(FILE.replace("[train]", f"[train]\n{endless}"))
    command = [sys.executable, "-m", "deployments.terminal", "train", "--estimator", "gradient_boosting"]
    training = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        cwd=eight_sessions,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has the signal of Ctrl-C ignored, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert training.stderr is not None
        assert "fitting" in training.stderr.readline()
        training.send_signal(ended_by)
        assert training.wait(60) == ExitCode.FAILED
    finally:
        if training.poll() is None:
            training.kill()
        training.wait(30)
    assert [file for file in eight_sessions.rglob("*") if file.name in ("manifest.json", "report.md")] == []
    assert openbell("policies", "--json").answer["policies"] == []
