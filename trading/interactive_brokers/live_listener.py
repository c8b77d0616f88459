"""The broker's side of a live session: subscribes on each line, takes in what is told, and asks for what is missing.

Belongs to the connection's thread. The trading thread is told by the session's condition, and asks for something to be done by
``spawn``.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from trading.bars import from_epoch_us, to_epoch_us
from trading.errors import BrokerError, BrokerUnavailable, DataNotFit
from trading.ib_settings import LiveBars
from trading.interactive_brokers.data_refusals import meaning_for_data, not_allowed, only_delayed
from trading.interactive_brokers.episodes import EpisodeKind
from trading.interactive_brokers.error_codes import Meaning
from trading.interactive_brokers.historical_bars import ONCE, HistoricalBars
from trading.interactive_brokers.live_minutes import FIVE_SECONDS_US, Row, row_of
from trading.interactive_brokers.live_session import LiveSession
from trading.interactive_brokers.live_subscriptions import LiveSubscriptions
from trading.interactive_brokers.live_symbol import LiveSymbol, Repair
from trading.interactive_brokers.messages import BarTold, ErrorTold, Message

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_log = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0
_BUST = 10225
"""The broker ended a subscription because a trade was taken back; it wants to be asked anew."""
_RENEWED_AFTER_SECONDS = 15.0


class LiveListener:
    """``join`` is to be awaited with each new line, ``hear`` called with each message."""

    def __init__(self, session: LiveSession, history: HistoricalBars, subscriptions: LiveSubscriptions) -> None:
        self._session = session
        self._history = history
        self._subscriptions = subscriptions
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_asking_time = False

    async def begin(self) -> None:
        """Subscribe on the line that is up; raises ``BrokerUnavailable``."""
        await self._session.connection.answered(self.join, "Live bars", self._session.answer_seconds, cuts_line=False)

    async def join(self, line: "GatewayLine") -> None:
        """Subscribe anew: a line that was made again knows nothing of what was subscribed to before."""
        session = self._session
        await self._tell_time(line)
        with session.changed:
            for one in session.symbols.values():
                one.listened_since_us = max(session.server_us, session.grid.opens_us)
                one.minutes.break_off()
                one.ask_soon()
        try:
            self._subscriptions.subscribe(line, self._spawn)
        except ConnectionError as error:
            raise BrokerUnavailable(f"the line broke while bars were subscribed to ({error})") from error

    def hear(self, message: Message) -> None:
        """Take in a message of the line."""
        if isinstance(message, BarTold):
            symbol = self._subscriptions.symbol_of(message.request_id)
            if symbol is not None:
                self._hear_bar(self._session.symbols[symbol], message)
        elif isinstance(message, ErrorTold):
            symbol = self._subscriptions.refused(message.request_id)
            if symbol is not None:
                self._hear_refusal(symbol, message)
            elif message.request_id < 0 and meaning_for_data(message.code, message.text) is Meaning.FARM_WELL:
                self._data_are_back()

    def _hear_bar(self, one: LiveSymbol, bar: BarTold) -> None:
        session = self._session
        five_seconds = self._subscriptions.kind is LiveBars.FIVE_SECONDS
        until_us = to_epoch_us(bar.time) + (FIVE_SECONDS_US if five_seconds else 0)
        with session.changed:
            before_us = one.minutes.heard_until_us
            if five_seconds:
                number = one.minutes.take(bar)
                is_news = one.minutes.heard_until_us > before_us
            else:
                number = one.minutes.renew(bar, session.clock_us(), session.missed_us())
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
            moves_time = not session.is_delayed and is_news and until_us > session.server_us
            is_too_soon = moves_time and session.is_from_the_future(until_us)
            if is_too_soon:
                moves_time = False
            elif moves_time:
                session.server_us = until_us
            if speaks_again or (number is not None and one.minutes.row(number) is not None) or not five_seconds:
                session.changed.notify_all()
        if moves_time:
            session.connection.clock.tell(from_epoch_us(until_us))
        if is_too_soon and not self._is_asking_time:
            self._spawn(self.ask_time())
        if speaks_again:
            session.connection.end_episode(EpisodeKind.DATA_SILENT, f"Bars of {one.symbol} come again.", one.symbol)

    def _hear_refusal(self, symbol: str, error: ErrorTold) -> None:
        meaning = meaning_for_data(error.code, error.text)
        text = None
        if meaning is Meaning.DATA_DELAYED:
            text = None if self._session.is_delayed else only_delayed(symbol, error.code, error.text)
        elif meaning is Meaning.DATA_NOT_ALLOWED:
            text = not_allowed(symbol, error.code, error.text)
        elif meaning is Meaning.CONTRACT_UNKNOWN:
            text = f"Interactive Brokers knows no {symbol} any more (error {error.code}: {error.text}). Trade another symbol."
        elif error.code == _BUST or meaning is Meaning.NO_ANSWER:
            self._spawn(self._renew_later(symbol, 0.0 if error.code == _BUST else _RENEWED_AFTER_SECONDS))
        elif meaning is not Meaning.NOTICE:
            text = self._fall_back(symbol, error)
        if text is None:
            _log.warning("live bars symbol=%s error=%s %s", symbol, error.code, error.text)
            return
        with self._session.changed:
            # Of a session that is under way it is no end: the symbol is silent, and a person is told.
            if not self._session.is_delivering:
                self._session.refusal = DataNotFit(text)
            self._session.changed.notify_all()
        _log.error("live bars are refused symbol=%s: %s", symbol, text)

    def _fall_back(self, symbol: str, error: ErrorTold) -> str | None:
        """The other kind of live bars, once; in words what is wrong where that was tried."""
        if self._subscriptions.fall_back(self._spawn):
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
        session = self._session
        with session.changed:
            silent = [one for one in session.symbols.values() if one.is_silent]
            for one in silent:
                one.ask_soon()
            session.changed.notify_all()
        for one in silent:
            self._renew(one)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)

    def _has_ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("live bars: %s", task.exception())

    async def _renew_later(self, symbol: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._renew(self._session.symbols[symbol])

    def _renew(self, one: LiveSymbol) -> None:
        with self._session.changed:
            one.minutes.break_off()
        self._subscriptions.renew(one.symbol, self._spawn)

    async def _tell_time(self, line: "GatewayLine") -> None:
        session = self._session
        told = await line.current_time()
        session.connection.clock.tell(told)
        with session.changed:
            session.server_us = max(session.server_us, to_epoch_us(told))
            for one in session.symbols.values():
                if one.has_news:
                    one.has_news, one.heard_at_us = False, max(one.heard_at_us, session.server_us)
            session.changed.notify_all()

    async def ask_time(self) -> None:
        """Have the server say its time."""
        self._is_asking_time = True
        try:
            await self._session.connection.answered(
                self._tell_time, "The server's time", self._session.answer_seconds, cuts_line=False
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is asked again as long as it is wanted
            _log.debug("the server's time was not told: %s", error)
        finally:
            self._is_asking_time = False

    async def ask_history(self, one: LiveSymbol, repair: Repair) -> None:
        """Have history fill what the question is about; the symbol knows afterwards whether it was answered."""
        session = self._session
        rows: dict[int, Row] = {}
        answered = False
        try:
            bars = await self._history.ask(
                one.symbol,
                session.grid.begins_at(repair.first),
                from_epoch_us(session.grid.ends_us(repair.last)),
                ONCE,
            )
            answered = True
            for bar in bars:
                number = session.grid.number_of(to_epoch_us(bar.time))
                if number is not None and to_epoch_us(bar.time) == session.grid.begins_us(number):
                    rows.setdefault(number, row_of(bar.open, bar.high, bar.low, bar.close, bar.volume))
        except (BrokerError, DataNotFit) as error:
            _log.warning("bars are not repaired symbol=%s: %s", one.symbol, error)
        except Exception:  # noqa: BLE001 - the session goes on without these bars
            _log.exception("bars are not repaired symbol=%s", one.symbol)
        with session.changed:
            filled = [number for number, row in rows.items() if one.minutes.fill(number, row)]
            one.repaired(
                answered,
                time.monotonic(),
                session.wall_seconds(session.grid.length_us) if answered else _PAUSE_SECONDS,
            )
            session.changed.notify_all()
        if filled:
            _log.info(
                "bars from history symbol=%s bars=%s first=%s",
                one.symbol,
                len(filled),
                session.grid.begins_at(min(filled)),
            )

    def tell_of_silence(self, one: LiveSymbol) -> None:
        """Tell a person, and subscribe to the symbol once more."""
        self._session.connection.begin_episode(
            EpisodeKind.DATA_SILENT,
            f"No bars of {one.symbol} come any more: it is halted, or its data have stopped. It gets no bar until they come "
            "again; the other symbols go on.",
            one.symbol,
        )
        self._renew(one)

    def leave(self) -> None:
        """End all subscriptions, questions and episodes."""
        session = self._session
        for task in list(self._tasks):
            task.cancel()
        self._subscriptions.end()
        for one in session.symbols.values():
            if one.is_silent:
                session.connection.end_episode(EpisodeKind.DATA_SILENT, "The session's bars are over.", one.symbol)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have something done on the connection's thread, from any other."""
        self._session.connection.soon(lambda: self._spawn(work()))
