"""What operators ask of the session that holds the database, and what it answered.

The rule: a request is answered by its row. A flag beside the database gets its row with its answer, and comes down only
after that is committed.
"""

import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from storage.connection import Connection
from storage.halt_flag import flagged, take_down
from storage.reading import utc
from trading.operator_requests import OperatorRequest, RequestKind

_log = logging.getLogger(__name__)


class OperatorRequests:
    """The requests to whoever writes through one connection. One that only reads never looks at flags."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._raised: dict[str, OperatorRequest] = {}
        self._stuck: set[str] = set()
        self._looked_around = False

    def unanswered(self) -> list[OperatorRequest]:
        """Flags first, then rows of the kinds that this version knows, each oldest first."""
        raised = [] if self._connection.read_only else self._standing_flags()
        return [*raised, *_unanswered_rows(self._connection)]

    def answer(self, request_id: str, said: Mapping[str, object], at: datetime) -> None:
        """Write what came of a request, inside a transaction. The first answer stays."""
        words = json.dumps(said, default=str)
        if request_id not in self._raised:
            self._raised |= {request.request_id: request for request in flagged(self._connection.path)}
        request = self._raised.get(request_id)
        if request is not None:
            self._connection.execute(
                "INSERT INTO operator_requests (request_id, kind, arguments, asked_by, asked_at)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [request_id, request.kind, json.dumps(request.arguments), request.asked_by, request.asked_at],
            )
        self._connection.execute(
            "UPDATE operator_requests SET answered_at = ?, answer = ? WHERE request_id = ? AND answered_at IS NULL",
            [at, words, request_id],
        )

    def put_away(self, request_id: str) -> None:
        """Take down the flag of a request whose answer is committed; nothing where it has none."""
        if request_id not in self._raised:
            return
        try:
            take_down(self._connection.path, request_id)
            del self._raised[request_id]
        except OSError as error:
            self._stuck.add(request_id)
            _log.warning(
                "halt file of answered request_id=%s cannot be removed beside %s, remove it by hand: %s",
                request_id,
                self._connection.path,
                error,
            )

    def _standing_flags(self) -> list[OperatorRequest]:
        asked = flagged(self._connection.path, look_around=not self._looked_around)
        self._looked_around = True
        if not asked:
            return []
        self._raised |= {request.request_id: request for request in asked}
        answered = {
            request_id
            for (request_id,) in self._connection.rows(
                "SELECT request_id FROM operator_requests WHERE answered_at IS NOT NULL"
                " AND request_id IN (SELECT unnest(?))",
                [[request.request_id for request in asked]],
            )
        }
        for request_id in answered - self._stuck:  # the process ended between the answer and this
            self.put_away(request_id)
        return [request for request in asked if request.request_id not in answered]


def _unanswered_rows(connection: Connection) -> list[OperatorRequest]:
    """Rows of kinds that this version does not know wait for one that knows them.

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


def _object(text: str) -> Mapping[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else {}
