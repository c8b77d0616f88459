"""DuckDB's extensions from their Python wheels: nothing is fetched, so it works without a network.

Quack lets one DuckDB ask another; it takes its random numbers and its HTTP from httpfs.
"""

from importlib.util import find_spec
from pathlib import Path

import duckdb

from storage.connection import first_lines
from trading.errors import StoreError

_NEEDED = ("httpfs", "quack")


class ExtensionMissing(StoreError):
    """An extension is not installed, or does not fit this DuckDB or this machine."""


def load_quack(raw: duckdb.DuckDBPyConnection) -> None:
    """Load what asking another DuckDB takes; raises ``ExtensionMissing``."""
    for name in _NEEDED:
        file = _file(name)
        try:
            raw.execute(f"LOAD {quoted(str(file))}")
        except duckdb.Error as error:
            raise ExtensionMissing(
                f"DuckDB's extension {name} could not be loaded from {file}: {first_lines(error)}."
            ) from error


def _file(name: str) -> Path:
    package = f"duckdb_extension_{name}"
    found = find_spec(package)
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        file = Path(folder, "extensions", f"v{duckdb.__version__}", f"{name}.duckdb_extension")
        if file.is_file():
            return file
    raise ExtensionMissing(
        f"DuckDB's extension {name} is not there for DuckDB {duckdb.__version__}: install it with "
        f"`pip install {package.replace('_', '-')}=={duckdb.__version__}`."
    )


def quoted(text: str) -> str:
    """Text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
