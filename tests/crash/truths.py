"""What must hold of the two files, the ledger and the simulated broker's account, at every moment a process can die."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

Rows = Callable[[str], Sequence[tuple[Any, ...]]]
"""Asks the ledger one question."""

_NOT_ONLY_REDUCING = """
    SELECT client_order_id, orders.created_at, orders.side, orders.quantity, coalesce(held, 0)
    FROM orders LEFT JOIN LATERAL (
        SELECT sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END) AS held
        FROM fills WHERE fills.account = orders.account AND fills.symbol = orders.symbol
            AND filled_at < orders.created_at
    ) ON true
    -- The fills that a bar was decided on are booked with it: before that the ledger cannot tell what an order of it does.
    WHERE orders.bar_time <= (SELECT last_bar_time FROM sessions WHERE session_id = orders.session_id)
        AND CASE orders.side WHEN 'BUY' THEN orders.quantity > -coalesce(held, 0)
            ELSE orders.quantity > coalesce(held, 0) END
"""
_ALWAYS = {
    "an order's fills do not add up to its filled quantity": """
        SELECT client_order_id, filled_quantity, coalesce(booked, 0) FROM orders
        LEFT JOIN (SELECT client_order_id, sum(quantity) AS booked FROM fills GROUP BY 1) USING (client_order_id)
        WHERE filled_quantity <> coalesce(booked, 0)
    """,
    "an order is filled beyond what was intended": """
        SELECT client_order_id, quantity, filled_quantity FROM orders WHERE filled_quantity > quantity
    """,
    "an order's status does not fit its fills": """
        SELECT client_order_id, status, quantity, filled_quantity FROM orders
        WHERE (status = 'FILLED') <> (filled_quantity = quantity)
            OR (status IN ('CREATED', 'SUBMITTED', 'ACCEPTED', 'REJECTED') AND filled_quantity > 0)
    """,
    "a fill has no order": "SELECT exec_id FROM fills ANTI JOIN orders USING (client_order_id)",
    "a fill differs from its order in symbol, side, account or session": """
        SELECT exec_id FROM fills JOIN orders USING (client_order_id)
        WHERE (fills.symbol, fills.side, fills.account, fills.session_id)
            <> (orders.symbol, orders.side, orders.account, orders.session_id)
    """,
    "an order event has no order": "SELECT client_order_id FROM order_events ANTI JOIN orders USING (client_order_id)",
    "two orders of one bar and symbol": """
        SELECT session_id, bar_time, symbol, count(*) FROM orders
        -- A stop closes with orders of its own, over and over until nothing is left; that they only reduce is asked below.
        WHERE NOT EXISTS (FROM halts WHERE halts.session_id = orders.session_id AND halted_at <= created_at)
            AND NOT EXISTS (FROM stops WHERE stops.session_id = orders.session_id AND started_at <= created_at)
        GROUP BY 1, 2, 3 HAVING count(*) > 1
    """,
    "cash and market value do not make the equity": """
        SELECT bar_time, cash, market_value, equity FROM equity WHERE cash + market_value <> equity
    """,
    "cash is not what the fills up to the bar have left of it": """
        WITH start AS (SELECT account, starting_equity - starting_realized_pnl AS cash FROM sessions
                       QUALIFY row_number() OVER (PARTITION BY account ORDER BY session_date) = 1)
        SELECT equity.bar_time, equity.cash, start.cash - coalesce(spent, 0)
        FROM equity JOIN sessions USING (session_id) JOIN start USING (account) LEFT JOIN LATERAL (
            SELECT sum(CASE side WHEN 'BUY' THEN quantity * price ELSE -quantity * price END + coalesce(commission, 0))
                AS spent
            FROM fills WHERE fills.account = sessions.account AND filled_at <= equity.bar_time
        ) ON true
        WHERE equity.cash <> start.cash - coalesce(spent, 0)
    """,
    "a bar that is decided and not committed, or committed and not decided": """
        SELECT session_id, bar_time FROM sessions JOIN (
            SELECT session_id, bar_time FROM decisions UNION SELECT session_id, bar_time FROM session_bars
            UNION SELECT session_id, bar_time FROM equity
        ) USING (session_id)
        WHERE last_bar_time IS NULL OR bar_time > last_bar_time
            OR NOT EXISTS (FROM equity WHERE (session_id, bar_time) = (sessions.session_id, bar_time))
    """,
    "a decision without its bar, or a bar without its decision": """
        (SELECT session_id, bar_time, symbol FROM decisions EXCEPT SELECT session_id, bar_time, symbol FROM session_bars)
        UNION ALL
        (SELECT session_id, bar_time, symbol FROM session_bars EXCEPT SELECT session_id, bar_time, symbol FROM decisions)
    """,
    "the last bar of a session has no equity": """
        SELECT session_id, last_bar_time FROM sessions WHERE last_bar_time IS NOT NULL
            AND NOT EXISTS (FROM equity WHERE (session_id, bar_time) = (sessions.session_id, last_bar_time))
    """,
    "an order without a decision on its bar": """
        SELECT client_order_id FROM orders JOIN sessions USING (session_id)
        WHERE bar_time <= last_bar_time
            AND NOT EXISTS (FROM decisions AS d WHERE (d.session_id, d.bar_time, d.symbol)
                = (orders.session_id, orders.bar_time, orders.symbol))
    """,
    "an order that was made while halted and does not only reduce": f"""
        {_NOT_ONLY_REDUCING} AND EXISTS (
            FROM halts WHERE scope IN (
                    'all', 'account:' || orders.account, 'symbol:' || orders.symbol,
                    'strategy:' || (SELECT strategy FROM sessions WHERE session_id = orders.session_id))
                AND orders.created_at > halted_at
                AND (cleared_at IS NULL OR orders.created_at < cleared_at)
                AND (expires_at IS NULL OR orders.created_at < expires_at)
        )
    """,
}


def half_done(rows: Rows) -> Iterator[str]:
    """Rows of the ledger that belong together and are not."""
    for sentence, sql in _ALWAYS.items():
        found = rows(sql)
        if found:
            yield f"{sentence}: {_shown(found)}"


def sent_and_adding(rows: Rows, orders: Iterable[str]) -> Iterator[str]:
    """Those of the orders that add to a position; for orders that were first sent while everything was halted."""
    asked = frozenset(orders)
    found = [row for row in rows(_NOT_ONLY_REDUCING) if row[0] in asked] if asked else []
    if found:
        yield f"orders that were first sent after everything was halted and do not only reduce: {_shown(found)}"


def not_stopped(rows: Rows, account_file: Path) -> Iterator[str]:
    """What is left of an account that was stopped and flattened; nothing when the stop has done its work."""
    if not rows("FROM halts WHERE cleared_at IS NULL"):
        yield "nothing is halted"
    if not rows("FROM stops"):
        yield "no stop was begun"
    if held := rows("SELECT symbol, quantity FROM positions WHERE quantity <> 0"):
        yield f"positions are held after a stop: {_shown(held)}"
    if working := rows("SELECT client_order_id, status FROM open_orders"):
        yield f"orders are open after a stop: {_shown(working)}"
    if unfinished := rows("SELECT stop_id, state, ended_at FROM stops WHERE state <> 'SUCCEEDED' OR ended_at IS NULL"):
        yield f"stops are not shown to be done: {_shown(unfinished)}"
    _, executions = broker_facts(account_file)
    held_there: dict[str, int] = {}
    for _, symbol, side, quantity, *_ in executions.values():
        held_there[symbol] = held_there.get(symbol, 0) + (quantity if side == "BUY" else -quantity)
    if any(held_there.values()):
        yield f"the broker holds {held_there} after a stop"


def beyond_broker(rows: Rows, account_file: Path) -> Iterator[str]:
    """What the ledger and the broker's file can never say of each other, wherever a process died.

    The ledger may lag behind the broker. It never knows more, and the broker never has an order without its intent.
    """
    orders, executions = broker_facts(account_file)
    intents = dict(rows("SELECT client_order_id, quantity FROM orders"))
    if unintended := sorted(orders.keys() - intents.keys()):
        yield f"the broker has orders that the ledger never intended: {_shown(unintended)}"
    numbers = [order[0] for order in orders.values()]
    if len(set(numbers)) != len(numbers):
        yield f"the broker gave one number to two orders: {_shown(sorted(numbers))}"
    for name, (_, _, quantity, filled) in orders.items():
        executed = sum(execution[3] for execution in executions.values() if execution[0] == name)
        if executed != filled:
            yield f"order {name}: the broker says that {filled} are filled and its executions make {executed}"
        if filled > intents.get(name, quantity) or quantity != intents.get(name, quantity):
            yield f"order {name}: {intents.get(name)} intended, the broker has {quantity} and filled {filled}"
    fills = ledger_fills(rows)
    if invented := sorted(fills.keys() - executions.keys()):
        yield f"the ledger has fills that the broker never made: {_shown(invented)}"
    for exec_id in fills.keys() & executions.keys():
        if fills[exec_id] != executions[exec_id]:
            yield f"fill {exec_id}: the ledger has {fills[exec_id]}, the broker {executions[exec_id]}"


def agreement_of(rows: Rows, account_file: Path, before_the_bar: bool = False) -> Iterator[str]:
    """Where ledger and broker differ; nothing when a reconciliation has done its work.

    ``before_the_bar``: a bar that was interrupted is about to come again. The cancels that it asked for are confirmed after
    it, as they were to be: until then it must find the orders as it found them.
    """
    yield from beyond_broker(rows, account_file)
    orders, executions = broker_facts(account_file)
    if missed := sorted(executions.keys() - ledger_fills(rows).keys()):
        yield f"executions that the ledger does not have: {_shown(missed)}"
    over = ("FILLED", "CANCELLED", "REJECTED", "EXPIRED")
    for name, status, filled, to_come in rows(
        """
        SELECT client_order_id, orders.status, filled_quantity,
            sessions.state <> 'COMPLETED' AND (last_bar_time IS NULL OR bar_time > last_bar_time)
        FROM orders JOIN sessions USING (session_id)
        """
    ):
        if name not in orders:
            # Its bar comes again, and with it the same intent.
            if not (status in over or (to_come and status == "CREATED")):
                yield f"order {name} is {status} in the ledger and the broker never had it"
            continue
        _, theirs, _, executed = orders[name]
        if before_the_bar and (status, theirs) == ("CANCEL_PENDING", "CANCELLED"):
            theirs = status
        if filled != executed or ((status in over or theirs in over) and status != theirs):
            yield f"order {name} is {status} with {filled} filled; the broker has {theirs} with {executed}"


def broker_facts(account_file: Path) -> tuple[dict[str, tuple[Any, ...]], dict[str, tuple[Any, ...]]]:
    """Orders (number, status, quantity, filled) and executions by their ids, straight from the account's file."""
    if not account_file.exists():
        return {}, {}
    with contextlib.closing(sqlite3.connect(account_file)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"orders", "executions"} <= tables:
            return {}, {}
        orders = {
            name: tuple(rest)
            for name, *rest in connection.execute(
                "SELECT client_order_id, broker_order_id, status, quantity, filled FROM orders"
            )
        }
        executions = {
            exec_id: (order, symbol, side, quantity, Decimal(price), Decimal(commission), datetime.fromisoformat(at))
            for exec_id, order, symbol, side, quantity, price, commission, at in connection.execute(
                "SELECT exec_id, client_order_id, symbol, side, quantity, price, commission, executed_at FROM executions"
            )
        }
    return orders, executions


def ledger_fills(rows: Rows) -> dict[str, tuple[Any, ...]]:
    """The ledger's fills in the shape of the broker's executions."""
    return {
        exec_id: (order, symbol, side, quantity, price, commission, at.astimezone(UTC))
        for exec_id, order, symbol, side, quantity, price, commission, at in rows(
            "SELECT exec_id, client_order_id, symbol, side, quantity, price, commission, filled_at FROM fills"
        )
    }


def _shown(found: Sequence[Any]) -> str:
    return ", ".join(str(one) for one in found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
