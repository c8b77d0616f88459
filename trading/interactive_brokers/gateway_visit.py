"""A visit to a gateway that has let us in: what a session asks of it is asked, and nothing is ordered.

On a paper account one share is asked about ("what if"), which the broker judges and does not take; a live account is not even
asked that.
"""

import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from trading.checks import Check, bad, ok, refused, warn
from trading.errors import OpenbellError
from trading.ib_settings import IbSettings, is_paper_account
from trading.interactive_brokers.account_values import balances_of, cash_of
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.data_refusals import meaning_for_data, not_allowed, only_delayed
from trading.interactive_brokers.error_codes import Meaning
from trading.interactive_brokers.messages import (
    BarTold,
    ErrorTold,
    ExecutionTold,
    Instrument,
    Message,
    OrderTold,
    WireOrder,
)
from trading.interactive_brokers.restart_windows import window_around

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_T = TypeVar("_T")

_BARS_WITHIN_SECONDS = 8.0
"""A bar of five seconds comes every five seconds where anything trades."""
_ERRORS_WITHIN_SECONDS = 2.0
_MOST_SYMBOLS = 20
"""Symbols whose data are looked at: each costs questions that a session may need."""
_CLOCKS_APART = timedelta(seconds=2)
_PLAYS_ANOTHER_TIME = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Examined:
    """What is looked at: ``no_trading`` says of a moment why the exchange is closed then, None where it is open."""

    settings: IbSettings
    symbols: Sequence[str]
    no_trading: Callable[[datetime], str | None]


