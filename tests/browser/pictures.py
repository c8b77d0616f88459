"""Makes the pictures of the UI in docs/pictures again, from two days of an invented market that are traded for them: ``make pictures``.

Look at each before it is committed. None is larger than 150 kB.
"""

import io
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

from home import HOUSE, stack_in
from PIL import Image
from playwright.sync_api import Locator, expect
from prefect_ui import PrefectUi, browsing

PICTURES = HOUSE / "docs" / "pictures"
LARGEST_BYTES = 150_000
DAYS = (date(2026, 1, 5), date(2026, 1, 6))
SETTINGS = """
[session]
symbols = ["AAPL", "MSFT"]
timeframe = "5min"
pace = "max"
granularity = "stage"

[feed]
kind = "synthetic"

[orders]
allow_short = true
"""


def keep(name: str, shown: bytes) -> None:
    """Write a picture with no more colours than it needs for its size."""
    picture = Image.open(io.BytesIO(shown)).convert("RGB")
    for colours in (256, 128, 64, 32):
        file = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if len(file.getvalue()) <= LARGEST_BYTES:
            break
    (PICTURES / f"prefect-{name}.png").write_bytes(file.getvalue())
    print(f"prefect-{name}.png {len(file.getvalue()):,} bytes, {colours} colours")


def trade(ui: PrefectUi, day: date) -> None:
    """A session from its form, until it is over."""
    ui.open("deployments")
    ui.open_deployment("session")
    ui.open_form()
    ui.choose(ui.field("settings", "Session", "Pace"), "max")
    ui.pick(ui.field("session_date"), day)
    ui.start()
    expect(ui.state()).to_have_text("Completed")


def of_the_page(ui: PrefectUi, ready: Locator, height: int = 900) -> bytes:
    """What a window of this height shows, once ``ready`` is there."""
    ui.page.set_viewport_size({"width": 1280, "height": height})
    expect(ready.first).to_be_visible()
    ui.page.wait_for_load_state("networkidle")
    return ui.page.screenshot(animations="disabled")


def dashboard(ui: PrefectUi) -> bytes:
    ui.open("dashboard")
    # Failed, running, completed, waiting, cancelled.
    ui.page.locator(".flow-run-state-type-tabs .p-tab").nth(2).click()
    return of_the_page(ui, ui.page.get_by_text("trading-session"))


def deployments(ui: PrefectUi) -> bytes:
    ui.open("deployments")
    return of_the_page(ui, ui.page.get_by_role("link", name="health-check", exact=True).first, 960)


def automations(ui: PrefectUi) -> bytes:
    ui.open("automations")
    return of_the_page(ui, ui.page.get_by_text("openbell: alarm"), 960)


def form(ui: PrefectUi) -> bytes:
    ui.open("deployments")
    ui.open_deployment("session")
    ui.open_form()
    return of_the_page(ui, ui.field("settings", "Session", "Timeframe"), 1000)


def a_run(ui: PrefectUi) -> None:
    ui.open("runs")
    ui.page.get_by_role("link", name="2026-01-06 sma_crossover").first.click()
    expect(ui.state()).to_have_text("Completed")


def timeline(ui: PrefectUi) -> bytes:
    a_run(ui)
    graph = ui.page.locator("canvas").first
    expect(graph).to_be_visible()
    ui.page.wait_for_load_state("networkidle")
    box = graph.bounding_box()
    assert box is not None
    ui.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    for _ in range(6):
        ui.page.mouse.wheel(0, -240)
    return of_the_page(ui, ui.page.get_by_role("tablist"), 780)


def report(ui: PrefectUi) -> bytes:
    a_run(ui)
    ui.open_tab("Artifacts")
    ui.artifact("session-2026-01-06-synthetic-sma-crossover").click()
    ui.wait_for_pictures()
    return of_the_page(ui, ui.page.locator("article img"), 1300)


SHOWN: dict[str, Callable[[PrefectUi], bytes]] = {
    "dashboard": dashboard,
    "deployments": deployments,
    "form": form,
    "timeline": timeline,
    "report": report,
    "automations": automations,
}


def make(address: str, names: list[str], trades: bool = True) -> None:
    """The pictures of these names, or all of them, from the stack at this address."""
    with browsing(address) as ui:
        for day in DAYS if trades else ():
            trade(ui, day)
    for name in names or SHOWN:
        with browsing(address) as ui:
            keep(name, SHOWN[name](ui))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, stack_in(Path(folder).resolve(), SETTINGS) as stack:
        make(stack, sys.argv[1:])
