"""One live session's bars, from the broker's thread to the trading thread.

The rules: a bar is handed out when it is over by the server's own word and all of it was heard, or history had it; never before, and
never an old one in place of one that is missing. Who has no bar holds nobody up for longer than a moment. What a moment's bars were
when the line was down is asked from history as soon as it is up, and handed out in order.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from trading.bars import BarColumns, RawSlice
from trading.errors import BrokerUnavailable, DataNotFit
from trading.interactive_brokers.live_listener import LiveListener
from trading.interactive_brokers.live_session import LEAST_WAIT_SECONDS, LiveSession
from trading.interactive_brokers.live_symbol import LiveSymbol, Repair

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_LOOK_SECONDS_FAST = 0.02
_TIME_ASKED_EVERY_SECONDS = 0.25
_SILENCE_US = 60_000_000
"""Longer bars are not waited for: a minute without five-second bars is silence enough."""
_GRACE_US = 5_000_000
"""How long after the close a last bar is still hoped for where nobody has one."""


class LiveStream:
    """The bars of a live session, for the trading thread, on which ``attend`` is called again and again meanwhile."""

    def __init__(self, session: LiveSession, listener: LiveListener, attend: Callable[[], None]) -> None:
        self._session = session
        self._listener = listener
        self._attend = attend
        self._time_asked_at = float("-inf")
        self._is_over = False

    def begin(self) -> None:
        """Subscribe; where there is no line now, the next one does."""
        try:
            self._session.connection.run(self._listener.begin(), "Live bars", self._session.answer_seconds)
        except BrokerUnavailable as error:
            _log.warning("live bars are subscribed to once the line is there: %s", error)

    def end(self) -> None:
        """Subscribe to nothing any more. A second time does nothing."""
        if self._is_over:
            return
        self._is_over = True
        self._session.connection.soon(self._listener.leave)

    def slices(self) -> Iterator[RawSlice]:
        """Moment by moment. Raises ``DataNotFit`` while nothing was handed out, where the broker refuses."""
        session = self._session
        try:
            delivered = 0
            for number in range(session.first, session.grid.count):
                rows = self._wait_for(number)
                if rows is None:
                    break
                if rows:
                    delivered += 1
                    yield RawSlice(session.grid.begins_at(number), rows)
            if not delivered and session.first == 0:
                raise DataNotFit(
                    f"Interactive Brokers had not one bar of {', '.join(session.symbols)} in the session. Look at the alerts of its "
                    "line, and whether the symbols traded."
                )
        finally:
            self.end()

    def _wait_for(self, number: int) -> Mapping[str, BarColumns] | None:
        """The bars of a moment; none where nobody had one and later ones are there, None where there is no more to come."""
        session = self._session
        over_since: float | None = None
        while True:
            self._attend()
            with session.changed:
                if session.refusal is not None and not session.is_delivering:
                    raise session.refusal
                wall = time.monotonic()
                if self._is_up and session.server_us >= session.grid.ends_us(number) + session.delay_us:
                    over_since = wall if over_since is None else over_since
                else:
                    over_since = None
                if self._has_settled(number, wall, over_since):
                    rows = self._rows(number)
                    if rows or any(one.minutes.has_whole_after(number) for one in session.symbols.values()):
                        self._pass_on(number, rows)
                        return rows
                    if self._is_finished(wall):
                        return None
                elif not self._is_up and self._is_finished(wall):
                    return None
                session.changed.wait(_LOOK_SECONDS_FAST if session.connection.clock.rate > 2 else _LOOK_SECONDS)

    @property
    def _is_up(self) -> bool:
        return self._session.connection.is_up

    def _has_settled(self, number: int, wall: float, over_since: float | None) -> bool:
        """Whether nothing more is waited for; sees to it that what is missing is asked for."""
        session = self._session
        missing = [one for one in session.symbols.values() if one.minutes.row(number) is None]
        if not missing:
            return True
        self._want_time(session.grid.ends_us(number) + session.delay_us + session.late_us, wall)
        self._notice_silence(wall)
        if over_since is None:
            return False
        late_us = session.server_us - session.grid.ends_us(number) - session.delay_us
        waited = wall - over_since
        is_late = late_us >= session.late_us and waited >= LEAST_WAIT_SECONDS
        if is_late:
            for one in missing:
                one.minutes.settle_renewed(number, session.missed_us())
            missing = [one for one in missing if one.minutes.row(number) is None]
        may_ask = waited >= LEAST_WAIT_SECONDS / 2
        # History has a bar a moment after its end.
        last = session.grid.over_by(session.server_us - session.delay_us - session.late_us // 2) - 1
        for one in missing:
            lacks = one.minutes.surely_lacks(number)
            due = last if may_ask or lacks else -1
            due = max(due, number) if lacks else due
            if one.minutes.is_growing(number):
                due = -1  # it comes to its end by itself, or is taken as it is
            if one.repair is None and due >= number and one.answered_through < due and wall >= one.ask_again_at:
                self._repair(one, Repair(number, due, wall))
        return all(self._is_given_up(one, number, wall, is_late) for one in missing)

    def _is_given_up(self, one: LiveSymbol, number: int, wall: float, is_late: bool) -> bool:
        repair = one.repair
        if repair is not None and repair.last > number:
            # The line was away: everybody catches up, and nothing is the better for being handed out without them.
            return wall >= repair.asked_at + self._session.answer_seconds
        if is_late:
            return True
        # What has begun may still come to its end by itself.
        if one.minutes.has_begun(number):
            return False
        is_backing_off = one.is_silent and repair is None and wall < one.ask_again_at
        return one.answered_through >= number or is_backing_off

    def _repair(self, one: LiveSymbol, repair: Repair) -> None:
        one.repair = repair
        self._listener.spawn(lambda: self._listener.ask_history(one, repair))

    def _rows(self, number: int) -> dict[str, BarColumns]:
        time_us = self._session.grid.begins_us(number)
        rows = {}
        for symbol, one in self._session.symbols.items():
            row = one.minutes.row(number)
            if row is not None:
                rows[symbol] = BarColumns(symbol, *np.array([[time_us], *([value] for value in row)], dtype=np.int64))
        return rows

    def _pass_on(self, number: int, rows: Mapping[str, BarColumns]) -> None:
        session = self._session
        for symbol, one in session.symbols.items():
            one.minutes.pass_on(number)
            if rows and symbol not in rows and not one.is_silent:
                _log.warning("no bar symbol=%s bar_time=%s", symbol, session.grid.begins_at(number).isoformat())
        if rows:
            session.is_delivering = True

    def _is_finished(self, wall: float) -> bool:
        """Whether the session is over and nothing more is to be expected of it."""
        session = self._session
        over_us = session.grid.closes_us + session.delay_us + session.late_us + _GRACE_US
        self._want_time(over_us, wall)
        if not self._is_up:
            return session.clock_us() >= over_us
        is_asking = any(
            one.repair is not None and wall < one.repair.asked_at + session.answer_seconds
            for one in session.symbols.values()
        )
        return session.server_us >= over_us and not is_asking

    def _want_time(self, moment_us: int, wall: float) -> None:
        """Ask the server for its time where it should be ``moment_us`` by now and nothing has said so."""
        session = self._session
        if session.server_us >= moment_us or session.clock_us() < moment_us or not self._is_up:
            return
        if wall >= self._time_asked_at + _TIME_ASKED_EVERY_SECONDS:
            self._time_asked_at = wall
            self._listener.spawn(self._listener.ask_time)

    def _notice_silence(self, wall: float) -> None:
        session = self._session
        if not self._is_up:
            return
        allowed_us = min(_SILENCE_US, session.grid.length_us) + session.late_us + session.delay_us
        until_us = min(session.server_us, session.grid.closes_us + session.delay_us)
        for one in session.symbols.values():
            if one.is_silent:
                continue
            limit_us = max(one.heard_at_us, one.listened_since_us) + allowed_us
            if limit_us < session.grid.closes_us + session.delay_us:
                self._want_time(limit_us - (allowed_us // 2 if one.has_news else 0), wall)
            if until_us >= limit_us and not one.has_news:
                one.is_silent = True
                session.connection.soon(partial(self._listener.tell_of_silence, one))
