"""What a session needs of the machine: each fault is found, and nothing is made by looking."""

import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.store import open_store
from tasks.composition import assemble
from tasks.machine_checks import machine_checks, prefect_address
from trading.checks import Check, CheckState
from trading.settings import Settings

NOW = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_prefect_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILE", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))


def looked_at(path: Path, now: datetime = NOW) -> dict[str, Check]:
    settings = Settings.model_validate({"store": {"path": path}})
    return {check.subject: check for check in machine_checks(settings, None, now)}


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "l.duckdb")
    assert {check.state for check in found.values()} == {CheckState.OK}
    assert list(found) == ["python", "packages", "settings", "database", "disk", "prefect", "time zones", "clock"]
    # The day after Thanksgiving trades until 13:00.
    assert "09:30 to 13:00 America/New_York" in found["clock"].found
    assert not (tmp_path / "l.duckdb").exists()


def test_a_holiday_names_the_next_session(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "l.duckdb", datetime(2026, 11, 26, 15, 0, tzinfo=UTC))
    assert "no session today, the next on 2026-11-27" in found["clock"].found


def test_a_database_tells_its_sessions_and_those_of_the_future(tmp_path: Path) -> None:
    settings = Settings.model_validate({"store": {"path": tmp_path / "l.duckdb"}, "session": {"timeframe": "30min"}})
    with assemble(settings, None) as desk:
        desk.agent.run_session()
    now = datetime.now(UTC)
    assert looked_at(tmp_path / "l.duckdb", now)["database"].found.endswith("opens; 1 session")
    early = looked_at(tmp_path / "l.duckdb", datetime(2026, 1, 1, tzinfo=UTC))["database"]
    assert early.state is CheckState.WARN
    assert "clock was set back" in early.next_step


def test_a_database_that_another_process_holds_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    with open_store(path):
        pass
    held = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", held, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        found = looked_at(path)["database"]
        assert process.stdin is not None
        process.stdin.close()
    assert found.state is CheckState.WARN
    assert str(process.pid) in found.found


def test_a_file_that_is_no_database_and_a_folder_that_is_not_there_are_bad(tmp_path: Path) -> None:
    (tmp_path / "l.duckdb").write_text("no database at all, and long enough to be looked into\n" * 100)
    assert looked_at(tmp_path / "l.duckdb")["database"].state is CheckState.BAD
    absent = looked_at(tmp_path / "absent" / "l.duckdb")
    assert (absent["database"].state, absent["disk"].state) == (CheckState.BAD, CheckState.OK)


def test_a_prefect_server_that_is_named_has_to_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    found = looked_at(tmp_path / "l.duckdb")["prefect"]
    assert found.state is CheckState.BAD
    assert f"http://127.0.0.1:{port}/api" in found.found


def test_the_server_of_the_active_profile_counts_where_the_environment_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prefect_address() is None
    (tmp_path / "prefect").mkdir()
    profiles = 'active = "desk"\n[profiles.desk]\nPREFECT_API_URL = "http://desk:4200/api"\n[profiles.other]\n'
    (tmp_path / "prefect" / "profiles.toml").write_text(profiles)
    assert prefect_address() == "http://desk:4200/api"
    monkeypatch.setenv("PREFECT_PROFILE", "other")
    assert prefect_address() is None
    monkeypatch.setenv("PREFECT_API_URL", "http://here:4200/api")
    assert prefect_address() == "http://here:4200/api"
