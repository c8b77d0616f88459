"""Stored columns as a stream of moments, each handed out when the session's time has reached its end."""

from collections.abc import Iterator, Mapping

import numpy as np

from trading.bars import BarColumns, RawSlice, Timeframe, from_epoch_us
from trading.ports import Clock
from trading.trading_hours import TradingHours


def moments(
    rows: Mapping[str, BarColumns], hours: TradingHours, timeframe: Timeframe, clock: Clock
) -> Iterator[RawSlice]:
    """The rows moment by moment, each after ``clock`` has reached the moment's end.

    Rows stay in source order. A row that is older than one before it comes together with that later one, as it would
    come late on a wire: a slice can hold several rows of a symbol, and rows older than its ``bar_time``. Time never
    goes back, and what is a duplicate or out of order can still be told.
    """
    arrivals = {symbol: np.maximum.accumulate(columns.time) for symbol, columns in rows.items() if len(columns)}
    if not arrivals:
        return
    times = np.unique(np.concatenate(list(arrivals.values())))
    edges = {symbol: np.searchsorted(arrival, times, side="left").tolist() for symbol, arrival in arrivals.items()}
    for symbol, arrival in arrivals.items():
        edges[symbol].append(len(arrival))
    for position, time in enumerate(times.tolist()):
        bar_time = from_epoch_us(time)
        clock.wait_until(min(bar_time + timeframe.length, hours.closes_at))
        yield RawSlice(
            bar_time,
            {
                symbol: rows[symbol].take(slice(edge[position], edge[position + 1]))
                for symbol, edge in edges.items()
                if edge[position] < edge[position + 1]
            },
        )
