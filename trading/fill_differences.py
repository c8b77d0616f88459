"""Executions at the broker against fills in the ledger, and what booking the difference would lead to.

The rule: a fill in the ledger is never taken away because the broker is silent about it. It is corrected by what the broker
executed, and otherwise doubted.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from trading.account_views import BrokerView, Difference, LedgerView
from trading.differences import Discrepancy, DiscrepancyKind, ExternalFill
from trading.fill_book import FillBook
from trading.money import ZERO, plainly, round_money
from trading.orders import CLAIMED, Execution, Fill, OpenOrder, to_the_micro


class Consequences:
    """What the account comes to once the repairs are done: the changes they make, by symbol and by order.

    ``quantity`` and ``cash`` are changes of the book's positions and cash, trades made elsewhere included; ``filled`` and
    ``value`` are the shares of each order and the money they were worth. ``executed`` are the shares of each order that the
    broker has executions of. ``doubts`` are changes of a symbol's position and cash that the broker may or may not have
    made. ``is_cash_known`` is False where something changed cash by an amount that nobody has told.
    """

    def __init__(self, ours: LedgerView) -> None:
        """Before any repair: what the ledger's own fills and the trades made elsewhere add up to."""
        self.quantity: defaultdict[str, int] = defaultdict(int)
        self.cash = ZERO
        self.filled: defaultdict[str, int] = defaultdict(int)
        self.value: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        self.executed: defaultdict[str, int] = defaultdict(int)
        self.doubts: dict[str, tuple[int, Decimal]] = {}
        self.doubted_orders: set[str] = set()
        self.grown_orders: set[str] = set()
        self.touched_symbols: set[str] = set()
        self.is_cash_known = True
        self._fills = FillBook(ours.fills)
        for fill in ours.fills:
            execution = fill.execution
            self.filled[execution.client_order_id] += execution.quantity
            self.value[execution.client_order_id] += execution.quantity * execution.price
        for external in ours.external_fills:
            self.note_external(external)

    def book(self, fill: Fill) -> None:
        """The book with this fill, taken in as the ledger will: corrections replace, inferred fills give way."""
        for change in self._fills.absorb(fill):
            for counted, times in ((change.before, -1), (change.after, 1)):
                if counted is not None:
                    self._count(counted.execution, times)
        self.grown_orders.add(fill.execution.client_order_id)

    def note_external(self, fill: ExternalFill, times: int = 1) -> None:
        """A trade made elsewhere explains a position and its cash; ``times=-1`` takes it out again."""
        self._move(fill.symbol, fill.signed_quantity * times, fill.price, (fill.commission or ZERO) * times)

    def doubt(self, symbol: str, quantity: int, cash: Decimal) -> None:
        """The broker's position and cash may differ by this, and nobody can tell yet."""
        before_quantity, before_cash = self.doubts.get(symbol, (0, ZERO))
        self.doubts[symbol] = before_quantity + quantity, before_cash + cash
        self.touched_symbols.add(symbol)

    def _count(self, execution: Execution, times: int) -> None:
        order_id, shares = execution.client_order_id, execution.quantity * times
        self._move(
            execution.symbol, execution.side.sign * shares, execution.price, (execution.commission or ZERO) * times
        )
        self.filled[order_id] += shares
        self.value[order_id] += shares * execution.price

    def _move(self, symbol: str, quantity: int, price: Decimal, commission: Decimal) -> None:
        self.quantity[symbol] += quantity
        self.cash -= quantity * price + commission
        self.touched_symbols.add(symbol)


def compare_fills(ours: LedgerView, theirs: BrokerView, after: Consequences) -> list[Difference]:
    """Differences between executions, oldest first; ``after`` learns what their repair leads to."""
    known = {fill.execution.lineage: fill for fill in ours.fills if not fill.is_inferred}
    elsewhere = {fill.lineage: fill for fill in ours.external_fills}
    newest = _newest(_under_known_lineages(theirs.executions, known.values(), elsewhere.values()))
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


def claimed(external: ExternalFill, session_id: str) -> Fill:
    """A trade made elsewhere as a fill of the book, because a person says that it belongs there."""
    execution = Execution(
        external.exec_id,
        "",
        external.symbol,
        external.side,
        external.quantity,
        external.price,
        external.commission,
        external.executed_at,
        external.lineage,
        external.revision,
    )
    return Fill(execution, session_id, external.account, CLAIMED)


