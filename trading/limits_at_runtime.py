"""Limits changed while a session runs: validated as a whole, swapped between two bars, every value written down.

A change that is not valid leaves the old limits in force. No change clears a halt that a limit has tripped.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trading.errors import ConfigurationError
from trading.limit_changes import LimitChange
from trading.ports import Ledger, LedgerEntries
from trading.risk_events import RiskEventKind
from trading.risk_gate import RiskGate
from trading.risk_settings import RiskSettings
from trading.sessions import SessionRecord
from trading.settings import parse_settings


def change_limits(
    gate: RiskGate,
    ledger: Ledger,
    session: SessionRecord,
    wanted: object,
    changed_by: str,
    change_id: str,
    at: datetime,
) -> Mapping[str, Any]:
    """Change the limits named in ``wanted`` (settings of ``[risk]``); what was changed, or why nothing was.

    The change is committed before it is in force. Raises ``StoreError``: then the old limits stay.
    """
    if not isinstance(wanted, Mapping) or not wanted:
        return {"error": "nothing to change", "message": "No limit was named."}
    before = gate.limits.model_dump(mode="json")
    refusal = ""
    try:
        limits = limits_with(gate.limits, wanted)
        too_long = gate.cannot_look_back(limits)
        if too_long:
            refusal = too_long
    except ConfigurationError as error:
        limits, refusal = gate.limits, str(error)
    after = {**before, **wanted} if refusal else limits.model_dump(mode="json")
    names = [name for name in after if name in wanted or before.get(name) != after[name]]
    changes = [
        LimitChange(
            change_id,
            session.session_id,
            at,
            changed_by,
            str(name),
            json.dumps(before.get(name), default=str),
            json.dumps(after[name], default=str),
            refusal,
        )
        for name in names
        if refusal or before.get(name) != after[name]
    ]
    if changes:
        ledger.commit(session.session_id, LedgerEntries(limit_changes=changes))
    if refusal:
        gate.tell(RiskEventKind.LIMITS_CHANGED, at, f"a change of limits was refused: {refusal}", refused=True)
        return {"error": "not valid", "message": f"{refusal} The limits stay as they were."}
    gate.change_limits(limits)
    if before["drawdown_since"] != after["drawdown_since"]:
        highest = ledger.high_water_mark(session.account, gate.limits.drawdown_since)
        if highest is not None:
            gate.watch.rebase(highest)
    changed = {change.name: [json.loads(change.old_value), json.loads(change.new_value)] for change in changes}
    words = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
    gate.tell(RiskEventKind.LIMITS_CHANGED, at, words or "no limit is another than before", changed=changed)
    return {"changed": changed}


def limits_with(risk: RiskSettings, wanted: Mapping[str, object]) -> RiskSettings:
    """``risk`` with other values for some settings; raises ``ConfigurationError`` that names what is wrong."""
    document = risk.model_dump(mode="json")
    for name, value in wanted.items():
        below = document.get(name)
        document[name] = {**below, **value} if isinstance(below, dict) and isinstance(value, Mapping) else value
    return parse_settings({"risk": document}, source="the change of limits").risk
