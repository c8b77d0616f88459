"""Bars at rest, a file or a table, played as a session."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from trading.bars import BarColumns, RawSlice, Timeframe, to_epoch_us
from trading.errors import DataNotFit
from trading.feeds.moments import moments
from trading.ports import BarSource, Clock
from trading.sessions import Mode
from trading.trading_hours import TradingHours

_NAMED = 8


class RecordedFeed:
    """The bars of ``source``, each delivered when ``clock`` has reached its end.

    Delivers duplicates and disorder as they lie in the source (see ``moments``).
    """

    def __init__(self, source: BarSource, timeframe: Timeframe, clock: Clock) -> None:
        self._source = source
        self._timeframe = timeframe
        self._clock = clock
        self._symbols = frozenset(source.symbols())

    @property
    def mode(self) -> Mode:
        """Recorded prices."""
        return Mode.RECORDED

    def history(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Raw bars whose open lies in ``[start, end)``; raises ``DataNotFit`` for a symbol the source does not have."""
        self._check_known(symbol)
        return self._source.between(symbol, start, end)

    def stream(self, symbols: Sequence[str], hours: TradingHours, after: datetime | None) -> Iterator[RawSlice]:
        """The session's bars moment by moment.

        Raises ``DataNotFit`` at once when the session has no bar of any of ``symbols``. A session whose bars are all
        at or before ``after`` is no error: nothing is left to deliver.
        """
        rows = {symbol: self.history(symbol, hours.opens_at, hours.closes_at) for symbol in symbols}
        if not any(len(columns) for columns in rows.values()):
            raise DataNotFit(self._no_bars(symbols, hours))
        if after is not None:
            last = to_epoch_us(after)
            rows = {symbol: columns.take(columns.time > last) for symbol, columns in rows.items()}
        return moments(rows, hours, self._timeframe, self._clock)

    def _check_known(self, symbol: str) -> None:
        if symbol not in self._symbols:
            known = sorted(self._symbols)
            more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
            has = f"It has {', '.join(known[:_NAMED])}{more}." if known else "It has no bars at all."
            raise DataNotFit(
                f"No bars of {symbol} in {self._source.name}. {has} Import bars of {symbol}, or trade another symbol."
            )

    def _no_bars(self, symbols: Sequence[str], hours: TradingHours) -> str:
        spans = []
        for symbol in symbols[:_NAMED]:
            span = self._source.span(symbol)
            if span is not None:
                first, last = (hours.local(moment).date().isoformat() for moment in span)
                spans.append(f"{symbol} from {first} to {last}")
        has = f"It has {', '.join(spans)}." if spans else "It has none at all."
        return (
            f"No bars of {', '.join(symbols[:_NAMED])} in {self._source.name} in the session of "
            f"{hours.session_date.isoformat()}. {has} Choose a date in that span, or import bars of the session."
        )
