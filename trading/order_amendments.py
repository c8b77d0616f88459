"""Changes of working orders in place.

The rule of orders holds for them too: what is wanted is committed before it is asked for, and what became of it after silence is
asked by the order's id.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from trading.errors import BrokerUnavailable, OrderRefused, OutcomeUnknown
from trading.orders import OpenOrder, OrderAmendment, OrderIntent, OrderStatus
from trading.ports import Broker, LedgerEntries

_log = logging.getLogger(__name__)


class Amendments:
    """Amends the orders of one router. ``open_orders`` are the router's own, by id; ``settle`` and ``may_send`` as there."""

    def __init__(
        self,
        open_orders: dict[str, OpenOrder],
        broker: Broker,
        save: Callable[[LedgerEntries], None],
        settle: Callable[[], None],
        may_send: Callable[[], None],
    ) -> None:
        self._open = open_orders
        self._broker = broker
        self._save = save
        self._settle = settle
        self._may_send = may_send

    def amend(self, wanted: OrderAmendment, amended: OrderIntent) -> OrderAmendment:
        """Save what is wanted of an open order, ask for it, and save what came of it; ``amended`` is the intent it makes.

        Returns it as ACCEPTED, REJECTED, or SUBMITTED while nobody knows.
        """
        order_id = wanted.client_order_id
        self._save(LedgerEntries(amendments=[wanted]))
        order = self._open[order_id] = replace(self._open[order_id], amendments=wanted.number)
        self._may_send()
        status = self._ask(wanted, amended)
        settled = replace(wanted, status=status)
        if status is not OrderStatus.SUBMITTED:
            self._save(LedgerEntries(amendments=[settled]))
        if status is OrderStatus.ACCEPTED:
            self._open[order_id] = replace(order, intent=amended)
        return settled

    def _ask(self, wanted: OrderAmendment, amended: OrderIntent) -> OrderStatus:
        try:
            self._broker.replace(wanted)
        except OrderRefused as error:
            _log.warning("amendment refused client_order_id=%s error=%s", wanted.client_order_id, error)
            return OrderStatus.REJECTED
        except (OutcomeUnknown, BrokerUnavailable) as error:
            _log.warning("amendment not confirmed client_order_id=%s error=%s", wanted.client_order_id, error)
            return self._found(wanted, amended)
        return OrderStatus.ACCEPTED

    def _found(self, wanted: OrderAmendment, amended: OrderIntent) -> OrderStatus:
        """After silence: whether the broker has the order as amended; SUBMITTED where that cannot be told."""
        if wanted.trail_amount is not None or wanted.trail_fraction is not None:
            return OrderStatus.SUBMITTED  # no broker tells an order's trail
        try:
            self._settle()
            found = self._broker.find_order(amended.client_order_id)
        except BrokerUnavailable:
            return OrderStatus.SUBMITTED
        if found is None:
            return OrderStatus.REJECTED
        theirs = (found.quantity, found.limit_price, found.stop_price)
        same = theirs == (amended.quantity, amended.limit_price, amended.stop_price)
        return OrderStatus.ACCEPTED if same else OrderStatus.REJECTED