def _under_known_lineages(
    executions: Sequence[Execution], fills: Iterable[Fill], external_fills: Iterable[ExternalFill]
) -> Sequence[Execution]:
    """An execution id names one execution for ever: its lineage is the one it was recorded with, and its corrections'."""
    recorded = {fill.exec_id: fill.lineage for fill in external_fills}
    recorded |= {fill.execution.exec_id: fill.execution.lineage for fill in fills}
    renamed = {
        one.lineage: lineage for one in executions if (lineage := recorded.get(one.exec_id, one.lineage)) != one.lineage
    }
    if not renamed:
        return executions
    return [replace(one, lineage=renamed.get(one.lineage, one.lineage)) for one in executions]


def _newest(executions: Iterable[Execution]) -> dict[str, Execution]:
    """The last correction of each execution, in the order in which they were made."""
    newest: dict[str, Execution] = {}
    for execution in sorted(executions, key=lambda one: (one.executed_at, one.lineage, one.revision, one.exec_id)):
        standing = newest.get(execution.lineage)
        if standing is None or execution.revision >= standing.revision:
            newest[execution.lineage] = to_the_micro(execution)
    return newest


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
    remedy = replace(mine, execution=known_now)
    after.book(remedy)
    discrepancy = Discrepancy(kind, booked.exec_id, *words, did, booked.symbol, repairable=True)
    return [Difference(discrepancy, remedy)]


def _in_place_of(mine: Fill, execution: Execution) -> Execution | None:
    """The broker's execution as a correction of the fill; None where the ledger has a later one of the broker's."""
    booked = mine.execution
    correction = _correction(booked.exec_id, booked.revision, execution)
    # The order is the one it was booked under: a correction does not always name it.
    return None if correction is None else replace(correction, client_order_id=booked.client_order_id)


def _correction(exec_id: str, revision: int, execution: Execution) -> Execution | None:
    """The broker's execution as what follows revision ``revision`` of it; None where that is a later one of the broker's.

    A broker that tells the same execution anew, without calling it a correction, is taken at its word: its execution gets
    the next revision, under a name of its own.
    """
    if execution.revision > revision:
        return execution
    if execution.revision == revision or exec_id.startswith(f"{execution.exec_id}~"):
        return replace(execution, exec_id=f"{execution.exec_id}~{revision + 1}", revision=revision + 1)
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
    fill = Fill(execution, order.intent.session_id, order.intent.account, theirs.source)
    after.book(fill)
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
        fill,
    )


def _made_elsewhere(
    noted: ExternalFill | None, execution: Execution, theirs: BrokerView, after: Consequences
) -> list[Difference]:
    if noted is not None:
        if execution.commission is None:
            execution = replace(execution, commission=noted.commission)
        if _trade_elsewhere(noted) == (*_trade(execution), execution.commission):
            return []
        # Only a commission that was awaited is filled in under the same name.
        if _trade_elsewhere(noted)[:-1] != _trade(execution) or noted.commission is not None:
            correction = _correction(noted.exec_id, noted.revision, execution)
            if correction is None:
                return []  # an older word of the broker's than the one that is noted
            execution = correction
        else:
            execution = replace(execution, exec_id=noted.exec_id, revision=noted.revision)
        after.note_external(noted, times=-1)
    seen = ExternalFill(
        theirs.account.account,
        execution.exec_id,
        execution.client_order_id,
        execution.symbol,
        execution.side,
        execution.quantity,
        execution.price,
        execution.commission,
        execution.executed_at,
        execution.lineage,
        execution.revision,
        theirs.asked_at,
    )
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


def _trade_elsewhere(fill: ExternalFill) -> tuple[object, ...]:
    return fill.symbol, fill.side, fill.quantity, fill.price, fill.commission


def _words(execution: Execution) -> str:
    return f"{execution.side} {execution.quantity} {execution.symbol} at {plainly(execution.price)}"


def _external_words(fill: ExternalFill) -> str:
    commission = "not known" if fill.commission is None else plainly(fill.commission)
    return f"{fill.side} {fill.quantity} {fill.symbol} at {plainly(fill.price)}, commission {commission}"
