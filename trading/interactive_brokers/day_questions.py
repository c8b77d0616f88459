"""What is asked of the gateway about the day's orders, and the waiting for its words. All of it on the connection's thread."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from trading.errors import BrokerUnavailable
from trading.interactive_brokers.broker_orders import BrokerOrders
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.messages import Instrument, Message

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_log = logging.getLogger(__name__)
_TRIES = 2
"""How often executions are asked for on one line: their end sometimes does not come."""


class DayQuestions:
    """Keeps what is known of the day's orders in step with the broker. Make it before the connection is opened."""

    def __init__(self, connection: GatewayConnection, symbol_of: Callable[[Instrument], str]) -> None:
        self.connection = connection
        self._settings = connection.settings
        self._symbol_of = symbol_of
        self._orders: BrokerOrders | None = None
        self._heard: asyncio.Event | None = None
        self._own_only = False
        self._tells_completed = True
        connection.listen(self._hear)
        connection.on_joined(self.join)

    @property
    def orders(self) -> BrokerOrders:
        """What is known; raises ``BrokerUnavailable`` before the first connection."""
        if self._orders is None:
            raise BrokerUnavailable("The broker cannot be asked: no connection was made yet.")
        return self._orders

    @property
    def answer_seconds(self) -> float:
        """How long an answer may take."""
        return float(self._settings.answer_timeout_seconds)

    async def join(self, line: "GatewayLine") -> None:
        """Take part in making a connection: everything of the day is asked for before anything is sent."""
        if self._orders is None:
            self._orders = BrokerOrders(self.connection.account, self._settings.client_id, self._symbol_of)
        self._tells_completed = True
        orders = self._orders
        orders.begin_line()
        asked = orders.clock
        seconds = min(self.answer_seconds, float(self._settings.connect_timeout_seconds) / 4)
        try:
            question = line.own_open_orders() if self._own_only else line.open_orders()
            await asyncio.wait_for(question, seconds)
        except TimeoutError as error:
            # Perhaps it does not know that question: the next line is asked the narrower one, and the one after it again this.
            self._own_only = not self._own_only
            raise BrokerUnavailable("the gateway does not tell which orders are open") from error
        # Questions share the numbers: an error about an order must not look like the answer to one of them.
        line.numbers_from(orders.highest_order_id + 1)
        await self._executions_of(line, seconds)
        await self._completed_of(line, seconds)
        orders.settle(asked, is_complete=True, own_only=self._own_only)
        self.connection.note_order_id(orders.highest_order_id)
        # Questions share the numbers: an error about one of them must not look like one about an order.
        line.numbers_from(orders.highest_order_id + 1)

    async def _executions_of(self, line: "GatewayLine", seconds: float) -> None:
        for _ in range(_TRIES):
            try:
                await asyncio.wait_for(line.executions(), seconds)
            except TimeoutError:
                _log.warning("executions were not told to their end within %g seconds", seconds)
            else:
                return
        raise BrokerUnavailable("the gateway does not tell the day's executions to their end")

    async def _completed_of(self, line: "GatewayLine", seconds: float) -> None:
        if not self._tells_completed:
            return
        try:
            await asyncio.wait_for(line.completed_orders(), seconds)
        except TimeoutError:
            # Without them an order that ended unfilled looks as if it had never been there; it is not asked for on this line.
            _log.warning("completed orders were not told within %g seconds", seconds)
            self._tells_completed = False

    async def ask_everything(self, what: str) -> None:
        """Open orders, executions and completed orders anew; raises ``BrokerUnavailable`` where one is not answered."""
        line = self.connection.require_line(what)
        asked = self.orders.clock
        await all_of(self.ask_open_orders(), self.ask_executions(), self._completed_of(line, self.answer_seconds))
        self.orders.settle(asked, is_complete=True, own_only=self._own_only)

    async def ask_open_orders(self) -> None:
        def question(line: "GatewayLine") -> Awaitable[None]:
            return line.own_open_orders() if self._own_only else line.open_orders()

        await self.connection.answered(question, "open orders", self.answer_seconds)

    async def ask_executions(self) -> None:
        from trading.interactive_brokers.library import RequestFailed

        try:
            await self._ask_executions()
        except RequestFailed as error:
            raise BrokerUnavailable(f"The day's executions were not told ({error}).") from error

    async def _ask_executions(self) -> None:
        for tried in range(_TRIES):
            with contextlib.suppress(*((BrokerUnavailable,) if tried + 1 < _TRIES else ())):
                await self.connection.answered(
                    lambda line: line.executions(), "executions", self.answer_seconds, cuts_line=tried + 1 == _TRIES
                )
                return

    async def until(self, line: "GatewayLine", is_decided: Callable[[], bool], what: str) -> None:
        """Wait for ``is_decided``, at most as long as a first word may take; a lost line ends it too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + float(self._settings.acknowledgement_timeout_seconds)
        while not is_decided():
            left = deadline - loop.time()
            if left <= 0 or not line.is_connected:
                _log.warning("no word in time what=%s connected=%s", what, line.is_connected)
                return
            self._heard = heard = asyncio.Event() if self._heard is None or self._heard.is_set() else self._heard
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), left)

    def _hear(self, message: Message) -> None:
        if self._orders is not None:
            self._orders.hear(message)
            if self._orders.highest_order_id:
                self.connection.note_order_id(self._orders.highest_order_id)
        if self._heard is not None:
            self._heard.set()


async def all_of(*questions: Awaitable[Any]) -> list[Any]:
    """All answers; where one fails the others are given up, and it is raised."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
