"""What risk has to say, in the plain values of the Prefect events ``openbell.risk.*``, so that automations can act on it."""

import json
from decimal import Decimal
from typing import Any

from trading.decisions import RiskCheck
from trading.risk_events import RiskEvent, RiskEventKind


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
