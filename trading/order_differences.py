"""Working orders at the broker against those of the ledger, and what each order says of its fills.

The rule: no order gets a final state because it is not seen. It is looked up by its id, and ends as the broker says it ended.
"""

from dataclasses import replace
from decimal import Decimal

from trading.account_views import BrokerView, Difference, LedgerView
from trading.differences import GONE, Discrepancy, DiscrepancyKind, ExternalOrder
from trading.fill_differences import Consequences
from trading.money import ZERO, plainly, round_money
from trading.orders import INFERRED, Execution, Fill, OpenOrder, OrderEvent, OrderStatus
from trading.ports import BrokerOrder


def compare_orders_with_broker(ours: LedgerView, theirs: BrokerView, after: Consequences) -> list[Difference]:
    """Differences between orders: ours by their ids, then those made elsewhere by the broker's."""
    working = {order.client_order_id: order for order in theirs.account.open_orders if order.client_order_id}
    there = {**theirs.looked_up, **working}
    found: list[Difference] = []
    for order_id in sorted(ours.open_orders.keys() | there.keys()):
        mine = ours.order(order_id)
        if mine is None or order_id not in there:
            continue  # made elsewhere, or nobody asked the broker for it: silence says nothing
        counterpart = there[order_id]
        if counterpart is None:
            found += _never_arrived(mine, theirs, after)
            continue
        found += _compare_filled(mine, counterpart, theirs, after)
        found += _compare_standing(mine, counterpart, order_id in ours.open_orders, theirs, after)
    found += _overfills(ours, theirs, after)
    return found + _compare_external(ours, theirs)


def _never_arrived(mine: OpenOrder, theirs: BrokerView, after: Consequences) -> list[Difference]:
    order_id, intent = mine.intent.client_order_id, mine.intent
    if mine.status.is_final:
        return []
    if after.filled.get(order_id, 0) > 0:
        # It has fills and was never there: one of the two is wrong, and both come from the broker.
        contradiction = Discrepancy(
            DiscrepancyKind.ORDER_NEVER_ARRIVED,
            order_id,
            f"{_words(mine)}, filled {after.filled[order_id]}",
            "never had it",
            "look it up at the broker by its executions",
            intent.symbol,
            locking=True,
        )
        return [Difference(contradiction)]
    event = OrderEvent(order_id, theirs.asked_at, OrderStatus.EXPIRED, "never reached the broker")
    return [
        Difference(
            Discrepancy(
                DiscrepancyKind.ORDER_NEVER_ARRIVED,
                order_id,
                _words(mine),
                "never had it",
                "end it as expired: nothing of it can fill",
                intent.symbol,
                repairable=True,
            ),
            event,
        )
    ]


def _compare_filled(
    mine: OpenOrder, counterpart: BrokerOrder, theirs: BrokerView, after: Consequences
) -> list[Difference]:
    """What the order's own total says beyond its executions."""
    order_id, symbol = mine.intent.client_order_id, mine.intent.symbol
    filled = after.filled.get(order_id, 0)
    if order_id in after.doubted_orders:
        return []
    if counterpart.filled > filled:
        return [_unexplained(mine, counterpart, filled, theirs, after)]
    # A total may lag behind today's executions, never behind those of earlier days.
    if filled - after.executed.get(order_id, 0) > counterpart.filled:
        after.doubted_orders.add(order_id)
        more = mine.intent.side.sign * (filled - counterpart.filled)
        after.doubt(symbol, -more, after.value[order_id] / filled * more)
        return [
            Difference(
                Discrepancy(
                    DiscrepancyKind.UNCONFIRMED_FILL,
                    order_id,
                    f"filled {filled}",
                    f"filled {counterpart.filled}",
                    "ask the broker which executions the order had; the ledger keeps its fills until a correction comes",
                    symbol,
                    locking=True,
                )
            )
        ]
    return []


