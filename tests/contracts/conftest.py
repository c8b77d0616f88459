"""Who is asked to keep the contract of the broker port. Another adapter joins with one line in ``VENUES``."""

import asyncio
import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tasks.gateway_composition import GatewayAsked, Rehearsal, assemble_gateway
from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.interactive_brokers.broker import IbBroker
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.orders import OrderIntent, OrderType, Side, TimeInForce
from trading.ports import Broker
from trading.settings import PaperSettings, parse_settings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
A_MINUTE = timedelta(minutes=1)


class Venue(ABC):
    """A broker, the market behind it and the line between the two and us.

    The account begins with 100,000. The market trades a minute when it is told to and gives all orders of a symbol together at
    most a tenth of the minute's volume. Beyond that nothing is promised of prices, and no order is ever made elsewhere.
    """

    initial_cash = Decimal(100_000)
    cash_is_told_within = Decimal(0)

    def __init__(self) -> None:
        self.minute = 0

    @property
    @abstractmethod
    def broker(self) -> Broker:
        """The adapter, connected."""

    @abstractmethod
    def show(self, moment: BarSlice) -> None:
        """Trade one minute; returns when all that comes of it has reached the adapter."""

    @abstractmethod
    def reconnect(self) -> None:
        """Lose the connection and make it again. The adapter may be another object afterwards."""

    @abstractmethod
    def leave(self) -> None:
        """Give back everything."""

    @property
    def now(self) -> datetime:
        """The newest bar."""
        return OPEN + self.minute * A_MINUTE

    def trade(self, prices: str = "100 101 99 100", volume: int = 1_000_000) -> None:
        """The next minute, as "open high low close"."""
        self.minute += 1
        bar = Bar("SPY", self.now, *map(Decimal, prices.split()), volume)  # type: ignore[arg-type]
        self.show(BarSlice(self.now, {"SPY": bar}))

    def intent(
        self, name: str, kind: str = "MARKET", side: str = "BUY", quantity: int = 10, tif: str = "DAY", **terms: object
    ) -> OrderIntent:
        """An order as it would be decided on the newest bar; prices come as text."""
        given = {
            key: Decimal(str(value)) if "price" in key or "trail" in key else value for key, value in terms.items()
        }
        return OrderIntent(
            name,
            "a-session",
            "paper",
            self.now,
            "SPY",
            Side(side),
            quantity,
            Decimal(100),
            self.now + A_MINUTE,
            OrderType(kind),
            TimeInForce(tif),
            **given,  # type: ignore[arg-type]
        )


class PaperInMemory(Venue):
    """Its connection cannot be lost: the account is the object."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        del folder
        self._paper = PaperBroker("paper", _PAPER, OPEN)

    @property
    def broker(self) -> PaperBroker:
        return self._paper

    def show(self, moment: BarSlice) -> None:
        self.broker.see(moment)

    def reconnect(self) -> None:
        """Nothing to lose."""

    def leave(self) -> None:
        """Nothing to give back."""


class PaperOnFile(PaperInMemory):
    """A connection is an open file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "account.sqlite"
        self._connect()

    def reconnect(self) -> None:
        self._file.close()
        self._connect()

    def leave(self) -> None:
        self._file.close()

    def _connect(self) -> None:
        self._file = PaperFile(self._path, "paper")
        self._paper = PaperBroker("paper", _PAPER, OPEN, self._file)


class PaperOpenedForEveryCall(PaperOnFile):
    """Nothing survives between two calls but the file."""

    @property
    def broker(self) -> PaperBroker:
        self.reconnect()
        return self._paper


class InteractiveBrokers(Venue):
    """The adapter, the library and a real socket, and behind it a gateway whose market is shown every bar."""

    cash_is_told_within = Decimal("0.005")  # balances are told in cents

    def __init__(self, folder: Path) -> None:
        super().__init__()
        del folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rehearsal-gateway", daemon=True)
        self._thread.start()
        self._rehearsal = self._on_gateway(self._assembled())
        self._gateway = self._rehearsal.gateway
        self._on_gateway(self._gateway.start())
        self._playing = asyncio.run_coroutine_threadsafe(self._gateway.play(), self._loop)
        document = {"broker": {"kind": "ib", "ib": {"port": self._gateway.port, "reconnect_first_seconds": "0.01"}}}
        self._connection = GatewayConnection(parse_settings(document, "a test").broker.ib)
        self._ib = IbBroker(self._connection, Contracts(self._connection), "paper")
        self._connection.open()

    async def _assembled(self) -> Rehearsal:
        asked = GatewayAsked(day=OPEN.date(), symbols=["SPY"], speed=None, accounts={"DU1234567": self.initial_cash})
        return assemble_gateway(
            parse_settings({"feed": {"kind": "synthetic"}, "broker": {"paper": _PAPER.model_dump()}}, "a test"), asked
        )

    @property
    def broker(self) -> IbBroker:
        return self._ib

    def show(self, moment: BarSlice) -> None:
        self._on_gateway(self._rehearsal.market.show(list(moment.bars.values())))
        # The gateway answers in the order in which it was asked: what it said before has been heard by then.
        self._connection.ask(lambda line: line.current_time(), "the time")

    def reconnect(self) -> None:
        before = self._connection.connections

        async def cut() -> None:
            for client in list(self._gateway.clients.values()):
                client.close()

        self._on_gateway(cut())
        deadline = time.monotonic() + 30
        while self._connection.connections == before or not self._connection.is_up:
            assert time.monotonic() < deadline, self._connection.why_not
            time.sleep(0.002)

    def leave(self) -> None:
        self._connection.close()
        self._playing.cancel()
        self._on_gateway(self._gateway.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _on_gateway(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


_PAPER = PaperSettings.model_validate({"initial_cash": Venue.initial_cash, "max_volume_fraction": "0.1"})

VENUES: dict[str, Callable[[Path], Venue]] = {
    "paper in memory": PaperInMemory,
    "paper on file": PaperOnFile,
    "paper opened for every call": PaperOpenedForEveryCall,
}
VENUES_OVER_A_WIRE: dict[str, Callable[[Path], Venue]] = {"interactive brokers": InteractiveBrokers}
"""Each question takes them a while: random tests ask them fewer."""

Maker = Callable[[], Venue]


def _making(kind: Callable[[Path], Venue], folder: Path) -> Iterator[Maker]:
    made: list[Venue] = []
    number = itertools.count()

    def make() -> Venue:
        own = folder / str(next(number))
        own.mkdir()
        made.append(kind(own))
        return made[-1]

    yield make
    for venue in made:
        venue.leave()


@pytest.fixture(params=[*VENUES, *VENUES_OVER_A_WIRE])
def make_venue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """``make_venue()``: a venue of its own, with a new account."""
    yield from _making((VENUES | VENUES_OVER_A_WIRE)[request.param], tmp_path)


@pytest.fixture(params=list(VENUES))
def make_near_venue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """The same of venues that answer at once."""
    yield from _making(VENUES[request.param], tmp_path)


@pytest.fixture(params=list(VENUES_OVER_A_WIRE))
def make_far_venue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """The same of venues over a wire."""
    yield from _making(VENUES_OVER_A_WIRE[request.param], tmp_path)


@pytest.fixture
def venue(make_venue: Maker) -> Venue:
    """One venue with a new account."""
    return make_venue()
