"""Requests of operators to a running session: a row put in through its door, and the answer read from it.

The rule: this is the one thing that a visitor can write. The session itself reads the request and acts on it.
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from storage.extensions import quoted
from storage.visit import read_from, visit
from trading.errors import StoreError
from trading.operator_requests import OperatorRequest, RequestKind

_ASKED_EVERY_SECONDS = 0.2


def hand_in(
    path: Path, kind: RequestKind, arguments: Mapping[str, Any], asked_by: str, at: datetime
) -> OperatorRequest:
    """Ask the session that holds the database at ``path``; committed when this returns.

    Raises ``StoreError`` where no session that lets others in holds the database: then it is free to be written.
    """
    request = OperatorRequest(uuid4().hex, kind, dict(arguments), asked_by, at)
    there = visit(path)
    if there is None:
        raise StoreError(
            f"No session that can be asked holds the database {path}. Run the command when the session is over, or start it "
            "with `[store] serve = true`."
        )
    try:
        there.hand_in(
            "INSERT INTO operator_requests (request_id, kind, arguments, asked_by, asked_at) "
            f"VALUES ('{request.request_id}', '{kind.value}', {quoted(json.dumps(request.arguments))}, {quoted(asked_by)}, "
            f"TIMESTAMPTZ '{at.astimezone(UTC).isoformat()}')"
        )
    finally:
        there.close()
    return request


def answer_to(path: Path, request_id: str, timeout_seconds: float) -> Mapping[str, Any] | None:
    """What the session answered, None where it has not within the timeout; the request then stands."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        found = read_from(
            path,
            lambda store: store.connection.rows(
                "SELECT answer, answered_at FROM operator_requests WHERE request_id = ?", [request_id]
            ),
        )
        if found and found[0][1] is not None:
            answer: Mapping[str, Any] = json.loads(found[0][0])
            return answer
        if time.monotonic() > deadline:
            return None
        time.sleep(_ASKED_EVERY_SECONDS)
