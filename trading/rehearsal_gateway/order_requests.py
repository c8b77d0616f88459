"""Takes orders, changes and cancels from clients, and lets the faults of the script spoil it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from decimal import Decimal

from trading.rehearsal_gateway.connected_client import ConnectedClient, Handler
from trading.rehearsal_gateway.fault_actions import ON_ORDERS, FaultActions
from trading.rehearsal_gateway.faults import Fault
from trading.rehearsal_gateway.gateway_book import GatewayBook
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.gateway_order import GatewayOrder, Identity, Stage, TwsStatus
from trading.rehearsal_gateway.gateway_settings import GatewaySettings
from trading.rehearsal_gateway.market_port import Instrument, Market
from trading.rehearsal_gateway.message_kinds import Incoming
from trading.rehearsal_gateway.order_acceptance import OrderAcceptance
from trading.rehearsal_gateway.order_checks import Refusal, terms_of
from trading.rehearsal_gateway.order_desk import OrderDesk
from trading.rehearsal_gateway.order_news import OrderNews
from trading.rehearsal_gateway.order_ticket import OrderTicket, read_ticket
from trading.rehearsal_gateway.wire import FieldReader

_BEFORE = frozenset({"delay_answers", "silence"})
"""Faults that spoil the answer to the message that they wait for; others come after it."""
_PRESET_DAY = (10349, "Order TIF was set to DAY based on order preset.")


class OrderRequests:
    """The handlers of messages that make, change or cancel orders. ``faults`` spoil what they are told to."""

    def __init__(
        self,
        desk: OrderDesk,
        book: GatewayBook,
        market: Market,
        news: OrderNews,
        settings: GatewaySettings,
        faults: FaultActions,
    ) -> None:
        self._desk = desk
        self._book = book
        self._market = market
        self._news = news
        self._acceptance = OrderAcceptance(book, market, settings)
        self._faults = faults
        desk.fill_faults = self._faults_of_a_fill
        self.handlers: Mapping[int, Handler] = {
            Incoming.placeOrder: self._place,
            Incoming.cancelOrder: self._cancel,
            Incoming.reqGlobalCancel: self._cancel_all,
        }

    # Orders

    def _place(self, client: ConnectedClient, fields: FieldReader) -> None:
        ticket = read_ticket(fields)
        known = self._book.find(client.client_id, ticket.order_id)
        instrument = self._acceptance.instrument_of(ticket)
        symbol = ticket.contract.symbol if instrument is None else instrument.symbol
        if ticket.what_if:
            self._answer_what_if(client, ticket, instrument)
            return
        is_new = known is None
        concerns = _concerns_leg(self._leg(client, ticket))
        event = "order" if is_new else "modify"
        faults = self._faults.script.happened(event, symbol, str(ticket.order_id), concerns)
        actions = {fault.action: fault for fault in faults}
        if "drop_before_order" in actions:
            client.cut()
            self._do_those(faults, client, set(actions))
            return
        if "drop_after_order" in actions:
            client.cut()
        self._do_those(faults, client, _BEFORE)
        if known is None:
            self._take(client, ticket, instrument, actions)
        else:
            self._change(known, ticket, actions)
        self._do_those(faults, client, set(actions) - _BEFORE)
        if "drop_mid_bracket" in actions:
            client.cut()

    def _take(
        self, client: ConnectedClient, ticket: OrderTicket, instrument: Instrument | None, faults: Mapping[str, Fault]
    ) -> None:
        identity = Identity(0, client.client_id, ticket.order_id)
        if "error_110" in faults:
            text = "The price does not conform to the minimum price variation for this contract."
            self._news.error(identity, 110, text)
            return
        found = self._acceptance.checked(client.client_id, ticket, instrument)
        if isinstance(found, Refusal) and not found.is_told_inactive:
            self._news.error(identity, found.code, found.text)
            return
        if instrument is None:
            return  # said by _checked
        self._book.use_order_id(ticket.order_id)
        identity = replace(identity, perm_id=self._book.new_perm_id())
        account = ticket.account or next(iter(self._book.accounts))
        parent = self._book.find(client.client_id, ticket.parent_id) if ticket.parent_id else None
        order = GatewayOrder(
            identity,
            account,
            instrument,
            ticket,
            Stage.HELD,
            self._market.now(),
            parent.identity.perm_id if parent is not None else 0,
        )
        if "reject" in faults:
            found = Refusal(int(faults["reject"]["code"]), str(faults["reject"]["text"]), True)
        if "inactive" in faults:
            self._desk.leave_inactive(order)
            code, text = int(faults["inactive"]["code"]), str(faults["inactive"]["text"])
            if code:
                self._news.error(identity, code, text or "The order is inactive")
            return
        refusal = found if isinstance(found, Refusal) else self._desk.take(order)
        if refusal is not None:
            self._desk.refuse(order, refusal.text)
            self._news.error(identity, refusal.code, refusal.text)
            return
        self._warn(order, faults)

    def _warn(self, order: GatewayOrder, faults: Mapping[str, Fault]) -> None:
        """What is told of an order that was taken, besides its status."""
        ticket, identity = order.ticket, order.identity
        if not ticket.tif:
            self._news.error(identity, *_PRESET_DAY)
        waits = not self._book.is_open and ticket.transmit and not identity.is_by_hand
        if waits or "warn_399" in faults:
            self._news.error(identity, 399, self._acceptance.waiting(ticket, order.instrument))
        if "lie_cancelled_10349" in faults:
            self._news.error(identity, *_PRESET_DAY)
            standing = self._book.standing(self._book.orders[identity.perm_id])
            self._news.status(order, replace(standing, status=TwsStatus.CANCELLED, why_held=""))
        if "partial_then_cancel" in faults:
            self._desk.cut_short(order, int(faults["partial_then_cancel"]["quantity"]))

    def _change(self, order: GatewayOrder, ticket: OrderTicket, faults: Mapping[str, Fault]) -> None:
        standing = self._book.standing(order)
        if standing.status is TwsStatus.FILLED:
            self._news.error(order.identity, 104, "Can't modify a filled order.")
            return
        if order.ended_at is not None:
            self._news.error(order.identity, 103, "Duplicate order id")
            return
        before = order.ticket
        is_same = (ticket.action, ticket.contract.symbol) == (before.action, before.contract.symbol)
        if not is_same or (ticket.account or order.account) != order.account or ticket.parent_id != before.parent_id:
            self._news.error(order.identity, 105, "Order being modified does not match original order")
            return
        terms = terms_of(ticket, order.instrument)
        if "failed_modify" in faults:
            self._news.error(order.identity, 201, "Order rejected - reason:The change was not accepted by the exchange")
            self._news.status(order, replace(standing, status=TwsStatus.CANCELLED, why_held=""))
            return
        refusal = terms if isinstance(terms, Refusal) else self._desk.change(order, ticket, terms)
        if refusal is not None:
            self._news.error(order.identity, refusal.code, refusal.text)
        elif "warn_399" in faults:
            self._news.error(order.identity, 399, self._acceptance.waiting(ticket, order.instrument))

    def _cancel(self, client: ConnectedClient, fields: FieldReader) -> None:
        order_id = fields.integer()
        order = self._book.find(client.client_id, order_id)
        symbol = "" if order is None else order.instrument.symbol
        faults = self._faults.script.happened("cancel", symbol, str(order_id))
        actions = {fault.action for fault in faults}
        if "drop_before_order" in actions:
            client.cut()
            self._do_those(faults, client, actions)
            return
        if "drop_after_order" in actions:
            client.cut()
        self._do_those(faults, client, _BEFORE)
        if order is None:
            client.tell_error(order_id, 10147, f"OrderId {order_id} that needs to be cancelled is not found.")
        elif order.ended_at is not None:
            state = self._book.standing(order).status
            client.tell_error(
                order_id, 10148, f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {state}."
            )
        else:
            self._desk.cancel(order)
        self._do_those(faults, client, actions - _BEFORE)

    def _cancel_all(self, client: ConnectedClient, fields: FieldReader) -> None:
        for order in self._book.working():
            if self._book.orders[order.identity.perm_id].ended_at is None:
                self._desk.cancel(self._book.orders[order.identity.perm_id])

    # What would be

    def _answer_what_if(self, client: ConnectedClient, ticket: OrderTicket, instrument: Instrument | None) -> None:
        found = self._acceptance.checked(client.client_id, ticket, instrument)
        if isinstance(found, Refusal) or instrument is None:
            code, text = (found.code, found.text) if isinstance(found, Refusal) else (200, "")
            client.error(ticket.order_id, code, text)
            return
        account = ticket.account or next(iter(self._book.accounts))
        identity = Identity(0, client.client_id, ticket.order_id)
        order = GatewayOrder(identity, account, instrument, ticket, Stage.HELD, self._market.now())
        self._news.what_if(client, order, self._acceptance.margins(ticket, instrument))

    # Faults

    def _faults_of_a_fill(self, execution: GatewayExecution) -> Sequence[Fault]:
        """What goes wrong with telling an execution; who is to be cut off is cut off now."""
        faults = self._faults.script.happened("fill", execution.symbol, execution.exec_id)
        client = self._news.client_of(execution.identity)
        loop = asyncio.get_running_loop()
        for fault in faults:
            if fault.action == "drop_after_fill" and client is not None:
                client.cut()
            elif fault.action == "correct_execution":
                loop.call_later(fault.seconds(), self._correct, execution.account, execution.stem, fault)
        self._do_those(faults, client, {fault.action for fault in faults})
        return faults

    def _correct(self, account: str, stem: str, fault: Fault) -> None:
        execution = self._book.accounts[account].executions[stem]
        price = execution.price + Decimal(str(fault["price_by"]))
        self._desk.correct(execution, price, int(fault["quantity"]) or execution.quantity)

    def _do_those(self, faults: Sequence[Fault], client: ConnectedClient | None, actions: AbstractSet[str]) -> None:
        for fault in faults:
            if fault.action in actions and fault.action not in ON_ORDERS:
                self._faults.do(fault, client)

    def _leg(self, client: ConnectedClient, ticket: OrderTicket) -> int:
        """Which order of a bracket this would be, 0 where it belongs to none."""
        if not ticket.parent_id:
            return 0 if ticket.transmit else 1
        parent = self._book.find(client.client_id, ticket.parent_id)
        if parent is None:
            return 0
        return 2 + sum(one.parent == parent.identity.perm_id for one in self._book.orders.values())


def _concerns_leg(leg: int) -> Callable[[Fault], bool]:
    """Faults of brackets wait for one leg, all others for any order."""
    return lambda fault: fault.action != "drop_mid_bracket" or int(fault["legs"]) == leg
