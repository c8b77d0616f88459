"""docs/operations.md, "When the machinery fails": every row is whole, its alerts and its tests exist, and every test of a failure has its row."""

import ast
import re
from pathlib import Path

from trading.alert_settings import AlertName

HOUSE = Path(__file__).parents[2]
PAGE = (HOUSE / "docs" / "operations.md").read_text(encoding="utf-8")
HEADINGS = ["what fails", "trading", "ledger", "the run in Prefect", "alert", "what you do", "test"]


def rows() -> list[list[str]]:
    section = PAGE.split("## When the machinery fails\n")[1].split("\n## ")[0]
    first = section[section.index("\n| ") + 1 :].split("\n\n")[0]
    lines = first.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == HEADINGS
    return cells[2:]


def written_in(folder: Path) -> set[str]:
    """Names of the tests that are written there."""
    return {
        node.name
        for file in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_failure_says_everything_and_names_tests_that_exist() -> None:
    assert all(len(row) == len(HEADINGS) and all(row) for row in rows())
    named = {name for row in rows() for name in re.findall(r"`(test_\w+)`", row[-1])}
    assert all("`test_" in row[-1] for row in rows())
    assert named <= written_in(HOUSE / "tests")
    assert written_in(HOUSE / "tests" / "machinery") <= named


def test_those_with_an_asterisk_are_the_ones_that_wait_for_make_machinery() -> None:
    marked = {name for row in rows() for name in re.findall(r"`(test_\w+)`\*", row[-1])}
    long = [file for file in (HOUSE / "tests" / "machinery").glob("test_*.py") if "make machinery" in file.read_text()]
    assert marked == {
        node.name
        for file in long
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_the_alerts_that_are_named_exist() -> None:
    named = {name for row in rows() for name in re.findall(r"`([a-z-]+)`", row[HEADINGS.index("alert")])}
    assert named
    assert named <= {name.value for name in AlertName}
