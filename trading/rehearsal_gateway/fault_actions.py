"""Does what faults say that is about no single order: connections, notices, hands in TWS, data."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from decimal import Decimal
from typing import Any, Protocol

from trading.errors import ConfigurationError
from trading.rehearsal_gateway.account_book import AccountBook
from trading.rehearsal_gateway.connected_client import NO_REQUEST, ConnectedClient
from trading.rehearsal_gateway.data_faults import DATA_FAULTS, DataFaults
from trading.rehearsal_gateway.faults import Fault, FaultScript
from trading.rehearsal_gateway.gateway_book import GatewayBook
from trading.rehearsal_gateway.gateway_order import GatewayOrder, Identity, Stage
from trading.rehearsal_gateway.market_port import Instrument, Market, MarketData
from trading.rehearsal_gateway.order_checks import Refusal, terms_of
from trading.rehearsal_gateway.order_desk import OrderDesk
from trading.rehearsal_gateway.order_ticket import AskedContract, OrderTicket

_log = logging.getLogger(__name__)

_DATA_LOST = 1101
_NOTICES = {
    1100: "Connectivity between IBKR and Trader Workstation has been lost.",
    1101: "Connectivity between IBKR and Trader Workstation has been restored - data lost.",
    1102: "Connectivity between IBKR and Trader Workstation has been restored - data maintained.",
    2103: "Market data farm connection is broken:usfarm",
    2104: "Market data farm connection is OK:usfarm",
    2105: "HMDS data farm connection is broken:ushmds",
    2106: "HMDS data farm connection is OK:ushmds",
    2110: "Connectivity between Trader Workstation and server is broken. It will be restored automatically.",
}

ON_ORDERS = frozenset(
    [
        "drop_before_order",
        "drop_after_order",
        "drop_after_fill",
        "drop_mid_bracket",
        "duplicate_execution",
        "correct_execution",
        "late_execution",
        "late_commission",
        "reject",
        "inactive",
        "lie_cancelled_10349",
        "warn_399",
        "error_110",
        "failed_modify",
        "partial_then_cancel",
        "executions_never_end",
        "positions_never_end",
        "open_orders_never_end",
        "client_id_held",
        "two_factor",
        "pacing",
        "no_answer_history",
    ]
)
"""Faults that are part of an answer: whoever answers knows what they do."""


class Restarts(Protocol):
    """Who can be started anew."""

    async def restart(self, seconds: float, ids_rolled_back: bool) -> None:
        """Cut all connections and open the port again after so many seconds."""
        ...


class FaultActions:
    """``data_faults`` is where live bars are spoilt. Raises ``ConfigurationError`` for a script that names an unknown symbol."""

    def __init__(
        self,
        script: FaultScript,
        desk: OrderDesk,
        book: GatewayBook,
        market: Market,
        clients: Mapping[int, ConnectedClient],
        gateway: Restarts,
        data: MarketData | None,
    ) -> None:
        self.script = script
        self.data_faults = DataFaults()
        self._desk = desk
        self._book = book
        self._market = market
        self._clients = clients
        self._gateway = gateway
        self._data = data
        self._going_on: set[asyncio.Task[None]] = set()
        for fault in script.waiting:
            if fault.symbol:
                self._instrument(fault.symbol)
        if data is not None:
            data.use_faults(self.data_faults.delivered)

    def note_the_time(self) -> None:
        """Do what is due."""
        if not self.script.waiting:
            return
        for fault in self.script.due(self._market.now().astimezone(self._market.exchange_zone).time()):
            try:
                self.do(fault)
            except ConfigurationError as error:
                _log.warning("action=%s does not happen: %s", fault.action, error)
            else:
                self.script.note(fault, fault.symbol)

    def do(self, fault: Fault, client: ConnectedClient | None = None) -> None:
        """Do a fault; ``client`` is who it concerns, all where it is None. Raises ``ConfigurationError`` for what makes no sense."""
        if fault.action in DATA_FAULTS:
            self.data_faults.begin(fault)
        elif fault.action == "restart":
            self._soon(self._gateway.restart(fault.seconds(), bool(fault["ids_rolled_back"])))
        elif fault.action == "position_by_hand":
            self._position_by_hand(fault)
        elif fault.action == "external_order":
            self._external_order(fault)
        elif fault.action == "broadcast":
            self._broadcast(int(fault["code"]), str(fault["text"]))
        elif fault.action not in ON_ORDERS:
            for one in list(self._clients.values()) if client is None else [client]:
                _DONE_TO_A_CLIENT[fault.action](one, fault)

    async def stop(self) -> None:
        """Break off what goes on."""
        for task in list(self._going_on):
            task.cancel()
        await asyncio.gather(*self._going_on, return_exceptions=True)

    def _broadcast(self, code: int, text: str) -> None:
        for client in list(self._clients.values()):
            client.error(NO_REQUEST, code, text or _NOTICES.get(code, f"Notice {code}"))
            if code == _DATA_LOST and self._data is not None:
                self._data.forget(client)

    def _position_by_hand(self, fault: Fault) -> None:
        instrument, account = self._instrument(fault.symbol), self._account(str(fault["account"]))
        price = Decimal(str(fault["price"])) or self._market.last_price(instrument.symbol)
        quantity = int(fault["quantity"])
        if not price or price <= 0 or not quantity:
            raise ConfigurationError(f"A trade of {quantity} {instrument.symbol} by hand needs a price and shares.")
        self._desk.trade_by_hand(account, instrument, quantity, price)

    def _external_order(self, fault: Fault) -> None:
        instrument, account = self._instrument(fault.symbol), self._account(str(fault["account"]))
        limit = Decimal(str(fault["limit_price"])) or None
        ticket = ticket_by_hand(
            instrument, str(fault["side"]), int(fault["quantity"]), str(fault["order_type"]), limit, str(fault["tif"])
        )
        refusal = terms_of(ticket, instrument)
        if isinstance(refusal, Refusal):
            raise ConfigurationError(f"An order by hand would be refused: {refusal.text}")
        identity = Identity(self._book.new_perm_id(), 0, 0)
        self._desk.take(GatewayOrder(identity, account.name, instrument, ticket, Stage.HELD, self._market.now()))

    def _instrument(self, symbol: str) -> Instrument:
        instrument = self._market.instrument(symbol)
        if instrument is None:
            raise ConfigurationError(
                f"There is no symbol {symbol!r} here. There are: {', '.join(self._market.symbols)}."
            )
        return instrument

    def _account(self, name: str) -> AccountBook:
        accounts = self._book.accounts
        if name and name not in accounts:
            raise ConfigurationError(f"There is no account {name!r} here. There are: {', '.join(accounts)}.")
        return accounts[name] if name else next(iter(accounts.values()))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)


def ticket_by_hand(
    instrument: Instrument, action: str, quantity: int, order_type: str, limit_price: Decimal | None, tif: str
) -> OrderTicket:
    """What somebody types into TWS."""
    contract = AskedContract(
        instrument.con_id, instrument.symbol, instrument.sec_type, "SMART", "", instrument.currency, ""
    )
    return OrderTicket(
        0, contract, action, Decimal(quantity), order_type, limit_price, None, tif, "", "", "", "", True, 0, False, False, 0,
        None, None, False,
    )  # fmt: skip


_DONE_TO_A_CLIENT: Mapping[str, Callable[[ConnectedClient, Fault], None]] = {
    "drop": lambda client, _fault: client.cut(),
    "delay_answers": lambda client, fault: client.hold_news(fault.seconds()),
    "silence": lambda client, fault: client.be_mute(fault.seconds()),
}
