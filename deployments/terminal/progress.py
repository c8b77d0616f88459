"""A running session on the terminal: one line that says how far it is, what the account is worth and what is open.

Fed by an observing hook: no bar waits for it. Where nobody looks (no terminal, or JSON was asked for) it is silent.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from deployments.terminal.answer import aside
from deployments.terminal.money_text import gain, money
from deployments.terminal.preflight import Preflight
from trading.hooks import Happening, HookEvent, observing_sessions

_WORDS_WIDTH = 70
_NARROWEST_BAR, _WIDEST_BAR = 8, 40


@contextmanager
def progress_shown(preflight: Preflight, quiet: bool) -> Iterator[None]:
    """Sessions that start inside the ``with`` are shown on stderr; the line is gone afterwards."""
    if quiet or not sys.stderr.isatty():
        with nullcontext():
            yield
        return
    with _progress() as progress:
        line = SessionLine(progress, preflight)
        with observing_sessions({HookEvent.BAR_PROCESSED: line.bar_processed}):
            yield


def _progress() -> Progress:
    console = aside()
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=min(max(console.width - _WORDS_WIDTH, _NARROWEST_BAR), _WIDEST_BAR)),
        _Account(),
        console=console,
        transient=True,
        # What the session itself prints belongs where it was sent, not above the line.
        redirect_stdout=False,
        redirect_stderr=True,
    )


class SessionLine:
    """The line of one session. Its callback comes on the observers' thread."""

    def __init__(self, progress: Progress, preflight: Preflight) -> None:
        self._progress = progress
        self._hours = preflight.hours
        self._length = preflight.settings.session.timeframe.length
        self._day = preflight.hours.session_date.isoformat()
        self._bars = preflight.hours.bar_count(preflight.settings.session.timeframe)
        self._task = progress.add_task(f"{self._day} starting Prefect", total=None)

    def bar_processed(self, happening: Happening) -> None:
        """Move the line to this bar."""
        if happening.bar_time is None:
            return
        ended = min(happening.bar_time + self._length, self._hours.closes_at)
        # Counted by the clock: a bar that never came does not leave the line short.
        done = min((happening.bar_time - self._hours.opens_at) // self._length + 1, self._bars)
        # After the last bar the session is compared with the broker and its run history, which takes seconds.
        at = "close" if done == self._bars else f"{self._hours.local(ended):%H:%M}"
        self._progress.update(
            self._task,
            description=f"{self._day} {at}",
            total=self._bars,
            completed=done,
            equity=happening.facts["equity"].equity,
            pnl=happening.facts["session_pnl"],
            held=happening.facts["positions"],
            halted=happening.facts["halted"],
        )


class _Account(ProgressColumn):
    """Bars done, equity, session P&L and open positions, as far as they are known."""

    max_refresh = 0.1

    def render(self, task: Task) -> Text:
        facts: dict[str, Any] = task.fields
        if "equity" not in facts:
            return Text("this takes a few seconds", style="dim")
        return Text.assemble(
            f"{int(task.completed)}/{int(task.total or 0)}",
            f"  equity {money(facts['equity'])}",
            "  P&L ",
            gain(facts["pnl"]),
            f"  {held_in_words(facts['held'])}",
            ("  HALTED", "bold red") if facts["halted"] else "",
            no_wrap=True,
        )


def held_in_words(held: Mapping[str, int]) -> str:
    """``flat``, ``SPY 99`` or ``12 open``."""
    if len(held) > 1:
        return f"{len(held)} open"
    return " ".join(f"{symbol} {quantity}" for symbol, quantity in held.items()) or "flat"
