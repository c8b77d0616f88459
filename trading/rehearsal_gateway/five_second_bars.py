"""A bar cut into shorter ones, as if its trades had been seen: the same bar always gives the same pieces.

The price goes in straight lines from the open to one extreme, to the other, and to the close; a bar that ends no lower than
it began visits its low first. Each piece opens where the one before closed, so that the pieces together are the bar again:
open, high, low, close and volume are exactly those of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from trading.bars import Bar
from trading.money import from_micros, to_micros

FIVE_SECONDS = timedelta(seconds=5)

_TICKS = (10_000, 100)
"""Prices in between are whole cents where all four prices of the bar are, else hundredths of a cent where those are."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bar in the numbers of columns: prices in micros, whole shares, None where the bar knows no volume."""

    open: int
    high: int
    low: int
    close: int
    volume: int | None


def cut_bar(bar: Bar, length: timedelta, pieces_of: timedelta = FIVE_SECONDS) -> tuple[Bar, ...]:
    """The pieces of ``bar``, which lasts ``length``, each ``pieces_of`` long; raises ``ValueError`` where they do not fit."""
    count, rest = divmod(length, pieces_of)
    if rest or count < 1:
        raise ValueError(f"a bar of {length} has no whole number of pieces of {pieces_of}")
    opened, high, low, closed = (to_micros(price) for price in (bar.open, bar.high, bar.low, bar.close))
    return tuple(
        Bar(
            bar.symbol,
            bar.bar_time + position * pieces_of,
            from_micros(piece.open),
            from_micros(piece.high),
            from_micros(piece.low),
            from_micros(piece.close),
            piece.volume,
        )
        for position, piece in enumerate(cut_prices(opened, high, low, closed, bar.volume, count))
    )


def cut_prices(opened: int, high: int, low: int, closed: int, volume: int | None, count: int) -> list[Piece]:
    """``count`` pieces of one bar in micros; fewer than three cannot show both extremes on the way, and have wider pieces."""
    if count < 3:
        return _few(opened, high, low, closed, volume, count)
    path = _path(opened, high, low, closed, count)
    return [
        Piece(before, max(before, after), min(before, after), after, _share(volume, position, count))
        for position, (before, after) in enumerate(pairwise(path))
    ]


def _path(opened: int, high: int, low: int, closed: int, count: int) -> list[int]:
    """``count + 1`` prices from the open to the close, both extremes among them."""
    first, second = (low, high) if closed >= opened else (high, low)
    knots = (opened, first, second, closed)
    tick = next((tick for tick in _TICKS if all(price % tick == 0 for price in knots)), 1)
    path = [opened]
    for start, end, steps in zip(knots, knots[1:], _steps(knots, count), strict=False):
        path += [start + tick * _rounded((end - start) // tick * step, steps) for step in range(1, steps + 1)]
    return path


def _steps(knots: Sequence[int], count: int) -> tuple[int, int, int]:
    """How many pieces each of the three ways takes: about as many as it is long, and one at least where it is any."""
    ways = [abs(end - start) for start, end in pairwise(knots)]
    total = sum(ways)
    if total == 0:
        return 0, 0, count
    first = min(
        max(_rounded(count * ways[0], total), 1 if ways[0] else 0),
        count - (1 if ways[1] else 0) - (1 if ways[2] else 0),
    )
    last = min(max(_rounded(count * ways[2], total), 1 if ways[2] else 0), count - first - (1 if ways[1] else 0))
    return first, count - first - last, last


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _share(volume: int | None, position: int, count: int) -> int | None:
    return None if volume is None else volume * (position + 1) // count - volume * position // count


def _few(opened: int, high: int, low: int, closed: int, volume: int | None, count: int) -> list[Piece]:
    if count == 1:
        return [Piece(opened, high, low, closed, volume)]
    first, second = (low, high) if closed >= opened else (high, low)
    return [
        Piece(opened, max(opened, first), min(opened, first), first, _share(volume, 0, 2)),
        Piece(first, max(first, second, closed), min(first, second, closed), closed, _share(volume, 1, 2)),
    ]
