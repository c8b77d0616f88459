"""Two runs of the same decisions, row by row: what a session recorded, and what the policy says of the same bars again.

The rule: what is not the same is told with everything that both said. Only what came of time cannot be the same, and is counted
apart. The position that a decision asked for is not compared: it is what risk and sizes made of the account at that moment.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from trading.decisions import Action, Decision, ShadowDecision

TOLERANCE = 1e-9
"""How far confidences and target weights may be apart."""
_TOO_LATE = re.compile(r"the decision took \d+ ms, and policy\.decision_budget_ms is ")


@dataclass(frozen=True, slots=True)
class Said:
    """What was decided about a symbol on a bar. ``target_weight`` is a signed fraction of equity, None where it is not known."""

    bar_time: datetime
    symbol: str
    action: Action
    confidence: float | None = None
    error: str | None = None
    note: str | None = None
    target_weight: float | None = None

    @property
    def came_too_late(self) -> bool:
        """Whether it is no decision because the policy took longer than its budget (see ``PolicyWatch``)."""
        return self.error is not None and _TOO_LATE.match(self.error) is not None


@dataclass(frozen=True, slots=True)
class Difference:
    """A bar of a symbol on which both runs do not say the same. ``fields`` names what differs; None is a row that is not there."""

    bar_time: datetime
    symbol: str
    recorded: Said | None
    again: Said | None
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecisionComparison:
    """``compared`` rows, the ``too_late`` ones not among them, and the differences in the order of bars and symbols."""

    compared: int
    too_late: int
    differences: tuple[Difference, ...]

    @property
    def same(self) -> int:
        """How many rows are the same."""
        return self.compared - len(self.differences)

    @property
    def first_difference(self) -> Difference | None:
        """The earliest; None where all rows are the same."""
        return self.differences[0] if self.differences else None


def compare_decisions(recorded: Sequence[Said], again: Sequence[Said]) -> DecisionComparison:
    """Compare row by row: action, error and note exactly, confidence and target weight to ``TOLERANCE``.

    A row that only one of them has is a difference. Raises ``ValueError`` where one has two rows of a symbol and bar.
    """
    before, after = _by_place(recorded), _by_place(again)
    places = sorted({*before, *after})
    late = {place for place, said in before.items() if said.came_too_late}
    differences = []
    for place in places:
        if place in late:
            continue
        one, other = before.get(place), after.get(place)
        fields = _fields_that_differ(one, other)
        if fields:
            differences.append(Difference(*place, one, other, fields))
    return DecisionComparison(len(places) - len(late), len(late), tuple(differences))


def said_in(decision: Decision | ShadowDecision) -> Said:
    """A recorded row as it is compared."""
    return Said(
        decision.bar_time,
        decision.symbol,
        decision.action,
        decision.confidence,
        decision.error,
        decision.note,
        decision.target_weight,
    )


def _by_place(rows: Sequence[Said]) -> dict[tuple[datetime, str], Said]:
    found = {(said.bar_time, said.symbol): said for said in rows}
    if len(found) != len(rows):
        raise ValueError(f"{len(rows)} rows of {len(found)} symbols and bars")
    return found


def _fields_that_differ(one: Said | None, other: Said | None) -> tuple[str, ...]:
    if one is None or other is None:
        return ("row",)
    same = {
        "action": one.action is other.action,
        "confidence": _near(one.confidence, other.confidence),
        "error": one.error == other.error,
        "note": one.note == other.note,
        "target_weight": _near(one.target_weight, other.target_weight),
    }
    return tuple(name for name, is_same in same.items() if not is_same)


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0.0, abs_tol=TOLERANCE)
