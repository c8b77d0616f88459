"""Replays of many sessions into the ledger: what is written once, what is refused, and what nobody takes for trading."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.policy_sessions import paper_record
from storage.questions import accounts_of, ask, standing_halts
from storage.store import open_store
from tasks.session_replays import SessionReplay, prepare_replay, replay_answer
from trading.bars import BarColumns, Timeframe
from trading.errors import AlreadyTraded, ConfigurationError, DataNotFit, SessionHeld
from trading.settings import Settings

MONDAY, FRIDAY, NEXT_FRIDAY = date(2026, 1, 5), date(2026, 1, 9), date(2026, 1, 16)
Market = Callable[..., BarColumns]


@pytest.fixture
def settings(tmp_path: Path, market_that_reverts: Market) -> Settings:
    """22 sessions of 5-minute bars of SPY, from Monday 2026-01-05 to 2026-02-04."""
    with open_store(tmp_path / "ledger.duckdb") as store:
        store.bars_of(Timeframe.MINUTE_5).import_bars([market_that_reverts(sessions=22)])
    return Settings.model_validate(
        {
            "session": {"timeframe": "5min", "account": "DU1234567"},
            "broker": {"kind": "ib"},
            "closing": {"market_on_close_minutes": None},
            "policy": {"parameters": {"fast": 3, "slow": 8}},
            "store": {"path": tmp_path / "ledger.duckdb"},
        }
    )


def replayed(settings: Settings, first: date | None = None, last: date | None = None, **asked: Any) -> dict[str, Any]:
    return replay_answer(traded(prepare_replay(settings, first, last, **asked)))


def traded(replay: SessionReplay) -> SessionReplay:
    for chunk in replay.chunks:
        replay.trade(chunk)
    return replay


def rows(settings: Settings, table: str) -> list[tuple[Any, ...]]:
    return sorted(ask(settings.store.path, f"FROM {table}").rows, key=str)


@contextlib.contextmanager
def held_by_another_process(path: Path) -> Iterator[None]:
    """The database is open elsewhere, without a door."""
    holding = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        yield
        holder.communicate()


TABLES = ("sessions", "decisions", "orders", "order_events", "fills", "equity", "risk_checks", "halts")


def test_a_replay_is_a_chunk_for_each_month_and_its_totals_are_those_of_its_sessions(settings: Settings) -> None:
    replay = traded(prepare_replay(settings))
    assert [(chunk.label, len(chunk.sessions)) for chunk in replay.chunks] == [("2026-01", 19), ("2026-02", 3)]
    answer = replay_answer(replay)
    assert (answer["first"], answer["last"], answer["sessions"]) == (MONDAY, date(2026, 2, 4), 22)
    assert answer["bars"] == 22 * 78
    days = answer["days"]
    assert answer["orders"] == sum(day["orders"] for day in days) > 22
    assert answer["equity"] == days[-1]["equity"] != answer["starting_equity"] == 100_000
    assert answer["max_drawdown_fraction"] == max(day["max_drawdown_fraction"] for day in days) > 0
    [(closed, won)] = ask(settings.store.path, "SELECT count(*), count(*) FILTER (realized_pnl > 0) FROM trades").rows
    assert (answer["trades"], answer["win_rate"]) == (closed, won / closed)


def test_the_same_replay_again_writes_nothing_and_tells_the_same(settings: Settings) -> None:
    first = replayed(settings, MONDAY, FRIDAY)
    before = {table: rows(settings, table) for table in TABLES}
    again = replayed(settings, MONDAY, FRIDAY)
    assert {table: rows(settings, table) for table in TABLES} == before
    assert (first.pop("replayed"), again.pop("replayed")) == (5, 0)
    assert again == first


def test_a_later_end_goes_on_and_comes_to_what_one_replay_comes_to(settings: Settings) -> None:
    replayed(settings, MONDAY, FRIDAY)
    longer = prepare_replay(settings, MONDAY, NEXT_FRIDAY)
    assert [(chunk.label, len(chunk.sessions)) for chunk in longer.chunks] == [("2026-01 again", 5), ("2026-01", 5)]
    pieces = replay_answer(traded(longer))
    assert pieces.pop("replayed") == 5
    whole = replayed(settings, MONDAY, NEXT_FRIDAY, account="replay-in-one-go")
    assert whole.pop("replayed") == 10
    assert {**whole, "account": ""} == {**pieces, "account": ""}


def test_other_settings_are_another_account_and_nothing_meets(settings: Settings) -> None:
    one = replayed(settings, MONDAY, FRIDAY)
    smaller = settings.sizing.model_copy(update={"fraction": Decimal("0.05")})
    another = replayed(settings.model_copy(update={"sizing": smaller}), MONDAY, FRIDAY)
    assert one["account"] != another["account"]
    assert replayed(settings, MONDAY, FRIDAY)["equity"] == one["equity"] != another["equity"]


def test_what_no_longer_comes_out_the_same_is_refused_and_the_ledger_is_as_it_was(settings: Settings) -> None:
    replayed(settings, MONDAY, FRIDAY)
    before = rows(settings, "fills")
    with open_store(settings.store.path) as store:
        source = store.bars_of(Timeframe.MINUTE_5)
        bars = source.between("SPY", datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 10, tzinfo=UTC))
        changed = replace(bars, **{name: getattr(bars, name) * 2 for name in ("open", "high", "low", "close")})
        source.import_bars([changed], replace=True)
    with pytest.raises(AlreadyTraded, match=r"2026-01-0.*the bars, or openbell, are others"):
        replayed(settings, MONDAY, FRIDAY)
    assert rows(settings, "fills") == before
    assert replayed(settings, MONDAY, FRIDAY, account="replay-anew")["replayed"] == 5


def test_an_account_that_is_named_holds_one_replay(settings: Settings) -> None:
    replayed(settings, MONDAY, FRIDAY, account="replay-mine")
    with pytest.raises(AlreadyTraded, match="holds another replay: from 2026-01-05"):
        prepare_replay(settings, date(2026, 1, 6), FRIDAY, account="replay-mine")
    with pytest.raises(ConfigurationError, match="name it replay-NAME"):
        prepare_replay(settings, account="paper")


def test_a_range_without_sessions_or_bars_is_refused_in_words(settings: Settings) -> None:
    with pytest.raises(DataNotFit, match="no session from 2026-01-10 to 2026-01-11"):
        prepare_replay(settings, date(2026, 1, 10), date(2026, 1, 11))
    with pytest.raises(DataNotFit, match="has no bar of SPY in the sessions from 2025-06-02"):
        prepare_replay(settings, date(2025, 6, 2), date(2025, 6, 6))
    with pytest.raises(ConfigurationError, match="ends before it begins"):
        prepare_replay(settings, FRIDAY, MONDAY)
    nobody = settings.session.model_copy(update={"symbols": ("QQQ",)})
    with pytest.raises(DataNotFit, match="which has SPY"):
        prepare_replay(settings.model_copy(update={"session": nobody}))
    assert rows(settings, "sessions") == []


def test_a_database_that_somebody_holds_is_refused_at_once_and_later_keeps_whole_months(settings: Settings) -> None:
    with held_by_another_process(settings.store.path), pytest.raises(SessionHeld, match="Nothing is replayed"):
        prepare_replay(settings, wait_seconds=0)
    replay = prepare_replay(settings, wait_seconds=0)
    january, february = replay.chunks
    replay.trade(january)
    with held_by_another_process(settings.store.path), pytest.raises(SessionHeld, match="stops before 2026-02-02"):
        replay.trade(february)
    assert len(rows(settings, "sessions")) == 19
    assert replayed(settings)["replayed"] == 3


def test_a_halt_that_a_person_has_to_clear_ends_it_and_again_at_the_same_session(settings: Settings) -> None:
    limit = settings.risk.model_copy(update={"max_drawdown_fraction": Decimal("0.0005")})
    strict = settings.model_copy(update={"risk": limit})
    answers = []
    for _ in range(2):
        replay = prepare_replay(strict)
        for chunk in replay.chunks:
            replay.trade(chunk)
            if replay.halted is not None:
                break
        answers.append(replay_answer(replay))
    first, again = answers
    assert first["state"] == again["state"] == "HALTED"
    assert "from the highest ever" in str(first["reason"])
    assert 0 < first["replayed"] < 22
    assert first["not_replayed"] == 22 - first["sessions"]
    assert again["days"] == first["days"]


def test_nobody_takes_a_replay_for_trading(settings: Settings) -> None:
    answer = replayed(settings, MONDAY, FRIDAY)
    with open_store(settings.store.path, read_only=True) as store:
        assert accounts_of(store) == []
        before = store.connection.rows("SELECT min(started_at) - INTERVAL 10 YEAR FROM sessions")[0][0]
        assert paper_record(store.connection, answer["policy"], before).sessions == 0


def test_what_halts_a_replay_halts_nobody_else(settings: Settings) -> None:
    limit = settings.risk.model_copy(update={"max_symbol_loss": Decimal("1")})
    answer = replayed(settings.model_copy(update={"risk": limit}), MONDAY, FRIDAY)
    halts = ask(settings.store.path, "SELECT scope, halted_at FROM halts").rows
    assert {scope for scope, _ in halts} == {f"account:{answer['account']} symbol:SPY"}
    with open_store(settings.store.path, read_only=True) as store:
        assert standing_halts(store, halts[0][1]) == []
        assert store.ledger.active_halts("paper", "sma_crossover", ["SPY"], halts[0][1]) == []


def test_an_invented_market_is_replayed_over_years_of_calendars(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "session": {"timeframe": "30min"},
            "feed": {"kind": "synthetic"},
            "policy": {"parameters": {"fast": 2, "slow": 5}},
            "store": {"path": tmp_path / "ledger.duckdb"},
        }
    )
    answer = replayed(settings, date(2024, 12, 30), date(2025, 1, 3))
    assert answer["mode"] == "synthetic"
    # The last two sessions of a year and the first two of the next; New Year's Day is none.
    assert [day["session_date"].day for day in answer["days"]] == [30, 31, 2, 3]
    assert answer["bars"] == 4 * 13
    with pytest.raises(ConfigurationError, match="Name both"):
        prepare_replay(settings, date(2024, 12, 30))
