"""The account's orders as the gateway tells of them: one record for each, found by reference and permanent id.

Order ids are numbers of one connection and come back after a restart: they only say whom an answer on this line is about. A word that
ends an order is a doubt until the broker was asked which orders are open; an end waits for the executions it speaks of.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from trading.interactive_brokers.error_codes import Meaning, meaning_of
from trading.interactive_brokers.executed_shares import ExecutedShares
from trading.interactive_brokers.executions import Executions
from trading.interactive_brokers.messages import (
    CommissionTold,
    CompletedTold,
    ErrorTold,
    ExecutionTold,
    Instrument,
    Message,
    OrderTold,
    StatusTold,
    WireOrder,
)
from trading.interactive_brokers.order_terms import order_type_of, prices_of, side_of
from trading.interactive_brokers.statuses import Said, meaning_of_status, status_of
from trading.money import round_money
from trading.orders import Execution, OrderStatus
from trading.ports import BrokerOrder, OrderReport

_log = logging.getLogger(__name__)
_TAKEN = (Said.WORKING, Said.ENDING, Said.FILLED)
_NUMBER_IN_USE = (103, 104)
"""Duplicate order id; a filled order cannot be changed."""


@dataclass(slots=True)
class KnownOrder:
    """One order. ``parent`` is the one whose fills it protects. ``word`` is the broker's newest on its standing, empty before the first.

    ``ended`` is an end that is sure. ``doubted`` is when (in messages) a doubt arose that is not settled, ``doubted_again`` when
    something spoke of an end last, ``touched`` the newest message about it, ``listed`` the newest that showed it as open. ``refusal`` is what an error said of it, at ``refused_at``.
    ``sendings`` counts how often it was sent under its number. ``is_hidden``: the broker shows no such order, and has one under the
    number that this one was sent under before. ``earlier`` are shares whose executions are of earlier days, which the gateway no longer tells; None until that was looked at.
    """

    reference: str
    symbol: str
    order: WireOrder
    parent: "KnownOrder | None" = None
    word: str = ""
    told_filled: int = 0
    earlier: int | None = None
    average_price: Decimal | None = None
    ended: OrderStatus | None = None
    doubted: int | None = None
    doubted_again: int = 0
    touched: int = 0
    listed: int = 0
    refusal: str = ""
    refused_at: int = 0
    remark: str = ""
    cancel_asked: bool = False
    was_taken: bool = False
    is_from_executions: bool = False
    was_executed: bool = False
    sendings: int = 0
    is_hidden: bool = False
    reported: tuple[OrderStatus, int] | None = None

    @property
    def is_told(self) -> bool:
        """Whether the broker has shown that it has the order, or had it."""
        return bool(self.word or self.order.perm_id or self.ended or self.was_executed)

    @property
    def is_there(self) -> bool:
        """Whether the broker has it or had it, shown or not."""
        return self.is_told or self.is_hidden

    @property
    def quantity(self) -> int:
        """Whole shares it is for."""
        return int(self.order.quantity)

    @property
    def broker_id(self) -> str:
        """The broker's name for it: the permanent id, where one was told."""
        return str(self.order.perm_id) if self.order.perm_id else f"{self.order.client_id}/{self.order.order_id}"


