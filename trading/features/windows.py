"""Series over the newest bars: a lag, an exponential mean, a root mean square, a distance in standard deviations.

No sum here is carried on from bar to bar by adding what comes and taking away what goes: such a sum keeps the rounding of the
wildest number that ever passed through it. Live, the window is worked out again from its own bars, which takes the same time on every
bar. Over a history, windows of 1, 2, 4, ... bars are joined until they are long enough (``over_windows``), so that a number is
made of its window alone there too, and its bits are the same whatever comes later.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trading.features.series import Derived, Floats, Series, Step

FORGOTTEN_WEIGHT = 1e-10
"""What an exponential mean leaves out: all older bars together would weigh less than this."""

Join = Callable[[tuple[Floats, ...], tuple[Floats, ...], int, int], tuple[Floats, ...]]
"""Makes one window of two: a newer one, an older one right before it, and the number of bars in each."""


def over_windows(bars: int, leaf: tuple[Floats, ...], join: Join) -> tuple[Floats, ...]:
    """For each bar what ``join`` makes of the window of ``bars`` bars that ends with it; NaN where it is cut short.

    ``leaf`` are the numbers of windows of one bar. Takes about ``2 * log2(bars)`` joins of whole columns. Where two windows
    differ in length, the older one is shorter and its length, a power of two, divides the other's.
    """
    rows = len(leaf[0])

    def joined(
        newer: tuple[Floats, ...], older: tuple[Floats, ...], newer_bars: int, older_bars: int
    ) -> tuple[Floats, ...]:
        made = join(
            tuple(column[newer_bars:] for column in newer),
            tuple(column[: max(rows - newer_bars, 0)] for column in older),
            newer_bars,
            older_bars,
        )
        head = np.full(min(newer_bars, rows), np.nan)
        return tuple(np.concatenate((head, column)) for column in made)

    doubled = [leaf]
    for power in range(bars.bit_length() - 1):
        doubled.append(joined(doubled[-1], doubled[-1], 1 << power, 1 << power))
    window, length = doubled.pop(), 1 << (bars.bit_length() - 1)
    while doubled:
        older, older_bars = doubled.pop(), 1 << len(doubled)
        if bars & older_bars:
            window, length = joined(window, older, length, older_bars), length + older_bars
    return window


def newest(bars: int, seen: Floats) -> Callable[[float], Floats]:
    """Remembers the last ``bars`` numbers, at first those of ``seen`` and NaN before: call it with the next one for a view of
    them, oldest first."""
    last = seen[-bars:]
    padded = np.concatenate((np.full(bars - len(last), np.nan), last))
    # Each number is kept twice, ``bars`` apart, so that the newest always lie side by side.
    kept = np.concatenate((padded, padded))
    place = 0

    def push(number: float) -> Floats:
        nonlocal place
        kept[place] = kept[place + bars] = number
        place += 1
        view = kept[place : place + bars]
        if place == bars:
            place = 0
        return view

    return push


@dataclass(frozen=True)
class Lag(Derived):
    """What the series was ``bars`` bars ago."""

    of: Series
    bars: int

    @property
    def inputs(self) -> tuple[Series, ...]:
        return (self.of,)

    @property
    def reach(self) -> int:
        return self.bars

    def history(self, *columns: Floats) -> Floats:
        (column,) = columns
        head = np.full(min(self.bars, len(column)), np.nan)
        return np.concatenate((head, column[: max(len(column) - self.bars, 0)]))

    def live(self, *seen: Floats) -> Step:
        passed = deque([math.nan] * (self.bars + 1), self.bars + 1)
        passed.extend(seen[0][-self.bars :].tolist())

        def step(number: float) -> float:
            passed.append(number)
            return passed[0]

        return step


@dataclass(frozen=True)
class ExponentialMean(Derived):
    """Mean in which each bar weighs ``decay`` times as much as the one after it (0 < decay < 1).

    It ends where all older bars together would weigh less than ``FORGOTTEN_WEIGHT``, and the weights that are left add up to
    one. Against a mean that never ends the difference is that weight; in return no bar is remembered for ever.
    """

    of: Series
    decay: float

    @classmethod
    def spanning(cls, of: Series, bars: int) -> "ExponentialMean":
        """The usual EMA: the newest bar weighs 2 / (bars + 1)."""
        return cls(of, 1 - 2 / (bars + 1))

    @classmethod
    def of_wilder(cls, of: Series, bars: int) -> "ExponentialMean":
        """Wilder's smoothing (New Concepts in Technical Trading Systems, 1978): the newest bar weighs 1 / bars."""
        return cls(of, 1 - 1 / bars)

    @property
    def inputs(self) -> tuple[Series, ...]:
        return (self.of,)

    @property
    def bars(self) -> int:
        """How many bars it is made of."""
        return math.ceil(math.log(FORGOTTEN_WEIGHT) / math.log(self.decay))

    @property
    def reach(self) -> int:
        return self.bars - 1

    def history(self, *columns: Floats) -> Floats:
        def join(newer: tuple[Floats, ...], older: tuple[Floats, ...], newer_bars: int, _: int) -> tuple[Floats, ...]:
            return (newer[0] + self.decay**newer_bars * older[0],)

        (weighted,) = over_windows(self.bars, columns, join)
        return weighted * ((1 - self.decay) / (1 - self.decay**self.bars))

    def live(self, *seen: Floats) -> Step:
        push = newest(self.bars, seen[0])
        weights = self.decay ** np.arange(self.bars - 1, -1, -1)
        weigh = (weights / weights.sum()).dot

        def step(number: float) -> float:
            return float(weigh(push(number)))

        return step


