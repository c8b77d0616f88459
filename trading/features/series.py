"""Series of numbers, one for each bar: what features are written over.

A series is a formula, not data. It has two forms that give the same numbers: ``history`` makes a whole column out of the
columns of its inputs, and what ``live`` returns makes one number out of the inputs' numbers of one bar, in constant time.
One rule keeps the two together: the number of a bar depends on that bar and the ``reach`` bars before it, and on nothing
older, not even a little. So it does not matter where a stream began.

Prices are floats that hold whole micros (exact up to 9e9 in currency), volumes whole shares; NaN is a number that is not known.
"""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Step = Callable[..., float]
"""Takes the inputs' numbers of the next bar, remembers what it needs of them, and returns the series' own."""


class Series:
    """One number a bar. Equal formulas are equal objects, so that a set of features works each out once."""

    @property
    def warmup_bars(self) -> int:
        """Bars it must have seen, the newest included."""
        return 1

    def __add__(self, other: "Series") -> "Series":
        return Pointwise(_ADD, (self, other))

    def __sub__(self, other: "Series | float") -> "Series":
        return Pointwise(_SUBTRACT, (self, _series(other)))

    def __mul__(self, other: "Series | float") -> "Series":
        return Pointwise(_MULTIPLY, (self, _series(other)))

    def __truediv__(self, other: "Series | float") -> "Series":
        """NaN where ``other`` is zero."""
        return Pointwise(_DIVIDE, (self, _series(other)))


class Field(StrEnum):
    """What is known of a bar. Times are microseconds since the epoch; what belongs to no session has NaN for it."""

    TIME = "time"
    """The bar's open."""
    HIGH = "high"
    LOW = "low"
    CLOSE = "close"
    VOLUME = "volume"
    SESSION_OPENS = "session_opens"
    SESSION_CLOSES = "session_closes"
    WEEKDAY = "weekday"
    """Of the session's exchange date: 0 is Monday."""


@dataclass(frozen=True)
class Input(Series):
    """One field of the bars themselves."""

    field: Field


@dataclass(frozen=True)
class Constant(Series):
    """The same number on every bar."""

    value: float


class Derived(Series, ABC):
    """What is worked out of other series."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[Series, ...]:
        """What it is made of: one to three series."""

    @property
    def reach(self) -> int:
        """How many bars before the newest one it looks at in its inputs."""
        return 0

    @abstractmethod
    def history(self, *columns: Floats) -> Floats:
        """Its column, from those of ``inputs``; NaN where ``reach`` goes back before the first bar."""

    @abstractmethod
    def live(self, *seen: Floats) -> Step:
        """A new stream of it that has seen these columns of ``inputs``, which may be empty; NaN until ``reach`` bars were seen."""

    def told(self, *seen: Floats) -> Floats:
        """What a stream would have told on these bars, without the time that each of them takes."""
        return self.history(*seen)

    @property
    def warmup_bars(self) -> int:
        return self.reach + max(series.warmup_bars for series in self.inputs)


@dataclass(frozen=True)
class Operation:
    """Arithmetic in its two forms. On columns numpy is silent about zeros and logarithms of nothing; on numbers Python is not."""

    name: str
    on_columns: Callable[..., Any]
    on_numbers: Step


@dataclass(frozen=True)
class Pointwise(Derived):
    """An operation on the numbers of the same bar."""

    operation: Operation
    operands: tuple[Series, ...]

    @property
    def inputs(self) -> tuple[Series, ...]:
        return self.operands

    def history(self, *columns: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            column: Floats = self.operation.on_columns(*columns)
        return column

    def live(self, *seen: Floats) -> Step:
        del seen  # it remembers nothing
        return self.operation.on_numbers

    def told(self, *seen: Floats) -> Floats:
        # The logarithms of columns and of numbers differ in their last bits.
        one_by_one = np.frompyfunc(self.operation.on_numbers, len(seen), 1)
        with np.errstate(invalid="ignore"):
            return np.asarray(one_by_one(*seen), dtype=np.float64)


def _series(value: Series | float) -> Series:
    return value if isinstance(value, Series) else Constant(float(value))


def _ratio_of_columns(over: Floats, under: Floats, where_zero: Floats) -> Floats:
    return np.where(under == 0, where_zero, over / under)


def _ratio_of_numbers(over: float, under: float, where_zero: float) -> float:
    return over / under if under else where_zero


def _quotient_of_columns(over: Floats, under: Floats) -> Floats:
    return np.where(under == 0, np.nan, over / under)


def _quotient_of_numbers(over: float, under: float) -> float:
    return over / under if under else math.nan


def _larger(one: float, other: float) -> float:
    # Python's max would let a NaN win or lose by its place.
    return one if one > other else other if other >= one else math.nan


def _smaller(one: float, other: float) -> float:
    return one if one < other else other if other <= one else math.nan


_ADD = Operation("add", np.add, operator.add)
_SUBTRACT = Operation("subtract", np.subtract, operator.sub)
_MULTIPLY = Operation("multiply", np.multiply, operator.mul)
_DIVIDE = Operation("divide", _quotient_of_columns, _quotient_of_numbers)
_RATIO = Operation("ratio", _ratio_of_columns, _ratio_of_numbers)
_LARGER = Operation("larger", np.maximum, _larger)
_SMALLER = Operation("smaller", np.minimum, _smaller)
_LOGARITHM = Operation("logarithm", np.log, math.log)

TIME, HIGH, LOW, CLOSE, VOLUME, SESSION_OPENS, SESSION_CLOSES, WEEKDAY = map(Input, Field)


def ratio(over: Series, under: Series, where_zero: Series | float) -> Series:
    """``over / under``, and ``where_zero`` on bars where ``under`` is zero."""
    return Pointwise(_RATIO, (over, under, _series(where_zero)))


def larger(one: Series, other: Series | float) -> Series:
    """The larger of two; NaN where one of them is."""
    return Pointwise(_LARGER, (one, _series(other)))


def smaller(one: Series, other: Series | float) -> Series:
    """The smaller of two; NaN where one of them is."""
    return Pointwise(_SMALLER, (one, _series(other)))


def logarithm(of: Series) -> Series:
    """Natural logarithm of a series that is nowhere zero or less."""
    return Pointwise(_LOGARITHM, (of,))
