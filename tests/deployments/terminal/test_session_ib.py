"""Sessions at Interactive Brokers, against a rehearsal gateway: what a person asks for before, beside and after them.

The sessions themselves are traded here without Prefect; tests/flows/test_ib_session.py has the flow.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.questions import ask
from tasks.composition import assemble
from trading.appointments import LateStart
from trading.errors import StoppedEarly, TooLate
from trading.risk_events import RiskEvent, RiskEventKind
from trading.sessions import Mode, SessionState
from trading.settings import FeedKind, LatePolicy, Settings, read_settings

Command = Callable[..., Any]
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def morning(start_gateway: Start) -> Iterator[Any]:
    """Half past ten, a minute a second; the login has a live account too."""
    accounts = ("--account", "DU1234567", "--account", "U7654321")
    with start_gateway("--speed", 60, "--start", "10:30", *accounts, running=True) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def last_hour(start_gateway: Start) -> Iterator[Any]:
    """Half past three, ten minutes a second from the first question for live data on; all ends with the day."""
    with start_gateway("--speed", 600, "--start", "15:30", "--wait-for-client", running=True) as gateway:
        yield gateway


def configured(here: Path, gateway: Any, **broker: object) -> Settings:
    """The settings file of a session that holds over night and buys on its first bar, whenever that is."""
    given = {"port": gateway.port, "account": '"DU1234567"', **broker}
    ib = "\n".join(f"{name} = {value}" for name, value in given.items())
    text = f'[broker]\nkind = "ib"\n[broker.ib]\n{ib}\n[policy]\nname = "buy_and_hold"\n[session]\nlate_policy = "trade"\n[closing]\nhold_overnight = true\n'
    (here / "openbell.toml").write_text(text)
    return read_settings(here / "openbell.toml")


def lines_to_gateways() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "gateway-line"]


def test_a_session_that_comes_late_trades_what_is_left_of_the_day(
    openbell: Command, here: Path, last_hour: Any
) -> None:
    settings = configured(here, last_hour)
    heard: list[RiskEvent] = []
    with assemble(settings, None) as desk:
        desk.agent.risk_events.subscribe(heard.append, [RiskEventKind.BROKER_LINE])
        summary = desk.agent.run_session()
    assert (summary.session_id, summary.state, summary.mode) == (
        "2026-01-05.DU1234567.buy_and_hold", SessionState.COMPLETED, Mode.LIVE,
    )  # fmt: skip
    # Its first bar is the newest that is over; the ones before are its warmup.
    [[first, last, bars]] = ask(
        here / "openbell.duckdb", "select min(bar_time), max(bar_time), count(*) from equity"
    ).rows
    assert (f"{first:%H:%M}", f"{last:%H:%M}", bars) == ("20:29", "20:59", 31)
    assert (summary.fills, summary.discrepancies) == (1, 0)
    assert lines_to_gateways() == []
    assert heard == []

    told = openbell("session", "--json")
    assert (told.code, told.answer["session_id"], told.answer["mode"]) == (0, summary.session_id, "live")
    assert "was traded before" in told.err

    compared = openbell("reconcile", "--json")
    assert (compared.code, compared.answer["discrepancies"], compared.answer["answered_by"]) == (0, [], "ledger")

    over = openbell("session", "--strategy", "another", "--json")
    assert (over.code, over.answer["error"]) == (3, "session over")
    assert "closed at 16:00" in over.err

    another = openbell("session", "--date", "2026-01-06")
    assert another.code == 2
    assert "it is 2026-01-05 there" in another.err

    # What is sent now would trade tomorrow: it is not sent.
    closed = openbell("flatten", "--reason", "go home", "--json")
    assert closed.code != 0
    assert any("XNYS is closed" in step["detail"] for step in closed.answer["steps"])
    assert lines_to_gateways() == []


def test_how_late_a_session_comes_is_judged_by_the_gateways_time(here: Path, start_gateway: Start) -> None:
    # Two and a half hours after the bell, at a minute a second: two and a half minutes of the wall.
    with start_gateway("--speed", 60, "--start", "12:00", running=True) as gateway:
        settings = configured(here, gateway)

        def at_the_door(**punctuality: object) -> LateStart | None:
            session = settings.session.model_copy(update=punctuality)
            with assemble(settings.model_copy(update={"session": session}), None) as desk:
                return desk.agent.require_welcome()

        assert at_the_door(late_policy=LatePolicy.REFUSE, late_after_minutes=Decimal(30)) is None
        with pytest.raises(TooLate, match=r"after the opening bell of 09:30, and session.late_policy is refuse"):
            at_the_door(late_policy=LatePolicy.REFUSE, late_after_minutes=Decimal(0))
        late = at_the_door(late_policy=LatePolicy.REDUCE_ONLY, late_after_minutes=Decimal(1))
        assert late is not None
        assert "minutes after the opening bell of 09:30" in late.only_reduces


def test_a_dry_run_compares_decides_and_sends_nothing(here: Path, morning: Any) -> None:
    settings = configured(here, morning)
    before = len(morning.book()["orders"])
    traded = iter(range(10))
    with assemble(settings, None, dry_run=True) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(lambda: next(traded) >= 1)
    assert len(morning.book()["orders"]) == before
    copy = here / "openbell.dry-run.duckdb"
    [row] = ask(copy, "select status, detail, count(*) from order_events where status = 'REJECTED' group by all").rows
    assert row[:2] == ("REJECTED", "dry run: not sent")
    assert not (here / "openbell.duckdb").exists()


def test_what_a_stopped_session_holds_is_compared_and_closed_at_rest(
    openbell: Command, here: Path, morning: Any
) -> None:
    settings = configured(here, morning)
    bars = iter(range(10))
    with assemble(settings, None) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(lambda: next(bars) >= 2)
    held = ask(here / "openbell.duckdb", "select symbol, quantity from positions").rows
    assert [symbol for symbol, _ in held] == ["SPY"]
    assert openbell("reconcile", "--json").answer["discrepancies"] == []

    # Taken up again it goes on with the newest bar: what it has missed is nothing to decide on any more.
    with assemble(settings, None) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(lambda: True)
    times = [at for (at,) in ask(here / "openbell.duckdb", "select bar_time from equity order by bar_time").rows]
    assert len(times) == 4
    assert times[3] - times[2] > timedelta(minutes=1)

    stopped = openbell("flatten", "--reason", "enough", "--json")
    assert (stopped.code, stopped.answer["state"], stopped.answer["answered_by"]) == (0, "SUCCEEDED", "ledger")
    assert morning.book()["accounts"]["DU1234567"]["positions"] == {}
    # What closed it is booked at once: the gateway keeps the current day alone.
    assert ask(here / "openbell.duckdb", "select count(*) from positions").rows == ((0,),)
    assert openbell("reconcile", "--json").answer["discrepancies"] == []


def test_bars_of_the_broker_go_with_a_simulated_account(here: Path, morning: Any) -> None:
    settings = configured(here, morning)
    paper = settings.model_copy(
        update={
            "broker": settings.broker.model_copy(update={"kind": "paper"}),
            "feed": settings.feed.model_copy(update={"kind": FeedKind.IB}),
        }
    )
    before = len(morning.book()["orders"])
    bars = iter(range(10))
    with assemble(paper, None) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(lambda: next(bars) >= 2)
    [row] = ask(here / "openbell.duckdb", "select account, source, count(*) from fills group by all").rows
    assert row == ("paper", "paper", 1)
    assert len(morning.book()["orders"]) == before


def test_a_live_account_is_refused_before_anything_is_made_of_it(here: Path, openbell: Command, morning: Any) -> None:
    configured(here, morning, account='"U7654321"')
    refused = openbell("session", "--json")
    assert (refused.code, refused.answer["error"]) == (3, "broker not ready")
    assert "U7654321 is a live account" in refused.err
    assert lines_to_gateways() == []


def test_a_gateway_that_is_not_there_is_a_refusal_and_no_simulation(
    openbell: Command, here: Path, last_hour: Any
) -> None:
    configured(here, last_hour, connect_timeout_seconds=2)
    (here / "openbell.toml").write_text((here / "openbell.toml").read_text().replace(str(last_hour.port), "1"))
    refused = openbell("session", "--json")
    assert (refused.code, refused.answer["error"]) == (3, "broker not ready")
    assert "nothing was simulated in its place" in refused.err
    assert not list(here.glob("*.sqlite"))
