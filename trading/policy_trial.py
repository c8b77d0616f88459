"""What a replay came to, for the gate between stages: a ledger that keeps figures and no rows."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from trading.orders import OrderStatus
from trading.ports import LedgerEntries
from trading.promotion import Evaluation
from trading.sessions import SessionRecord


class TrialLedger:
    """Implements ``trading.ports.ReplayLedger``: everything that is committed is counted and forgotten."""

    def __init__(self) -> None:
        self._began: list[tuple[date, Decimal]] = []
        self._drawdown = 0.0
        self._orders = 0
        self._refused = 0
        self._failures = 0

    def commit_replay(self, sessions: Sequence[SessionRecord], entries: LedgerEntries) -> None:
        """Take in whole sessions, in their order."""
        self._began += [(record.session_date, record.starting_equity) for record in sessions]
        self._drawdown = max(
            self._drawdown, *(float(block.drawdown.max()) for block in entries.blocks if len(block.drawdown)), 0.0
        )
        self._orders += len(entries.intents)
        self._refused += sum(event.status is OrderStatus.REJECTED for event in entries.order_events)
        self._failures += sum(len(block.errors) for block in entries.blocks)

    def evaluation(self, sessions: Sequence[date], final_equity: Decimal) -> Evaluation:
        """The figures of the ``sessions`` that were to be replayed. After a halt that only a person clears none would have
        been traded: the rest returned nothing."""
        equity = [began for _, began in self._began] + [final_equity]
        by_date = {day: float(equity[place + 1] / equity[place] - 1) for place, (day, _) in enumerate(self._began)}
        return Evaluation(
            tuple(sessions),
            tuple(by_date.get(day, 0.0) for day in sessions),
            self._drawdown,
            self._orders,
            self._refused,
            self._failures,
        )
