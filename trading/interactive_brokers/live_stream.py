"""One live session's bars, from the broker's thread to the trading thread.

The rules: a bar is handed out when it is over by the server's own word and all of it was heard, or history had it; never before, and
never an old one in place of one that is missing. Who has no bar holds nobody up for longer than a moment. What a moment's bars were
when the line was down is asked from history as soon as it is up, and handed out in order.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from threading import Condition
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.bars import BarColumns, RawSlice, Timeframe, from_epoch_us, to_epoch_us
from trading.calendar import TradingHours
from trading.errors import BrokerError, BrokerUnavailable, DataNotFit, OpenbellError
from trading.ib_settings import LiveBars
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.data_refusals import meaning_for_data, not_allowed, only_delayed
from trading.interactive_brokers.episodes import EpisodeKind
from trading.interactive_brokers.error_codes import Meaning
from trading.interactive_brokers.historical_bars import ONCE, HistoricalBars
from trading.interactive_brokers.live_minutes import FIVE_SECONDS_US, Row, SessionGrid, row_of
from trading.interactive_brokers.live_subscriptions import LiveSubscriptions
from trading.interactive_brokers.live_symbol import LiveSymbol, Repair
from trading.interactive_brokers.messages import BarTold, ErrorTold, Message

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_log = logging.getLogger(__name__)

_LEAST_WAIT_SECONDS = 0.25
"""Of the wall: so long is waited for the other symbols in any case, however fast the session's time goes."""
_LOOK_SECONDS = 0.1
_LOOK_SECONDS_FAST = 0.02
_TIME_ASKED_EVERY_SECONDS = 0.25
_PAUSE_SECONDS = 1.0
_DELAY = timedelta(minutes=20)
"""How old delayed data are at most."""
_SILENCE_US = 60_000_000
_NEWS_MISSED_US = 4_000_000
_GRACE = timedelta(seconds=5)
_BUST = 10225
"""The broker ended a subscription because a trade was taken back; it wants to be asked anew."""
_RENEWED_AFTER_SECONDS = 15.0