def _unexplained(
    mine: OpenOrder, counterpart: BrokerOrder, filled: int, theirs: BrokerView, after: Consequences
) -> Difference:
    """Shares that filled without an execution to show for them: inferred at the price that makes the total right."""
    order_id, intent = mine.intent.client_order_id, mine.intent
    quantity = counterpart.filled - filled
    price = _price_of_rest(counterpart, filled, after.value.get(order_id, ZERO))
    average = "a price it does not say" if counterpart.average_price is None else plainly(counterpart.average_price)
    broker_words = f"filled {counterpart.filled} at {average} on average"
    if price is None:
        after.doubted_orders.add(order_id)
        after.doubt(intent.symbol, intent.side.sign * quantity, ZERO)
        after.is_cash_known = False
        return Difference(
            Discrepancy(
                DiscrepancyKind.UNEXPLAINED_FILL,
                order_id,
                f"filled {filled}",
                broker_words,
                f"find the price of {quantity} {intent.symbol} in the broker's statement and book it",
                intent.symbol,
                locking=True,
            )
        )
    execution = Execution(
        # Told apart by when it was inferred: one that gave way never counts again.
        f"{order_id}~{filled}-{counterpart.filled}~{theirs.asked_at:%y%m%d%H%M%S}",
        order_id,
        intent.symbol,
        intent.side,
        quantity,
        price,
        None,
        theirs.asked_at,
    )
    inferred = Fill(execution, intent.session_id, intent.account, INFERRED)
    after.book(inferred)
    return Difference(
        Discrepancy(
            DiscrepancyKind.UNEXPLAINED_FILL,
            order_id,
            f"filled {filled}",
            broker_words,
            f"book {quantity} at {plainly(price)} as inferred, until its executions are seen",
            intent.symbol,
            repairable=True,
        ),
        inferred,
    )


def _price_of_rest(counterpart: BrokerOrder, filled: int, value: Decimal) -> Decimal | None:
    """The price at which the shares beyond ``filled`` (worth ``value``) make the broker's average; None without one."""
    average = counterpart.average_price
    if average is None or not average.is_finite():
        return None
    price = round_money((average * counterpart.filled - value) / (counterpart.filled - filled))
    return price if price > 0 else None


def _compare_standing(
    mine: OpenOrder, counterpart: BrokerOrder, is_open: bool, theirs: BrokerView, after: Consequences
) -> list[Difference]:
    """Whether both say that it works, and as what."""
    order_id, intent = mine.intent.client_order_id, mine.intent
    filled = after.filled.get(order_id, 0)
    if is_open and counterpart.status.is_final:
        if filled >= intent.quantity or order_id in after.doubted_orders:
            return []  # its fills end it; while they are doubted it has no end yet
        return [
            Difference(
                Discrepancy(
                    DiscrepancyKind.ORDER_GONE,
                    order_id,
                    _words(mine),
                    f"{counterpart.status}, filled {counterpart.filled}",
                    f"end it as {counterpart.status.lower()}",
                    intent.symbol,
                    repairable=True,
                ),
                OrderEvent(
                    order_id, theirs.asked_at, counterpart.status, "found at the broker", counterpart.broker_order_id
                ),
            )
        ]
    if counterpart.status.is_final:
        return []
    if not is_open:
        if filled >= intent.quantity and counterpart.quantity <= intent.quantity:
            return []  # filled here, and the broker's status is late
        reopened = replace(mine, status=counterpart.status, filled=filled)
        return [
            Difference(
                Discrepancy(
                    DiscrepancyKind.ORDER_REOPENED,
                    order_id,
                    _words(mine),
                    f"{counterpart.status}, filled {counterpart.filled} of {counterpart.quantity}",
                    "take it up again as working",
                    intent.symbol,
                    repairable=True,
                ),
                reopened,
            )
        ]
    terms, terms_there = _terms(mine), _terms_there(mine, counterpart)
    if terms == terms_there:
        return []
    return [
        Difference(
            Discrepancy(
                DiscrepancyKind.ORDER_CHANGED,
                order_id,
                terms,
                terms_there,
                "change it back at the broker, or cancel it",
                intent.symbol,
            )
        )
    ]


