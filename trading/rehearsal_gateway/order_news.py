"""Who is told what of orders and executions, and in which order.

News of an order goes to the client that made it; of orders made by hand to client 0. TWS tells a filled order as: openOrder and
orderStatus when it was taken, then execDetails, openOrder and orderStatus as filled, both once more with the commission, and the
commissionReport.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from trading.money import ZERO
from trading.rehearsal_gateway import order_messages as messages
from trading.rehearsal_gateway.connected_client import NO_REQUEST, ConnectedClient
from trading.rehearsal_gateway.faults import Fault
from trading.rehearsal_gateway.gateway_book import GatewayBook
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.gateway_order import GatewayOrder, Identity, Standing, TwsStatus
from trading.rehearsal_gateway.gateway_settings import GatewaySettings
from trading.rehearsal_gateway.margins import Margins
from trading.rehearsal_gateway.market_port import Instrument

CANCELLED = 202

Instruments = Callable[[str], Instrument | None]


class OrderNews:
    """Tells. What it does not tell at once (faults) it remembers until it does."""

    def __init__(
        self,
        book: GatewayBook,
        clients: Mapping[int, ConnectedClient],
        settings: GatewaySettings,
        instrument_of: Instruments,
    ) -> None:
        self._book = book
        self._clients = clients
        self._settings = settings
        self._instrument_of = instrument_of
        self._told: dict[int, Standing] = {}
        self.unknown_executions: set[str] = set()
        """Stems of executions that nobody can know yet."""
        self.unknown_commissions: set[str] = set()

    def client_of(self, identity: Identity) -> ConnectedClient | None:
        """Who is told of it; None where nobody listens."""
        return self._clients.get(identity.client_id)

    # Orders

    def order(self, order: GatewayOrder, last_price: Decimal = ZERO, is_billed: bool = True) -> None:
        """Tell how an order stands: openOrder and orderStatus; where it is not billed without the commission."""
        self._tell_standing(order, self._book.standing(order), last_price, is_billed)

    def _tell_standing(
        self, order: GatewayOrder, standing: Standing, last_price: Decimal, is_billed: bool = True
    ) -> None:
        self._told[order.identity.perm_id] = standing
        client = self.client_of(order.identity)
        if client is not None:
            shown = standing if is_billed else replace(standing, commission=None)
            for fields in self._both(order, shown, client, last_price):
                client.tell(*fields)

    def status(self, order: GatewayOrder, standing: Standing | None = None) -> None:
        """Tell the status of an order alone; another than it has, where ``standing`` says so."""
        if standing is None:
            standing = self._told[order.identity.perm_id] = self._book.standing(order)
        client = self.client_of(order.identity)
        if client is not None:
            client.tell(*messages.order_status(order, standing, self._book.parent_order_id(order), ZERO))

    def error(self, identity: Identity, code: int, text: str) -> None:
        """Tell an error about an order."""
        client = self.client_of(identity)
        if client is not None:
            client.tell_error(identity.order_id, code, text)

    def what_has_changed(self, order: GatewayOrder) -> None:
        """Tell an order again where it stands otherwise than it was told last; a cancel with its error 202."""
        standing, before = self._book.standing(order), self._told.get(order.identity.perm_id)
        if standing == before:
            return
        if standing.status is TwsStatus.CANCELLED:
            self.status(order)
            self.error(order.identity, CANCELLED, f"Order Canceled - reason:{order.detail}")
        else:
            self.order(order)

    def take_as_told(self, order: GatewayOrder) -> None:
        """Let an order count as told: it is new, or was told by another gateway process."""
        self._told[order.identity.perm_id] = self._book.standing(order)

    def what_if(self, client: ConnectedClient, order: GatewayOrder, margins: Margins) -> None:
        """Answer what an order would change."""
        standing = Standing(TwsStatus.PRE_SUBMITTED, int(order.ticket.quantity))
        client.send(*messages.open_order(order, standing, 0, client.server_version, margins))

    def answer_open(self, client: ConnectedClient, order: GatewayOrder) -> None:
        """Tell an order to somebody who asked."""
        for fields in self._both(order, self._book.standing(order), client):
            client.send(*fields)

    def answer_completed(self, client: ConnectedClient, order: GatewayOrder) -> None:
        """Tell an order that is over to somebody who asked."""
        ended_at = order.ended_at or order.made_at
        at = messages.time_text(ended_at, self._settings.execution_times, self._settings.time_zone)
        standing = self._book.standing(order)
        client.send(*messages.completed_order(order, standing, at, client.server_version))

    # Executions

    def execution(self, order: GatewayOrder | None, execution: GatewayExecution, faults: Sequence[Fault] = ()) -> None:
        """Tell an execution and what it made of its order, None where none is known; ``faults`` say how it goes wrong."""
        actions = {fault.action: fault for fault in faults}
        late, late_commission = actions.get("late_execution"), actions.get("late_commission")
        if late is None:
            self._details(execution)
            if "duplicate_execution" in actions:
                self._details(execution)
        else:
            self._later(late, self.unknown_executions, execution, self._details)
        standing = None if order is None else self._when_it_traded(order)
        if order is not None and standing is not None:
            self._tell_standing(order, standing, execution.price, is_billed=False)
        hidden = late_commission or late
        if hidden is not None:
            self._later(hidden, self.unknown_commissions, execution, self._commission)
            return
        if order is not None and standing is not None:
            self._tell_standing(order, standing, execution.price)
        self._commission(execution)
        if "duplicate_execution" in actions:
            self._commission(execution)

    def _when_it_traded(self, order: GatewayOrder) -> Standing:
        """How an order stood when it had traded: what was cancelled since, in the same moment, is told after that."""
        standing = self._book.standing(order)
        return replace(standing, status=TwsStatus.SUBMITTED) if standing.status is TwsStatus.CANCELLED else standing

    def correction(self, execution: GatewayExecution) -> None:
        """Tell that an execution was another one."""
        self._details(execution)
        self._commission(execution)

    def answer_execution(self, client: ConnectedClient, execution: GatewayExecution, request_id: int) -> None:
        """Tell an execution, and its commission, to somebody who asked; nothing of what nobody can know yet."""
        if execution.stem in self.unknown_executions:
            return
        fields = self._details_of(execution, request_id)
        if fields is not None:
            client.send(*fields)
        if execution.stem not in self.unknown_commissions:
            client.send(*messages.commission_report(execution, self._settings.currency))

    def _both(
        self, order: GatewayOrder, standing: Standing, client: ConnectedClient, last_price: Decimal = ZERO
    ) -> tuple[messages.Fields, messages.Fields]:
        parent = self._book.parent_order_id(order)
        return (
            messages.open_order(order, standing, parent, client.server_version),
            messages.order_status(order, standing, parent, last_price),
        )

    def _details(self, execution: GatewayExecution) -> None:
        client, fields = self.client_of(execution.identity), self._details_of(execution, NO_REQUEST)
        if client is not None and fields is not None:
            client.tell(*fields)

    def _details_of(self, execution: GatewayExecution, request_id: int) -> messages.Fields | None:
        instrument = self._instrument_of(execution.symbol)
        if instrument is None:
            return None
        at = messages.time_text(execution.executed_at, self._settings.execution_times, self._settings.time_zone)
        return messages.execution_details(execution, instrument, request_id, at)

    def _commission(self, execution: GatewayExecution) -> None:
        client = self.client_of(execution.identity)
        if client is not None:
            client.tell(*messages.commission_report(execution, self._settings.currency))

    def _later(
        self,
        fault: Fault,
        unknown: set[str],
        execution: GatewayExecution,
        tell: Callable[[GatewayExecution], None],
    ) -> None:
        """Tell after the fault's seconds, and let it be unknown until then; below zero only when it is asked for."""
        if fault.seconds() < 0:
            return
        unknown.add(execution.stem)

        def now() -> None:
            unknown.discard(execution.stem)
            tell(execution)

        asyncio.get_running_loop().call_later(fault.seconds(), now)
