"""What the executions of one order come to, corrections taken in."""

from dataclasses import dataclass, field

from trading.orders import Execution

_FIRST_REVISION = 1
"""The number that the broker's ids end in before anything was corrected; ids of another make count as 0."""


@dataclass(slots=True)
class _Lineage:
    first: int
    newest: int
    quantity: int
    most: int


@dataclass(slots=True)
class ExecutedShares:
    """The executions of one order that were told, each once."""

    _lineages: dict[str, _Lineage] = field(default_factory=dict)
    _has_corrections: bool = False

    def take(self, execution: Execution) -> None:
        """Count an execution in; a correction takes the place of what it corrects, in whatever order they come."""
        revision, quantity = execution.revision, execution.quantity
        known = self._lineages.get(execution.lineage)
        self._has_corrections |= known is not None or revision > _FIRST_REVISION
        if known is None:
            self._lineages[execution.lineage] = _Lineage(revision, revision, quantity, quantity)
            return
        known.first, known.most = min(known.first, revision), max(known.most, quantity)
        if revision > known.newest:
            known.newest, known.quantity = revision, quantity

    @property
    def shares(self) -> int:
        """Shares executed, as corrected."""
        return sum(one.quantity for one in self._lineages.values())

    @property
    def has_corrections(self) -> bool:
        """Whether anything was corrected: then executions say more than the broker's totals, which may count the first word."""
        return self._has_corrections

    def explain(self, told: int) -> bool:
        """Whether no execution is missing where the broker says that ``told`` shares are filled.

        It may have counted before or after a correction. Where what was corrected is not told any more nobody can say, and
        nothing is waited for.
        """
        lineages = self._lineages.values()
        return told <= sum(one.most for one in lineages) or any(one.first > _FIRST_REVISION for one in lineages)
