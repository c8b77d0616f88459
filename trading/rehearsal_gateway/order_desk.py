"""Takes orders, lets the market trade them, and has told what became of them.

Whatever happens is worked out by the account's book, written down, and only then told.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.bars import Bar, BarSlice
from trading.brokers.paper_change import PaperChange
from trading.brokers.paper_commission import commission_of
from trading.brokers.paper_fill_rules import ON_CLOSE, judge
from trading.brokers.paper_order import PaperOrder
from trading.errors import OrderRefused
from trading.money import ZERO
from trading.orders import Execution, OrderStatus, Side
from trading.ports import OrderReport
from trading.rehearsal_gateway.account_book import AccountBook
from trading.rehearsal_gateway.booked_terms import amended_order, intent_of
from trading.rehearsal_gateway.faults import Fault
from trading.rehearsal_gateway.gateway_book import Changes, GatewayBook
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.gateway_order import GatewayOrder, Identity, Stage
from trading.rehearsal_gateway.market_port import Instrument, Market
from trading.rehearsal_gateway.order_checks import Refusal, Terms, rejected, terms_of
from trading.rehearsal_gateway.order_news import OrderNews
from trading.rehearsal_gateway.order_ticket import OrderTicket
from trading.settings import PaperSettings

_CANCELS_ALL = 1
"""The type of a group whose first fill cancels the others in whole."""

FillFaults = Callable[[GatewayExecution], Sequence[Fault]]


class OrderDesk:
    """``fill_faults`` is asked before an execution is told how that goes wrong (and may cut the client off); ``on_traded``
    hears of accounts in which a symbol has traded."""

    def __init__(self, book: GatewayBook, market: Market, news: OrderNews, costs: PaperSettings) -> None:
        self._book = book
        self._market = market
        self._news = news
        self._costs = costs
        self._cut_short: dict[int, int] = {}
        self.fill_faults: FillFaults = lambda _: ()
        self.on_traded: Callable[[AccountBook, str], None] = lambda _account, _symbol: None

    # What is asked for

    def take(self, order: GatewayOrder) -> Refusal | None:
        """Take a new order, at stage HELD, and tell it: it works at once unless it waits to be transmitted."""
        changes = Changes()
        if not order.ticket.transmit:
            self._book.put(order, changes)
            self._book.keep(changes)
            self._news.order(order)
            return None
        # A transmitted order takes along what waits for it: the parent first, the children in the order in which they came.
        waiting = [one for one in self._book.family(order) if one.identity != order.identity]
        family = sorted([*waiting, order], key=lambda one: one.identity.perm_id)
        refusals = {one.identity.perm_id: self._work(one, changes) for one in family}
        self._book.keep(changes)
        for perm_id, refusal in refusals.items():
            if refusal is None:
                self._news.order(self._book.orders[perm_id])
            elif perm_id != order.identity.perm_id:
                self.refuse(self._book.orders[perm_id], refusal.text)
                self._news.error(self._book.orders[perm_id].identity, refusal.code, refusal.text)
        return refusals[order.identity.perm_id]

    def refuse(self, order: GatewayOrder, detail: str) -> None:
        """Keep an order that the exchange did not take, and tell it as Inactive."""
        self._put(order.at_stage(Stage.INACTIVE, self._market.now(), detail))
        self._news.order(self._book.orders[order.identity.perm_id])

    def leave_inactive(self, order: GatewayOrder) -> None:
        """Keep an order that does not work and is not over, and tell it as Inactive."""
        self._put(order.at_stage(Stage.INACTIVE))
        self._news.order(self._book.orders[order.identity.perm_id])

    def cut_short(self, order: GatewayOrder, quantity: int) -> None:
        """The exchange will fill so many shares of a working order (0: half) and cancel the rest."""
        self._cut_short[order.identity.perm_id] = quantity or max(int(order.ticket.quantity) // 2, 1)

    def change(self, order: GatewayOrder, ticket: OrderTicket, terms: Terms) -> Refusal | None:
        """Make an order another one, from the next bar on, and tell it."""
        changed = replace(order, ticket=ticket, amendments=order.amendments + 1)
        if order.stage is Stage.HELD:
            return self.take(changed)
        booked = self._book.account_of(order).booked(order.book_id)
        if booked is None:
            return rejected("The order is inactive and cannot be changed")
        account = self._book.account_of(order)
        change = PaperChange(account.paper.orders)
        amended = amended_order(booked, ticket, terms, self._market.now(), self._market.last_price(booked.terms.symbol))
        if amended.remaining:
            change.put(amended)
        else:
            change.end(amended, OrderStatus.FILLED, self._market.now())
        account.apply(change)
        changes = Changes()
        self._book.put(changed, changes)
        self._book.keep(changes)
        self._settle(account, change)
        self._news.order(self._book.orders[order.identity.perm_id])
        return None

    def cancel(self, order: GatewayOrder, detail: str = "") -> None:
        """End an order that is not over, and what hangs on it; tell it, with error 202."""
        held = [one for one in self._book.family(order) if order.identity.perm_id in (one.parent, one.identity.perm_id)]
        if order.stage is Stage.BOOKED:
            account = self._book.account_of(order)
            self._settle(account, account.paper.cancelled(order.book_id), {order.book_id: detail})
        elif order not in held:
            held.insert(0, order)
        for one in held:
            self._put(one.at_stage(Stage.DROPPED, self._market.now(), detail))
            self._news.what_has_changed(self._book.orders[one.identity.perm_id])

    def drop_held(self) -> None:
        """Orders that were never transmitted are gone, and nobody is told: the gateway starts anew."""
        for order in self._book.working():
            if order.stage is Stage.HELD:
                self._put(order.at_stage(Stage.DROPPED, self._market.now(), "Never transmitted"))

    def trade_by_hand(self, account: AccountBook, instrument: Instrument, quantity: int, price: Decimal) -> None:
        """Somebody has traded in TWS: signed shares at a price."""
        identity = Identity(self._book.new_perm_id(), 0, 0)
        shares, side = abs(quantity), Side.BUY if quantity > 0 else Side.SELL
        execution = GatewayExecution(
            self._book.new_execution_stem(),
            identity,
            account.name,
            instrument.symbol,
            side,
            shares,
            price,
            self._market.now(),
            shares,
            price,
            commission_of(self._costs, shares, shares * price),
        )
        account.apply(PaperChange(account.paper.orders, news=[execution.booked()]))
        counted = account.count(execution)
        self._book.keep(Changes(executions=[counted]))
        self._news.execution(None, counted)
        self.on_traded(account, instrument.symbol)

    def correct(self, execution: GatewayExecution, price: Decimal, quantity: int) -> None:
        """An execution was another one after all."""
        account = self._book.accounts[execution.account]
        corrected = account.correct(execution.corrected(price, quantity))
        orders = {execution.identity.perm_id} & set(self._book.orders)
        self._book.keep(Changes(orders, [corrected]))
        self._news.correction(corrected)
        for perm_id in orders:
            self._news.what_has_changed(self._book.orders[perm_id])
        self.on_traded(account, execution.symbol)

    # What the market does

    def note_the_time(self) -> None:
        """The exchange may have opened: orders that waited for that are told as working."""
        now = self._market.now()
        hours = self._market.hours(now)
        was_open, self._book.is_open = self._book.is_open, hours is not None and hours.opens_at <= now < hours.closes_at
        if self._book.is_open and not was_open:
            for order in self._book.working():
                self._news.what_has_changed(order)

    def begin(self) -> None:
        """A gateway starts: what earlier days should have ended is over, and nobody is told of what is known."""
        now = self._market.now()
        hours = self._market.hours(now)
        for account in self._book.accounts.values():
            account.paper.session_start = now if hours is None else hours.opens_at
            change = PaperChange(account.paper.orders)
            for booked in list(account.paper.orders.working.values()):
                order = self._book.orders[int(booked.client_order_id)]
                if order.ticket.tif != "GTC" and self._date(order.made_at) < self._date(now):
                    change.end(booked, OrderStatus.EXPIRED, now)
            self._settle(account, change)
        self.note_the_time()
        for order in self._book.orders.values():
            self._news.take_as_told(order)
        self._close_if_due(now)

    def slice_over(self, moment: BarSlice, length: timedelta) -> None:
        """Bars are over: orders trade them, and the session closes with its last."""
        self.note_the_time()
        for account in self._book.accounts.values():
            self._fill_what_is_cut_short(account, moment)
            change = account.paper.seen(moment)
            if moment.bars:
                account.paper.last_bar_time = moment.bar_time
            if change.orders:
                self._settle(account, change)
        self._close_if_due(moment.bar_time + length)

    def _close_if_due(self, reached: datetime) -> None:
        hours = self._market.hours(self._market.now())
        if (
            hours is None
            or reached < hours.closes_at
            or self._book.counters.closed_on >= hours.session_date.toordinal()
        ):
            return
        self._book.counters = replace(self._book.counters, closed_on=hours.session_date.toordinal())
        for account in self._book.accounts.values():
            self._settle(account, account.paper.closed(hours.closes_at))
        self._book.keep(Changes())
        for order in self._book.working():
            self._news.what_has_changed(order)

    def _fill_what_is_cut_short(self, account: AccountBook, moment: BarSlice) -> None:
        """What the exchange fills a part of and then cancels: at the price that it would have filled at."""
        for perm_id, shares in list(self._cut_short.items()):
            booked = account.paper.orders.working.get(str(perm_id))
            bar = moment.bars.get(booked.terms.symbol) if booked is not None else None
            if booked is None or bar is None:
                continue
            price = self._would_fill_at(booked, bar)
            if price is None:
                continue
            change = PaperChange(account.paper.orders)
            part = min(shares, booked.remaining, self._released(account, booked))
            if part <= 0:
                continue
            del self._cut_short[perm_id]
            value = booked.value + part * price
            commission = commission_of(self._costs, booked.filled + part, value)
            change.fill(booked, part, price, value, commission, bar.bar_time)
            left = change.order(booked.client_order_id)
            if not left.status.is_final:
                change.end(left, OrderStatus.CANCELLED, bar.bar_time)
            self._settle(account, change)

    def _would_fill_at(self, booked: PaperOrder, bar: Bar) -> Decimal | None:
        if bar.volume == 0 or booked.works_after >= bar.bar_time or booked.terms.order_type in ON_CLOSE:
            return None
        return judge(booked, bar, self._costs.slippage_bps).price

    def _released(self, account: AccountBook, booked: PaperOrder) -> int:
        """Shares that an order can take because its parent has filled them."""
        parent = booked.terms.parent_id
        if parent is None:
            return booked.remaining
        filled = PaperChange(account.paper.orders).filled_by_children(parent)
        return account.paper.orders.every[parent].filled - filled

    # How it comes about

    def _work(self, order: GatewayOrder, changes: Changes) -> Refusal | None:
        """Let an order work in its account's book."""
        terms = terms_of(order.ticket, order.instrument)
        if isinstance(terms, Refusal):
            return terms
        account = self._book.account_of(order)
        intent = intent_of(order, terms, self._market.now(), self._market.last_price(order.instrument.symbol))
        if isinstance(intent, Refusal):
            return intent
        try:
            account.apply(account.paper.submitted(intent))
        except OrderRefused as refused:
            return rejected(str(refused))
        self._book.put(order.at_stage(Stage.BOOKED), changes)
        return None

    def _settle(self, account: AccountBook, change: PaperChange, details: dict[str, str] | None = None) -> None:
        """Let a change of an account count, write it down, and tell it."""
        if not change.orders:
            return
        account.apply(change)
        now = self._market.now()
        why = {one.client_order_id: one.detail for one in change.news if isinstance(one, OrderReport)}
        why |= details or {}
        changes = Changes()
        for name, booked in change.orders.items():
            order = self._book.orders[int(name)]
            if booked.status.is_final and order.ended_at is None:
                order = replace(order, ended_at=now, detail=why.get(name, ""))
            self._book.put(order, changes)
        changes.executions = [self._counted(account, one, change) for one in change.news if isinstance(one, Execution)]
        self._book.keep(changes, account.paper.last_bar_time)
        for execution in changes.executions:
            order = self._book.orders[execution.identity.perm_id]
            self._news.execution(order, execution, self.fill_faults(execution))
        for name in change.orders:
            self._news.what_has_changed(self._book.orders[int(name)])
        for symbol in {execution.symbol for execution in changes.executions}:
            self.on_traded(account, symbol)
        for execution in changes.executions:
            self._cancel_group_of(self._book.orders[execution.identity.perm_id])

    def _counted(self, account: AccountBook, execution: Execution, change: PaperChange) -> GatewayExecution:
        order = self._book.orders[int(execution.client_order_id)]
        booked = change.order(execution.client_order_id)
        return account.count(
            GatewayExecution(
                self._book.new_execution_stem(),
                order.identity,
                account.name,
                execution.symbol,
                execution.side,
                execution.quantity,
                execution.price,
                execution.executed_at,
                booked.filled,
                booked.value / booked.filled,
                execution.commission or ZERO,
                order.ticket.order_ref,
            )
        )

    def _cancel_group_of(self, order: GatewayOrder) -> None:
        """The first fill of some groups cancels the others, whatever is left of them."""
        group = order.ticket.oca_group
        if not group or order.ticket.oca_type > _CANCELS_ALL:
            return
        for other in self._book.working():
            is_other = other.identity != order.identity and other.account == order.account
            if is_other and other.ticket.oca_group == group and other.stage is Stage.BOOKED:
                self.cancel(other)

    def _put(self, order: GatewayOrder) -> None:
        changes = Changes()
        self._book.put(order, changes)
        self._book.keep(changes)

    def _date(self, moment: datetime) -> int:
        return moment.astimezone(self._market.exchange_zone).date().toordinal()
