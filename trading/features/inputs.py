"""What features are worked out from: the fields of bars as floats, and the sessions that the bars belong to."""

from collections.abc import Mapping, Set

import numpy as np

from trading.bars import Column
from trading.features.series import Field, Floats
from trading.features.session_table import sessions_around

FIELDS = tuple(Field)
"""The order in which a stream takes the numbers of a bar."""

OF_SESSIONS = (Field.SESSION_OPENS, Field.SESSION_CLOSES, Field.WEEKDAY)
OF_BARS = tuple(field for field in FIELDS if field not in OF_SESSIONS)

LOWEST: Mapping[Field, int] = {Field.HIGH: 1, Field.LOW: 1, Field.CLOSE: 1, Field.VOLUME: 0}
"""What is less is no price and no volume: nonsense, or ``MISSING``."""


def inputs_of(exchange: str, columns: Mapping[Field, Column], needed: Set[Field]) -> dict[Field, Floats]:
    """The needed fields of bars as floats, NaN for what is not known. ``columns`` has the times, and what is needed of ``OF_BARS``."""
    times = columns[Field.TIME]
    inputs = {field: _known(columns[field], LOWEST.get(field)) for field in OF_BARS if field in needed}
    if not needed.isdisjoint(OF_SESSIONS):
        inputs.update(zip(OF_SESSIONS, _sessions_of(exchange, times), strict=True))
    return inputs


def _sessions_of(exchange: str, times: Column) -> tuple[Floats, Floats, Floats]:
    if not len(times):
        none = np.empty(0)
        return none, none, none
    return sessions_around(exchange, int(times[0]), int(times[-1])).of_columns(times)


def _known(column: Column, lowest: int | None) -> Floats:
    numbers = column.astype(np.float64)
    if lowest is not None:
        numbers[column < lowest] = np.nan
    return numbers
