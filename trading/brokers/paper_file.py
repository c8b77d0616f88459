"""The simulated account at rest: one SQLite file per account, apart from the ledger, as a broker's books are.

Written in one transaction per thing that happens, so that a process that dies leaves the account as it was before or
after, never between. It survives a killed process; against a power cut it promises no more than SQLite's WAL does.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from trading.brokers.paper_account import PaperOrder
from trading.errors import BrokerUnavailable
from trading.orders import Execution, OrderStatus, Side, TimeInForce

_SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    initial_cash TEXT NOT NULL,
    last_bar_time TEXT
);
CREATE TABLE orders (
    client_order_id TEXT PRIMARY KEY,
    broker_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    time_in_force TEXT NOT NULL,
    decided_on TEXT NOT NULL,
    status TEXT NOT NULL,
    status_at TEXT NOT NULL,
    filled INTEGER NOT NULL,
    value TEXT NOT NULL,
    commission TEXT NOT NULL
);
CREATE TABLE executions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    exec_id TEXT NOT NULL UNIQUE,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price TEXT NOT NULL,
    commission TEXT NOT NULL,
    executed_at TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """What the file holds: cash it began with, all orders and executions in the order they came."""

    initial_cash: Decimal
    last_bar_time: datetime | None
    orders: list[PaperOrder]
    executions: list[Execution]


class PaperFile:
    """One account's file. Raises ``BrokerUnavailable`` when it cannot be read or written."""

    def __init__(self, path: Path, account: str) -> None:
        self.path = path
        self._account = account
        try:
            # Prefect may run the task that sends on another thread than the one that opened; never two at once.
            self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._unavailable("opened", error) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise self._unavailable("opened", error) from error
        except BrokerUnavailable:
            self.close()
            raise

    def _prepare(self) -> None:
        """Make an empty file an account's; a file of something else is left exactly as it is."""
        connection = self._connection
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not (version and {"account", "orders", "executions"} <= tables):
            raise BrokerUnavailable(
                f"The file {self.path} is an SQLite database of something else: it has the tables "
                f"{', '.join(sorted(tables)[:5])}. Set broker.paper.path to another file."
            )
        if version > _SCHEMA_VERSION:
            raise BrokerUnavailable(
                f"The paper account {self.path} was written by a newer version of openbell (format {version}, this one "
                f"knows {_SCHEMA_VERSION}). Update openbell, or set broker.paper.path to another file."
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")

    def load(self, initial_cash: Decimal) -> StoredAccount:
        """The account; a file without one starts it with ``initial_cash``."""
        try:
            self._connection.execute(
                "INSERT INTO account (name, initial_cash) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM account)",
                (self._account, str(initial_cash)),
            )
            rows = self._connection.execute("SELECT name, initial_cash, last_bar_time FROM account").fetchall()
            orders = self._connection.execute("SELECT * FROM orders ORDER BY rowid").fetchall()
            executions = self._connection.execute("SELECT * FROM executions ORDER BY sequence").fetchall()
        except sqlite3.Error as error:
            raise self._unavailable("read", error) from error
        names = [name for name, _, _ in rows]
        if names != [self._account]:
            raise BrokerUnavailable(
                f"The paper account file {self.path} belongs to account {names[0]}, not {self._account}. "
                "Set broker.paper.path to another file, or session.account to that name."
            )
        _, cash, last_bar_time = rows[0]
        return StoredAccount(
            Decimal(cash),
            None if last_bar_time is None else datetime.fromisoformat(last_bar_time),
            [_order(row) for row in orders],
            [_execution(row) for row in executions],
        )

    def save(
        self,
        orders: Iterable[PaperOrder] = (),
        executions: Iterable[Execution] = (),
        last_bar_time: datetime | None = None,
    ) -> None:
        """Write what changed, all or nothing."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(
                    "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [_order_row(order) for order in orders],
                )
                connection.executemany(
                    "INSERT INTO executions (exec_id, client_order_id, symbol, side, quantity, price, commission,"
                    " executed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [_execution_row(execution) for execution in executions],
                )
                if last_bar_time is not None:
                    connection.execute("UPDATE account SET last_bar_time = ?", (last_bar_time.isoformat(),))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._unavailable("written", error) from error

    def close(self) -> None:
        """Close the file; the account stays."""
        self._connection.close()

    def _unavailable(self, what: str, error: sqlite3.Error) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"The paper account {self.path} cannot be {what}: {error}. Check that its folder exists, is writable and "
            "has room, and that the file is an openbell paper account."
        )


def _order_row(order: PaperOrder) -> tuple[object, ...]:
    return (
        order.client_order_id,
        order.broker_order_id,
        order.symbol,
        order.side,
        order.quantity,
        order.time_in_force,
        order.decided_on.isoformat(),
        order.status,
        order.status_at.isoformat(),
        order.filled,
        str(order.value),
        str(order.commission),
    )


def _order(row: tuple[str, str, str, str, int, str, str, str, str, int, str, str]) -> PaperOrder:
    order_id, broker_id, symbol, side, quantity, tif, decided_on, status, status_at, filled, value, commission = row
    return PaperOrder(
        order_id,
        broker_id,
        symbol,
        Side(side),
        quantity,
        TimeInForce(tif),
        datetime.fromisoformat(decided_on),
        OrderStatus(status),
        datetime.fromisoformat(status_at),
        filled,
        Decimal(value),
        Decimal(commission),
    )


def _execution_row(execution: Execution) -> tuple[object, ...]:
    return (
        execution.exec_id,
        execution.client_order_id,
        execution.symbol,
        execution.side,
        execution.quantity,
        str(execution.price),
        str(execution.commission),
        execution.executed_at.isoformat(),
    )


def _execution(row: tuple[int, str, str, str, str, int, str, str, str]) -> Execution:
    _, exec_id, order_id, symbol, side, quantity, price, commission, executed_at = row
    return Execution(
        exec_id,
        order_id,
        symbol,
        Side(side),
        quantity,
        Decimal(price),
        Decimal(commission),
        datetime.fromisoformat(executed_at),
    )
