"""What risk has to say, as Prefect events, so that automations can act on it: ``openbell.risk.*``.

The rule: an event that Prefect does not take costs nothing. It is emitted from the observers' thread, and the ledger has it anyway.
"""

import json
from decimal import Decimal
from typing import Any

from prefect import runtime

from tasks.prefect_events import emit_about_session
from trading.decisions import RiskCheck
from trading.risk_events import RiskEvent, RiskEventKind


def to_prefect(event: RiskEvent, flow_run_id: str | None = None) -> None:
    """Emit ``openbell.risk.KIND`` of the session. It occurs now; the session's own time is in the payload as ``at``.

    ``flow_run_id`` is the run that it is related to: the one that this is called in where none is given. The observers' thread is
    in none.
    """
    run = flow_run_id or runtime.flow_run.id
    emit_about_session(f"openbell.risk.{event.kind}", event.session_id, payload_of(event), run, labels_of(event))


def payload_of(event: RiskEvent) -> dict[str, Any]:
    """The event in plain values that JSON can say; money and other exact numbers as text."""
    return {
        "kind": str(event.kind),
        "session_id": event.session_id,
        "at": event.at.isoformat(),
        "message": event.message,
        "check": None if event.check is None else _plain(event.check),
        **{name: _json(value) for name, value in event.facts.items()},
    }


def labels_of(event: RiskEvent) -> dict[str, str]:
    """Of an episode of the broker's line: which, and whether it stands. Automations can tell labels apart, and no payloads."""
    if event.kind is not RiskEventKind.BROKER_LINE:
        return {}
    episode = f"{event.facts.get('episode', '')} {event.facts.get('subject', '')}".strip()
    return {"openbell.episode": episode, "openbell.episode-stands": "false" if event.facts.get("is_over") else "true"}


def _plain(check: RiskCheck) -> dict[str, Any]:
    return {
        "bar_time": check.bar_time.isoformat(),
        "symbol": check.symbol,
        "client_order_id": check.client_order_id,
        "rule": check.rule,
        "verdict": str(check.verdict),
        "reason": check.reason,
        "observed": _text(check.observed),
        "limit_value": _text(check.limit_value),
    }


def _json(value: object) -> Any:
    """A fact in JSON's values; what JSON has none for as text."""
    return json.loads(json.dumps(value, default=str))


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
