import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.store import open_store
from tasks.broker_composition import account_name, paper_account_path
from tasks.composition import assemble
from tasks.feed_composition import feed_kind
from tasks.policy_composition import build_policy
from tasks.venue import stored_venue
from trading.clocks.wall_clock import rehearsing_at
from trading.decisions import Halt
from trading.errors import (
    BrokerUnavailable,
    ClosedDay,
    ConfigurationError,
    DataNotFit,
    Halted,
    SessionHeld,
    StoppedEarly,
    Unreconciled,
)
from trading.sessions import Mode, SessionState
from trading.settings import FeedKind, PolicySettings, Settings, parse_settings

MONDAY = date(2026, 1, 5)


def quick(folder: Path, **sections: Any) -> Settings:
    """A session of 13 bars on the invented market."""
    document = {"session": {"timeframe": "30min"}, "store": {"path": folder / "l.duckdb"}, "policy": {"name": "flat"}}
    return Settings.model_validate(document | sections)


@pytest.mark.parametrize(
    ("feed", "day", "meant"),
    [
        ({}, None, FeedKind.SYNTHETIC),
        ({}, MONDAY, FeedKind.RECORDED),
        ({"bars": "bars.csv"}, None, FeedKind.RECORDED),
        ({"kind": "synthetic"}, MONDAY, FeedKind.SYNTHETIC),
        ({"kind": "recorded"}, None, FeedKind.RECORDED),
    ],
)
def test_the_feed_that_is_meant(feed: dict[str, str], day: date | None, meant: FeedKind) -> None:
    assert feed_kind(Settings.model_validate({"feed": feed}), day) is meant


@pytest.mark.parametrize(
    ("feed", "day", "meant"),
    [
        ({}, None, FeedKind.IB),
        ({}, MONDAY, FeedKind.IB),
        ({"bars": "bars.csv"}, None, FeedKind.RECORDED),
        ({"kind": "synthetic"}, None, FeedKind.SYNTHETIC),
    ],
)
def test_a_broker_that_has_bars_of_its_own_is_traded_on_them(
    feed: dict[str, str], day: date | None, meant: FeedKind
) -> None:
    assert feed_kind(Settings.model_validate({"feed": feed, "broker": {"kind": "ib"}}), day) is meant


def test_invented_prices_have_an_account_of_their_own() -> None:
    assert account_name(Settings(), FeedKind.SYNTHETIC) == "synthetic"
    assert account_name(Settings(), FeedKind.RECORDED) == "paper"
    named = Settings.model_validate({"session": {"account": "mine"}})
    assert account_name(named, FeedKind.SYNTHETIC) == "mine"


def test_a_real_account_has_the_brokers_name_unless_it_is_named() -> None:
    def named(session: dict[str, str], ib: dict[str, str]) -> str:
        settings = Settings.model_validate({"session": session, "broker": {"kind": "ib", "ib": ib}})
        return account_name(settings, FeedKind.IB)

    assert named({}, {}) == ""  # only the broker knows
    assert named({}, {"account": "DU1234567"}) == "DU1234567"
    assert named({"account": "mine"}, {"account": "DU1234567"}) == "mine"
    assert account_name(Settings(), FeedKind.IB) == "paper"


def test_the_simulated_account_lies_beside_the_database_unless_it_is_named() -> None:
    beside = Settings.model_validate({"store": {"path": "data/ledger.duckdb"}})
    named = Settings.model_validate({"broker": {"paper": {"path": "elsewhere.sqlite"}}})
    assert paper_account_path(beside, "paper") == Path("data/ledger.paper.sqlite")
    assert paper_account_path(named, "paper") == Path("elsewhere.sqlite")


