"""How fast a replay is: symbol-bars a second from bars in memory to a committed ledger, and where the time goes."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from storage.store import Store, open_store
from trading.bars import BarColumns
from trading.policies.sma_crossover import SmaCrossover
from trading.ports import HistorySignals, LedgerEntries
from trading.sessions import SessionRecord

TARGET = 100_000
ROUNDS = 3


class TimedPolicy:
    """The job's policy, and how long it was asked for a whole history."""

    def __init__(self) -> None:
        self._asked = SmaCrossover(20, 50)
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asked, name)

    def decide_history(self, bars: BarColumns) -> HistorySignals | None:
        started = time.perf_counter()
        try:
            return self._asked.decide_history(bars)
        finally:
            self.seconds += time.perf_counter() - started


class TimedLedger:
    """A ledger (or none), and how long it took to commit; commits overlap with trading."""

    def __init__(self, ledger: Any = None) -> None:
        self._ledger = ledger
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def commit_replay(self, sessions: Sequence[SessionRecord], entries: LedgerEntries) -> None:
        if self._ledger is None:
            return
        started = time.perf_counter()
        self._ledger.commit_replay(sessions, entries)
        self.seconds += time.perf_counter() - started


@pytest.mark.parametrize("symbols", [1, 10])
def test_replay(
    benchmark: Any,
    symbols: int,
    replay_job: Callable[[int], Any],
    committed: Callable[[Store], Mapping[str, Any]],
    figures: Any,
    tmp_path: Path,
) -> None:
    job = replay_job(symbols)
    number = itertools.count()
    commits: list[float] = []

    def on_a_new_database() -> tuple[tuple[Any, ...], dict[str, Any]]:
        context = open_store(tmp_path / f"{next(number)}.duckdb")
        return (context, context.__enter__()), {}

    def replay(_context: Any, store: Store) -> Any:
        ledger = TimedLedger(store.ledger)
        outcome = job.replay(ledger)
        commits.append(ledger.seconds)
        return outcome

    def check_and_close(context: Any, store: Store) -> None:
        found = committed(store)
        assert found["decisions"] == job.symbol_bars
        assert found["risk_checks"] == 0, "the job's limits are wide: no rule may speak"
        context.__exit__(None, None, None)

    outcome = benchmark.pedantic(replay, setup=on_a_new_database, teardown=check_and_close, rounds=ROUNDS)
    assert outcome.symbol_bars == job.symbol_bars

    policy = TimedPolicy()
    started = time.perf_counter()
    job.replay(TimedLedger(), policy)
    uncommitted = time.perf_counter() - started

    name = f"replay, {symbols} symbol{'s' if symbols > 1 else ''}"
    best = benchmark.stats.stats.min
    figures.add(
        name,
        job.symbol_bars / best,
        "symbol-bars/s",
        at_least=TARGET,
        note=f"best of {ROUNDS}; {job.symbol_bars:,} symbol-bars, {outcome.fills:,} fills, equity {outcome.equity:.2f}",
    )
    figures.add(f"{name}: whole", best, "s")
    figures.add(f"{name}: features and policy", policy.seconds, "s", note="in batch over the whole history")
    figures.add(f"{name}: walk", uncommitted - policy.seconds, "s", note="orders, risk, book; nothing committed")
    figures.add(f"{name}: commit", min(commits), "s", note="on a thread of its own, beside the walk")
