"""The ledger in DuckDB: ``trading.ports.Ledger`` over the tables of ``migrations/``.

The rule: a method that writes is one transaction, and writing the same facts again changes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

from storage.connection import Connection, RepeatedFact
from storage.fact_table import exact
from storage.facts import (
    DECISIONS,
    EQUITY,
    FILLS,
    FINDINGS,
    HALTS,
    ORDER_EVENTS,
    ORDERS,
    POSITIONS,
    RISK_CHECKS,
    SESSION_BARS,
    write_sessions,
)
from storage.order_standing import NOT_SENT, advance, save, standing_of
from storage.reading import fill_of, halt_of, open_order_of, session_of, summary_of, utc
from storage.replay_blocks import write_blocks
from trading.decisions import Halt
from trading.differences import Discrepancy
from trading.errors import StoreError
from trading.orders import Fill, OpenOrder, OrderEvent
from trading.ports import LedgerEntries
from trading.sessions import SessionRecord, SessionState, SessionSummary


class DuckLedger:
    """Implements ``trading.ports.Ledger``. Owned by the thread that trades."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find_session(self, session_id: str) -> SessionRecord | None:
        """The session as it stands, None where there is none."""
        return session_of(self._connection, session_id)

    def open_session(self, record: SessionRecord) -> None:
        """Write a new session, or set one that stopped or was refused to what ``record`` says."""
        with self._connection.transaction():
            write_sessions(self._connection, [record])

    def commit(self, session_id: str, entries: LedgerEntries, last_bar_time: datetime | None = None) -> None:
        """Write all entries in one transaction; with ``last_bar_time`` the bar counts as fully processed.

        Facts that are there already stay as they are, save that a commission that was unknown becomes known. Orders
        take the steps that new events and fills allow. On failure nothing of the entries is left behind.
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
        with self._connection.transaction():
            write_sessions(self._connection, sessions)
            self._insert(sessions[-1].session_id, entries, absorb=False)

    def _write(self, session_id: str, entries: LedgerEntries, last_bar_time: datetime | None, absorb: bool) -> None:
        with self._connection.transaction():
            self._insert(session_id, entries, absorb)
            if last_bar_time is not None:
                self._connection.execute(
                    "UPDATE sessions SET last_bar_time = ? WHERE session_id = ?", [last_bar_time, session_id]
                )

    def _insert(self, session_id: str, entries: LedgerEntries, absorb: bool) -> None:
        connection = self._connection
        SESSION_BARS.write(connection, session_id, entries.bars, absorb)
        DECISIONS.write(connection, session_id, entries.decisions, absorb)
        RISK_CHECKS.write(connection, session_id, entries.risk_checks, absorb)
        self._write_orders(session_id, entries, absorb)
        POSITIONS.write(connection, session_id, entries.positions, absorb)
        points = [(point, None) for point in entries.equity[:-1]] + [
            (point, entries.marks or None) for point in entries.equity[-1:]
        ]
        EQUITY.write(connection, session_id, points, absorb)
        FINDINGS.write(connection, session_id, entries.findings, absorb)
        HALTS.write(connection, session_id, entries.halts, absorb)
        write_blocks(connection, entries.blocks, {} if entries.equity else entries.marks, absorb)

    def _write_orders(self, session_id: str, entries: LedgerEntries, absorb: bool) -> None:
        if not (entries.intents or entries.order_events or entries.fills):
            return
        connection = self._connection
        events, fills = entries.order_events, entries.fills
        if absorb:
            events, fills = self._new_events(events), self._new_fills(fills)
        intents = {intent.client_order_id: intent for intent in entries.intents}
        touched = {event.client_order_id for event in events} | {fill.execution.client_order_id for fill in fills}
        before = standing_of(connection, sorted(touched | intents.keys() if absorb else touched - intents.keys()))
        fresh = {name: intent for name, intent in intents.items() if name not in before}
        after = advance(before | {name: (intent.quantity, NOT_SENT) for name, intent in fresh.items()}, events, fills)
        ORDERS.write(connection, session_id, [(intent, after[name][1]) for name, intent in fresh.items()])
        save(connection, [(name, after[name][1]) for name in before if after[name] != before[name]])
        # A replay commits several sessions at once: the step of an order belongs to the order's.
        owners = {name: intent.session_id for name, intent in intents.items()}
        steps = [ORDER_EVENTS.row(owners.get(event.client_order_id, session_id), event) for event in events]
        ORDER_EVENTS.write_rows(connection, steps)
        if fills:
            [(booked,)] = connection.execute("SELECT coalesce(max(booking), 0) FROM fills").fetchall()
            FILLS.write(connection, session_id, enumerate(fills, booked + 1))

    def _new_events(self, events: Sequence[OrderEvent]) -> list[OrderEvent]:
        known = set(
            self._connection.rows(
                "SELECT client_order_id, event_time, status, detail FROM order_events"
                " WHERE client_order_id IN (SELECT unnest(?))",
                [[event.client_order_id for event in events]],
            )
        )
        named = {(event.client_order_id, event.event_time, str(event.status), event.detail): event for event in events}
        return [event for key, event in named.items() if key not in known]

    def _new_fills(self, fills: Sequence[Fill]) -> list[Fill]:
        known = dict(
            self._connection.rows(
                "SELECT exec_id, commission FROM fills WHERE exec_id IN (SELECT unnest(?))",
                [[fill.execution.exec_id for fill in fills]],
            )
        )
        for fill in fills:
            told = fill.execution.commission
            if told is not None and known.get(fill.execution.exec_id, told) is None:
                self._connection.execute(
                    "UPDATE fills SET commission = ? WHERE exec_id = ?", [exact(told), fill.execution.exec_id]
                )
        named = {fill.execution.exec_id: fill for fill in fills}
        return [fill for exec_id, fill in named.items() if exec_id not in known]

    def close_session(self, session_id: str, state: SessionState, ended_at: datetime, reason: str) -> None:
        """Write the session's end."""
        with self._connection.transaction():
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
                """
                SELECT exec_id, client_order_id, symbol, side, quantity, price, commission, filled_at, session_id,
                    account, source
                FROM fills WHERE account = ? ORDER BY booking
                """,
                [account],
            )
        ]

    def open_orders(self, account: str) -> list[OpenOrder]:
        """The account's orders that are not final, oldest first."""
        return [
            open_order_of(row)
            for row in self._connection.rows(
                """
                SELECT client_order_id, orders.session_id, orders.account, orders.bar_time, orders.symbol, orders.side,
                    orders.quantity, reference_price, orders.created_at, orders.order_type, orders.time_in_force,
                    orders.limit_price, orders.stop_price, parent_id, oca_group, orders.status, orders.filled_quantity
                FROM orders SEMI JOIN open_orders USING (client_order_id)
                WHERE orders.account = ?
                ORDER BY orders.created_at, client_order_id
                """,
                [account],
            )
        ]

    def high_water_mark(self, account: str) -> Decimal | None:
        """The highest equity the account ever had at a bar's close, None before its first bar."""
        [(highest,)] = self._connection.rows(
            "SELECT max(equity) FROM equity SEMI JOIN (FROM sessions WHERE account = ?) USING (session_id)", [account]
        )
        return highest if highest is None else Decimal(highest)

    def last_bar_time(self, account: str) -> datetime | None:
        """The newest bar that any session of the account has fully processed."""
        [(newest,)] = self._connection.rows("SELECT max(last_bar_time) FROM sessions WHERE account = ?", [account])
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

    def active_halts(self, account: str, strategy: str, symbols: Sequence[str], at: datetime) -> list[Halt]:
        """Halts that stand at ``at`` and cover any of these, oldest first.

        A halt that a person made just now also stands for a session of an earlier day that is traded after it.
        """
        scopes = ["all", f"account:{account}", f"strategy:{strategy}", *(f"symbol:{symbol}" for symbol in symbols)]
        return [
            halt_of(row)
            for row in self._connection.rows(
                """
                SELECT scope, reason, halted_at, expires_at FROM halts
                WHERE scope IN (SELECT unnest(?)) AND cleared_at IS NULL AND (expires_at IS NULL OR expires_at > ?)
                ORDER BY halted_at, scope
                """,
                [scopes, at],
            )
        ]

    def record_halt(self, halt: Halt) -> None:
        """Write a halt that a person made, outside of any session. The same halt again changes nothing."""
        with self._connection.transaction():
            HALTS.write(self._connection, "", [halt], absorb=True)

    def clear_halts(self, scope: str, cleared_by: str, at: datetime) -> int:
        """End the halts that stand under exactly this scope; how many there were."""
        with self._connection.transaction():
            return len(
                self._connection.execute(
                    """
                    UPDATE halts SET cleared_at = $at, cleared_by = $by
                    WHERE scope = $scope AND cleared_at IS NULL AND (expires_at IS NULL OR expires_at > $at)
                    RETURNING 1
                    """,
                    {"at": at, "by": cleared_by, "scope": scope},
                ).fetchall()
            )

    def record_reconciliation(
        self, session_id: str, at: datetime, stage: str, discrepancies: Sequence[Discrepancy]
    ) -> None:
        """Write one comparison with the broker and what it found. Each call is a comparison of its own."""
        with self._connection.transaction():
            [(number,)] = self._connection.rows("SELECT coalesce(max(reconciliation_id), 0) + 1 FROM reconciliations")
            self._connection.execute(
                "INSERT INTO reconciliations (reconciliation_id, session_id, reconciled_at, stage, discrepancies)"
                " VALUES (?, ?, ?, ?, ?)",
                [number, session_id, at, stage, len(discrepancies)],
            )
            for place, found in enumerate(discrepancies, 1):
                self._connection.execute(
                    "INSERT INTO discrepancies"
                    " (reconciliation_id, number, session_id, kind, subject, ours, brokers, proposed_repair)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        number,
                        place,
                        session_id,
                        found.kind,
                        found.subject,
                        found.ours,
                        found.brokers,
                        found.proposed_repair,
                    ],
                )

    def summary(self, session_id: str) -> SessionSummary:
        """What the session came to, from the facts alone. Raises ``StoreError`` for a session that is not there."""
        found = summary_of(self._connection, session_id)
        if found is None:
            raise StoreError(f"The database {self._connection.path} has no session {session_id}.")
        return found
