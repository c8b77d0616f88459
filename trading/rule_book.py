"""Which rules an order is asked, from the settings: the list to read when one wants to know what is checked at all."""

from trading.activity_rules import (
    ChangesOfMind,
    Cooldown,
    DailyTurnover,
    ExpectedShortfall,
    HourlyTurnover,
    PatternDayTrader,
    TradesPerSession,
    ValueAtRisk,
)
from trading.market_rules import FreshPrice, KnownPrice, NoDataGap
from trading.order_rules import (
    BrokerAwake,
    CancelsPerMinute,
    DuplicateOrders,
    EntryWindow,
    MaxOrderNotional,
    MaxOrderShares,
    MinOrderNotional,
    NotHalted,
    OnTime,
    OrdersPerSecond,
    OrdersPerSession,
    PriceCollar,
    ShortSelling,
    TickSize,
    Tradable,
)
from trading.position_rules import (
    BuyingPower,
    MaxConcentration,
    MaxGrossExposure,
    MaxLeverage,
    MaxNetExposure,
    MaxPositionFraction,
    MaxPositionNotional,
    MaxPositions,
    MaxPositionShares,
)
from trading.risk_rules import Rule
from trading.risk_settings import RiskSettings
from trading.settings import FeedKind, Settings


def rules_from(settings: Settings, risk: RiskSettings | None = None) -> tuple[Rule, ...]:
    """The rules that the settings ask for, in the order in which they are asked; ``risk`` where its limits were changed.

    The first ones establish that there is a price; rules after them rely on it.
    """
    risk = settings.risk if risk is None else risk
    rules: list[Rule | None] = [
        KnownPrice(),
        *_of_the_order(settings, risk),
        *_of_positions(settings, risk),
        *_of_the_market(settings, risk),
        *_of_activity(settings, risk),
    ]
    return tuple(rule for rule in rules if rule is not None)


def _of_the_order(settings: Settings, risk: RiskSettings) -> list[Rule | None]:
    most_duplicates, tick = risk.max_duplicate_orders, settings.orders.tick_size
    return [
        NotHalted(),
        OnTime(),
        EntryWindow(),
        BrokerAwake(),
        Tradable(frozenset(risk.not_tradable)) if risk.not_tradable else None,
        ShortSelling(settings.orders.allow_short),
        MaxOrderShares(risk.max_order_shares),
        None if risk.max_order_notional is None else MaxOrderNotional(risk.max_order_notional),
        None if risk.min_order_notional is None else MinOrderNotional(risk.min_order_notional),
        None if risk.max_price_deviation_fraction is None else PriceCollar(risk.max_price_deviation_fraction),
        None if tick is None else TickSize(tick),
        None if most_duplicates is None else DuplicateOrders(most_duplicates, risk.duplicate_window_seconds),
        None if risk.max_orders_per_second is None else OrdersPerSecond(risk.max_orders_per_second),
        None if risk.max_orders_per_session is None else OrdersPerSession(risk.max_orders_per_session),
        None if risk.max_cancels_per_minute is None else CancelsPerMinute(risk.max_cancels_per_minute),
    ]


def _of_positions(settings: Settings, risk: RiskSettings) -> list[Rule | None]:
    commission, concentration = settings.expected_commission, risk.max_concentration_fraction
    return [
        MaxPositionShares(risk.max_position_shares),
        None if risk.max_position_notional is None else MaxPositionNotional(risk.max_position_notional),
        MaxPositionFraction(risk.max_position_fraction),
        None if risk.max_gross_exposure is None else MaxGrossExposure(risk.max_gross_exposure),
        None if risk.max_net_exposure is None else MaxNetExposure(risk.max_net_exposure),
        None if risk.max_leverage is None else MaxLeverage(risk.max_leverage),
        None if concentration is None else MaxConcentration(concentration, risk.concentration_from_fraction),
        None if risk.max_positions is None else MaxPositions(risk.max_positions),
        BuyingPower(commission.per_share, commission.minimum, risk.cash_reserve_fraction),
    ]


def _of_the_market(settings: Settings, risk: RiskSettings) -> list[Rule | None]:
    # Only a market that does not wait makes prices old: recorded bars come as fast as they are taken.
    live = settings.session.pace == "live" or settings.feed.kind is FeedKind.IB
    return [
        None if risk.max_price_age_seconds is None or not live else FreshPrice(risk.max_price_age_seconds),
        None if risk.max_gap_bars is None else NoDataGap(risk.max_gap_bars),
    ]


def _of_activity(settings: Settings, risk: RiskSettings) -> list[Rule | None]:
    guard = risk.pattern_day_trader
    guarded = guard.enabled and settings.broker.kind in guard.brokers
    shortfall = risk.max_expected_shortfall_fraction
    policy, length = settings.policy, settings.session.timeframe.length
    changes = policy.max_changes_per_session
    return [
        Cooldown(policy.cooldown_bars, length) if policy.cooldown_bars else None,
        None if changes is None else ChangesOfMind(changes),
        None if risk.max_hourly_turnover is None else HourlyTurnover(risk.max_hourly_turnover),
        None if risk.max_daily_turnover is None else DailyTurnover(risk.max_daily_turnover),
        None if risk.max_trades_per_session is None else TradesPerSession(risk.max_trades_per_session),
        PatternDayTrader(guard.max_day_trades, guard.minimum_equity, guard.until) if guarded else None,
        None if risk.max_value_at_risk_fraction is None else ValueAtRisk(risk.max_value_at_risk_fraction),
        None if shortfall is None else ExpectedShortfall(shortfall),
    ]
