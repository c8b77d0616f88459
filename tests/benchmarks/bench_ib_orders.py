"""What the adapter of Interactive Brokers adds to an order, and how soon a large day is connected and compared.

The gateway is a rehearsal in a process of its own. The first figure begins when the last five-second bar of a minute is heard on the
socket and ends when the order is written to it: the way through the adapter and no policy, risk or ledger.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from trading.bars import Timeframe
from trading.calendar import TradingCalendar
from trading.interactive_brokers.broker import IbBroker
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.feed import IbFeed
from trading.interactive_brokers.library import GatewayLine
from trading.interactive_brokers.messages import BarTold, Message
from trading.orders import OrderIntent, OrderType, Side, TimeInForce
from trading.settings import parse_settings

DAY = date(2026, 1, 5)
HOURS = TradingCalendar("XNYS", DAY).hours(DAY)
BARS = 120
ORDERS = 500
LONGEST_MS = 10.0
LONGEST_SECONDS = 5.0


@contextmanager
def connected(folder: Path, *options: str) -> Iterator[Callable[[], GatewayConnection]]:
    """Makes connections to a gateway of its own, that are not open yet."""
    command = [
        *(sys.executable, "-c", "from deployments.terminal.app import main; main()", "gateway"),
        *("--port", "0", "--control", "0", "--json", "--date", DAY.isoformat(), "--feed", "synthetic"),
        *("--symbols", "SPY", "--db", str(folder / "none.duckdb"), *options),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as gateway:
        assert gateway.stdout is not None
        ports = json.loads(gateway.stdout.readline())
        made: list[GatewayConnection] = []

        def make() -> GatewayConnection:
            document = {"broker": {"kind": "ib", "ib": {"port": ports["port"], "messages_per_second": 50}}}
            made.append(GatewayConnection(parse_settings(document, "a benchmark").broker.ib))
            return made[-1]

        try:
            yield make
        finally:
            for connection in made:
                connection.close()
            gateway.terminate()


def intent(number: int, **terms: Any) -> OrderIntent:
    opened = HOURS.opens_at
    side = Side.BUY if number % 2 else Side.SELL
    return OrderIntent(f"o{number}", "a-session", "ib", opened, "SPY", side, 1, Decimal(100), opened, **terms)


def test_from_a_bar_that_is_heard_to_the_order_on_the_wire(figures: Any, tmp_path: Path) -> None:
    heard = placed = 0.0
    with connected(tmp_path, "--speed", "60", "--start", "09:29", "--wait-for-client") as connections:
        connection = connections()
        contracts = Contracts(connection)
        broker, feed = IbBroker(connection, contracts, "ib"), IbFeed(connection, contracts, Timeframe.MINUTE_1)

        def note(message: Message) -> None:
            nonlocal heard
            if isinstance(message, BarTold):
                heard = time.perf_counter()

        connection.listen(note)
        connection.open()
        place = GatewayLine.place

        def placing(line: GatewayLine, *order: Any) -> None:
            nonlocal placed
            place(line, *order)
            placed = time.perf_counter()

        took = []
        GatewayLine.place = placing  # type: ignore[method-assign]
        try:
            for number, _ in zip(range(BARS), feed.stream(["SPY"], HOURS, None), strict=False):
                began = heard
                broker.submit(intent(number))
                took.append((placed - began) * 1e3)
                broker.poll()
        finally:
            GatewayLine.place = place  # type: ignore[method-assign]
            feed.end()
    for name, share in (("p50", 50), ("p99", 99)):
        figures.add(
            f"bar heard from a gateway to order written to it, {name}",
            float(np.percentile(took, share)),
            "ms",
            at_most=LONGEST_MS,
            note=f"{len(took)} bars",
        )


def test_a_day_of_many_orders_is_connected_and_compared(figures: Any, tmp_path: Path) -> None:
    with connected(tmp_path, "--clock", "stepped") as connections:
        first = connections()
        broker = IbBroker(first, Contracts(first), "ib")
        first.open()
        for number in range(ORDERS):
            broker.submit(
                intent(
                    number,
                    order_type=OrderType.LIMIT,
                    time_in_force=TimeInForce.DAY,
                    limit_price=Decimal(50) if number % 2 else Decimal(200),
                )
            )
        first.close()
        second = connections()
        again = IbBroker(second, Contracts(second), "ib")
        began = time.perf_counter()
        second.open()
        news, account, executions = again.poll(), again.account(), again.executions(None)
        passed = time.perf_counter() - began
    assert len(account.open_orders) == ORDERS
    assert len(news) == ORDERS
    assert not executions
    figures.add(
        f"a new connection has {ORDERS} orders, positions, cash and executions from a gateway",
        passed,
        "s",
        at_most=LONGEST_SECONDS,
    )
