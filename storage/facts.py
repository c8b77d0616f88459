"""Which kind of fact goes to which table, and which value of it to which column."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import pyarrow as pa

from storage.columns import MOMENT, MONEY
from storage.connection import Connection
from storage.fact_table import COUNT, FLAG, LARGE_MONEY, MARKS, NUMBER, TEXT, FactTable, exact, exact_or_none
from trading.account_balances import BalanceReading
from trading.bars import Bar
from trading.decisions import DataFinding, Decision, EquityPoint, Halt, PositionSnapshot, RiskCheck
from trading.differences import Discrepancy, ExternalFill, ExternalOrder, Reconciliation, Repair
from trading.limit_changes import LimitChange
from trading.orders import Fill, OrderAmendment, OrderEvent, OrderIntent, OrderStatus
from trading.sessions import SessionRecord
from trading.stops import Stop, StopStep

SESSION_BARS: FactTable[Bar] = FactTable(
    "session_bars",
    {
        "session_id": TEXT,
        "bar_time": MOMENT,
        "symbol": TEXT,
        "open": MONEY,
        "high": MONEY,
        "low": MONEY,
        "close": MONEY,
        "volume": COUNT,
    },
    lambda session_id, it: (
        session_id,
        it.bar_time,
        it.symbol,
        exact(it.open),
        exact(it.high),
        exact(it.low),
        exact(it.close),
        it.volume,
    ),
)

DECISIONS: FactTable[Decision] = FactTable(
    "decisions",
    {
        "session_id": TEXT,
        "bar_time": MOMENT,
        "symbol": TEXT,
        "action": TEXT,
        "target_quantity": COUNT,
        "confidence": NUMBER,
        "latency_ms": NUMBER,
        "error": TEXT,
        "note": TEXT,
        "target_weight": NUMBER,
    },
    lambda _, it: (
        it.session_id,
        it.bar_time,
        it.symbol,
        it.action,
        it.target_quantity,
        it.confidence,
        it.latency_ms,
        it.error,
        it.note,
        it.target_weight,
    ),
)

RISK_CHECKS: FactTable[RiskCheck] = FactTable(
    "risk_checks",
    {
        "session_id": TEXT,
        "bar_time": MOMENT,
        "symbol": TEXT,
        "client_order_id": TEXT,
        "rule": TEXT,
        "verdict": TEXT,
        "reason": TEXT,
        "observed": LARGE_MONEY,
        "limit_value": LARGE_MONEY,
    },
    lambda _, it: (
        it.session_id,
        it.bar_time,
        it.symbol,
        it.client_order_id,
        it.rule,
        it.verdict,
        it.reason,
        exact_or_none(it.observed),
        exact_or_none(it.limit_value),
    ),
    identity=("session_id", "bar_time", "rule", "verdict", "symbol", "client_order_id"),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stands: what events and fills have made of an intent."""

    status: OrderStatus
    filled: int
    broker_order_id: str | None
    attempts: int = 0


ORDERS: FactTable[tuple[OrderIntent, Standing]] = FactTable(
    "orders",
    {
        "client_order_id": TEXT,
        "session_id": TEXT,
        "account": TEXT,
        "bar_time": MOMENT,
        "symbol": TEXT,
        "side": TEXT,
        "quantity": COUNT,
        "order_type": TEXT,
        "limit_price": MONEY,
        "stop_price": MONEY,
        "trail_amount": MONEY,
        "trail_fraction": MONEY,
        "time_in_force": TEXT,
        "parent_id": TEXT,
        "oca_group": TEXT,
        "reference_price": MONEY,
        "created_at": MOMENT,
        "status": TEXT,
        "attempts": COUNT,
        "filled_quantity": COUNT,
        "broker_order_id": TEXT,
    },
    lambda _, it: (
        it[0].client_order_id,
        it[0].session_id,
        it[0].account,
        it[0].bar_time,
        it[0].symbol,
        it[0].side,
        it[0].quantity,
        it[0].order_type,
        exact_or_none(it[0].limit_price),
        exact_or_none(it[0].stop_price),
        exact_or_none(it[0].trail_amount),
        exact_or_none(it[0].trail_fraction),
        it[0].time_in_force,
        it[0].parent_id,
        it[0].oca_group,
        exact(it[0].reference_price),
        it[0].created_at,
        it[1].status,
        it[1].attempts,
        it[1].filled,
        it[1].broker_order_id,
    ),
)

