"""Fixtures that several rooms share: one Prefect server for the whole suite, a quiet Prefect, and facts of trained policies.
Where tests put their files, and in which order several processes take them."""

import atexit
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from trading.bars import BarColumns
    from trading.policy_records import BundleFacts

MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 6 * 1024**3
"""Three times what all tests write, if nothing of it were removed before the end."""


def has_room(folder: Path) -> bool:
    """Whether a folder that is kept in memory takes whatever tests write and leaves the machine enough."""
    try:
        figures = (line.split() for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        available = next(1024 * int(figure[1]) for figure in figures if figure[0] == "MemAvailable:")
        return os.access(folder, os.W_OK) and min(available, shutil.disk_usage(folder).free) >= ENOUGH_BYTES
    except (OSError, StopIteration):
        return False


# Before anything asks for a temporary folder. Ledgers and accounts are synced with every bar, and nothing here outlives a power
# cut: in memory the same tests take half as long. Whoever names a folder in TMPDIR has it there; children inherit it.
if "TMPDIR" not in os.environ and has_room(MEMORY):
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None

# Before anything imports numpy: several processes of tests share the cores, and threads that wait for each other's turn burn them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before anything imports Prefect: no telemetry, and a home of its own so that a person's profile stays untouched.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
# On a machine that is busy, what should have come and did not is told late, and not forgotten.
os.environ["PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER"] = "PT15M"
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "WARNING"
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="openbell-prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)
os.environ.pop("PREFECT_API_URL", None)
os.environ.pop("PREFECT_PROFILE", None)


# How much is tried where a test invents its examples. Where each is whole sessions, `make test-long` tries three times as many.
LONG = os.environ.get("OPENBELL_TESTS") == "long"
settings.register_profile("openbell", max_examples=60, derandomize=True, deadline=None, database=None)
settings.load_profile("openbell")
settings.register_profile("whole sessions", max_examples=24 if LONG else 8)


# One process takes all files of a group: those of the flows share one server and its deployments, in their order, those that hurt
# a stack share that, and the others that need a server start it once. What takes longest begins first, so that nothing long is
# left alone at the end.
GROUPS = {
    "tests/flows/": "flows",
    "tests/machinery/": "machinery",
    "tests/docs/test_documents.py": "served",
    "tests/docs/test_events_page.py": "served",
    "tests/deployments/terminal/test_session.py": "served",
    "tests/deployments/alerts/": "served",
    "tests/tasks/test_risk_events.py": "served",
}
LONGEST = (
    *GROUPS,
    "tests/deployments/stack/test_up.py",
    "tests/browser/",
    "tests/deployments/stack/test_postgres.py",
    "tests/trading/test_history_replay.py",
    "tests/rehearsals/",
    "tests/crash/",
    "tests/deployments/",
    "tests/trading/test_orchestrator_agent.py",
    "tests/trading/test_reconciler.py",
    "tests/storage/",
    "tests/tasks/",
    "tests/trading/",
)


def turn(test: pytest.Item) -> int:
    """When it is a test's turn: the smaller, the earlier."""
    return next((place for place, begins in enumerate(LONGEST) if test.nodeid.startswith(begins)), len(LONGEST))


# What is imported and collected lives as long as the process: nothing of it is garbage, and to look through it again and again takes
# a sixth of the time that collecting takes.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes run the tests, each takes a file at a time, or a group of files."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FilesAndGroups(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            groups = (group for begins, group in GROUPS.items() if nodeid.startswith(begins))
            return next(groups, super()._split_scope(nodeid))

    return FilesAndGroups(config, log)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a database without a session is kept, once there is one."""
    return tmp_path_factory.mktemp("empty") / "ledger.duckdb"


@pytest.fixture(scope="module", autouse=True)
def new_databases_are_copies(request: pytest.FixtureRequest, empty_database: Path) -> Iterator[None]:
    """A new database has the same tables each time, and making them is most of what a short session costs.

    Tests of storage and benchmarks make theirs step by step, and so does whatever runs in a process of its own. Where a copy
    cannot be written, making it says why.
    """
    if {"storage", "benchmarks"} & set(request.path.relative_to(Path(__file__).parent).parts):
        yield
        return
    from storage import store

    step_by_step = store._make

    def copy(path: Path) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}.new")
        if not empty_database.exists():
            step_by_step(empty_database)
        try:
            shutil.copyfile(empty_database, draft)
            store.give_name(draft, path)
        except OSError:
            step_by_step(path)
        finally:
            draft.unlink(missing_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_make", copy)
        yield


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The address of a real Prefect server with a database of its own; ``PREFECT_API_URL`` points there meanwhile."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=90):
        address = PREFECT_API_URL.value()
        os.environ["PREFECT_API_URL"] = address
        try:
            yield address
        finally:
            del os.environ["PREFECT_API_URL"]


class GatewayProcess:
    """A rehearsal gateway in a process of its own. ``port`` is for clients, ``control`` for its door (None without one)."""

    def __init__(self, arguments: Sequence[object], folder: Path, seconds: float = 60.0) -> None:
        house = Path(__file__).parents[1]
        self._log = (folder / "gateway.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deployments.terminal", "gateway", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(house)},
        )
        self._door: socket.socket | None = None
        try:
            said = self._first_line(seconds)
        except BaseException:
            self.kill()
            raise
        self.port: int = said["port"]
        self.control: int | None = said.get("control")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def ask(self, command: Mapping[str, Any], seconds: float = 60.0) -> dict[str, Any]:
        """What the door answers to one command."""
        if self.control is None:
            raise RuntimeError("this gateway has no control door")
        if self._door is None:
            self._door = socket.create_connection(("127.0.0.1", self.control), timeout=seconds)
            self._answers = self._door.makefile("rb")
        self._door.settimeout(seconds)
        self._door.sendall(json.dumps(command).encode() + b"\n")
        answer = json.loads(self._answers.readline())
        assert isinstance(answer, dict)
        return answer

    def book(self) -> dict[str, Any]:
        """Its accounts, orders, executions, clients, and the faults that have fired."""
        return self.ask({"command": "book"})

    def freeze(self) -> None:
        """Let it stand still: its sockets stay, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word; a second time does nothing."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(30)
        self._leave()

    def stop(self) -> int:
        """End it as a person does; its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        code = self._process.wait(30)
        self._leave()
        return code

    def __enter__(self) -> "GatewayProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _first_line(self, seconds: float) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], seconds)
        line = stdout.readline() if ready else b""
        if not line:
            words = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the gateway did not start within {seconds:g} seconds: {words[-2000:]}")
        said = json.loads(line)
        assert isinstance(said, dict)
        return said

    def _leave(self) -> None:
        if self._door is not None:
            self._answers.close()
            self._door.close()
            self._door = None
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


@pytest.fixture(scope="session")
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., GatewayProcess]]:
    """Starts ``openbell gateway`` with further options; it is ended by ``with``, by ``kill`` or at the latest with the tests.

    As it is: an invented market of SPY, a control door, ports that the system chooses, and a time that moves only by the door.
    ``running`` lets time run by ``--speed`` instead. ``folder`` is where it works; a new one where none is named.
    """
    started: list[GatewayProcess] = []

    def start(*options: object, running: bool = False, port: int = 0, folder: Path | None = None) -> GatewayProcess:
        arguments: list[object] = ["--port", port, "--control", 0]
        arguments += [] if running else ["--clock", "stepped"]
        named = set(map(str, options))
        if not named & {"--feed", "--bars", "--db", "--date"}:
            arguments += ["--feed", "synthetic"]
        if "--symbols" not in named:
            arguments += ["--symbols", "SPY"]
        gateway = GatewayProcess([*arguments, *options], folder or tmp_path_factory.mktemp("gateway"))
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.kill()


class StridingWall:
    """Real time of a rehearsal: it stands still until somebody waits, and each wait takes ``stride`` at least.

    ``on_the_way`` is called before each wait.
    """

    def __init__(self, starts_at: datetime, stride: timedelta = timedelta(minutes=2)) -> None:
        self._now = starts_at
        self._stride = stride
        self.on_the_way: Callable[[datetime], None] = lambda _: None

    def now(self) -> datetime:
        return self._now

    def jump(self, by: timedelta) -> None:
        """Somebody sets the clock, or the machine was suspended."""
        self._now += by

    def wait_until(self, moment: datetime) -> None:
        self.on_the_way(self._now)
        if moment > self._now:
            self._now = max(moment, self._now + self._stride)


@pytest.fixture(scope="session")
def striding_wall() -> type[StridingWall]:
    """A wall for ``trading.clocks.wall_clock.rehearsing_at``: nothing hangs on how long something takes."""
    return StridingWall


@pytest.fixture(scope="session")
def bundle_facts() -> "Callable[..., BundleFacts]":
    """Makes what a bundle says of itself: ``digits`` begin its fingerprint, ``until`` is the newest bar that it has seen."""
    from trading.bundles.manifest import Manifest
    from trading.policy_records import BundleFacts

    def make(
        digits: str = "0",
        name: str = "trend",
        until: str = "2026-01-02T20:59:00Z",
        created: str = "2026-01-02T22:00:00Z",
        metrics: "dict[str, Any] | None" = None,
        path: Path = Path("/bundles/trend"),
        **other: Any,
    ) -> BundleFacts:
        document = {
            "kind": "classifier",
            "name": name,
            "version": "1",
            "created": created,
            "exchange": "XNYS",
            "timeframe": "1min",
            "trained": {
                "symbols": ["SPY"],
                "first": "2025-12-01T14:30:00Z",
                "last": until,
                "bars": 8_000,
                "data_fingerprint": "d",
            },
            "features": [{"name": "rsi", "parameters": {"bars": 14}}],
            "feature_version": 1,
            "actions": {"kind": "choice", "actions": ["HOLD", "BUY", "SELL"]},
            "weights": {"format": "skops", "file": "model.skops"},
            "lineage": {"settings": {"folds": 5}, "code_version": "1.0", "seed": 7},
            "files": {"model.skops": "0" * 64},
        }
        manifest = Manifest.model_validate({**document, **other})
        return BundleFacts(f"{name}@{digits.ljust(16, '0')}", manifest, path, metrics or {})

    return make


@pytest.fixture(scope="session")
def bundle_that_says() -> "Callable[..., BundleFacts]":
    """Writes a whole bundle whose model says one word on every bar of SPY, and tells of it as it is registered."""
    import numpy as np

    from trading.bundles.folder import write_bundle
    from trading.bundles.manifest import Golden, Manifest
    from trading.bundles.network_file import Activation, Answers, Dense, Network, write_network
    from trading.features.spec import FEATURE_VERSION
    from trading.policy_records import BundleFacts

    def write(
        folder: Path,
        word: str,
        name: str = "stubborn",
        until: str = "2026-01-02T20:59:00Z",
        created: str = "2026-01-03T00:00:00Z",
    ) -> BundleFacts:
        labels, words = ("return(bars=1)",), ("BUY", "SELL", "HOLD")
        scores = tuple(2.0 if one == word else 1.0 for one in words)
        network = Network(
            labels, Activation.TANH, Answers.VALUES, (Dense(np.zeros((3, 1)), np.array(scores, dtype=np.float64)),)
        )
        manifest = Manifest.model_validate(
            {
                "kind": "dqn",
                "name": name,
                "version": "1",
                "created": created,
                "exchange": "XNYS",
                "timeframe": "1min",
                "trained": {
                    "symbols": ["SPY"],
                    "first": "2025-12-01T14:30:00Z",
                    "last": until,
                    "bars": 8_000,
                    "data_fingerprint": "d",
                },
                "features": [{"name": "return", "parameters": {"bars": 1}}],
                "feature_version": FEATURE_VERSION,
                "actions": {"kind": "choice", "actions": words},
                "weights": {"format": "arrays", "file": "actor.npz"},
                "files": {},
            }
        )
        golden = Golden.model_validate(
            {"features": labels, "observations": ((0.01,),), "scores": (scores,), "actions": (word,)}
        )
        written = write_bundle(folder, manifest, write_network(network), golden)
        return BundleFacts(written.fingerprint, written.manifest, written.folder)

    return write


@pytest.fixture
def market_that_reverts() -> "Callable[..., BarColumns]":
    """Makes 5-minute bars of whole sessions from 2026-01-05 on.

    ``pull`` is the part of its distance from 100 that the logarithm of the price loses with each bar: with 0 it is a random walk, of
    which nothing can be learned. A bar opens where the one before closed. ``step`` is the deviation of a bar's return.
    """
    import numpy as np

    from trading.bars import BarColumns, to_epoch_us
    from trading.calendar import TradingCalendar

    def make(
        sessions: int = 20, pull: float = 0.3, step: float = 0.002, seed: int = 1, symbol: str = "SPY"
    ) -> BarColumns:
        calendar = TradingCalendar("XNYS", date(2026, 1, 5))
        hours = calendar.sessions_between(date(2026, 1, 5), date(2026, 12, 31))[:sessions]
        times = np.concatenate([to_epoch_us(one.opens_at) + 300_000_000 * np.arange(78) for one in hours])
        noise = np.random.default_rng(seed).normal(0.0, step, len(times))
        away = [0.0]
        for one in noise.tolist():
            away.append((1.0 - pull) * away[-1] + one)
        prices = np.round(100 * np.exp(away), 2)
        opens, closes = ((1_000_000 * side).round().astype(np.int64) for side in (prices[:-1], prices[1:]))
        high, low = np.maximum(opens, closes), np.minimum(opens, closes)
        return BarColumns(symbol, times, opens, high, low, closes, np.full(len(times), 10_000, dtype=np.int64))

    return make
