"""Importing bars from the terminal: all files or none, and what was imported is told."""

import resource
import signal
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from storage.store import open_store

Command = Callable[..., Any]
BarsFile = Callable[..., Path]


def stored(db: str = "openbell.duckdb") -> dict[str, int]:
    with open_store(Path(db), read_only=True) as store:
        return dict(store.connection.rows("SELECT symbol, count(*) FROM bars GROUP BY symbol ORDER BY symbol"))


def test_every_symbol_is_told_with_its_span_and_sessions(openbell: Command, bars_file: BarsFile) -> None:
    # 09:00 to 16:29 in New York: 30 minutes before the bell and 30 after it.
    early = bars_file("early.csv", opening="14:00", minutes=450)
    later = bars_file("later.csv", day=date(2011, 1, 19), symbols=("AAPL", "SPY"))
    outcome = openbell("import-bars", early, later, "--json")
    assert outcome.code == 0
    assert outcome.answer == {
        "files": 2,
        "timeframe": "1min",
        "inserted": 1230,
        "unchanged": 0,
        "replaced": 0,
        "symbols": [
            {
                "symbol": "AAPL", "bars": 390, "first": "2011-01-19", "last": "2011-01-19", "sessions": 1,
                "outside_hours": 0, "findings": {},
            },
            {
                "symbol": "SPY", "bars": 840, "first": "2011-01-18", "last": "2011-01-19", "sessions": 2,
                "outside_hours": 60, "findings": {},
            },
        ],
        "db": "openbell.duckdb",
    }  # fmt: skip
    assert stored() == {"AAPL": 390, "SPY": 840}


def test_the_same_file_again_changes_nothing(openbell: Command, bars_file: BarsFile) -> None:
    path = bars_file(minutes=10)
    openbell("import-bars", path)
    outcome = openbell("import-bars", path, "--json")
    assert {"inserted": 0, "unchanged": 10, "replaced": 0}.items() <= outcome.answer.items()


def test_other_values_for_a_stored_bar_need_replace(openbell: Command, bars_file: BarsFile) -> None:
    path = bars_file(minutes=10)
    openbell("import-bars", path)
    path.write_text(path.read_text().replace(",100.00,50000", ",100.01,50000"))
    outcome = openbell("import-bars", path)
    assert outcome.code == 2
    assert "--replace" in outcome.err
    outcome = openbell("import-bars", path, "--replace", "--json")
    assert {"inserted": 0, "unchanged": 9, "replaced": 1}.items() <= outcome.answer.items()


def test_one_bad_file_keeps_all_of_them_out(openbell: Command, here: Path, bars_file: BarsFile) -> None:
    good = bars_file(minutes=10)
    (here / "bad.csv").write_text("timestamp,open,high,low,close\n2011-01-18T14:30:00Z,1,2,0.5,ten\n")
    outcome = openbell("import-bars", good, here / "bad.csv", "--symbol", "SPY")
    assert outcome.code == 2
    assert "bad.csv" in outcome.err
    assert not (here / "openbell.duckdb").exists()


def test_a_file_without_zone_and_symbol_is_told_both_and_its_times_are_closes(openbell: Command, here: Path) -> None:
    path = here / "plain.csv"
    path.write_text("timestamp,open,high,low,close\n2011-01-18 09:31,1,1.1,0.9,1\n2011-01-18 16:00,1,1.1,0.9,1\n")
    options = ["--symbol", "spy", "--tz", "America/New_York", "--timestamp", "close"]
    outcome = openbell("import-bars", path, *options, "--json")
    assert outcome.code == 0
    [symbol] = outcome.answer["symbols"]
    assert (symbol["symbol"], symbol["bars"], symbol["sessions"], symbol["outside_hours"]) == ("SPY", 2, 1, 0)
    # The source has no volume, and 388 minutes lie between the two bars.
    assert symbol["findings"] == {"gap": 1, "zero_volume": 2}
    with open_store(Path("openbell.duckdb"), read_only=True) as store:
        first, last = store.bars.span("SPY") or (None, None)
    assert [str(first), str(last)] == ["2011-01-18 14:30:00+00:00", "2011-01-18 20:59:00+00:00"]


def test_a_timeframe_that_the_file_does_not_have_is_refused(openbell: Command, bars_file: BarsFile) -> None:
    path = bars_file()
    assert openbell("import-bars", path, "--timeframe", "5min").code == 2
    outcome = openbell("import-bars", path, "--timeframe", "7min")
    assert outcome.code == 2
    assert "7min" in outcome.err


def test_a_full_disk_leaves_what_was_there_and_the_next_run_works(
    openbell: Command, openbell_process: Command, here: Path, bars_file: BarsFile
) -> None:
    openbell("import-bars", bars_file("first.csv", minutes=10))
    many = [bars_file(f"{name}.csv", symbols=[f"{name}{place}" for place in range(20)]) for name in ("A", "B", "C")]
    # Less than the database has already: neither it nor the log beside it can grow.
    limit = 100_000
    assert (here / "openbell.duckdb").stat().st_size > limit

    def no_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    outcome = openbell_process("import-bars", *many, preexec_fn=no_room)
    assert outcome.code == 1
    assert "disk is full" in outcome.err
    assert stored() == {"SPY": 10}
    assert openbell("import-bars", *many).code == 0
    assert len(stored()) == 61


def test_a_table_for_people_names_the_next_command(openbell: Command, bars_file: BarsFile) -> None:
    outcome = openbell("import-bars", bars_file())
    assert outcome.code == 0
    assert outcome.err == ""
    header, row, counts, following = outcome.out.splitlines()
    assert header.split() == ["symbol", "bars", "first", "last", "sessions", "outside", "hours", "findings"]
    assert row.split() == ["SPY", "390", "2011-01-18", "2011-01-18", "1", "0", "none"]
    assert counts == "Inserted 390, unchanged 0, replaced 0 1min bars in openbell.duckdb."
    assert following == "Trade them: openbell session --date 2011-01-18 --symbols SPY"
