"""A reconciliation by hand: on the ledger itself when it is free, by the session that holds it otherwise. No Prefect here.

The rule: whoever holds the database compares, with the book that it trades on. A visitor never repairs behind its back.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from storage.handed_in import answer_to, hand_in
from tasks.operators import operator_name
from tasks.rest_composition import assemble_reconciliation
from trading.errors import BrokerUnavailable, ConfigurationError, StoreBusy, StoreError, Unreconciled
from trading.operator_requests import OperatorRequest, RequestKind
from trading.reconciliation_answer import comparison_answer
from trading.settings import Settings

WAIT_SECONDS = 150.0
"""Longer than two minute bars: a session answers between two bars."""
_TRIED_EVERY_SECONDS = 2.0
_HELD_BRIEFLY_SECONDS = 10.0
_LOOKED_AGAIN_EVERY_SECONDS = 0.2


def reconcile_by_hand(
    settings: Settings,
    account: str | None = None,
    repair: bool = False,
    claim: Sequence[str] = (),
    wait_seconds: float = WAIT_SECONDS,
) -> dict[str, Any]:
    """Compare the account with its broker, and with ``repair`` do what follows from the broker's records.

    Returns ``trading.reconciliation_answer.comparison_answer`` with ``answered_by`` (ledger or session) and ``db``.
    Without ``repair`` nothing is changed or written anywhere. Raises ``Unreconciled`` when the broker does not answer,
    ``StoreBusy`` when the session that holds the database has not answered within ``wait_seconds``.
    """
    if claim and not repair:
        raise ConfigurationError(
            f"To claim {', '.join(claim)} books trades made elsewhere into the ledger: give --repair with it."
        )
    answer = _by_whoever_can(settings, account, repair, claim, wait_seconds)
    return {**answer, "db": str(settings.store.path)}


def _by_whoever_can(
    settings: Settings, account: str | None, repair: bool, claim: Sequence[str], wait_seconds: float
) -> dict[str, Any]:
    patient_until = time.monotonic() + min(wait_seconds, _HELD_BRIEFLY_SECONDS)
    while True:
        try:
            return _on_the_ledger(settings, account, repair, claim)
        except StoreBusy as error:
            held = str(error).split(";")[0]
            arguments = {"account": account or "", "repair": repair, "claim": list(claim)}
        try:
            request = hand_in(settings.store.path, RequestKind.RECONCILE, arguments, operator_name(), datetime.now(UTC))
        except StoreError as error:
            # Another command has it for a moment, or a session is about to open its door.
            if time.monotonic() >= patient_until:
                raise StoreBusy(f"{held}. {error}") from error
            time.sleep(_LOOKED_AGAIN_EVERY_SECONDS)
            continue
        return _by_the_session(settings, account, repair, claim, request, wait_seconds)


def _on_the_ledger(
    settings: Settings,
    account: str | None,
    repair: bool,
    claim: Sequence[str],
    answering: OperatorRequest | None = None,
) -> dict[str, Any]:
    try:
        with assemble_reconciliation(settings, account, repair) as desk:
            at, reconciler = datetime.now(UTC), desk.reconciler
            done = reconciler.reconcile("manual", at, claim) if repair else reconciler.compare("manual", at)
            answer = comparison_answer(done, reconciler.locks())
            if repair and answering is not None:
                desk.store.ledger.answer_request(answering.request_id, answer, at)
            return {**answer, "answered_by": "ledger"}
    except BrokerUnavailable as error:
        raise _no_answer(str(error)) from error


def _by_the_session(
    settings: Settings,
    account: str | None,
    repair: bool,
    claim: Sequence[str],
    request: OperatorRequest,
    wait_seconds: float,
) -> dict[str, Any]:
    """Wait for the session's answer; when it ends before it has answered, do it here."""
    path = settings.store.path
    deadline = time.monotonic() + wait_seconds
    while True:
        left = max(deadline - time.monotonic(), 0.0)
        answer = answer_to(path, request.request_id, min(left, _TRIED_EVERY_SECONDS))
        if answer is not None:
            return {**_accepted(answer), "answered_by": "session"}
        try:
            return _on_the_ledger(settings, account, repair, claim, request)
        except StoreBusy:
            if time.monotonic() >= deadline:
                break
    will = "It will still reconcile" if repair else "It will still compare"
    raise StoreBusy(
        f"The session that holds {path} has not answered within {wait_seconds:g} s: it answers between two bars, which can be "
        f"minutes apart, and not while it waits for its broker. {will} when it comes to it (request {request.request_id}; look "
        'with openbell sql "select * from operator_requests"). Ask again with a longer --wait.'
    )


def _accepted(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The session's answer; raises what a refusal says."""
    error = answer.get("error")
    if error is None:
        return dict(answer)
    message = str(answer.get("message", ""))
    if error == "broker unavailable":
        raise _no_answer(message)
    raise ConfigurationError(f"{message} Name another with --account, or another database with --db.")


def _no_answer(message: str) -> Unreconciled:
    return Unreconciled(
        f"The broker did not answer, which says nothing about what is held or working there: {message} Nothing was changed. "
        "Try again when it answers."
    )
