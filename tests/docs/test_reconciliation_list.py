"""docs/reconciliation.md lists every situation with a test that exists."""

import re
from pathlib import Path

from trading.differences import DiscrepancyKind

HOUSE = Path(__file__).parents[2]
PAGE = (HOUSE / "docs" / "reconciliation.md").read_text(encoding="utf-8")
OUTCOMES = ("repaired", "locked", "told", "nothing", "it is one", "left to", "the lock lifts itself")


def situations() -> list[list[str]]:
    """The cells of every row whose last one names a test."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
    return [row for row in rows if re.fullmatch(r"`test_\w+`", row[-1])]


def test_every_test_that_is_named_exists() -> None:
    written = {
        name
        for file in (HOUSE / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = [row[-1].strip("`") for row in situations()]
    assert len(named) > 40
    assert [name for name in named if name not in written] == []


def test_no_test_stands_for_two_situations() -> None:
    named = [row[-1] for row in situations()]
    assert sorted(named) == sorted(set(named))


def test_every_kind_of_difference_is_in_the_list() -> None:
    listed = {row[1].strip("`") for row in situations() if len(row) == 4}
    assert listed - {"none"} == set(DiscrepancyKind)


def test_every_situation_says_what_is_done() -> None:
    for row in situations():
        if len(row) == 4:
            assert row[2].startswith(OUTCOMES), row
