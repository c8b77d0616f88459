"""What a person may set of risk: the limits of ``[risk]``, the end of the day (``[closing]``) and stopping (``[stopping]``).

Every default is on the careful side; docs/risk.md says of each what it means and where it comes from. ``off`` switches a
limit off, where it can be switched off at all.
"""

import itertools
from datetime import date
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator

from trading.setting_types import Fraction, Multiple, Off, PositiveMoney, Section, Symbol

Count = Annotated[int, Field(gt=0, le=1_000_000_000)]


class PatternDayTraderSettings(Section):
    """The US rule for margin accounts below 25,000: few round trips within a day. It ended on 2026-06-04; brokers may keep it until 2027-10-20."""

    enabled: bool = False
    """Whether the guard is asked at all."""
    brokers: tuple[str, ...] = ("ib",)
    """Kinds of broker whose accounts it is for."""
    until: date = date(2027, 10, 20)
    """Last exchange date on which it is asked."""
    minimum_equity: PositiveMoney = Decimal("25000")
    """Accounts with at least this equity are free of it."""
    max_day_trades: Annotated[int, Field(ge=0, le=1_000)] = 3
    """Round trips within a day that are allowed in any `sessions` sessions in a row; a position that was opened today counts as one to come."""
    sessions: Annotated[int, Field(ge=1, le=30)] = 5
    """Sessions in a row that are counted, today's included."""


