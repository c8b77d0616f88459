"""A broker that is asked everything and handed nothing: what a session would have sent is written down and stays here.

The rule: no order, change or cancel passes. Questions, and the news of what others do in the account, do.
"""

from datetime import datetime

from trading.errors import BrokerUnavailable, OrderRefused
from trading.orders import Execution, OrderAmendment, OrderIntent
from trading.ports import Acknowledgement, Broker, BrokerAccount, BrokerOrder, OrderReport, Resting

NOT_SENT = "dry run: not sent"
"""What every order of a dry run ends with."""


class DryRun:
    """``broker`` behind a wall. Takes orders one by one, so that each leg of a bracket is refused by itself."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @property
    def source(self) -> str:
        """That of the broker: what it fills was not ordered here, and is real."""
        return self._broker.source

    @property
    def connections(self) -> int:
        """Those of the broker."""
        return self._broker.connections

    @property
    def executions_kept_since(self) -> datetime | None:
        """As the broker has it."""
        return self._broker.executions_kept_since

    def no_new_orders(self, at: datetime) -> str | None:
        """As the broker says where it rests at times; None where it never does."""
        return self._broker.no_new_orders(at) if isinstance(self._broker, Resting) else None

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        """Always raises ``OrderRefused``."""
        del intent
        raise OrderRefused(NOT_SENT)

    def cancel(self, client_order_id: str) -> None:
        """Always raises ``BrokerUnavailable``: the order works on, and nothing else may be believed of it."""
        del client_order_id
        raise BrokerUnavailable(NOT_SENT)

    def replace(self, amendment: OrderAmendment) -> None:
        """Always raises ``OrderRefused``."""
        del amendment
        raise OrderRefused(NOT_SENT)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        """As the broker has it."""
        return self._broker.find_order(client_order_id)

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        """The broker's news."""
        return self._broker.poll()

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        """The broker's."""
        return self._broker.executions(since)

    def account(self) -> BrokerAccount:
        """The broker's."""
        return self._broker.account()
