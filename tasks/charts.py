"""Charts for pages in the Prefect UI: equity, drawdown, and trades on price, as pictures inside the page itself.

The rule: a picture is part of the artifact's text (a data URI), so that it opens wherever the UI does and no file has to be served.
matplotlib is imported where something is drawn, and never while a session trades.
"""

import base64
import io
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

from storage.session_curves import PriceCurve, SessionCurves
from trading.orders import Side

_BOUGHT, _SOLD, _LINE, _FALL = "#2a9d3a", "#c1121f", "#2a6f97", "#c1121f"
_DPI = 80
_MOST_POINTS = 2_000
"""Of a curve: a picture has no more columns than that."""


def session_charts(curves: SessionCurves, zone: tzinfo) -> str:
    """The session's pictures as a section of a Markdown page, times in ``zone``; empty where there is nothing to draw."""
    if len(curves.equity) < 2:
        return ""
    times = [point.bar_time for point in curves.equity]
    equity = [float(point.equity) for point in curves.equity]
    drawdown = [float(point.drawdown) for point in curves.equity]
    lines = ["## Charts", picture("Equity and drawdown", equity_chart(times, equity, drawdown, zone))]
    lines += [picture(f"Trades in {one.symbol}", trades_chart(one, zone)) for one in curves.prices if one.closes]
    if curves.left_out:
        lines.append(f"{curves.left_out} more symbols were traded and are not drawn.")
    return "\n\n".join(lines)


def picture(title: str, png: bytes) -> str:
    """A PNG as Markdown, inside the text."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def equity_chart(
    times: Sequence[datetime], equity: Sequence[float], drawdown: Sequence[float], zone: tzinfo | None
) -> bytes:
    """Equity above, the fraction below its high underneath, as a PNG. ``zone`` None: the times are days."""
    figure, (above, below) = _figure(3.6, 2)
    step = -(-len(times) // _MOST_POINTS) or 1
    shown = [_local(at, zone) for at in times[::step]]
    above.plot(shown, equity[::step], color=_LINE, linewidth=1.4)
    above.set_ylabel("equity")
    above.ticklabel_format(axis="y", useOffset=False, style="plain")
    fallen = [-100.0 * fraction for fraction in drawdown[::step]]
    below.fill_between(shown, fallen, 0.0, color=_FALL, alpha=0.35, linewidth=0)
    below.set_ylabel("drawdown, %")
    _label_times(below, zone)
    return _png(figure)


def trades_chart(curve: PriceCurve, zone: tzinfo) -> bytes:
    """One symbol's closes with what was bought (up) and sold (down) on them, as a PNG."""
    figure, (axes,) = _figure(2.8, 1)
    axes.plot([_local(at, zone) for at in curve.bar_times], curve.closes, color=_LINE, linewidth=1.0)
    for side, marker, colour in ((Side.BUY, "^", _BOUGHT), (Side.SELL, "v", _SOLD)):
        fills = [fill for fill in curve.fills if fill.side is side]
        axes.scatter(
            [_local(fill.filled_at, zone) for fill in fills],
            [fill.price for fill in fills],
            marker=marker,
            color=colour,
            s=36,
            zorder=3,
            label=f"{side.value}: {sum(fill.quantity for fill in fills):,} shares in {len(fills)}",
        )
    axes.set_ylabel(curve.symbol)
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    axes.legend(loc="best", fontsize=8, frameon=False)
    _label_times(axes, zone)
    return _png(figure)


def _figure(height: float, rows: int) -> tuple[Any, Sequence[Any]]:
    # Not pyplot: that keeps every figure, and asks for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height), layout="constrained")
    ratios = [3, 1] if rows == 2 else [1]
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25, linewidth=0.6)
    return figure, list(axes)


def _label_times(axes: Any, zone: tzinfo | None) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if zone is not None:
        axes.set_xlabel(f"time at the exchange ({zone})", fontsize=8)


def _local(moment: datetime, zone: tzinfo | None) -> datetime:
    """The exchange's wall time, without its zone: matplotlib would turn it back."""
    return moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone).replace(tzinfo=None)


def _png(figure: Any) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI, metadata={"Software": None})
    return written.getvalue()
