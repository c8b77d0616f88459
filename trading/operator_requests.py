"""What a person asks of a running session from outside: handed in through the store, answered by the session itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class RequestKind(StrEnum):
    """What can be asked.

    HALT takes ``scope``, ``reason``, ``flatten``, ``minutes`` (None: until it is cleared) and is answered once the stop is done
    or has become an alarm. FLATTEN is a HALT of the account until the session's close, with ``flatten``. RESUME takes ``scope``.
    LIMITS takes ``limits``: settings of ``[risk]`` by name.
    """

    RECONCILE = "reconcile"
    HALT = "halt"
    FLATTEN = "flatten"
    RESUME = "resume"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """One request. ``arguments`` and the answer are plain values that JSON can say."""

    request_id: str
    kind: RequestKind
    arguments: Mapping[str, Any]
    asked_by: str
    asked_at: datetime
