"""Executions by the broker's ids: which correct which, and what they cost once that is known."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from trading.interactive_brokers.messages import CommissionTold, ExecutionTold, Instrument
from trading.interactive_brokers.order_terms import side_of
from trading.orders import Execution

_log = logging.getLogger(__name__)


def lineage_and_revision(exec_id: str) -> tuple[str, int]:
    """What a correction shares with what it corrects, and which of them is newer.

    The broker's ids end in two digits that count corrections: 0000e0d5.5f2a.01.01 is replaced by 0000e0d5.5f2a.01.02.
    An id of another make is its own lineage.
    """
    head, dot, last = exec_id.rpartition(".")
    counts = dot and head and len(last) == 2 and last.isdigit()
    return (head, int(last)) if counts else (exec_id, 0)


@dataclass(slots=True)
class Executions:
    """All that was told of executions of one account, by id, in the order in which they were heard first.

    ``symbol_of`` names an instrument as sessions do. A commission may be told before its execution.
    """

    symbol_of: Callable[[Instrument], str]
    _told: dict[str, Execution] = field(default_factory=dict)
    _commissions: dict[str, Decimal] = field(default_factory=dict)
    _newest: dict[str, int] = field(default_factory=dict)
    _order_of: dict[str, int] = field(default_factory=dict)

    def hear(self, message: ExecutionTold, client_order_id: str) -> bool:
        """Take an execution in; whether it was new."""
        if message.exec_id in self._told:
            return False
        if message.shares != int(message.shares) or message.shares <= 0:
            _log.error("not whole shares exec_id=%s shares=%s", message.exec_id, message.shares)
            return False
        if message.price <= 0:
            # Shares that were transferred, or came of an option: the position shows them, and the comparison tells.
            _log.error("not a trade exec_id=%s price=%s", message.exec_id, message.price)
            return False
        lineage, revision = lineage_and_revision(message.exec_id)
        if self._order_of.setdefault(lineage, message.perm_id) != message.perm_id:
            lineage, revision = message.exec_id, 0  # what another order did corrects nothing of this one
        self._told[message.exec_id] = Execution(
            message.exec_id,
            client_order_id,
            self.symbol_of(message.instrument),
            side_of(message.side),
            int(message.shares),
            message.price,
            self._commissions.get(message.exec_id),
            message.executed_at,
            lineage,
            revision,
        )
        self._newest[lineage] = max(revision, self._newest.get(lineage, revision))
        return True

    def hear_commission(self, message: CommissionTold) -> bool:
        """Take in what an execution cost; whether that made one known that was not."""
        if message.commission is None:
            return False
        known_before = message.exec_id in self._commissions
        self._commissions[message.exec_id] = message.commission
        return not known_before and message.exec_id in self._told

    def get(self, exec_id: str) -> Execution:
        """One execution as it is known now."""
        execution = self._told[exec_id]
        commission = self._commissions.get(exec_id)
        if commission == execution.commission:
            return execution
        self._told[exec_id] = known = _with_commission(execution, commission)
        return known

    def counting(self, since: datetime | None = None) -> tuple[Execution, ...]:
        """Those that no correction has replaced, executed at or after ``since``, oldest first."""
        found = [one for one in self._all() if one.revision == self._newest[one.lineage]]
        return tuple(
            sorted((one for one in found if since is None or one.executed_at >= since), key=lambda one: one.executed_at)
        )

    def of(self, client_order_id: str) -> list[Execution]:
        """Those of one order that count."""
        return [one for one in self.counting() if one.client_order_id == client_order_id]

    def _all(self) -> Iterator[Execution]:
        return (self.get(exec_id) for exec_id in list(self._told))


def _with_commission(execution: Execution, commission: Decimal | None) -> Execution:
    return Execution(
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
    )
