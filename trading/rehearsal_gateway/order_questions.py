"""Answers what clients ask about orders: those that work, those that are over, and what was executed."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from trading.rehearsal_gateway.connected_client import NO_REQUEST, ConnectedClient, Handler
from trading.rehearsal_gateway.execution_filter import read_filter
from trading.rehearsal_gateway.gateway_book import GatewayBook
from trading.rehearsal_gateway.gateway_order import GatewayOrder
from trading.rehearsal_gateway.market_port import Market
from trading.rehearsal_gateway.message_kinds import Incoming
from trading.rehearsal_gateway.order_news import OrderNews
from trading.rehearsal_gateway.wire import FieldReader


class OrderQuestions:
    """The handlers of those questions. Executions and completed orders are those of the exchange's date."""

    def __init__(self, book: GatewayBook, market: Market, news: OrderNews) -> None:
        self._book = book
        self._market = market
        self._news = news
        self.handlers: Mapping[int, Handler] = {
            Incoming.reqOpenOrders: self._tell_own_orders,
            Incoming.reqAllOpenOrders: self._tell_all_orders,
            Incoming.reqAutoOpenOrders: self._bind_orders,
            Incoming.reqCompletedOrders: self._tell_completed,
            Incoming.reqExecutions: self._tell_executions,
        }

    def _tell_own_orders(self, client: ConnectedClient, fields: FieldReader) -> None:
        # Orders made by hand carry client id 0, whose client sees them as its own.
        self._tell_orders(client, [one for one in self._book.working() if one.identity.client_id == client.client_id])

    def _tell_all_orders(self, client: ConnectedClient, fields: FieldReader) -> None:
        self._tell_orders(client, list(self._book.working()))

    def _tell_orders(self, client: ConnectedClient, orders: Sequence[GatewayOrder]) -> None:
        for order in orders:
            self._news.answer_open(client, order)
        if "open_orders_never_end" not in client.spoilt:
            client.send(53, 1)

    def _bind_orders(self, client: ConnectedClient, fields: FieldReader) -> None:
        if client.client_id != 0:
            text = "Error validating request.-'cd' : cause - Only the default client (i.e. 0) can auto bind orders"
            client.error(NO_REQUEST, 321, text)

    def _tell_completed(self, client: ConnectedClient, fields: FieldReader) -> None:
        is_api_only = fields.flag()
        for order in self._book.orders.values():
            if order.ended_at is None or self._day(order.ended_at) != self._day(self._market.now()):
                continue
            if not (is_api_only and order.identity.is_by_hand):
                self._news.answer_completed(client, order)
        client.send(102)

    def _tell_executions(self, client: ConnectedClient, fields: FieldReader) -> None:
        request_id = fields.integer()
        asked = read_filter(fields, self._market.exchange_zone)
        today = self._day(self._market.now())
        for execution in self._book.executions():
            if self._day(execution.executed_at) == today and asked.fits(execution):
                self._news.answer_execution(client, execution, request_id)
        if "executions_never_end" not in client.spoilt:
            client.send(55, 1, request_id)

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(self._market.exchange_zone).date()
