"""The connection to the gateway: one thread with a loop of its own, made once, made again whenever it is lost.

The rule: a line is used by nobody before its account is the one that was meant and the day's orders and executions were
asked for anew. A line that leaves a question unanswered whose late answer could pass for another's is cut.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from trading.errors import BrokerNotReady, BrokerUnavailable
from trading.ib_settings import IbSettings, is_paper_account
from trading.interactive_brokers.episodes import Alert, EpisodeKind, Episodes
from trading.interactive_brokers.error_codes import Meaning, meaning_of
from trading.interactive_brokers.messages import ErrorTold, LineLost, Message
from trading.interactive_brokers.restart_windows import window_around
from trading.interactive_brokers.server_clock import ServerClock

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_FIRST_LOOKS = (0.3, 0.7, 1.0)
"""Seconds between the first heartbeats: how fast the server's time goes should be known soon."""
_MISSED_HEARTBEATS = 2
_LOST = "the line is lost: "
_AT_ONCE = 2
"""Times the first wait: a line that lasts no longer ended as soon as it was made."""
_SLACK_SECONDS = 5.0
_ENDS_AGAIN_SECONDS = 0.05


class GatewayConnection:
    """The line to one gateway for one account. Made and closed by one thread; asked by any.

    ``alert`` is told of episodes, on the connection's own thread. ``clock`` follows the server's time.
    """

    def __init__(self, settings: IbSettings, alert: Callable[[Alert], None] = lambda _: None) -> None:
        self.settings = settings
        self.clock = ServerClock(time.monotonic)
        self._episodes = Episodes(alert)
        self._listeners: list[Callable[[Message], None]] = []
        self._joined: list[Callable[[GatewayLine], Awaitable[None]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._line: GatewayLine | None = None
        self._usable: GatewayLine | None = None
        self._why_not = "no connection was made yet"
        self._awaited = "accounts and order numbers"
        self._broker_away = False
        self._was_let_in = False
        self._keeper: asyncio.Task[None] | None = None
        self._lost: asyncio.Event | None = None
        self._made_at, self._pause = float("-inf"), 0.0
        self._highest_order_id = 0
        self._account: str | None = settings.account
        self.connections = 0
        """How often the account could be traded anew: made connections, and returns of the broker behind the gateway."""

    # Making and leaving

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Have ``hear`` called with every message of every line, on the connection's thread."""
        self._listeners.append(hear)

    def on_joined(self, join: Callable[["GatewayLine"], Awaitable[None]]) -> None:
        """Have ``join`` awaited with each new line before anyone may use it: what it raises ends that line."""
        self._joined.append(join)

    def open(self) -> None:
        """Connect; returns when the account can be asked. Raises ``BrokerNotReady``, and nothing is left behind."""
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="gateway-line", daemon=True)
        self._thread.start()
        try:
            started.result()
        except BaseException:  # an interrupt too must leave neither thread nor line behind
            self.close()
            raise

    def close(self) -> None:
        """Leave the gateway and end the thread; a second time does nothing. Orders stay as they are."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        with contextlib.suppress(RuntimeError):  # its loop has ended by itself
            loop.call_soon_threadsafe(self._stop)
        thread.join(_SLACK_SECONDS)

    @property
    def account(self) -> str:
        """The broker's name of the account; known once the connection is open."""
        if self._account is None:
            raise RuntimeError("the connection was never open")
        return self._account

    @property
    def is_up(self) -> bool:
        """Whether the broker can be asked now."""
        return self._usable is not None and not self._broker_away

    @property
    def why_not(self) -> str:
        """Why it cannot, in words."""
        return self._why_not

    # Asking

    def ask(
        self,
        question: Callable[["GatewayLine"], Awaitable[_T]],
        what: str,
        seconds: float | None = None,
        cuts_line: bool = True,
    ) -> _T:
        """The answer to ``question``; raises ``BrokerUnavailable`` where none comes in time.

        The line is cut then, because a late answer could pass for that of the next question; answers that carry a number cannot
        (``cuts_line`` False). An error that the gateway answers with is raised as the library's ``RequestFailed``. Not from the
        connection's thread.
        """
        limit = float(self.settings.answer_timeout_seconds) if seconds is None else seconds
        return self._on_loop(self.answered(question, what, limit, cuts_line), limit + _SLACK_SECONDS, what)

    def call(self, do: Callable[["GatewayLine"], _T], what: str) -> _T:
        """What ``do`` returns, done on the connection's thread; raises ``BrokerUnavailable`` where there is no line."""

        async def done() -> _T:
            return self._do(do, what)

        return self._on_loop(done(), float(self.settings.answer_timeout_seconds) + _SLACK_SECONDS, what)

    def run(self, work: Coroutine[Any, Any, _T], what: str, seconds: float) -> _T:
        """The result of ``work``, run on the connection's thread; it uses ``require_line`` itself."""
        return self._on_loop(work, seconds + _SLACK_SECONDS, what)

    def require_line(self, what: str) -> "GatewayLine":
        """The line, for code on the connection's thread; raises ``BrokerUnavailable`` while there is none to use."""
        if self._usable is None or self._broker_away:
            raise BrokerUnavailable(f"{what}: the broker cannot be asked: {self._why_not}.")
        return self._usable

    def reserve_order_id(self, line: "GatewayLine") -> int:
        """A number for a new order, above all that this connection has seen, on whatever line."""
        line.numbers_from(self._highest_order_id + 1)
        self._highest_order_id = line.next_order_id()
        return self._highest_order_id

    def note_order_id(self, order_id: int) -> None:
        """An order has this number: none is given below it, also when the gateway counts from one again."""
        self._highest_order_id = max(self._highest_order_id, order_id)

    def begin_episode(self, kind: EpisodeKind, text: str, subject: str = "") -> None:
        """Something is wrong; a person is told once. On the connection's thread."""
        now = self._now()
        window = window_around(now, self.settings)
        self._episodes.begin(kind, text, now, subject, None if window is None else window.back_by)

    def end_episode(self, kind: EpisodeKind, text: str, subject: str = "") -> None:
        """It is right again. On the connection's thread."""
        self._episodes.end(kind, text, self._now(), subject)

    def soon(self, do: Callable[[], None]) -> None:
        """Have ``do`` called on the connection's thread; nothing where it has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(do)

    def _on_loop(self, work: Coroutine[Any, Any, _T], seconds: float, what: str) -> _T:
        loop = self._loop
        if loop is None or self._thread is None or not self._thread.is_alive():
            work.close()
            raise BrokerUnavailable(f"{what}: the broker cannot be asked: {self._why_not}.")
        try:
            future = asyncio.run_coroutine_threadsafe(work, loop)
        except RuntimeError as error:  # it has ended this very moment
            work.close()
            raise BrokerUnavailable(f"{what}: the broker cannot be asked: {self._why_not}.") from error
        try:
            return future.result(seconds)
        except FutureCancelled as error:
            raise BrokerUnavailable(f"{what}: the connection was closed before the answer.") from error
        except FutureTimeout as error:
            if future.done():
                raise
            future.cancel()
            raise BrokerUnavailable(f"{what}: no answer within {seconds:g} seconds.") from error

    async def answered(
        self, question: Callable[["GatewayLine"], Awaitable[_T]], what: str, seconds: float, cuts_line: bool = True
    ) -> _T:
        """As ``ask``, for code on the connection's thread."""
        from trading.interactive_brokers.library import NotConnected

        line = self.require_line(what)
        try:
            return await asyncio.wait_for(question(line), seconds)
        except TimeoutError as error:
            if cuts_line:
                self._cut(line, f"{what} was not answered within {seconds:g} seconds")
            raise BrokerUnavailable(f"{what}: the gateway gave no answer within {seconds:g} seconds.") from error
        except NotConnected as error:
            raise BrokerUnavailable(f"{what}: the line broke before the answer ({error}).") from error

    def _do(self, do: Callable[["GatewayLine"], _T], what: str) -> _T:
        line = self.require_line(what)
        try:
            return do(line)
        except ConnectionError as error:
            raise BrokerUnavailable(f"{what}: the line is gone ({error}).") from error

    # The thread

    def _run(self, started: "Future[None]") -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._loop = loop
        try:
            loop.run_until_complete(self._live(started))
        except BaseException as error:  # noqa: BLE001 - whoever waits for the start is told
            if not started.done():
                started.set_exception(error)
            else:
                _log.exception("the thread of the gateway's line has ended")
        finally:
            self._usable = None
            with contextlib.suppress(BaseException):
                loop.run_until_complete(_end_all(asyncio.all_tasks(loop)))
                loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            loop.close()

    async def _live(self, started: "Future[None]") -> None:
        self._keeper = asyncio.current_task()
        try:
            await self._first_connection()
            started.set_result(None)
            while True:
                await self._watch_line()
                await self._connect_again()
        except asyncio.CancelledError:
            if not started.done():
                started.set_exception(BrokerNotReady("The connection was closed while it was made."))
        finally:
            self._usable = None
            self._why_not = "the connection is closed"
            if self._line is not None:
                self._line.disconnect()

    def _stop(self) -> None:
        keeper, loop = self._keeper, self._loop
        if keeper is None or loop is None or keeper.done():
            return
        keeper.cancel()
        # ``wait_for`` forgets a cancel that comes in the moment of an answer (Python 3.11): it is asked for until it is done.
        loop.call_later(_ENDS_AGAIN_SECONDS, self._stop)

    async def _first_connection(self) -> None:
        settings = self.settings
        deadline = time.monotonic() + float(settings.connect_timeout_seconds)
        pause = float(settings.reconnect_first_seconds)
        while True:
            left = max(deadline - time.monotonic(), 0.1)
            try:
                await asyncio.wait_for(self._connect(left), left)
                return
            except (TimeoutError, BrokerUnavailable) as error:
                self._leave_line()
                why = str(error) or f"it did not tell {self._awaited} in time"
                # A client that was cut a moment ago still holds the number for a little while, and a gateway that has let us in
                # may answer the next time: both are worth waiting for.
                is_worth_it = self._was_let_in or _is_about_the_number(why)
                if not is_worth_it or time.monotonic() + pause >= deadline:
                    raise BrokerNotReady(self._no_connection(why)) from error
                await asyncio.sleep(pause)
                pause *= 2

    def _no_connection(self, why: str) -> str:
        settings = self.settings
        where = f"{settings.host}:{settings.port}"
        hint = "Start TWS or IB Gateway there, log in, and enable its API (socket clients, this port, trusted address)"
        if _is_about_the_number(why):
            hint = (
                f"Another program uses client id {settings.client_id}: end it, or wait a minute when it was cut off. Do not take "
                "another number while orders of this one work"
            )
        return (
            f"Interactive Brokers cannot be reached at {where}: {why}. {hint}. 'openbell doctor --broker ib' looks closer. "
            "Nothing is traded, and nothing was simulated in its place."
        )

    async def _connect(self, seconds: float) -> None:
        """One attempt, up to a line that may be used; raises ``BrokerUnavailable`` or ``BrokerNotReady``."""
        # Imported on this thread: the library keeps the loop of the thread that imports it.
        from trading.interactive_brokers.library import GatewayLine, NotConnected, RequestFailed

        settings = self.settings
        self._lost = asyncio.Event()
        self._broker_away = self._was_let_in = False
        line = GatewayLine(lambda message: self._hear(line, message), settings.timezone, settings.messages_per_second)
        self._line = line
        try:
            self._awaited = "accounts and order numbers"
            await line.connect(settings.host, settings.port, settings.client_id, seconds)
            self._was_let_in = True
            self._require_the_account(line.accounts)
            self._awaited = "its time"
            self.clock.tell(await line.current_time())
            self._awaited = "the day's orders, executions and bars"
            for join in self._joined:
                await join(line)
        except NotConnected as error:
            raise BrokerUnavailable(str(error)) from error
        except RequestFailed as error:
            raise BrokerUnavailable(f"the gateway answered with {error}") from error
        if self._lost.is_set() or not line.is_connected:
            raise BrokerUnavailable("the line broke while the day's orders were asked for")
        self._usable, self._made_at = line, time.monotonic()
        self.connections += 1
        if not self._broker_away:
            self._why_not = ""

    def _require_the_account(self, accounts: tuple[str, ...]) -> None:
        settings = self.settings
        wanted = self._account or (accounts[0] if len(accounts) == 1 else None)
        if wanted is None:
            raise BrokerNotReady(
                f"The login has several accounts ({', '.join(accounts)}): say with broker.ib.account which one trades."
            )
        if wanted not in accounts:
            raise BrokerNotReady(
                f"The gateway is logged in to {', '.join(accounts)}, and account {wanted} is meant. Log in to the right one, or "
                "change broker.ib.account. Nothing was traded."
            )
        if not is_paper_account(wanted) and settings.allow_live != wanted:
            allowed = "nothing allows it" if settings.allow_live is None else f"allow_live names {settings.allow_live}"
            raise BrokerNotReady(
                f"Account {wanted} is a live account, and {allowed}. Connect to the paper account, or, to trade real money, "
                f'set broker.ib.allow_live = "{wanted}". Nothing was traded.'
            )
        self._account = wanted

    async def _watch_line(self) -> None:
        """Ask the server's time again and again until the line is lost."""
        line, lost = self._line, self._lost
        assert line is not None
        assert lost is not None
        beat = float(self.settings.heartbeat_seconds)
        pauses = iter(_FIRST_LOOKS)
        missed = 0
        while not lost.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(lost.wait(), min(next(pauses, beat), beat))
                break
            self._episodes.look(self._now())
            try:
                self.clock.tell(await asyncio.wait_for(line.current_time(), beat))
                missed = 0
            except TimeoutError:
                missed += 1
                if missed >= _MISSED_HEARTBEATS:
                    self._cut(line, f"the gateway has not answered for {missed * beat:g} seconds")
            except Exception as error:  # noqa: BLE001 - whatever it is, the line is of no use
                self._cut(line, f"the heartbeat failed: {error}")

    async def _connect_again(self) -> None:
        """Make the connection anew, for as long as it takes."""
        settings = self.settings
        self._leave_line()
        if not self._episodes.stands(EpisodeKind.BROKER_AWAY):
            self.begin_episode(
                EpisodeKind.LINE_LOST,
                f"The line to the gateway is lost: {self._why_not.removeprefix(_LOST).rstrip('.')}.",
            )
        # Two programs with one number push each other out, for ever and as fast as they can where nobody waits.
        first, longest = float(settings.reconnect_first_seconds), float(settings.reconnect_longest_seconds)
        ended_at_once = time.monotonic() - self._made_at < _AT_ONCE * first
        pause = self._pause = min(max(self._pause * 2, first), longest) if ended_at_once else 0.0
        while True:
            await asyncio.sleep(pause)
            self._episodes.look(self._now())
            try:
                await asyncio.wait_for(
                    self._connect(float(settings.connect_timeout_seconds)), float(settings.connect_timeout_seconds)
                )
            except Exception as error:  # noqa: BLE001 - whatever it was, there is no line, and it is tried again
                if not isinstance(error, TimeoutError | BrokerUnavailable | BrokerNotReady):
                    _log.exception("an attempt to connect again failed")
                why = str(error) or f"it did not tell {self._awaited} in time"
                self._leave_line()
                self._why_not = f"it is being connected again ({why})"
                self._tell_of_failed_attempt(error, why)
                pause = min(max(pause * 2, first), longest)
                continue
            break
        kinds = [
            EpisodeKind.LINE_LOST,
            EpisodeKind.CLIENT_ID_IN_USE,
            EpisodeKind.LOGIN_NEEDED,
            EpisodeKind.WRONG_ACCOUNT,
        ]
        for kind in kinds if self._broker_away else [*kinds, EpisodeKind.BROKER_AWAY]:
            self.end_episode(kind, "The gateway is connected again; everything is compared with the broker.")

    def _tell_of_failed_attempt(self, error: BaseException, why: str) -> None:
        if isinstance(error, BrokerNotReady):
            self.begin_episode(EpisodeKind.WRONG_ACCOUNT, why)
        elif _is_about_the_number(why):
            text = f"Client id {self.settings.client_id} is in use at the gateway. It is tried again; end the other program."
            self.begin_episode(EpisodeKind.CLIENT_ID_IN_USE, text)
        elif isinstance(error, asyncio.TimeoutError) or "no answer within" in why:
            text = "The gateway takes connections and does not log in: look whether it waits for its second factor."
            self.begin_episode(EpisodeKind.LOGIN_NEEDED, text)

    def _hear(self, line: "GatewayLine", message: Message) -> None:
        if line is not self._line:
            return  # a line that was left has nothing to say any more
        if isinstance(message, LineLost):
            self._lose(message.reason)
        elif isinstance(message, ErrorTold):
            self._hear_error(line, message)
        for hear in self._listeners:
            hear(message)

    def _hear_error(self, line: "GatewayLine", message: ErrorTold) -> None:
        meaning = meaning_of(message.code)
        if meaning is Meaning.BROKER_AWAY:
            self._broker_away = True
            self._why_not = f"the gateway has lost the broker's servers ({message.code})"
            self.begin_episode(
                EpisodeKind.BROKER_AWAY,
                "The gateway has lost the broker's servers. Nothing is sent until they are back.",
            )
        elif meaning in (Meaning.BROKER_BACK, Meaning.BROKER_BACK_DATA_LOST):
            # What happened meanwhile is asked for as after a new connection, and this line may have missed it.
            self._cut(line, f"the broker's servers are back ({message.code}); everything is asked for anew")
        elif meaning is Meaning.LINE_UNUSABLE and message.request_id < 0:
            self._cut(line, f"error {message.code}: {message.text}")
        elif meaning is Meaning.FARM_BROKEN:
            self.begin_episode(EpisodeKind.DATA_FARM_BROKEN, f"Market data: {message.text}", _farm_of(message.text))
        elif meaning is Meaning.FARM_WELL:
            self.end_episode(EpisodeKind.DATA_FARM_BROKEN, f"Market data: {message.text}", _farm_of(message.text))

    def _cut(self, line: "GatewayLine", why: str) -> None:
        if line is self._line:
            self._lose(why)
            line.disconnect()

    def _lose(self, why: str) -> None:
        self._usable = None
        self._why_not = f"{_LOST}{why}"
        if self._lost is not None:
            self._lost.set()

    def _leave_line(self) -> None:
        line, self._line, self._usable = self._line, None, None
        if line is not None:
            line.disconnect()

    def _now(self) -> datetime:
        return self.clock.now() if self.clock.is_known else datetime.now(UTC)


def _is_about_the_number(why: str) -> bool:
    return "error 326" in why


def _farm_of(text: str) -> str:
    """The farm's name: ``Market data farm connection is broken:usfarm``."""
    return text.rpartition(":")[2].strip()


async def _end_all(tasks: set["asyncio.Task[Any]"]) -> None:
    """Give up what is still waited for, so that nobody waits for a connection that is closed."""
    ending = tasks - {asyncio.current_task()}
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
