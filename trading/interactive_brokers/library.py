"""One connection to a TWS or IB Gateway, spoken by ib_insync: the only file that knows it, so that its fork is a swap of this file.

The library encodes, decodes and keeps the message rate. What it concludes by itself is not believed (it calls an order
cancelled that the broker has merely warned of): messages are taken where they arrive, before it interprets them. All
methods belong to the thread of one running event loop.
"""

import asyncio
import contextlib
import logging
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ib_insync import IB, Contract, ExecutionFilter, Order
from ib_insync.util import UNSET_DOUBLE, UNSET_INTEGER
from ib_insync.wrapper import RequestError

from trading.interactive_brokers.messages import (
    AccountValueTold,
    BarTold,
    CommissionTold,
    CompletedTold,
    ErrorTold,
    ExecutionTold,
    Instrument,
    InstrumentDetails,
    LineLost,
    Message,
    OrderTold,
    PositionTold,
    StatusTold,
    WireOrder,
)

_T = TypeVar("_T")

# It speaks of every message, and calls warnings errors: what matters is said here, once.
logging.getLogger("ib_insync").setLevel(logging.CRITICAL)
# What a gateway writes that nobody can read ends in its log as an exception; of what matters we say so ourselves.
logging.getLogger("eventkit").setLevel(logging.CRITICAL)

_log = logging.getLogger(__name__)

_EXECUTION_DETAILS = 11
"""Number of the message that tells an execution, and where in it the time stands."""
_EXECUTION_TIME = 15
_COMMISSION_REPORT = 59
"""Number of the message that tells a commission, and where in it the amount stands."""
_COMMISSION = 3
_UTC_TIME = re.compile(r"^(\d{8})-(\d{2}:\d{2}:\d{2})$")
_ZONED_TIME = re.compile(r"^(\d{8}) +(\d{2}:\d{2}:\d{2}) +(\S.*)$")
_OPEN_ORDER = 5
_POSITION = 61


