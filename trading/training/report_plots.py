"""Pictures of a training. matplotlib is imported only where one is drawn, and no window is ever opened."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.bars import BarColumns, from_epoch_us, to_epoch_us
from trading.money import MICROS_PER_UNIT
from trading.orders import Execution, Side
from trading.trading_hours import TradingHours
from trading.training.track_record import TrackRecord
from trading.training.trainer import YARDSTICKS, FoldOutcome
from trading.training.training_report import MODEL, joined

_COLOURS = {"model": "#c1121f", "flat": "#8d99ae", "buy_and_hold": "#2a6f97", "sma_crossover": "#6a994e"}
_MOST_FEATURES = 25
_MOST_POINTS = 20_000
"""Of a curve: more are not seen, and very long ones are more than matplotlib's renderer takes."""


def draw(
    folder: Path,
    document: Mapping[str, Any],
    outcomes: Sequence[FoldOutcome],
    bars: Mapping[str, BarColumns],
    sessions: Sequence[TradingHours],
) -> list[str]:
    """Draw what there is something to draw of into ``folder``; the names of the files."""
    records = {name: joined([outcome.replays[name].record for outcome in outcomes]) for name in (MODEL, *YARDSTICKS)}
    begins = np.cumsum([0, *(len(outcome.replays[MODEL].record.bar_time) for outcome in outcomes)])[1:-1].tolist()
    drawn = {"equity.png": _equity(records, begins), "drawdown.png": _drawdown(records, begins)}
    if document["calibration"]:
        drawn["calibration.png"] = _calibration(document["calibration"])
    if document["importance"]:
        drawn["importance.png"] = _importance(document["importance"], document["importance_is_of"])
    busiest = _busiest(records[MODEL].fills, sessions)
    if busiest is not None:
        drawn["decisions.png"] = _decisions(*busiest, bars)
    for name, figure in drawn.items():
        figure.savefig(folder / name, dpi=110, metadata={"Software": None})
    return list(drawn)


