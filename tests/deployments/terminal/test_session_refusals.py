"""What stops a session before it starts: the exit code, one paragraph, and nothing half-written."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.store import open_store
from trading.sessions import SessionSummary

Command = Callable[..., Any]
BarsFile = Callable[..., Path]


def said(outcome: Any) -> str:
    """What was said on stderr; one paragraph with no traceback."""
    assert "Traceback" not in outcome.err
    [paragraph] = outcome.err.strip().splitlines()
    return str(paragraph)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--broker", "ib", "--feed", "synthetic"], "is not traded on synthetic bars"),
        (["--broker", "ib", "--feed", "recorded", "--date", "2011-01-18"], "is not traded on recorded bars"),
        (["--broker", "ib", "--bars", "bars.csv"], "is not traded on recorded bars"),
        (["--feed", "ib", "--bars", "bars.csv"], "bars.csv"),
        (["--feed", "ib", "--pace", "60"], "--pace 60"),
        (["--broker", "ib", "--pace", "max"], "--pace max"),
        (["--feed", "bloomberg"], "bloomberg"),
        (["--policy", "models/best"], "There is no bundle models/best"),
        (["--policy", "oracle"], "oracle"),
        (["--date", "18.01.2011"], "for example 2011-01-18"),
        (["--date", "2011-02-30"], "2011-02-30"),
        (["--date", "20110118"], "for example 2011-01-18"),
        (["--date", "1492-10-12"], "1492"),
        (["--pace", "0"], "session.pace"),
        (["--pace", "fast"], "fast"),
        (["--seed", "-1"], "feed.synthetic.seed"),
        (["--seed", "seven"], "--seed"),
        (["--symbols", "SPY,$$$"], "$$$"),
        (["--symbols", "SPY,spy"], "more than once"),
        (["--symbols", " , "], "names no symbol"),
        (["--granularity", "second"], "second"),
        (["--strategy", "a b"], "session.strategy"),
        (["--account", ""], "session.account"),
        (["--timestamp", "middle"], "middle"),
        (["--symbol", "SPY"], "feed.bars"),
        (["--bars", "bars.csv", "--feed", "synthetic"], "bars.csv"),
        (["--config", "absent.toml"], "absent.toml"),
        (["--frob"], "--frob"),
    ],
)
def test_a_wrong_option_is_named_and_ends_with_2(openbell: Command, here: Path, options: list[str], named: str) -> None:
    outcome = openbell("session", *options)
    assert outcome.code == 2
    assert outcome.out == ""
    assert named in said(outcome)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[session]\nsymbol = ['SPY']", "did you mean symbols?"),
        ("[sesion]\npace = 'max'", "did you mean session?"),
        ("[sizing]\nfraction = 25", "sizing.fraction"),
        ("[validation]\ncrossed_range = 'warn'", "'refuse' or 'drop'"),
        ("[policy]\nparameters = {quick = 3}", "quick"),
        ("[policy]\nparameters = {fast = 50, slow = 20}", "fast"),
        ("[session\n", "not TOML"),
    ],
)
def test_a_wrong_settings_file_is_named_with_its_key(openbell: Command, here: Path, text: str, named: str) -> None:
    (here / "openbell.toml").write_text(text)
    outcome = openbell("session")
    assert outcome.code == 2
    assert named in said(outcome)
    assert [file.name for file in here.iterdir()] == ["openbell.toml"]


def broken(kind: str, here: Path, bars_file: BarsFile) -> Path:
    match kind:
        case "missing":
            return here / "absent.csv"
        case "empty":
            (here / "empty.csv").touch()
            return here / "empty.csv"
        case "header only":
            (here / "header.csv").write_text("timestamp,symbol,open,high,low,close,volume\n")
            return here / "header.csv"
        case "truncated csv":
            path = bars_file()
            path.write_text(path.read_text()[:-22])
            return path
        case "truncated parquet":
            import pandas as pd

            path = here / "bars.parquet"
            pd.read_csv(bars_file()).to_parquet(path)
            (here / "bars.csv").unlink()
            path.write_bytes(path.read_bytes()[:-100])
            return path
        case "other format":
            (here / "notes.csv").write_text("dear diary\nnothing happened\n")
            return here / "notes.csv"
        case "other ending":
            return bars_file("bars.xlsx")
        case "folder":
            (here / "folder.csv").mkdir()
            return here / "folder.csv"
        case _:
            return bars_file(zone="")


@pytest.mark.parametrize(
    "kind",
    ["missing", "empty", "header only", "truncated csv", "truncated parquet", "other format", "other ending", "folder"],
)
@pytest.mark.parametrize("command", ["session", "import-bars"])
def test_a_file_that_is_no_bars_ends_with_2_and_is_named(
    openbell: Command, here: Path, bars_file: BarsFile, kind: str, command: str
) -> None:
    path = broken(kind, here, bars_file)
    before = sorted(here.iterdir())
    options = ["--date", "2011-01-18", "--bars", path] if command == "session" else [path]
    outcome = openbell(command, *options, "--json")
    assert outcome.code == 2
    assert path.name in said(outcome)
    assert outcome.answer["exit_code"] == 2
    assert path.name in outcome.answer["message"]
    assert sorted(here.iterdir()) == before


def test_local_times_without_a_zone_ask_for_the_zone(openbell: Command, here: Path, bars_file: BarsFile) -> None:
    path = bars_file(zone="", opening="09:30")
    outcome = openbell("session", "--bars", path, "--date", "2011-01-18")
    assert outcome.code == 2
    assert "--tz America/New_York" in said(outcome)
    assert list(here.iterdir()) == [path]
    outcome = openbell("session", "--bars", path, "--date", "2011-01-18", "--tz", "America/Gotham")
    assert outcome.code == 2
    assert "America/Gotham" in said(outcome)


@pytest.mark.parametrize("dated", [True, False])
def test_a_symbol_that_the_file_does_not_have_is_refused_with_those_it_has(
    openbell: Command, bars_file: BarsFile, dated: bool
) -> None:
    date = ["--date", "2011-01-18"] if dated else []
    outcome = openbell("session", "--bars", bars_file(symbols=("AAPL", "MSFT")), "--symbols", "SPY", *date)
    assert outcome.code == 3
    assert "AAPL, MSFT" in said(outcome)
    assert_nothing_was_recorded(Path("openbell.duckdb"))


def test_a_date_outside_the_data_is_refused_with_the_span_of_the_data(openbell: Command, bars_file: BarsFile) -> None:
    outcome = openbell("session", "--bars", bars_file(), "--date", "2011-01-19", "--json")
    assert outcome.code == 3
    assert outcome.answer["error"] == "data not fit"
    assert outcome.answer["state"] == "REFUSED"
    assert outcome.answer["session_date"] == "2011-01-19"
    assert "from 2011-01-18 to 2011-01-18" in said(outcome)
    assert_nothing_was_recorded(Path("openbell.duckdb"))


def test_a_date_without_any_stored_bar_is_refused(openbell: Command, here: Path) -> None:
    outcome = openbell("session", "--date", "2011-01-18")
    assert outcome.code == 3
    assert "openbell import-bars" in said(outcome)
    assert list(here.iterdir()) == []


def test_a_holiday_is_refused_with_its_name_and_the_next_session(openbell: Command, here: Path) -> None:
    outcome = openbell("session", "--date", "2011-01-17", "--json")
    assert outcome.code == 3
    assert "Martin Luther King" in said(outcome)
    assert "2011-01-18" in said(outcome)
    assert {"error": "closed day", "exit_code": 3, "state": "REFUSED"}.items() <= outcome.answer.items()
    assert list(here.iterdir()) == []


def assert_nothing_was_recorded(path: Path) -> None:
    with open_store(path, read_only=True) as store:
        assert store.connection.rows("SELECT count(*) FROM sessions") == [(0,)]
        assert store.connection.rows("SELECT count(*) FROM bars") == [(0,)]


def each_command(bars: Path) -> list[list[object]]:
    return [["session"], ["import-bars", bars], ["report", "2026-01-05"], ["sql", "select 1"]]


def test_a_newer_database_is_left_alone(openbell: Command, traded: SessionSummary, bars_file: BarsFile) -> None:
    with open_store(Path(traded.db)) as store, store.connection.transaction():
        store.connection.execute(
            "INSERT INTO schema_migrations (version, name, applied_at) VALUES (9999, 'from the future', now())"
        )
    for command in each_command(bars_file()):
        outcome = openbell(*command)
        assert outcome.code == 1
        assert "9999" in said(outcome)
        assert "Update openbell" in said(outcome)


def test_a_database_that_another_process_holds_is_named_with_the_process(
    openbell: Command, traded: SessionSummary, bars_file: BarsFile
) -> None:
    holding = (
        "import sys, pathlib; from storage.store import open_store\n"
        "with open_store(pathlib.Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, traded.db], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "open\n"
        for command in each_command(bars_file()):
            outcome = openbell(*command)
            # A session refuses to trade beside another process; a question simply has no answer.
            assert outcome.code == (3 if "session" in command else 1)
            assert str(holder.pid) in said(outcome)
        holder.stdin.close()
    assert openbell("report", "2026-01-05").code == 0


def test_a_file_that_is_no_database_is_left_as_it_is(openbell: Command, here: Path, bars_file: BarsFile) -> None:
    path = here / "letter.duckdb"
    path.write_text("Dear reader, " * 2_000)
    for command in each_command(bars_file()):
        outcome = openbell(*command, "--db", path)
        assert outcome.code == 1
        assert "letter.duckdb" in said(outcome)
    assert path.read_text().startswith("Dear reader")


def test_a_folder_that_does_not_exist_is_named(openbell: Command, here: Path, bars_file: BarsFile) -> None:
    for command in each_command(bars_file()):
        outcome = openbell(*command, "--db", here / "nowhere" / "openbell.duckdb")
        assert outcome.code == 1
        assert "nowhere" in said(outcome)


def without_override() -> None:
    """Give up what lets the superuser write anywhere (CAP_DAC_OVERRIDE), for tests that run as one."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, 1, 0, 0, 0)


PR_CAPBSET_DROP = 24


@pytest.mark.skipif(sys.platform != "linux", reason="permissions are taken from the superuser the Linux way")
def test_a_read_only_folder_is_named(openbell_process: Command, here: Path, bars_file: BarsFile) -> None:
    locked = here / "locked"
    locked.mkdir(mode=0o500)
    for command in each_command(bars_file())[:2]:
        outcome = openbell_process(*command, "--db", locked / "openbell.duckdb", preexec_fn=without_override)
        assert outcome.code == 1
        assert "locked" in said(outcome)
    assert list(locked.iterdir()) == []