class Heard:
    """What comes unasked, or under a question's number: kept for whoever looks. Written on the connection's thread."""

    def __init__(self) -> None:
        self.orders: set[int] = set()
        self.executions: set[str] = set()
        self.bars: dict[int, BarTold] = {}
        self.errors: dict[int, ErrorTold] = {}
        self._changed = threading.Condition()

    def hear(self, message: Message) -> None:
        with self._changed:
            match message:
                case OrderTold():
                    self.orders.add(message.order.perm_id)
                case ExecutionTold():
                    self.executions.add(message.exec_id)
                case BarTold():
                    self.bars.setdefault(message.request_id, message)
                case ErrorTold() if message.request_id >= 0:
                    self.errors.setdefault(message.request_id, message)
            self._changed.notify_all()

    def wait_for(self, is_enough: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(is_enough, seconds)


class GatewayVisit:
    """A connection that is open, and everything that is looked at on it."""

    def __init__(self, asked: Examined, connection: GatewayConnection, contracts: Contracts, heard: Heard) -> None:
        self._asked = asked
        self._settings = asked.settings
        self._connection = connection
        self._contracts = contracts
        self._heard = heard
        self._instruments: dict[str, Instrument] = {}

    def checks(self) -> Iterator[Check]:
        yield self._account()
        yield self._clock()
        yield self._restart()
        yield from self._orders()
        yield from self._balances()
        symbols = self._asked.symbols[:_MOST_SYMBOLS]
        for symbol in symbols:
            yield self._contract(symbol)
        yield self._permission_to_trade()
        for symbol in self._instruments:
            yield self._past_bars(symbol)
        yield from self._live_bars()
        if len(self._asked.symbols) > len(symbols):
            yield ok("symbols", f"the first {len(symbols)} of {len(self._asked.symbols)} were looked at")

    def _account(self) -> Check:
        mine = self._connection.account
        accounts = self._connection.call(lambda line: line.accounts, "the accounts")
        beside = f"; the login has {', '.join(accounts)}" if len(accounts) > 1 else ""
        if is_paper_account(mine):
            return ok("account", f"{mine}, a paper account, as client {self._settings.client_id}{beside}")
        return warn(
            "account",
            f"{mine}, a LIVE account, as client {self._settings.client_id}{beside}",
            "Sessions trade real money: broker.ib.allow_live names this account. Take that out to stop it.",
        )

    def _clock(self) -> Check:
        subject = "server clock"
        try:
            server = self._ask(lambda line: line.current_time(), "the time")
        except OpenbellError as error:
            return bad(subject, str(error), "Ask again; a gateway without a time has lost the broker's servers.")
        # The server cuts off what is less than a second.
        apart = datetime.now(UTC) - server
        told = f"{server.astimezone(ZoneInfo(self._settings.timezone)):%Y-%m-%d %H:%M:%S %Z}"
        if abs(apart) >= _PLAYS_ANOTHER_TIME:
            return warn(
                subject,
                f"it is {told} there: another time than this machine's",
                "A rehearsal plays a stored day, and that is well; with a real gateway set this machine's clock.",
            )
        if not -_CLOCKS_APART <= apart <= _CLOCKS_APART + timedelta(seconds=1):
            return warn(
                subject,
                f"this machine is {apart.total_seconds():+.1f} s off the server ({told})",
                "Have this machine's clock set by a time server (chrony, systemd-timesyncd).",
            )
        return ok(subject, f"it is {told} there, and within {_CLOCKS_APART.total_seconds():g} s of it here")

    def _restart(self) -> Check:
        settings, now = self._settings, self._connection.clock.now()
        if settings.restart_at is None:
            return warn(
                "restart", "broker.ib.restart_at is off", "Set it to the gateway's Auto restart time, if it has one."
            )
        window = window_around(now, settings)
        named = f"{settings.restart_at:%H:%M} {settings.timezone}"
        if window is None:
            return ok("restart", f"every night at {named}; none is near")
        back = window.back_by.astimezone(ZoneInfo(settings.timezone))
        return warn(
            "restart",
            f"the gateway restarts at {named}: no new orders now",
            f"It should be back by {back:%H:%M}{', with a login by hand' if window.is_weekly else ''}.",
        )

    def _orders(self) -> Iterator[Check]:
        heard = self._heard
        questions: dict[str, Callable[[], str]] = {
            "open orders": lambda: self._counted(lambda line: line.open_orders(), heard.orders, "open orders"),
            "completed orders": lambda: f"{len(self._ask(lambda line: line.completed_orders(), 'completed orders'))}",
            "executions": lambda: self._counted(lambda line: line.executions(), heard.executions, "executions"),
        }
        for subject, question in questions.items():
            try:
                yield ok(subject, f"{question()} of today" if subject != "open orders" else question())
            except OpenbellError as error:
                yield bad(subject, str(error), "A session would refuse to start. Restart the gateway.")

    def _counted(
        self, question: "Callable[[GatewayLine], Awaitable[None]]", told: Collection[object], what: str
    ) -> str:
        self._ask(question, what)
        return str(len(told))

    def _balances(self) -> Iterator[Check]:
        account = self._connection.account
        try:
            positions = [one for one in self._ask(lambda line: line.positions(), "positions") if one.account == account]
            values = self._ask(lambda line: line.account_values(account), "balances")
        except OpenbellError as error:
            yield bad("balances", str(error), "A session would refuse to start. Restart the gateway.")
            return
        held = [f"{one.quantity} {self._contracts.symbol_of(one.instrument)}" for one in positions if one.quantity]
        yield ok("positions", ", ".join(held[:10]) + (" and more" if len(held) > 10 else "") if held else "none")
        cash, (currency, _) = cash_of(values), balances_of(values)
        if cash is None:
            yield bad(
                "balances", "the broker does not say how much cash there is", "Log out of the gateway and in again."
            )
        else:
            yield ok("balances", f"cash {cash:,.2f} {currency}")

    def _contract(self, symbol: str) -> Check:
        subject = f"contract {symbol}"
        try:
            details = self._contracts.details(symbol)
            self._contracts.to_trade(symbol)
        except OpenbellError as error:
            return refused(subject, error)
        self._instruments[symbol] = instrument = details.instrument
        listed = f", listed at {instrument.primary_exchange}" if instrument.primary_exchange else ""
        return ok(
            subject,
            f"{details.name or symbol}{listed}, contract {instrument.contract_id}, tick {details.minimum_tick.normalize():f}",
        )

    def _permission_to_trade(self) -> Check:
        subject = "orders"
        if not is_paper_account(self._connection.account):
            return warn(subject, "not tested on a live account", "Look that 'Read-Only API' is off in the gateway.")
        if not self._instruments:
            return warn(subject, "not tested: there is no contract to ask with")
        symbol, instrument = next(iter(self._instruments.items()))
        one = WireOrder("BUY", Decimal(1), "MKT", "DAY", account=self._connection.account)
        try:
            status = self._ask(lambda line: line.what_if(instrument, one), f"whether a share of {symbol} can be bought")
        except _GatewaySaid as error:
            if "read-only" in error.text.lower() or "read only" in error.text.lower():
                return bad(
                    subject,
                    f"the API is read-only ({error})",
                    "Switch off 'Read-Only API' in the gateway's API settings.",
                )
            return warn(
                subject, f"one share of {symbol} would not be taken: {error}", "Look whether the account may trade it."
            )
        except OpenbellError as error:
            return warn(subject, str(error), "Look that 'Read-Only API' is off in the gateway.")
        return ok(subject, f"one share of {symbol} would be taken ({status or 'no status'}); none was ordered")

    def _past_bars(self, symbol: str) -> Check:
        subject, instrument = f"past bars {symbol}", self._instruments[symbol]
        try:
            bars = self._ask(lambda line: line.history(instrument, None, "1 D", "1 min", True), f"bars of {symbol}", 3)
        except _GatewaySaid as error:
            meaning = meaning_for_data(error.code, error.text)
            if meaning is Meaning.DATA_NOT_ALLOWED:
                return bad(subject, f"error {error.code}", not_allowed(symbol, error.code, error.text))
            if meaning is Meaning.NO_DATA:
                return warn(subject, f"the broker has none of the last day ({error})", "Look whether it trades.")
            return bad(subject, str(error), "A session would not get its warmup. Wait some minutes, and ask again.")
        except OpenbellError as error:
            return bad(
                subject, str(error), "A session would not get its warmup. Ask again when the data farms are connected."
            )
        if not bars:
            return warn(subject, "the broker has none of the last day", "Look whether it trades.")
        return ok(subject, f"{len(bars)} minutes, the last of {bars[-1].time:%Y-%m-%d %H:%M} UTC")

    def _live_bars(self) -> Iterator[Check]:
        if not self._instruments:
            return
        closed = self._asked.no_trading(self._connection.clock.now())
        heard, numbers = self._heard, {}
        kind = 1 if self._settings.market_data == "live" else 3
        try:
            self._connection.call(lambda line: line.ask_for_market_data(kind), "the kind of market data")
            for symbol, instrument in self._instruments.items():
                subscribe = _subscription(instrument)
                numbers[symbol] = self._connection.call(subscribe, f"live bars of {symbol}")
        except OpenbellError as error:
            yield bad("live bars", str(error), "Ask again; if that helps nothing, restart the gateway.")
            return
        seconds = _BARS_WITHIN_SECONDS if closed is None else _ERRORS_WITHIN_SECONDS
        begun = time.monotonic()
        heard.wait_for(lambda: all(one in heard.bars or one in heard.errors for one in numbers.values()), seconds)
        for symbol, number in numbers.items():
            yield self._live_bar(
                symbol, heard.bars.get(number), heard.errors.get(number), closed, time.monotonic() - begun
            )
            if number not in heard.errors and self._connection.is_up:
                self._connection.call(_end_of(number), f"live bars of {symbol}")

    def _live_bar(
        self, symbol: str, bar: BarTold | None, error: ErrorTold | None, closed: str | None, seconds: float
    ) -> Check:
        subject = f"live bars {symbol}"
        if error is not None:
            meaning = meaning_for_data(error.code, error.text)
            if meaning is Meaning.DATA_NOT_ALLOWED:
                return bad(subject, f"error {error.code}", not_allowed(symbol, error.code, error.text))
            if meaning is Meaning.DATA_DELAYED:
                return bad(subject, "delayed", only_delayed(symbol, error.code, error.text))
            return bad(
                subject, f"error {error.code}: {error.text}", "A session would be refused its bars. Mend what it says."
            )
        if bar is not None:
            return ok(subject, f"they come; the first after {seconds:.1f} s")
        if closed is not None:
            return ok(subject, f"not refused; none comes now: {closed}")
        return warn(
            subject,
            f"none within {seconds:.0f} s",
            "It may be halted or hardly traded; else look at the gateway's data farms.",
        )

    def _ask(self, question: "Callable[[GatewayLine], Awaitable[_T]]", what: str, patience: int = 1) -> _T:
        """The answer; raises ``_GatewaySaid`` where that is an error."""
        from trading.interactive_brokers.library import RequestFailed

        seconds = patience * float(self._settings.answer_timeout_seconds)
        try:
            return self._connection.ask(question, what, seconds, cuts_line=False)
        except RequestFailed as error:
            raise _GatewaySaid(error.code, error.text) from error


class _GatewaySaid(OpenbellError):
    """A question was answered with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"error {code}: {text}")
        self.code = code
        self.text = text


def _subscription(instrument: Instrument) -> "Callable[[GatewayLine], int]":
    return lambda line: line.subscribe_five_seconds(instrument, True)


def _end_of(number: int) -> "Callable[[GatewayLine], None]":
    return lambda line: line.unsubscribe_five_seconds(number)
