"""A real browser at a real stack: Debian's Chromium, driven by Playwright, which brings no browser of its own here."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
try:
    from home import stack_in
    from prefect_ui import HOW_TO_GET_IT, browsing, chromium
finally:
    sys.path.remove(str(HERE))

if TYPE_CHECKING:
    from prefect_ui import PrefectUi

SETTINGS = """
[session]
symbols = ["AAA"]
"""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stack works: paths in a form are meant from there."""
    if "OPENBELL_BROWSER" not in os.environ:
        # It has not passed as a whole on a busy machine yet, and must not hold up the others.
        pytest.skip(
            "asked for with OPENBELL_BROWSER=required, and where there is a Chromium (apt-get install chromium)"
        )
    if chromium() is None:
        # Where the test has to be, leaving it out would go unnoticed.
        (pytest.fail if os.environ.get("OPENBELL_BROWSER") == "required" else pytest.skip)(HOW_TO_GET_IT)
    return tmp_path_factory.mktemp("browser").resolve()


@pytest.fixture(scope="session")
def address(home: Path) -> Iterator[str]:
    with stack_in(home, SETTINGS) as address:
        yield address


@pytest.fixture
def ui(address: str, home: Path, request: pytest.FixtureRequest) -> "Iterator[PrefectUi]":
    """A fresh browser at the stack's UI. What it shows where a test fails is kept beside the stack's logs."""
    with browsing(address) as ui:
        failed = request.session.testsfailed
        yield ui
        if request.session.testsfailed > failed:
            ui.page.screenshot(path=home / f"{request.node.name}.png")
