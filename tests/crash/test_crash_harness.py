"""A short run of the crash harness (``make test-long`` has four times as many kills, ``make crash-test`` is the long one), and that it notices what it is there for."""

import os
import re
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).parents[2]
SEED = "7"


def harness(*options: str) -> "subprocess.CompletedProcess[str]":
    """Run the harness in a process of its own: it forks, which a process with threads must not."""
    return subprocess.run(
        [sys.executable, HOUSE / "tests" / "crash", *options],
        cwd=HOUSE,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_killed_sessions_come_to_what_undisturbed_ones_do(tmp_path: Path) -> None:
    deaths, others = (40, 3) if os.environ.get("OPENBELL_TESTS") == "long" else (10, 2)
    options = ["--kills", deaths, "--races", others, "--full-disks", others, "--seconds", 120]

    done = harness(*map(str, options), "--seed", SEED, "--home", str(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"kills (\d+) .*orders (\d+) .*fills (\d+) .*violations 0 ", done.stdout)
    assert counted is not None, done.stdout
    kills, orders, fills = map(int, counted.groups())
    assert kills >= 8
    assert fills > orders > 100
    assert list(tmp_path.iterdir()) == []


def test_tables_that_differ_are_told(tmp_path: Path) -> None:
    sessions = tmp_path / "sessions.py"
    sessions.write_text(
        """
import os, sys
from datetime import date
from tasks.composition import assemble
from trading.settings import parse_settings
for name, symbol in (("one", "AAA"), ("same", "AAA"), ("other", "BBB")):
    os.mkdir(name)
    settings = {"session": {"symbols": [symbol], "timeframe": "30min"}, "feed": {"kind": "synthetic"},
                "policy": {"name": "buy_and_hold"}, "closing": {"hold_overnight": True}, "store": {"path": f"{name}/ledger.duckdb"}}
    with assemble(parse_settings(settings, "the test"), date(2026, 1, 5)) as desk:
        desk.agent.run_session()
"""
    )
    subprocess.run(
        [sys.executable, sessions], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(HOUSE)}, timeout=60, check=True
    )
    one, same, other = (str(tmp_path / name / "ledger.duckdb") for name in ("one", "same", "other"))

    assert harness("--same", one, same).returncode == 0
    differing = harness("--same", one, other)
    assert differing.returncode == 1
    assert "table fills: 1 rows are missing, 1 are not of the undisturbed run" in differing.stdout