def test_every_policy_is_built_by_its_name() -> None:
    assert [build_policy(PolicySettings(name=name)).name for name in ("flat", "buy_and_hold", "sma_crossover")] == [
        "flat",
        "buy_and_hold",
        "sma_crossover",
    ]
    assert (
        build_policy(PolicySettings(parameters={"fast": 3, "slow": 7})).fingerprint == "sma_crossover(fast=3, slow=7)"
    )


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("sma_crossover", {"quick": 3}, "has no parameter 'quick'; it has fast, slow"),
        ("flat", {"fast": 3}, "has no parameter 'fast'; it has none"),
        ("sma_crossover", {"fast": 2.5}, "fast = 2.5 is not a whole number"),
        ("sma_crossover", {"fast": True}, "fast = True is not a whole number"),
        ("sma_crossover", {"slow": "50"}, "slow = '50' is not a whole number"),
        ("sma_crossover", {"fast": 50, "slow": 20}, "0 < fast < slow"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(name: Any, parameters: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        build_policy(PolicySettings(name=name, parameters=parameters))


def test_a_notebook_trades_a_session(tmp_path: Path) -> None:
    with assemble(quick(tmp_path), None) as desk:
        summary = desk.agent.run_session()
    assert (summary.session_id, summary.mode, summary.bars) == ("2026-01-05.synthetic.flat", Mode.SYNTHETIC, 13)
    assert (tmp_path / "l.synthetic.sqlite").exists()


def test_each_further_session_trades_the_next_day(tmp_path: Path) -> None:
    days = []
    for _ in range(2):
        with assemble(quick(tmp_path), None) as desk:
            days.append(desk.agent.run_session().session_date)
    assert days == [date(2026, 1, 5), date(2026, 1, 6)]


def test_the_first_day_is_the_first_session_from_the_date_that_is_set(tmp_path: Path) -> None:
    # Friday 25 December 2026 is a holiday.
    settings = quick(tmp_path, feed={"synthetic": {"first_date": "2026-12-25"}})
    with assemble(settings, None) as desk:
        assert desk.hours.session_date == date(2026, 12, 28)


def test_a_session_that_was_stopped_is_the_next_one(tmp_path: Path) -> None:
    with assemble(quick(tmp_path), None) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(lambda: True)
    with assemble(quick(tmp_path), None) as desk:
        summary = desk.agent.run_session()
    assert (summary.session_date, summary.state) == (MONDAY, SessionState.COMPLETED)


def test_another_strategy_goes_on_where_the_account_stands(tmp_path: Path) -> None:
    holding = quick(tmp_path, policy={"name": "buy_and_hold"}, closing={"hold_overnight": True})
    with assemble(holding, None) as desk:
        assert desk.agent.run_session().fills == 1
    with assemble(quick(tmp_path), None) as desk:
        summary = desk.agent.run_session()
    # It sells on Tuesday what the other one bought on Monday.
    assert (summary.session_date, summary.fills) == (date(2026, 1, 6), 1)


def test_a_paced_session_that_goes_on_does_not_wait_again_for_what_it_has_traded(tmp_path: Path) -> None:
    with assemble(quick(tmp_path), None) as desk:
        desk.agent.run_session()
    paced = quick(tmp_path, session={"timeframe": "30min", "pace": 2})
    with open_store(tmp_path / "l.duckdb") as store, contextlib.ExitStack() as closing:
        # As it stands when it was stopped after the bar of 11:00 in New York.
        store.connection.execute(
            "UPDATE sessions SET state = 'STOPPED', last_bar_time = TIMESTAMPTZ '2026-01-05 16:00:00+00'"
        )
        venue = stored_venue(paced, FeedKind.SYNTHETIC, MONDAY, store, None, closing)
        waited = venue.clock.now() - datetime(2026, 1, 5, 16, 30, tzinfo=UTC)
    assert timedelta() <= waited < timedelta(minutes=10)


def test_a_holiday_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with (
        pytest.raises(ClosedDay, match="New Year"),
        assemble(quick(tmp_path, feed={"kind": "synthetic"}), date(2026, 1, 1)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_recorded_bars_that_nobody_imported_say_what_to_do(tmp_path: Path) -> None:
    settings = quick(tmp_path, feed={"kind": "recorded"})
    with pytest.raises(DataNotFit, match="import-bars"), assemble(settings, None):
        pass


def test_two_accounts_do_not_share_a_file(tmp_path: Path) -> None:
    file = tmp_path / "one.sqlite"
    mine = quick(tmp_path, session={"account": "mine"}, broker={"paper": {"path": file}})
    yours = quick(tmp_path, session={"account": "yours"}, broker={"paper": {"path": file}})
    with assemble(mine, None):
        pass
    with pytest.raises(BrokerUnavailable, match="belongs to account mine"), assemble(yours, None):
        pass
    with assemble(mine, None) as desk:
        assert desk.agent.open_session().starting_equity == Decimal(100_000)


def test_a_new_database_beside_an_old_paper_account_is_refused_before_anything_is_traded(tmp_path: Path) -> None:
    settings = quick(tmp_path, policy={"name": "buy_and_hold"})
    with assemble(settings, None) as desk:
        desk.agent.run_session()
    settings.store.path.unlink()
    for _ in range(2):
        with pytest.raises(Unreconciled, match="belongs to another database"), assemble(settings, None):
            pass
    next(tmp_path.glob("*.synthetic.sqlite")).rename(tmp_path / "elsewhere")
    with assemble(settings, None) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED


def test_databases_of_any_name_have_accounts_of_their_own() -> None:
    names = {
        paper_account_path(Settings.model_validate({"store": {"path": path}}), "paper").name
        for path in ("a.duckdb", "a.v1", "a.v2", "a.db")
    }
    assert names == {"a.paper.sqlite", "a.v1.paper.sqlite", "a.v2.paper.sqlite", "a.db.paper.sqlite"}


def test_a_database_that_is_read_for_a_moment_is_waited_for_and_one_that_is_kept_is_not(
    tmp_path: Path, striding_wall: Callable[..., Any]
) -> None:
    wanted_at = datetime(2026, 1, 5, 14, 15, tzinfo=UTC)
    settings = Settings.model_validate({"store": {"path": tmp_path / "ledger.duckdb"}})
    with assemble(settings, None):
        pass
    held = "import duckdb, sys, time; held = duckdb.connect(sys.argv[1]); print('open', flush=True); time.sleep(float(sys.argv[2]))"

    def somebody_else(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", held, str(settings.store.path), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        return process

    with somebody_else(0.5), assemble(settings, None):
        pass
    with somebody_else(60) as keeps:
        try:
            with pytest.raises(SessionHeld, match=f"held by process {keeps.pid}"), assemble(settings, None):
                pass
            # Nobody is there to start a scheduled one again: it waits for longer than that took.
            let_go = threading.Timer(4.0, keeps.kill)
            let_go.start()
            with rehearsing_at(striding_wall(wanted_at)), assemble(settings, None, scheduled_at=wanted_at) as desk:
                assert desk.hours.session_date == date(2026, 1, 5)
        finally:
            keeps.kill()


def test_one_session_is_traded_by_one_runner_in_a_process_too(tmp_path: Path) -> None:
    quick = {
        "policy": {"name": "buy_and_hold"},
        "session": {"timeframe": "30min"},
        "store": {"path": tmp_path / "ledger.duckdb"},
    }
    settings = Settings.model_validate(quick)
    day = date(2026, 1, 5)
    synthetic = settings.model_copy(update={"feed": settings.feed.model_copy(update={"kind": FeedKind.SYNTHETIC})})
    elsewhere = synthetic.model_copy(
        update={"broker": parse_settings({"broker": {"paper": {"path": tmp_path / "other.sqlite"}}}, "a test").broker}
    )
    with assemble(synthetic, day) as one, assemble(elsewhere, day) as other:
        one.agent.open_session()
        with pytest.raises(SessionHeld, match=f"is traded by process {os.getpid()}"):
            other.agent.open_session()
        one.agent.close_session(SessionState.STOPPED)
        assert other.agent.run_session().state is SessionState.COMPLETED


def leases_being_renewed() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "openbell-lease"]


def test_a_session_that_is_refused_can_be_started_again_by_the_same_process(tmp_path: Path) -> None:
    wanted = quick(tmp_path)
    with assemble(wanted, None):
        pass
    with open_store(tmp_path / "l.duckdb") as store:
        store.ledger.record_halt(Halt("all", "fat finger", datetime(2026, 1, 5, tzinfo=UTC)))
    with assemble(wanted, None) as desk, pytest.raises(Halted):
        desk.agent.open_session()
    assert leases_being_renewed() == []
    with open_store(tmp_path / "l.duckdb") as store:
        assert store.ledger.clear_halts("all", "me", datetime(2026, 1, 6, tzinfo=UTC)) == 1
    with assemble(wanted, None) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED


def test_a_session_that_nobody_closed_lets_go_of_its_lease(tmp_path: Path) -> None:
    with assemble(quick(tmp_path), None) as desk:
        desk.agent.open_session()
    assert leases_being_renewed() == []
    with assemble(quick(tmp_path), None) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED
