"""The simulated account at rest: one SQLite file per account, apart from the ledger, as a broker's books are.

Written in one transaction per thing that happens, so that a process that dies leaves the account as it was before or
after, never between. It survives a killed process; against a power cut it promises no more than SQLite's WAL does.

One process has an account at a time; others may look at it (``read_only``). Whoever has it holds the lock of a file beside it,
which the operating system takes back when the process is gone, however it went.
"""

import contextlib
import fcntl
import heapq
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Any

from trading.brokers.paper_order import NO_PRICES, ClosingBar, OrderPrices, OrderTerms, PaperOrder
from trading.brokers.paper_schema import SCHEMA_VERSION, bring_up, is_foreign, version_of
from trading.errors import BrokerUnavailable
from trading.orders import Execution, OrderStatus, OrderType, Side, TimeInForce
from trading.ports import OrderReport

A_DAY = timedelta(days=1)
"""Longer than any session; a session of an exchange east of UTC can lie on two dates."""

_News = tuple[int, OrderReport | Execution]
"""News and its place in the order in which all of it was told."""

_AGREED = (
    "client_order_id",
    "broker_order_id",
    "symbol",
    "side",
    "time_in_force",
    "decided_on",
    "order_type",
    "parent_id",
    "oca_group",
)
_CHANGING = (
    "quantity",
    "status",
    "status_at",
    "filled",
    "value",
    "commission",
    "limit_price",
    "stop_price",
    "trail_amount",
    "trail_fraction",
    "works_after",
    "is_triggered",
    "best_price",
    "closing_price",
    "closing_available",
    "amendments",
)
_ORDER_COLUMNS = _AGREED + _CHANGING
_SAVE_ORDER = (
    f"INSERT INTO orders ({', '.join(_ORDER_COLUMNS)}) VALUES ({', '.join('?' * len(_ORDER_COLUMNS))})"
    f" ON CONFLICT (client_order_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CHANGING)}"
)
_EXECUTION_COLUMNS = "exec_id, client_order_id, symbol, side, quantity, price, commission, executed_at"
_SAVE_EXECUTION = f"INSERT INTO executions (sequence, {_EXECUTION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SAVE_REPORT = "INSERT INTO reports (sequence, client_order_id, status, event_time, detail) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """What the file holds: cash it began with, all orders and executions in the order they came.

    ``news`` is what was told last, and all that was told within a day of it, as it was told.
    """

    initial_cash: Decimal
    last_bar_time: datetime | None
    orders: list[PaperOrder]
    executions: list[Execution]
    news: list[OrderReport | Execution]


