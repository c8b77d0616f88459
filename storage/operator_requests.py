"""What operators ask of the session that holds the database, and what it answered."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from storage.connection import Connection
from storage.reading import utc
from trading.operator_requests import OperatorRequest, RequestKind


def unanswered(connection: Connection) -> list[OperatorRequest]:
    """Requests of the kinds that this version knows, oldest first; the others wait for one that knows them.

    Arguments that are no JSON object count as none: what is asked for without them is then refused by who answers.
    """
    found = connection.rows(
        "SELECT request_id, kind, arguments, asked_by, asked_at FROM operator_requests"
        " WHERE answered_at IS NULL AND kind IN (SELECT unnest(?)) ORDER BY asked_at, request_id",
        [[str(kind) for kind in RequestKind]],
    )
    return [
        OperatorRequest(request_id, RequestKind(kind), _object(arguments), asked_by, utc(asked_at))
        for request_id, kind, arguments, asked_by, asked_at in found
    ]


def answer(connection: Connection, request_id: str, said: Mapping[str, object], at: datetime) -> None:
    """Write what came of a request, inside a transaction. The first answer stays."""
    connection.execute(
        "UPDATE operator_requests SET answered_at = ?, answer = ? WHERE request_id = ? AND answered_at IS NULL",
        [at, json.dumps(said, default=str), request_id],
    )


def _object(text: str) -> Mapping[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else {}
