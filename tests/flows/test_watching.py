"""What a person sees of a session at the server, and what it costs the session when the server is away."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from flows.trading_session import trading_session
from storage.questions import ask
from trading.settings import Settings, parse_settings

HOUSE = Path(__file__).parents[2]
PATIENCE_SECONDS = 90.0
Fault = Literal["none", "cut", "frozen"]

TRADING = """
import datetime, sys
from flows.trading_session import run
from trading.settings import Settings
print(run(Settings.model_validate_json(sys.argv[1]), datetime.date(2026, 1, 5)).state)
"""


def settings_at(path: Path, **session: Any) -> Settings:
    """Thirteen bars of half an hour, bought on the first and sold before the close."""
    return parse_settings(
        {
            "session": {"timeframe": "30min", "symbols": ["AAA"], "granularity": "stage", **session},
            "policy": {"name": "buy_and_hold"},
            "feed": {"kind": "synthetic"},
            "store": {"path": str(path)},
        },
        "the test",
    )


def asked(path: str, body: dict[str, Any]) -> Any:
    with get_client(sync_client=True) as client:
        return client.request("POST", path, json=body).json()


def events_of(flow_run_id: str) -> list[dict[str, Any]]:
    """All events of ours that are related to a run."""
    body = {
        "filter": {"event": {"prefix": ["openbell."]}, "related": {"id": [f"prefect.flow-run.{flow_run_id}"]}},
        "limit": 50,
    }
    found: list[dict[str, Any]] = asked("/events/filter", body)["events"]
    return found


def told_in(flow_run_id: str) -> list[dict[str, Any]]:
    """Those without what risk had to say."""
    return [event for event in events_of(flow_run_id) if not event["event"].startswith("openbell.risk.")]


def artifacts_of(flow_run_id: str) -> dict[str, str]:
    found = asked("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}})
    return {one["key"]: one["data"] for one in found}


def wait_until(is_so: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := is_so()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


@pytest.mark.usefixtures("prefect_server")
def test_a_session_is_told_in_events_and_shown_in_artifacts(tmp_path: Path) -> None:
    state: State[Any] = trading_session(settings_at(tmp_path / "l.duckdb"), date(2026, 1, 5), return_state=True)

    run = str(state.state_details.flow_run_id)
    names = ["openbell.fill"] * 2 + ["openbell.session.completed", "openbell.session.started"]

    ours = wait_until(lambda: len(found := told_in(run)) >= len(names) and found)
    assert sorted(event["event"] for event in ours) == names
    assert {event["resource"]["prefect.resource.id"] for event in ours} == {
        "openbell.session.2026-01-05.synthetic.buy_and_hold"
    }
    bought = next(event["payload"] for event in ours if event["payload"].get("side") == "BUY")
    [[exec_id, quantity, price]] = ask(
        tmp_path / "l.duckdb", "select exec_id, quantity, price from fills where side = 'BUY'"
    ).rows
    assert (bought["exec_id"], bought["quantity"], bought["price"]) == (exec_id, quantity, str(price))
    assert bought["message"].startswith(f"Bought {quantity} AAA at ")

    shown = artifacts_of(run)
    [[equity]] = ask(tmp_path / "l.duckdb", "select ending_equity from daily_pnl").rows
    assert f"| {equity:,.2f} | {equity:,.2f} |" in shown["session-account"], "all of it is cash again"
    assert "Nothing is held." in shown["session-account"]
    report = shown["session-2026-01-05-synthetic-buy-and-hold"]
    assert report.count("](data:image/png;base64,") == 2
    assert "events: All " in report


@pytest.mark.usefixtures("prefect_server")
def test_a_refused_session_is_told_with_what_to_do(tmp_path: Path) -> None:
    state: State[Any] = trading_session(settings_at(tmp_path / "l.duckdb"), date(2026, 1, 19), return_state=True)

    run = str(state.state_details.flow_run_id)
    [event] = wait_until(lambda: events_of(run))
    assert event["event"] == "openbell.session.skipped"
    assert "Martin Luther King" in event["payload"]["message"]
    assert event["payload"]["remedy"]


class Passage:
    """A way to the server on a port of its own, that can be cut (nothing is there) or frozen (nothing is answered)."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._behind = (parts.hostname or "", parts.port or 0)
        self._fault: Fault = "none"
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._do(self._open(0))
        self.address = f"http://127.0.0.1:{self.port}{parts.path}"

    def break_down(self, fault: Fault) -> None:
        self._fault = fault
        if fault == "cut":
            self._do(self._shut())

    def mend(self) -> None:
        cut, self._fault = self._fault == "cut", "none"
        self._do(self._open(self.port) if cut else self._drop())

    def close(self) -> None:
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self, port: int) -> int:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", port)
        opened: int = self._server.sockets[0].getsockname()[1]
        return opened

    async def _shut(self) -> None:
        self._server.close()
        await self._drop()

    async def _drop(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._behind)
        self._writers |= {writer, there_writer}
        with suppress(OSError):
            await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
        for one in (writer, there_writer):
            one.close()
        self._writers -= {writer, there_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while some := await reader.read(65_536):
            while self._fault == "frozen":
                await asyncio.sleep(0.05)
            writer.write(some)
            await writer.drain()
        writer.close()


@pytest.fixture
def passage(prefect_server: str) -> Iterator[Passage]:
    way = Passage(prefect_server)
    yield way
    way.close()


@pytest.mark.parametrize("fault", ["cut", "frozen"])
def test_a_session_trades_to_its_end_without_the_server_and_says_afterwards_what_it_lacks(
    passage: Passage, tmp_path: Path, fault: Fault
) -> None:
    """The server is away from the third bar until the session is over: nothing of a bar can have waited for it."""
    settings = settings_at(tmp_path / "l.duckdb", pace=7200)
    session = subprocess.Popen(
        [sys.executable, "-c", TRADING, settings.model_dump_json()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HOUSE), "PREFECT_API_URL": passage.address},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        decided = "select count(*) from decisions"
        wait_until(lambda: settings.store.path.exists() and ask(settings.store.path, decided).rows[0][0] >= 3)
        passage.break_down(fault)
        seen = ask(settings.store.path, "select state from sessions").rows[0][0]
        assert seen == "RUNNING"
        wait_until(lambda: ask(settings.store.path, "select state from sessions").rows == (("COMPLETED",),))
        assert ask(settings.store.path, decided).rows[0][0] == 13
        assert session.poll() is None, "it waits to tell its end"
        passage.mend()
        said, _ = session.communicate(timeout=PATIENCE_SECONDS)
    finally:
        if session.poll() is None:
            session.send_signal(signal.SIGKILL)
            session.wait(30)
    assert (session.returncode, said.strip()) == (0, "COMPLETED")

    [run] = asked(
        "/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["trading-session"]}}}
    )
    assert run["state"]["name"] == "Completed"
    # The server has the last ones before it shows them: it writes events down some seconds later.
    names = ["openbell.fill"] * 2 + ["openbell.session.completed", "openbell.session.started"]
    ours = wait_until(lambda: len(found := told_in(run["id"])) >= len(names) and found)
    assert sorted(event["event"] for event in ours) == names
    report = artifacts_of(run["id"])["session-2026-01-05-synthetic-buy-and-hold"]
    shown = asked(
        "/task_runs/count", {"flow_runs": {"id": {"any_": [run["id"]]}}, "task_runs": {"name": {"like_": " decide"}}}
    )
    lacking = f"The Prefect UI shows {shown} of 13 task runs; the ledger has every bar."
    assert ("All 13 task runs of the bars are recorded." if shown == 13 else lacking) in report
