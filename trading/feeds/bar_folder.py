"""Files of bars as one place to ask: all files that a pattern names, or those in a folder."""

import glob
import re
from datetime import datetime
from pathlib import Path

from trading.bars import BarColumns, Timeframe, to_epoch_us
from trading.errors import ConfigurationError, DataNotFit
from trading.feeds.bar_files import read_bars
from trading.settings import FeedSettings

_ENDINGS = (".csv", ".csv.gz", ".parquet", ".pq")


class BarFolder:
    """Past bars from files, all read when it is made. A file that does not say whose bars it holds is named after its symbol.

    Raises ``ConfigurationError`` where there is no file, or one that cannot be read as bars.
    """

    def __init__(self, pattern: str, timeframe: Timeframe, feed: FeedSettings) -> None:
        self.name = pattern
        self._bars: dict[str, BarColumns] = {}
        for path in self._files():
            symbol = feed.symbol or _symbol_in(path)
            for name, columns in _read(path, timeframe, symbol, feed).items():
                before = self._bars.get(name)
                self._bars[name] = columns if before is None else before.joined(columns)

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Raw bars whose open lies in ``[start, end)``; raises ``DataNotFit`` for a symbol that is in no file."""
        bars = self._bars.get(symbol)
        if bars is None:
            known = ", ".join(sorted(self._bars)[:8]) or "none"
            raise DataNotFit(
                f"{self.name} has no bars of {symbol}; it has {known}. Name files that have, or another symbol."
            )
        return bars.take((bars.time >= to_epoch_us(start)) & (bars.time < to_epoch_us(end)))

    def _files(self) -> list[Path]:
        folder = Path(self.name)
        named = folder.iterdir() if folder.is_dir() else map(Path, glob.glob(self.name, recursive=True))
        files = sorted(path for path in named if path.is_file() and path.name.lower().endswith(_ENDINGS))
        if not files:
            raise ConfigurationError(
                f"There is no CSV or Parquet file at {self.name} (from {Path.cwd()}). Name a folder, a file or a pattern such as bars/*.csv."
            )
        return files


def _symbol_in(path: Path) -> str | None:
    """SPY for SPY.csv and for spy_2026-01.parquet."""
    found = re.match(r"[A-Z0-9][A-Z0-9.\-]*?(?=_|\.CSV|\.PARQUET|\.PQ)", path.name.upper())
    return found[0] if found else None


def _read(path: Path, timeframe: Timeframe, symbol: str | None, feed: FeedSettings) -> dict[str, BarColumns]:
    asked = {"timezone": feed.timezone, "timestamp": feed.timestamp}
    try:
        return read_bars(path, timeframe, None, **asked)  # type: ignore[arg-type]
    except ConfigurationError:
        if symbol is None:
            raise
        # A file that does not say whose they are; what else may be wrong with it is said again.
        return read_bars(path, timeframe, symbol, **asked)  # type: ignore[arg-type]
