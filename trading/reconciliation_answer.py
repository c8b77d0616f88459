"""What a comparison came to, as plain values that JSON can say: for the terminal, for a flow, and through a session's door."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from trading.differences import InstrumentLock, Reconciliation
from trading.errors import BrokerUnavailable
from trading.operator_requests import OperatorRequest
from trading.reconciler import Reconciler


def comparison_answer(done: Reconciliation, locks: Iterable[InstrumentLock]) -> dict[str, Any]:
    """The comparison and the locks that stand after it. ``remaining`` are the discrepancies that were not repaired."""
    remaining = set(done.remaining)
    found = [
        {
            "kind": str(one.kind),
            "subject": one.subject,
            "symbol": one.symbol,
            "ours": one.ours,
            "brokers": one.brokers,
            "proposed_repair": one.proposed_repair,
            "repairable": one.repairable,
            "locking": one.locking,
            "remains": one in remaining,
        }
        for one in done.discrepancies
    ]
    return {
        "account": done.account,
        "session_id": done.session_id,
        "reconciled_at": done.reconciled_at.isoformat(),
        "discrepancies": found,
        "repairs": [{"kind": str(one.kind), "subject": one.subject, "done": one.done} for one in done.repairs],
        "remaining": [one for one in found if one["remains"]],
        "locks": [
            {"symbol": lock.symbol, "locked_at": lock.locked_at.isoformat(), "reason": lock.reason} for lock in locks
        ],
    }


def answer_reconcile_request(
    request: OperatorRequest,
    reconciler: Reconciler,
    at: datetime,
    reconcile: Callable[[tuple[str, ...]], Reconciliation] | None = None,
) -> Mapping[str, Any]:
    """What a session answers to a person who asks it to reconcile between two bars; always an answer.

    ``request.arguments``: ``account`` (empty: whichever is traded), ``repair`` (False: compare only, changing nothing)
    and ``claim`` (symbols). ``reconcile`` is how the session repairs, given the symbols to claim, where more belongs to it
    than ``reconciler.reconcile("manual", at, claim)``. Raises ``StoreError``: then the session cannot go on either.
    """
    account = str(request.arguments.get("account") or reconciler.account)
    if account != reconciler.account:
        return _refusal("other account", f"The session that runs trades account {reconciler.account}, not {account}.")
    claim = tuple(str(symbol) for symbol in request.arguments.get("claim") or ())
    try:
        if not request.arguments.get("repair"):
            done = reconciler.compare("manual", at)
        elif reconcile is not None:
            done = reconcile(claim)
        else:
            done = reconciler.reconcile("manual", at, claim)
    except BrokerUnavailable as error:
        return _refusal("broker unavailable", str(error))
    return comparison_answer(done, reconciler.locks())


def _refusal(error: str, message: str) -> dict[str, Any]:
    return {"error": error, "message": message}
