"""What risk did in one session, as rows for the ledger and as events for those who asked for them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from trading.decisions import RiskCheck, Verdict
from trading.risk_events import RiskEvent, RiskEventHandler, RiskEventKind


class RiskNotes:
    """Names the session in each row and event. Making a row tells it to nobody (``tell_of``)."""

    def __init__(self, session_id: str, events: RiskEventHandler) -> None:
        self.session_id = session_id
        self._events = events

    def check(
        self,
        bar_time: datetime,
        symbol: str | None,
        client_order_id: str | None,
        rule: str,
        verdict: Verdict,
        reason: str,
        observed: Decimal | None = None,
        limit_value: Decimal | None = None,
    ) -> RiskCheck:
        """A row of ``risk_checks``."""
        return RiskCheck(
            self.session_id, bar_time, symbol, client_order_id, rule, verdict, reason, observed, limit_value
        )

    def tell_of(self, checks: Sequence[RiskCheck]) -> None:
        """Tell who asked for it; returns at once."""
        self._events.emit_checks(checks)

    def tell(self, kind: RiskEventKind, at: datetime, message: str, **facts: object) -> None:
        """Tell who asked for it; returns at once."""
        if self._events.wants(kind):
            self._events.emit(RiskEvent(kind, self.session_id, at, message, facts=facts))
