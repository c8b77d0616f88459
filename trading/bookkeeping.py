"""The broker's news, taken into the book and written down."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from trading.differences import ExternalFill
from trading.order_router import OrderRouter
from trading.orders import Execution, Fill, OpenOrder, OrderEvent, OrderStatus
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries
from trading.sessions import SessionRecord
from trading.trading_hours import TradingHours

_log = logging.getLogger(__name__)


def _nobody(_new: Sequence[Fill], _moved: Collection[str]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Bookkeeper:
    """Books for one session. ``bar_length`` and ``hours`` say which bar an execution belongs to.

    ``heard`` is told of fills that are new, in booking order, and of all symbols whose position or cost has changed.
    """

    router: OrderRouter
    tracker: PnLTracker
    record: SessionRecord
    hours: TradingHours
    bar_length: timedelta
    heard: Callable[[Sequence[Fill], Collection[str]], None] = _nobody

    def book_reports(self, entries: LedgerEntries, at: datetime) -> list[Fill]:
        """Book what the broker has reported since the last time; returns the fills that were new.

        What was booked before changes nothing, save that a commission can become known and a correction replaces what it
        corrects. Steps, fills and the positions they changed are added to ``entries``; executions of orders that were
        made elsewhere are written down as such and are no part of the book.
        """
        news = self.router.collect()
        if not news:
            return []
        entries.order_events += news.events
        fills = list(news.fills)
        for execution in news.external:
            booked = self.tracker.booked_as(execution)
            if booked is None:
                entries.external_fills.append(external_fill(execution, self.record.account, at))
            else:  # a correction does not always name its order
                named = replace(execution, client_order_id=booked.execution.client_order_id)
                fills.append(replace(booked, execution=named))
        new = self.book(fills, entries)
        entries.order_events += self._overfilled(new, news.orders)
        return new

    def book(self, fills: list[Fill], entries: LedgerEntries) -> list[Fill]:
        """Book these fills as ``book_reports`` does."""
        new, changed = [], []
        for fill in fills:
            execution = fill.execution
            known = self.tracker.knows(execution)
            if self.tracker.update_position(fill):
                changed.append(fill)
                self.router.note_fill(execution.client_order_id, self.tracker.filled_of(execution.client_order_id))
                if not known:
                    new.append(fill)
        entries.fills += changed
        moved = {fill.execution.symbol: fill.execution.executed_at for fill in changed}
        self.heard(new, moved)
        entries.positions += [
            self.tracker.snapshot(self.record.session_id, self.record.account, self._bar_of(executed_at), symbol)
            for symbol, executed_at in moved.items()
        ]
        return new

    def _overfilled(self, fills: list[Fill], orders: Mapping[str, OpenOrder]) -> list[OrderEvent]:
        """A mark on each order of which more was filled than was ordered: the fill is kept, and a person should know."""
        marks = {}
        for fill in fills:
            order_id = fill.execution.client_order_id
            ordered, filled = orders[order_id].intent.quantity, self.tracker.filled_of(order_id)
            if filled > ordered:
                _log.error("overfilled client_order_id=%s ordered=%d filled=%d", order_id, ordered, filled)
                detail = f"overfilled: {filled} of {ordered}"
                marks[order_id] = OrderEvent(order_id, fill.execution.executed_at, OrderStatus.FILLED, detail)
        return list(marks.values())

    def _bar_of(self, moment: datetime) -> datetime:
        """The open of the bar in which something happened: the same bar whenever it was learned of."""
        return self.hours.opens_at + (moment - self.hours.opens_at) // self.bar_length * self.bar_length


def external_fill(execution: Execution, account: str, seen_at: datetime) -> ExternalFill:
    """An execution of an order that was made elsewhere, to be written down."""
    return ExternalFill(
        account,
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
        seen_at,
    )
