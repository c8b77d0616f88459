"""Executions at the broker against fills in the ledger, and what booking the difference would lead to.

The rule: a fill in the ledger is never taken away because the broker is silent about it. It is corrected by what the broker
executed, and otherwise doubted.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from trading.account_views import BrokerView, Difference, LedgerView
from trading.differences import Discrepancy, DiscrepancyKind, ExternalFill
from trading.money import ZERO, plainly, round_money
from trading.orders import Execution, Fill, OpenOrder


@dataclass(slots=True)
class Consequences:
    """What the account comes to once the repairs are done: the changes they make, by symbol and by order.

    ``doubts`` are changes of a symbol's position and cash that the broker may or may not have made. ``is_cash_known`` is
    False where something changed cash by an amount that nobody has told.
    """

    quantity: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    cash: Decimal = ZERO
    filled: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    value: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    grown: set[str] = field(default_factory=set)
    executed: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    doubts: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    doubted_orders: set[str] = field(default_factory=set)
    is_cash_known: bool = True
    touched: set[str] = field(default_factory=set)
    _stand_ins: defaultdict[str, deque[tuple[int, Decimal]]] = field(default_factory=lambda: defaultdict(deque))

    @classmethod
    def of(cls, ours: LedgerView) -> "Consequences":
        """Before any repair: what the ledger's own fills add up to."""
        start = cls()
        for fill in ours.fills:
            execution = fill.execution
            order_id = execution.client_order_id
            start.filled[order_id] += execution.quantity
            start.value[order_id] += execution.quantity * execution.price
            if fill.is_inferred:
                start._stand_ins[order_id].append((execution.quantity, execution.price))
        for external in ours.external_fills:
            start.note_external(external)
        return start

    def book(self, execution: Execution, times: int = 1) -> None:
        """The book with this execution; ``times=-1`` without it."""
        order_id, signed = execution.client_order_id, execution.side.sign * execution.quantity * times
        self.quantity[execution.symbol] += signed
        self.cash -= signed * execution.price + (execution.commission or ZERO) * times
        self.filled[order_id] += execution.quantity * times
        self.value[order_id] += execution.quantity * execution.price * times
        self.touched.add(execution.symbol)
        if times > 0:
            self.grown.add(order_id)

    def replace_stand_ins(self, execution: Execution) -> None:
        """Inferred shares of the order give way to the execution that was seen, share by share."""
        waiting = self._stand_ins[execution.client_order_id]
        left = execution.quantity
        while left and waiting:
            quantity, price = waiting.popleft()
            gone = min(quantity, left)
            if quantity > gone:
                waiting.appendleft((quantity - gone, price))
            left -= gone
            self.book(replace(execution, quantity=gone, price=price, commission=None), times=-1)

    def note_external(self, fill: ExternalFill, times: int = 1) -> None:
        """An execution made elsewhere explains a position and its cash."""
        self.quantity[fill.symbol] += fill.signed_quantity * times
        self.cash -= (fill.signed_quantity * fill.price + (fill.commission or ZERO)) * times
        self.touched.add(fill.symbol)

    def doubt(self, symbol: str, quantity: int, cash: Decimal) -> None:
        """The broker's position may differ by this, and nobody can tell yet."""
        before_quantity, before_cash = self.doubts.get(symbol, (0, ZERO))
        self.doubts[symbol] = before_quantity + quantity, before_cash + cash
        self.touched.add(symbol)


def compare_fills(ours: LedgerView, theirs: BrokerView, after: Consequences) -> list[Difference]:
    """Differences between executions, oldest first; ``after`` learns what their repair leads to."""
    known = {fill.execution.lineage: fill for fill in ours.fills if not fill.is_inferred}
    elsewhere = {fill.lineage: fill for fill in ours.external_fills}
    newest = _newest(theirs.executions)
    found: list[Difference] = []
    for execution in newest.values():
        after.executed[execution.client_order_id] += execution.quantity
        mine = known.get(execution.lineage)
        order = ours.order(execution.client_order_id)
        if mine is not None:
            found += _against_fill(mine, execution, after)
        elif execution.lineage in elsewhere or order is None:
            found += _made_elsewhere(elsewhere.get(execution.lineage), execution, theirs, after)
        else:
            found.append(_missing(order, execution, theirs, after))
    found += [
        _unconfirmed(fill, after)
        for lineage, fill in known.items()
        if lineage not in newest and (theirs.kept_since is None or fill.execution.executed_at >= theirs.kept_since)
    ]
    return found


def _newest(executions: Iterable[Execution]) -> dict[str, Execution]:
    """The last correction of each execution, in the order in which they were made."""
    newest: dict[str, Execution] = {}
    for execution in sorted(executions, key=lambda one: (one.executed_at, one.lineage, one.revision, one.exec_id)):
        standing = newest.get(execution.lineage)
        if standing is None or execution.revision >= standing.revision:
            newest[execution.lineage] = _to_the_micro(execution)
    return newest


def _to_the_micro(execution: Execution) -> Execution:
    """As the ledger can hold it: a book that counts finer would never equal a fold over its fills."""
    price, commission = round_money(execution.price), execution.commission
    commission = None if commission is None else round_money(commission)
    return (
        execution
        if price == execution.price and commission == execution.commission
        else replace(execution, price=price, commission=commission)
    )


