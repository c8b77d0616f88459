"""Works out many series at once: what they share is worked out a single time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import numpy as np

from trading.features.inputs import FIELDS, OF_SESSIONS
from trading.features.series import Constant, Derived, Field, Floats, Input, Pointwise, Series, Step

_NONE = -1
"""Stands for an input that a series does not have."""


class Graph:
    """The series and all they are made of, in an order in which each can be worked out after its inputs."""

    def __init__(self, outputs: Sequence[Series]) -> None:
        self._outputs = tuple(outputs)
        self._derived: dict[Derived, None] = {}
        self._constants: dict[Constant, None] = {}
        self._fields: set[Field] = set()
        for series in self._outputs:
            self._add(series)
        self._looked_back_on: set[Series] = set()
        for derived in reversed(self._derived):
            # What is worked out from one bar alone need not know what was before.
            if derived in self._looked_back_on or not isinstance(derived, Pointwise):
                self._looked_back_on.update(derived.inputs)

    @property
    def fields(self) -> frozenset[Field]:
        """What it needs of the bars."""
        return frozenset(self._fields)

    @property
    def needs_sessions(self) -> bool:
        """Whether it has to be told which session a bar belongs to."""
        return not self._fields.isdisjoint(OF_SESSIONS)

    @property
    def warmup_bars(self) -> int:
        """Bars until every one of the series is known, the newest included."""
        return max((series.warmup_bars for series in self._outputs), default=1)

    def history(self, inputs: Mapping[Field, Floats], rows: int) -> Floats:
        """The series as columns of one array (rows x series)."""
        columns = self._given(inputs)
        waiting = [part for series in self._derived for part in series.inputs]
        made = np.empty((rows, len(self._outputs)))
        for series in self._derived:
            columns[series] = series.history(*(columns[part] for part in series.inputs))
            for part in series.inputs:
                waiting.remove(part)
                if part not in waiting and part not in self._outputs:
                    # A long history has room for what is still needed only.
                    del columns[part]
        for place, output in enumerate(self._outputs):
            made[:, place] = columns[output]
        return made

    def live(self, seen: Mapping[Field, Floats]) -> "LiveGraph":
        """A new stream of all series that has seen these bars."""
        columns = self._given(seen)
        places: dict[Series, int] = {Input(field): place for place, field in enumerate(FIELDS)}
        for constant in self._constants:
            places[constant] = len(places)
        steps = []
        for series in self._derived:
            past = [columns[part] for part in series.inputs if part in columns]
            if series in self._looked_back_on:
                columns[series] = series.told(*past)
            steps.append((series.live(*past), *_three(places[part] for part in series.inputs)))
            places[series] = len(places)
        return LiveGraph(
            [constant.value for constant in self._constants], steps, [places[output] for output in self._outputs]
        )

    def _given(self, inputs: Mapping[Field, Floats]) -> dict[Series, Floats]:
        columns: dict[Series, Floats] = {Input(field): column for field, column in inputs.items()}
        columns.update((constant, np.array(constant.value)) for constant in self._constants)
        return columns

    def _add(self, series: Series) -> None:
        match series:
            case Input(field):
                self._fields.add(field)
            case Constant():
                self._constants[series] = None
            case _:
                derived = cast(Derived, series)
                for part in derived.inputs:
                    self._add(part)
                self._derived.setdefault(derived)


def _three(places: Iterable[int]) -> tuple[int, int, int]:
    first, second, third = [*places, _NONE, _NONE][:3]
    return first, second, third


class LiveGraph:
    """Numbers of one bar in, numbers of all series out; each call is the next bar."""

    def __init__(self, constants: list[float], steps: list[tuple[Step, int, int, int]], outputs: list[int]) -> None:
        self._constants = constants
        self._steps = steps
        self._outputs = outputs

    def step(self, inputs: Sequence[float]) -> Floats:
        """``inputs`` in the order of ``FIELDS``; what is not needed may be anything."""
        known = [*inputs, *self._constants]
        for step, first, second, third in self._steps:
            # Spelled out: a loop over the inputs would take longer than most of the steps.
            if second < 0:
                known.append(step(known[first]))
            elif third < 0:
                known.append(step(known[first], known[second]))
            else:
                known.append(step(known[first], known[second], known[third]))
        return np.array([known[place] for place in self._outputs])
