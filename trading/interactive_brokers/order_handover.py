"""Orders on their way to the gateway: numbered, sent once, and answered for.

A reference that the broker has already is not sent. One that was sent and never answered is asked for, and sent again under the
number it had: the gateway takes that as the same order, so that two of them cannot come of it.
"""

import contextlib
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from trading.errors import BrokerError, BrokerUnavailable, ConfigurationError, DataNotFit, OrderRefused, OutcomeUnknown
from trading.interactive_brokers.broker_orders import KnownOrder
from trading.interactive_brokers.day_questions import DayQuestions
from trading.interactive_brokers.messages import Instrument, WireOrder
from trading.interactive_brokers.order_terms import require_on_tick, wire_order
from trading.interactive_brokers.statuses import Said, meaning_of_status
from trading.orders import OrderIntent
from trading.ports import Acknowledgement

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_ASKED_AT_MOST = 3
"""How often open orders are asked for while words that sound like an end keep coming."""
_NUMBERS_APART = 1_000
"""How far the next number is from one that turned out to be taken."""


class Instruments(Protocol):
    """What symbols mean at the broker."""

    def to_trade(self, symbol: str) -> Instrument:
        """The contract to order; raises ``DataNotFit`` or ``ConfigurationError`` for what cannot be, ``BrokerUnavailable``."""
        ...

    def symbol_of(self, instrument: Instrument) -> str:
        """The symbol of a contract, as sessions name it."""
        ...

    def known(self, symbol: str) -> Instrument | None:
        """The contract of a symbol that was looked up before; asks nobody."""
        ...

    def minimum_tick(self, symbol: str) -> Decimal | None:
        """The smallest step of its prices; None where it is not known."""
        ...


@dataclass(slots=True)
class Leg:
    """One order on its way; ``outcome`` once that is decided before it was sent."""

    intent: OrderIntent
    instrument: Instrument | None = None
    known: KnownOrder | None = None
    outcome: Acknowledgement | BrokerError | None = None