ORDER_EVENTS: FactTable[OrderEvent] = FactTable(
    "order_events",
    {
        "client_order_id": TEXT,
        "event_time": MOMENT,
        "status": TEXT,
        "detail": TEXT,
        "session_id": TEXT,
        "broker_order_id": TEXT,
    },
    lambda session_id, it: (
        it.client_order_id,
        it.event_time,
        it.status,
        it.detail,
        session_id,
        it.broker_order_id,
    ),
)

FILLS: FactTable[tuple[int, Fill]] = FactTable(
    "fills",
    {
        "exec_id": TEXT,
        "booking": COUNT,
        "lineage": TEXT,
        "revision": COUNT,
        "client_order_id": TEXT,
        "session_id": TEXT,
        "account": TEXT,
        "symbol": TEXT,
        "side": TEXT,
        "quantity": COUNT,
        "price": MONEY,
        "commission": MONEY,
        "filled_at": MOMENT,
        "source": TEXT,
    },
    lambda _, it: (
        it[1].execution.exec_id,
        it[0],
        it[1].execution.lineage,
        it[1].execution.revision,
        it[1].execution.client_order_id,
        it[1].session_id,
        it[1].account,
        it[1].execution.symbol,
        it[1].execution.side,
        it[1].execution.quantity,
        exact(it[1].execution.price),
        exact_or_none(it[1].execution.commission),
        it[1].execution.executed_at,
        it[1].source,
    ),
)

SUPERSEDED_FILLS: FactTable[tuple[int, Fill, str, datetime]] = FactTable(
    "superseded_fills",
    FILLS.columns | {"superseded_by": TEXT, "superseded_at": MOMENT},
    lambda session_id, it: (*FILLS.row(session_id, it[:2]), *it[2:]),
)

ORDER_AMENDMENTS: FactTable[OrderAmendment] = FactTable(
    "order_amendments",
    {
        "client_order_id": TEXT,
        "number": COUNT,
        "session_id": TEXT,
        "amended_at": MOMENT,
        "status": TEXT,
        "quantity": COUNT,
        "limit_price": MONEY,
        "stop_price": MONEY,
        "trail_amount": MONEY,
        "trail_fraction": MONEY,
    },
    lambda session_id, it: (
        it.client_order_id,
        it.number,
        session_id,
        it.amended_at,
        it.status,
        it.quantity,
        exact_or_none(it.limit_price),
        exact_or_none(it.stop_price),
        exact_or_none(it.trail_amount),
        exact_or_none(it.trail_fraction),
    ),
)

EQUITY: FactTable[tuple[EquityPoint, dict[str, Decimal] | None]] = FactTable(
    "equity",
    {
        "session_id": TEXT,
        "bar_time": MOMENT,
        "cash": MONEY,
        "market_value": MONEY,
        "equity": MONEY,
        "realized_pnl": MONEY,
        "unrealized_pnl": MONEY,
        "drawdown": MONEY,
        "marks": MARKS,
    },
    lambda _, it: (
        it[0].session_id,
        it[0].bar_time,
        exact(it[0].cash),
        exact(it[0].market_value),
        exact(it[0].equity),
        exact(it[0].realized_pnl),
        exact(it[0].unrealized_pnl),
        exact(it[0].drawdown),
        it[1] and {symbol: exact(price) for symbol, price in it[1].items()},
    ),
)

POSITIONS: FactTable[tuple[int, PositionSnapshot]] = FactTable(
    "position_snapshots",
    {
        "account": TEXT,
        "symbol": TEXT,
        "booking": COUNT,
        "session_id": TEXT,
        "bar_time": MOMENT,
        "quantity": COUNT,
        "cost_basis": MONEY,
        "realized_pnl": MONEY,
    },
    lambda _, it: (
        it[1].account,
        it[1].symbol,
        it[0],
        it[1].session_id,
        it[1].bar_time,
        it[1].quantity,
        exact(it[1].cost_basis),
        exact(it[1].realized_pnl),
    ),
    restated=("quantity", "cost_basis", "realized_pnl"),
)

FINDINGS: FactTable[DataFinding] = FactTable(
    "data_findings",
    {
        "session_id": TEXT,
        "symbol": TEXT,
        "bar_time": MOMENT,
        "finding": TEXT,
        "action": TEXT,
        "detail": TEXT,
    },
    lambda session_id, it: (session_id, it.symbol, it.bar_time, it.finding, it.action, it.detail),
    identity=("session_id", "symbol", "bar_time", "finding", "action", "detail"),
)