class RequestFailed(Exception):
    """The gateway answered a question with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"error {code}: {text}")
        self.code = code
        self.text = text


class NotConnected(Exception):
    """The line is not there, or broke while an answer was waited for."""


class GatewayLine:
    """One connection, from its making to its loss; never made again (make another). ``hear`` is told every message, in
    the order in which they come.

    ``timezone`` is the zone of times that the gateway sends without one.
    """

    def __init__(self, hear: Callable[[Message], None], timezone: str, messages_per_second: int) -> None:
        self._hear = hear
        self._ib = IB()
        self._ib.RaiseRequestErrors = True
        self._ib.TimezoneTWS = timezone
        self._ib.client.MaxRequests = messages_per_second
        self._refusal: asyncio.Event | None = None
        self._why = ""
        self._one_at_a_time: dict[str, asyncio.Lock] = {}
        self._completed: list[CompletedTold] | None = None
        self._has_told_order = False
        self._unread: set[int] = set()
        self._listen()

    # The connection

    async def connect(self, host: str, port: int, client_id: int, timeout_seconds: float) -> None:
        """Shake hands; returns when accounts and order numbers are known. Raises ``NotConnected`` with the reason."""
        self._refusal = asyncio.Event()
        self._ib.wrapper.clientId = client_id
        connecting = asyncio.ensure_future(self._ib.client.connectAsync(host, port, client_id, timeout_seconds))
        refused = asyncio.ensure_future(self._refusal.wait())
        try:
            await asyncio.wait({connecting, refused}, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise NotConnected(self._why)
            try:
                connecting.result()
            except (OSError, TimeoutError) as error:
                raise NotConnected(self._reason(error, timeout_seconds)) from error
        except BaseException:  # also when given up from outside: a half-made line would hold the client id
            self.disconnect()
            raise
        finally:
            for task in (connecting, refused):
                task.cancel()
            with contextlib.suppress(BaseException):  # its end was told above
                await connecting

    def _reason(self, error: Exception, timeout_seconds: float) -> str:
        if isinstance(error, ConnectionRefusedError):
            return "nobody listens there"
        return self._why or str(error) or f"no answer within {timeout_seconds:g} seconds"

    def disconnect(self) -> None:
        """Leave; a second time does nothing."""
        self._ib.client.disconnect()

    @property
    def is_connected(self) -> bool:
        """Whether the socket is there, as far as this side knows."""
        return bool(self._ib.client.isReady())

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts of the login."""
        return tuple(self._ib.client.getAccounts())

    @property
    def server_version(self) -> int:
        """Version of the protocol that was agreed on."""
        return int(self._ib.client.serverVersion())

    @property
    def client_id(self) -> int:
        """The number this client has at the gateway."""
        return int(self._ib.client.clientId)

    # Orders

    def next_order_id(self) -> int:
        """A number for a new order or question, never used before on this line."""
        return int(self._ib.client.getReqId())

    def numbers_from(self, order_id: int) -> None:
        """Give no number below this one: a number that an order has already would change that order."""
        self._ib.client.updateReqId(order_id)

    def place(self, order_id: int, instrument: Instrument, order: WireOrder) -> None:
        """Send an order, or a changed one under the number it has."""
        self._ib.client.placeOrder(order_id, _contract(instrument), _library_order(order_id, order))

    def cancel(self, order_id: int) -> None:
        """Ask for an order of this client to be cancelled."""
        self._ib.client.cancelOrder(order_id, "")

    async def what_if(self, instrument: Instrument, order: WireOrder) -> str:
        """The status that an order would have, which is judged and not taken; raises ``RequestFailed`` where it would be refused."""
        contract = _contract(instrument)

        def ask(number: int) -> None:
            asked = _library_order(number, order)
            asked.whatIf = True
            self._ib.client.placeOrder(number, contract, asked)

        return str(getattr(await self._numbered(ask, contract), "status", ""))

    # Questions

    async def open_orders(self) -> None:
        """Have all open orders of all clients told; returns when the last was."""
        await self._whole("openOrders", self._ib.client.reqAllOpenOrders)

    async def own_open_orders(self) -> None:
        """Have this client's open orders told; returns when the last was."""
        await self._whole("openOrders", self._ib.client.reqOpenOrders)

    async def completed_orders(self) -> list[CompletedTold]:
        """The day's orders that are over, of all clients."""
        told: list[CompletedTold] = []
        self._completed = told
        await self._whole("completedOrders", lambda: self._ib.client.reqCompletedOrders(False))
        return told

    async def executions(self) -> None:
        """Have all executions of the day told, of all clients; returns when the last was."""
        self._unread.discard(_EXECUTION_DETAILS)
        await self._numbered(lambda number: self._ib.client.reqExecutions(number, ExecutionFilter()))
        self._require_read(_EXECUTION_DETAILS, "executions")

    async def positions(self) -> list[PositionTold]:
        """Positions of all accounts of the login."""
        self._unread.discard(_POSITION)
        found = await self._whole("positions", self._ib.client.reqPositions)
        self._require_read(_POSITION, "positions")
        return [
            PositionTold(one.account, _instrument(one.contract), _amount(one.position), _amount(one.avgCost))
            for one in found
        ]

    async def account_values(self, account: str) -> list[AccountValueTold]:
        """The balances of one account as they are now."""
        told: list[AccountValueTold] = []

        def ask(number: int) -> None:
            self._tap("accountUpdateMulti", collect)
            self._ib.client.reqAccountUpdatesMulti(number, account, "", False)
            asked.append(number)

        def collect(number: int, code: str, _model: str, tag: str, value: str, currency: str) -> None:
            if asked and number == asked[0] and code == account:
                told.append(AccountValueTold(code, tag, value, currency))

        asked: list[int] = []
        try:
            await self._numbered(ask)
        finally:
            if asked and self.is_connected:
                self._ib.client.cancelAccountUpdatesMulti(asked[0])
        return told

    async def current_time(self) -> datetime:
        """The server's time, aware UTC, to the second."""
        seconds = await self._whole("currentTime", self._ib.client.reqCurrentTime)
        return seconds if isinstance(seconds, datetime) else datetime.fromtimestamp(int(seconds), UTC)

    async def details(self, instrument: Instrument) -> list[InstrumentDetails]:
        """Every contract that fits the description; none for one that the broker does not know."""
        contract = _contract(instrument)
        try:
            found = await self._numbered(lambda number: self._ib.client.reqContractDetails(number, contract), contract)
        except RequestFailed as error:
            if error.code == 200:
                return []
            raise
        return [_details(one) for one in found]

    async def history(
        self, instrument: Instrument, end: datetime | None, duration: str, bar_size: str, regular_hours: bool
    ) -> list[BarTold]:
        """Trades as bars, oldest first, up to ``end`` (now where None); raises ``RequestFailed`` also for "no data" (162)."""
        contract = _contract(instrument)
        until = "" if end is None else f"{end.astimezone(UTC):%Y%m%d-%H:%M:%S}"
        number_asked = 0

        def ask(number: int) -> None:
            nonlocal number_asked
            number_asked = number
            self._ib.client.reqHistoricalData(
                number, contract, until, duration, bar_size, "TRADES", int(regular_hours), 2, False, []
            )

        try:
            found = await self._numbered(ask, contract)
        except asyncio.CancelledError:
            # Nobody waits any more: a question that stays open counts among those that may be open at a time.
            if self.is_connected:
                self._ib.client.cancelHistoricalData(number_asked)
            raise
        return [_bar(number_asked, one) for one in found]

    # Subscriptions

    def subscribe_five_seconds(self, instrument: Instrument, regular_hours: bool = True) -> int:
        """Have the five-second bars of trades told (``BarTold``); the number that they carry."""
        number = self.next_order_id()
        self._ib.client.reqRealTimeBars(number, _contract(instrument), 5, "TRADES", regular_hours, [])
        return number

    def unsubscribe_five_seconds(self, number: int) -> None:
        """No more of them."""
        self._ib.client.cancelRealTimeBars(number)

    def subscribe_up_to_date(self, instrument: Instrument, duration: str, bar_size: str, regular_hours: bool) -> int:
        """Have history, then each change of the newest bar told (``BarTold``); the number that they carry."""
        number = self.next_order_id()
        self._ib.client.reqHistoricalData(
            number, _contract(instrument), "", duration, bar_size, "TRADES", int(regular_hours), 2, True, []
        )
        return number

    def unsubscribe_up_to_date(self, number: int) -> None:
        """No more of them."""
        self._ib.client.cancelHistoricalData(number)

    def ask_for_market_data(self, kind: int) -> None:
        """1 live, 2 frozen, 3 delayed, 4 delayed and frozen: what subscriptions may bring."""
        self._ib.client.reqMarketDataType(kind)

    # Inside

    async def _whole(self, key: str, ask: Callable[[], object]) -> Any:
        """Ask what carries no number: one question of a kind at a time, because its answers cannot be told apart."""
        async with self._one_at_a_time.setdefault(key, asyncio.Lock()):
            return await self._answer(key, ask, None)

    async def _numbered(self, ask: Callable[[int], object], contract: Contract | None = None) -> Any:
        if not self.is_connected:
            raise NotConnected("not connected")
        number = self.next_order_id()
        return await self._answer(number, lambda: ask(number), contract)

    async def _answer(self, key: str | int, ask: Callable[[], object], contract: Contract | None) -> Any:
        if not self.is_connected:
            raise NotConnected("not connected")
        answer: Awaitable[Any] = self._ib.wrapper.startReq(key, contract)
        try:
            ask()
            return await answer
        except RequestError as error:
            raise RequestFailed(error.code, error.message) from error
        except ConnectionError as error:
            raise NotConnected(str(error)) from error
        finally:
            self._ib.wrapper._endReq(key)

    def _listen(self) -> None:
        self._tap("openOrder", self._open_order)
        self._tap("completedOrder", self._completed_order)
        self._tap("orderStatus", self._order_status)
        self._tap("execDetails", self._execution)
        self._tap("commissionReport", self._commission)
        self._tap("error", self._error)
        self._tap("position", self._position)
        self._tap("realtimeBar", self._five_seconds)
        self._tap("historicalDataUpdate", self._renewed_bar)
        self._ib.client.apiEnd += self._ended
        self._ib.client.apiError += self._api_error
        self._ib.client.conn.disconnected += self._hung_up
        # On its own it would ask for balances when the broker's servers are back.
        self._ib.errorEvent -= self._ib._onError
        handlers = self._ib.client.decoder.handlers
        handlers[_OPEN_ORDER] = self._reading_in_part(handlers[_OPEN_ORDER])
        handlers[_POSITION] = self._noting_unread(_POSITION, handlers[_POSITION])
        handlers[_EXECUTION_DETAILS] = self._noting_unread(
            _EXECUTION_DETAILS, _reading_times(handlers[_EXECUTION_DETAILS])
        )
        handlers[_COMMISSION_REPORT] = _reading_no_commission(handlers[_COMMISSION_REPORT])

    def _tap(self, message: str, listen: Callable[..., None]) -> None:
        """Have ``listen`` called with a message of the gateway before the library interprets it."""
        interpret = vars(type(self._ib.wrapper)).get(message) or getattr(type(self._ib.wrapper), message)
        wrapper = self._ib.wrapper

        def both(*arguments: Any) -> Any:
            listen(*arguments)
            return interpret(wrapper, *arguments)

        setattr(wrapper, message, both)

    def _reading_in_part(self, interpret: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
        """An open order that the library cannot read is still one: else it would count as over."""

        def reading(fields: Sequence[str]) -> None:
            self._has_told_order = False
            try:
                interpret(fields)
            except Exception as error:  # whatever the decoder tripped over, the order is there
                if self._has_told_order:
                    raise
                _log.error("an open order cannot be read to its end (%s): %s", error, list(fields[:26]))
                self._hear(_order_in_part(fields))

        return reading

    def _noting_unread(self, kind: int, interpret: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
        def reading(fields: Sequence[str]) -> None:
            try:
                interpret(fields)
            except Exception as error:  # noted, so that the answer it belongs to counts as none, and raised on
                _log.error("a message cannot be read (%s): %s", error, list(fields))
                self._unread.add(kind)
                raise

        return reading

    def _require_read(self, kind: int, what: str) -> None:
        """Raises ``NotConnected`` where the answer had a message that cannot be read: it is no answer then."""
        if kind in self._unread:
            raise NotConnected(f"one of the {what} that the gateway told cannot be read; the log has it")

    def _open_order(self, order_id: int, contract: Any, order: Any, state: Any) -> None:
        self._has_told_order = True
        if order.whatIf:
            return
        self._hear(
            OrderTold(_wire_order(order, order_id), _instrument(contract), state.status, state.warningText or "")
        )

    def _completed_order(self, contract: Any, order: Any, state: Any) -> None:
        filled = _amount_or_none(order.filledQuantity)
        told = CompletedTold(
            _wire_order(order, 0), _instrument(contract), state.status, filled, state.completedStatus or ""
        )
        if self._completed is not None:
            self._completed.append(told)
        self._hear(told)

    def _order_status(
        self,
        order_id: int,
        status: str,
        filled: float,
        remaining: float,
        average_price: float,
        perm_id: int,
        _parent_id: int,
        _last_price: float,
        client_id: int,
        why_held: str,
        *_more: float,
    ) -> None:
        average = _amount_or_none(average_price)
        self._hear(
            StatusTold(
                _number(order_id),
                _number(client_id),
                _number(perm_id),
                status,
                _amount(filled),
                _amount(remaining),
                average if average else None,
                why_held or "",
            )
        )

    def _execution(self, request_id: int, contract: Any, execution: Any) -> None:
        self._hear(
            ExecutionTold(
                execution.execId,
                _number(execution.orderId),
                _number(execution.clientId),
                _number(execution.permId),
                execution.orderRef or "",
                execution.acctNumber,
                _instrument(contract),
                execution.side,
                _amount(execution.shares),
                _amount(execution.price),
                execution.time,
                request_id,
            )
        )

    def _commission(self, report: Any) -> None:
        self._hear(CommissionTold(report.execId, _amount_or_none(report.commission), report.currency or ""))

    def _error(self, request_id: int, code: int, text: str, *_more: str) -> None:
        if code in (326, 507) and self._refusal is not None:
            self._why = f"error {code}: {text}"
            self._refusal.set()
        self._hear(ErrorTold(request_id, code, text))

    def _position(self, account: str, contract: Any, quantity: float, average_cost: float) -> None:
        self._hear(PositionTold(account, _instrument(contract), _amount(quantity), _amount(average_cost)))

    def _five_seconds(
        self, number: int, time: int, opened: float, high: float, low: float, close: float, volume: float, *_more: float
    ) -> None:
        self._hear(BarTold(number, datetime.fromtimestamp(time, UTC), opened, high, low, close, volume))

    def _renewed_bar(self, number: int, bar: Any) -> None:
        self._hear(_bar(number, bar))

    def _ended(self) -> None:
        self._hear(LineLost(self._why or "the gateway closed the connection"))

    def _api_error(self, text: str) -> None:
        # Of a line that ends early it guesses that the client's number is in use; that is so where error 326 says it.
        self._why = self._why or text.partition(" clientId")[0]
        if self._refusal is not None:
            self._refusal.set()

    def _hung_up(self, why: str) -> None:
        # The library says nothing of it before the handshake is over, and would wait for the rest in vain.
        self._why = self._why or why or "the gateway closed the connection"
        if self._refusal is not None:
            self._refusal.set()


def _reading_times(interpret: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """Times as 20240102-14:31:05 are UTC by definition, and the library reads them as local to somebody; it drops what stands in a
    zone that this machine does not know, which counts as one without a zone here."""

    def reading(fields: Sequence[str]) -> None:
        time = fields[_EXECUTION_TIME]
        if (written := _UTC_TIME.match(time)) is not None:
            time = f"{written[1]} {written[2]} UTC"
        elif (written := _ZONED_TIME.match(time)) is not None:
            time = f"{written[1]} {written[2]}" + (f" {written[3]}" if _is_zone(written[3]) else "")
        fields = list(fields)
        fields[_EXECUTION_TIME] = time
        interpret(fields)

    return reading


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        _log.warning("a time in a zone that is not known zone=%s", name)
        return False
    return True


def _order_in_part(fields: Sequence[str]) -> OrderTold:
    """An open order by the first fields of its message; its standing is not among them."""
    order_id, contract_id, symbol, security_type = fields[1:5]
    exchange, currency, local_symbol, _, action, quantity, order_type, limit, aux, in_force, group, account = fields[
        9:21
    ]
    reference, client_id, perm_id = fields[23:26]
    order = WireOrder(
        action,
        _amount(quantity),
        order_type,
        in_force,
        reference,
        account,
        _amount_or_none(limit),
        _amount_or_none(aux),
        oca_group=group,
        order_id=_number(order_id),
        client_id=_number(client_id),
        perm_id=_number(perm_id),
    )
    return OrderTold(
        order, Instrument(symbol, _number(contract_id), security_type, exchange, "", currency, local_symbol), "", ""
    )


def _reading_no_commission(interpret: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """An amount that is left empty is not known; the library reads it as zero."""

    def reading(fields: Sequence[str]) -> None:
        if not fields[_COMMISSION]:
            fields = list(fields)
            fields[_COMMISSION] = repr(UNSET_DOUBLE)
        interpret(fields)

    return reading


def _contract(instrument: Instrument) -> Contract:
    return Contract(
        secType=instrument.security_type,
        conId=instrument.contract_id,
        symbol=instrument.symbol,
        exchange=instrument.exchange,
        primaryExchange=instrument.primary_exchange,
        currency=instrument.currency,
        localSymbol=instrument.local_symbol,
    )


def _instrument(contract: Any) -> Instrument:
    return Instrument(
        contract.symbol,
        _number(contract.conId),
        contract.secType,
        contract.exchange,
        getattr(contract, "primaryExchange", "") or "",
        contract.currency,
        contract.localSymbol,
    )


def _details(details: Any) -> InstrumentDetails:
    smallest = _amount_or_none(getattr(details, "minSize", None))
    return InstrumentDetails(
        _instrument(details.contract),
        details.longName,
        _amount_or_none(details.minTick) or Decimal("0.01"),
        details.timeZoneId,
        details.liquidHours,
        smallest if smallest else None,
    )


def _library_order(order_id: int, order: WireOrder) -> Order:
    return Order(
        orderId=order_id,
        action=order.action,
        totalQuantity=float(order.quantity),
        orderType=order.order_type,
        tif=order.time_in_force,
        orderRef=order.order_ref,
        account=order.account,
        lmtPrice=_price(order.limit_price),
        auxPrice=_price(order.aux_price),
        trailingPercent=_price(order.trailing_percent),
        parentId=order.parent_id,
        ocaGroup=order.oca_group,
        ocaType=order.oca_type,
        transmit=order.transmit,
        outsideRth=False,
    )


def _wire_order(order: Any, order_id: int) -> WireOrder:
    return WireOrder(
        order.action,
        _amount(order.totalQuantity),
        order.orderType,
        order.tif,
        order.orderRef or "",
        order.account or "",
        _amount_or_none(order.lmtPrice),
        _amount_or_none(order.auxPrice),
        _amount_or_none(order.trailingPercent),
        _number(order.parentId),
        order.ocaGroup or "",
        _number(order.ocaType),
        bool(order.transmit),
        _number(order_id),
        _number(order.clientId),
        _number(order.permId),
    )


def _bar(number: int, bar: Any) -> BarTold:
    return BarTold(number, _moment(bar.date), bar.open, bar.high, bar.low, bar.close, bar.volume)


def _moment(time: date | datetime | str) -> datetime:
    if isinstance(time, str):
        return datetime.fromtimestamp(int(time), UTC)
    if isinstance(time, datetime):
        return time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return datetime(time.year, time.month, time.day, tzinfo=UTC)


def _number(value: Any) -> int:
    """A whole number of the wire; 0 where TWS wrote that it is not set."""
    return 0 if value in (None, "", UNSET_INTEGER) else int(value)


def _amount(value: Any) -> Decimal:
    """A number of the wire, exactly as it was written; 0 where it is not set."""
    return _amount_or_none(value) or Decimal(0)


def _amount_or_none(value: Any) -> Decimal | None:
    """None for what TWS writes when there is no number: 1.797e308, nothing, NaN."""
    if value in (None, "", UNSET_DOUBLE):
        return None
    number = float(value)
    if not math.isfinite(number) or abs(number) >= 1e300:
        return None
    return Decimal(repr(number)) if number != int(number) else Decimal(int(number))


def _price(value: Decimal | None) -> float:
    return UNSET_DOUBLE if value is None else float(value)
