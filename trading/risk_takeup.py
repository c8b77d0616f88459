"""What risk has to remember when a session begins or goes on: a restart is no fresh budget.

Highs, the day's loss, what was sent and traded today, and limits that were changed all come from the ledger.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date

from trading.calendar import TradingCalendar
from trading.limit_changes import LimitChange
from trading.orders import Fill
from trading.pnl_tracker import PnLTracker
from trading.ports import Ledger
from trading.risk_gate import RiskGate
from trading.risk_settings import RiskSettings
from trading.sessions import SessionRecord
from trading.settings import Settings
from trading.trading_hours import TradingHours


def take_up_risk(
    gate: RiskGate,
    tracker: PnLTracker,
    ledger: Ledger,
    calendar: TradingCalendar,
    settings: Settings,
    record: SessionRecord,
    hours: TradingHours,
) -> None:
    """Bring the gate to where the account's day stands; the book is up already."""
    gate.change_limits(changed_limits(settings.risk, ledger.limit_changes(record.session_id)))
    take_up_highs(gate, tracker, ledger, record, hours)
    last = record.last_bar_time
    orders = [
        order.intent
        for order in ledger.orders_since(record.account, hours.opens_at)
        if order.intent.session_id == record.session_id and last is not None and order.intent.bar_time <= last
    ]
    upto = hours.opens_at if last is None else last + settings.session.timeframe.length
    cancels = [at for at in ledger.cancels_since(record.account, hours.opens_at) if at <= upto]
    fills = [
        fill for fill in ledger.fills(record.account) if hours.opens_at <= fill.execution.executed_at <= hours.closes_at
    ]
    gate.tape.take_up(
        orders,
        cancels,
        fills,
        held_before(tracker, fills),
        _day_trades_before(ledger, calendar, gate.limits, record),
    )
    gate.look_again()


def take_up_highs(
    gate: RiskGate, tracker: PnLTracker, ledger: Ledger, record: SessionRecord, hours: TradingHours
) -> None:
    """Bring what losses are measured from to where the account's day stands."""
    first = ledger.first_session_of(record.account, record.session_date)
    starting = tracker.starting_equity if first is None else first.starting_equity
    length, last = gate.bar_length, record.last_bar_time
    today = [
        (bar_time, equity)
        for bar_time, equity in ledger.equity_since(record.account, hours.opens_at)
        if bar_time < hours.closes_at
    ]
    highest_today = max([starting, *(equity for _, equity in today)])
    # Another session of the day may have gone on to its close: for this one that is still to come.
    recent = [(bar_time + length, equity) for bar_time, equity in today if last is not None and bar_time <= last]
    since = gate.limits.drawdown_since
    highest_ever = ledger.high_water_mark(record.account, since) if since is not None else tracker.high_water_mark
    gate.begin_day(starting, highest_today, highest_today if highest_ever is None else highest_ever, recent)


def held_before(tracker: PnLTracker, fills: Iterable[Fill]) -> Mapping[str, int]:
    """Shares that were held before these fills, by symbol."""
    held = {symbol: tracker.quantity(symbol) for symbol in tracker.held_symbols}
    for fill in fills:
        execution = fill.execution
        held[execution.symbol] = held.get(execution.symbol, 0) - execution.side.sign * execution.quantity
    return held


def changed_limits(risk: RiskSettings, changes: Iterable[LimitChange]) -> RiskSettings:
    """Limits after the changes that were made to them, in order."""
    document = risk.model_dump(mode="json")
    changed = False
    for change in changes:
        document[change.name] = json.loads(change.new_value)
        changed = True
    return RiskSettings.model_validate(document) if changed else risk


def _day_trades_before(ledger: Ledger, calendar: TradingCalendar, risk: RiskSettings, record: SessionRecord) -> int:
    guard = risk.pattern_day_trader
    if not guard.enabled or guard.sessions < 2:
        return 0
    since: date = calendar.sessions_before(record.session_date, guard.sessions - 1)[0].session_date
    return ledger.day_trades(record.account, since, record.session_date)
