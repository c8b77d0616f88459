"""Rules about what an account has done so far: turnover, trades, round trips within a day, and what its book may lose."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from trading.money import ZERO
from trading.risk_rules import Objection, RiskView, TailRisk, shares_within


@dataclass(frozen=True, slots=True)
class HourlyTurnover:
    """Money traded within an hour as a multiple of equity, open orders and this one included."""

    limit: Decimal
    name: str = "max_hourly_turnover"

    def object_to(self, view: RiskView) -> Objection | None:
        return _turnover(self.name, self.limit, view, view.activity.traded_last_hour, "an hour")


@dataclass(frozen=True, slots=True)
class DailyTurnover:
    """Money traded within the day as a multiple of equity, open orders and this one included."""

    limit: Decimal
    name: str = "max_daily_turnover"

    def object_to(self, view: RiskView) -> Objection | None:
        return _turnover(self.name, self.limit, view, view.activity.traded_today, "the day")


def _turnover(rule: str, limit: Decimal, view: RiskView, traded: Decimal, when: str) -> Objection | None:
    if not view.equity > 0:
        return Objection(rule, 0, f"equity is {view.equity}", view.equity, ZERO)
    price = view.worst_price
    most = limit * view.equity
    after = traded + view.quantity * price
    if after <= most:
        return None
    allowed = shares_within(most - traded, price) - (view.quantity - view.adding)
    return Objection(rule, max(allowed, 0), f"too much would be traded within {when}", after / view.equity, limit)


@dataclass(frozen=True, slots=True)
class TradesPerSession:
    """How many orders of a session may trade, those that still can included."""

    limit: int
    name: str = "max_trades_per_session"

    def object_to(self, view: RiskView) -> Objection | None:
        count = view.activity.trades + 1
        if count <= self.limit:
            return None
        return Objection(self.name, 0, "too many trades in the session", Decimal(count), Decimal(self.limit))


@dataclass(frozen=True, slots=True)
class Cooldown:
    """How many bars a symbol is left alone after an order before anything is opened or added there."""

    bars: int
    bar_length: timedelta
    name: str = "cooldown_bars"

    def object_to(self, view: RiskView) -> Objection | None:
        since = view.activity.since_last_order
        if since is None or since >= self.bars * self.bar_length:
            return None
        passed = Decimal(since // self.bar_length)
        return Objection(self.name, 0, "too soon after the symbol's last order", passed, Decimal(self.bars))


@dataclass(frozen=True, slots=True)
class ChangesOfMind:
    """How often a symbol's orders may change sides within a session; after that it is only left."""

    limit: int
    name: str = "max_changes_per_session"

    def object_to(self, view: RiskView) -> Objection | None:
        turns = view.activity.turns
        if turns <= self.limit:
            return None
        return Objection(self.name, 0, "too many changes of mind in the session", Decimal(turns), Decimal(self.limit))


@dataclass(frozen=True, slots=True)
class PatternDayTrader:
    """Small margin accounts open nothing that could become one round trip within a day too many."""

    max_day_trades: int
    minimum_equity: Decimal
    until: date
    name: str = "pattern_day_trader"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.session_date > self.until or view.equity >= self.minimum_equity:
            return None
        count = view.activity.day_trades + (not view.activity.opened_today)
        if count <= self.max_day_trades:
            return None
        reason = f"{count} round trips within a day, with equity below {self.minimum_equity}"
        return Objection(self.name, 0, reason, Decimal(count), Decimal(self.max_day_trades))


@dataclass(frozen=True, slots=True)
class ValueAtRisk:
    """Historical value-at-risk of the book with the order, as a fraction of equity."""

    limit: Decimal
    name: str = "max_value_at_risk_fraction"

    def object_to(self, view: RiskView) -> Objection | None:
        return _tail(self.name, self.limit, view, lambda risk: risk.value_at_risk)


@dataclass(frozen=True, slots=True)
class ExpectedShortfall:
    """Historical expected shortfall of the book with the order, as a fraction of equity."""

    limit: Decimal
    name: str = "max_expected_shortfall_fraction"

    def object_to(self, view: RiskView) -> Objection | None:
        return _tail(self.name, self.limit, view, lambda risk: risk.expected_shortfall)


def _tail(rule: str, limit: Decimal, view: RiskView, measure: Callable[[TailRisk], Decimal]) -> Objection | None:
    if view.tail is None:
        raise ValueError("the tail of the book's returns was not estimated")
    tail, most = view.tail, limit * view.equity
    if view.tail_at_most is not None and view.tail_at_most <= most:
        return None
    risk = measure(tail(view.adding))
    if risk <= most:
        return None
    allowed = 0
    if measure(tail(0)) <= most:
        # The risk of a growing position falls at most once and then rises, so that the last size within is found by halving.
        low, high = 0, view.adding
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if measure(tail(middle)) <= most else (low, middle)
        allowed = low
    observed = risk / view.equity if view.equity > 0 else risk
    return Objection(rule, allowed, "the book could lose too much", observed, limit)
