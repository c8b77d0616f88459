"""Who is asked to keep the contract of the broker port. Another adapter joins with one line in ``VENUES``."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import settings

from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.orders import OrderIntent, OrderType, Side, TimeInForce
from trading.ports import Broker
from trading.settings import PaperSettings

settings.register_profile("openbell", max_examples=60, derandomize=True, deadline=None, database=None)
settings.load_profile("openbell")

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
A_MINUTE = timedelta(minutes=1)


class Venue(ABC):
    """A broker, the market behind it and the line between the two and us.

    The account begins with 100,000. The market trades a minute when it is told to and gives all orders of a symbol together at
    most a tenth of the minute's volume. Beyond that nothing is promised of prices, and no order is ever made elsewhere.
    """

    initial_cash = Decimal(100_000)

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


_PAPER = PaperSettings.model_validate({"initial_cash": Venue.initial_cash, "max_volume_fraction": "0.1"})

VENUES: dict[str, Callable[[Path], Venue]] = {
    "paper in memory": PaperInMemory,
    "paper on file": PaperOnFile,
    "paper opened for every call": PaperOpenedForEveryCall,
}


@pytest.fixture(params=list(VENUES))
def make_venue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Venue]]:
    """``make_venue()``: a venue of its own, with a new account."""
    made: list[Venue] = []
    number = itertools.count()

    def make() -> Venue:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        made.append(VENUES[request.param](folder))
        return made[-1]

    yield make
    for venue in made:
        venue.leave()


@pytest.fixture
def venue(make_venue: Callable[[], Venue]) -> Venue:
    """One venue with a new account."""
    return make_venue()