class PaperFile:
    """One account's file. Raises ``BrokerUnavailable`` when it cannot be read or written, or when another process has it.

    With ``read_only`` it is a look at the account as it is now, also while another process trades it: it has no lock, changes
    nothing and does not follow what happens later.
    """

    def __init__(self, path: Path, account: str, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._account = account
        self._sequence = 0
        self._lock: _Lock | None = None
        try:
            self._connection = self._look() if read_only else self._connect()
        except sqlite3.Error as error:
            raise self._unavailable("opened", error) from error
        try:
            self._refuse_what_is_not_ours()
            if not read_only:
                self._lock = _Lock(path)
                # Another process may have had it until now.
                self._refuse_what_is_not_ours()
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
            bring_up(self._connection)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise self._unavailable("opened", error) from error
        except BrokerUnavailable:
            self.close()
            raise

    def load(self, initial_cash: Decimal) -> StoredAccount:
        """The account; a file without one starts it with ``initial_cash``."""
        connection = self._connection
        try:
            connection.execute(
                "INSERT INTO account (name, initial_cash) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM account)",
                (self._account, str(initial_cash)),
            )
            rows = connection.execute("SELECT name, initial_cash, last_bar_time FROM account").fetchall()
            # The broker numbers orders as they come; rows of version 1 moved when they were written again.
            orders = connection.execute(
                f"SELECT {', '.join(_ORDER_COLUMNS)} FROM orders ORDER BY CAST(substr(broker_order_id, 2) AS INTEGER)"
            ).fetchall()
            executions = connection.execute(
                f"SELECT sequence, {_EXECUTION_COLUMNS} FROM executions ORDER BY sequence"
            ).fetchall()
        except sqlite3.Error as error:
            raise self._unavailable("read", error) from error
        names = [name for name, _, _ in rows]
        if names != [self._account]:
            raise BrokerUnavailable(
                f"The paper account file {self.path} belongs to account {names[0]}, not {self._account}. "
                "Set broker.paper.path to another file, or session.account to that name."
            )
        _, cash, last_bar_time = rows[0]
        history = [(row[0], _execution(row[1:])) for row in executions]
        try:
            news = self._newest_news(history)
        except sqlite3.Error as error:
            raise self._unavailable("read", error) from error
        self._sequence = news[-1][0] if news else 0
        return StoredAccount(
            Decimal(cash),
            None if last_bar_time is None else datetime.fromisoformat(last_bar_time),
            [_order(row) for row in orders],
            [execution for _, execution in history],
            [one for _, one in news],
        )

    def save(
        self,
        orders: Iterable[PaperOrder] = (),
        news: Iterable[OrderReport | Execution] = (),
        last_bar_time: datetime | None = None,
    ) -> None:
        """Write what changed and what is told of it, all or nothing."""
        if self.read_only:
            raise BrokerUnavailable(
                f"The paper account {self.path} was opened to be looked at: nothing can be sent or changed this way."
            )
        connection, sequence = self._connection, self._sequence
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for order in orders:
                    connection.execute(_SAVE_ORDER, _order_row(order))
                for one in news:
                    sequence += 1
                    if isinstance(one, Execution):
                        connection.execute(_SAVE_EXECUTION, _execution_row(sequence, one))
                    else:
                        connection.execute(_SAVE_REPORT, _report_row(sequence, one))
                if last_bar_time is not None:
                    connection.execute("UPDATE account SET last_bar_time = ?", (last_bar_time.isoformat(),))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._unavailable("written", error) from error
        self._sequence = sequence

    def close(self) -> None:
        """Close the file and let others have it; the account stays."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _connect(self) -> sqlite3.Connection:
        # Prefect may run the task that sends on another thread than the one that opened; never two at once.
        return sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)

    def _look(self) -> sqlite3.Connection:
        """A copy of the account in memory: whole as of one moment, and free to be brought up to this version."""
        if not self.path.exists():
            raise BrokerUnavailable(f"There is no paper account {self.path} to look at: it has never been traded.")
        log = self.path.with_name(f"{self.path.name}-wal")
        with contextlib.suppress(sqlite3.Error):  # somebody has begun to write: then there is a log
            if not log.exists():
                # All of it is in the file, and a look must not leave a log beside it.
                copy = self._copy("mode=ro&immutable=1")
                if not log.exists():
                    return copy
                copy.close()
        return self._copy("mode=ro")

    def _copy(self, how: str) -> sqlite3.Connection:
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        original = sqlite3.connect(f"{self.path.absolute().as_uri()}?{how}", uri=True, timeout=5.0)
        try:
            original.backup(copy)
        finally:
            original.close()
        return copy

    def write_copy(self, path: Path) -> None:
        """The account as it was when it was opened, as a file of its own at ``path``, over the one that is there. For a look."""
        for leftover in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            leftover.unlink(missing_ok=True)
        try:
            copy = sqlite3.connect(path, isolation_level=None)
            try:
                self._connection.backup(copy)
            finally:
                copy.close()
        except sqlite3.Error as error:
            raise self._unavailable("copied", error) from error

    def _refuse_what_is_not_ours(self) -> None:
        """A file of something else, or of a newer version, is left exactly as it is."""
        version, tables = version_of(self._connection)
        if is_foreign(version, tables):
            raise BrokerUnavailable(
                f"The file {self.path} is an SQLite database of something else: it has the tables "
                f"{', '.join(sorted(tables)[:5])}. Set broker.paper.path to another file."
            )
        if version > SCHEMA_VERSION:
            raise BrokerUnavailable(
                f"The paper account {self.path} was written by a newer version of openbell (format {version}, this one "
                f"knows {SCHEMA_VERSION}). Update openbell, or set broker.paper.path to another file."
            )

    def _newest_news(self, executions: list[tuple[int, Execution]]) -> list[_News]:
        """From the newest news back to the first that is a day away from it, with its place in the order of telling."""
        rows = self._connection.execute(
            "SELECT sequence, client_order_id, broker_order_id, reports.status, event_time, detail"
            " FROM reports JOIN orders USING (client_order_id) ORDER BY sequence DESC"
        )
        reports: Iterator[_News] = ((row[0], _report(row[1:])) for row in rows)
        found: list[_News] = []
        for sequence, one in heapq.merge(reversed(executions), reports, key=itemgetter(0), reverse=True):
            if found and abs(_moment(one) - _moment(found[0][1])) >= A_DAY:
                break
            found.append((sequence, one))
        return found[::-1]

    def _unavailable(self, what: str, error: Exception) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"The paper account {self.path} cannot be {what}: {error}. Check that its folder exists, is writable and "
            "has room, and that the file is an openbell paper account."
        )


class _Lock:
    """The right to write one account, as the lock of a file beside it. Not of the file itself: closing a second handle of
    that would take SQLite's own locks away."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.lock")
        while True:
            # Not inherited by child processes; closed, and the lock with it, also when nobody says release().
            self._handle = self._path.open("ab")
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._handle.close()
                raise BrokerUnavailable(
                    f"The paper account {path} is in use by another process, or by another part of this one. Wait until its "
                    "session is over, or stop it; to trade beside it name another account (--account)."
                ) from error
            if self._is_still_there():
                return
            self._handle.close()

    def release(self) -> None:
        """Give the right back and leave no file behind."""
        # Still held while it goes: who waits for it finds that it is gone and makes a new one.
        self._path.unlink(missing_ok=True)
        self._handle.close()

    def _is_still_there(self) -> bool:
        """Whether the locked file is the one that others will find: the last owner takes it away when it leaves."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._handle.fileno()))
        except FileNotFoundError:
            return False


def _text(value: object | None) -> str | None:
    return None if value is None else str(value)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _order_row(order: PaperOrder) -> tuple[object, ...]:
    """In the order of ``_ORDER_COLUMNS``."""
    terms, prices, closing = order.terms, order.prices, order.closing
    return (
        terms.client_order_id,
        terms.broker_order_id,
        terms.symbol,
        terms.side,
        terms.time_in_force,
        terms.decided_on.isoformat(),
        terms.order_type,
        terms.parent_id,
        terms.oca_group,
        order.quantity,
        order.status,
        order.status_at.isoformat(),
        order.filled,
        str(order.value),
        str(order.commission),
        _text(prices.limit_price),
        _text(prices.stop_price),
        _text(prices.trail_amount),
        _text(prices.trail_fraction),
        order.works_after.isoformat(),
        order.is_triggered,
        _text(order.best_price),
        None if closing is None else str(closing.price),
        None if closing is None else closing.available,
        order.amendments,
    )


def _order(row: tuple[Any, ...]) -> PaperOrder:
    of = dict(zip(_ORDER_COLUMNS, row, strict=True))
    prices = OrderPrices(
        *(_amount(of[name]) for name in ("limit_price", "stop_price", "trail_amount", "trail_fraction"))
    )
    return PaperOrder(
        OrderTerms(
            of["client_order_id"],
            of["broker_order_id"],
            of["symbol"],
            Side(of["side"]),
            OrderType(of["order_type"]),
            TimeInForce(of["time_in_force"]),
            datetime.fromisoformat(of["decided_on"]),
            of["parent_id"],
            of["oca_group"],
        ),
        of["quantity"],
        OrderStatus(of["status"]),
        datetime.fromisoformat(of["status_at"]),
        datetime.fromisoformat(of["works_after"]),
        NO_PRICES if prices == NO_PRICES else prices,
        of["filled"],
        Decimal(of["value"]),
        Decimal(of["commission"]),
        bool(of["is_triggered"]),
        _amount(of["best_price"]),
        None if of["closing_price"] is None else ClosingBar(Decimal(of["closing_price"]), of["closing_available"]),
        of["amendments"],
    )


def _execution_row(sequence: int, execution: Execution) -> tuple[object, ...]:
    return (
        sequence,
        execution.exec_id,
        execution.client_order_id,
        execution.symbol,
        execution.side,
        execution.quantity,
        str(execution.price),
        str(execution.commission),
        execution.executed_at.isoformat(),
    )


def _execution(row: tuple[Any, ...]) -> Execution:
    exec_id, order_id, symbol, side, quantity, price, commission, executed_at = row
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


def _report_row(sequence: int, report: OrderReport) -> tuple[object, ...]:
    return sequence, report.client_order_id, report.status, report.event_time.isoformat(), report.detail


def _report(row: tuple[Any, ...]) -> OrderReport:
    order_id, broker_id, status, event_time, detail = row
    return OrderReport(order_id, broker_id, OrderStatus(status), datetime.fromisoformat(event_time), detail)


def _moment(news: OrderReport | Execution) -> datetime:
    return news.executed_at if isinstance(news, Execution) else news.event_time
