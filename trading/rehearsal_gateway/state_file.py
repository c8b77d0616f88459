"""The gateway's state at rest: one SQLite file that outlives the client, and the gateway itself.

One transaction per thing that happens. Orders and executions are documents under their numbers; nobody asks the file anything
but to be read whole at the start.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading.brokers.paper_order import PaperOrder
from trading.errors import StoreBusy, StoreError
from trading.rehearsal_gateway.documents import (
    booked_from,
    booked_to,
    execution_from,
    execution_to,
    order_from,
    order_to,
)
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.gateway_order import GatewayOrder

_VERSION = 1
_TABLES = """
CREATE TABLE accounts (name TEXT PRIMARY KEY, initial_cash TEXT NOT NULL);
CREATE TABLE orders (perm_id INTEGER PRIMARY KEY, account TEXT NOT NULL, document TEXT NOT NULL, booked TEXT);
CREATE TABLE executions (
    sequence INTEGER PRIMARY KEY,
    exec_id TEXT NOT NULL UNIQUE,
    stem TEXT NOT NULL,
    document TEXT NOT NULL
);
CREATE TABLE numbers (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_SAVE_ORDER = (
    "INSERT INTO orders VALUES (?, ?, ?, ?) "
    "ON CONFLICT (perm_id) DO UPDATE SET document = excluded.document, booked = excluded.booked"
)
_SAVE_EXECUTION = (
    "INSERT INTO executions (exec_id, stem, document) VALUES (?, ?, ?) "
    "ON CONFLICT (exec_id) DO UPDATE SET document = excluded.document"
)
_SAVE_NUMBER = "INSERT INTO numbers VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


@dataclass(frozen=True, slots=True)
class Counters:
    """The newest number given of each kind; ``closed_on`` is the ordinal of the last exchange date that was closed."""

    perm_ids: int = 0
    executions: int = 0
    order_ids: int = 0
    closed_on: int = 0


@dataclass(frozen=True, slots=True)
class StoredState:
    """What the file holds. ``booked`` are orders of the accounts' books, each with its account."""

    cash: dict[str, Decimal]
    counters: Counters
    orders: list[GatewayOrder]
    booked: list[tuple[str, PaperOrder]]
    executions: list[GatewayExecution]
    replaced: list[GatewayExecution]
    last_bar_time: datetime | None


class StateFile:
    """Raises ``StoreError`` where the file cannot be opened or written or is none of ours, ``StoreBusy`` where another
    gateway has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=1)
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == 0 and not tables:
                self._connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise StoreError(f"{path} is not the state of a rehearsal gateway of this version. Name another file.")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise StoreBusy(f"Another gateway has {path}. Stop it, or name another file.") from error
            raise self._failed("opened", error) from error
        except sqlite3.Error as error:
            raise self._failed("opened", error) from error

    def load(self, accounts: Mapping[str, Decimal]) -> StoredState:
        """All that the file holds; ``accounts`` that it does not know begin with their cash now."""
        ask = self._connection.execute
        for name, cash in accounts.items():
            ask("INSERT INTO accounts VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, str(cash)))
        cash_of = {name: Decimal(cash) for name, cash in ask("SELECT name, initial_cash FROM accounts ORDER BY rowid")}
        numbers = dict(ask("SELECT name, value FROM numbers"))
        last_bar_time = numbers.pop("last_bar_time", None)
        rows = ask("SELECT account, document, booked FROM orders ORDER BY perm_id").fetchall()
        newest: dict[str, GatewayExecution] = {}
        replaced = []
        for (document,) in ask("SELECT document FROM executions ORDER BY sequence"):
            execution = execution_from(json.loads(document))
            if execution.stem in newest:
                replaced.append(newest[execution.stem])
            newest[execution.stem] = execution
        return StoredState(
            cash_of,
            Counters(**{name: int(value) for name, value in numbers.items()}),
            [order_from(json.loads(document)) for _, document, _ in rows],
            [(account, booked_from(json.loads(booked))) for account, _, booked in rows if booked is not None],
            list(newest.values()),
            replaced,
            None if last_bar_time is None else datetime.fromisoformat(last_bar_time),
        )

    def save(
        self,
        orders: Sequence[tuple[GatewayOrder, PaperOrder | None]],
        executions: Iterable[GatewayExecution],
        counters: Counters,
        last_bar_time: datetime | None,
    ) -> None:
        """Write all of this or nothing."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for order, booked in orders:
                    self._connection.execute(_SAVE_ORDER, _row(order, booked))
                for execution in executions:
                    document = json.dumps(execution_to(execution))
                    self._connection.execute(_SAVE_EXECUTION, (execution.exec_id, execution.stem, document))
                numbers: dict[str, Any] = asdict(counters)
                if last_bar_time is not None:
                    numbers["last_bar_time"] = last_bar_time.isoformat()
                self._connection.executemany(_SAVE_NUMBER, [(name, str(value)) for name, value in numbers.items()])
                self._connection.execute("COMMIT")
            except BaseException:  # whatever it was: all of it is kept or nothing
                self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._failed("written", error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _failed(self, what: str, error: sqlite3.Error) -> StoreError:
        return StoreError(f"The gateway's state {self._path} could not be {what}: {error}. Name a file that can be.")


def _row(order: GatewayOrder, booked: PaperOrder | None) -> tuple[int, str, str, str | None]:
    document = json.dumps(order_to(order))
    return order.identity.perm_id, order.account, document, None if booked is None else json.dumps(booked_to(booked))
