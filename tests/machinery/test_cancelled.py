"""Cancelled in the UI: how long it takes until nothing works any more, with a worker, without one, and from a terminal."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.environ.get("OPENBELL_TESTS") != "long", reason="make machinery")

Stack = Place = Any
HOUSE = Path(__file__).parents[2]
SECONDS_UNTIL_NOTHING_WORKS = 15.0
WAITING = {"orders": {"order_type": "LIMIT", "limit_offset_bps": -500, "time_in_force": "GTC"}}
"""Orders that lie in the market unfilled."""
WORKING = "SELECT count(*) FROM open_orders WHERE status IN ('ACCEPTED', 'PARTIALLY_FILLED')"
REASON = "the session's run was cancelled in Prefect"


def quiet_session(place: Place) -> dict[str, object]:
    """A session that buys once and whose orders wait; it takes two minutes."""
    return place.document(200, policy={"name": "buy_and_hold"}, **WAITING)


def nothing_works(place: Place) -> bool:
    """As the ledger has it once the session has let go of it: between a door that shuts and a free file nobody is told anything."""
    with suppress(Exception):
        return place.asked(WORKING) == [(0,)] and place.state() == "STOPPED"
    return False


def test_a_cancelled_session_has_nothing_working_after_some_seconds_and_stays_stopped(
    stack: Stack, place: Place, record_property: Callable[[str, Any], None]
) -> None:
    run = stack.start_run(quiet_session(place))
    stack.until(lambda: place.asked(WORKING) not in ([], [(0,)]), "orders work")
    began = time.monotonic()
    stack.set_state(run, "CANCELLING")
    stack.until(lambda: nothing_works(place), "nothing works")
    seconds = time.monotonic() - began
    record_property("cancel_to_nothing_working_seconds", round(seconds, 1))
    assert seconds < SECONDS_UNTIL_NOTHING_WORKS
    state = stack.ended(run)
    assert (state["type"], place.asked("SELECT state, reason FROM stops")) == ("CANCELLED", [("SUCCEEDED", REASON)])


def test_a_session_whose_worker_was_killed_hears_a_cancel_by_itself(
    stack: Stack, place: Place, record_property: Callable[[str, Any], None]
) -> None:
    run = stack.start_run(quiet_session(place))
    stack.until(lambda: place.asked(WORKING) not in ([], [(0,)]), "orders work")
    killed = stack.worker_pid()
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    stack.set_state(run, "CANCELLING")
    stack.until(lambda: nothing_works(place), "nothing works")
    seconds = time.monotonic() - began
    record_property("cancel_without_a_worker_to_nothing_working_seconds", round(seconds, 1))
    assert seconds < SECONDS_UNTIL_NOTHING_WORKS
    state = stack.ended(run)
    assert (state["type"], state["message"]) == (
        "CANCELLED", "The session was stopped, as its run was cancelled in Prefect.",
    )  # fmt: skip
    stack.until(lambda: stack.pids("prefect worker start") not in ([], [killed]), "another worker is there")


@pytest.fixture
def from_a_terminal(stack: Stack, place: Place) -> Iterator["subprocess.Popen[str]"]:
    """``openbell session`` beside the stack's server."""
    config = place.folder / "openbell.toml"
    config.write_text(
        f'[session]\nsymbols = ["AAA"]\ntimeframe = "10min"\naccount = "term"\n[feed]\nkind = "synthetic"\n'
        f'[policy]\nname = "buy_and_hold"\n[broker.paper]\npath = "{place.account}"\n'
    )
    options = ["--config", str(config), "--db", str(place.ledger), "--date", "2026-01-05", "--pace", "200", "--json"]
    session = subprocess.Popen(
        [sys.executable, "-m", "deployments.terminal", "session", *options],
        cwd=place.folder,
        env={**os.environ, "PYTHONPATH": str(HOUSE), "PREFECT_API_URL": str(stack.client.base_url).rstrip("/")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield session
    if session.poll() is None:
        session.kill()
    session.communicate()


def test_a_session_of_a_terminal_can_be_cancelled_in_the_ui(
    stack: Stack, place: Place, from_a_terminal: "subprocess.Popen[str]"
) -> None:
    stack.until(lambda: place.state() == "RUNNING", "it trades")
    [run, *_] = [one["id"] for one in stack.runs_of("trading-session") if one["deployment_id"] is None]
    stack.set_state(run, "CANCELLING")
    said, _ = from_a_terminal.communicate(timeout=120)
    assert from_a_terminal.returncode == 4
    assert "cancelled in Prefect" in json.loads(said)["message"]
    assert stack.ended(run)["type"] == "CANCELLED"
    assert place.asked("SELECT reason FROM stops") == [(REASON,)]
