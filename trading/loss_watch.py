"""Losses that halt trading: the day's, falls from a high and their speed, a symbol's, streaks, and too much turnover.

Looked at on every bar, so nothing is computed that has not changed: the levels of equity at which something trips move only
with a new high. A whole stretch of bars can be looked at as columns (a replay does): the first bar on which anything may trip
is then looked at like a live one, so that both come to the same.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from trading.bars import Column, from_epoch_us
from trading.money import ZERO, from_micros, to_cents, to_micros
from trading.pnl_tracker import PnLTracker
from trading.risk_settings import RiskSettings

DAILY_LOSS = "max_daily_loss"
DAILY_LOSS_FRACTION = "max_daily_loss_fraction"
SESSION_DRAWDOWN = "max_session_drawdown_fraction"
DRAWDOWN = "max_drawdown_fraction"
DRAWDOWN_SPEED = "max_drawdown_speed_fraction"
LOSING_STREAK = "max_losing_streak"
SYMBOL_LOSS = "max_symbol_loss"
DAILY_TURNOVER = "max_daily_turnover"
UNTOLD_LOSS = "unknown_loss"

_NEVER = Decimal(-(2**40))
_NEVER_MICROS = -(2**62)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Trip:
    """A limit that was reached, or (``near``) nearly. ``symbol`` is None where it is the account's.

    ``lasting``: its halt has no end of its own, and a person has to clear it.
    """

    rule: str
    reason: str
    observed: Decimal
    limit_value: Decimal
    symbol: str | None = None
    lasting: bool = False
    near: bool = False


@dataclass(frozen=True, slots=True)
class _Fall:
    """A fall of equity from ``high`` that trips at ``limit`` (a fraction of it, or money)."""

    rule: str
    high: Decimal
    limit: Decimal
    is_money: bool
    lasting: bool = False

    def level(self, part: Decimal = Decimal(1)) -> Decimal:
        """Equity at or below which ``part`` of the limit is lost."""
        return self.high - part * (self.limit if self.is_money else self.limit * self.high)

    def trip(self, equity: Decimal, near: bool) -> Trip:
        lost = self.high - equity
        money = to_cents(lost)
        if self.is_money:
            observed = lost
            words = f"the day has lost {money} of at most {to_cents(self.limit)}"
        else:
            observed = lost / self.high if self.high > 0 else lost
            words = f"{_FELL[self.rule]} {to_cents(self.high)} by {money} ({observed:.2%} of at most {self.limit:.2%})"
        return Trip(self.rule, words, observed, self.limit, lasting=self.lasting, near=near)


_FELL = {
    DAILY_LOSS_FRACTION: "equity fell from the day's first",
    SESSION_DRAWDOWN: "equity fell from the day's highest",
    DRAWDOWN: "equity fell from the highest ever",
    DRAWDOWN_SPEED: "equity fell quickly, from",
}


class LossWatch:
    """Watches one account through one session. ``bar_length`` is that of the session's bars."""

    def __init__(self, risk: RiskSettings, bar_length: timedelta) -> None:
        self._bar_length = bar_length
        self._latched: set[str] = set()
        self._told_near: set[str] = set()
        self._recent: list[tuple[datetime, Decimal]] = []
        self._start = self._highest_today = self._highest_ever = ZERO
        self._risk = risk
        self.change_limits(risk)

    def begin_day(
        self,
        starting_equity: Decimal,
        highest_today: Decimal,
        highest_ever: Decimal,
        recent: Iterable[tuple[datetime, Decimal]],
    ) -> None:
        """Take up the account's day: what it began with, its highs, and equities of its newest bars by their ends."""
        self._start = starting_equity
        self._highest_today = max(highest_today, starting_equity)
        self._highest_ever = max(highest_ever, self._highest_today)
        self._recent.clear()
        for at, equity in recent:
            self._remember(at, equity)
        self._set_levels()

    def change_limits(self, risk: RiskSettings) -> None:
        """Watch these limits from now on; what has tripped stays tripped."""
        self._risk = risk
        self._window = timedelta(minutes=risk.drawdown_speed_minutes)
        self._speed = risk.max_drawdown_speed_fraction
        self._speed_leaves = 1 - (self._speed or ZERO)
        self._set_levels()

    def rebase(self, highest_ever: Decimal) -> None:
        """Measure the fall from the highest equity ever from here; never from less than the day's highest."""
        self._highest_ever = max(highest_ever, self._highest_today)
        self._set_levels()

    def latch(self, rules: Iterable[str]) -> None:
        """Exactly these rules halt the account already, and say nothing more."""
        self._latched = set(rules)
        self._set_levels()

    def _falls(self) -> list[_Fall]:
        risk = self._risk
        falls = []
        if risk.max_daily_loss is not None:
            falls.append(_Fall(DAILY_LOSS, self._start, risk.max_daily_loss, True))
        if risk.max_daily_loss_fraction is not None:
            falls.append(_Fall(DAILY_LOSS_FRACTION, self._start, risk.max_daily_loss_fraction, False))
        if risk.max_session_drawdown_fraction is not None:
            high, limit = self._highest_today, risk.max_session_drawdown_fraction
            falls.append(_Fall(SESSION_DRAWDOWN, high, limit, False))
        if risk.max_drawdown_fraction is not None:
            falls.append(_Fall(DRAWDOWN, self._highest_ever, risk.max_drawdown_fraction, False, lasting=True))
        return [fall for fall in falls if fall.rule not in self._latched]

    def _set_levels(self) -> None:
        """The highest equity at which anything has to be said (``_level``), and at which anything trips (``_floor``)."""
        falls, near_part = self._falls(), self._risk.near_limit_fraction
        self._floor = max((fall.level() for fall in falls), default=_NEVER)
        near = (fall.level(near_part) for fall in falls if fall.rule not in self._told_near)
        self._level = max((self._floor, *near))
        self._watches_speed = self._speed is not None and DRAWDOWN_SPEED not in self._latched

    # One bar

    def look(self, at: datetime, equity: Decimal) -> Sequence[Trip]:
        """What the account's equity at the end of a bar trips, or nearly does."""
        if equity > self._highest_today:
            self._note_high(equity)
        falling = False
        self._remember(at, equity)
        if self._watches_speed and equity <= self._recent[0][1] * self._speed_leaves:
            falling = equity <= self._highest_since(at - self._window) * self._speed_leaves
        if equity > self._level and not falling:
            return ()
        tripped = []
        if falling and self._speed is not None:
            high = self._highest_since(at - self._window)
            tripped.append(_Fall(DRAWDOWN_SPEED, high, self._speed, False).trip(equity, near=False))
        for fall in self._falls():
            if equity <= fall.level():
                tripped.append(fall.trip(equity, near=False))
            elif fall.rule not in self._told_near and equity <= fall.level(self._risk.near_limit_fraction):
                self._told_near.add(fall.rule)
                tripped.append(fall.trip(equity, near=True))
        self._set_levels()
        return tripped

    def symbol_floor(self, tracker: PnLTracker, symbol: str) -> tuple[int, Decimal] | None:
        """The sign of the position and the price at which the symbol has lost too much today; None without either.

        The price of a long position halts at or below it, that of a short one at or above.
        """
        made, held = tracker.day_pnl_parts(symbol)
        if self._risk.max_symbol_loss is None or not held:
            return None
        # made + held x price <= -limit
        return (1 if held > 0 else -1), (-self._risk.max_symbol_loss - made) / held

    def look_at_symbol(self, tracker: PnLTracker, symbol: str) -> Trip | None:
        """Whether one symbol has lost too much since the day began."""
        limit = self._risk.max_symbol_loss
        if limit is None:
            return None
        made = tracker.day_pnl(symbol)
        if made > -limit:
            return None
        reason = f"{symbol} has lost {to_cents(-made)} of at most {to_cents(limit)} today"
        return Trip(SYMBOL_LOSS, reason, -made, limit, symbol)

    def look_at_trades(self, tracker: PnLTracker, traded_today: Decimal) -> list[Trip]:
        """What the day's fills trip: asked where there were any."""
        tripped = []
        most = self._risk.max_losing_streak
        if most is not None and LOSING_STREAK not in self._latched:
            streak = tracker.losing_streak
            if streak >= most:
                reason = f"{streak} closing orders in a row have lost money"
                tripped.append(Trip(LOSING_STREAK, reason, Decimal(streak), Decimal(most)))
        multiple = self._risk.max_daily_turnover
        if multiple is not None and DAILY_TURNOVER not in self._latched:
            equity = tracker.equity
            if traded_today >= multiple * equity:
                reason = f"{to_cents(traded_today)} were traded today, with an equity of {to_cents(equity)}"
                turnover = traded_today / equity if equity > 0 else traded_today
                tripped.append(Trip(DAILY_TURNOVER, reason, turnover, multiple))
        return tripped

    def _note_high(self, equity: Decimal) -> None:
        self._highest_today = equity
        self._highest_ever = max(self._highest_ever, equity)
        self._set_levels()

    def _remember(self, at: datetime, equity: Decimal) -> None:
        """Keep the day's equities that can still be the highest of some window, falling from left to right."""
        recent = self._recent
        while recent and recent[-1][1] <= equity:
            recent.pop()
        recent.append((at, equity))

    def _highest_since(self, oldest: datetime) -> Decimal:
        """The highest equity at or after a moment: nothing is forgotten, because the window can be changed."""
        return self._recent[bisect_left(self._recent, (oldest,))][1]

    # Many bars

    def bars_before_a_trip(self, equity: Column) -> int:
        """How many of these bars (micros, one after the other) come surely before one on which equity trips anything."""
        if not len(equity):
            return 0
        low, high = int(equity.min()), int(equity.max())
        session, ever, speed = self._fractions()
        floor, today, highest = (
            to_micros(self._floor) + 1,
            to_micros(self._highest_today),
            to_micros(self._highest_ever),
        )
        recent = _NEVER_MICROS
        if self._recent:
            recent = to_micros(self._highest_since(self._recent[-1][0] - self._window))
        level = max(
            floor,
            _level(max(high, today), session),
            _level(max(high, highest), ever),
            _level(max(high, recent), speed),
        )
        if low > level:
            return len(equity)
        may_trip = equity <= floor
        for begun, fraction in ((today, session), (highest, ever)):
            if fraction is not None:
                may_trip |= equity <= _levels(np.maximum.accumulate(np.maximum(equity, begun)), fraction)
        if speed is not None:
            rows = int(self._window / self._bar_length) + 1
            padded = np.concatenate([np.full(rows, recent), equity])
            highs = np.lib.stride_tricks.sliding_window_view(padded, rows + 1).max(axis=1)
            may_trip |= equity <= _levels(highs, speed)
        tripping = np.flatnonzero(may_trip)
        return int(tripping[0]) if tripping.size else len(equity)

    def note_quiet(self, ends: Column, equity: Column) -> None:
        """These bars (ends in microseconds, equities in micros) have passed and tripped nothing."""
        if not len(equity):
            return
        high = from_micros(int(equity.max()))
        if high > self._highest_today:
            self._note_high(high)
        if self._watches_speed:
            newest = ends >= ends[-1] - self._window // _MICROSECOND
            for end, micros in zip(ends[newest].tolist(), equity[newest].tolist(), strict=True):
                self._remember(from_epoch_us(end), from_micros(micros))

    def _fractions(self) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
        """The limits of falls from highs that may move, where they may still trip."""
        risk = self._risk
        return (
            None if SESSION_DRAWDOWN in self._latched else risk.max_session_drawdown_fraction,
            None if DRAWDOWN in self._latched else risk.max_drawdown_fraction,
            self._speed if self._watches_speed else None,
        )


def _level(high: int, fraction: Decimal | None) -> int:
    """A level surely not below the one at which a fall from ``high`` trips."""
    return _NEVER_MICROS if fraction is None else int(high * (1 - fraction)) + 2


def _levels(highs: Column, fraction: Decimal) -> Column:
    levels: Column = (highs * (1.0 - float(fraction))).astype(np.int64) + 2
    return levels
