"""Asking whoever holds the database, for a person who must not be kept waiting for longer than was said.

The rule: a holder that hangs keeps nobody. What is asked of it runs on a thread of its own, and what comes too late is let go.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from storage.handed_in import answer_to, hand_in
from tasks.operators import operator_name
from trading.errors import ConfigurationError, OpenbellError, StoreBusy, StoreError
from trading.operator_requests import OperatorRequest, RequestKind

_T = TypeVar("_T")

HEARD_WITHIN_SECONDS = 5.0
"""How long one question to the holder may take: longer than the door itself is tried for."""
_TRIED_EVERY_SECONDS = 0.2


def within(seconds: float, call: Callable[[], _T]) -> _T:
    """What ``call`` returns or raises; ``StoreBusy`` where that takes longer. The call itself goes on and is not heard."""
    said: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            said.put((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            said.put((None, error))

    threading.Thread(target=run, name="openbell-asking", daemon=True).start()
    try:
        result, error = said.get(timeout=seconds)
    except queue.Empty:
        raise StoreBusy(f"The process that holds the database did not answer within {seconds:g} s.") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # of a call that returned


def handed_in(path: Path, kind: RequestKind, arguments: Mapping[str, Any], seconds: float) -> OperatorRequest:
    """The request, committed at the holder's. Raises ``StoreError`` where nobody has taken it within the time."""
    asked_by, at = operator_name(), datetime.now(UTC)
    return within(seconds, lambda: hand_in(path, kind, arguments, asked_by, at))


def answered(
    path: Path,
    kind: RequestKind,
    arguments: Mapping[str, Any],
    wait_seconds: float,
    at_rest: Callable[[], Mapping[str, Any]],
    patience_seconds: float,
) -> dict[str, Any]:
    """What came of it: by the session that holds the database, or by ``at_rest`` once nobody does.

    ``at_rest`` raises ``StoreBusy`` while somebody does. Raises ``StoreBusy`` when no answer came in time, and
    ``ConfigurationError`` with the session's words when it refused.
    """
    deadline = time.monotonic() + wait_seconds
    patient_until = time.monotonic() + min(wait_seconds, patience_seconds)
    request: OperatorRequest | None = None
    while True:
        answer = None
        if request is not None:
            answer = _heard(path, request.request_id)
        if answer is not None:
            return {**accepted(answer), "answered_by": "session"}
        try:
            return {**at_rest(), "answered_by": "ledger"}
        except StoreBusy as error:
            held = error
        if request is None:
            try:
                request = handed_in(path, kind, arguments, HEARD_WITHIN_SECONDS)
            except StoreError as error:
                # Another command has it for a moment, or a session is about to open its door.
                if time.monotonic() >= patient_until:
                    raise StoreBusy(f"{str(held).split(';')[0]}. {error}") from error
        elif time.monotonic() >= deadline:
            raise StoreBusy(
                f"The session that holds {path} has not answered within {wait_seconds:g} s: it answers between two bars, and not "
                f"while it waits for its broker. It will still do it when it comes to it (request {request.request_id}; look with "
                'openbell sql "select * from operator_requests"). Ask again with a longer --wait.'
            )
        time.sleep(_TRIED_EVERY_SECONDS)


def accepted(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The session's answer; raises what a refusal says."""
    if answer.get("error") is None:
        return dict(answer)
    message = str(answer.get("message", "")) or str(answer["error"])
    raise (ConfigurationError if answer["error"] != "broker unavailable" else OpenbellError)(message)


def _heard(path: Path, request_id: str) -> Mapping[str, Any] | None:
    try:
        return within(HEARD_WITHIN_SECONDS, lambda: answer_to(path, request_id, 0.0))
    except StoreError:
        return None  # it is leaving, or slow: it is asked again
