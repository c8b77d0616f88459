"""Prices and volumes of a file as whole numbers."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trading.bars import MISSING, Column
from trading.errors import ConfigurationError
from trading.feeds.bar_table import BarTable
from trading.money import MICROS_PER_UNIT

_LARGEST = 9e18
"""What an int64 holds, a little less."""
_MISSING_WORDS = pa.array(["", "na", "n/a", "#n/a", "nan", "-nan", "null", "none"])


def prices_as_micros(table: BarTable, name: str) -> Column:
    """The prices of one column in micros, half to even; ``MISSING`` where there is no number or one past all bounds.

    A float holds every price below nine thousand million to the micro, so that rounding it gives what was written.
    """
    return _whole(_numbers(table, name) * MICROS_PER_UNIT)


def volumes_as_shares(table: BarTable) -> Column:
    """The volumes in whole shares; ``MISSING`` where the file has none, also where it writes a negative number for it."""
    if table.column("volume") is None:
        return np.full(table.rows, MISSING, dtype=np.int64)
    shares = _whole(_numbers(table, "volume"))
    return np.where(shares < 0, MISSING, shares)


def _whole(numbers: NDArray[np.float64]) -> Column:
    known = np.abs(numbers) < _LARGEST
    return np.where(known, np.rint(np.where(known, numbers, 0.0)).astype(np.int64), MISSING)


def _numbers(table: BarTable, name: str) -> NDArray[np.float64]:
    values = table.column(name)
    assert values is not None
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = _parsed(table, name, values)
    elif pa.types.is_null(values.type):
        return np.full(table.rows, np.nan)
    elif not (
        pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type)
    ):
        raise ConfigurationError(
            f"{table.path}: the column {table.header(name)} holds {values.type} and not numbers. Write {name} as numbers."
        )
    # fill_null first: arrow's own way to NaN goes through Python objects for decimals.
    floats = pc.fill_null(values.cast(pa.float64(), safe=False), float("nan"))
    numbers: NDArray[np.float64] = floats.to_numpy()
    return numbers


def _parsed(table: BarTable, name: str, texts: pa.ChunkedArray) -> pa.ChunkedArray:
    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(pc.utf8_lower(texts), value_set=_MISSING_WORDS)
    texts = pc.if_else(missing, pa.scalar(None, texts.type), texts)
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        row, text = _first_that_is_no_number(texts)
        raise ConfigurationError(
            f"{table.path}: {text!r} in the column {table.header(name)}, row {row + 1}, is not a number. Mend that row, or "
            f"leave the field empty where there is no {name}."
        ) from None


def _first_that_is_no_number(texts: pa.ChunkedArray) -> tuple[int, str]:
    for row, text in enumerate(texts.to_pylist()):
        if text is not None:
            try:
                pa.scalar(text).cast(pa.float64())
            except pa.ArrowInvalid:
                return row, text
    raise AssertionError("arrow refused the column and accepts each of its values")
