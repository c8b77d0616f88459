"""``openbell replay``: its answer, its refusals, and what is left of one that is ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deployments.terminal.exit_codes import ExitCode
from storage.questions import ask
from trading.errors import StoreError

Command = Callable[..., Any]
HOUSE = Path(__file__).parents[3]
FILE = '[session]\ntimeframe = "30min"\nsymbols = ["SPY", "QQQ"]\n[policy]\nparameters = { fast = 2, slow = 5 }\n'
SYNTHETIC = ("replay", "--feed", "synthetic", "--from", "2026-01-05")


def test_it_answers_with_totals_and_sessions_and_again_with_the_same(here: Path, openbell: Command) -> None:
    (here / "openbell.toml").write_text(FILE)
    done = openbell(*SYNTHETIC, "--to", "2026-01-09", "--json")
    assert done.code == ExitCode.DONE, done.err
    answer = done.answer
    assert (answer["state"], answer["sessions"], answer["replayed"]) == ("COMPLETED", 5, 5)
    assert [day["session_date"][-2:] for day in answer["days"]] == ["05", "06", "07", "08", "09"]
    assert answer["account"].startswith("replay-")
    said = openbell(*SYNTHETIC, "--to", "2026-01-09")
    assert said.code == ExitCode.DONE
    assert "SYNTHETIC prices" in said.out
    assert "5 of them were replayed before and came out the same" in said.out
    assert "deepest drawdown" in said.out
    named = openbell(*SYNTHETIC, "--to", "2026-01-06", "--account", "replay-x", "--policy", "buy_and_hold", "--json")
    assert (named.answer["account"], named.answer["strategy"]) == ("replay-x", "buy_and_hold")


def test_what_cannot_be_replayed_ends_with_a_sentence_and_its_code(here: Path, openbell: Command) -> None:
    nothing = openbell("replay", "--json")
    assert nothing.code == ExitCode.REFUSED
    assert "There is no database" in nothing.answer["message"]
    assert not (here / "openbell.duckdb").exists()
    weekend = openbell("replay", "--feed", "synthetic", "--from", "2026-01-10", "--to", "2026-01-11", "--json")
    assert weekend.code == ExitCode.REFUSED
    assert weekend.answer["state"] == "REFUSED"
    assert openbell(*SYNTHETIC, "--to", "2026-01-02").code == ExitCode.WRONG_USAGE
    assert openbell(*SYNTHETIC, "--to", "soon").code == ExitCode.WRONG_USAGE
    assert openbell(*SYNTHETIC, "--to", "2026-01-06", "--account", "paper").code == ExitCode.WRONG_USAGE
    live = openbell("replay", "--feed", "ib")
    assert live.code == ExitCode.WRONG_USAGE
    assert "load-history" in live.err


def test_one_that_is_told_to_end_leaves_whole_sessions_and_goes_on(here: Path, openbell: Command) -> None:
    (here / "openbell.toml").write_text(FILE)
    command = (*SYNTHETIC, "--to", "2026-12-31", "--json")
    running = subprocess.Popen(
        [sys.executable, "-m", "deployments.terminal", *command],
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        cwd=here,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while sessions(here) == 0:
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == ExitCode.STOPPED
    assert '"state": "STOPPED"' in said
    kept = sessions(here)
    [[whole]] = ask(
        here / "openbell.duckdb",
        "SELECT count(*) FROM sessions WHERE state = 'COMPLETED' AND last_bar_time IS NOT NULL",
    ).rows
    assert kept == whole > 0
    further = openbell(*SYNTHETIC, "--to", "2026-02-27", "--json").answer
    assert further["sessions"] == 38
    assert further["replayed"] == max(38 - kept, 0)


def sessions(here: Path) -> int:
    try:
        [[count]] = ask(here / "openbell.duckdb", "SELECT count(*) FROM sessions").rows
    except StoreError:  # not there yet, or being written
        return 0
    return int(count)
