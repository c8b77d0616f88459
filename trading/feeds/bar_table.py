"""A file of bars as a table whose columns are found by their usual names."""

import csv
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from trading.errors import ConfigurationError

_NAMES = {
    "symbol": ("symbol", "ticker", "sym"),
    "timestamp": ("timestamp", "bar_time", "datetime", "date_time", "date/time", "time_utc"),
    "date": ("date", "day"),
    "time": ("time",),
    # How pandas writes an index that has no name: looked at only when nothing else says the time.
    "index": ("", "unnamed: 0", "__index_level_0__"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
}
_CSV_ENDINGS = (".csv", ".csv.gz")
_PARQUET_ENDINGS = (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class BarTable:
    """The table of a file with the header under which each known column stands in it."""

    path: Path
    table: pa.Table
    headers: dict[str, str]

    @property
    def rows(self) -> int:
        """How many rows it has, at least one."""
        return int(self.table.num_rows)

    def header(self, column: str) -> str:
        """What the file calls ``column``."""
        return self.headers[column]

    def column(self, column: str) -> pa.ChunkedArray | None:
        """The values of ``column``, None where the file has no such column."""
        header = self.headers.get(column)
        return None if header is None else self.table.column(header)


def read_table(path: Path) -> BarTable:
    """Read ``path``; raises ``ConfigurationError`` for a file that is missing, empty, damaged or has no bar columns."""
    name = path.name.lower()
    is_csv = name.endswith(_CSV_ENDINGS)
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder. Name a CSV or Parquet file in it.")
    if not path.exists():
        raise ConfigurationError(f"The file of bars {path} does not exist. Check the path.")
    if not is_csv and not name.endswith(_PARQUET_ENDINGS):
        raise ConfigurationError(
            f"{path} is neither CSV nor Parquet by its name. Give a file that ends in "
            f"{', '.join((*_CSV_ENDINGS, *_PARQUET_ENDINGS))}."
        )
    try:
        if path.stat().st_size == 0:
            raise ConfigurationError(f"The file of bars {path} is empty. Export or copy it again.")
        table, headers = _read_csv(path) if is_csv else _read_parquet(path)
    except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        kind = "CSV" if is_csv else "Parquet"
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"{path} cannot be read as {kind}: {reason}. It may be cut short, damaged or of another format: export or "
            f"copy it again."
        ) from error
    if table.num_rows == 0:
        raise ConfigurationError(f"{path} has a header and no bars. Export it again.")
    return BarTable(path, table, headers)


def _read_parquet(path: Path) -> tuple[pa.Table, dict[str, str]]:
    # Opened first: given a path, pyarrow would take the folders above it (a=b) for columns.
    with path.open("rb") as stream:
        file = pa.parquet.ParquetFile(stream)
        headers = _find_headers(path, file.schema_arrow.names)
        return file.read(columns=list(headers.values())), headers


def _read_csv(path: Path) -> tuple[pa.Table, dict[str, str]]:
    zipped = path.name.lower().endswith(".gz")
    with gzip.open(path, "rt", encoding="utf-8-sig") if zipped else path.open(encoding="utf-8-sig") as stream:
        first_line = stream.readline()
    delimiter = max(",;\t", key=first_line.count)
    names = next(csv.reader([first_line], delimiter=delimiter), [])
    headers = _find_headers(path, names)
    reading = pa.csv.ReadOptions(column_names=names, skip_rows=1)
    parsing = pa.csv.ParseOptions(delimiter=delimiter)

    def read(types: dict[str, pa.DataType]) -> pa.Table:
        converting = pa.csv.ConvertOptions(
            column_types=types, include_columns=list(headers.values()), null_values=_MISSING_WORDS
        )
        return pa.csv.read_csv(path, read_options=reading, parse_options=parsing, convert_options=converting)

    try:
        return read({headers[column]: kind for column, kind in _csv_types(headers).items()}), headers
    except pa.ArrowInvalid:
        # Some field is not of its column's type. As text everything can be read, and the field be named.
        return read(dict.fromkeys(headers.values(), pa.string())), headers


def _csv_types(headers: dict[str, str]) -> dict[str, pa.DataType]:
    """What arrow must not guess at: a ticker NA is no missing value, a date 20110103 beside a time no number."""
    text = ["symbol", "date", "time"] if {"date", "time"} <= set(headers) else ["symbol"]
    numbers = dict.fromkeys(("open", "high", "low", "close", "volume"), pa.float64())
    types = {**dict.fromkeys(text, pa.string()), **numbers}
    return {column: kind for column, kind in types.items() if column in headers}


_MISSING_WORDS = ["", "NA", "N/A", "#N/A", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "none"]


def _find_headers(path: Path, names: list[str]) -> dict[str, str]:
    """Which of ``names`` is which column; refuses files without time or prices, and two columns for one thing."""
    found: dict[str, str] = {}
    for column, synonyms in _NAMES.items():
        matching = [name for name in names if name.strip().lower() in synonyms]
        if len(matching) > 1:
            raise ConfigurationError(
                f"{path} has {len(matching)} columns for the {column}: {', '.join(matching)}. Keep one of them."
            )
        if matching:
            found[column] = matching[0]
    if "timestamp" in found:
        found.pop("date", None)
        found.pop("time", None)
    if {"timestamp", "date", "time"} & set(found):
        found.pop("index", None)
    missing = [column for column in ("open", "high", "low", "close") if column not in found]
    if not {"timestamp", "date", "time", "index"} & set(found):
        missing.insert(0, "timestamp")
    if missing:
        shown = ", ".join(name if name.strip() else "(no name)" for name in names[:12]) or "nothing"
        raise ConfigurationError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; found {shown}. The first "
            f"line must name timestamp, open, high, low and close, and volume where there is one."
        )
    return found
