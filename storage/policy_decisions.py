"""What was decided, as it was recorded: for comparing a session with a replay of it, and a shadow with the champion."""

from storage.columns import MOMENT
from storage.connection import Connection
from storage.fact_table import NUMBER, TEXT, FactTable
from storage.reading import utc
from trading.decisions import Action, Decision, ShadowDecision

SHADOW_DECISIONS: FactTable[ShadowDecision] = FactTable(
    "shadow_decisions",
    {
        "session_id": TEXT,
        "bar_time": MOMENT,
        "symbol": TEXT,
        "fingerprint": TEXT,
        "action": TEXT,
        "target_weight": NUMBER,
        "confidence": NUMBER,
        "latency_ms": NUMBER,
        "error": TEXT,
        "note": TEXT,
    },
    lambda _, it: (
        it.session_id,
        it.bar_time,
        it.symbol,
        it.fingerprint,
        it.action,
        it.target_weight,
        it.confidence,
        it.latency_ms,
        it.error,
        it.note,
    ),
)


def decisions_of(connection: Connection, session_id: str) -> list[Decision]:
    """What was decided in the session, HOLD included, by bar and symbol."""
    found = connection.rows(
        """
        SELECT session_id, bar_time, symbol, action, target_quantity, confidence, latency_ms, error, note,
               target_weight
        FROM decisions WHERE session_id = ? ORDER BY bar_time, symbol
        """,
        [session_id],
    )
    return [
        Decision(whose, utc(bar_time), symbol, Action(action), *rest)
        for whose, bar_time, symbol, action, *rest in found
    ]


def shadow_decisions_of(
    connection: Connection, session_id: str, fingerprint: str | None = None
) -> list[ShadowDecision]:
    """What shadows decided in the session, or one of them: by bar, symbol and fingerprint."""
    found = connection.rows(
        """
        SELECT session_id, bar_time, symbol, fingerprint, action, target_weight, confidence, latency_ms, error, note
        FROM shadow_decisions WHERE session_id = ? AND (? IS NULL OR fingerprint = ?)
        ORDER BY bar_time, symbol, fingerprint
        """,
        [session_id, fingerprint, fingerprint],
    )
    return [
        ShadowDecision(whose, utc(bar_time), symbol, shadow, Action(action), *rest)
        for whose, bar_time, symbol, shadow, action, *rest in found
    ]
