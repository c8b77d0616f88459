"""``openbell gateway``: what it says, what it refuses, and how it ends."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ib_insync import IB, Stock

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0


@contextmanager
def started(here: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A gateway in a process of its own, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.terminal", "gateway", "--port", "0", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["port"]
    finally:
        process.kill()
        process.communicate()


def test_a_client_trades_time_with_it_until_a_signal_ends_it(here: Path, openbell: Callable[..., Any]) -> None:
    async def rehearse(port: int) -> tuple[float, int]:
        ib = IB()
        await ib.connectAsync("127.0.0.1", port, clientId=1, timeout=PATIENCE)
        assert ib.managedAccounts() == ["DU7", "DU8"]
        before = await ib.reqCurrentTimeAsync()
        bars = ib.reqRealTimeBars(Stock("BRK B", "SMART", "USD"), 5, "TRADES", True)
        async with asyncio.timeout(PATIENCE):
            while len(bars) < 3:
                await bars.updateEvent
        after = await ib.reqCurrentTimeAsync()
        ib.disconnect()
        return before.timestamp(), int((after - bars[2].time).total_seconds())

    with started(
        here, "--symbols", "SPY,BRK.B", "--speed", "60", "--start", "09:29:58", "--wait-for-client",
        "--account", "DU7", "--account", "DU8",
    ) as (process, port):  # fmt: skip
        # Somebody else is on the port.
        second = openbell("gateway", "--port", port)
        assert second.code == 2
        assert f"Port {port}" in second.err
        began, behind = asyncio.run(rehearse(port))
        # 09:29:58 in New York, until somebody came.
        assert began - 1_767_623_398 in range(3)
        assert behind >= 5
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert out == ""
    assert f"port {port}" in err
    assert "Monday 2026-01-05 (09:30-16:00 America/New_York)" in err
    assert "DU7, DU8" in err
    assert "Traceback" not in err


def test_a_stored_day_is_played_to_its_end(openbell: Callable[..., Any], bars_file: Callable[..., Path]) -> None:
    assert openbell("import-bars", bars_file(symbols=("SPY", "QQQ"))).code == 0
    played = openbell(
        "gateway", "--port", 0, "--date", "2011-01-18", "--speed", 1_000_000, "--exit-at-end", "--start", "15:55"
    )
    assert played.code == 0
    assert "recorded bars of QQQ, SPY from the stored 1min bars" in played.err
    assert played.out == ""
    of_file = openbell("gateway", "--port", 0, "--bars", "bars.csv", "--speed", 1_000_000, "--exit-at-end", "--json")
    assert of_file.code == 0
    assert of_file.answer["port"] > 0
    assert "Tuesday 2011-01-18" in of_file.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--speed", "0"), 2, "--speed 0"),
        (("--clock", "sundial"), 2, "sundial"),
        (("--clock", "stepped"), 2, "--control"),
        (("--feed", "ib"), 2, "'ib'"),
        (("--start", "noon"), 2, "--start 'noon'"),
        (("--cash", "much"), 2, "--cash 'much'"),
        (("--cash", "-1"), 2, "--cash -1"),
        (("--timezone", "Mars/Base"), 2, "Mars/Base"),
        (("--ambiguous", "QQQ"), 2, "QQQ"),
        (("--bars", "none.csv"), 2, "none.csv"),
        (("--date", "2026-01-04", "--feed", "synthetic"), 3, "weekend"),
        (("--date", "2026-01-05"), 3, "no database"),
    ],
)
def test_what_cannot_be_played_is_refused_in_words(
    openbell: Callable[..., Any], arguments: tuple[str, ...], code: int, words: str
) -> None:
    refused = openbell("gateway", "--port", 0, *arguments)
    assert refused.code == code
    assert words in refused.err


def test_a_port_that_is_taken_by_anybody_is_refused(openbell: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = openbell("gateway", "--port", taken.getsockname()[1])
    assert refused.code == 2
    assert "--port" in refused.err