def _against_fill(mine: Fill, execution: Execution, after: Consequences) -> list[Difference]:
    """What differs between a fill and the broker's execution of the same lineage: nothing, or one thing."""
    booked = mine.execution
    told, had = execution.commission, booked.commission
    if _trade(booked) == _trade(execution):
        if told is None or (had is not None and round_money(told) == round_money(had)):
            return []
        known_now = replace(booked, commission=told) if had is None else _in_place_of(mine, execution)
        if known_now is None:
            return [_contradicted(mine, execution, after)]
        kind, did = DiscrepancyKind.COMMISSION, "book the broker's commission"
        words = ("not known" if had is None else plainly(had), plainly(told))
    else:
        # A commission that the ledger has is not forgotten because a correction leaves it out.
        correction = execution if told is not None else replace(execution, commission=had)
        known_now = _in_place_of(mine, correction)
        if known_now is None:
            return [_contradicted(mine, execution, after)]
        kind, did = DiscrepancyKind.CHANGED_FILL, "book the broker's execution in its place; the first is kept apart"
        words = _words(booked), _words(execution)
    after.book(booked, times=-1)
    after.book(known_now)
    discrepancy = Discrepancy(kind, booked.exec_id, *words, did, booked.symbol, repairable=True)
    return [Difference(discrepancy, Fill(known_now, mine.session_id, mine.account, mine.source))]


def _in_place_of(mine: Fill, execution: Execution) -> Execution | None:
    """The broker's execution as a correction of the fill; None where the ledger has a later one of the broker's.

    A broker that tells the same execution anew, without calling it a correction, is taken at its word: its execution gets
    the next revision, under a name made of its own.
    """
    booked = mine.execution
    if execution.revision > booked.revision:
        # The order is the one it was booked under: a correction does not always name it.
        return replace(execution, client_order_id=booked.client_order_id)
    if execution.revision == booked.revision or booked.exec_id.startswith(f"{execution.exec_id}~"):
        revision = booked.revision + 1
        return replace(
            execution,
            exec_id=f"{execution.exec_id}~{revision}",
            client_order_id=booked.client_order_id,
            revision=revision,
        )
    return None


def _contradicted(mine: Fill, execution: Execution, after: Consequences) -> Difference:
    booked = mine.execution
    effect = booked.side.sign * booked.quantity
    there = execution.side.sign * execution.quantity
    after.doubt(booked.symbol, there - effect, effect * booked.price - there * execution.price)
    after.doubted_orders.add(booked.client_order_id)
    return Difference(
        Discrepancy(
            DiscrepancyKind.CHANGED_FILL,
            booked.exec_id,
            f"{_words(booked)} (correction {booked.revision})",
            f"{_words(execution)} (correction {execution.revision})",
            "ask the broker which of its corrections stands",
            booked.symbol,
            locking=True,
        )
    )


def _missing(order: OpenOrder, execution: Execution, theirs: BrokerView, after: Consequences) -> Difference:
    after.replace_stand_ins(execution)
    after.book(execution)
    return Difference(
        Discrepancy(
            DiscrepancyKind.MISSING_FILL,
            execution.exec_id,
            f"no such fill of {execution.client_order_id}",
            f"{_words(execution)} at {execution.executed_at.isoformat()}",
            "book it with the broker's price, quantity, commission and time",
            execution.symbol,
            repairable=True,
        ),
        Fill(execution, order.intent.session_id, order.intent.account, theirs.source),
    )


def _made_elsewhere(
    noted: ExternalFill | None, execution: Execution, theirs: BrokerView, after: Consequences
) -> list[Difference]:
    if noted is not None and execution.revision < noted.revision:
        return []
    commission = execution.commission
    if commission is None and noted is not None:
        commission = noted.commission
    seen = ExternalFill(
        theirs.account.account,
        execution.exec_id,
        execution.client_order_id,
        execution.symbol,
        execution.side,
        execution.quantity,
        execution.price,
        commission,
        execution.executed_at,
        execution.lineage,
        execution.revision,
        theirs.asked_at,
    )
    if noted is not None:
        if replace(seen, broker_order_id=noted.broker_order_id, seen_at=noted.seen_at) == noted:
            return []
        after.note_external(noted, times=-1)
    after.note_external(seen)
    discrepancy = Discrepancy(
        DiscrepancyKind.EXTERNAL_FILL,
        execution.exec_id,
        "no such fill, and no order it could belong to" if noted is None else _external_words(noted),
        _external_words(seen),
        "record it as made elsewhere; it is not traded on unless it is claimed",
        execution.symbol,
        repairable=True,
    )
    return [Difference(discrepancy, seen)]


def _unconfirmed(fill: Fill, after: Consequences) -> Difference:
    booked = fill.execution
    signed = booked.side.sign * booked.quantity
    after.doubt(booked.symbol, -signed, signed * booked.price + (booked.commission or ZERO))
    after.doubted_orders.add(booked.client_order_id)
    return Difference(
        Discrepancy(
            DiscrepancyKind.UNCONFIRMED_FILL,
            booked.exec_id,
            f"{_words(booked)} at {booked.executed_at.isoformat()}",
            "no such execution",
            "ask the broker whether it was cancelled; the ledger keeps it until a correction comes",
            booked.symbol,
            locking=True,
        )
    )


def _trade(execution: Execution) -> tuple[object, ...]:
    return execution.symbol, execution.side, execution.quantity, round_money(execution.price)


def _words(execution: Execution) -> str:
    return f"{execution.side} {execution.quantity} {execution.symbol} at {plainly(execution.price)}"


def _external_words(fill: ExternalFill) -> str:
    commission = "not known" if fill.commission is None else plainly(fill.commission)
    return f"{fill.side} {fill.quantity} {fill.symbol} at {plainly(fill.price)}, commission {commission}"
