"""The replay job beside other engines: the same bars and rules, the same equity at the end, and the ratio of speeds.

The peers run in an environment of their own (`make bench-peers` makes it), one process each, bars in memory when their
clock starts, as ours are. Ours also commits its ledger; backtrader keeps nothing.
"""

import csv
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.store import Store, open_store
from trading.bars import to_epoch_us
from trading.money import from_micros

PEERS_PYTHON = os.environ.get("PEERS_PYTHON", ".venv-peers/bin/python")
CENT = Decimal("0.01")


@pytest.mark.parametrize("symbols", [1, 10])
def test_backtrader_ends_with_the_same_equity(
    symbols: int,
    replay_job: Callable[[int], Any],
    committed: Callable[[Store], Mapping[str, Any]],
    figures: Any,
    tmp_path: Path,
) -> None:
    job = replay_job(symbols)
    _write_bars(job, tmp_path / "bars.csv")

    with open_store(tmp_path / "ours.duckdb") as store:
        started = time.perf_counter()
        ours = job.replay(store.ledger)
        seconds = time.perf_counter() - started
        assert committed(store)["risk_checks"] == 0
    peer = _run(Path(__file__).parent / "peers" / "backtrader_job.py", tmp_path / "bars.csv", symbols)

    assert peer["symbol_bars"] == ours.symbol_bars
    assert peer["rejected"] == 0
    assert peer["fills"] == ours.fills
    difference = abs(Decimal(peer["equity"]) - ours.equity)
    assert difference < CENT / 100, f"backtrader {peer['equity']!r}, openbell {ours.equity}"

    our_speed = ours.symbol_bars / seconds
    peer_speed = peer["symbol_bars"] / peer["seconds"]
    name = f"{symbols} symbol{'s' if symbols > 1 else ''}"
    figures.add(
        f"{peer['engine']}, {name}",
        peer_speed,
        "symbol-bars/s",
        note=f"equity {peer['equity']:.6f}, {peer['fills']:,} fills; in floats {peer['wrong_ties']} ties and "
        f"{peer['wrong_floors']} sizes would differ",
    )
    figures.add(f"openbell, {name}", our_speed, "symbol-bars/s", note=f"equity {ours.equity}, ledger committed")
    figures.add(f"openbell / backtrader, {name}", our_speed / peer_speed, "times", note="same equity to the cent")


def _run(script: Path, bars: Path, symbols: int) -> dict[str, Any]:
    done = subprocess.run([PEERS_PYTHON, str(script), str(bars), str(symbols)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _write_bars(job: Any, path: Path) -> None:
    """One row per bar, symbol after symbol: symbol, 1 on a session's last bar, time, open, high, low, close, volume."""
    minute = job.settings.session.timeframe.length
    last_bars = {to_epoch_us(hours.closes_at - minute) for hours in job.sessions}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for symbol, bars in job.bars.items():
            columns = (bars.open, bars.high, bars.low, bars.close)
            prices = [[str(from_micros(micros)) for micros in column.tolist()] for column in columns]
            times, volumes = bars.time.tolist(), bars.volume.tolist()
            for time_, *row, volume in zip(times, *prices, volumes, strict=True):
                writer.writerow((symbol, int(time_ in last_bars), time_, *row, volume))
