"""Everything that is said about a session when it is over, read from the history in one go."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from storage.questions import (
    FindingCount,
    RuleCount,
    SeenDiscrepancy,
    Trade,
    UndecidedCount,
    discrepancies_of,
    findings_of,
    halt_stood,
    order_counts,
    rules_that_spoke,
    trades_of,
    undecided_of,
)
from storage.store import Store
from tasks.dry_run_copies import is_dry_run
from tasks.overnight import Overnight, overnight_of
from trading.calendar import TradingCalendar
from trading.errors import StoreError
from trading.orders import OrderStatus
from trading.sessions import SessionRecord, SessionSummary
from trading.settings import Settings
from trading.trading_hours import TradingHours

_KEYS = (
    "session_id",
    "session_date",
    "mode",
    "state",
    "bars",
    "decisions",
    "orders",
    "fills",
    "realized_pnl",
    "unrealized_pnl",
    "commissions",
    "equity",
    "halted",
    "discrepancies",
    "db",
)
"""What scripts rely on."""


@dataclass(frozen=True, slots=True)
class ClosingFacts:
    """One session: its summary and the facts behind it. Times are UTC; ``hours`` knows the exchange's.

    ``is_halted``: a halt stood at its newest bar, and nobody has cleared it.
    """

    record: SessionRecord
    settings: Settings
    hours: TradingHours
    summary: SessionSummary
    orders: Mapping[str, int]
    trades: tuple[Trade, ...]
    undecided: tuple[UndecidedCount, ...]
    rules: tuple[RuleCount, ...]
    findings: tuple[FindingCount, ...]
    discrepancies: tuple[SeenDiscrepancy, ...]
    overnight: Overnight
    is_halted: bool
    is_dry_run: bool = False

    @property
    def not_sent(self) -> int:
        """Orders that a dry run would have sent: nothing else refuses one there."""
        return self.orders.get(OrderStatus.REJECTED, 0)


def closing_facts(store: Store, session_id: str) -> ClosingFacts:
    """The facts of a session; raises ``StoreError`` where there is none of this name."""
    record = store.ledger.find_session(session_id)
    if record is None:
        raise StoreError(f"The database {store.path} has no session {session_id}.")
    settings = Settings.model_validate_json(record.settings)
    hours = TradingCalendar(settings.session.exchange, record.session_date).hours(record.session_date)
    return ClosingFacts(
        record,
        settings,
        hours,
        store.ledger.summary(session_id),
        order_counts(store, session_id),
        tuple(trades_of(store, session_id)),
        tuple(undecided_of(store, session_id)),
        tuple(rules_that_spoke(store, session_id)),
        tuple(findings_of(store, session_id)),
        tuple(discrepancies_of(store, session_id)),
        overnight_of(store, record),
        halt_stood(store, record, hours.closes_at),
        is_dry_run(store.path),
    )


def summary_answer(summary: SessionSummary) -> dict[str, Any]:
    """The session in JSON's keys; ``reason`` and ``notes`` only where there are any."""
    answer: dict[str, Any] = {key: getattr(summary, key) for key in _KEYS}
    if summary.reason:
        answer["reason"] = summary.reason
    if summary.notes:
        answer["notes"] = summary.notes
    return answer


def dry_run_answer(facts: ClosingFacts) -> dict[str, Any]:
    """What a dry run says beside; nothing for a session that was traded."""
    return {"dry_run": True, "would_have_sent": facts.not_sent} if facts.is_dry_run else {}


def report_answer(facts: ClosingFacts) -> dict[str, Any]:
    """The session in JSON's keys with the facts behind it."""
    return {
        **summary_answer(facts.summary),
        **dry_run_answer(facts),
        "orders_by_status": facts.orders,
        "trades": [asdict(trade) for trade in facts.trades],
        "undecided": [asdict(one) for one in facts.undecided],
        "risk": [asdict(rule) for rule in facts.rules],
        "findings": [asdict(found) for found in facts.findings],
        "found_discrepancies": [
            {"stage": seen.stage, "seen_at": seen.seen_at, **asdict(seen.discrepancy)} for seen in facts.discrepancies
        ],
        "held_overnight": facts.overnight.positions,
        "unexplained": facts.overnight.unexplained,
    }
