"""What operators' flows are tried beside: a session that trades in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from deployments.publishing.publish import publish
from storage.questions import ask
from trading.settings import Settings, parse_settings

HOUSE = Path(__file__).parents[2]
SECONDS_A_SESSION_MAY_TAKE = 60

TRADING = """
import sys
from tasks.composition import assemble
from trading.settings import Settings
with assemble(Settings.model_validate_json(sys.argv[1]), None) as desk:
    desk.agent.run_session()
"""


@pytest.fixture
def trading_settings(tmp_path: Path) -> Settings:
    """A session that buys on its first bar and takes two minutes a second."""
    return parse_settings(
        {
            "session": {"pace": 120, "symbols": ["AAA"], "granularity": "chunk"},
            "policy": {"name": "buy_and_hold"},
            "feed": {"kind": "synthetic"},
            "store": {"path": str(tmp_path / "ledger.duckdb")},
        },
        "the test",
    )


@pytest.fixture
def running(trading_settings: Settings) -> Iterator[Settings]:
    """The settings of a session that trades now, in another process, and holds a position."""
    session = subprocess.Popen(
        [sys.executable, "-c", TRADING, trading_settings.model_dump_json()],
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: trading_settings.store.path.exists() and held(trading_settings) > 0)
        yield trading_settings
        assert session.poll() is None
    finally:
        if session.poll() is None:
            session.send_signal(signal.SIGKILL)
        session.wait(30)


def held(settings: Settings) -> int:
    """Shares held by now."""
    [[shares]] = ask(settings.store.path, "SELECT coalesce(sum(quantity), 0) FROM positions").rows
    return int(shares)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_A_SESSION_MAY_TAKE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def deployed_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: str) -> Path:
    """The session and what stops it are deployed with this folder for a home, and nothing starts by itself."""
    assert prefect_server
    home = tmp_path / "home"
    home.mkdir()
    document = yaml.safe_load((HOUSE / "prefect.yaml").read_text(encoding="utf-8"))
    wanted = [one for one in document["deployments"] if one["name"] in ("session", "flatten")]
    document["deployments"] = [{key: said for key, said in one.items() if key != "schedules"} for one in wanted]
    (home / "prefect.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    monkeypatch.setenv("OPENBELL_HOME", str(home))
    publish(prune=True)
    return home


@pytest.fixture
def shares_held() -> Callable[[Settings], int]:
    return held


@pytest.fixture
def artifacts() -> Callable[[State[Any]], dict[str, str]]:
    """What a person finds at a flow run: its artifacts' texts by key."""

    def find(state: State[Any]) -> dict[str, str]:
        with get_client(sync_client=True) as client:
            body = {"artifacts": {"flow_run_id": {"any_": [str(state.state_details.flow_run_id)]}}}
            found: list[dict[str, Any]] = client.request("POST", "/artifacts/filter", json=body).json()
        return {one["key"]: one["data"] for one in found}

    return find
