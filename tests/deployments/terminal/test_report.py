"""Reading a day back: the same summary that the session ended with."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from storage.store import open_store
from tasks.composition import assemble
from trading.sessions import SessionSummary
from trading.settings import Settings, read_settings

Command = Callable[..., Any]


def test_a_day_is_told_with_every_session_on_it(openbell: Command, traded: SessionSummary) -> None:
    other = Settings.model_validate(
        {"session": {"strategy": "patient"}, "policy": {"name": "buy_and_hold"}, "feed": {"kind": "synthetic"}}
    )
    with assemble(other, date(2026, 1, 5)) as desk:
        desk.agent.run_session()
    outcome = openbell("report", "2026-01-05", "--json")
    assert outcome.code == 0
    sessions = {session["session_id"]: session for session in outcome.answer["sessions"]}
    assert set(sessions) == {"2026-01-05.synthetic.sma_crossover", "2026-01-05.synthetic.patient"}
    told = sessions["2026-01-05.synthetic.sma_crossover"]
    assert told["equity"] == float(traded.equity)
    assert told["orders_by_status"] == {"FILLED": traded.orders}
    assert sum(trade["realized_pnl"] for trade in told["trades"]) == float(traded.realized_pnl)


def test_a_summary_for_people_marks_a_synthetic_market_and_says_what_to_ask_next(
    openbell: Command, traded: SessionSummary
) -> None:
    outcome = openbell("report", "2026-01-05")
    assert outcome.code == 0
    assert outcome.err == ""
    assert "COMPLETED  SYNTHETIC" in outcome.out
    assert "an invented market" in outcome.out
    words = " ".join(outcome.out.split())
    assert f"Realized P&L {traded.realized_pnl:.2f}" in words
    assert f"Orders {traded.orders} ({traded.orders} filled)" in words
    assert 'openbell sql "select * from daily_pnl"' in outcome.out


def test_what_risk_refused_and_what_was_odd_is_grouped(openbell: Command, here: Path) -> None:
    (here / "tight.toml").write_text(
        "[risk]\nmax_order_shares = 20\nmax_daily_loss = 5\n[feed.synthetic]\nbad_print_fraction = 0.02\n"
    )
    from trading.settings import read_settings

    with assemble(read_settings(here / "tight.toml"), None) as desk:
        desk.agent.run_session()
    outcome = openbell("report", "2026-01-05", "--config", "tight.toml")
    assert "HALTED" in outcome.out
    assert "WAS HALTED" not in outcome.out
    assert "max_daily_loss: the day has lost" in outcome.out
    assert "max_order_shares" in outcome.out
    assert "SPY missing_value" in outcome.out


def test_a_day_without_a_session_names_the_nearest(openbell: Command, traded: SessionSummary) -> None:
    del traded
    outcome = openbell("report", "2026-01-06", "--json")
    assert outcome.code == 2
    assert "The nearest are on 2026-01-05" in outcome.answer["message"]


def test_a_history_without_sessions_says_how_to_begin(openbell: Command, here: Path) -> None:
    with open_store(here / "openbell.duckdb"):
        pass
    for day in (("2026-01-06",), ()):
        outcome = openbell("report", *day)
        assert outcome.code == 2
        assert "openbell session" in outcome.err


def test_without_a_day_it_is_the_newest_and_a_session_that_runs_tells_how_far_it_is(
    openbell: Command, here: Path
) -> None:
    (here / "openbell.toml").write_text('[session]\ntimeframe = "30min"\n[policy]\nname = "buy_and_hold"\n')
    settings = read_settings(here / "openbell.toml")
    for _ in range(2):
        with assemble(settings, None) as desk:
            newest = desk.agent.run_session()
    with open_store(here / "openbell.duckdb") as store:
        # As a session stands after its second bar.
        store.connection.execute(
            "UPDATE sessions SET state = 'RUNNING', last_bar_time = TIMESTAMPTZ '2026-01-06 15:00:00+00' WHERE session_id = ?",
            [newest.session_id],
        )
    outcome = openbell("report")
    assert newest.session_id in outcome.out
    assert "the newest 10:00" in outcome.out
    assert "Left overnight" not in outcome.out


def test_a_database_that_is_not_there_says_how_to_make_one(openbell: Command, here: Path) -> None:
    outcome = openbell("report", "2026-01-06")
    assert outcome.code == 1
    assert "openbell session" in outcome.err
    assert list(here.iterdir()) == []


def test_what_is_held_into_the_night_is_told(here: Path, openbell: Command) -> None:
    (here / "openbell.toml").write_text(
        '[session]\ntimeframe = "30min"\n[policy]\nname = "buy_and_hold"\n[closing]\nhold_overnight = true\n'
    )
    with assemble(read_settings(here / "openbell.toml"), None) as desk:
        day = desk.agent.run_session().session_date
    [told] = openbell("report", day, "--json").answer["sessions"]
    assert told["held_overnight"]["SPY"] > 0
    assert told["unexplained"] == []
    said = openbell("report", day).out
    assert f"Held overnight, as closing.hold_overnight is set: SPY {told['held_overnight']['SPY']}." in said
