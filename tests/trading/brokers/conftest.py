"""A market to send orders to, shown one bar at a time: in memory, and on a file that is opened anew for every call."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.orders import Execution, OrderAmendment, OrderIntent, OrderStatus, OrderType, Side, TimeInForce
from trading.ports import BrokerOrder, OrderReport
from trading.settings import PaperSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
CLOSE = timedelta(minutes=390)
A_DAY = timedelta(days=1)


class Market:
    """Bars come minute after minute; an order is decided on the newest one, with 100 as its reference price."""

    def __init__(self, path: Path | None, **settings: object) -> None:
        self._path = path
        self._settings = PaperSettings.model_validate({"slippage_bps": 10} | settings)
        self._opened = OPEN
        self._memory = PaperBroker("paper", self._settings, OPEN)
        self._told: list[OrderReport | Execution] = []
        self.minute = 0

    def call(self, what: Callable[[PaperBroker], object]) -> object:
        """Ask the broker, which in the second kind of market was opened just now and is closed right after."""
        if self._path is None:
            return what(self._memory)
        file = PaperFile(self._path, "paper")
        try:
            return what(PaperBroker("paper", self._settings, self._opened, file))
        finally:
            file.close()

    @property
    def now(self) -> datetime:
        """The newest bar."""
        return self._opened + timedelta(minutes=self.minute)

    def send(
        self,
        name: str,
        kind: str = "MARKET",
        side: str = "BUY",
        quantity: int = 10,
        symbol: str = "SPY",
        **terms: object,
    ) -> None:
        """Send an order; prices come as text."""
        prices = ("limit_price", "stop_price", "trail_amount", "trail_fraction", "reference_price")
        given = {key: Decimal(str(value)) if key in prices else value for key, value in terms.items()}
        if "time_in_force" in given:
            given["time_in_force"] = TimeInForce(given["time_in_force"])
        reference = given.pop("reference_price", Decimal(100))
        intent = OrderIntent(
            name,
            "s",
            "paper",
            self.now,
            symbol,
            Side(side),
            quantity,
            reference,  # type: ignore[arg-type]
            self.now + timedelta(minutes=1),
            OrderType(kind),
            **given,  # type: ignore[arg-type]
        )
        self.call(lambda broker: broker.submit(intent))

    def amend(self, name: str, number: int = 1, quantity: int | None = None, **prices: str) -> None:
        """Replace a working order."""
        changes = {key: Decimal(value) for key, value in prices.items()}
        amendment = OrderAmendment(name, number, self.now, OrderStatus.SUBMITTED, quantity, **changes)
        self.call(lambda broker: broker.replace(amendment))

    def cancel(self, name: str) -> None:
        self.call(lambda broker: broker.cancel(name))

    def bar(self, prices: str, volume: int | None = 1_000, symbol: str = "SPY") -> list[tuple[str, int, str]]:
        """The next minute's bar, as "open high low close": what it executes, as (order, shares, price)."""
        return self.bars({symbol: prices}, volume)

    def bars(self, prices: dict[str, str], volume: int | None = 1_000) -> list[tuple[str, int, str]]:
        """The next minute's bars of several symbols."""
        self.minute += 1
        found = {
            symbol: Bar(symbol, self.now, *map(Decimal, four.split()), volume)  # type: ignore[arg-type]
            for symbol, four in prices.items()
        }
        return self._executed(lambda broker: broker.see(BarSlice(self.now, found)))

    def close(self) -> list[tuple[str, int, str]]:
        """The session's end, and what it executes."""
        return self._executed(lambda broker: broker.end_of_session(self._opened + CLOSE))

    def next_day(self) -> None:
        """Another session begins; its first bar comes with ``bar``."""
        self._opened += A_DAY
        self.minute = -1
        self.call(lambda broker: broker.begin_session(resumed=False))

    def order(self, name: str) -> BrokerOrder:
        found = self.call(lambda broker: broker.find_order(name))
        assert isinstance(found, BrokerOrder)
        return found

    def status(self, name: str) -> str:
        """The order's status and filled shares, as "FILLED 10"."""
        order = self.order(name)
        return f"{order.status} {order.filled}"

    def history(self) -> list[tuple[str, str, datetime]]:
        """Every change of status that was told: order, status, time."""
        news = self.call(lambda broker: broker.poll())
        assert isinstance(news, tuple)
        # In memory what is new, otherwise all of the day.
        self._told = [*self._told, *news] if self._path is None else list(news)
        return [
            (one.client_order_id, str(one.status), one.event_time) for one in self._told if isinstance(one, OrderReport)
        ]

    def _executed(self, happens: Callable[[PaperBroker], object]) -> list[tuple[str, int, str]]:
        before = len(self._executions())
        self.call(happens)
        return [
            (one.client_order_id, one.quantity, f"{one.price.normalize():f}") for one in self._executions()[before:]
        ]

    def _executions(self) -> tuple[Execution, ...]:
        found = self.call(lambda broker: broker.executions(None))
        assert isinstance(found, tuple)
        return found


@pytest.fixture(params=["in memory", "opened anew for every call"])
def market(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Market]:
    """``market(max_volume_fraction="0.1")``: slippage is 10 basis points where nothing else is said."""
    number = itertools.count()

    def made(**settings: object) -> Market:
        path = None if request.param == "in memory" else tmp_path / f"market{next(number)}.sqlite"
        return Market(path, **settings)

    return made
