"""The account at Interactive Brokers behind the broker port.

The trading thread asks; everything that is known of orders lives on the connection's thread (``broker_orders``). The rule: a word
that could be wrong is asked about before it is passed on, silence is never an answer, and nothing is sent a second time before the
broker was asked for it by its reference; then under the number that it had, which the gateway takes as the same order.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from trading.errors import BrokerError, BrokerUnavailable, DataNotFit, OrderRefused, OutcomeUnknown
from trading.interactive_brokers.account_values import cash_of
from trading.interactive_brokers.broker_orders import BrokerOrders, KnownOrder
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.messages import AccountValueTold, Instrument, Message, PositionTold, WireOrder
from trading.interactive_brokers.order_terms import require_on_tick, wire_order
from trading.interactive_brokers.restart_windows import window_around
from trading.interactive_brokers.statuses import Said, meaning_of_status
from trading.money import round_money
from trading.orders import LIMITED, STOPPED, Execution, OrderAmendment, OrderIntent, OrderType
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, BrokerPosition, OrderReport

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_TRIES = 2
"""How often executions are asked for on one line: their end sometimes does not come."""
_NUMBERS_APART = 1_000


class Instruments(Protocol):
    """What symbols mean at the broker."""

    def instrument(self, symbol: str) -> Instrument:
        """The contract to order; raises ``DataNotFit`` for one that is unknown or ambiguous, ``BrokerUnavailable``."""
        ...

    def symbol_of(self, instrument: Instrument) -> str:
        """The symbol of a contract, as sessions name it."""
        ...

    def minimum_tick(self, symbol: str) -> Decimal | None:
        """The smallest step of its prices; None where it is not known."""
        ...


@dataclass(slots=True)
class _Leg:
    """One order on its way."""

    intent: OrderIntent
    instrument: Instrument
    known: KnownOrder | None = None
    outcome: Acknowledgement | BrokerError | None = None


class IbBroker:
    """One account. ``name`` is what the ledger calls it. Make it before the connection is opened: it takes part in making it."""

    def __init__(self, connection: GatewayConnection, instruments: Instruments, name: str) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._instruments = instruments
        self._name = name
        self._orders: BrokerOrders | None = None
        self._heard: asyncio.Event | None = None
        self._own_only = False
        self._tells_completed = True
        self._parents: dict[str, str] = {}
        connection.listen(self._hear)
        connection.on_joined(self._join)

    # The port

    @property
    def source(self) -> str:
        """Fills of this broker are marked ``ib``."""
        return "ib"

    @property
    def connections(self) -> int:
        """Connections made, and returns of the broker behind the gateway."""
        return self._connection.connections

    @property
    def executions_kept_since(self) -> datetime:
        """Midnight of the gateway's day: it keeps no executions of earlier ones."""
        local = self._connection.clock.now().astimezone(ZoneInfo(self._settings.timezone))
        return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)

    def no_new_orders(self, at: datetime) -> str | None:
        """Why nothing new should be sent at ``at``: the gateway is about to restart, or does; None where it may be."""
        del at  # restarts are in the gateway's time, also where a session is late
        window = window_around(self._connection.clock.now(), self._settings)
        if window is None:
            return None
        local = window.starts_at.astimezone(ZoneInfo(self._settings.timezone))
        return f"the gateway restarts at {local:%H:%M} {self._settings.timezone} (broker.ib.restart_at)"

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        """Send one order and wait for the gateway's first word on it (see the port)."""
        [outcome] = self.submit_together([intent])
        if isinstance(outcome, BrokerError):
            raise outcome
        return outcome

    def submit_together(self, intents: Sequence[OrderIntent]) -> list[Acknowledgement | BrokerError]:
        """Send a parent and its children so that none of them works before the gateway has all.

        One answer for each, in their order. Orders that the broker has already are not sent.
        """
        legs = [self._leg(intent) for intent in intents]
        self._run(self._hand_over(legs), f"order {intents[0].client_order_id}", self._patience)
        return [self._outcome(leg) for leg in legs]

    def cancel(self, client_order_id: str) -> None:
        """Ask for what is left of an order to be cancelled (see the port)."""
        self._run(self._cancel(client_order_id), f"cancel of {client_order_id}", self._patience)

    def replace(self, amendment: OrderAmendment) -> None:
        """Change a working order under the number it has (see the port)."""
        name = f"amendment {amendment.number} of {amendment.client_order_id}"
        self._run(self._replace(amendment), name, self._patience)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        """The order under this reference; None only when open orders, executions and completed orders do not have it."""

        async def found() -> BrokerOrder | None:
            await self._ask_everything(f"order {client_order_id}")
            known = self._known.find(client_order_id)
            return None if known is None or not known.is_told else self._known.seen(known)

        return self._run(found(), f"order {client_order_id}", self._patience)

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        """What is new (see the port). Orders in doubt are asked about first; while that fails they are no news."""

        async def news() -> tuple[OrderReport | Execution, ...]:
            self._connection.require_line("news")
            if self._known.doubts:
                with contextlib.suppress(BrokerUnavailable):
                    await self._ask_everything("orders in doubt")
            return tuple(self._known.news(self._connection.clock.now()))

        return self._run(news(), "news", self._patience)

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        """The day's executions that no correction has replaced, asked for anew."""

        async def asked() -> tuple[Execution, ...]:
            await self._ask_executions()
            return self._known.executions.counting(since)

        return self._run(asked(), "executions", self._patience)

    def account(self) -> BrokerAccount:
        """Positions, cash and open orders, asked for anew; the average cost of IB has the commissions in it."""

        async def asked() -> BrokerAccount:
            answered, seconds = self._connection.answered, self._answer_seconds
            positions, values, _ = await _all_of(
                answered(lambda line: line.positions(), "positions", seconds),
                answered(
                    lambda line: line.account_values(self._connection.account), "balances", seconds, cuts_line=False
                ),
                self._ask_everything("open orders"),
            )
            return self._account_of(positions, values)

        return self._run(asked(), "account", self._patience)

    # Sending

    def _leg(self, intent: OrderIntent) -> _Leg:
        try:
            leg = _Leg(intent, self._instruments.instrument(intent.symbol))
            require_on_tick(intent, self._instruments.minimum_tick(intent.symbol))
        except DataNotFit as error:
            raise OrderRefused(f"Order {intent.client_order_id} is not sent: {error}") from error
        except OrderRefused as error:
            leg.outcome = error
        return leg

    async def _hand_over(self, legs: list[_Leg]) -> None:
        line = self._connection.require_line("an order")
        orders = self._known
        if any((known := orders.find(leg.intent.client_order_id)) is not None and known.ended is None for leg in legs):
            # Sent before, by this process or the one before it: the broker is asked what it has.
            await self._ask_everything("orders sent before")
        unsent: list[_Leg] = []
        for leg in legs:
            if leg.outcome is not None:
                continue
            known = orders.find(leg.intent.client_order_id)
            if known is not None and known.is_told:
                leg.known = known
            else:
                unsent.append(leg)
        self._place(line, unsent)
        sent = [leg for leg in unsent if leg.outcome is None]
        await self._first_words(line, sent)
        if any(leg.known is not None and leg.known.doubted is not None for leg in legs):
            await self._settle_refusals(legs)
        again = [leg for leg in sent if _number_was_taken(leg)]
        if again:
            self._connection.note_order_id(orders.highest_order_id + _NUMBERS_APART)
            for leg in again:
                orders.forget_number(leg.intent.client_order_id)
            self._place(line, again)
            await self._first_words(line, again)
            await self._settle_refusals(again)

    def _place(self, line: "GatewayLine", legs: list[_Leg]) -> None:
        numbers: dict[str, int] = {}
        parents = {leg.intent.parent_id for leg in legs if leg.intent.parent_id is not None}
        for index, leg in enumerate(legs):
            intent = leg.intent
            family = intent.client_order_id in parents or intent.parent_id in numbers
            is_last = not any(
                later.intent.parent_id in (intent.parent_id, intent.client_order_id)
                and later.intent.parent_id is not None
                for later in legs[index + 1 :]
            )
            try:
                wire = self._wire(leg, numbers, transmit=is_last or not family)
            except BrokerError as error:
                leg.outcome = error
                continue
            known = self._known.find(intent.client_order_id)
            number = known.order.order_id if known is not None and known.order.order_id else None
            if number is None:
                number = self._connection.reserve_order_id(line)
            numbers[intent.client_order_id] = number
            leg.known = self._known.sent(intent.symbol, replace(wire, order_id=number, client_id=line.client_id))
            if intent.parent_id is not None:
                self._parents[intent.client_order_id] = intent.parent_id
            try:
                line.place(number, leg.instrument, wire)
            except ConnectionError as error:
                leg.outcome = BrokerUnavailable(
                    f"Order {intent.client_order_id} was not sent: the line is gone ({error})."
                )

    def _wire(self, leg: _Leg, numbers: dict[str, int], transmit: bool) -> WireOrder:
        """The order on the wire; raises ``OrderRefused`` for a child whose parent is not there or left nothing."""
        intent = leg.intent
        account = self._connection.account
        if intent.parent_id is None:
            return wire_order(intent, account, transmit=transmit)
        if intent.parent_id in numbers:
            return wire_order(intent, account, numbers[intent.parent_id], transmit)
        parent = self._known.find(intent.parent_id)
        if parent is None or not parent.is_told:
            raise OrderRefused(
                f"Order {intent.client_order_id} was refused: its parent {intent.parent_id} is not known at the broker. Send "
                "the parent first."
            )
        if parent.ended is None:
            number = self._known.number_of(parent)
            if number is None:
                raise OrderRefused(
                    f"Order {intent.client_order_id} was refused: its parent {intent.parent_id} works under another client id."
                )
            return wire_order(intent, account, number, transmit)
        # The parent is over: the broker attaches nothing to it, so that the child goes alone, for what is left to protect.
        left = self._known.filled(parent) - sum(
            self._known.filled(child)
            for name, parent_id in self._parents.items()
            if parent_id == intent.parent_id
            and name != intent.client_order_id
            and (child := self._known.find(name)) is not None
        )
        if left <= 0:
            raise OrderRefused(
                f"Order {intent.client_order_id} was refused: its parent {intent.parent_id} has left nothing to close."
            )
        return replace(wire_order(intent, account, transmit=transmit), quantity=Decimal(min(intent.quantity, left)))

    async def _first_words(self, line: "GatewayLine", legs: list[_Leg]) -> None:
        """Wait until the gateway has said something of every leg that decides, or nothing for too long."""
        waiting = [leg for leg in legs if leg.outcome is None and leg.known is not None]
        await self._until(
            line, lambda: all(_is_decided(leg.known) for leg in waiting if leg.known is not None), "an order"
        )

    async def _settle_refusals(self, legs: list[_Leg]) -> None:
        """Ask whether what sounds refused or over is; what cannot be asked stays unknown."""
        asked = self._known.clock
        with contextlib.suppress(BrokerUnavailable):
            await self._ask_open_orders()
            self._known.settle(asked, is_complete=False)
            for leg in legs:
                if leg.known is not None and not leg.known.is_told and leg.known.refusal:
                    self._known.end_refused(leg.known)

    def _outcome(self, leg: _Leg) -> Acknowledgement | BrokerError:
        if leg.outcome is not None:
            return leg.outcome
        known, name = leg.known, leg.intent.client_order_id
        if known is None:
            return BrokerUnavailable(f"Order {name} was not sent.")
        if known.ended is not None and known.refusal and not self._known.filled(known) and not known.was_taken:
            return OrderRefused(f"Order {name} was refused by the broker ({known.refusal}).")
        if not known.is_told or known.doubted is not None:
            said = f" ({known.refusal})" if known.refusal else ""
            return OutcomeUnknown(
                f"Order {name} was sent and no answer tells what became of it{said}. It is asked for."
            )
        return Acknowledgement(name, known.broker_id, self._known.status(known))

    # Cancelling and changing

    async def _cancel(self, reference: str) -> None:
        orders = self._known
        known = orders.find(reference)
        if known is None or not known.is_told or orders.number_of(known) is None or known.doubted is not None:
            await self._ask_everything(f"order {reference}")
            known = orders.find(reference)
        if known is None or not known.is_told or known.ended is not None:
            return
        line = self._connection.require_line(f"cancel of {reference}")
        number = orders.number_of(known)
        if number is None:
            raise BrokerUnavailable(
                f"Order {reference} works under another client id and can be cancelled there alone."
            )
        known.cancel_asked = True
        before = orders.clock
        try:
            line.cancel(number)
        except ConnectionError as error:
            raise BrokerUnavailable(f"The cancel of {reference} was not sent: the line is gone ({error}).") from error
        await self._until(line, lambda: known.ended is not None or known.doubted is not None, "a cancel")
        if known.doubted is not None:
            with contextlib.suppress(BrokerUnavailable):
                await self._ask_everything(f"order {reference}")
        if known.ended is None and (known.touched <= before or meaning_of_status(known.word) is not Said.ENDING):
            raise OutcomeUnknown(f"The cancel of {reference} was sent and no answer tells what became of it.")

    async def _replace(self, amendment: OrderAmendment) -> None:
        orders, reference = self._known, amendment.client_order_id
        known = orders.find(reference)
        if known is None or not known.is_told or orders.number_of(known) is None or known.doubted is not None:
            await self._ask_everything(f"order {reference}")
            known = orders.find(reference)
        refusal = self._objection(known, amendment)
        if known is None or refusal is not None:
            raise OrderRefused(
                f"Amendment {amendment.number} of order {reference} was refused: {refusal}. The order stands as it was."
            )
        wanted = _amended(known.order, amendment)
        if _terms(wanted) == _terms(known.order):
            return  # this change, or one like it, was made before
        number = orders.number_of(known)
        line = self._connection.require_line(f"amendment of {reference}")
        if number is None:
            raise BrokerUnavailable(f"Order {reference} works under another client id and can be changed there alone.")
        if wanted.quantity <= orders.filled(known):
            await self._cancel(reference)
            return
        instrument = await asyncio.to_thread(self._instruments.instrument, known.symbol)
        before = orders.clock
        known.refusal = ""
        try:
            line.place(number, instrument, replace(wanted, transmit=True))
        except ConnectionError as error:
            raise BrokerUnavailable(
                f"The amendment of {reference} was not sent: the line is gone ({error})."
            ) from error
        await self._until(
            line,
            lambda: _terms(known.order) == _terms(wanted) or bool(known.refusal) or known.doubted is not None,
            "an amendment",
        )
        if known.touched <= before:
            raise OutcomeUnknown(f"The amendment of {reference} was sent and no answer came.")
        # A change that failed is told as an end, and one that was taken can be followed by an end: the list decides.
        refused, known.refusal = known.refusal, ""
        if known.doubted is not None or refused:
            try:
                await self._ask_everything(f"order {reference}")
            except BrokerUnavailable as error:
                raise OutcomeUnknown(
                    f"The amendment of {reference} was answered with {refused or known.word}; {error}"
                ) from error
        if _terms(known.order) == _terms(wanted):
            return
        raise OrderRefused(
            f"Amendment {amendment.number} of order {reference} was refused ({refused or known.word}). "
            "The order stands as the broker has it."
        )

    def _objection(self, known: KnownOrder | None, amendment: OrderAmendment) -> str | None:
        """What speaks against a change before anybody is asked; None where nothing does."""
        if known is None or not known.is_told:
            return "the broker never had the order"
        if known.ended is not None:
            return f"the order is {known.ended}"
        seen = self._known.seen(known)
        if amendment.quantity is not None and amendment.quantity > seen.quantity:
            return f"{amendment.quantity} shares are more than {seen.quantity}"
        kind = seen.order_type
        for name, value, has in (
            ("limit price", amendment.limit_price, kind in LIMITED),
            ("stop price", amendment.stop_price, kind in STOPPED),
            ("trail", amendment.trail_amount or amendment.trail_fraction, kind is OrderType.TRAILING_STOP),
        ):
            if value is not None and not has:
                return f"a {kind} order has no {name}"
        return None

    # Asking

    async def _join(self, line: "GatewayLine") -> None:
        """Take part in making a connection: everything of the day is asked for before anything is sent."""
        if self._orders is None:
            self._orders = BrokerOrders(self._connection.account, self._settings.client_id, self._instruments.symbol_of)
        self._tells_completed = True
        orders = self._orders
        orders.begin_line()
        asked = orders.clock
        seconds = min(self._answer_seconds, float(self._settings.connect_timeout_seconds) / 4)
        try:
            question = line.own_open_orders() if self._own_only else line.open_orders()
            await asyncio.wait_for(question, seconds)
        except TimeoutError as error:
            # Perhaps it does not know that question: the next line is asked the narrower one, and the one after it again this.
            self._own_only = not self._own_only
            raise BrokerUnavailable("the gateway does not tell which orders are open") from error
        await self._executions_of(line, seconds)
        await self._completed_of(line, seconds)
        orders.settle(asked, is_complete=True)
        self._connection.note_order_id(orders.highest_order_id)

    async def _executions_of(self, line: "GatewayLine", seconds: float) -> None:
        for _ in range(_TRIES):
            try:
                await asyncio.wait_for(line.executions(), seconds)
            except TimeoutError:
                _log.warning("executions were not told to their end within %g seconds", seconds)
            else:
                return
        raise BrokerUnavailable("the gateway does not tell the day's executions to their end")

    async def _completed_of(self, line: "GatewayLine", seconds: float) -> None:
        if not self._tells_completed:
            return
        try:
            await asyncio.wait_for(line.completed_orders(), seconds)
        except TimeoutError:
            # Without them an order that ended unfilled looks as if it had never been there; it is not asked for on this line.
            _log.warning("completed orders were not told within %g seconds", seconds)
            self._tells_completed = False

    async def _ask_everything(self, what: str) -> None:
        """Open orders, executions and completed orders anew; raises ``BrokerUnavailable`` where one is not answered."""
        line = self._connection.require_line(what)
        asked = self._known.clock
        await _all_of(self._ask_open_orders(), self._ask_executions(), self._completed_of(line, self._answer_seconds))
        self._known.settle(asked, is_complete=True)

    async def _ask_open_orders(self) -> None:
        def question(line: "GatewayLine") -> Awaitable[None]:
            return line.own_open_orders() if self._own_only else line.open_orders()

        await self._connection.answered(question, "open orders", self._answer_seconds)

    async def _ask_executions(self) -> None:
        for tried in range(_TRIES):
            with contextlib.suppress(*((BrokerUnavailable,) if tried + 1 < _TRIES else ())):
                await self._connection.answered(
                    lambda line: line.executions(), "executions", self._answer_seconds, cuts_line=tried + 1 == _TRIES
                )
                return

    async def _until(self, line: "GatewayLine", is_decided: Callable[[], bool], what: str) -> None:
        """Wait for ``is_decided``, at most as long as a first word may take; a lost line ends it too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + float(self._settings.acknowledgement_timeout_seconds)
        while not is_decided():
            left = deadline - loop.time()
            if left <= 0 or not line.is_connected:
                _log.warning("no word in time what=%s connected=%s", what, line.is_connected)
                return
            self._heard = heard = asyncio.Event() if self._heard is None or self._heard.is_set() else self._heard
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), left)

    def _hear(self, message: Message) -> None:
        if self._orders is not None:
            self._orders.hear(message)
            if self._orders.highest_order_id:
                self._connection.note_order_id(self._orders.highest_order_id)
        if self._heard is not None:
            self._heard.set()

    def _account_of(self, positions: list[PositionTold], values: list[AccountValueTold]) -> BrokerAccount:
        held = []
        for position in positions:
            if position.account != self._connection.account or not position.quantity:
                continue
            symbol = self._instruments.symbol_of(position.instrument)
            if position.quantity != int(position.quantity):
                raise BrokerUnavailable(
                    f"The account holds {position.quantity} {symbol}: fractions of shares cannot be kept in this ledger. Close "
                    "the fraction by hand."
                )
            held.append(BrokerPosition(symbol, int(position.quantity), round_money(position.average_cost)))
        opened = tuple(self._known.seen(one) for one in self._known.open_orders())
        cash = cash_of(values)
        if cash is None:
            raise BrokerUnavailable("The broker's balances do not say how much cash there is.")
        return BrokerAccount(self._name, cash, tuple(held), opened)

    # Inside

    @property
    def _known(self) -> BrokerOrders:
        if self._orders is None:
            raise BrokerUnavailable("The broker cannot be asked: no connection was made yet.")
        return self._orders

    @property
    def _answer_seconds(self) -> float:
        return float(self._settings.answer_timeout_seconds)

    @property
    def _patience(self) -> float:
        """Longer than any of the waits that one call is made of: they end by themselves."""
        return 4 * self._answer_seconds + 2 * float(self._settings.acknowledgement_timeout_seconds)

    def _run(self, work: Coroutine[Any, Any, _T], what: str, seconds: float) -> _T:
        return self._connection.run(work, what, seconds)


async def _all_of(*questions: Awaitable[Any]) -> list[Any]:
    """All answers; where one fails the others are given up, and it is raised."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _is_decided(known: KnownOrder | None) -> bool:
    """Whether the gateway has said more of an order than that it has it."""
    if known is None or known.ended is not None or known.doubted is not None or known.refusal:
        return True
    return known.is_told and meaning_of_status(known.word) not in (Said.ON_ITS_WAY, Said.HELD)


def _number_was_taken(leg: _Leg) -> bool:
    return leg.known is not None and leg.known.refusal.startswith("103:") and not leg.known.order.perm_id


def _amended(order: WireOrder, amendment: OrderAmendment) -> WireOrder:
    percent = amendment.trail_fraction
    stop = amendment.stop_price if amendment.stop_price is not None else amendment.trail_amount
    return replace(
        order,
        quantity=order.quantity if amendment.quantity is None else Decimal(amendment.quantity),
        limit_price=order.limit_price if amendment.limit_price is None else amendment.limit_price,
        aux_price=order.aux_price if stop is None else stop,
        trailing_percent=order.trailing_percent if percent is None else percent * 100,
    )


def _terms(order: WireOrder) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """What a change can change; the broker writes 0 for a price that there is not."""
    zero = Decimal(0)
    return order.quantity, order.limit_price or zero, order.aux_price or zero, order.trailing_percent or zero
