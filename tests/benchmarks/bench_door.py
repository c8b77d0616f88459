"""What asking costs while a session trades: how long a reader waits, and what readers do to the session's commits."""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.questions import ask
from trading.errors import ConfigurationError

SESSION = """
import json, sys, time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from storage.door import open_door
from storage.store import open_store
from trading.decisions import Action, Decision, EquityPoint
from trading.orders import Execution, Fill, OrderIntent, Side
from trading.ports import LedgerEntries
from trading.sessions import Mode, SessionRecord, SessionState

start, zero, one = datetime(2026, 1, 5, 14, 30, tzinfo=UTC), Decimal(0), Decimal(1)
with open_store(Path(sys.argv[1])) as store, open_door(store) as door:
    store.ledger.open_session(
        SessionRecord("s", "sma", "paper", date(2026, 1, 5), Mode.RECORDED, SessionState.RUNNING, start, "{}", "f", zero, zero)
    )
    print(door.wait_until_open(), flush=True)
    bar, commits = 0, []

    def commit(entries, at=None):
        began = time.monotonic()
        store.ledger.commit("s", entries, at)
        commits.append((began, time.monotonic() - began))

    while not Path(sys.argv[2]).exists():
        at = start + timedelta(seconds=bar)
        ids = [f"{bar}-{leg}" for leg in range(2)]
        commit(LedgerEntries(intents=[OrderIntent(name, "s", "paper", at, "SPY", Side.BUY, 1, one, at) for name in ids]))
        commit(
            LedgerEntries(
                decisions=[Decision("s", at, "SPY", Action.BUY, 1, None, 0.1, None)],
                fills=[Fill(Execution(f"x{name}", name, "SPY", Side.BUY, 1, one, one, at), "s", "paper", "paper") for name in ids],
                equity=[EquityPoint("s", at, zero, zero, zero, zero, zero, zero)],
            ),
            at,
        )
        bar += 1
        time.sleep(0.01)
    leaving = time.monotonic()
print(json.dumps({"commits": commits, "left_in": time.monotonic() - leaving}), flush=True)
"""

PHASE_SECONDS = 6.0
MOST_MILLISECONDS = 20.0
MILLISECONDS = 1_000.0
BUSY = "SELECT count(*) FROM range(20000) a, range(20000) b WHERE (a.range * b.range) % 7 = 8"
GREEDY = "SELECT list(md5(range::VARCHAR)) FROM range(100000000)"
COUNT = "SELECT count(*) FROM fills"


def test_readers_and_a_session(figures: Any, tmp_path: Path) -> None:
    path = tmp_path / "door.duckdb"
    phases: list[tuple[str, list[Callable[[], object]]]] = [
        ("nobody asks", []),
        ("one reader counts fills", [lambda: ask(path, COUNT)]),
        ("two readers compute without a pause", [lambda: ask(path, BUSY)] * 2),
        ("a reader wants all memory", [lambda: greedy(path)]),
    ]
    bell = tmp_path / "closing"
    command = [sys.executable, "-c", SESSION, str(path), str(bell)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "True\n"
        ask(path, COUNT)
        waits: list[float] = []
        spans = []
        for name, questions in phases:
            began = time.monotonic()
            asked = readers(questions, began + PHASE_SECONDS)
            spans.append((name, began, time.monotonic()))
            if name == phases[1][0]:
                waits = asked
        bell.touch()
        told = json.loads(session.stdout.readline())
    assert session.returncode == 0
    figures.add(
        "count of fills through the open door: median",
        statistics.median(waits) * MILLISECONDS,
        "ms",
        at_most=MOST_MILLISECONDS,
        note=f"{len(waits)} times, one after another, while a session commits about 100 times a second",
    )
    figures.add("the same, 99th percentile", percentile(waits, 99) * MILLISECONDS, "ms", at_most=MOST_MILLISECONDS)
    quiet = [lasted for at, lasted in told["commits"] if spans[0][1] <= at < spans[0][2]]
    for name, began, ended in spans:
        commits = [lasted for at, lasted in told["commits"] if began <= at < ended]
        assert commits
        figures.add(
            f"a commit while {name}: median",
            statistics.median(commits) * MILLISECONDS,
            "ms",
            note=f"{statistics.median(commits) / statistics.median(quiet):.2f} times as long; p99 "
            f"{percentile(commits, 99) * MILLISECONDS:.1f} ms, {percentile(commits, 99) / percentile(quiet, 99):.2f} times; "
            f"{len(commits)} commits",
        )
    figures.add(
        "the session's end with its door", told["left_in"] * MILLISECONDS, "ms", note="log folded into the file"
    )


def readers(questions: list[Callable[[], object]], until: float) -> list[float]:
    """Ask again and again until then, each question on a thread of its own; how long each answer took, in seconds."""
    waits: list[float] = []

    def again(question: Callable[[], object]) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            question()
            waits.append(time.monotonic() - began)

    threads = [threading.Thread(target=again, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(max(0.0, until - time.monotonic()))
    return waits


def greedy(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"(?i)memory|space|longer"):
        ask(path, GREEDY)


def percentile(values: list[float], which: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[which - 1]
