"""docs/interactive-brokers.md: every alert, every code, every trap, and no test or rehearsal that does not exist."""

import ast
import re
from pathlib import Path

from trading.interactive_brokers.episodes import EpisodeKind
from trading.interactive_brokers.error_codes import Meaning, meaning_of

HOUSE = Path(__file__).parents[2]
PAGE = (HOUSE / "docs" / "interactive-brokers.md").read_text(encoding="utf-8")
TRAPS = range(1, 13)
"""The known traps of the broker and its library, as the page numbers them."""
NOTHING_IS_DONE_FOR = {Meaning.NOTICE, Meaning.CONTRACT_UNKNOWN}


def table(heading: str) -> list[list[str]]:
    """The cells of the table rows under a heading."""
    section = PAGE.split(f"# {heading}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def situations() -> list[list[str]]:
    return [row for heading in ("The line", "Orders", "Executions and money", "Data") for row in table(heading)]


def rehearsed() -> set[str]:
    """Names of the situations in whole sessions, as their module writes them."""
    module = ast.parse((HOUSE / "tests" / "rehearsals" / "situations.py").read_text(encoding="utf-8"))
    [written] = [
        node.value
        for node in module.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "SITUATIONS"
    ]
    assert written is not None
    rows = [node for node in ast.walk(written) if isinstance(node, ast.Tuple) and len(node.elts) == 4]
    return {name.value for row in rows if isinstance(name := row.elts[0], ast.Constant)}


def test_every_kind_of_alert_says_what_to_do() -> None:
    rows = table("What to do in each alert")
    assert [row[0].strip("`") for row in rows] == [str(kind) for kind in EpisodeKind]
    assert all(all(row) and len(row) == 4 for row in rows)


def test_every_code_has_the_meaning_that_is_written() -> None:
    written = {int(code): row[0].strip("`") for row in table("Error codes") for code in row[1].split(", ")}
    known = {code: meaning for code in range(20_000) if (meaning := meaning_of(code)) not in (None, Meaning.NOTICE)}
    assert written == known


def test_every_meaning_of_a_code_has_its_line() -> None:
    assert {row[0].strip("`") for row in table("Error codes")} == set(Meaning) - NOTHING_IS_DONE_FOR


def test_every_test_that_is_named_exists() -> None:
    written = {
        name
        for file in (HOUSE / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = [name for row in situations() for name in re.findall(r"`(test_\w+)`", row[2])]
    assert len(named) > 70
    assert [name for name in named if name not in written] == []
    assert sorted(named) == sorted(set(named))


def test_every_situation_says_what_is_done_and_who_shows_it() -> None:
    for row in situations():
        assert len(row) == 4, row
        assert row[0], row
        assert row[1], row
        assert "`test_" in row[2], row


def test_every_trap_is_borne() -> None:
    borne = {int(number) for row in situations() for number in re.findall(r"\(trap (\d+)\)", row[0])}
    assert borne == set(TRAPS)


def test_every_situation_of_whole_sessions_is_in_the_list() -> None:
    named = [name for row in situations() for name in row[3].split("; ") if name]
    assert sorted(named) == sorted(set(named))
    assert {name for name in named if not name.startswith("every day")} == rehearsed()
