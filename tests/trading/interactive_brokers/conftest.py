"""A rehearsal gateway in a process of its own, whose time moves by command, and connections to it."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tasks.gateway_composition import GatewayAsked, Rehearsal, assemble_gateway
from trading.bars import RawSlice, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.episodes import Alert, EpisodeKind
from trading.interactive_brokers.feed import IbFeed
from trading.interactive_brokers.historical_bars import Patience
from trading.interactive_brokers.messages import ErrorTold
from trading.rehearsal_gateway.connected_client import ConnectedClient
from trading.rehearsal_gateway.message_kinds import Incoming
from trading.rehearsal_gateway.wire import FieldReader
from trading.settings import parse_settings

DAY = date(2026, 1, 5)
CALENDAR = TradingCalendar("XNYS", DAY)
HOURS = CALENDAR.hours(DAY)
FRIDAY = CALENDAR.hours(date(2026, 1, 2))
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HALT", "TWO", "HIDDEN")
_WITHIN_SECONDS = 20.0

Row = tuple[int, int, int, int, int]


class Played:
    """What the gateway plays, on both of its days."""

    symbols = SYMBOLS
    hours = HOURS
    friday = FRIDAY

    def bar(self, symbol: str, minute: int) -> Row:
        """Open, high, low and close in micros and volume, made of symbol and minute alone."""
        base = 5_000 + 700 * SYMBOLS.index(symbol) + minute % 60
        opened, close = base, base + (7 if minute % 2 else -5)
        opened, high, low, close = (
            cent * 10_000 for cent in (opened, max(opened, close) + 12, min(opened, close) - 9, close)
        )
        return opened, high, low, close, 1_000 + 12 * minute

    def has(self, symbol: str, minute: int) -> bool:
        """HALT trades in the first four of every eight minutes."""
        return symbol != "HALT" or minute % 8 < 4

    def bars(self, symbol: str, first: int, end: int) -> dict[int, Row]:
        """The bars of ``[first, end)`` by minute."""
        return {minute: self.bar(symbol, minute) for minute in range(first, end) if self.has(symbol, minute)}


def _write_bars(path: Path) -> None:
    played = Played()
    lines = ["symbol,timestamp,open,high,low,close,volume"]
    for hours in (FRIDAY, HOURS):
        for minute in range(390):
            at = (hours.opens_at + timedelta(minutes=minute)).isoformat()
            for symbol in SYMBOLS:
                if played.has(symbol, minute):
                    *prices, volume = played.bar(symbol, minute)
                    lines.append(f"{symbol},{at},{','.join(f'{price / 1e6:.2f}' for price in prices)},{volume}")
    path.write_text("\n".join(lines), encoding="utf-8")


@dataclass
class Gateway:
    """The gateway's process, and its door."""

    process: "subprocess.Popen[str]"

    @cached_property
    def ports(self) -> dict[str, int]:
        """What it says when it is ready."""
        assert self.process.stdout is not None
        ports: dict[str, int] = json.loads(self.process.stdout.readline())
        return ports

    @property
    def port(self) -> int:
        return self.ports["port"]

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What the door answers to a command."""
        with socket.create_connection(("127.0.0.1", self.ports["control"]), _WITHIN_SECONDS) as door:
            door.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with door.makefile("rb") as answers:
                answer: dict[str, Any] = json.loads(answers.readline())
        assert answer["ok"], answer
        return answer

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.ask("time")["time"])

    def begin_minute(self, every: int = 1) -> int:
        """Let time pass up to the beginning of a minute of the session, one that ``every`` divides; which one it is."""
        passed = max(self.now - HOURS.opens_at, timedelta())
        minute = -(-passed // timedelta(minutes=every)) * every
        self.play_to(minute)
        return minute

    def play(self, minutes: float) -> None:
        """Let time pass and the bars of that time be told; they are on the wire when this returns."""
        self.ask("advance_to", time=(self.now + timedelta(minutes=minutes)).isoformat())

    def play_to(self, minute: int, seconds: float = 0) -> None:
        """Let time pass up to a minute of the session."""
        self.ask("advance_to", time=(HOURS.opens_at + timedelta(minutes=minute, seconds=seconds)).isoformat())

    def fault(self, action: str, **arguments: Any) -> None:
        self.ask("fault", action=action, **arguments)

    def fired(self, action: str) -> int:
        """How often a fault happened."""
        return sum(one["action"] == action for one in self.ask("book")["faults_fired"])

    def received(self, message: str) -> int:
        """How often clients sent a message."""
        return int(self.ask("book")["messages_received"].get(message, 0))


@contextlib.contextmanager
def _gateway(home: Path, *options: str) -> Iterator[Gateway]:
    bars = home / "bars.csv"
    command = [sys.executable, "-c", "from deployments.terminal.app import main; main()", "gateway"]
    fixed = [
        *("--port", "0", "--control", "0", "--json", "--clock", "stepped", "--no-pacing"),
        *("--date", DAY.isoformat(), "--bars", str(bars), "--symbols", ",".join(SYMBOLS)),
        *("--ambiguous", "TWO", "--without-data", "HIDDEN", "--db", str(home / "none.duckdb")),
    ]
    process = subprocess.Popen([*command, *fixed, *options], stdout=subprocess.PIPE, text=True, cwd=home)
    try:
        yield Gateway(process)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose day goes on from test to test: each begins where it finds it."""
    home = tmp_path_factory.mktemp("gateway")
    _write_bars(home / "bars.csv")
    with _gateway(home) as running:
        yield running


