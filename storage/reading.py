"""Rows back into values: Decimal money, words, aware UTC times."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from storage.connection import Connection
from trading.decisions import Halt
from trading.differences import ExternalFill, ExternalOrder, InstrumentLock
from trading.limit_changes import LimitChange
from trading.orders import (
    Execution,
    Fill,
    OpenOrder,
    OrderAmendment,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from trading.sessions import Mode, SessionRecord, SessionState, SessionSummary
from trading.stops import Stop, StopAction, StopState, StopStep

Row = tuple[Any, ...]


def utc(moment: datetime) -> datetime:
    """A time as DuckDB gives it, in the standard library's UTC."""
    return moment.astimezone(UTC)


def utc_or_none(moment: datetime | None) -> datetime | None:
    """``utc``, where there is a time."""
    return None if moment is None else moment.astimezone(UTC)


FILL_COLUMNS = """
    exec_id, client_order_id, symbol, side, quantity, price, commission, filled_at, lineage, revision, session_id, account,
    source
"""


def fill_of(row: Sequence[Any]) -> Fill:
    """Columns: ``FILL_COLUMNS``."""
    exec_id, order_id, symbol, side, quantity, price, commission, filled_at, lineage, revision, *whose = row
    return Fill(
        Execution(
            exec_id, order_id, symbol, Side(side), quantity, price, commission, utc(filled_at), lineage, revision
        ),
        *whose,
    )


ORDER_COLUMNS = """
    orders.client_order_id, orders.session_id, orders.account, orders.bar_time, orders.symbol, orders.side, orders.quantity,
    orders.reference_price, orders.created_at, orders.order_type, orders.time_in_force, orders.limit_price,
    orders.stop_price, orders.parent_id, orders.oca_group, orders.trail_amount, orders.trail_fraction, orders.status,
    orders.filled_quantity, orders.attempts
"""


CHANGES_WANTED_COLUMNS = """
    (SELECT count(*) FROM order_amendments WHERE order_amendments.client_order_id = orders.client_order_id),
    (
        SELECT min(event_time) FROM order_events
        WHERE order_events.client_order_id = orders.client_order_id AND status = 'CANCEL_PENDING'
    )
"""


def open_order_of(row: Row) -> OpenOrder:
    """Columns: ``ORDER_COLUMNS``, and ``CHANGES_WANTED_COLUMNS`` where somebody wants to know them."""
    name, session_id, account, bar_time, symbol, side, quantity, reference, created, kind, tif, *prices = row[:17]
    status, filled, attempts = row[17:20]
    amendments, cancel_asked_at = row[20:] or (0, None)
    return OpenOrder(
        OrderIntent(
            name,
            session_id,
            account,
            utc(bar_time),
            symbol,
            Side(side),
            quantity,
            reference,
            utc(created),
            OrderType(kind),
            TimeInForce(tif),
            *prices,
        ),
        OrderStatus(status),
        filled,
        attempts,
        amendments,
        utc_or_none(cancel_asked_at),
    )


def amendment_of(row: Row) -> OrderAmendment:
    """Columns: an amendment's fields in their order."""
    client_order_id, number, amended_at, status, *changes = row
    return OrderAmendment(client_order_id, number, utc(amended_at), OrderStatus(status), *changes)


EXTERNAL_FILL_COLUMNS = """
    account, exec_id, broker_order_id, symbol, side, quantity, price, commission, filled_at, lineage, revision, seen_at
"""


def external_fill_of(row: Row) -> ExternalFill:
    """Columns: ``EXTERNAL_FILL_COLUMNS``."""
    account, exec_id, order_id, symbol, side, quantity, price, commission, filled_at, lineage, revision, seen_at = row
    return ExternalFill(
        account,
        exec_id,
        order_id,
        symbol,
        Side(side),
        quantity,
        price,
        commission,
        utc(filled_at),
        lineage,
        revision,
        utc(seen_at),
    )


def external_order_of(row: Row) -> ExternalOrder:
    """Columns: an external order's fields in their order."""
    account, broker_order_id, symbol, side, quantity, filled, status, seen_at = row
    return ExternalOrder(account, broker_order_id, symbol, Side(side), quantity, filled, status, utc(seen_at))


def lock_of(row: Row) -> InstrumentLock:
    """Columns: a lock's fields in their order."""
    account, symbol, locked_at, reason = row
    return InstrumentLock(account, symbol, utc(locked_at), reason)


HALT_COLUMNS = "scope, reason, halted_at, expires_at, rule"


def halt_of(row: Row) -> Halt:
    """Columns: ``HALT_COLUMNS``."""
    scope, reason, halted_at, expires_at, rule = row
    return Halt(scope, reason, utc(halted_at), utc_or_none(expires_at), rule=rule)


STOP_COLUMNS = "stop_id, account, session_id, scope, reason, flatten, asked_by, started_at, state, ended_at"


def stop_of(row: Row) -> Stop:
    """Columns: ``STOP_COLUMNS``."""
    stop_id, account, session_id, scope, reason, flatten, asked_by, started_at, state, ended_at = row
    return Stop(
        stop_id,
        account,
        session_id,
        scope,
        reason,
        flatten,
        asked_by,
        utc(started_at),
        StopState(state),
        utc_or_none(ended_at),
    )


STOP_STEP_COLUMNS = "stop_id, number, taken_at, action, succeeded, detail"


