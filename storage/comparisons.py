"""What comparisons with the broker found and did, written: their own rows, what was made elsewhere, locks
and balances."""

from collections.abc import Sequence
from datetime import UTC, datetime

from storage.connection import Connection
from storage.fact_table import exact
from storage.facts import ACCOUNT_BALANCES, DISCREPANCIES, EXTERNAL_FILLS, EXTERNAL_ORDERS, RECONCILIATIONS, REPAIRS
from trading.differences import ExternalFill, InstrumentLock, Reconciliation
from trading.orders import CLAIMED, Fill
from trading.ports import LedgerEntries


def write_comparisons(connection: Connection, entries: LedgerEntries) -> None:
    """Write all of it, inside a transaction."""
    # Of an order that was seen twice the later sight counts; one that is there is brought up to date.
    orders = {(order.account, order.broker_order_id): order for order in entries.external_orders}
    EXTERNAL_ORDERS.write(connection, "", orders.values(), absorb=True)
    _write_external_fills(connection, entries.external_fills)
    _mark_claimed(connection, entries.fills)
    for lock in entries.lifted_locks:
        connection.execute(
            "UPDATE instrument_locks SET lifted_at = $at"
            " WHERE account = $account AND symbol = $symbol AND lifted_at IS NULL AND locked_at <= $at",
            {"at": lock.locked_at, "account": lock.account, "symbol": lock.symbol},
        )
    for lock in entries.locks:
        _lock(connection, lock)
    # Of a figure that was told twice at one moment the later word counts.
    read = {(it.account, it.session_id, it.read_at, it.balance.tag, it.balance.currency): it for it in entries.balances}
    ACCOUNT_BALANCES.write(connection, "", read.values(), absorb=True)
    if entries.reconciliations:
        [(newest,)] = connection.rows("SELECT coalesce(max(reconciliation_id), 0) FROM reconciliations")
        for number, reconciliation in enumerate(entries.reconciliations, newest + 1):
            _write_reconciliation(connection, number, reconciliation)


def _write_external_fills(connection: Connection, fills: Sequence[ExternalFill]) -> None:
    """Of each lineage the highest revision stays; what was claimed of it stays claimed."""
    for fill in fills:
        found = connection.execute(
            "SELECT exec_id, revision, commission, claimed_at FROM external_fills WHERE lineage = ? OR exec_id = ?",
            [fill.lineage, fill.exec_id],
        ).fetchall()
        claimed_at = None
        if found:
            [(known, revision, commission, claimed_at)] = found
            if known == fill.exec_id and commission is None and fill.commission is not None:
                connection.execute(
                    "UPDATE external_fills SET commission = ? WHERE exec_id = ?", [exact(fill.commission), known]
                )
            if known == fill.exec_id or revision >= fill.revision:
                continue
            connection.execute("DELETE FROM external_fills WHERE exec_id = ?", [known])
        EXTERNAL_FILLS.write(connection, "", [(fill, claimed_at)])


def _mark_claimed(connection: Connection, fills: Sequence[Fill]) -> None:
    """What a claimed fill was made of is external no more."""
    lineages = [fill.execution.lineage for fill in fills if fill.source == CLAIMED]
    if lineages:
        connection.execute(
            "UPDATE external_fills SET claimed_at = ? WHERE lineage IN (SELECT unnest(?)) AND claimed_at IS NULL",
            [datetime.now(UTC), lineages],
        )


def _lock(connection: Connection, lock: InstrumentLock) -> None:
    """One that stands already stays as it is. One that was lifted in the same moment stands again."""
    connection.execute(
        """
        INSERT INTO instrument_locks (account, symbol, locked_at, reason)
        SELECT $account, $symbol, $at, $reason
        WHERE NOT EXISTS (FROM instrument_locks WHERE account = $account AND symbol = $symbol AND lifted_at IS NULL)
        ON CONFLICT DO UPDATE SET lifted_at = NULL, reason = excluded.reason
        """,
        {"account": lock.account, "symbol": lock.symbol, "at": lock.locked_at, "reason": lock.reason},
    )


def _write_reconciliation(connection: Connection, number: int, it: Reconciliation) -> None:
    """Each comparison is one of its own, also where another was made at the same moment."""
    RECONCILIATIONS.write(connection, it.session_id, [(number, it)])
    remaining = {(found.kind, found.subject) for found in it.remaining}
    DISCREPANCIES.write(
        connection,
        it.session_id,
        [
            (number, place, found, (found.kind, found.subject) in remaining)
            for place, found in enumerate(it.discrepancies, 1)
        ],
    )
    REPAIRS.write(connection, it.session_id, [(number, place, done) for place, done in enumerate(it.repairs, 1)])
