"""What history costs: how large Prefect's database becomes in a month of sessions, and how long a year's backup takes."""

import sqlite3
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL
from prefect.testing.utilities import prefect_test_harness

from deployments.stack.retention import EVENTS_KEPT, RUNS_KEPT
from flows.trading_session import trading_session
from storage.store import open_store
from tasks.backing_up import back_up, restore
from trading.settings import Settings

LIMIT_BYTES = 1e9
BARS_OF_A_DAY, BARS_TRADED = 390, 78
SESSIONS_OF_A_MONTH, SESSIONS_A_WEEK = 21, 5


def sizes(database: str) -> tuple[int, int]:
    """Bytes of events, and of everything else in use, in a server's SQLite file."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        [(events, others)] = connection.execute(
            "SELECT sum(iif(tbl_name LIKE 'event%', pgsize, 0)), sum(iif(tbl_name LIKE 'event%', 0, pgsize))"
            " FROM dbstat JOIN sqlite_schema USING (name)"
        )
    return events, others


def test_a_month_of_sessions_in_prefects_database(figures: Any, tmp_path: Path) -> None:
    """A session of 78 bars, few enough for a burst to lose nothing, stands for one of 390: five times as much."""
    settings = Settings.model_validate(
        {
            "session": {"granularity": "stage", "timeframe": "5min"},
            "feed": {"kind": "synthetic"},
            "store": {"path": tmp_path / "stages.duckdb"},
        }
    )
    with prefect_test_harness(server_startup_timeout=120):
        database = str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).split("///")[1]
        events_before, others_before = sizes(database)
        state = trading_session(settings, date(2026, 1, 5), return_state=True)
        assert state.is_completed(), state.message
        events = others = settled = -1
        while settled != events + others:  # events are written a while after they happened
            settled = events + others
            time.sleep(6)
            events, others = sizes(database)
    scale = BARS_OF_A_DAY / BARS_TRADED
    of_events, of_others = scale * (events - events_before), scale * (others - others_before)
    month = SESSIONS_OF_A_MONTH * (of_events + of_others)
    kept = of_events * SESSIONS_A_WEEK * EVENTS_KEPT.days / 7 + of_others * SESSIONS_A_WEEK * RUNS_KEPT.days / 7
    name = "Prefect's database"
    figures.add(
        f"{name}: a session by stages", (of_events + of_others) / 1e6, "MB", note=f"{of_events / 1e6:.1f} events"
    )
    figures.add(f"{name}: a month, nothing removed", month / LIMIT_BYTES, "of 1 GB", note="21 sessions")
    figures.add(f"{name}: where it levels off", kept / LIMIT_BYTES, "of 1 GB", at_most=1.0, note="with retention")


def test_a_year_is_backed_up_and_restored(figures: Any, tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    with open_store(path):
        pass
    with duckdb.connect(str(path)) as raw:
        raw.execute("SET TimeZone = 'UTC'")
        raw.execute(
            "CREATE TEMP TABLE made AS SELECT 's' || day AS session_id, 'SPY' AS symbol, 100 + random() * 5 AS price, "
            "TIMESTAMPTZ '2025-01-02 14:30:00+00' + to_days(day::INT) + to_minutes(minute::INT) AS bar_time "
            "FROM range(252) AS days(day), range(390) AS minutes(minute)"
        )
        for table in ("session_bars BY NAME SELECT session_id,", "bars BY NAME SELECT '1min' AS timeframe,"):
            raw.execute(
                f"INSERT INTO {table} bar_time, symbol, price AS open, price + 1 AS high, price - 1 AS low, price AS close, "
                "(random() * 10000)::BIGINT AS volume FROM made"
            )
        raw.execute(
            "INSERT INTO decisions BY NAME SELECT session_id, bar_time, symbol, 'HOLD' AS action, 0 AS target_quantity, "
            "random() AS confidence, random() AS latency_ms FROM made"
        )
        raw.execute(
            "INSERT INTO equity BY NAME SELECT session_id, bar_time, price AS cash, price AS market_value, 2 * price AS equity, "
            "0 AS realized_pnl, 0 AS unrealized_pnl, 0 AS drawdown, MAP {symbol: price::DECIMAL(18, 6)} AS marks FROM made"
        )
    settings = Settings.model_validate({"store": {"path": path}})
    began = time.perf_counter()
    backup = back_up(settings, None, datetime.now(UTC))
    made = time.perf_counter()
    restore(backup.folder, tmp_path / "restored.duckdb")
    done = time.perf_counter()
    rows = backup.manifest.rows
    figures.add(
        "backup of a year of minutes", made - began, "s", note=f"{rows:,} rows, {backup.manifest.bytes / 1e6:.1f} MB"
    )
    figures.add("restore of a year of minutes", done - made, "s", note="verified and compared")
