"""The server on PostgreSQL, as on an always-on box: a session's run is kept there, and no file of SQLite is made."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.skipif(os.environ.get("OPENBELL_TESTS") != "long", reason="make machinery")

HOUSE = Path(__file__).parents[3]
SECONDS = 180.0
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or [
    Path(found) for found in [shutil.which("postgres")] if found
]


def as_somebody(*command: object) -> list[str]:
    """PostgreSQL does not run as root."""
    words = [str(word) for word in command]
    if os.geteuid() != 0:
        return words
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", *words]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def end(process: "subprocess.Popen[bytes]", number: int) -> None:
    process.send_signal(number)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[Path, int]]:
    """Folder of the programs, and the port of a database that nobody else knows."""
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to be somebody else")
    programs, port = PROGRAMS[-1].resolve().parent, free_port()
    # Not below pytest's folders, which only their owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="openbell-postgres-"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        data = folder / "data"
        subprocess.run(
            as_somebody(programs / "initdb", "-D", data, "-U", "prefect", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"),
            check=True, capture_output=True, cwd=folder, timeout=120,
        )  # fmt: skip
        with (folder / "postgres.log").open("wb") as log:
            process = subprocess.Popen(
                as_somebody(programs / "postgres", "-D", data, "-p", port, "-h", "127.0.0.1", "-k", folder, "-F"),
                stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        try:
            ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
            deadline = time.monotonic() + SECONDS
            while subprocess.run(ready, check=False).returncode != 0:
                assert process.poll() is None, (folder / "postgres.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield programs, port
        finally:
            # At once, whoever is connected.
            end(process, signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_session_is_recorded_by_a_server_on_postgresql(postgres: tuple[Path, int], tmp_path: Path) -> None:
    programs, database_port = postgres
    api = f"http://127.0.0.1:{free_port()}/api"
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}
    environment.update(
        OPENBELL_HOME=str(tmp_path),
        PYTHONPATH=str(HOUSE),
        PREFECT_API_URL=api,
        PREFECT_API_DATABASE_CONNECTION_URL=f"postgresql+asyncpg://prefect@127.0.0.1:{database_port}/postgres",
    )
    ours = [sys.executable, "-m", "deployments.terminal"]
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        port = api.removesuffix("/api").rpartition(":")[2]
        server = subprocess.Popen(
            [*ours, "server", "--port", port], env=environment, cwd=tmp_path, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + SECONDS
        while not answers(f"{api}/health"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        (tmp_path / "openbell.toml").write_text(
            '[session]\ntimeframe = "30min"\nsymbols = ["AAA"]\n[policy]\nname = "buy_and_hold"\n[feed]\nkind = "synthetic"\n'
        )
        session = subprocess.run(
            [*ours, "session", "--date", "2026-01-05", "--json"],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert session.returncode == 0, session.stderr
        assert json.loads(session.stdout)["bars"] == 13
        asked = "SELECT f.name, r.state_type FROM flow_run r JOIN flow f ON f.id = r.flow_id"
        told = subprocess.run(
            [programs / "psql", "-h", "127.0.0.1", "-p", str(database_port), "-U", "prefect", "postgres", "-Atc", asked],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert told.stdout.splitlines() == ["trading-session|COMPLETED"]
    finally:
        end(server, signal.SIGTERM)
    assert not list(tmp_path.rglob("prefect.db"))


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
