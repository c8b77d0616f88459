"""Prefect's UI as a person uses it: by what is written there, with mouse and keys.

Nothing of it is asked by its API, and nothing leaves this machine: requests elsewhere are blocked and kept in ``gone_astray``.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, Response, Route, TimeoutError, expect, sync_playwright

PATIENCE_SECONDS = 120.0
BUSY = 503
"""What the server answers at once while somebody else writes to its database; the page asks again, or a person does."""
KNOWN_NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_GET_IT = "there is no Chromium: apt-get install chromium, or name one with OPENBELL_CHROMIUM"
FLAGS = (
    "--no-sandbox",  # it does not start as root otherwise
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",  # containers have little of it
)


def chromium() -> str | None:
    """The program of the browser; None where there is none."""
    names = [os.environ["OPENBELL_CHROMIUM"]] if os.environ.get("OPENBELL_CHROMIUM") else KNOWN_NAMES
    return next(filter(None, map(shutil.which, names)), None)


class PrefectUi:
    """One page of a browser at the UI of the server at ``address``."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.gone_astray: list[str] = []
        """Addresses elsewhere that were asked for."""
        self.troubles: list[str] = []
        """What the page's own program and its server complained of."""
        self._address = address
        page.context.route("**/*", self._stays_here)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("response", self._complains)

    def open(self, where: str = "") -> None:
        """Go to a page by its address."""
        self.page.goto(f"{self._address}/{where}")

    def go_to(self, page: str) -> None:
        """Go to a page by the menu on the left."""
        self.page.locator(".p-context-sidebar").get_by_text(page, exact=True).click()

    def open_deployment(self, name: str) -> None:
        self.go_to("Deployments")
        self.page.get_by_placeholder("Search deployments").fill(name)
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def open_form(self) -> None:
        """Of the deployment that is shown: Run, Custom run."""
        deadline, choice = time.monotonic() + PATIENCE_SECONDS, self.page.get_by_text("Custom run")
        while True:
            # The menu closes where the page is drawn anew, as it is while its parts arrive.
            self.page.get_by_role("button", name="Run", exact=True).click()
            try:
                choice.click(timeout=3_000)
                break
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
        self.page.get_by_role("heading", name="Parameters", exact=True).wait_for()

    def field(self, *labels: str) -> Locator:
        """A field of the form by what is written above it, and above the sections around it."""
        found: Locator | Page = self.page
        for label in labels:
            title = f'.schema-form-property__label:text-is("{label} (Optional)")'
            found = found.locator(f".schema-form-property:has(> .p-label__header {title})")
        assert isinstance(found, Locator)
        return found

    def write(self, field: Locator, text: str) -> None:
        """Into a field of text; one that may be left empty is switched to text before."""
        self._no_longer_empty(field)
        field.get_by_role("textbox").first.fill(text)

    def choose(self, field: Locator, word: str) -> None:
        """From a list, by keys: down opens it."""
        self._no_longer_empty(field)
        control = field.locator("button.p-select-button__control")
        control.press("ArrowDown")
        self.page.locator(".p-select-option").get_by_text(word, exact=True).click()
        expect(control).to_have_text(word)

    def pick(self, field: Locator, day: date) -> None:
        """A day, in the calendar that the field opens."""
        self._no_longer_empty(field)
        field.locator(".p-date-button, .p-date-input").last.click()
        calendar = self.page.locator(".p-date-picker")
        calendar.locator("input[type=date]").fill(day.isoformat())
        calendar.get_by_role("button", name="Apply").click()

    def submit(self) -> tuple[int, dict[str, Any]]:
        """Press the button; what the server answers to it."""
        with self.page.expect_response("**/create_flow_run") as answer:
            self.page.get_by_role("button", name="Submit", exact=True).click()
        return answer.value.status, answer.value.json()

    def start(self) -> None:
        """Submit the form, again where the server is busy, and open the page of the run from the deployment's list of runs."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        status, made = self.submit()
        while status == BUSY and time.monotonic() < deadline:
            status, made = self.submit()
        assert status == 201, made
        self.page.locator(f'a[href*="/runs/flow-run/{made["id"]}"]').first.click()

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("tablist").get_by_text(name, exact=True).click()

    def state(self) -> Locator:
        """The state of the run that is shown; the page follows it."""
        return self.page.locator(".page-heading .state-badge").first

    def artifact(self, key: str) -> Locator:
        """One of the artifacts of the run that is shown."""
        return self.page.locator('a[href*="/artifacts/artifact/"]', has=self.page.get_by_text(key, exact=True))

    def errors(self) -> list[str]:
        """Boxes of errors that are shown."""
        return self.page.locator(".p-toast__card:has(.p-toast__icon--error), .p-message--error").all_inner_texts()

    def errors_that_come(self) -> list[str]:
        """Boxes of errors, once there is one."""
        box = self.page.locator(".p-toast__card:has(.p-toast__icon--error)")
        box.first.wait_for()
        return self.errors()

    def wait_for_pictures(self) -> list[int]:
        """The widths in pixels of the page's pictures in articles, once all are loaded."""
        pictures = self.page.locator("article img")
        expect(pictures.first).to_be_visible()
        self.page.wait_for_function("[...document.querySelectorAll('article img')].every(one => one.complete)")
        return [int(one) for one in pictures.evaluate_all("all => all.map(one => one.naturalWidth)")]

    def _no_longer_empty(self, field: Locator) -> None:
        nothing = field.locator(":scope > .p-label__body > .p-button-group").get_by_role(
            "button", name="None", exact=True
        )
        if nothing.count():
            field.locator(":scope > .p-label__body > .p-button-group").get_by_role("button").first.click()

    def _complains(self, answer: Response) -> None:
        # The UI asks for an icon of a state that it does not know yet.
        if answer.status >= 400 and answer.status != BUSY and "/ico/" not in answer.url:
            self.troubles.append(f"{answer.status} {answer.url}")

    def _stays_here(self, route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.scheme in ("data", "blob") or address.hostname == "127.0.0.1":
            route.continue_()
            return
        self.gone_astray.append(route.request.url)
        route.abort()


@contextmanager
def browsing(address: str, width: int = 1280, height: int = 1000) -> Iterator[PrefectUi]:
    """A fresh browser without a window, in New York's time, at the UI of the server at ``address``."""
    program = chromium()
    if program is None:
        raise FileNotFoundError(HOW_TO_GET_IT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height}, locale="en-US", timezone_id="America/New_York"
            )
            context.set_default_timeout(PATIENCE_SECONDS * 1_000)
            expect.set_options(timeout=PATIENCE_SECONDS * 1_000)
            yield PrefectUi(context.new_page(), address)
        finally:
            browser.close()