def stop_step_of(row: Row) -> StopStep:
    """Columns: ``STOP_STEP_COLUMNS``."""
    stop_id, number, taken_at, action, succeeded, detail = row
    return StopStep(stop_id, number, utc(taken_at), StopAction(action), succeeded, detail)


LIMIT_CHANGE_COLUMNS = "change_id, session_id, changed_at, changed_by, name, old_value, new_value, refusal"


def limit_change_of(row: Row) -> LimitChange:
    """Columns: ``LIMIT_CHANGE_COLUMNS``."""
    change_id, session_id, changed_at, *words = row
    return LimitChange(change_id, session_id, utc(changed_at), *words)


SESSION_COLUMNS = """
    session_id, strategy, account, session_date, mode, state, started_at, settings, policy_fingerprint, starting_equity,
    starting_realized_pnl, ended_at, last_bar_time, only_reduces
"""


def session_of(connection: Connection, session_id: str) -> SessionRecord | None:
    """The session's row."""
    found = connection.rows(f"SELECT {SESSION_COLUMNS} FROM sessions WHERE session_id = ?", [session_id])
    return session_record_of(found[0]) if found else None


def session_record_of(row: Row) -> SessionRecord:
    """Columns: ``SESSION_COLUMNS``."""
    (
        name,
        strategy,
        account,
        day,
        mode,
        state,
        started,
        settings,
        policy,
        equity,
        realized,
        ended,
        last_bar,
        only_reduces,
    ) = row
    return SessionRecord(
        name,
        strategy,
        account,
        day,
        Mode(mode),
        SessionState(state),
        utc(started),
        settings,
        policy,
        equity,
        realized,
        utc_or_none(ended),
        utc_or_none(last_bar),
        only_reduces,
    )


def summary_of(connection: Connection, session_id: str) -> SessionSummary | None:
    """What the facts say of the session.

    ``bars`` counts the moments that have an equity point. ``discrepancies`` counts what differed, not how often it
    was seen.
    """
    found = connection.rows(
        """
        SELECT
            session_id, session_date, mode, state,
            (SELECT count(*) FROM equity WHERE session_id = $1),
            (SELECT count(*) FROM decisions WHERE session_id = $1),
            (SELECT count(*) FROM orders WHERE session_id = $1),
            fills, realized_pnl, coalesce(unrealized_pnl, 0), commissions, ending_equity,
            EXISTS (FROM halts WHERE session_id = $1)
            OR EXISTS (FROM risk_checks WHERE session_id = $1 AND verdict = 'HALTED'),
            (SELECT count(DISTINCT (kind, subject)) FROM discrepancies WHERE session_id = $1),
            sessions.reason
        FROM daily_pnl JOIN sessions USING (session_id, session_date, mode, state)
        WHERE session_id = $1
        """,
        [session_id],
    )
    if not found:
        return None
    name, day, mode, state, bars, decisions, orders, fills, realized, unrealized, fees, equity, halted, odd, why = (
        found[0]
    )
    return SessionSummary(
        name,
        day,
        Mode(mode),
        SessionState(state),
        bars,
        decisions,
        orders,
        fills,
        realized,
        unrealized,
        fees,
        equity,
        halted,
        odd,
        str(connection.path),
        why,
        _notes_of(connection, session_id),
    )


def _notes_of(connection: Connection, session_id: str) -> tuple[str, ...]:
    """What a person should know of the session besides its figures: halts that people set, stops, alarms, what its figures
    were before they were restated, and what they still wait for.
    """
    found = connection.rows(
        """
        SELECT
            'halted ' || scope || ': ' || reason
            || CASE WHEN cleared_at IS NULL THEN '' ELSE ' (cleared by ' || coalesce(cleared_by, 'somebody') || ')' END AS note,
            halted_at AS moment
        FROM halts WHERE session_id = $1 AND rule = 'operator'
        UNION ALL
        SELECT 'stop of ' || scope || ' by ' || asked_by || ': ' || state, started_at
        FROM stops WHERE session_id = $1
        UNION ALL
        SELECT 'alarm: ' || reason, bar_time
        FROM risk_checks WHERE session_id = $1 AND verdict = 'ALARM'
        UNION ALL
        SELECT
            'restated after it was closed (' || string_agg(DISTINCT what, ', ' ORDER BY what) || '): realized P&L was '
            || printf('%.2f', arg_min(realized_pnl_before, number)) || ' and is ' || printf('%.2f', arg_max(realized_pnl_after, number))
            || ', commissions were ' || printf('%.2f', arg_min(commissions_before, number)) || ' and are '
            || printf('%.2f', arg_max(commissions_after, number)),
            max(restated_at)
        FROM restatements
        WHERE session_id = $1 AND what <> 'after the last bar' AND (
            fill_session_id = session_id OR ending_equity_change <> 0 OR realized_pnl_before <> realized_pnl_after
        )
        HAVING count(*) > 0
        UNION ALL
        SELECT count(*) || if(count(*) = 1, ' fill has', ' fills have') || ' no commission yet: it counts 0 until the broker tells it', 'infinity'
        FROM fills WHERE session_id = $1 AND commission IS NULL
        HAVING count(*) > 0
        ORDER BY moment, note
        """,
        [session_id],
    )
    return tuple(note for note, _ in found)