@dataclass(frozen=True)
class RootMeanSquare(Derived):
    """Square root of the mean of the squares of the newest ``bars`` numbers."""

    of: Series
    bars: int

    @property
    def inputs(self) -> tuple[Series, ...]:
        return (self.of,)

    @property
    def reach(self) -> int:
        return self.bars - 1

    def history(self, *columns: Floats) -> Floats:
        def join(newer: tuple[Floats, ...], older: tuple[Floats, ...], *_: int) -> tuple[Floats, ...]:
            return (newer[0] + older[0],)

        (squares,) = over_windows(self.bars, (columns[0] * columns[0],), join)
        return np.sqrt(squares / self.bars)

    def live(self, *seen: Floats) -> Step:
        push = newest(self.bars, seen[0])

        def step(number: float) -> float:
            window = push(number)
            return math.sqrt(window.dot(window) / self.bars)

        return step


@dataclass(frozen=True)
class Deviations(Derived):
    """How many standard deviations the newest of ``bars`` whole numbers lies above their mean; 0 where all are equal.

    The deviation is that of the window itself (divided by ``bars``, not by one less). Sums of the window are exact up to
    2**53, which is 4 million in currency over 2,000 bars.
    """

    of: Series
    bars: int

    @property
    def inputs(self) -> tuple[Series, ...]:
        return (self.of,)

    @property
    def reach(self) -> int:
        return self.bars - 1

    def history(self, *columns: Floats) -> Floats:
        (column,) = columns
        total, squares = over_windows(self.bars, (column, np.zeros(len(column))), _join_moments)
        above = self.bars * column - total
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(squares == 0, 0.0, above / np.sqrt(self.bars * squares))

    def live(self, *seen: Floats) -> Step:
        push, bars = newest(self.bars, seen[0]), self.bars
        add_up = np.ones(bars).dot

        def step(number: float) -> float:
            # Whole numbers: what the others lie above the newest one is exact.
            above = push(number) - number
            total = float(add_up(above))
            squares = float(above.dot(above)) - total * total / bars
            return -total / math.sqrt(bars * squares) if squares else 0.0

        return step


def _join_moments(
    newer: tuple[Floats, ...], older: tuple[Floats, ...], newer_bars: int, older_bars: int
) -> tuple[Floats, ...]:
    """Sum and sum of squares around the mean of two windows (Chan, Golub and LeVeque, 1979): nothing is taken away from a
    larger number but sums of whole numbers, which is exact."""
    total, squares = newer
    older_total, older_squares = older
    apart = total - newer_bars // older_bars * older_total
    between = apart * apart * (older_bars / (newer_bars * (newer_bars + older_bars)))
    return total + older_total, squares + older_squares + between