class RiskSettings(Section):
    """Limits that every order meets before it is sent, and losses that halt trading. They can be changed while a session runs."""

    max_order_shares: Annotated[int, Field(gt=0)] = 500
    """Largest order in shares; larger ones are trimmed."""
    max_order_notional: Annotated[PositiveMoney | None, Off] = Decimal("50000")
    """Largest order in money at the worst price it allows; larger ones are trimmed. `off` switches it off."""
    min_order_notional: Annotated[PositiveMoney | None, Off] = None
    """Orders that would open or add for less money than this are not sent. `off` switches it off."""
    max_price_deviation_fraction: Annotated[Fraction | None, Off] = Decimal("0.05")
    """How far a limit price may be beyond the last price, and the last price away from the one before it, as a fraction; beyond it the order is refused as a slip. `off` switches it off."""
    max_duplicate_orders: Annotated[Count | None, Off] = 3
    """An order is refused when it is the so-manieth of the same symbol, side and quantity within `duplicate_window_seconds`. `off` switches it off."""
    duplicate_window_seconds: Annotated[int, Field(gt=0, le=86_400)] = 60
    """Session time in which equal orders are counted."""
    max_orders_per_second: Annotated[Count | None, Off] = 50
    """Orders within one second of session time; all orders of a bar come at its end. `off` switches it off."""
    max_orders_per_session: Annotated[Count | None, Off] = 1_000
    """Orders of one session. `off` switches it off."""
    max_cancels_per_minute: Annotated[Count | None, Off] = 100
    """Cancels within a minute of session time from which on no order may open or add. `off` switches it off."""
    lot_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """What opens or adds is a multiple of so many shares; orders are trimmed to it."""
    no_entry_first_minutes: Annotated[int, Field(ge=0, le=1_440)] = 0
    """Minutes after the open in which no order may open or add."""
    no_entry_last_minutes: Annotated[int, Field(ge=0, le=1_440)] = 0
    """Minutes before the close in which no order may open or add, also where positions are held overnight."""
    not_tradable: tuple[Symbol, ...] = ()
    """Symbols in which no order may open or add."""
    max_position_shares: Annotated[int, Field(gt=0)] = 1_000
    """Largest position in shares, long or short, open orders included; orders are trimmed to it."""
    max_position_notional: Annotated[PositiveMoney | None, Off] = Decimal("100000")
    """Largest position in money, open orders included; orders are trimmed to it. `off` switches it off."""
    max_position_fraction: Annotated[Decimal, Field(gt=0, le=10)] = Decimal("0.10")
    """Largest position as a fraction of equity at the last price, open orders included; orders are trimmed to it."""
    max_gross_exposure: Annotated[PositiveMoney | None, Off] = None
    """Largest sum of all positions' worth, long and short added up, in money, open orders included; orders are trimmed to it. `off` switches it off."""
    max_net_exposure: Annotated[PositiveMoney | None, Off] = None
    """Largest difference between long and short positions' worth in money, open orders included; orders are trimmed to it. `off` switches it off."""
    max_leverage: Annotated[Multiple | None, Off] = Decimal("1.00")
    """Largest gross exposure as a multiple of equity, open orders included; orders are trimmed to it. `off` switches it off."""
    max_concentration_fraction: Annotated[Fraction | None, Off] = None
    """Largest part of the gross exposure that one symbol may be, asked once the exposure is beyond `concentration_from_fraction` of equity; orders are trimmed to it. `off` switches it off."""
    concentration_from_fraction: Annotated[Decimal, Field(ge=0, le=10)] = Decimal("0.50")
    """Gross exposure as a fraction of equity up to which concentration is not asked: the first position is always all of the book."""
    max_positions: Annotated[Count | None, Off] = 20
    """Symbols held at a time, those with open orders included. `off` switches it off."""
    cash_reserve_fraction: Annotated[Decimal, Field(ge=0, lt=1)] = Decimal("0.02")
    """Fraction of equity that no order may take as cash: what a fill worse than the last price needs."""
    max_participation_fraction: Annotated[Fraction | None, Off] = Decimal("0.10")
    """Largest order as a fraction of the average volume of a bar; larger ones are trimmed. `off` switches it off."""
    participation_bars: Annotated[int, Field(ge=1, le=1_000)] = 20
    """Bars over which the average volume is taken."""
    max_spread_bps: Annotated[Decimal, Field(gt=0)] = Decimal("50")
    """Spread in basis points above which orders shrink in proportion; feeds of bars have no spread and skip it."""
    max_volatility_fraction: Annotated[Decimal, Field(gt=0)] = Decimal("0.02")
    """Average true range of a bar as a fraction of the price above which orders shrink in proportion."""
    max_impact_bps: Annotated[Decimal | None, Field(gt=0, le=10_000), Off] = Decimal("25")
    """Largest estimated market impact of an order in basis points (square-root law on the average volume); larger orders shrink to it. `off` switches it off."""
    throttle_skip_fraction: Annotated[Decimal, Field(ge=0, lt=1)] = Decimal("0.10")
    """An order of which the market carries less than this fraction is not sent at all."""
    max_price_age_seconds: Annotated[Decimal | None, Field(gt=0, le=86_400), Off] = Decimal("90")
    """At pace `live`, and with bars of a broker: how long ago the decided bar may have ended when the order is about to be sent. `off` switches it off."""
    max_gap_bars: Annotated[Annotated[int, Field(ge=0, le=1_440)] | None, Off] = 5
    """Bars of the symbol that may be missing right before the decided one, within the session. `off` switches it off."""
    max_daily_loss: Annotated[PositiveMoney | None, Off] = Decimal("1000")
    """Loss of the account since the day's first session began at which trading halts until the close: only reductions after that. `off` switches it off."""
    max_daily_loss_fraction: Annotated[Fraction | None, Off] = Decimal("0.02")
    """The same as a fraction of the equity that the day began with. `off` switches it off."""
    max_session_drawdown_fraction: Annotated[Fraction | None, Off] = Decimal("0.02")
    """Fall from the day's highest equity, as a fraction of it, at which trading halts until the close. `off` switches it off."""
    max_drawdown_fraction: Annotated[Fraction | None, Off] = Decimal("0.10")
    """Fall from the account's highest equity ever, as a fraction of it, at which trading halts until a person clears it. `off` switches it off."""
    drawdown_since: date | None = None
    """First session date whose equity counts as highest for `max_drawdown_fraction`: for whoever goes on after a drawdown on purpose."""
    max_drawdown_speed_fraction: Annotated[Fraction | None, Off] = Decimal("0.01")
    """Fall within `drawdown_speed_minutes`, as a fraction of the highest equity in them, at which trading halts until the close. `off` switches it off."""
    drawdown_speed_minutes: Annotated[int, Field(ge=1, le=1_440)] = 15
    """Minutes over which the speed of a fall is measured."""
    max_losing_streak: Annotated[Count | None, Off] = 10
    """Closing orders in a row that lost money, within the day, at which trading halts until the close. `off` switches it off."""
    max_symbol_loss: Annotated[PositiveMoney | None, Off] = Decimal("500")
    """Loss in one symbol since the day began at which the symbol halts until the close. `off` switches it off."""
    max_hourly_turnover: Annotated[Multiple | None, Off] = Decimal("5")
    """Money traded within an hour, open orders included, as a multiple of equity; what opens or adds is trimmed to it. `off` switches it off."""
    max_daily_turnover: Annotated[Multiple | None, Off] = Decimal("20")
    """Money traded within the day as a multiple of equity: orders are trimmed to it, and trading halts until the close when it is reached. `off` switches it off."""
    max_value_at_risk_fraction: Annotated[Fraction | None, Off] = None
    """Largest historical value-at-risk of the book with the order, as a fraction of equity; orders are trimmed to it. `off` switches it off."""
    max_expected_shortfall_fraction: Annotated[Fraction | None, Off] = None
    """Largest historical expected shortfall of the book with the order, as a fraction of equity; orders are trimmed to it. `off` switches it off."""
    value_at_risk_confidence: Annotated[Decimal, Field(ge=Decimal("0.5"), lt=1)] = Decimal("0.99")
    """Confidence of both."""
    value_at_risk_bars: Annotated[int, Field(ge=20, le=10_000)] = 250
    """Bars of returns that both look back on. With fewer than the confidence needs (100 at 0.99) they cannot tell, and refuse."""
    value_at_risk_horizon_bars: Annotated[int, Field(ge=1, le=10_000)] = 390
    """Bars ahead that both are for, scaled by the square root of time."""
    near_limit_fraction: Annotated[Decimal, Field(gt=0, lt=1)] = Decimal("0.80")
    """Part of a loss limit from which on the event `limit_near` says so, once a session."""
    max_trades_per_session: Annotated[Count | None, Off] = 500
    """Orders of one session that traded or may still trade, from which on no order may open or add. `off` switches it off."""
    pattern_day_trader: PatternDayTraderSettings = PatternDayTraderSettings()


