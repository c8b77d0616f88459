"""The prompt of ``openbell sql``: a query may take several lines and ends with a semicolon; an error ends only itself."""

import contextlib
from pathlib import Path

from deployments.terminal.answer import aside
from deployments.terminal.failures import paragraph, say_error
from deployments.terminal.sql import answer
from trading.errors import OpenbellError

_LEAVING = ("quit", "exit")


def ask_at_prompt(path: Path, as_json: bool) -> None:
    """Answer queries until the person leaves. The database is open only while a query runs, and is asked at its holder's while a
    session runs: one may begin or end between two queries."""
    with contextlib.suppress(ImportError):  # a Python built without it has no history, and nothing else is missing
        import readline  # noqa: F401 - importing it is what gives input() its history
    answer_nothing(path)
    aside().print(f"{path}: end a query with ; and leave with \\q or Ctrl-D.")
    lines: list[str] = []
    while True:
        try:
            line = input("openbell> " if not lines else "     ...> ")
        except EOFError:
            aside().print()
            return
        except KeyboardInterrupt:
            aside().print()
            lines.clear()
            continue
        if line.strip() == "\\q" or (not lines and line.strip().rstrip(";").lower() in _LEAVING):
            return
        if not lines and not line.strip(" \t;"):
            continue
        lines.append(line)
        if line.rstrip().endswith(";"):
            _answer(path, "\n".join(lines), as_json)
            lines.clear()


def answer_nothing(path: Path) -> None:
    """Say at once when there is no such database."""
    from storage.visit import read_from

    read_from(path, lambda _: None)


def _answer(path: Path, query: str, as_json: bool) -> None:
    try:
        answer(path, query, as_json)
    except OpenbellError as error:
        say_error(paragraph(error))
    except KeyboardInterrupt:
        aside().print("Interrupted.")
