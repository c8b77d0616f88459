"""A session from the terminal, through Prefect."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.composition import assemble
from trading.sessions import SessionState, SessionSummary
from trading.settings import Settings

Command = Callable[..., Any]

KEYS = [
    "session_id", "session_date", "mode", "state", "bars", "decisions", "orders", "fills", "realized_pnl",
    "unrealized_pnl", "commissions", "equity", "halted", "discrepancies", "db",
]  # fmt: skip


def test_a_session_that_was_traded_before_is_told_again_without_prefect(
    openbell: Command, traded: SessionSummary
) -> None:
    # Without a date the synthetic market would go on to its next day.
    outcome = openbell("session", "--date", "2026-01-05", "--feed", "synthetic", "--json")
    assert outcome.code == 0
    assert list(outcome.answer) == KEYS
    assert outcome.answer["equity"] == float(traded.equity)
    assert "was traded before" in outcome.err


def test_the_same_day_with_another_policy_is_refused(openbell: Command, traded: SessionSummary) -> None:
    options = ["--date", "2026-01-05", "--feed", "synthetic", "--strategy", "sma_crossover", "--policy", "flat"]
    outcome = openbell("session", *options, "--json")
    assert outcome.code == 3
    assert outcome.answer["error"] == "already traded"
    assert outcome.answer["session_id"] == traded.session_id
    assert "--strategy" in outcome.answer["message"]


def test_an_unexpected_error_names_its_kind_and_the_way_to_its_traceback(
    openbell: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr("deployments.terminal.session_run.check_before_start", broken)
    outcome = openbell("session", "--json")
    assert outcome.code == 1
    assert outcome.answer["error"] == "key error"
    [paragraph] = outcome.err.splitlines()
    assert "KeyError" in paragraph
    assert "OPENBELL_DEBUG=1" in paragraph
    monkeypatch.setenv("OPENBELL_DEBUG", "1")
    assert "Traceback" in openbell("session").err
    assert list(here.iterdir()) == []


def test_without_arguments_the_help_is_shown(openbell: Command) -> None:
    outcome = openbell()
    assert "import-bars" in outcome.out
    assert openbell("--help").code == 0


@pytest.mark.usefixtures("prefect_server")
def test_a_recorded_day_is_traded_and_answered_with_one_object(openbell_process: Command, bars_file: Any) -> None:
    options = ["--bars", bars_file(), "--date", "2011-01-18", "--policy", "buy_and_hold", "--granularity", "chunk"]
    outcome = openbell_process("session", *options, "--json")
    assert outcome.err == ""
    assert outcome.code == 0
    assert list(outcome.answer) == KEYS
    told = {key: outcome.answer[key] for key in ("session_date", "mode", "state", "bars", "fills", "halted")}
    assert told == {
        "session_date": "2011-01-18", "mode": "recorded", "state": "COMPLETED", "bars": 390, "fills": 2, "halted": False
    }  # fmt: skip
    # Bought, and closed before the close.


@pytest.mark.usefixtures("prefect_server")
def test_a_polite_kill_stops_the_session_in_order_and_the_next_run_goes_on(
    here: Path, openbell_process: Command
) -> None:
    # 390 minutes in about 16 seconds: time enough to stop it on the way.
    (here / "openbell.toml").write_text('[session]\ntimeframe = "5min"\n')
    arguments = ["session", "--pace", "1500", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "deployments.terminal", *arguments],
        cwd=here, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        wait_until_trading(here / "openbell.duckdb", process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    answer = json.loads(out)
    assert process.returncode == 4
    assert answer["state"] == "STOPPED"
    assert answer["exit_code"] == 4
    assert "the same command again" in err
    outcome = openbell_process("session", "--json")
    assert outcome.code == 0
    assert (outcome.answer["state"], outcome.answer["bars"]) == (SessionState.COMPLETED, 78)
    assert outcome.answer["session_id"] == answer["session_id"]


def wait_until_trading(db: Path, process: "subprocess.Popen[str]") -> None:
    """Until the log beside the database shows that bars are being written."""
    log = db.with_name(db.name + ".wal")
    for _ in range(1_800):
        if process.poll() is not None or (log.exists() and log.stat().st_size > 20_000):
            return
        time.sleep(0.1)


def test_a_dry_run_says_so_and_leaves_the_ledger_as_it_is(
    openbell: Command, here: Path, traded: SessionSummary
) -> None:
    before = (here / "openbell.duckdb").read_bytes()
    again = openbell("session", "--date", "2026-01-05", "--feed", "synthetic", "--dry-run", "--json")
    # The copy knows the day as traded: nothing is left to rehearse of it.
    assert again.code == 0
    assert again.answer["session_id"] == traded.session_id
    assert (again.answer["dry_run"], again.answer["would_have_sent"]) == (True, 0)
    assert again.answer["db"] == "openbell.dry-run.duckdb"
    half_hours = {"policy": {"name": "buy_and_hold"}, "session": {"timeframe": "30min"}}
    with assemble(Settings.model_validate(half_hours), None, dry_run=True) as desk:
        rehearsed = desk.agent.run_session()
    told = openbell("report", rehearsed.session_date.isoformat(), "--db", "openbell.dry-run.duckdb", "--json")
    [session] = told.answer["sessions"]
    assert (session["dry_run"], session["would_have_sent"], session["fills"]) == (True, rehearsed.orders, 0)
    assert rehearsed.orders > 0
    shown = openbell("report", rehearsed.session_date.isoformat(), "--db", "openbell.dry-run.duckdb")
    assert f"{rehearsed.orders} orders would have been sent" in shown.out
    assert (here / "openbell.duckdb").read_bytes() == before
