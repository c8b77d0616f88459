"""Series that begin anew with each session: a volume-weighted mean since the open, and what was before the session.

A session is told by its open, in microseconds since the epoch; bars outside of all sessions have NaN there and here.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.features.series import Derived, Floats, Series, Step


@dataclass(frozen=True)
class SessionSum(Derived):
    """Sum of a series that is nowhere negative since the session's first bar, that one and the newest included."""

    of: Series
    session: Series
    session_bars: int
    """Bars of a full session."""

    @property
    def inputs(self) -> tuple[Series, ...]:
        return (self.of, self.session)

    @property
    def reach(self) -> int:
        return self.session_bars - 1

    def history(self, *columns: Floats) -> Floats:
        column, sessions = columns
        sums = np.empty(len(column))
        edges = [*_first_rows(sessions), len(column)]
        for first, end in itertools.pairwise(edges):
            # Each session by itself: a difference of sums over all of them would lose the small ones.
            np.cumsum(column[first:end], out=sums[first:end])
        sums[np.isnan(sessions)] = np.nan
        return sums

    def live(self, *seen: Floats) -> Step:
        _, sessions = seen
        current, total = math.nan, math.nan
        if len(sessions):
            current, total = float(sessions[-1]), float(self.history(*seen)[-1])

        def step(number: float, session: float) -> float:
            nonlocal current, total
            if session == current:
                total += number
                return total
            current, total = session, number
            return math.nan if math.isnan(session) else total

        return step


@dataclass(frozen=True)
class BeforeSession(Derived):
    """What a series was on the last bar before the session's first one."""

    of: Series
    session: Series
    session_bars: int

    @property
    def inputs(self) -> tuple[Series, ...]:
        return (self.of, self.session)

    @property
    def reach(self) -> int:
        return self.session_bars

    def history(self, *columns: Floats) -> Floats:
        column, sessions = columns
        first = _first_rows(sessions)
        before = np.concatenate(([np.nan], column))[first]
        spread = np.repeat(before, np.diff(np.append(first, len(column))))
        spread[np.isnan(sessions)] = np.nan
        return spread

    def live(self, *seen: Floats) -> Step:
        column, sessions = seen
        current, newest, before = math.nan, math.nan, math.nan
        if len(sessions):
            current, newest, before = float(sessions[-1]), float(column[-1]), float(self.history(*seen)[-1])

        def step(number: float, session: float) -> float:
            nonlocal current, newest, before
            if session != current:
                current, before = session, math.nan if math.isnan(session) else newest
            newest = number
            return before

        return step


def _first_rows(sessions: Floats) -> NDArray[np.intp]:
    """Where a session begins. Each bar outside of all (NaN equals nothing) stands alone."""
    begins = np.ones(len(sessions), dtype=np.bool_)
    begins[1:] = sessions[1:] != sessions[:-1]
    return np.flatnonzero(begins)
