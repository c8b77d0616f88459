"""Where orders stand after new events and fills: the fold that keeps ``orders`` true to ``order_events`` and ``fills``.

The rule: only a step that ``trading.orders`` knows moves a status. A late or repeated report is recorded by its row in
``order_events`` and changes nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from storage.connection import Connection
from storage.fact_table import COUNT, FEW, TEXT
from storage.facts import Standing
from trading.fill_book import FillChange
from trading.orders import OrderEvent, OrderStatus, status_after, status_with_fills

NOT_SENT = Standing(OrderStatus.CREATED, 0, None)


def standing_of(connection: Connection, client_order_ids: Sequence[str]) -> dict[str, tuple[int, Standing]]:
    """Quantity and standing of each of the orders that the ledger has."""
    if not client_order_ids:
        return {}
    # A key that is one value is looked up in the index; a list of them is joined.
    condition = "= ?" if len(client_order_ids) == 1 else "IN (SELECT unnest(?))"
    known = connection.rows(
        "SELECT client_order_id, quantity, status, filled_quantity, broker_order_id, attempts FROM orders"
        f" WHERE client_order_id {condition}",
        [client_order_ids[0] if len(client_order_ids) == 1 else list(client_order_ids)],
    )
    return {name: (quantity, Standing(OrderStatus(status), *rest)) for name, quantity, status, *rest in known}


def shares_filled(changes: Iterable[FillChange]) -> dict[str, int]:
    """By how many shares each order is filled more (or, after a correction, less) than before."""
    filled: dict[str, int] = {}
    for change in changes:
        for fill, sign in ((change.before, -1), (change.after, 1)):
            if fill is not None:
                name = fill.execution.client_order_id
                filled[name] = filled.get(name, 0) + sign * fill.execution.quantity
    return filled


def advance(
    orders: Mapping[str, tuple[int, Standing]], events: Iterable[OrderEvent], filled: Mapping[str, int]
) -> dict[str, tuple[int, Standing]]:
    """The orders after news of them. News of orders that are not among them is passed over."""
    after = dict(orders)
    for event in events:
        if event.client_order_id in after:
            quantity, standing = after[event.client_order_id]
            after[event.client_order_id] = (
                quantity,
                Standing(
                    status_after(standing.status, event.status),
                    standing.filled,
                    event.broker_order_id or standing.broker_order_id,
                    standing.attempts + (event.status is OrderStatus.SUBMITTED),
                ),
            )
    for name, shares in filled.items():
        if name in after:
            quantity, standing = after[name]
            total = standing.filled + shares
            status = status_with_fills(standing.status, total, quantity)
            after[name] = quantity, replace(standing, status=status, filled=total)
    return after


def save(connection: Connection, standings: Sequence[tuple[str, Standing]]) -> None:
    """Write where these orders stand now."""
    if len(standings) <= FEW:
        for name, standing in standings:
            connection.execute_planned(
                "UPDATE orders SET status = ?, filled_quantity = ?, broker_order_id = ?, attempts = ?"
                " WHERE client_order_id = ?",
                [standing.status, standing.filled, standing.broker_order_id, standing.attempts, name],
            )
        return
    arriving = pa.table(
        {
            "client_order_id": pa.array([name for name, _ in standings], TEXT),
            "status": pa.array([standing.status for _, standing in standings], TEXT),
            "filled_quantity": pa.array([standing.filled for _, standing in standings], COUNT),
            "broker_order_id": pa.array([standing.broker_order_id for _, standing in standings], TEXT),
            "attempts": pa.array([standing.attempts for _, standing in standings], COUNT),
        }
    )
    connection.load(
        arriving,
        "UPDATE orders SET status = arriving.status, filled_quantity = arriving.filled_quantity,"
        " broker_order_id = arriving.broker_order_id, attempts = arriving.attempts"
        " FROM arriving WHERE orders.client_order_id = arriving.client_order_id",
    )
