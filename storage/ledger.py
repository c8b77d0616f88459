"""The ledger in DuckDB: ``trading.ports.Ledger`` over the tables of ``migrations/``.

The rule: a method that writes is one transaction, and writing the same facts again changes nothing.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from storage import policy_states, risk_history
from storage.comparisons import write_comparisons
from storage.connection import Connection, RepeatedFact
from storage.facts import (
    DECISIONS,
    EQUITY,
    FINDINGS,
    LIMIT_CHANGES,
    POSITIONS,
    RISK_CHECKS,
    SESSION_BARS,
    STOP_STEPS,
    write_halts,
    write_sessions,
    write_stops,
)
from storage.fill_booking import place_snapshots
from storage.leases import HeldLease
from storage.operator_requests import OperatorRequests
from storage.order_writing import write_orders
from storage.policy_decisions import SHADOW_DECISIONS, decisions_of
from storage.reading import (
    CHANGES_WANTED_COLUMNS,
    EXTERNAL_FILL_COLUMNS,
    FILL_COLUMNS,
    HALT_COLUMNS,
    ORDER_COLUMNS,
    external_fill_of,
    external_order_of,
    fill_of,
    halt_of,
    lock_of,
    open_order_of,
    session_of,
    summary_of,
    utc,
)
from storage.replay_blocks import write_blocks
from storage.restatements import begin_anew
from storage.settling import settle
from trading.decisions import Decision, Halt, PolicyState
from trading.differences import GONE, ExternalFill, ExternalOrder, InstrumentLock
from trading.errors import StoreError
from trading.leases import Lease, Runner
from trading.limit_changes import LimitChange
from trading.operator_requests import OperatorRequest
from trading.orders import Fill, OpenOrder
from trading.ports import LedgerEntries
from trading.sessions import SessionRecord, SessionState, SessionSummary
from trading.stops import Stop, StopStep


class DuckLedger:
    """Implements ``trading.ports.Ledger``. Owned by the thread that trades; another may renew its lease."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lease = HeldLease(connection)
        self._requests = OperatorRequests(connection)

    def find_session(self, session_id: str) -> SessionRecord | None:
        """The session as it stands, None where there is none."""
        return session_of(self._connection, session_id)

    def open_session(self, record: SessionRecord) -> None:
        """Write a new session, or set one that stopped or was refused to what ``record`` says."""
        with self._writing():
            begin_anew(self._connection, record)
            write_sessions(self._connection, [record])

    def commit(self, session_id: str, entries: LedgerEntries, last_bar_time: datetime | None = None) -> None:
        """Write all entries in one transaction; with ``last_bar_time`` the bar counts as fully processed.

        Facts that are there already stay as they are, save that a commission that was unknown becomes known, a fill gives
        way to its correction, and a position is restated by one that includes the same fills. Orders take the steps that
        new events, fills and amendments allow. On failure nothing of the entries is left behind.
        """
        if entries.marks and not (entries.equity or entries.blocks):
            raise ValueError("marks belong to an equity point or a block of the same commit")
        try:
            self._write(session_id, entries, last_bar_time, absorb=False)
        except RepeatedFact:
            self._write(session_id, entries, last_bar_time, absorb=True)

    def commit_replay(self, sessions: Sequence[SessionRecord], entries: LedgerEntries) -> None:
        """Write whole sessions that a replay has finished, with everything that happened in them, in one transaction.

        Findings count to the last of the sessions. Raises ``StoreError`` when any of it is there already.
        """
        with self._writing():
            write_sessions(self._connection, sessions)
            self._insert(sessions[-1].session_id, entries, absorb=False, finished=True)

    def _write(self, session_id: str, entries: LedgerEntries, last_bar_time: datetime | None, absorb: bool) -> None:
        with self._writing():
            self._insert(session_id, entries, absorb)
            if last_bar_time is not None:
                self._connection.execute(
                    "UPDATE sessions SET last_bar_time = ? WHERE session_id = ?", [last_bar_time, session_id]
                )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that begins by showing that the lease, where one was taken, is still held."""
        with self._connection.transaction(self._lease.prove):
            yield

    def _insert(self, session_id: str, entries: LedgerEntries, absorb: bool, finished: bool = False) -> None:
        connection = self._connection
        SESSION_BARS.write(connection, session_id, entries.bars, absorb)
        DECISIONS.write(connection, session_id, entries.decisions, absorb)
        RISK_CHECKS.write(connection, session_id, entries.risk_checks, absorb)
        new_fills = write_orders(connection, session_id, entries, absorb, finished)
        if entries.positions:
            POSITIONS.write(connection, session_id, place_snapshots(connection, entries.positions, new_fills), absorb)
        points = [(point, None) for point in entries.equity[:-1]] + [
            (point, entries.marks or None) for point in entries.equity[-1:]
        ]
        EQUITY.write(connection, session_id, points, absorb)
        FINDINGS.write(connection, session_id, entries.findings, absorb)
        write_halts(connection, session_id, entries.halts, absorb)
        write_stops(connection, entries.stops)
        STOP_STEPS.write(connection, session_id, entries.stop_steps, absorb)
        LIMIT_CHANGES.write(connection, session_id, entries.limit_changes, absorb)
        SHADOW_DECISIONS.write(connection, session_id, entries.shadow_decisions, absorb)
        policy_states.write(connection, session_id, entries.policy_states)
        write_comparisons(connection, entries)
        write_blocks(connection, entries.blocks, {} if entries.equity else entries.marks, absorb)

    def close_session(self, session_id: str, state: SessionState, ended_at: datetime, reason: str) -> None:
        """Write the session's end, with what it booked after its last bar."""
        record = self.find_session(session_id)
        with self._writing():
            settle(self._connection, session_id, None if record is None else self.opening_cash(record.account))
            self._connection.execute(
                "UPDATE sessions SET state = ?, ended_at = ?, reason = ? WHERE session_id = ?",
                [state, ended_at, reason, session_id],
            )

    def opening_cash(self, account: str) -> Decimal | None:
        """The equity with which the account's first session started, None before it.

        Every equity point tells it, because ``equity - realized - unrealized`` never changes; before the first bar
        all sessions still start with it.
        """
        [(cash,)] = self._connection.rows(
            """
            SELECT coalesce(
                (
                    SELECT equity - realized_pnl - unrealized_pnl
                    FROM equity SEMI JOIN (FROM sessions WHERE account = $1) USING (session_id) LIMIT 1
                ),
                (SELECT starting_equity FROM sessions WHERE account = $1 LIMIT 1)
            )
            """,
            [account],
        )
        return cash if cash is None else Decimal(cash)

    def fills(self, account: str) -> list[Fill]:
        """All fills of the account, in the order in which they were booked."""
        return [
            fill_of(row)
            for row in self._connection.rows(
                f"SELECT {FILL_COLUMNS} FROM fills WHERE account = ? ORDER BY booking",
                [account],
            )
        ]

    def open_orders(self, account: str) -> list[OpenOrder]:
        """The account's orders that are not final, oldest first."""
        return [
            open_order_of(row)
            for row in self._connection.rows(
                f"""
                SELECT {ORDER_COLUMNS}, {CHANGES_WANTED_COLUMNS}
                FROM orders SEMI JOIN open_orders USING (client_order_id)
                WHERE orders.account = ? ORDER BY orders.created_at, orders.client_order_id
                """,
                [account],
            )
        ]

    def high_water_mark(self, account: str, since: date | None = None) -> Decimal | None:
        """The highest equity the account ever had at a bar's close, None before its first bar.

        With ``since`` only sessions of that exchange date and later count.
        """
        return risk_history.high_water_mark(self._connection, account, since)

    def equity_since(self, account: str, since: datetime) -> list[tuple[datetime, Decimal]]:
        """Bar times and equities of the account's bars at or after ``since``, in the order in which they were written."""
        return risk_history.equity_since(self._connection, account, since)

    def first_session_of(self, account: str, session_date: date) -> SessionRecord | None:
        """The session of the account that was started first on an exchange date and processed a bar; None without one."""
        return risk_history.first_session_of(self._connection, account, session_date)

    def last_bar_time(self, account: str, after: SessionRecord | None = None) -> datetime | None:
        """The newest bar that any session of the account has fully processed.

        With ``after`` only sessions of later dates count, and those of the same date that were begun later.
        """
        begun = (
            (date.min, datetime.min.replace(tzinfo=UTC)) if after is None else (after.session_date, after.started_at)
        )
        [(newest,)] = self._connection.rows(
            "SELECT max(last_bar_time) FROM sessions WHERE account = ? AND (session_date, started_at) > (?, ?)",
            [account, *begun],
        )
        return newest if newest is None else utc(newest)

    def last_session_date(self, account: str, strategy: str) -> date | None:
        """The newest date the strategy has a session on in this account."""
        [(newest,)] = self._connection.rows(
            "SELECT max(session_date) FROM sessions WHERE account = ? AND strategy = ?", [account, strategy]
        )
        return newest if isinstance(newest, date) else None

    def last_prices(self, account: str) -> Mapping[str, Decimal]:
        """For each symbol the account holds, the price it was last valued at.

        Where it was not valued since its last fill (the process ended in between), that fill's price.
        """
        return dict(
            self._connection.rows(
                """
                WITH held AS (
                    SELECT symbol, arg_max(price, booking) AS fill_price
                    FROM fills WHERE account = $1
                    GROUP BY symbol
                    HAVING sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END) <> 0
                ),
                marked AS (
                    SELECT equity.marks
                    FROM equity JOIN sessions USING (session_id)
                    WHERE sessions.account = $1 AND equity.marks IS NOT NULL
                    ORDER BY equity.rowid DESC LIMIT 1
                )
                SELECT symbol, coalesce((SELECT marks[held.symbol] FROM marked), fill_price) FROM held ORDER BY symbol
                """,
                [account],
            )
        )

    def marks_before(self, account: str, session_date: date) -> Mapping[str, Decimal]:
        """The prices that the account's positions were valued at last in sessions before an exchange date."""
        return risk_history.marks_before(self._connection, account, session_date)

    def active_halts(self, account: str, strategy: str, symbols: Sequence[str], at: datetime) -> list[Halt]:
        """Halts that stand at ``at`` and cover any of these, oldest first.

        A halt that a person made just now also stands for a session of an earlier day that is traded after it.
        """
        scopes = ["all", f"account:{account}", f"strategy:{strategy}", *(f"symbol:{symbol}" for symbol in symbols)]
        return [
            halt_of(row)
            for row in self._connection.rows(
                f"""
                SELECT {HALT_COLUMNS} FROM halts
                WHERE scope IN (SELECT unnest(?)) AND cleared_at IS NULL AND (expires_at IS NULL OR expires_at > ?)
                ORDER BY halted_at, scope, rule
                """,
                [scopes, at],
            )
        ]

    def record_halt(self, halt: Halt) -> None:
        """Write a halt that a person made, outside of any session. One that stands already is not weakened by it."""
        with self._writing():
            write_halts(self._connection, "", [halt], absorb=True)

    def clear_halts(self, scope: str, cleared_by: str, at: datetime) -> int:
        """End the halts that stand under exactly this scope; how many there were.

        A halt whose end has come at ``at`` can still stand in a session of an earlier day that is traded now.
        """
        with self._writing():
            return len(
                self._connection.execute(
                    """
                    UPDATE halts SET cleared_at = $at, cleared_by = $by
                    WHERE scope = $scope AND cleared_at IS NULL AND (
                        expires_at IS NULL
                        OR expires_at > least($at, coalesce((SELECT max(last_bar_time) FROM sessions), $at))
                    )
                    RETURNING 1
                    """,
                    {"at": at, "by": cleared_by, "scope": scope},
                ).fetchall()
            )

    def cancels_since(self, account: str, since: datetime) -> list[datetime]:
        """When cancels of the account's orders were asked for first, at or after ``since``, oldest first."""
        return risk_history.cancels_since(self._connection, account, since)

    def day_trades(self, account: str, since: date, before: date) -> int:
        """Round trips opened and closed on one exchange date, of sessions from ``since`` on and before ``before``.

        Counted per session date, symbol and closing order, as brokers count pattern day trades.
        """
        return risk_history.day_trades(self._connection, account, since, before)

    def unfinished_stops(self, account: str) -> list[Stop]:
        """Emergency stops that were not shown to be done, oldest first."""
        return risk_history.unfinished_stops(self._connection, account)

    def stop_steps(self, stop_id: str) -> list[StopStep]:
        """The steps of a stop, in order."""
        return risk_history.stop_steps(self._connection, stop_id)

    def limit_changes(self, session_id: str) -> list[LimitChange]:
        """Changes of the session's limits that were made (not those refused), oldest first."""
        return risk_history.limit_changes(self._connection, session_id)

    def decisions_of(self, session_id: str) -> list[Decision]:
        """What was decided in the session so far, in the order of its bars."""
        return decisions_of(self._connection, session_id)

    def policy_states(self, session_id: str, fingerprint: str) -> list[PolicyState]:
        """What a policy remembered after the session's last bar, one for each symbol."""
        return policy_states.read(self._connection, session_id, fingerprint)

    def find_orders(self, client_order_ids: Sequence[str]) -> dict[str, OpenOrder]:
        """Those of the orders that the ledger has, wherever they stand, by id; ``intent`` as amended."""
        if not client_order_ids:
            return {}
        found = self._connection.rows(
            f"SELECT {ORDER_COLUMNS} FROM orders WHERE client_order_id IN (SELECT unnest(?))", [list(client_order_ids)]
        )
        return {row[0]: open_order_of(row) for row in found}

    def orders_since(self, account: str, since: datetime) -> list[OpenOrder]:
        """The account's orders made at or after ``since``, wherever they stand, oldest first."""
        found = self._connection.rows(
            f"SELECT {ORDER_COLUMNS} FROM orders WHERE account = ? AND created_at >= ?"
            " ORDER BY created_at, client_order_id",
            [account, since],
        )
        return list(map(open_order_of, found))

    def external_fills(self, account: str) -> list[ExternalFill]:
        """Executions made elsewhere that no one has claimed, in the order in which they were seen."""
        found = self._connection.rows(
            f"SELECT {EXTERNAL_FILL_COLUMNS} FROM external_fills WHERE account = ? AND claimed_at IS NULL"
            " ORDER BY seen_at, filled_at, exec_id",
            [account],
        )
        return list(map(external_fill_of, found))

    def external_orders(self, account: str) -> list[ExternalOrder]:
        """Orders made elsewhere as they were last seen, by the broker's id; those that work no more are left out."""
        found = self._connection.rows(
            "SELECT account, broker_order_id, symbol, side, quantity, filled_quantity, status, seen_at"
            " FROM external_orders WHERE account = ? AND status <> ? ORDER BY broker_order_id",
            [account, GONE],
        )
        return list(map(external_order_of, found))

    def locks(self, account: str) -> list[InstrumentLock]:
        """Instruments that are locked now, oldest lock first."""
        found = self._connection.rows(
            "SELECT account, symbol, locked_at, reason FROM instrument_locks WHERE account = ? AND lifted_at IS NULL"
            " ORDER BY locked_at, symbol",
            [account],
        )
        return list(map(lock_of, found))

    def take_lease(self, session_id: str, runner: Runner, at: datetime) -> Lease:
        """Take the right to trade the session. From then on every write of this ledger is bound to it.

        Raises ``SessionHeld`` while another runner has it: one whose lease has not expired and whose process is not
        surely gone. A write after another runner has taken it raises ``LeaseLost`` and leaves nothing behind.
        """
        return self._lease.take(session_id, runner, at)

    def renew_lease(self, at: datetime) -> None:
        """Show that this runner is still there; raises ``LeaseLost``. May be called from another thread."""
        self._lease.renew(at)

    def release_lease(self) -> None:
        """Give the right back; nothing where it was lost or never taken.

        What is written after that is bound to no lease; after a lost one it goes on to be refused.
        """
        self._lease.release()

    def requests(self) -> list[OperatorRequest]:
        """What operators have asked for and nobody has answered: flags beside the database, then rows, oldest first."""
        return self._requests.unanswered()

    def answer_request(self, request_id: str, answer: Mapping[str, object], at: datetime) -> None:
        """Write what came of a request; the first answer stays. A flag comes down once that is committed."""
        with self._writing():
            self._requests.answer(request_id, answer, at)
        self._requests.put_away(request_id)

    def summary(self, session_id: str) -> SessionSummary:
        """What the session came to, from the facts alone. Raises ``StoreError`` for a session that is not there."""
        found = summary_of(self._connection, session_id)
        if found is None:
            raise StoreError(f"The database {self._connection.path} has no session {session_id}.")
        return found
