"""Labels by the first of three barriers: a gain, a loss, or the end of patience.

Lopez de Prado 2018, *Advances in Financial Machine Learning*, chapter 3. Barriers lie at multiples of the volatility that was known at
the bar; what they are touched by are highs and lows of later bars, and not closes.
"""

from collections.abc import Sequence

import numpy as np

from trading.bars import BarColumns
from trading.trading_hours import TradingHours
from trading.training.labels import BUY, HOLD, SELL, UNLABELLED, Floats, Labels, session_ends, session_numbers


def ewma_volatility(bars: BarColumns, sessions: Sequence[TradingHours], span_bars: int) -> Floats:
    """Volatility of one bar's logarithmic return, known at its close: the root of an exponentially weighted mean of squares.

    Weights fall by the factor 1 - 2 / (span + 1) a bar. Returns over a session's close are left out; NaN until there were
    ``span_bars`` returns. Lopez de Prado 2018, section 3.3 (his is of daily returns).
    """
    if span_bars < 1:
        raise ValueError(f"a volatility is taken over bars: span_bars is {span_bars}")
    numbers = session_numbers(bars, sessions)
    close = bars.close.astype(np.float64)
    change = np.zeros(len(bars))
    change[1:] = np.log(close[1:] / close[:-1])
    counts = np.zeros(len(bars), dtype=np.bool_)
    counts[1:] = (numbers[1:] == numbers[:-1]) & (numbers[1:] >= 0)
    keep = 1.0 - 2.0 / (span_bars + 1)
    weighted = weight = 0.0
    seen = 0
    volatility = np.full(len(bars), np.nan)
    for row, (squared, has_one) in enumerate(zip((change * change).tolist(), counts.tolist(), strict=True)):
        if has_one:
            weighted, weight, seen = keep * weighted + squared, keep * weight + 1.0, seen + 1
        if seen >= span_bars:
            volatility[row] = (weighted / weight) ** 0.5
    return volatility


def triple_barrier(
    bars: BarColumns,
    sessions: Sequence[TradingHours],
    volatility: Floats,
    *,
    horizon_bars: int,
    upper: float,
    lower: float,
    across_sessions: bool = False,
    sign_at_end: bool = False,
) -> Labels:
    """The first barrier that the bars after each row touch, from its close on.

    The upper one lies ``upper`` volatilities above the close, the lower one ``lower`` below (in logarithms), the third after
    ``horizon_bars`` bars. ``volatility`` (a fraction a bar) has to be known at the row. A touch of the upper barrier is BUY, of the lower SELL,
    and the value is the return at which it was touched: the barrier's, or the bar's open where that lies beyond it already. A bar that touches
    both is SELL unless it opens beyond the upper one: nobody knows which came first, and whoever is long has to expect the worse. No touch is
    HOLD with the return at the last close, or the sign of that where ``sign_at_end``.

    A row whose horizon leaves its session has no label, even where a barrier is touched before: else the session's last bars would
    be labelled only where they moved. Nor has one without a positive volatility. ``end`` is the bar of the touch.
    """
    if horizon_bars < 1 or not (upper > 0 and lower > 0):
        raise ValueError(
            f"barriers lie ahead, above and below: horizon_bars {horizon_bars}, upper {upper}, lower {lower}"
        )
    count = len(bars)
    rows = np.arange(count)
    numbers = session_numbers(bars, sessions)
    last = np.full(count, count - 1) if across_sessions else session_ends(numbers)
    open_ = (rows + horizon_bars <= last) & (numbers >= 0) & (volatility > 0)
    labelled = open_.copy()
    opens, highs, lows, closes = (np.log(column) for column in (bars.open, bars.high, bars.low, bars.close))
    width = np.where(open_, volatility, 0.0)
    above, below = closes + upper * width, closes - lower * width
    value = np.full(count, np.nan)
    side = np.full(count, HOLD, dtype=np.int8)
    end = np.full(count, UNLABELLED, dtype=np.int64)
    # All rows at once, one bar further at a time: those that have touched drop out.
    waiting = np.flatnonzero(open_)
    for ahead in range(1, horizon_bars + 1):
        later = waiting + ahead
        gapped_up = opens[later] >= above[waiting]
        fell = (lows[later] <= below[waiting]) & ~gapped_up
        rose = (highs[later] >= above[waiting]) & ~fell
        touched = waiting[rose]
        side[touched], end[touched] = BUY, touched + ahead
        value[touched] = np.maximum(above[touched], opens[touched + ahead]) - closes[touched]
        touched = waiting[fell]
        side[touched], end[touched] = SELL, touched + ahead
        value[touched] = np.minimum(below[touched], opens[touched + ahead]) - closes[touched]
        waiting = waiting[~(rose | fell)]
    end[waiting] = waiting + horizon_bars
    value[waiting] = closes[waiting + horizon_bars] - closes[waiting]
    if sign_at_end:
        side[waiting] = np.sign(value[waiting])
    return Labels(np.where(labelled, value, np.nan), side, end)
