"""Between numpy's integer columns and Arrow's typed ones, without touching a value in Python.

Money is int64 micros on our side and DECIMAL(18, 6) on DuckDB's: the same integers, so only their frames differ.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trading.bars import MISSING, Column

MONEY = pa.decimal128(18, 6)
MOMENT = pa.timestamp("us", tz="UTC")
LARGEST_MICROS = 10**18 - 1
"""What DECIMAL(18, 6) can hold, in micros."""


def money(micros: Column) -> pa.Array:
    """Micros as decimals with six places; ``MISSING`` becomes NULL."""
    words = np.empty((len(micros), 2), dtype=np.int64)
    words[:, 0] = micros
    words[:, 1] = micros >> 63
    return pa.Array.from_buffers(MONEY, len(micros), [_validity(micros), pa.py_buffer(words)])


def moments(microseconds: Column) -> pa.Array:
    """Microseconds since the epoch as UTC timestamps."""
    return pa.array(np.ascontiguousarray(microseconds)).view(MOMENT)


def integers(values: Column) -> pa.Array:
    """Whole numbers; ``MISSING`` becomes NULL."""
    whole = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.int64(), len(whole), [_validity(whole), pa.py_buffer(whole)])


def words(indices: NDArray[np.integer], vocabulary: list[str]) -> pa.Array:
    """Text by its place in ``vocabulary``."""
    return pa.DictionaryArray.from_arrays(pa.array(indices.astype(np.int32)), pa.array(vocabulary, pa.string()))


def as_column(column: pa.ChunkedArray) -> Column:
    """Back again: decimals as micros, timestamps as microseconds, NULL as ``MISSING``."""
    parts = [_as_numbers(chunk) for chunk in column.chunks if len(chunk)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _as_numbers(chunk: pa.Array) -> Column:
    step = 2 if pa.types.is_decimal128(chunk.type) else 1
    buffer = np.frombuffer(chunk.buffers()[1], dtype=np.int64)
    numbers = buffer[chunk.offset * step : (chunk.offset + len(chunk)) * step : step]
    if chunk.null_count:
        absent = chunk.is_null().to_numpy(zero_copy_only=False)
        return np.where(absent, np.int64(MISSING), numbers)
    return numbers.copy()


def _validity(values: Column) -> pa.Buffer | None:
    present = values != MISSING
    return None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
