"""Past bars, asked for as the broker wants to be asked: in spans that it serves, not too often, and again where it gave no answer.

"No data" and "no answer" are different things, and only the broker's words tell them apart: the first is an empty answer, the second
is asked again and then raised. Volumes: see ``live_minutes``.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from trading.bars import BarColumns, Timeframe
from trading.errors import BrokerUnavailable, DataNotFit
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.data_refusals import is_pacing_violation, meaning_for_data, not_allowed
from trading.interactive_brokers.error_codes import Meaning
from trading.interactive_brokers.live_minutes import columns_of
from trading.interactive_brokers.messages import BarTold, Instrument
from trading.interactive_brokers.pacing import HistoryPacing

_log = logging.getLogger(__name__)

_MOST_SECONDS = 86_400
_FEWEST_SECONDS = 300
_LONGEST_WEEKS = {1: 1, 2: 2, 3: 2, 5: 4, 10: 4, 15: 4, 30: 4}
"""Weeks of one answer, by the minutes of a bar: about as many bars as the broker serves without slowing down."""
_AT_ONCE = 8
"""Questions that are open at a time; the broker allows 50."""
_TOLD_WAIT_SECONDS = 5.0
_LONGEST_SECONDS = 7_200.0


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """One question: the bars of ``duration`` up to ``end``, in the broker's words."""

    end: datetime
    duration: str
    bar_size: str


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a question is asked that gets no answer, and how long it waits in between; seconds of the wall."""

    attempts: int = 3
    pause_seconds: float = 2.0
    violation_seconds: float = 15.0
    """Wait after the broker said that it was asked too often."""
    longest_wait_seconds: float = math.inf
    """A question that would have to wait longer for its turn is not asked."""


ONCE = Patience(attempts=1, longest_wait_seconds=1.0)
"""For a bar that is wanted now or never."""


def bar_size(timeframe: Timeframe) -> str:
    """A timeframe in the broker's words."""
    return "1 min" if timeframe.minutes == 1 else f"{timeframe.minutes} mins"