Minutes = Annotated[Decimal, Field(ge=0, le=1_440)]


AUCTION_CUTOFF_MINUTES = 10
"""From so many minutes before the close on, exchanges take no orders for the closing auction (the earliest we know: NYSE)."""


class ClosingSettings(Section):
    """The end of the day, in minutes before the session's close, half days included. A step that falls between two bars is taken at the bar before it where none that can still trade follows."""

    hold_overnight: bool = False
    """Whether positions may stay open after the close. If so none of the steps below is taken."""
    warn_minutes: Minutes = Decimal(10)
    """From here on a warning says what is still open."""
    reduce_only_minutes: Minutes = Decimal(10)
    """From here on no order may open or add, and those that would are cancelled."""
    flatten_minutes: Minutes = Decimal(5)
    """From here on every position is closed by market orders, and whatever else is open is cancelled."""
    market_on_close_minutes: Annotated[Minutes | None, Off] = Decimal(1)
    """From here on what is still open goes into the closing auction. Exchanges take no orders for it any more in the last ten minutes (NYSE from 15:50, Nasdaq from 15:55 on): with broker `ib` the step is `off` unless it is set, and has to be earlier than that, with the steps before it. `off` leaves it out."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        steps = ("warn_minutes", "reduce_only_minutes", "flatten_minutes", "market_on_close_minutes")
        for earlier, later in itertools.pairwise(name for name in steps if getattr(self, name) is not None):
            if getattr(self, earlier) < getattr(self, later):
                raise ValueError(
                    f"closing.{earlier} must not be less than closing.{later}: the steps come in this order"
                )
        return self


class StoppingSettings(Section):
    """What happens when trading is stopped."""

    alarm_after_seconds: Annotated[Decimal, Field(gt=0, le=86_400)] = Decimal("180")
    """Session time after which a stop that the broker does not show to be done becomes an alarm; it is tried on."""
    flatten_on_loss: bool = False
    """Whether positions are closed too when a loss limit halts the account; otherwise they are only never added to."""
    flatten_on_cancel: bool = False
    """Whether cancelling the session's run in the Prefect UI also closes its positions."""
