"""What it costs a session to be watched: its bars with everything that Prefect is told, and its decisions while Prefect is away."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from storage.questions import ask
from trading.settings import Settings, parse_settings

MILLISECONDS = 1_000.0
MAX_OVERHEAD_MS = 40.0
MAX_LATE_MS = 100.0
AWAY_SECONDS = 120.0
HALF_DAY = date(2026, 11, 27)
"""210 minute bars."""
BARS_A_SECOND = 1.0


@contextmanager
def served(home: Path) -> Iterator[Callable[[], None]]:
    """A Prefect server of its own in a home of its own; what is yielded stops it for a while, without a word."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]

    def start() -> "subprocess.Popen[bytes]":
        with (home / "server.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def answers() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{address}/health", timeout=1).status_code == 200
        return False

    home.mkdir()
    server = start()

    def be_away() -> None:
        nonlocal server
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)
        time.sleep(AWAY_SECONDS)
        server = start()

    try:
        deadline = time.monotonic() + 120
        while not answers():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.environ["PREFECT_API_URL"] = address
        with temporary_settings(updates={PREFECT_API_URL: address}):
            yield be_away
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def settings_at(path: Path, **session: Any) -> Settings:
    return parse_settings(
        {
            "session": {"symbols": ["AAA"], "granularity": "stage", **session},
            "feed": {"kind": "synthetic"},
            "policy": {"parameters": {"fast": 3, "slow": 6}},
            "store": {"path": str(path)},
        },
        "the benchmark",
    )


SHOWN = """
import json, sys, time
from datetime import date
import flows.trading_session as shown
from trading.settings import Settings
bars, began = [], [0.0]
decide, route = shown.decide, shown.route
def timed_decide(*arguments):
    began[0] = time.monotonic()
    return decide(*arguments)
def timed_route(*arguments):
    routed = route(*arguments)
    bars.append((began[0], time.monotonic()))
    return routed
shown.decide, shown.route = timed_decide, timed_route
settings = Settings.model_validate_json(sys.argv[1])
summary = shown.run(settings, date.fromisoformat(sys.argv[2]))
assert len(bars) == summary.bars
print(json.dumps(bars))
"""
"""Trades a session through the flow; tells of each bar when its decision was asked for and when it was routed, in seconds."""


PLAIN = """
import json, sys, time
from datetime import date
from tasks.composition import assemble
from trading.settings import Settings
bars = []
with assemble(Settings.model_validate_json(sys.argv[1]), date.fromisoformat(sys.argv[2])) as desk:
    agent = desk.agent
    agent.open_session()
    agent.load_warmup_data()
    agent.validate_data()
    agent.reconcile("open")
    for moment, findings in agent.live_bars():
        agent.reconcile_if_due(moment.bar_time)
        began = time.monotonic()
        agent.process_new_bar(moment, findings)
        bars.append((began, time.monotonic()))
print(json.dumps(bars))
"""
"""The same session without Prefect, told in the same way."""


def start(program: str, settings: Settings, day: date) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, settings.model_dump_json(), day.isoformat()]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def bars_of(session: "subprocess.Popen[str]") -> list[tuple[float, float]]:
    said, _ = session.communicate(timeout=600)
    assert session.returncode == 0
    return [(began, ended) for began, ended in json.loads(said)]


def milliseconds_of(session: "subprocess.Popen[str]") -> list[float]:
    return [(ended - began) * MILLISECONDS for began, ended in bars_of(session)]


def test_what_a_bar_costs_with_everything_shown(figures: Any, tmp_path: Path) -> None:
    """Each bar beside the same bar without Prefect, at the same pace: a machine that waits in between is slower at both."""
    # At a pace at which the server has the machine to itself in between, as it has with minutes.
    pace = 60 * BARS_A_SECOND
    plain = milliseconds_of(start(PLAIN, settings_at(tmp_path / "plain.duckdb", pace=pace), HALF_DAY))
    with served(tmp_path / "prefect"):
        shown = milliseconds_of(start(SHOWN, settings_at(tmp_path / "shown.duckdb", pace=pace), HALF_DAY))
    overhead = [with_all - without for with_all, without in zip(shown, plain, strict=True)]
    figures.add("a bar without Prefect, p50", statistics.median(plain), "ms")
    figures.add("a bar without Prefect, p99", _p99(plain), "ms")
    figures.add("a bar with everything shown, p50", statistics.median(shown), "ms")
    figures.add("a bar with everything shown, p99", _p99(shown), "ms")
    figures.add("its overhead, p50", statistics.median(overhead), "ms", note="the same bar with and without")
    figures.add(
        "its overhead, p99", _p99(overhead), "ms", at_most=MAX_OVERHEAD_MS, note="the same bar with and without"
    )


def _p99(figures: list[float]) -> float:
    return statistics.quantiles(figures, n=100)[98]


def test_decisions_while_the_api_is_away(figures: Any, tmp_path: Path) -> None:
    """A bar a second; the server is killed in the middle and is back two minutes later."""
    settings = settings_at(tmp_path / "away.duckdb", pace=60 * BARS_A_SECOND)
    decided = "select count(*) from decisions"
    with served(tmp_path / "prefect") as be_away:
        session = start(SHOWN, settings, HALF_DAY)
        while not settings.store.path.exists() or ask(settings.store.path, decided).rows[0][0] < 30:
            assert session.poll() is None
            time.sleep(0.2)
        be_away()
        bars = bars_of(session)
        with get_client(sync_client=True) as client:
            body = {"sort": "START_TIME_DESC", "limit": 1}
            [shown] = client.request("POST", "/flow_runs/filter", json=body).json()
    assert (len(bars), shown["state"]["type"]) == (210, "COMPLETED")
    # Bars end a second apart: what a decision is later than the earliest of them, it was late.
    began = [asked - number / BARS_A_SECOND for number, (asked, _) in enumerate(bars)]
    late = sorted((at - min(began)) * MILLISECONDS for at in began)
    note = f"server killed for {AWAY_SECONDS:.0f} s"
    figures.add("decision late, p50", statistics.median(late), "ms", note=note)
    figures.add("the latest of 210", late[-1], "ms", at_most=MAX_LATE_MS, note=note)
