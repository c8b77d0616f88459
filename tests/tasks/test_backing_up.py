"""A backup is enough to go on: ledger and simulated account together."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.questions import ask
from storage.store import open_store
from tasks.backing_up import back_up, backup_place, restore, too_old
from tasks.composition import assemble
from trading.errors import ConfigurationError
from trading.sessions import SessionSummary
from trading.settings import Settings, parse_settings

NOW = datetime(2026, 11, 27, 2, 0, tzinfo=UTC)


def settings_of(path: Path) -> Settings:
    """Sessions that hold a position over night."""
    return parse_settings(
        {
            "session": {"timeframe": "30min", "symbols": ["AAA", "BBB"]},
            "policy": {"name": "sma_crossover", "parameters": {"fast": 2, "slow": 5}},
            "closing": {"hold_overnight": True},
            "feed": {"kind": "synthetic"},
            "store": {"path": str(path)},
        },
        "the test",
    )


def trade(settings: Settings) -> SessionSummary:
    with assemble(settings, None) as desk:
        return desk.agent.run_session()


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ledger and its account after a day; tests work on copies."""
    folder = tmp_path_factory.mktemp("first-day")
    trade(settings_of(folder / "original.duckdb"))
    return folder


@pytest.fixture
def original(first_day: Path, tmp_path: Path) -> Settings:
    for file in first_day.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    return settings_of(tmp_path / "original.duckdb")


def test_a_restored_copy_trades_the_next_day_as_the_original_does(original: Settings, tmp_path: Path) -> None:
    [(first,)] = ask(original.store.path, "SELECT session_date FROM sessions").rows
    assert ask(original.store.path, "SELECT count(*) FROM positions").rows != ((0,),)
    backup = back_up(original, None, NOW)
    assert backup.folder == tmp_path / "backups" / "original-20261127T020000Z"
    assert list(backup.manifest.accounts) == ["synthetic"]

    (tmp_path / "elsewhere").mkdir()
    copy = settings_of(tmp_path / "elsewhere" / "restored.duckdb")
    done = restore(backup.folder, copy.store.path)
    assert done.accounts == {"synthetic": tmp_path / "elsewhere" / "restored.synthetic.sqlite"}

    there, here = trade(original), trade(copy)
    assert there.session_date > first
    assert there.fills > 0
    assert (here.session_date, here.fills, here.realized_pnl, here.unrealized_pnl, here.equity, here.discrepancies) == (
        there.session_date,
        there.fills,
        there.realized_pnl,
        there.unrealized_pnl,
        there.equity,
        0,
    )
    for table in ("fills", "daily_pnl", "positions", "equity"):
        assert ask(copy.store.path, f"FROM {table}").rows == ask(original.store.path, f"FROM {table}").rows


def test_an_account_is_found_where_the_settings_name_it(original: Settings, tmp_path: Path) -> None:
    settings = original
    other = tmp_path / "another.sqlite"
    named = settings.model_copy(
        update={
            "broker": settings.broker.model_copy(
                update={"paper": settings.broker.paper.model_copy(update={"path": other})}
            )
        }
    )
    (tmp_path / "original.synthetic.sqlite").rename(other)
    assert list(back_up(named, tmp_path / "one", NOW).manifest.accounts) == ["synthetic"]
    other.unlink()
    assert list(back_up(named, tmp_path / "two", NOW).manifest.accounts) == []


def test_a_folder_of_several_homes_keeps_the_backups_of_each(original: Settings, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    # The same name in another home: a copy of this one, and one that was made apart.
    homes = [original]
    for name in ("copied", "apart"):
        (tmp_path / name).mkdir()
        shutil.copyfile(original.store.path, tmp_path / name / original.store.path.name)
        homes.append(settings_of(tmp_path / name / original.store.path.name))
    with open_store(homes[-1].store.path) as store, store.connection.transaction():
        store.connection.execute("UPDATE schema_migrations SET applied_at = applied_at - INTERVAL 1 DAY")
    made = []
    for at, home in enumerate([*homes, *homes]):
        moment = NOW + timedelta(minutes=at)
        made.append(back_up(home, backup_place(home, kept, moment), moment).folder)
    for at, home in enumerate(homes):
        assert too_old(home, kept, NOW + timedelta(hours=1), 14, 8) == [made[at]]


def test_an_account_that_is_there_is_not_written_over(original: Settings, tmp_path: Path) -> None:
    settings = original
    backup = back_up(settings, None, NOW)
    account = tmp_path / "restored.synthetic.sqlite"
    account.write_bytes(b"precious")
    with pytest.raises(ConfigurationError, match=r"restored.synthetic.sqlite is there already"):
        restore(backup.folder, tmp_path / "restored.duckdb")
    assert account.read_bytes() == b"precious"
    # The very one that the backup holds: a restore that was killed had come so far.
    account.write_bytes((backup.folder / "accounts" / "synthetic.sqlite").read_bytes())
    restore(backup.folder, tmp_path / "restored.duckdb")
    assert too_old(settings, tmp_path / "backups", NOW, 1, 1) == []
