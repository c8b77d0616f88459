"""The whole book of a gateway as plain values, for those who compare it with another."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trading.rehearsal_gateway.gateway_book import GatewayBook
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.gateway_order import GatewayOrder

if TYPE_CHECKING:
    from trading.rehearsal_gateway.server import RehearsalGateway

Page = dict[str, Any]


def pages_of(gateway: "RehearsalGateway") -> Page:
    """Accounts, orders, executions, messages, clients and faults. Amounts are decimals, moments aware UTC."""
    book = gateway.book
    script = gateway.faults.script
    return {
        "time": gateway.market.now(),
        "accounts": {name: _account(gateway, name) for name in book.accounts},
        "orders": [_order(book, order) for order in book.orders.values()],
        "executions": _executions(book),
        "messages_received": dict(gateway.received),
        "busiest_second": {str(client_id): count for client_id, count in sorted(gateway.busiest_second.items())},
        "clients": sorted(gateway.clients),
        "faults_fired": [{"action": one.action, "at": one.at, "to": one.to} for one in script.fired],
        "faults_waiting": [fault.action for fault in script.waiting],
    }


def _account(gateway: "RehearsalGateway", name: str) -> Page:
    account = gateway.book.accounts[name]
    worth = account.worth(gateway.market.last_price)
    return {
        "initial_cash": account.initial_cash,
        "cash": worth.cash,
        "net_liquidation": worth.equity,
        "realized": worth.realized,
        "positions": {
            held.symbol: {"quantity": held.quantity, "average_cost": held.average_cost}
            for held in account.paper.positions()
        },
    }


def _order(book: GatewayBook, order: GatewayOrder) -> Page:
    standing, ticket = book.standing(order), order.ticket
    return {
        "perm_id": order.identity.perm_id,
        "client_id": order.identity.client_id,
        "order_id": order.identity.order_id,
        "order_ref": ticket.order_ref,
        "account": order.account,
        "symbol": order.instrument.symbol,
        "action": ticket.action,
        "order_type": ticket.order_type,
        "tif": ticket.tif or "DAY",
        "quantity": standing.quantity,
        "filled": standing.filled,
        "average_price": standing.average_price,
        "limit_price": ticket.limit_price,
        "aux_price": ticket.aux_price,
        "parent_perm_id": order.parent,
        "oca_group": ticket.oca_group,
        "status": standing.status,
        "is_over": order.ended_at is not None,
        "made_at": order.made_at,
        "detail": order.detail,
        "amendments": order.amendments,
    }


def _executions(book: GatewayBook) -> list[Page]:
    stand = [{**_execution(one), "is_replaced": False} for one in book.executions()]
    replaced = [
        {**_execution(one), "is_replaced": True} for account in book.accounts.values() for one in account.replaced
    ]
    return [*stand, *replaced]


def _execution(one: GatewayExecution) -> Mapping[str, Any]:
    return {
        "exec_id": one.exec_id,
        "perm_id": one.identity.perm_id,
        "client_id": one.identity.client_id,
        "order_id": one.identity.order_id,
        "order_ref": one.order_ref,
        "account": one.account,
        "symbol": one.symbol,
        "side": one.side,
        "quantity": one.quantity,
        "price": one.price,
        "commission": one.commission,
        "realized": one.realized,
        "executed_at": one.executed_at,
    }