def _figure(width: float = 9.0, height: float = 4.2) -> tuple[Any, Any]:
    # Not pyplot: that keeps every figure, and asks for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _thinned(curve: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of bars, and the curve there."""
    bars = np.arange(0, len(curve), -(-len(curve) // _MOST_POINTS) or 1, dtype=np.int64)
    return bars, curve[bars]


def _equity(records: Mapping[str, TrackRecord], begins: Sequence[int]) -> Any:
    figure, axes = _figure()
    for name, record in records.items():
        curve = 100 * (record.equity / record.starting_equity - 1.0)
        axes.plot(*_thinned(curve), color=_COLOURS[name], label=name, linewidth=1.6 if name == MODEL else 1.0)
    _along_sessions(axes, records[MODEL], begins)
    axes.set_ylabel("return after costs, %")
    axes.set_title("Equity out of sample (dashed: the next fold's model takes over)", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _drawdown(records: Mapping[str, TrackRecord], begins: Sequence[int]) -> Any:
    figure, axes = _figure(height=3.2)
    for name, record in records.items():
        highs = np.maximum.accumulate(np.maximum(record.equity, record.starting_equity))
        bars, fallen = _thinned(100 * (record.equity / highs - 1.0))
        axes.plot(bars, fallen, color=_COLOURS[name], label=name, linewidth=1.4 if name == MODEL else 0.9)
        if name == MODEL:
            axes.fill_between(bars, fallen, 0, color=_COLOURS[name], alpha=0.15, linewidth=0)
    _along_sessions(axes, records[MODEL], begins)
    axes.set_ylabel("below the highest equity, %")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _along_sessions(axes: Any, record: TrackRecord, begins: Sequence[int]) -> None:
    """Bars side by side without the nights; a mark at the beginning of some sessions."""
    for begin in begins:
        axes.axvline(begin, color="black", linestyle="--", linewidth=0.7, alpha=0.6)
    starts = np.concatenate(([0], record.session_ends[:-1]))
    shown = np.unique(np.linspace(0, len(starts) - 1, min(len(starts), 10)).round().astype(int)).tolist()
    axes.set_xticks([int(starts[place]) for place in shown])
    axes.set_xticklabels(
        [record.session_dates[place].isoformat() for place in shown], rotation=30, ha="right", fontsize=7
    )
    axes.set_xlim(0, max(len(record.bar_time) - 1, 1))


def _calibration(by_word: Mapping[str, Any]) -> Any:
    figure, axes = _figure(5.5, 5.0)
    highest = max(max(*one["predicted"], *one["observed"]) for one in by_word.values())
    axes.plot([0, highest], [0, highest], color="black", linestyle=":", linewidth=1, label="perfect")
    for word, one in by_word.items():
        colour = {"BUY": "#2a6f97", "SELL": "#c1121f"}.get(word, "black")
        axes.plot(one["predicted"], one["observed"], marker="o", markersize=4, color=colour, label=word, linewidth=1)
        axes.axhline(one["base_rate"], color=colour, linewidth=0.7, linestyle="--", alpha=0.6)
    axes.set_xlabel("probability that was said")
    axes.set_ylabel("how often it came")
    axes.set_title("Unseen bars, in tenths by probability (dashed: how often it occurs)", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _importance(importance: Sequence[Mapping[str, Any]], of: str) -> Any:
    shown = list(importance[:_MOST_FEATURES])[::-1]
    figure, axes = _figure(7.5, 1.2 + 0.28 * len(shown))
    axes.barh(
        [one["feature"] for one in shown],
        [one["mean"] for one in shown],
        xerr=[one["deviation"] for one in shown],
        color="#2a6f97",
        error_kw={"linewidth": 0.8},
    )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel(
        "loss of score when shuffled" if of == "score" else "fraction of decisions that change when shuffled"
    )
    return figure


def _busiest(
    fills: Sequence[Execution], sessions: Sequence[TradingHours]
) -> tuple[str, TradingHours, list[Execution]] | None:
    """The symbol and session with most executions, the first of equal ones; None where there are none."""
    found: dict[tuple[int, str], list[Execution]] = {}
    for fill in fills:
        for place, hours in enumerate(sessions):
            if hours.opens_at <= fill.executed_at <= hours.closes_at:
                found.setdefault((place, fill.symbol), []).append(fill)
                break
    if not found:
        return None
    place, symbol = max(found, key=lambda key: (len(found[key]), -key[0], key[1]))
    return symbol, sessions[place], found[(place, symbol)]


def _decisions(symbol: str, hours: TradingHours, fills: Sequence[Execution], bars: Mapping[str, BarColumns]) -> Any:
    columns = bars[symbol]
    first, last = np.searchsorted(columns.time, (to_epoch_us(hours.opens_at), to_epoch_us(hours.closes_at)))
    times = [hours.local(from_epoch_us(int(time))).replace(tzinfo=None) for time in columns.time[first:last]]
    figure, axes = _figure()
    axes.plot(times, columns.close[first:last] / MICROS_PER_UNIT, color="#444444", linewidth=0.9, label="close")
    for side, marker, colour in ((Side.BUY, "^", "#2a9d4a"), (Side.SELL, "v", "#c1121f")):
        chosen = [fill for fill in fills if fill.side is side]
        if chosen:
            axes.scatter(
                [hours.local(fill.executed_at).replace(tzinfo=None) for fill in chosen],
                [float(fill.price) for fill in chosen],
                marker=marker, color=colour, s=32, zorder=3, label=f"{side} ({len(chosen)})",
            )  # fmt: skip
    _shade_what_is_held(axes, hours, fills)
    from matplotlib.dates import DateFormatter

    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.set_title(f"{symbol} on {hours.session_date}: executions (shaded: held)", fontsize=10)
    axes.set_ylabel("price")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _shade_what_is_held(axes: Any, hours: TradingHours, fills: Sequence[Execution]) -> None:
    held, since = 0, None
    for fill in fills:
        before, held = held, held + fill.side.sign * fill.quantity
        at = hours.local(fill.executed_at).replace(tzinfo=None)
        if before == 0:
            since = at
        elif since is not None and (held == 0 or (held > 0) != (before > 0)):
            axes.axvspan(since, at, color="#2a9d4a" if before > 0 else "#c1121f", alpha=0.1, linewidth=0)
            since = at if held else None