RECONCILIATIONS: FactTable[tuple[int, Reconciliation]] = FactTable(
    "reconciliations",
    {
        "reconciliation_id": COUNT,
        "account": TEXT,
        "session_id": TEXT,
        "reconciled_at": MOMENT,
        "stage": TEXT,
        "discrepancies": COUNT,
        "repairs": COUNT,
        "remaining": COUNT,
    },
    lambda _, it: (
        it[0],
        it[1].account,
        it[1].session_id,
        it[1].reconciled_at,
        it[1].stage,
        len(it[1].discrepancies),
        len(it[1].repairs),
        len(it[1].remaining),
    ),
)

DISCREPANCIES: FactTable[tuple[int, int, Discrepancy, bool]] = FactTable(
    "discrepancies",
    {
        "reconciliation_id": COUNT,
        "number": COUNT,
        "session_id": TEXT,
        "kind": TEXT,
        "symbol": TEXT,
        "subject": TEXT,
        "ours": TEXT,
        "brokers": TEXT,
        "proposed_repair": TEXT,
        "repairable": FLAG,
        "locking": FLAG,
        "remains": FLAG,
    },
    lambda session_id, it: (
        it[0],
        it[1],
        session_id,
        it[2].kind,
        it[2].symbol,
        it[2].subject,
        it[2].ours,
        it[2].brokers,
        it[2].proposed_repair,
        it[2].repairable,
        it[2].locking,
        it[3],
    ),
)

REPAIRS: FactTable[tuple[int, int, Repair]] = FactTable(
    "repairs",
    {
        "reconciliation_id": COUNT,
        "number": COUNT,
        "session_id": TEXT,
        "kind": TEXT,
        "subject": TEXT,
        "done": TEXT,
    },
    lambda session_id, it: (it[0], it[1], session_id, it[2].kind, it[2].subject, it[2].done),
)

EXTERNAL_ORDERS: FactTable[ExternalOrder] = FactTable(
    "external_orders",
    {
        "account": TEXT,
        "broker_order_id": TEXT,
        "symbol": TEXT,
        "side": TEXT,
        "quantity": COUNT,
        "filled_quantity": COUNT,
        "status": TEXT,
        "seen_at": MOMENT,
    },
    lambda _, it: (
        it.account,
        it.broker_order_id,
        it.symbol,
        it.side,
        it.quantity,
        it.filled,
        it.status,
        it.seen_at,
    ),
    restated=("quantity", "filled_quantity", "status", "seen_at"),
)

EXTERNAL_FILLS: FactTable[tuple[ExternalFill, datetime | None]] = FactTable(
    "external_fills",
    {
        "exec_id": TEXT,
        "account": TEXT,
        "broker_order_id": TEXT,
        "lineage": TEXT,
        "revision": COUNT,
        "symbol": TEXT,
        "side": TEXT,
        "quantity": COUNT,
        "price": MONEY,
        "commission": MONEY,
        "filled_at": MOMENT,
        "seen_at": MOMENT,
        "claimed_at": MOMENT,
    },
    lambda _, it: (
        it[0].exec_id,
        it[0].account,
        it[0].broker_order_id,
        it[0].lineage,
        it[0].revision,
        it[0].symbol,
        it[0].side,
        it[0].quantity,
        exact(it[0].price),
        exact_or_none(it[0].commission),
        it[0].executed_at,
        it[0].seen_at,
        it[1],
    ),
)

ACCOUNT_BALANCES: FactTable[BalanceReading] = FactTable(
    "account_balances",
    {"account": TEXT, "session_id": TEXT, "read_at": MOMENT, "tag": TEXT, "currency": TEXT, "amount": LARGE_MONEY},
    lambda _, it: (
        it.account,
        it.session_id,
        it.read_at,
        it.balance.tag,
        it.balance.currency,
        exact(it.balance.amount),
    ),
    restated=("amount",),
)

HALTS: FactTable[Halt] = FactTable(
    "halts",
    {"scope": TEXT, "rule": TEXT, "halted_at": MOMENT, "session_id": TEXT, "reason": TEXT, "expires_at": MOMENT},
    lambda session_id, it: (
        it.scope,
        it.rule,
        it.halted_at,
        it.session_id or session_id or None,
        it.reason,
        it.expires_at,
    ),
)

