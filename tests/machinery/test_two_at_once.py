"""Two workers on one work pool, two sessions of one account: each run is executed once, and an account is traded by one.

Behind `make machinery`; tests/flows/test_exactly_once.py has the same of two commands and of one run in two engines.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.environ.get("OPENBELL_TESTS") != "long", reason="make machinery")

Stack = Place = Any
HOUSE = Path(__file__).parents[2]


@pytest.fixture
def second_worker(stack: Stack) -> Iterator[None]:
    """Another ``openbell worker`` of the same home."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment.update(
        OPENBELL_HOME=str(stack.home), PYTHONPATH=str(HOUSE), PREFECT_API_URL=str(stack.client.base_url).rstrip("/")
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "deployments.terminal", "worker", "--name", "second"],
        cwd=stack.home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    online = {"workers": {"status": {"any_": ["ONLINE"]}}}
    stack.until(
        lambda: len(stack.asked("POST", "/work_pools/openbell/workers/filter", online)) == 2, "both workers are there"
    )
    yield
    worker.terminate()
    worker.wait(120)


@pytest.mark.usefixtures("second_worker")
def test_two_workers_execute_a_run_once(
    stack: Stack, place: Place, equal_to_undisturbed: Callable[[Place], None]
) -> None:
    runs = []
    for name in ("a", "b", "c"):
        folder = place.folder / name / "hurt"
        folder.mkdir(parents=True)
        runs.append((stack.start_run(type(place)(folder).document("max")), type(place)(folder)))
    for run, there in runs:
        assert stack.ended(run)["type"] == "COMPLETED"
        assert stack.asked("GET", f"/flow_runs/{run}")["run_count"] == 1
        assert there.asked("SELECT fence FROM session_leases") == [(1,)]
        equal_to_undisturbed(there)


def test_of_two_sessions_of_an_account_one_trades_and_the_other_fails_with_words(
    stack: Stack, place: Place, equal_to_undisturbed: Callable[[Place], None]
) -> None:
    runs = [stack.start_run(place.document(1_500)) for _ in range(2)]
    states = sorted((stack.ended(run) for run in runs), key=lambda state: str(state["type"]))
    assert [state["type"] for state in states] == ["COMPLETED", "FAILED"]
    assert "is held by process" in states[1]["message"]
    assert "Nothing is traded" in states[1]["message"]
    equal_to_undisturbed(place)
