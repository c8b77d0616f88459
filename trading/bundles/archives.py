"""Arrays in zip archives, written so that equal contents are equal bytes and read so that no content can do harm.

Nothing is unpickled, and nothing is unpacked or allocated before its size is known to be within bounds.
"""

import io
import math
import sys
import zipfile
import zlib
from collections.abc import Mapping
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.errors import PolicyNotFit

MAX_BYTES = 512 * 2**20
"""Uncompressed bytes of all members together."""
MAX_MEMBERS = 200_000

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # The others unpack without a bound.
_DAMAGED = (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError, OSError, RuntimeError, zlib.error)


def write_archive(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of the members, sorted by name and without times: the same members are the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), members[name], compression)
    return buffer.getvalue()


def read_archive(content: bytes, max_bytes: int = MAX_BYTES) -> dict[str, bytes]:
    """All members of a zip archive by name.

    Raises ``PolicyNotFit`` where it is no archive, damaged, encrypted, names a member twice, or unpacks to more than
    ``max_bytes``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            _refuse_oversized(entries, max_bytes)
            return {entry.filename: _member(archive, entry) for entry in entries}
    except _DAMAGED as error:
        raise PolicyNotFit(f"The model's file is not an archive as it was written, or is damaged ({error}).") from error


def write_array(array: NDArray[np.generic]) -> bytes:
    """One array in numpy's own format."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_array(name: str, content: bytes) -> NDArray[np.generic]:
    """The array of a member in numpy's format.

    Raises ``PolicyNotFit`` for objects, which would have to be unpickled, and where header and bytes do not agree.
    """
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        if dtype.hasobject:
            raise PolicyNotFit(f"{name} of the model's file holds Python objects, which are never loaded.")
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
            raise PolicyNotFit(
                f"{name} of the model's file says it has the shape {shape}, which its size does not bear out."
            )
        _refuse_what_are_no_letters(name, dtype, content[stream.tell() :])
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (
        ValueError,
        TypeError,
        EOFError,
        SyntaxError,
        TokenError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise PolicyNotFit(f"{name} of the model's file is not an array ({error}).") from error


def _refuse_what_are_no_letters(name: str, dtype: np.dtype[Any], data: bytes) -> None:
    """numpy makes words of any four bytes, and Python breaks with a SystemError when it is shown them."""
    if any(dtype[field].kind not in "biuf" for field in dtype.names or ()):
        raise PolicyNotFit(f"{name} of the model's file holds records of something else than numbers.")
    if dtype.kind == "U" and dtype.itemsize:
        order = ">" if dtype.str.startswith(">") else "<"
        if (np.frombuffer(data, dtype=f"{order}u4") > sys.maxunicode).any():
            raise PolicyNotFit(f"{name} of the model's file holds words of what are no letters.")


def _refuse_oversized(entries: list[zipfile.ZipInfo], max_bytes: int) -> None:
    if len(entries) > MAX_MEMBERS or len({entry.filename for entry in entries}) != len(entries):
        raise PolicyNotFit(f"The model's file has {len(entries):,} members, too many or of the same name.")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max_bytes:
        raise PolicyNotFit(
            f"The model's file would unpack to {unpacked:,} bytes; at most {max_bytes:,} are read. A forest gets smaller "
            "with a larger min_samples_leaf or fewer trees."
        )
    for entry in entries:
        if entry.compress_type not in _COMPRESSIONS:
            raise PolicyNotFit(f"{entry.filename} of the model's file is compressed in a way that is not read.")


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Reads one byte more than announced and no more: an archive that lies about a size is not unpacked beyond it."""
    with archive.open(entry) as stream:
        read = stream.read(entry.file_size + 1)
    if len(read) != entry.file_size:
        raise PolicyNotFit(f"{entry.filename} of the model's file is shorter than announced: the file is damaged.")
    return read
