"""`openbell backup` and `openbell restore`: from a ledger to a folder and back, for people and for programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.mark.usefixtures("traded")
def test_a_backup_and_its_restore_say_what_they_hold(openbell: Command, here: Path) -> None:
    made = openbell("backup", "kept", "--json").answer
    assert (made["backup"], made["db"], made["accounts"]) == ("kept", "openbell.duckdb", ["synthetic"])
    assert made["rows"]["equity"] == 390
    shown = openbell("restore", "kept", "--db", "restored.duckdb")
    assert shown.code == 0
    assert shown.out.startswith("restored.duckdb: ")
    assert "verified" in shown.out
    asked = [openbell("sql", "FROM fills", "--db", db).out for db in ("openbell.duckdb", "restored.duckdb")]
    assert asked[0] == asked[1]

    again = openbell("backup", "kept", "--json")
    assert (again.code, again.answer["exit_code"]) == (2, 2)
    assert openbell("restore", "kept", "--db", "restored.duckdb").code == 2
    assert openbell("restore", "kept").code == 2
    (here / "kept" / "tables" / "equity.parquet").unlink()
    broken = openbell("restore", "kept", "--db", "other.duckdb", "--json")
    assert (broken.code, broken.answer["error"]) == (1, "store error")
    assert "tables/equity.parquet is missing" in broken.answer["message"]
    assert not (here / "other.duckdb").exists()


@pytest.mark.usefixtures("traded")
def test_without_a_folder_a_backup_has_a_name_by_the_time(openbell: Command, here: Path) -> None:
    assert openbell("backup").code == 0
    [made] = (here / "backups").iterdir()
    assert made.name.startswith("openbell-20")
    told = openbell("restore", "backups", "--db", "restored.duckdb")
    assert told.code == 2
    assert made.name in told.err


@pytest.mark.usefixtures("traded")
def test_beside_several_strategies_it_has_to_be_known_whose_ledger_is_meant(openbell: Command, here: Path) -> None:
    # The one that was traded before there were any lies there still.
    (here / "openbell.toml").write_text(
        '[strategies.trend]\nstore.path = "trend.duckdb"\n[strategies.calm]\nstore.path = "calm.duckdb"\n'
    )
    told = openbell("backup")
    assert told.code == 2
    assert "--db trend.duckdb (trend)" in told.err
    assert not (here / "backups").exists()
    assert openbell("backup", "--db", "openbell.duckdb").code == 0


def test_no_database_is_no_backup(openbell: Command, here: Path) -> None:
    assert openbell("backup", "--json").answer["error"] == "store error"
    assert list(here.iterdir()) == []
