"""Questions from the terminal: as an argument, piped in, or at a prompt; answers for people and for programs."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("traded")


def test_json_has_columns_and_rows_with_numbers_and_iso_times(openbell: Command) -> None:
    query = (
        "select symbol, 12.5::DECIMAL(9,2) as money, bar_time, null as none, 'nan'::DOUBLE as n from decisions limit 1"
    )
    outcome = openbell("sql", query, "--json")
    assert outcome.code == 0
    assert outcome.answer == {
        "columns": ["symbol", "money", "bar_time", "none", "n"],
        "rows": [["SPY", 12.5, "2026-01-05T14:30:00+00:00", None, None]],
    }


def test_plain_text_is_aligned_and_whole(openbell: Command) -> None:
    query = "select * from (values ('a', 1.5::DECIMAL(18,6)), ('bcd', -20.25::DECIMAL(18,6))) as t(name, money)"
    assert openbell("sql", query).out == "name   money\na       1.50\nbcd   -20.25\n"
    assert len(openbell("sql", "select * from equity").out.splitlines()) == 391


def test_an_empty_answer_still_names_its_columns(openbell: Command) -> None:
    assert openbell("sql", "select symbol from fills where false").out == "symbol\n"


def test_a_query_can_be_piped_in(openbell_process: Command) -> None:
    outcome = openbell_process("sql", "--json", stdin="select count(*) as bars\nfrom equity;\n")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.answer == {"columns": ["bars"], "rows": [[390]]}


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("selec 1", "selec"),
        ("select nothing from equity", "nothing"),
        ("delete from fills", "read-only"),
        ("copy fills to 'fills.csv'", "fills"),
        ("  ", "select * from daily_pnl"),
    ],
)
def test_a_wrong_query_ends_with_2_and_the_databases_words(
    openbell: Command, here: Path, query: str, named: str
) -> None:
    before = sorted(here.iterdir())
    outcome = openbell("sql", query, "--json")
    assert outcome.code == 2
    assert outcome.answer["error"] == "configuration error"
    assert named in outcome.answer["message"]
    assert sorted(here.iterdir()) == before


def test_a_reader_that_leaves_is_no_error(here: Path) -> None:
    command = f"{sys.executable} -m deployments.terminal sql 'select * from decisions, range(200)' | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=here,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("session_id")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **more}


def on_a_terminal(here: Path, typed: str, *arguments: str) -> str:
    """What a terminal of 80 columns shows when this is typed."""
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "deployments.terminal", *arguments],
        stdin=inside, stdout=inside, stderr=inside, cwd=here, env=environment(TERM="dumb"),
    ):  # fmt: skip
        os.close(inside)
        os.write(terminal, typed.encode())
        shown = b""
        while True:
            try:
                piece = os.read(terminal, 65_536)
            except OSError:  # the other end is closed
                break
            shown += piece
    os.close(terminal)
    return shown.decode().replace("\r\n", "\n")


def test_a_prompt_takes_several_lines_and_survives_errors(here: Path) -> None:
    shown = on_a_terminal(
        here, "select count(*)\nas bars from equity;\nselect wrong;\nselect 41 + 1 as answer;\n\\q\n", "sql"
    )
    assert "390" in shown
    assert "wrong" in shown
    assert "│     42 │" in shown


def test_a_prompt_goes_on_when_the_database_is_held_and_asks_nothing_for_nothing(here: Path) -> None:
    keeper = "import sys, duckdb; held = duckdb.connect('openbell.duckdb'); print('held', flush=True); sys.stdin.read()"
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "deployments.terminal", "sql"],
        stdin=inside, stdout=inside, stderr=inside, cwd=here, env=environment(TERM="dumb"),
    ):  # fmt: skip
        os.close(inside)
        shown = until(terminal, "Ctrl-D.")
        with subprocess.Popen(
            [sys.executable, "-c", keeper], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=here
        ) as held:
            assert held.stdout is not None
            assert held.stdout.readline() == b"held\n"
            os.write(terminal, b";\nselect 1 as busy;\n")
            shown += until(terminal, "door is")
        os.write(terminal, b"select 41 + 1 as answer;\n\\q\n")
        shown += until(terminal, None)
    os.close(terminal)
    assert "│     42 │" in shown
    assert "0 were given" not in shown


def until(terminal: int, words: str | None) -> str:
    """What the terminal shows up to these words, or to its end."""
    shown = ""
    while words is None or words not in shown:
        try:
            shown += os.read(terminal, 65_536).decode()
        except OSError:  # the other end is closed
            assert words is None, shown
            return shown
    return shown


def test_a_terminal_gets_the_first_rows_and_is_told_so(here: Path) -> None:
    shown = on_a_terminal(here, "", "sql", "select bar_time, equity from equity")
    assert "The first 40 of 390 rows" in shown


def test_a_terminal_gets_what_fits_and_is_told_what_does_not(here: Path) -> None:
    shown = on_a_terminal(here, "", "sql", "select * from decisions")
    assert max(map(len, shown.splitlines())) <= 80
    assert "In every row: session_id = 2026-01-05.synthetic.sma_crossover" in shown


def test_a_few_wide_rows_are_shown_a_value_a_line(here: Path) -> None:
    shown = on_a_terminal(here, "", "sql", "select * from daily_pnl")
    assert "ending_equity" in shown
    assert "session_id         2026-01-05.synthetic.sma_crossover" in shown
