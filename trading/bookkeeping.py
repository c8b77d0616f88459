"""The broker's news, taken into the book and written down."""

from datetime import datetime

from trading.order_router import OrderRouter
from trading.orders import Fill
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries
from trading.sessions import SessionRecord


def book_reports(
    router: OrderRouter, tracker: PnLTracker, record: SessionRecord, entries: LedgerEntries, bar_time: datetime
) -> list[Fill]:
    """Book what the broker has reported since the last time; returns the fills that were new.

    What was booked before changes nothing, save that a commission can become known. Steps, fills and the positions they
    changed are added to ``entries``.
    """
    events, fills = router.collect()
    if not events and not fills:
        return []
    entries.order_events += events
    booked, restated = [], []
    for fill in fills:
        if tracker.awaits_commission(fill.execution):
            restated.append(fill)
        if tracker.update_position(fill):
            router.note_fill(fill.execution)
            booked.append(fill)
    entries.fills += booked + restated
    entries.positions += [
        tracker.snapshot(record.session_id, record.account, bar_time, symbol)
        for symbol in dict.fromkeys(fill.execution.symbol for fill in booked + restated)
    ]
    return booked
