"""Whole sessions at the gateway while things go wrong. ``make rehearsals`` is the long version, by chance.

The harness is a program: it forks, which a process with threads must not. All days are rehearsed once, two at a time.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
HOUSE = HERE.parents[1]
sys.path.insert(0, str(HERE))
try:
    from situations import SITUATIONS, Situation
finally:
    sys.path.remove(str(HERE))

Outcomes = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What became of each day, by its name."""
    folder = tmp_path_factory.mktemp("rehearsals")
    told = folder / "outcomes.json"
    done = subprocess.run(
        [sys.executable, HERE, "--days", "--seed", "1", "--home", str(folder), "--json", str(told)],
        cwd=HOUSE,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.exists(), done.stdout + done.stderr
    return {one["name"]: one for one in json.loads(told.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_a_session_bears(situation: Situation, outcomes: Outcomes) -> None:
    outcome = outcomes[situation.day]
    assert outcome["violations"] == [], outcome["story"]
    # It happened, and the books agree all the same.
    action = situation.fault["action"]
    wanted = sum(
        one.fault.get("times", 1) for one in SITUATIONS if (one.day, one.fault["action"]) == (situation.day, action)
    )
    assert Counter(outcome["fired"])[action] >= wanted, outcome


def test_the_days_are_busy(outcomes: Outcomes) -> None:
    assert all(outcome["orders"] and outcome["fills"] for outcome in outcomes.values())
    assert sum(outcome["fills"] for outcome in outcomes.values()) > 50
    assert sum(outcome["kills"] for outcome in outcomes.values()) > 0