STOPS: FactTable[Stop] = FactTable(
    "stops",
    {
        "stop_id": TEXT,
        "account": TEXT,
        "session_id": TEXT,
        "scope": TEXT,
        "reason": TEXT,
        "flatten": FLAG,
        "asked_by": TEXT,
        "started_at": MOMENT,
        "state": TEXT,
        "ended_at": MOMENT,
    },
    lambda _, it: (
        it.stop_id,
        it.account,
        it.session_id,
        it.scope,
        it.reason,
        it.flatten,
        it.asked_by,
        it.started_at,
        it.state,
        it.ended_at,
    ),
    restated=("state", "ended_at"),
)

STOP_STEPS: FactTable[StopStep] = FactTable(
    "stop_steps",
    {"stop_id": TEXT, "number": COUNT, "taken_at": MOMENT, "action": TEXT, "succeeded": FLAG, "detail": TEXT},
    lambda _, it: (it.stop_id, it.number, it.taken_at, it.action, it.succeeded, it.detail),
)

LIMIT_CHANGES: FactTable[LimitChange] = FactTable(
    "limit_changes",
    {
        "change_id": TEXT,
        "name": TEXT,
        "session_id": TEXT,
        "changed_at": MOMENT,
        "changed_by": TEXT,
        "old_value": TEXT,
        "new_value": TEXT,
        "refusal": TEXT,
    },
    lambda _, it: (
        it.change_id,
        it.name,
        it.session_id,
        it.changed_at,
        it.changed_by,
        it.old_value,
        it.new_value,
        it.refusal,
    ),
)

SESSIONS: FactTable[SessionRecord] = FactTable(
    "sessions",
    {
        "session_id": TEXT,
        "strategy": TEXT,
        "account": TEXT,
        "session_date": pa.date32(),
        "mode": TEXT,
        "state": TEXT,
        "started_at": MOMENT,
        "ended_at": MOMENT,
        "last_bar_time": MOMENT,
        "settings": TEXT,
        "policy_fingerprint": TEXT,
        "starting_equity": MONEY,
        "starting_realized_pnl": MONEY,
        "only_reduces": TEXT,
    },
    lambda _, it: (
        it.session_id,
        it.strategy,
        it.account,
        it.session_date,
        it.mode,
        it.state,
        it.started_at,
        it.ended_at,
        it.last_bar_time,
        it.settings,
        it.policy_fingerprint,
        exact(it.starting_equity),
        exact(it.starting_realized_pnl),
        it.only_reduces,
    ),
)


def write_sessions(connection: Connection, records: Sequence[SessionRecord]) -> None:
    """Write sessions; one that is there already becomes what its record says, with no reason yet."""
    names = ", ".join(SESSIONS.columns)
    connection.load(
        SESSIONS.as_columns([SESSIONS.row("", record) for record in records]),
        f"""
        INSERT INTO sessions ({names}) SELECT {names} FROM arriving
        ON CONFLICT (session_id) DO UPDATE SET
            mode = excluded.mode, state = excluded.state, started_at = excluded.started_at,
            ended_at = excluded.ended_at, last_bar_time = excluded.last_bar_time, settings = excluded.settings,
            policy_fingerprint = excluded.policy_fingerprint, starting_equity = excluded.starting_equity,
            starting_realized_pnl = excluded.starting_realized_pnl, only_reduces = excluded.only_reduces, reason = ''
        """,
    )


def write_halts(connection: Connection, session_id: str, halts: Sequence[Halt], absorb: bool) -> None:
    """Write halts. With ``absorb`` one that is there already lasts for the longer of both times, and stands again where
    it was cleared in between: a session's clock can stand still while a person halts, resumes and halts again.
    """
    if not absorb:
        HALTS.write(connection, session_id, halts)
        return
    names = ", ".join(HALTS.columns)
    for halt in halts:
        connection.execute(
            f"""
            INSERT INTO halts ({names}) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET
                reason = CASE WHEN halts.cleared_at IS NULL THEN halts.reason ELSE excluded.reason END,
                expires_at = CASE
                    WHEN halts.cleared_at IS NOT NULL THEN excluded.expires_at
                    WHEN halts.expires_at IS NULL OR excluded.expires_at IS NULL THEN NULL
                    ELSE greatest(halts.expires_at, excluded.expires_at)
                END,
                cleared_at = NULL, cleared_by = NULL
            """,
            HALTS.row(session_id, halt),
        )


def write_stops(connection: Connection, stops: Sequence[Stop]) -> None:
    """Write stops; one that is there already becomes what it says now. Of one that is told twice the later word counts."""
    STOPS.write(connection, "", {stop.stop_id: stop for stop in stops}.values(), absorb=True)