class LiveStream:
    """The bars of ``symbols`` from bar number ``first`` of the session on; their contracts are known.

    ``attend`` is called again and again on the thread that takes the slices. ``join`` is to be awaited with each new line, ``hear``
    called with each message, both on the connection's thread.
    """

    def __init__(
        self,
        connection: GatewayConnection,
        contracts: Contracts,
        history: HistoricalBars,
        timeframe: Timeframe,
        symbols: Sequence[str],
        hours: TradingHours,
        first: int,
        attend: Callable[[], None],
    ) -> None:
        settings = connection.settings
        self._connection = connection
        self._history = history
        self._attend = attend
        self._grid = SessionGrid(hours, timeframe)
        self._first = first
        self._symbols = {symbol: LiveSymbol(symbol, self._grid, first) for symbol in symbols}
        self._subscriptions = LiveSubscriptions(
            symbols, contracts, history, timeframe, settings.live_bars, settings.market_data == "delayed"
        )
        self._changed = Condition()
        self._server_us = 0
        """The server's time as surely known: it was told, or a bar that came was over."""
        self._time_asked_at = float("-inf")
        self._is_delayed = settings.market_data == "delayed"
        self._delay_us = _us(_DELAY) if self._is_delayed else 0
        self._late_us = round(float(settings.late_bar_seconds) * 1e6)
        self._answer_seconds = float(settings.answer_timeout_seconds)
        self._refusal: OpenbellError | None = None
        self._is_delivering = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False

    # On the connection's thread

    async def join(self, line: "GatewayLine") -> None:
        """Subscribe anew: a line that was made again knows nothing of what was subscribed to before."""
        await self._tell_time(line)
        with self._changed:
            for one in self._symbols.values():
                one.listened_since_us = max(self._server_us, self._grid.opens_us)
                one.minutes.break_off()
                one.ask_soon()
        try:
            self._subscriptions.subscribe(line, self._spawn_here)
        except ConnectionError as error:
            raise BrokerUnavailable(f"the line broke while bars were subscribed to ({error})") from error

    def hear(self, message: Message) -> None:
        """Take in a message of the line."""
        if isinstance(message, BarTold):
            symbol = self._subscriptions.symbol_of(message.request_id)
            if symbol is not None:
                self._hear_bar(self._symbols[symbol], message)
        elif isinstance(message, ErrorTold):
            symbol = self._subscriptions.refused(message.request_id)
            if symbol is not None:
                self._hear_refusal(symbol, message)
            elif message.request_id < 0 and meaning_for_data(message.code, message.text) is Meaning.FARM_WELL:
                self._data_are_back()

    def _hear_bar(self, one: LiveSymbol, bar: BarTold) -> None:
        five_seconds = self._subscriptions.kind is LiveBars.FIVE_SECONDS
        until_us = to_epoch_us(bar.time) + (FIVE_SECONDS_US if five_seconds else 0)
        with self._changed:
            before_us = one.minutes.heard_until_us
            if five_seconds:
                number = one.minutes.take(bar)
                is_news = one.minutes.heard_until_us > before_us
            else:
                number = one.minutes.renew(bar, self._clock_us(), self._missed_us())
                is_news = number is not None
            if is_news and five_seconds:
                one.heard_at_us = max(one.heard_at_us, until_us)
            elif is_news:
                # A growing bar does not say how far it has come: it is as old as what the server says next of its time.
                one.has_news = True
            speaks_again = one.is_silent and is_news
            if speaks_again:
                one.is_silent = False
                one.ask_soon()
            moves_time = not self._is_delayed and is_news and until_us > self._server_us
            if moves_time:
                self._server_us = until_us
            if speaks_again or (number is not None and one.minutes.row(number) is not None) or not five_seconds:
                self._changed.notify_all()
        if moves_time:
            self._connection.clock.tell(from_epoch_us(until_us))
        if speaks_again:
            self._connection.end_episode(EpisodeKind.DATA_SILENT, f"Bars of {one.symbol} come again.", one.symbol)

    def _hear_refusal(self, symbol: str, error: ErrorTold) -> None:
        meaning = meaning_for_data(error.code, error.text)
        text = None
        if meaning is Meaning.DATA_DELAYED:
            text = None if self._is_delayed else only_delayed(symbol, error.code, error.text)
        elif meaning is Meaning.DATA_NOT_ALLOWED:
            text = not_allowed(symbol, error.code, error.text)
        elif meaning is Meaning.CONTRACT_UNKNOWN:
            text = f"Interactive Brokers knows no {symbol} any more (error {error.code}: {error.text}). Trade another symbol."
        elif error.code == _BUST or meaning is Meaning.NO_ANSWER:
            self._spawn_here(self._renew_later(symbol, 0.0 if error.code == _BUST else _RENEWED_AFTER_SECONDS))
        elif meaning is not Meaning.NOTICE:
            text = self._fall_back(symbol, error)
        if text is None:
            _log.warning("live bars symbol=%s error=%s %s", symbol, error.code, error.text)
            return
        with self._changed:
            # Of a session that is under way it is no end: the symbol is silent, and a person is told.
            if not self._is_delivering:
                self._refusal = DataNotFit(text)
            self._changed.notify_all()
        _log.error("live bars are refused symbol=%s: %s", symbol, text)

    def _fall_back(self, symbol: str, error: ErrorTold) -> str | None:
        """The other kind of live bars, once; in words what is wrong where that was tried."""
        if self._subscriptions.fall_back(self._spawn_here):
            _log.warning(
                "five-second bars are not served (error %s: %s): the broker's own bars are kept up to date instead",
                error.code,
                error.text,
            )
            return None
        if self._subscriptions.has_left(error.request_id):
            return None  # the refusals of the other symbols, which are still coming in
        return f"Live bars of {symbol} are not served (error {error.code}: {error.text})."

    def _data_are_back(self) -> None:
        """The broker's data servers are there again: what was lost meanwhile is asked for."""
        with self._changed:
            silent = [one for one in self._symbols.values() if one.is_silent]
            for one in silent:
                one.ask_soon()
            self._changed.notify_all()
        for one in silent:
            self._renew(one)

    def _spawn_here(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)

    def _has_ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("live bars: %s", task.exception())

    async def _renew_later(self, symbol: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._renew(self._symbols[symbol])

    def _renew(self, one: LiveSymbol) -> None:
        with self._changed:
            one.minutes.break_off()
        self._subscriptions.renew(one.symbol, self._spawn_here)

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """As ``_spawn_here``, from the trading thread."""
        self._connection.soon(lambda: self._spawn_here(work()))

    async def _tell_time(self, line: "GatewayLine") -> None:
        told = await line.current_time()
        self._connection.clock.tell(told)
        with self._changed:
            self._server_us = max(self._server_us, to_epoch_us(told))
            for one in self._symbols.values():
                if one.has_news:
                    one.has_news, one.heard_at_us = False, max(one.heard_at_us, self._server_us)
            self._changed.notify_all()

    async def _ask_time(self) -> None:
        try:
            await self._connection.answered(self._tell_time, "The server's time", self._answer_seconds, cuts_line=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is asked again as long as it is wanted
            _log.debug("the server's time was not told: %s", error)

    async def _ask_history(self, one: LiveSymbol, repair: Repair) -> None:
        rows: dict[int, Row] = {}
        answered = False
        try:
            bars = await self._history.ask(
                one.symbol,
                self._grid.begins_at(repair.first),
                from_epoch_us(self._grid.ends_us(repair.last)),
                ONCE,
            )
            answered = True
            for bar in bars:
                number = self._grid.number_of(to_epoch_us(bar.time))
                if number is not None and to_epoch_us(bar.time) == self._grid.begins_us(number):
                    rows.setdefault(number, row_of(bar.open, bar.high, bar.low, bar.close, bar.volume))
        except (BrokerError, DataNotFit) as error:
            _log.warning("bars are not repaired symbol=%s: %s", one.symbol, error)
        except Exception:  # noqa: BLE001 - the session goes on without these bars
            _log.exception("bars are not repaired symbol=%s", one.symbol)
        with self._changed:
            filled = [number for number, row in rows.items() if one.minutes.fill(number, row)]
            one.repaired(
                answered, time.monotonic(), self._wall_seconds(self._grid.length_us) if answered else _PAUSE_SECONDS
            )
            self._changed.notify_all()
        if filled:
            _log.info(
                "bars from history symbol=%s bars=%s first=%s",
                one.symbol,
                len(filled),
                self._grid.begins_at(min(filled)),
            )

    # On the trading thread

    def begin(self) -> None:
        """Subscribe; where there is no line now, the next one does."""
        try:
            self._connection.run(self._begin(), "Live bars", self._answer_seconds)
        except BrokerUnavailable as error:
            _log.warning("live bars are subscribed to once the line is there: %s", error)

    async def _begin(self) -> None:
        await self._connection.answered(self.join, "Live bars", self._answer_seconds, cuts_line=False)

    def end(self) -> None:
        """Subscribe to nothing any more. A second time does nothing."""
        if self._is_over:
            return
        self._is_over = True
        self._connection.soon(self._leave)

    def _leave(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._subscriptions.end()
        for one in self._symbols.values():
            if one.is_silent:
                self._connection.end_episode(EpisodeKind.DATA_SILENT, "The session's bars are over.", one.symbol)

    def slices(self) -> Iterator[RawSlice]:
        """Moment by moment. Raises ``DataNotFit`` while nothing was handed out, where the broker refuses."""
        try:
            delivered = 0
            for number in range(self._first, self._grid.count):
                rows = self._wait_for(number)
                if rows is None:
                    break
                if rows:
                    delivered += 1
                    yield RawSlice(self._grid.begins_at(number), rows)
            if not delivered and self._first == 0:
                raise DataNotFit(
                    f"Interactive Brokers had not one bar of {', '.join(self._symbols)} in the session. Look at the alerts of its "
                    "line, and whether the symbols traded."
                )
        finally:
            self.end()

    def _wait_for(self, number: int) -> Mapping[str, BarColumns] | None:
        """The bars of a moment; none where nobody had one and later ones are there, None where there is no more to come."""
        over_since: float | None = None
        while True:
            self._attend()
            with self._changed:
                if self._refusal is not None and not self._is_delivering:
                    raise self._refusal
                wall = time.monotonic()
                if self._is_up and self._server_us >= self._grid.ends_us(number) + self._delay_us:
                    over_since = wall if over_since is None else over_since
                else:
                    over_since = None
                if self._has_settled(number, wall, over_since):
                    rows = self._rows(number)
                    if rows or any(one.minutes.has_whole_after(number) for one in self._symbols.values()):
                        self._pass_on(number, rows)
                        return rows
                    if self._is_finished(wall):
                        return None
                elif not self._is_up and self._is_finished(wall):
                    return None
                self._changed.wait(_LOOK_SECONDS_FAST if self._connection.clock.rate > 2 else _LOOK_SECONDS)

    @property
    def _is_up(self) -> bool:
        return self._connection.is_up

    def _has_settled(self, number: int, wall: float, over_since: float | None) -> bool:
        """Whether nothing more is waited for; sees to it that what is missing is asked for."""
        missing = [one for one in self._symbols.values() if one.minutes.row(number) is None]
        if not missing:
            return True
        self._want_time(self._grid.ends_us(number) + self._delay_us + self._late_us, wall)
        self._notice_silence(wall)
        if over_since is None:
            return False
        late_us = self._server_us - self._grid.ends_us(number) - self._delay_us
        waited = wall - over_since
        is_late = late_us >= self._late_us and waited >= _LEAST_WAIT_SECONDS
        if is_late:
            for one in missing:
                one.minutes.settle_renewed(number, self._missed_us())
            missing = [one for one in missing if one.minutes.row(number) is None]
        may_ask = waited >= _LEAST_WAIT_SECONDS / 2
        # History has a bar a moment after its end.
        last = self._grid.over_by(self._server_us - self._delay_us - self._late_us // 2) - 1
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
            return wall >= repair.asked_at + self._answer_seconds
        if is_late:
            return True
        # What has begun may still come to its end by itself.
        if one.minutes.has_begun(number):
            return False
        is_backing_off = one.is_silent and repair is None and wall < one.ask_again_at
        return one.answered_through >= number or is_backing_off

    def _repair(self, one: LiveSymbol, repair: Repair) -> None:
        one.repair = repair
        self._spawn(lambda: self._ask_history(one, repair))

    def _rows(self, number: int) -> dict[str, BarColumns]:
        time_us = self._grid.begins_us(number)
        rows = {}
        for symbol, one in self._symbols.items():
            row = one.minutes.row(number)
            if row is not None:
                rows[symbol] = BarColumns(symbol, *np.array([[time_us], *([value] for value in row)], dtype=np.int64))
        return rows

    def _pass_on(self, number: int, rows: Mapping[str, BarColumns]) -> None:
        for symbol, one in self._symbols.items():
            one.minutes.pass_on(number)
            if rows and symbol not in rows and not one.is_silent:
                _log.warning("no bar symbol=%s bar_time=%s", symbol, self._grid.begins_at(number).isoformat())
        if rows:
            self._is_delivering = True

    def _is_finished(self, wall: float) -> bool:
        """Whether the session is over and nothing more is to be expected of it."""
        over_us = self._grid.closes_us + self._delay_us + self._late_us + _us(_GRACE)
        self._want_time(over_us, wall)
        if not self._is_up:
            return self._clock_us() >= over_us
        is_asking = any(
            one.repair is not None and wall < one.repair.asked_at + self._answer_seconds
            for one in self._symbols.values()
        )
        return self._server_us >= over_us and not is_asking

    def _want_time(self, moment_us: int, wall: float) -> None:
        """Ask the server for its time where it should be ``moment_us`` by now and nothing has said so."""
        if self._server_us >= moment_us or self._clock_us() < moment_us or not self._is_up:
            return
        if wall >= self._time_asked_at + _TIME_ASKED_EVERY_SECONDS:
            self._time_asked_at = wall
            self._spawn(self._ask_time)

    def _notice_silence(self, wall: float) -> None:
        if not self._is_up:
            return
        allowed_us = min(_SILENCE_US, self._grid.length_us) + self._late_us + self._delay_us
        until_us = min(self._server_us, self._grid.closes_us + self._delay_us)
        for one in self._symbols.values():
            if one.is_silent:
                continue
            limit_us = max(one.heard_at_us, one.listened_since_us) + allowed_us
            if limit_us < self._grid.closes_us + self._delay_us:
                self._want_time(limit_us - (allowed_us // 2 if one.has_news else 0), wall)
            if until_us >= limit_us and not one.has_news:
                one.is_silent = True
                self._connection.soon(partial(self._tell_of_silence, one))

    def _tell_of_silence(self, one: LiveSymbol) -> None:
        self._connection.begin_episode(
            EpisodeKind.DATA_SILENT,
            f"No bars of {one.symbol} come any more: it is halted, or its data have stopped. It gets no bar until they come "
            "again; the other symbols go on.",
            one.symbol,
        )
        self._renew(one)

    def _clock_us(self) -> int:
        clock = self._connection.clock
        return to_epoch_us(clock.now()) if clock.is_known else 0

    def _missed_us(self) -> int:
        """How long before its end the news of a growing bar may have stopped. They come every five seconds; where the session's time
        runs faster than a clock can tell, nobody can say."""
        return max(_NEWS_MISSED_US, round(_LEAST_WAIT_SECONDS * 1e6 * self._connection.clock.rate))

    def _wall_seconds(self, session_us: int) -> float:
        return session_us / 1e6 / max(self._connection.clock.rate, 0.01)


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
