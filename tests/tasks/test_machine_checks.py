"""What a session needs of the machine: each fault is found, and nothing is made by looking."""

import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from storage.store import open_store
from tasks.composition import assemble
from tasks.machine_checks import machine_checks
from tasks.prefect_address import prefect_address
from trading.checks import Check, CheckState
from trading.settings import Settings

HOUSE = Path(__file__).parents[2]
NOW = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_prefect_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILE", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))


@pytest.fixture(autouse=True)
def in_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBELL_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def looked_at(path: Path, now: datetime = NOW, port: int = 0, **more: Any) -> dict[str, Check]:
    settings = Settings.model_validate({"store": {"path": path}, **more})
    return {check.subject: check for check in machine_checks(settings, None, now, "1.0+this", port)}


def test_a_machine_that_is_well(tmp_path: Path, free_port: int) -> None:
    found = looked_at(tmp_path / "l.duckdb", port=free_port)
    # Whether the machine's clock is kept right is not for the test to say.
    assert {check.state for subject, check in found.items() if subject != "time"} == {CheckState.OK}
    assert list(found) == [
        "python", "packages", "settings", "home", "permissions", "database", "disk", "prefect", "port", "time zones", "clock",
        "time", "calendar",
    ]  # fmt: skip
    assert found["calendar"].found == "XNYS has 251 sessions within a year, the last on 2027-11-26"
    # The day after Thanksgiving trades until 13:00.
    assert "09:30 to 13:00 America/New_York" in found["clock"].found
    assert not (tmp_path / "l.duckdb").exists()


def test_a_holiday_names_the_next_session(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "l.duckdb", datetime(2026, 11, 26, 15, 0, tzinfo=UTC))
    assert "no session today, the next on 2026-11-27" in found["clock"].found


def test_each_database_and_each_exchange_of_several_strategies_is_looked_at(tmp_path: Path, free_port: int) -> None:
    """In the evening of a holiday in New York it is the next day in Tokyo, and that is traded."""
    now = datetime(2026, 11, 27, 1, 0, tzinfo=UTC)
    strategies = [
        Settings.model_validate({"store": {"path": tmp_path / f"{name}.duckdb"}, "session": {"exchange": exchange}})
        for name, exchange in (("trend", "XNYS"), ("calm", "XNYS"), ("tokyo", "XTKS"))
    ]
    checks = list(machine_checks(Settings(), None, now, "1.0+this", free_port, strategies))
    assert [Path(one.found.split(" ")[0]).stem for one in checks if one.subject == "database"] == [
        "trend",
        "calm",
        "tokyo",
    ]
    new_york, tokyo = [one.found for one in checks if one.subject == "clock"]
    assert "Thursday 2026-11-26 at XNYS: no session today, the next on 2026-11-27" in new_york
    assert "Friday 2026-11-27 at XTKS, which trades from 09:00 to 15:30 Asia/Tokyo" in tokyo
    assert [one.found.split(" ")[0] for one in checks if one.subject == "calendar"] == ["XNYS", "XTKS"]


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


def test_a_port_that_another_program_has_is_named_with_its_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = looked_at(tmp_path / "l.duckdb", port=server.getsockname()[1])["port"]
    assert found.state is CheckState.WARN
    assert f"process {os.getpid()} " in found.found
    assert "--port" in found.next_step


def test_a_session_whose_process_was_killed_is_told_with_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    dying = (
        "import os, sys\n"
        "from tasks.composition import assemble\n"
        "from trading.settings import Settings\n"
        "settings = Settings.model_validate({'store': {'path': sys.argv[1]}, 'session': {'timeframe': '30min'}})\n"
        "with assemble(settings, None) as desk:\n"
        "    desk.agent.open_session()\n"
        "    os._exit(9)\n"
    )
    dead = subprocess.run([sys.executable, "-c", dying, str(path)], cwd=HOUSE, check=False)
    assert dead.returncode == 9
    found = looked_at(path, datetime.now(UTC))["lease"]
    assert found.state is CheckState.WARN
    assert "stands as running" in found.found
    assert "openbell session --date" in found.next_step
    assert "openbell reconcile" in found.next_step


def test_what_others_may_write_or_read_is_told(tmp_path: Path) -> None:
    assert looked_at(tmp_path / "l.duckdb")["permissions"].state is CheckState.OK
    (tmp_path / "secrets.env").write_text("")
    (tmp_path / "secrets.env").chmod(0o644)
    read = looked_at(tmp_path / "l.duckdb")["permissions"]
    assert (read.state, "chmod go-rwx" in read.next_step) == (CheckState.WARN, True)
    (tmp_path / "secrets.env").chmod(0o600)
    assert looked_at(tmp_path / "l.duckdb")["permissions"].state is CheckState.OK
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies").chmod(0o777)
    written = looked_at(tmp_path / "l.duckdb")["permissions"]
    assert (written.state, str(tmp_path / "policies") in written.found) == (CheckState.WARN, True)


def test_a_home_that_is_no_folder_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBELL_HOME", str(tmp_path / "absent"))
    assert looked_at(tmp_path / "l.duckdb")["home"].state is CheckState.BAD


class OddServer(BaseHTTPRequestHandler):
    """Says of itself what a Prefect server would, a year and an hour old."""

    def do_GET(self) -> None:
        answers = {"/api/health": True, "/api/admin/version": "2.20.1", "/api/work_pools/openbell": POOL}
        self._answer(answers.get(self.path))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer([{"version": "0.9+old"}] if self.path == "/api/deployments/filter" else [])

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() - 3600)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, answer: object) -> None:
        self.send_response(404 if answer is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


POOL = {"is_paused": False, "type": "process"}


def test_a_server_of_another_version_time_and_age_is_told_of_point_by_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OddServer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        monkeypatch.setenv("OPENBELL_HOME", str(tmp_path))
        now = datetime.now(UTC)
        found = looked_at(tmp_path / "l.duckdb", now, alerts={"blocks": ["slack-webhook/ops"]})
        server.shutdown()
    assert found["work pool"].state is CheckState.OK
    told = {subject for subject, check in found.items() if check.state is CheckState.WARN}
    assert told == {"prefect", "worker", "deployments", "blocks", "time"}
    assert "2.20.1" in found["prefect"].found
    assert "0.9+old" in found["deployments"].found
    assert "slack-webhook/ops" in found["blocks"].found
    assert "-3600" in found["time"].found
    assert all(found[subject].next_step for subject in told)
