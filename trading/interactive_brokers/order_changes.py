"""Cancels and changes of orders that work: asked for under the number that the gateway knows them by, and confirmed by the list."""

import asyncio
import contextlib
from dataclasses import replace
from decimal import Decimal

from trading.errors import BrokerError, BrokerUnavailable, OrderRefused, OutcomeUnknown
from trading.interactive_brokers.broker_orders import KnownOrder
from trading.interactive_brokers.day_questions import DayQuestions
from trading.interactive_brokers.messages import WireOrder
from trading.interactive_brokers.order_handover import Instruments
from trading.interactive_brokers.statuses import Said, meaning_of_status
from trading.orders import LIMITED, STOPPED, OrderAmendment, OrderType


class OrderChanges:
    """Cancels and changes orders; on the connection's thread."""

    def __init__(self, day: DayQuestions, instruments: Instruments) -> None:
        self._day = day
        self._instruments = instruments

    async def cancel(self, reference: str) -> None:
        """Ask for an order's rest to be cancelled, as the port promises."""
        orders = self._day.orders
        known = orders.find(reference)
        if known is None or not known.is_told or orders.number_of(known) is None or known.doubted is not None:
            await self._day.ask_everything(f"order {reference}")
            known = orders.find(reference)
        if known is None or not known.is_told or known.ended is not None:
            return
        line = self._day.connection.require_line(f"cancel of {reference}")
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
        await self._day.until(line, lambda: known.ended is not None or known.doubted is not None, "a cancel")
        if known.doubted is not None:
            with contextlib.suppress(BrokerUnavailable):
                await self._day.ask_everything(f"order {reference}")
        if known.ended is None and (known.touched <= before or meaning_of_status(known.word) is not Said.ENDING):
            raise OutcomeUnknown(f"The cancel of {reference} was sent and no answer tells what became of it.")

    async def replace(self, amendment: OrderAmendment) -> None:
        """Change a working order, as the port promises."""
        orders, reference = self._day.orders, amendment.client_order_id
        known = orders.find(reference)
        if known is None or not known.is_told or orders.number_of(known) is None or known.doubted is not None:
            await self._day.ask_everything(f"order {reference}")
            known = orders.find(reference)
        refusal = self._objection(known, amendment)
        if known is None or refusal is not None:
            raise OrderRefused(
                f"Amendment {amendment.number} of order {reference} was refused: {refusal}. The order stands as it was."
            )
        wanted = _amended(known.order, amendment)
        if _terms(wanted) == _terms(known.order):
            return  # this change, or one like it, was made before
        if wanted.quantity <= orders.filled(known):
            await self.cancel(reference)
            return
        await self._change(known, wanted, f"amendment {amendment.number}")

    async def _change(self, known: KnownOrder, wanted: WireOrder, what: str) -> None:
        orders, reference = self._day.orders, known.reference
        line = self._day.connection.require_line(f"{what} of {reference}")
        number = orders.number_of(known)
        if number is None:
            raise BrokerUnavailable(f"Order {reference} works under another client id and can be changed there alone.")
        instrument = await asyncio.to_thread(self._instruments.to_trade, known.symbol)
        known.refusal = ""
        try:
            line.place(number, instrument, replace(wanted, transmit=True))
        except ConnectionError as error:
            raise BrokerUnavailable(f"The change of {reference} was not sent: the line is gone ({error}).") from error

        def is_answered() -> bool:
            # What else is told of the order meanwhile, an execution perhaps, is no answer.
            return _terms(known.order) == _terms(wanted) or bool(known.refusal) or known.doubted is not None

        await self._day.until(line, is_answered, "a change")
        if not is_answered():
            raise OutcomeUnknown(f"The change of {reference} was sent and no answer came.")
        # A change that failed is told as an end, and one that was taken can be followed by an end: the list decides.
        refused, known.refusal = known.refusal, ""
        if known.doubted is not None or refused:
            try:
                await self._day.ask_everything(f"order {reference}")
            except BrokerUnavailable as error:
                raise OutcomeUnknown(
                    f"The change of {reference} was answered with {refused or known.word}; {error}"
                ) from error
        if _terms(known.order) != _terms(wanted):
            raise OrderRefused(
                f"{what.capitalize()} of order {reference} was refused ({refused or known.word}). The order stands as the "
                "broker has it."
            )

    async def fit_children(self) -> None:
        """Make children no larger than what their parent has filled: the broker leaves them as they were ordered.

        What does not succeed now is tried again with the next news.
        """
        for child, quantity in self._day.orders.too_large():
            with contextlib.suppress(BrokerError):
                if quantity <= self._day.orders.filled(child):
                    await self.cancel(child.reference)
                else:
                    await self._change(child, replace(child.order, quantity=Decimal(quantity)), "its size")

    def _objection(self, known: KnownOrder | None, amendment: OrderAmendment) -> str | None:
        """What speaks against a change before anybody is asked; None where nothing does."""
        if known is None or not known.is_told:
            return "the broker never had the order"
        if known.ended is not None:
            return f"the order is {known.ended}"
        seen = self._day.orders.seen(known)
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
