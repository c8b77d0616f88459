"""Which executions count: repeats, corrections and inferred fills, folded in one place.

The ledger keeps its fills by this rule and the book folds its own by it, so that both always have the same. Messages of
executions may be repeated and come in any order: the same fills count at the end.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from trading.money import round_money
from trading.orders import Execution, Fill


@dataclass(frozen=True, slots=True)
class FillChange:
    """One thing that happened to the fills that count.

    ``before`` is None for a new fill, ``after`` None for one that counts no more; ``after`` takes the place of ``before``
    in the order of booking. ``cause`` is the ``exec_id`` of the execution that brought it about.
    """

    before: Fill | None
    after: Fill | None
    cause: str

    @property
    def is_commission(self) -> bool:
        """Whether it is the same execution, with a commission that was not known before."""
        return (
            self.before is not None
            and self.after is not None
            and self.before.execution.exec_id == self.after.execution.exec_id
        )


class FillBook:
    """The fills that count, in the order in which they were booked.

    One lineage counts once, by its highest revision. Inferred fills of an order give way, share by share and oldest first,
    to executions of the order that are booked after them, and to shares that a correction adds; a correction that takes
    shares away brings none of them back: the next comparison with the broker infers them anew.
    """

    def __init__(self, fills: Iterable[Fill] = (), gone: Iterable[str] = ()) -> None:
        """``fills`` count already and stay as they are; ``gone`` are lineages that gave way wholly."""
        self._counting = {fill.execution.lineage: fill for fill in fills}
        self._lineage_of = {fill.execution.exec_id: fill.execution.lineage for fill in self._counting.values()}
        self._gone = set(gone) - self._counting.keys()
        self._inferred: dict[str, list[str]] = {}
        for fill in self._counting.values():
            self._note_inferred(fill)

    @property
    def fills(self) -> list[Fill]:
        """Those that count, in booking order."""
        return list(self._counting.values())

    def knows(self, lineage: str) -> bool:
        """Whether a fill of this lineage counts."""
        return lineage in self._counting

    def booked_as(self, lineage: str) -> Fill | None:
        """The fill of this lineage that counts."""
        return self._counting.get(lineage)

    def absorb(self, fill: Fill) -> list[FillChange]:
        """Take in one message; what it changed, in order. Nothing for a repeat or a revision that is not newer."""
        # An execution id names one execution for ever, whatever lineage it is told with the next time.
        lineage = self._lineage_of.get(fill.execution.exec_id, fill.execution.lineage)
        if lineage in self._gone:
            return []
        if lineage != fill.execution.lineage:
            fill = replace(fill, execution=replace(fill.execution, lineage=lineage))
        arriving = fill.execution
        known = self._counting.get(arriving.lineage)
        if known is None:
            self._counting[arriving.lineage] = fill
            self._lineage_of[arriving.exec_id] = arriving.lineage
            self._note_inferred(fill)
            return [FillChange(None, fill, arriving.exec_id), *self._give_way(fill, arriving.quantity)]
        is_same = arriving.exec_id == known.execution.exec_id
        if not is_same and arriving.revision > known.execution.revision:
            corrected = _in_place_of(known, fill)
            self._counting[arriving.lineage] = corrected
            self._lineage_of[arriving.exec_id] = arriving.lineage
            if known.is_inferred and not corrected.is_inferred:
                self._inferred[known.execution.client_order_id].remove(arriving.lineage)
            added = arriving.quantity - known.execution.quantity
            return [FillChange(known, corrected, arriving.exec_id), *self._give_way(corrected, added)]
        if is_same and known.execution.commission is None and arriving.commission is not None:
            told = replace(known, execution=replace(known.execution, commission=arriving.commission))
            self._counting[arriving.lineage] = told
            return [FillChange(known, told, arriving.exec_id)]
        return []

    def _note_inferred(self, fill: Fill) -> None:
        if fill.is_inferred:
            self._inferred.setdefault(fill.execution.client_order_id, []).append(fill.execution.lineage)

    def _give_way(self, real: Fill, shares: int) -> list[FillChange]:
        """Take ``shares`` from the inferred fills of the order, oldest first."""
        changes: list[FillChange] = []
        if real.is_inferred:
            return changes
        waiting = self._inferred.get(real.execution.client_order_id, [])
        while shares > 0 and waiting:
            before = self._counting[waiting[0]]
            left = before.execution.quantity - shares
            shares -= before.execution.quantity
            after = _reduced(before, left) if left > 0 else None
            if after is not None:
                self._counting[waiting[0]] = after
            else:
                del self._counting[waiting[0]]
                self._gone.add(waiting.pop(0))
            changes.append(FillChange(before, after, real.execution.exec_id))
        return changes


def _in_place_of(known: Fill, correction: Fill) -> Fill:
    """The correction, in the session and of the order that the execution belonged to."""
    return replace(
        known,
        source=correction.source,
        execution=replace(
            correction.execution,
            client_order_id=correction.execution.client_order_id or known.execution.client_order_id,
        ),
    )


def _reduced(inferred: Fill, quantity: int) -> Fill:
    """What is left of an inferred fill, with its part of the commission."""
    was: Execution = inferred.execution
    revision = was.revision + 1
    paid = None if was.commission is None else round_money(was.commission * quantity / was.quantity)
    return replace(
        inferred,
        execution=replace(
            was, exec_id=f"{was.lineage}:{revision}", quantity=quantity, commission=paid, revision=revision
        ),
    )