def _terms(mine: OpenOrder) -> str:
    intent = mine.intent
    return _terms_in_words(intent.side, intent.quantity, intent.symbol, intent.limit_price, intent.stop_price)


def _terms_there(mine: OpenOrder, counterpart: BrokerOrder) -> str:
    """The broker's terms, as far as they are ours to compare."""
    intent = mine.intent
    # The broker itself sizes what depends on other orders: a child by its parent's fills, one of a group by the others'.
    depends = intent.parent_id is not None or intent.oca_group is not None
    quantity = intent.quantity if depends and counterpart.quantity <= intent.quantity else counterpart.quantity
    # A trailing stop's price moves by itself, so that the ledger has none.
    return _terms_in_words(
        counterpart.side,
        quantity,
        counterpart.symbol,
        None if intent.limit_price is None else counterpart.limit_price,
        None if intent.stop_price is None else counterpart.stop_price,
    )


def _terms_in_words(side: str, quantity: int, symbol: str, limit: Decimal | None, stop: Decimal | None) -> str:
    prices = [f"{name} {plainly(price)}" for name, price in (("limit", limit), ("stop", stop)) if price is not None]
    return ", ".join([f"{side} {quantity} {symbol}", *prices])


def _overfills(ours: LedgerView, theirs: BrokerView, after: Consequences) -> list[Difference]:
    """Orders that the fills now booked take beyond what was ordered. Kept, because they happened."""
    found = []
    for order_id in sorted(after.grown_orders):
        order = ours.order(order_id)
        filled = after.filled[order_id]
        if order is None or filled <= order.intent.quantity:
            continue
        found.append(
            Difference(
                Discrepancy(
                    DiscrepancyKind.OVERFILL,
                    order_id,
                    f"ordered {order.intent.quantity}",
                    f"filled {filled}",
                    "keep what was filled, and flag the order",
                    order.intent.symbol,
                    repairable=True,
                ),
                OrderEvent(
                    order_id,
                    theirs.asked_at,
                    OrderStatus.FILLED,
                    f"overfilled: {filled} of {order.intent.quantity}",
                ),
            )
        )
    return found


def _compare_external(ours: LedgerView, theirs: BrokerView) -> list[Difference]:
    """Orders that work and were not made here, and those that did."""
    noted = {order.broker_order_id: order for order in ours.external_orders}
    found = []
    seen: set[str] = set()
    for order in sorted(theirs.account.open_orders, key=lambda one: one.broker_order_id):
        if order.client_order_id and ours.order(order.client_order_id) is not None:
            continue
        seen.add(order.broker_order_id)
        now = ExternalOrder(
            theirs.account.account,
            order.broker_order_id,
            order.symbol,
            order.side,
            order.quantity,
            order.filled,
            str(order.status),
            theirs.asked_at,
        )
        before = noted.get(order.broker_order_id)
        if before is None or _external_words(before) != _external_words(now):
            found.append(_external(before, now))
    for broker_id in sorted(noted.keys() - seen):
        before = noted[broker_id]
        if before.status == GONE:
            continue
        gone = ExternalOrder(
            before.account,
            broker_id,
            before.symbol,
            before.side,
            before.quantity,
            before.filled,
            GONE,
            theirs.asked_at,
        )
        found.append(_external(before, gone))
    return found


def _external(before: ExternalOrder | None, now: ExternalOrder) -> Difference:
    return Difference(
        Discrepancy(
            DiscrepancyKind.EXTERNAL_ORDER,
            now.broker_order_id,
            "no such order" if before is None else _external_words(before),
            "not working any more" if now.status == GONE else _external_words(now),
            "record it as made elsewhere; it is left alone",
            now.symbol,
            repairable=True,
        ),
        now,
    )


def _words(order: OpenOrder) -> str:
    return f"{order.intent.side} {order.intent.quantity} {order.intent.symbol}, {order.status}"


def _external_words(order: ExternalOrder) -> str:
    return f"{order.side} {order.quantity} {order.symbol}, {order.status}, filled {order.filled}"
