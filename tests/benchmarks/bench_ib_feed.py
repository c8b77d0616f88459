"""What streaming bars of Interactive Brokers cost: fifty symbols of five-second bars, made into minutes, at the pace of the wall.

The gateway is a rehearsal in a process of its own; what is counted is the processor time of this one alone.
"""

import json
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from trading.bars import Timeframe
from trading.calendar import TradingCalendar
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.feed import IbFeed
from trading.settings import parse_settings

SYMBOLS = tuple(f"S{number:02}" for number in range(50))
DAY = date(2026, 1, 5)
MINUTES = 2
"""The first one is only half heard, and is mended from history; it is not counted."""
MOST_OF_A_CORE = 10.0


def test_fifty_symbols_at_the_pace_of_the_wall(figures: Any, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-c", "from deployments.terminal.app import main; main()", "gateway"),
        *("--port", "0", "--control", "0", "--json", "--speed", "1", "--start", "10:00", "--wait-for-client"),
        *("--date", DAY.isoformat(), "--feed", "synthetic", "--symbols", ",".join(SYMBOLS)),
        *("--db", str(tmp_path / "none.duckdb")),
    ]
    hours = TradingCalendar("XNYS", DAY).hours(DAY)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as gateway:
        assert gateway.stdout is not None
        ports = json.loads(gateway.stdout.readline())
        settings = parse_settings({"broker": {"kind": "ib", "ib": {"port": ports["port"]}}}, "a benchmark")
        connection = GatewayConnection(settings.broker.ib)
        feed = IbFeed(connection, Contracts(connection), Timeframe.MINUTE_1)
        attended = 0

        def attend() -> None:
            nonlocal attended
            attended += 1

        feed.attend = attend
        try:
            connection.open()
            stream = feed.stream(SYMBOLS, hours, hours.opens_at + timedelta(minutes=29))
            first = next(stream)
            began, processor = time.monotonic(), time.process_time()
            taken = [next(stream) for _ in range(MINUTES)]
            passed, used = time.monotonic() - began, time.process_time() - processor
        finally:
            feed.end()
            connection.close()
            gateway.terminate()
    assert len(first.rows) == len(SYMBOLS)
    assert [len(one.rows) for one in taken] == [len(SYMBOLS)] * MINUTES
    figures.add(
        "streaming bars of 50 symbols from a gateway: of one core",
        100 * used / passed,
        "%",
        at_most=MOST_OF_A_CORE,
        note=f"{used:.2f} s of the processor in {passed:.0f} s, attended {attended} times",
    )
