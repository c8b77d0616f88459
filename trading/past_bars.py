"""Who can be asked for bars of the past."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from trading.bars import BarColumns

PastBarsKind = Literal["ib", "files"]


class PastBars:
    """A source of past bars.

    ``between`` (symbol, start, end) gives bars whose open lies in ``[start, end)``, empty where the source has none; it raises
    ``DataNotFit`` for a symbol that the source does not know, ``BrokerUnavailable`` where it gave no answer: asking again is safe.
    ``now`` is the source's time: what is not over by then is not the past.
    """

    def __init__(
        self,
        kind: PastBarsKind,
        name: str,
        now: Callable[[], datetime],
        between: Callable[[str, datetime, datetime], BarColumns],
    ) -> None:
        self.kind = kind
        self.name = name
        self.now = now
        self.between = between