class OrderHandover:
    """Hands orders over; on the connection's thread, save ``leg``."""

    def __init__(self, day: DayQuestions, instruments: Instruments) -> None:
        self._day = day
        self._instruments = instruments

    def leg(self, intent: OrderIntent) -> Leg:
        """An order to hand over, with its contract; asks the broker for that, so not on the connection's thread."""
        leg = Leg(intent)
        try:
            leg.instrument = self._instruments.to_trade(intent.symbol)
            require_on_tick(intent, self._instruments.minimum_tick(intent.symbol))
        except (DataNotFit, ConfigurationError) as error:
            leg.outcome = OrderRefused(f"Order {intent.client_order_id} is not sent: {error}")
        except OrderRefused as error:
            leg.outcome = error
        return leg

    async def hand_over(self, legs: list[Leg]) -> None:
        """Send what the broker does not have, and wait until it has said something of each, or nothing for too long."""
        line = self._day.connection.require_line("an order")
        orders = self._day.orders
        if any((known := orders.find(leg.intent.client_order_id)) is not None and known.ended is None for leg in legs):
            # Sent before, by this process or the one before it: the broker is asked what it has.
            await self._day.ask_everything("orders sent before")
        unsent: list[Leg] = []
        for leg in legs:
            if leg.outcome is not None:
                continue
            known = orders.find(leg.intent.client_order_id)
            if known is not None and known.is_there:
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
            self._day.connection.note_order_id(orders.highest_order_id + _NUMBERS_APART)
            for leg in again:
                orders.forget_number(leg.intent.client_order_id)
            self._place(line, again)
            await self._first_words(line, again)
            await self._settle_refusals(again)

    def _place(self, line: "GatewayLine", legs: list[Leg]) -> None:
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
            known = self._day.orders.find(intent.client_order_id)
            number = known.order.order_id if known is not None and known.order.order_id else None
            if number is None:
                number = self._day.connection.reserve_order_id(line)
            numbers[intent.client_order_id] = number
            parent = None if intent.parent_id is None else self._day.orders.find(intent.parent_id)
            sent = replace(wire, order_id=number, client_id=line.client_id)
            leg.known = self._day.orders.sent(intent.symbol, sent, parent)
            assert leg.instrument is not None  # what has none has an outcome
            try:
                line.place(number, leg.instrument, wire)
            except ConnectionError as error:
                leg.outcome = BrokerUnavailable(
                    f"Order {intent.client_order_id} was not sent: the line is gone ({error})."
                )

    def _wire(self, leg: Leg, numbers: dict[str, int], transmit: bool) -> WireOrder:
        """The order on the wire; raises ``OrderRefused`` for a child whose parent is not there or left nothing."""
        intent = leg.intent
        account = self._day.connection.account
        if intent.parent_id is None:
            return wire_order(intent, account, transmit=transmit)
        if intent.parent_id in numbers:
            return wire_order(intent, account, numbers[intent.parent_id], transmit)
        parent = self._day.orders.find(intent.parent_id)
        if parent is None or not parent.is_told:
            raise OrderRefused(
                f"Order {intent.client_order_id} was refused: its parent {intent.parent_id} is not known at the broker. Send "
                "the parent first."
            )
        if parent.ended is None:
            number = self._day.orders.number_of(parent)
            if number is None:
                raise OrderRefused(
                    f"Order {intent.client_order_id} was refused: its parent {intent.parent_id} works under another client id."
                )
            return wire_order(intent, account, number, transmit)
        # The parent is over: the broker attaches nothing to it, so that the child goes alone, for what is left to protect.
        left = self._day.orders.left_to_protect(parent, self._day.orders.find(intent.client_order_id))
        if left <= 0:
            raise OrderRefused(
                f"Order {intent.client_order_id} was refused: its parent {intent.parent_id} has left nothing to close."
            )
        return replace(wire_order(intent, account, transmit=transmit), quantity=Decimal(min(intent.quantity, left)))

    async def _first_words(self, line: "GatewayLine", legs: list[Leg]) -> None:
        """Wait until the gateway has said something of every leg that decides, or nothing for too long."""
        waiting = [leg for leg in legs if leg.outcome is None and leg.known is not None]
        await self._day.until(
            line, lambda: all(_is_decided(leg.known) for leg in waiting if leg.known is not None), "an order"
        )

    async def _settle_refusals(self, legs: list[Leg]) -> None:
        """Ask whether what sounds refused or over is; what cannot be asked stays unknown."""
        with contextlib.suppress(BrokerUnavailable):
            for _ in range(_ASKED_AT_MOST):
                asked = self._day.orders.clock
                await self._day.ask_open_orders()
                self._day.orders.settle(asked, is_complete=False)
                # A word that came after the question is asked about again.
                if all(leg.known is None or leg.known.doubted is None for leg in legs):
                    break
            for leg in legs:
                if leg.known is not None and not leg.known.is_told and leg.known.refusal:
                    self._day.orders.end_refused(leg.known)

    def outcome(self, leg: Leg) -> Acknowledgement | BrokerError:
        """What became of an order that was handed over."""
        if leg.outcome is not None:
            return leg.outcome
        known, name = leg.known, leg.intent.client_order_id
        if known is None:
            return BrokerUnavailable(f"Order {name} was not sent.")
        if known.ended is not None and known.refusal and not self._day.orders.filled(known) and not known.was_taken:
            return OrderRefused(f"Order {name} was refused by the broker ({known.refusal}).")
        if not known.is_told or known.doubted is not None:
            words = known.refusal or (known.remark if known.is_hidden else "")
            said = f" ({words})" if words else ""
            return OutcomeUnknown(
                f"Order {name} was sent and no answer tells what became of it{said}. It is asked for."
            )
        return Acknowledgement(name, known.broker_id, self._day.orders.status(known))


def _is_decided(known: KnownOrder | None) -> bool:
    """Whether the gateway has said more of an order than that it has it."""
    if known is None or known.ended is not None or known.doubted is not None or known.refusal or known.is_hidden:
        return True
    return known.is_told and meaning_of_status(known.word) not in (Said.ON_ITS_WAY, Said.HELD)


def _number_was_taken(leg: Leg) -> bool:
    return leg.known is not None and leg.known.refusal.startswith("103:") and not leg.known.order.perm_id
