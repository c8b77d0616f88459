"""The documents are true: commands run, queries answer, names exist, links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.settings_reference import reference
from storage.questions import ask
from trading.hooks import HookEvent
from trading.settings import Settings, read_settings

HOUSE = Path(__file__).parents[2]
README = HOUSE / "README.md"
PAGES = tuple(sorted([*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md")]))
SECONDS_A_COMMAND_MAY_TAKE = 120


@dataclass(frozen=True)
class Example:
    """A fenced block, or a line of one: where it stands and its text."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}-{self.line}"


def blocks(page: Path, language: str) -> list[Example]:
    """The fenced blocks of one language."""
    text = page.read_text(encoding="utf-8")
    return [
        Example(page, text.count("\n", 0, found.start()) + 1, found[2])
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if found[1] == language
    ]


def shell_lines(page: Path) -> list[Example]:
    return [
        Example(page, block.line + 1 + place, line)
        for block in blocks(page, "sh")
        for place, line in enumerate(block.text.splitlines())
    ]


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of all table rows under a heading of the second level, without headers."""
    section = re.split(rf"^## {re.escape(heading)}$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    lines = re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    rules = [place for place, line in enumerate(lines) if re.fullmatch(r"\|[|\s:-]+\|", line)]
    headers = {place - 1 for place in rules}
    kept = [line for place, line in enumerate(lines) if line.startswith("|") and place not in headers | set(rules)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


def every(language: str) -> list[Example]:
    return [block for page in PAGES for block in blocks(page, language)]


# Commands


def test_every_openbell_command_of_the_readme_runs(prefect_server: str, scratch: Path) -> None:
    """In the order of the page and in one folder, as a reader would type them after `make session`."""
    written = [line for line in shell_lines(README) if re.match(r"(\.venv/bin/)?openbell\b", line.text)]
    assert len(written) >= 5
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    for command in [Example(README, 0, "openbell session"), *written]:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.terminal", *shlex.split(command.text)[1:]],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_A_COMMAND_MAY_TAKE,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {command.text}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip(), f"{command}: {command.text} said nothing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`make ([a-z-]+)`", text) + re.findall(r"^make ([a-z-]+)$", text, re.MULTILINE)
    assert set(named) <= targets


# Queries


@pytest.mark.parametrize("query", every("sql"), ids=str)
def test_every_query_answers_on_a_real_ledger(query: Example, ledger: Path) -> None:
    answer = ask(ledger, query.text)
    assert answer.rows, f"{query} finds nothing"


def test_the_readme_names_every_table_and_view_with_all_columns(ledger: Path) -> None:
    columns = ask(
        ledger,
        """
        SELECT table_name, list(column_name ORDER BY column_index)
        FROM duckdb_columns() WHERE NOT internal GROUP BY table_name
        """,
    ).rows
    views = {name for (name,) in ask(ledger, "SELECT view_name FROM duckdb_views() WHERE NOT internal").rows}
    documented = {}
    for name, _, listed in rows(README, "Asking"):
        documented[name] = listed.split(", ")
    real = {f"view `{name}`" if name in views else f"`{name}`": held for name, held in columns}
    del real["`schema_migrations`"]  # the store's own
    assert documented == real


# Settings


def test_the_settings_reference_is_what_the_models_say() -> None:
    written = (HOUSE / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == reference(), "python -m deployments.terminal.settings_reference > docs/settings.md"


def test_the_settings_reference_has_every_key() -> None:
    text = reference()
    for section, field in Settings.model_fields.items():
        assert f"## [{section}]\n" in text
        for key in field.annotation.model_fields:  # type: ignore[union-attr]
            assert f"| `{key}` |" in text or f"## [{section}.{key}]\n" in text


@pytest.mark.parametrize("example", every("toml"), ids=str)
def test_every_settings_example_is_valid(example: Example, tmp_path: Path) -> None:
    file = tmp_path / "openbell.toml"
    file.write_text(example.text, encoding="utf-8")
    read_settings(file)


# Python


@pytest.mark.parametrize("example", every("python"), ids=str)
def test_every_notebook_example_runs(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example.text, str(example), "exec"), names)
    assert "COMPLETED" in capsys.readouterr().out
    assert names["fills"], "the hook saw the fills"


# Names


def test_the_readme_names_every_hook() -> None:
    text = README.read_text(encoding="utf-8")
    assert [event for event in HookEvent if f"`{event}`" not in text] == []


def test_the_readme_names_every_exit_code() -> None:
    codes = {int(cells[0]) for cells in rows(README, "The rules of a session")}
    assert codes == {int(code) for code in ExitCode}


def code_names(page: Path) -> set[str]:
    return set(
        re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S))
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    roots = ("trading/", "storage/", "tasks/", "flows/", "deployments/", "tests/", "docs/")
    named = {name for name in code_names(page) if name.startswith(roots) and "*" not in name and " " not in name}
    assert {name for name in named if not (HOUSE / name).exists()} - {"flows/x.py"} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).is_file()] == []


def test_every_picture_is_shown_and_small() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (HOUSE / "docs" / "pictures").iterdir():
        assert f"pictures/{picture.name}" in shown
        assert picture.stat().st_size < 200_000