@pytest.fixture
def late_gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Another one, three minutes before the close."""
    _write_bars(tmp_path / "bars.csv")
    with _gateway(tmp_path, "--start", "15:57") as running:
        yield running


@dataclass
class Session:
    """A feed's stream, taken by a thread as a session takes it."""

    feed: IbFeed
    taken: list[RawSlice] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def minutes(self) -> list[int]:
        """The minutes that came, as they came."""
        return [(one.bar_time - HOURS.opens_at) // timedelta(minutes=1) for one in self.taken]

    def rows(self, symbol: str) -> dict[int, Row]:
        """A symbol's bars by minute."""
        rows = {}
        for minute, one in zip(self.minutes(), list(self.taken), strict=False):
            columns = one.rows.get(symbol)
            if columns is not None:
                assert columns.time.tolist() == [to_epoch_us(one.bar_time)]
                numbers = (columns.open, columns.high, columns.low, columns.close, columns.volume)
                opened, high, low, close, volume = (int(column[0]) for column in numbers)
                rows[minute] = (opened, high, low, close, volume)
        return rows


@dataclass
class Client:
    """A connection with everything that stands on it. ``alerts`` are those of its episodes."""

    gateway: Gateway
    connection: GatewayConnection
    contracts: Contracts
    feed: IbFeed
    alerts: list[Alert]
    errors: list[ErrorTold]
    sessions: list[Session] = field(default_factory=list)

    def take(self, *symbols: str, first: int) -> Session:
        """Begin a session that goes on with minute ``first``."""
        stream = self.feed.stream(symbols, HOURS, HOURS.opens_at + timedelta(minutes=first - 1))
        session = Session(self.feed)
        # What is played by the door next is played to the subscriptions.
        self.heard_all()

        def take_all() -> None:
            try:
                for one in stream:
                    session.taken.append(one)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                session.error = error
            finally:
                session.ended.set()

        threading.Thread(target=take_all, name="session", daemon=True).start()
        self.sessions.append(session)
        return session

    def until(self, holds: Callable[[], bool], what: str = "") -> None:
        """Return when it holds; fails where it does not within a generous time, or where the session has ended."""
        deadline = time.monotonic() + _WITHIN_SECONDS
        while not holds():
            for session in self.sessions:
                assert session.error is None, session.error
            seen = [session.minutes() for session in self.sessions]
            assert time.monotonic() < deadline, f"{what} {seen} {self.connection.why_not} {self.alerts}"
            time.sleep(0.005)

    def heard_all(self) -> None:
        """Return when all that the gateway wrote before has been heard: it answers in the order in which it was asked."""
        self.connection.ask(lambda line: line.current_time(), "the time")

    def silences(self, symbol: str) -> list[bool]:
        """Alerts about a symbol's silence: False for a beginning, True for an end."""
        return [one.is_over for one in self.alerts if (one.kind, one.subject) == (EpisodeKind.DATA_SILENT, symbol)]


Connect = Callable[..., Client]
_QUICK = {
    "heartbeat_seconds": "0.3",
    "reconnect_first_seconds": "0.05",
    "reconnect_longest_seconds": "0.2",
    "answer_timeout_seconds": "5",
}


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes a client of a gateway; what is given by name is set in ``[broker.ib]``."""
    made: list[Client] = []

    def make(
        gateway: Gateway,
        timeframe: Timeframe = Timeframe.MINUTE_1,
        patience: Patience = Patience(attempts=3, pause_seconds=0.05, violation_seconds=0.2),  # noqa: B008
        **settings: Any,
    ) -> Client:
        section: Mapping[str, Any] = {"port": gateway.port, "client_id": 17 + len(made), **_QUICK, **settings}
        alerts: list[Alert] = []
        errors: list[ErrorTold] = []
        read = parse_settings({"broker": {"kind": "ib", "ib": dict(section)}}, "a test")
        connection = GatewayConnection(read.broker.ib, alerts.append)
        connection.listen(lambda message: errors.append(message) if isinstance(message, ErrorTold) else None)
        contracts = Contracts(connection)
        client = Client(
            gateway, connection, contracts, IbFeed(connection, contracts, timeframe, patience), alerts, errors
        )
        made.append(client)
        connection.open()
        return client

    yield make
    for client in made:
        client.feed.end()
        client.connection.close()


@pytest.fixture(scope="session")
def played() -> Played:
    """What every gateway here plays."""
    return Played()


class _InThisProcess(Gateway):
    """As ``Gateway``, on a thread: its server can be one that lacks something."""

    def __init__(self, rehearsal: Rehearsal, loop: asyncio.AbstractEventLoop) -> None:
        self._rehearsal = rehearsal
        self._loop = loop

    def serve_no_five_seconds(self) -> None:
        """From now on requests for bars of five seconds are not understood."""
        self._soon(lambda: self._rehearsal.gateway.handlers.pop(Incoming.reqRealTimeBars))

    def answer_five_seconds(self, code: int, text: str) -> None:
        """From now on requests for bars of five seconds are answered with an error, or a notice, and are served no further."""

        def answer(client: ConnectedClient, fields: FieldReader) -> None:
            client.error(fields.integer(), code, text)

        self._soon(lambda: self._rehearsal.gateway.handlers.update({Incoming.reqRealTimeBars: answer}))

    def _soon(self, do: Callable[[], object]) -> None:
        async def done() -> None:
            do()

        asyncio.run_coroutine_threadsafe(done(), self._loop).result(_WITHIN_SECONDS)

    @cached_property
    def ports(self) -> dict[str, int]:
        control = self._rehearsal.gateway.control_port
        assert control is not None
        return {"port": self._rehearsal.gateway.port, "control": control}


@pytest.fixture
def odd_gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that can be made to lack something, or to answer otherwise."""
    _write_bars(tmp_path / "bars.csv")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="gateway-of-a-test", daemon=True)
    thread.start()

    def done(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(_WITHIN_SECONDS)

    async def assembled() -> Rehearsal:
        asked = GatewayAsked(day=DAY, symbols=SYMBOLS, speed=None, control_port=0, is_paced=False)
        settings = parse_settings({"feed": {"kind": "recorded", "bars": str(tmp_path / "bars.csv")}}, "a test")
        return assemble_gateway(settings, asked)

    rehearsal = done(assembled())
    done(rehearsal.gateway.start())
    playing = asyncio.run_coroutine_threadsafe(rehearsal.gateway.play(), loop)
    try:
        yield _InThisProcess(rehearsal, loop)
    finally:
        playing.cancel()
        done(rehearsal.gateway.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