def duration_of(span: timedelta, timeframe: Timeframe) -> str:
    """A duration that covers ``span``: seconds up to a day, then days, then weeks.

    It is counted in time of the calendar. Where the broker counts trading time or sessions it covers more, never less.
    """
    seconds = math.ceil(span.total_seconds())
    if seconds <= _MOST_SECONDS:
        length = timeframe.minutes * 60
        fewest = max(_FEWEST_SECONDS, 2 * length)
        return f"{min(max(-(-seconds // length) * length, fewest), _MOST_SECONDS)} S"
    days = -(-seconds // _MOST_SECONDS)
    return f"{days} D" if days < 7 else f"{-(-days // 7)} W"


def asked_again(request: HistoryRequest, attempt: int, timeframe: Timeframe) -> HistoryRequest:
    """The same question in other words, a little further back: the same words again would have to wait for 15 seconds."""
    count, unit = request.duration.split()
    if unit != "S":
        return replace(request, duration=f"{int(count) + attempt - 1} {unit}")
    step = timeframe.minutes * 60
    seconds = int(count) + (attempt - 1) * step
    return replace(request, duration=f"{seconds} S" if seconds <= _MOST_SECONDS else f"{attempt} D")


def requests_for(start: datetime, end: datetime, timeframe: Timeframe) -> list[HistoryRequest]:
    """Questions that together cover ``[start, end)``, oldest first; none for an empty span."""
    requests = []
    longest = timedelta(weeks=_LONGEST_WEEKS[timeframe.minutes])
    while start < end:
        begins = max(start, end - longest)
        requests.append(HistoryRequest(end, duration_of(end - begins, timeframe), bar_size(timeframe)))
        end = begins
    return requests[::-1]


class HistoricalBars:
    """Asks for past bars of regular hours. One of it for each connection: it counts what was asked."""

    def __init__(
        self,
        connection: GatewayConnection,
        contracts: Contracts,
        timeframe: Timeframe,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._contracts = contracts
        self._timeframe = timeframe
        self._seconds = seconds
        self._pacing = HistoryPacing()
        self._at_once: asyncio.Semaphore | None = None

    def between(self, symbol: str, start: datetime, end: datetime, patience: Patience) -> BarColumns:
        """Bars whose open lies in ``[start, end)`` as the broker told them, oldest first; empty where it has none.

        Raises ``DataNotFit`` where the broker does not know the symbol or the account may not see it, ``BrokerUnavailable`` where it
        gave no answer. Not from the connection's thread.
        """
        self._contracts.instrument(symbol)
        told = self._connection.run(self.ask(symbol, start, end, patience), f"Bars of {symbol}", _LONGEST_SECONDS)
        return columns_of(symbol, told)

    async def ask(self, symbol: str, start: datetime, end: datetime, patience: Patience) -> list[BarTold]:
        """As ``between``, on the connection's thread, for a symbol whose contract is known."""
        instrument = self._contracts.known(symbol)
        if instrument is None:
            raise DataNotFit(f"The contract of {symbol} was not looked up before its bars were asked for.")
        told: list[BarTold] = []
        for request in requests_for(start, end, self._timeframe):
            # An answer may reach further back than the one before it: each bar once, as it came first.
            newest = told[-1].time if told else None
            answered = await self._patiently(symbol, instrument, request, patience)
            told += [bar for bar in answered if newest is None or bar.time > newest]
        return [bar for bar in told if start <= bar.time < end]

    async def turn(self, request: object, contract: object, longest_wait_seconds: float = math.inf) -> None:
        """Return when ``request`` may be made, and count it; raises ``BrokerUnavailable`` where that takes too long."""
        while (wait := self._pacing.wait(request, contract, self._seconds())) > 0:
            if wait > longest_wait_seconds:
                raise BrokerUnavailable(
                    f"Bars of {contract}: the broker takes no more questions for {wait:.0f} seconds (60 in ten minutes)."
                )
            if wait > _TOLD_WAIT_SECONDS:
                _log.info("past bars wait for their turn contract=%s seconds=%.0f", contract, wait)
            await asyncio.sleep(wait)
        self._pacing.note(request, contract, self._seconds())

    async def _patiently(
        self, symbol: str, instrument: Instrument, request: HistoryRequest, patience: Patience
    ) -> list[BarTold]:
        attempt = 1
        while True:
            try:
                return await self._once(symbol, instrument, asked_again(request, attempt, self._timeframe), patience)
            except BrokerUnavailable as error:
                if attempt >= patience.attempts:
                    raise
                _log.warning("no answer to a question for bars symbol=%s attempt=%s: %s", symbol, attempt, error)
            await asyncio.sleep(patience.pause_seconds * attempt)
            attempt += 1

    async def _once(
        self, symbol: str, instrument: Instrument, request: HistoryRequest, patience: Patience
    ) -> list[BarTold]:
        from trading.interactive_brokers.library import RequestFailed

        if self._at_once is None:
            self._at_once = asyncio.Semaphore(_AT_ONCE)
        key = (instrument.contract_id, request.end, request.duration, request.bar_size)
        await self.turn(key, symbol, patience.longest_wait_seconds)
        try:
            async with self._at_once:
                return await self._connection.answered(
                    lambda line: line.history(instrument, request.end, request.duration, request.bar_size, True),
                    f"Bars of {symbol}",
                    float(self._connection.settings.answer_timeout_seconds),
                    cuts_line=False,
                )
        except RequestFailed as error:
            return self._refused(symbol, error.code, error.text, patience, error)

    def _refused(self, symbol: str, code: int, text: str, patience: Patience, error: Exception) -> list[BarTold]:
        """No bars where there are none; raises otherwise."""
        match meaning_for_data(code, text):
            case Meaning.NO_DATA:
                return []
            case Meaning.DATA_NOT_ALLOWED:
                raise DataNotFit(not_allowed(symbol, code, text)) from error
            case Meaning.CONTRACT_UNKNOWN:
                raise DataNotFit(
                    f"Interactive Brokers knows no {symbol} any more (error {code}: {text}). Trade another symbol."
                ) from error
        if is_pacing_violation(text):
            self._pacing.violated(self._seconds(), patience.violation_seconds)
        raise BrokerUnavailable(f"Bars of {symbol}: the broker gave none (error {code}: {text}).") from error
