"""What a person does in the UI: start a session from its form, watch it, read its report, and stop the trading of a symbol."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from storage.questions import ask

if TYPE_CHECKING:
    from prefect_ui import PrefectUi

MONDAY = date(2026, 1, 5)
SESSION = "session-2026-01-05-synthetic-buy-and-hold"


def test_a_session_is_started_from_its_form_watched_and_read(ui: "PrefectUi", home: Path) -> None:
    page = ui.page
    ui.open()
    expect(page.get_by_text("Flow Runs").first).to_be_visible()

    ui.open_deployment("session")
    ui.open_form()
    session = ("settings", "Session")
    expect(ui.field(*session)).to_contain_text("What is traded, where and how fast.")
    expect(ui.field("settings", "Risk", "Max Daily Loss")).to_contain_text("trading halts until the close")
    ui.write(ui.field(*session, "Symbols"), "SPY")
    ui.choose(ui.field(*session, "Timeframe"), "15min")
    ui.choose(ui.field(*session, "Pace"), "max")
    ui.choose(ui.field("settings", "Feed", "Kind"), "synthetic")
    ui.write(ui.field("settings", "Policy", "Name"), "buy_and_hold")
    ui.write(ui.field("settings", "Store", "Path"), "from_the_form.duckdb")
    ui.pick(ui.field("session_date"), MONDAY)
    ui.start()

    # The page follows the run by itself.
    expect(page.get_by_role("navigation")).to_contain_text("2026-01-05 buy_and_hold SPY")
    expect(ui.state()).to_have_text("Completed")
    ui.open_tab("Task Runs")
    for name in ("15:45 decide", "15:45 risk", "15:45 route"):
        expect(page.get_by_role("link", name=name)).to_be_visible()

    ui.open_tab("Artifacts")
    expect(ui.artifact("session-progress")).to_contain_text("done")
    ui.artifact("session-account").click()
    expect(page.locator("article").last).to_contain_text("session P&L")
    page.go_back()
    ui.open_tab("Artifacts")
    ui.artifact(SESSION).click()
    expect(page.get_by_role("heading", name="Charts")).to_be_visible()
    widths = ui.wait_for_pictures()
    assert widths
    assert min(widths) > 300

    assert ui.errors() == []
    assert ui.troubles == []
    assert ui.gone_astray == []
    # It is what was asked for in the form, and not what the file says.
    [found] = ask(
        home / "from_the_form.duckdb",
        "SELECT session_date, strategy, state, (SELECT string_agg(DISTINCT symbol) FROM orders),"
        " (SELECT count(DISTINCT bar_time) FROM decisions) FROM sessions",
    ).rows
    assert found == (MONDAY, "buy_and_hold", "COMPLETED", "SPY", 26)


def test_an_operators_form_refuses_nonsense_and_says_why(ui: "PrefectUi") -> None:
    page = ui.page
    ui.open("deployments")
    ui.open_deployment("halt")
    ui.open_form()
    ui.write(ui.field("reason"), "news")
    ui.write(ui.field("scope"), "AAPL")
    status, _ = ui.submit()
    assert status == 409
    # The note goes by itself after some seconds; the form stays.
    assert any("'AAPL' does not match" in error for error in ui.errors_that_come())
    assert ui.troubles.pop().startswith("409")

    ui.write(ui.field("scope"), "symbol:AAPL")
    ui.start()
    expect(ui.state()).to_have_text("Completed")
    expect(page.get_by_role("navigation")).to_contain_text("stop symbol:AAPL: news")
    assert ui.errors() == []
    assert ui.troubles == []
    assert ui.gone_astray == []