class BrokerOrders:
    """Everything heard of one account's orders and executions. Used on the connection's thread alone.

    ``symbol_of`` names instruments as sessions do.
    """

    def __init__(self, account: str, client_id: int, symbol_of: Callable[[Instrument], str]) -> None:
        self._account = account
        self._client_id = client_id
        self._symbol_of = symbol_of
        self.executions = Executions(symbol_of)
        self._orders: list[KnownOrder] = []
        self._by_perm: dict[int, KnownOrder] = {}
        self._by_number: dict[tuple[int, int], KnownOrder] = {}
        self._by_reference: dict[str, list[KnownOrder]] = {}
        self._changed: dict[int, KnownOrder] = {}
        self._executed: dict[str, None] = {}
        self._shares: dict[int | str, ExecutedShares] = {}
        self._messages = 0
        self.highest_order_id = 0
        """The highest order id of this client that was heard."""

    # Ours on their way

    def sent(self, symbol: str, order: WireOrder, parent: KnownOrder | None = None) -> KnownOrder:
        """An order of ours that is about to be sent, or sent again under its number."""
        known = self.find(order.order_ref)
        self._messages += 1
        if known is None:
            known = self._add(KnownOrder(order.order_ref, symbol, order, earlier=0))
        elif not known.is_told:
            known.order, known.refusal, known.doubted = order, "", None
        known.touched, known.parent = self._messages, parent or known.parent
        known.sendings += 1
        self._by_number[self._client_id, order.order_id] = known
        return known

    def begin_line(self) -> None:
        """A new line: order ids mean nothing until they are told again, and everything of the day is news once more."""
        self._by_number.clear()
        for known in self._orders:
            known.reported = None
            self._changed[id(known)] = known
        self._executed |= dict.fromkeys(one.exec_id for one in self.executions.counting())

    # Hearing

    def hear(self, message: Message) -> None:
        """Take in one message; what is of other accounts, or not about orders, changes nothing."""
        self._messages += 1
        if isinstance(message, OrderTold):
            self._order_told(message)
        elif isinstance(message, StatusTold):
            self._status_told(message)
        elif isinstance(message, CompletedTold):
            self._completed_told(message)
        elif isinstance(message, ExecutionTold):
            self._execution_told(message)
        elif isinstance(message, CommissionTold):
            if self.executions.hear_commission(message):
                self._executed[message.exec_id] = None
        elif isinstance(message, ErrorTold):
            self._error_told(message)

    def _order_told(self, message: OrderTold) -> None:
        order = message.order
        self._note_number(order.client_id, order.order_id)
        if order.account not in ("", self._account):
            return
        known = self._of(order.perm_id, order.client_id, order.order_id, order.order_ref)
        if known is None:
            known = self._add(KnownOrder(order.order_ref, self._symbol_of(message.instrument), order))
        self._identify(known, order)
        known.is_from_executions = False
        self._take_word(known, message.status, known.told_filled)
        if meaning_of_status(message.status) not in (Said.OVER, Said.FILLED):
            known.listed = self._messages

    def _status_told(self, message: StatusTold) -> None:
        known = self._of(message.perm_id, message.client_id, message.order_id, "")
        if known is None:
            return  # of another client's, or of another account's
        if message.perm_id and not known.order.perm_id:
            self._identify(known, replace(known.order, perm_id=message.perm_id))
        if message.filled >= known.told_filled:
            known.average_price = message.average_price or known.average_price
        if message.why_held:
            known.remark = f"held by the broker: {message.why_held}"
        self._take_word(known, message.status, max(known.told_filled, int(message.filled)))
        if meaning_of_status(message.status) in (Said.WORKING, Said.ENDING):
            known.listed = (
                self._messages
            )  # as good as a line of the list, which not every gateway writes so that it can be read

    def _completed_told(self, message: CompletedTold) -> None:
        order = message.order
        if order.account not in ("", self._account):
            return
        known = self._of(order.perm_id, 0, 0, order.order_ref)
        if known is None:
            known = self._add(KnownOrder(order.order_ref, self._symbol_of(message.instrument), order))
        known.told_filled = max(known.told_filled, int(message.filled or 0))
        says_quantity = bool(order.quantity) or bool(known.order.quantity and not known.is_from_executions)
        if not order.quantity:  # so TWS writes orders that are over
            order = replace(order, quantity=max(known.order.quantity, Decimal(self._filled(known))))
        self._identify(known, order)
        known.is_from_executions = False
        self._touch(known)
        said = meaning_of_status(message.status)
        filled = self._filled(known)
        if said is Said.FILLED or (says_quantity and filled >= known.quantity):
            known.ended = OrderStatus.FILLED
        elif said in (Said.OVER, Said.HELD):
            refused = not filled and (said is Said.HELD or (known.refusal and not known.was_taken))
            known.ended = OrderStatus.REJECTED if refused and not known.cancel_asked else OrderStatus.CANCELLED
        known.doubted = None if known.ended else known.doubted
        known.remark = known.remark or message.ended

    def _execution_told(self, message: ExecutionTold) -> None:
        self._note_number(message.client_id, message.order_id)
        if message.account not in ("", self._account):
            return
        known = self._of(message.perm_id, message.client_id, message.order_id, message.order_ref)
        reference = message.order_ref or ("" if known is None else known.reference)
        if not self.executions.hear(message, reference):
            return
        self._executed[message.exec_id] = None
        execution = self.executions.get(message.exec_id)
        self._executed_of(message.perm_id, reference).take(execution)
        if known is None and reference:
            known = self._add(KnownOrder(reference, execution.symbol, _order_of(message)))
            self._identify(known, known.order, takes_number=False)
            known.is_from_executions = True
        if known is not None:
            known.was_executed = True
            if known.is_from_executions:
                known.order = replace(known.order, quantity=Decimal(self._shares_of(known).shares))
            elif message.perm_id and not known.order.perm_id:
                self._identify(known, replace(known.order, perm_id=message.perm_id), takes_number=False)
            self._touch(known)

    def _executed_of(self, perm_id: int, reference: str) -> ExecutedShares:
        """The executions of one order, found by either of its names."""
        keys = [key for key in (perm_id, reference) if key]
        found = next((self._shares[key] for key in keys if key in self._shares), None) or ExecutedShares()
        for key in keys:
            self._shares[key] = found
        return found

    def _error_told(self, message: ErrorTold) -> None:
        known = self._by_number.get((self._client_id, message.request_id))
        if known is None or message.request_id <= 0:
            return
        meaning = meaning_of(message.code)
        words = f"{message.code}: {message.text}"
        self._touch(known)
        if message.code in _NUMBER_IN_USE and known.sendings > 1 and not known.is_told:
            # Sent under this number before: what has the number there is this very order, whether it is shown or not.
            known.is_hidden, known.remark = True, words
            return
        if meaning in (Meaning.ORDER_WARNING, Meaning.NOTICE):
            known.remark = words
            return
        if meaning is Meaning.ORDER_OVER:
            known.remark = known.remark or words
        elif meaning is not Meaning.CANCEL_NOT_POSSIBLE:
            known.refusal, known.refused_at = words, self._messages
        if known.ended is None:
            self._doubt(known)

    def _doubt(self, known: KnownOrder) -> None:
        """Something speaks of an end. What is asked from now on settles it, and so does what was asked after the first doubt."""
        known.doubted = known.doubted or self._messages
        known.doubted_again = self._messages

    def _take_word(self, known: KnownOrder, word: str, filled: int) -> None:
        said = meaning_of_status(word)
        known.told_filled = filled
        self._touch(known)
        if not word:
            return
        known.word = word
        known.was_taken = known.was_taken or said in _TAKEN
        if said is Said.FILLED and (filled >= known.quantity or self._filled(known) >= known.quantity):
            known.ended, known.doubted = OrderStatus.FILLED, None
        elif said is Said.OVER:
            if known.ended is None:
                self._doubt(known)
        elif said is Said.HELD:
            if known.ended is None and known.doubted is None:
                self._doubt(known)
        elif known.ended not in (None, OrderStatus.FILLED):
            # It works after all: whatever was thought of it gives way to what the broker shows.
            known.ended, known.doubted = None, None

    # Asking

    @property
    def clock(self) -> int:
        """Messages so far: what is heard before a question is asked is older than its answer."""
        return self._messages

    @property
    def doubts(self) -> list[KnownOrder]:
        """Orders about which the broker has to be asked: whether they are over, or what they have filled."""
        return [
            one
            for one in self._orders
            if one.doubted is not None or (one.is_hidden and not one.is_told) or self._lacks_executions(one)
        ]

    def settle(self, asked_at: int, is_complete: bool, own_only: bool = False) -> None:
        """All open orders were told in answer to a question asked at ``asked_at`` (``clock``); with ``own_only`` this client's.

        What was not among them and has not moved since is over. With ``is_complete`` that goes for every order, because the
        day's executions and completed orders were told too; else for those in doubt.
        """
        for known in self._orders:
            if not known.is_told or (own_only and known.order.client_id != self._client_id):
                continue
            if is_complete and known.earlier is None:
                self._look_for_earlier_fills(known)
            if known.ended is not None:
                continue
            if known.listed > asked_at:
                self._take_listed(known)
            elif (known.doubted is not None and known.doubted <= asked_at) or (
                is_complete and known.touched <= asked_at
            ):
                self._end(known)

    def _take_listed(self, known: KnownOrder) -> None:
        said = meaning_of_status(known.word)
        if said is Said.HELD and known.refusal:
            self._end(known)  # refused, and kept on the list
            return
        if known.was_taken and known.refused_at < known.listed:
            # What it was refused for was a change, or not true. How the order ends one day is another matter.
            known.remark, known.refusal = known.refusal or known.remark, ""
        if known.doubted_again <= known.listed:
            known.doubted = None
        # Else something was said after the order had been listed, and is asked about again.

    def _look_for_earlier_fills(self, known: KnownOrder) -> None:
        """What an order that outlives its day has filled without an execution of today is of earlier days."""
        outlives = known.order.time_in_force == "GTC" and not known.is_from_executions
        known.earlier = max(known.told_filled - self._shares_of(known).shares, 0) if outlives else 0

    def end_refused(self, known: KnownOrder) -> None:
        """An order that was never told is not among the open ones, and an error spoke of it: it was refused."""
        known.ended, known.doubted = OrderStatus.REJECTED, None
        self._changed[id(known)] = known

    def forget_number(self, reference: str) -> None:
        """An order that was refused because of its number is on its way again, under another."""
        known = self.find(reference)
        if known is not None:
            self._by_number.pop((self._client_id, known.order.order_id), None)
            known.order = replace(known.order, order_id=0)
            known.refusal, known.ended, known.doubted, known.sendings = "", None, None, 0

    def _end(self, known: KnownOrder) -> None:
        filled = self._filled(known)
        if known.quantity and filled >= known.quantity:
            known.ended = OrderStatus.FILLED
        elif not filled and not known.cancel_asked and (known.refusal or meaning_of_status(known.word) is Said.HELD):
            known.ended = OrderStatus.REJECTED
        else:
            known.ended = OrderStatus.CANCELLED
        known.doubted = None
        self._changed[id(known)] = known

    # Telling

    def find(self, reference: str) -> KnownOrder | None:
        """The order under a reference; of several (there should never be) the one that the broker has shown most of."""
        found = self._by_reference.get(reference, [])
        if len(found) > 1:
            _log.error("several orders under one reference client_order_id=%s count=%d", reference, len(found))
        return max(found, key=lambda one: (one.is_told, self._filled(one), one.ended is None), default=None)

    def by_number(self, order_id: int) -> KnownOrder | None:
        """The order of this client that has this number on this line."""
        return self._by_number.get((self._client_id, order_id))

    def number_of(self, known: KnownOrder) -> int | None:
        """The order's number on this line; None where it was not told on it."""
        key = (self._client_id, known.order.order_id)
        return known.order.order_id if self._by_number.get(key) is known else None

    def open_orders(self) -> Iterator[KnownOrder]:
        """Orders that are not over, as far as is known."""
        return (one for one in self._orders if one.ended is None and one.is_told)

    def status(self, known: KnownOrder) -> OrderStatus:
        """Where an order stands; a doubtful word counts as not said. Only of one that was told."""
        if known.ended is not None:
            return known.ended
        said = meaning_of_status(known.word)
        filled = self._filled(known)
        if said in (Said.OVER, Said.HELD) or (said is Said.FILLED and filled < known.quantity):
            said = Said.WORKING if known.was_taken else Said.ON_ITS_WAY
        return status_of(said, filled)

    def seen(self, known: KnownOrder) -> BrokerOrder:
        """The order in the words of the port."""
        limit, stop = prices_of(known.order)
        filled = self._filled(known)
        return BrokerOrder(
            known.reference,
            known.broker_id,
            known.symbol,
            side_of(known.order.action),
            known.quantity,
            filled,
            self.status(known),
            order_type_of(known.order),
            limit,
            stop,
            self._average(known) if filled else None,
        )

    def children_of(self, parent: KnownOrder) -> list[KnownOrder]:
        """Orders that protect what this one fills, as far as is known on this line."""
        return [one for one in self._orders if one.parent is parent]

    def left_to_protect(self, parent: KnownOrder, besides: KnownOrder | None = None) -> int:
        """Shares that a parent has filled and no child (other than ``besides``) has closed."""
        children = [child for child in self.children_of(parent) if child is not besides]
        return max(self._filled(parent) - sum(self._filled(child) for child in children), 0)

    def too_large(self) -> list[tuple[KnownOrder, int]]:
        """Open children of parents that ended with less than was ordered, each with the quantity that it may be for."""
        found = []
        for child in self._orders:
            parent = child.parent
            if child.ended is not None or not child.is_told or parent is None or parent.ended is None:
                continue
            allowed = self.left_to_protect(parent, child)
            if child.quantity > allowed:
                found.append((child, allowed))
        return found

    def filled(self, known: KnownOrder) -> int:
        """Shares of the order that are filled, as the broker says or its executions show."""
        return self._filled(known)

    def news(self, at: datetime) -> list[OrderReport | Execution]:
        """Executions, then standings, that were not told yet; an end that waits for something stays for later."""
        executed, self._executed = self._executed, {}
        told: list[OrderReport | Execution] = [self.executions.get(exec_id) for exec_id in executed]
        changed, self._changed = self._changed, {}
        for key, known in changed.items():
            if not known.is_told or not known.reference:
                continue
            if known.doubted is not None or self._lacks_executions(known):
                self._changed[key] = known
                if known.ended is not None or known.doubted is not None:
                    continue
            status = self.status(known)
            if known.reported != (status, known.order.perm_id):
                known.reported = status, known.order.perm_id
                told.append(OrderReport(known.reference, known.broker_id, status, at, known.refusal or known.remark))
        return told

    def _lacks_executions(self, known: KnownOrder) -> bool:
        if not known.is_told or not known.reference:
            return False  # what was made elsewhere is told when executions are asked for
        expected = max(known.told_filled, known.quantity if known.ended is OrderStatus.FILLED else 0)
        return not self._shares_of(known).explain(expected - (known.earlier or 0))

    def _shares_of(self, known: KnownOrder) -> ExecutedShares:
        return self._executed_of(known.order.perm_id, known.reference)

    def _filled(self, known: KnownOrder) -> int:
        executed = self._shares_of(known)
        shares = executed.shares + (known.earlier or 0)
        return shares if executed.has_corrections else max(shares, known.told_filled)

    def _average(self, known: KnownOrder) -> Decimal | None:
        own = self.executions.of(known.reference) if known.reference else []
        shares = sum(one.quantity for one in own)
        if shares and shares == self._filled(known):
            return round_money(sum((one.quantity * one.price for one in own), Decimal(0)) / shares)
        return known.average_price

    def _of(self, perm_id: int, client_id: int, order_id: int, reference: str) -> KnownOrder | None:
        if perm_id and (known := self._by_perm.get(perm_id)) is not None:
            return known
        if order_id > 0 and client_id:
            known = self._by_number.get((client_id, order_id))
            if known is not None and _may_be(known, perm_id) and (not reference or known.reference == reference):
                return known
        waiting: Iterable[KnownOrder] = self._by_reference.get(reference, ()) if reference else ()
        return next((one for one in waiting if _may_be(one, perm_id)), None)

    def _add(self, known: KnownOrder) -> KnownOrder:
        self._orders.append(known)
        if known.reference:
            self._by_reference.setdefault(known.reference, []).append(known)
        return known

    def _identify(self, known: KnownOrder, order: WireOrder, takes_number: bool = True) -> None:
        known.order = replace(
            order,
            perm_id=order.perm_id or known.order.perm_id,
            order_id=order.order_id or known.order.order_id,
            client_id=order.client_id or known.order.client_id,
            order_ref=known.reference,
        )
        if known.order.perm_id:
            self._by_perm[known.order.perm_id] = known
        if order.client_id and order.order_id > 0:
            key = order.client_id, order.order_id
            # An order that executed this morning may have had the number that another has since the gateway's restart.
            self._by_number[key] = known if takes_number else self._by_number.get(key, known)
        if known.parent is None and order.parent_id:
            known.parent = self._by_number.get((order.client_id, order.parent_id))

    def _note_number(self, client_id: int, order_id: int) -> None:
        # Of whatever account: a new order under this number would change that one.
        if client_id == self._client_id:
            self.highest_order_id = max(self.highest_order_id, order_id)

    def _touch(self, known: KnownOrder) -> None:
        known.touched = self._messages
        self._changed[id(known)] = known


def _may_be(known: KnownOrder, perm_id: int) -> bool:
    """Whether the permanent ids do not say that these are two orders."""
    return not perm_id or not known.order.perm_id or known.order.perm_id == perm_id


def _order_of(message: ExecutionTold) -> WireOrder:
    """What an execution tells of its order, where nothing else does: at least what it has filled."""
    return WireOrder(
        side_of(message.side).value,
        message.shares,
        "MKT",
        "DAY",
        message.order_ref,
        message.account,
        order_id=message.order_id,
        client_id=message.client_id,
        perm_id=message.perm_id,
    )
