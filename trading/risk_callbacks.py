"""Risk between decision and order: every order is checked here, and only what leaves here can be placed.

``pre_trade_check`` asks every rule (``rule_book``) and keeps every reason. It fails closed: a rule that raises refuses.
Reducing a position is always possible, in any state of the account; a refused order that also reduces becomes a plain
reduction. What happens after an order is watched by ``loss_watch``; stopping is ``emergency_stop``; who is told, ``risk_events``.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from functools import partial

from trading.decisions import RiskCheck, Verdict
from trading.emergency_stop import EmergencyStop, StopControls, StopReport, emergency_stop
from trading.money import ZERO, to_cents
from trading.order_rules import DuplicateOrders, MinOrderNotional
from trading.orders import OrderIntent
from trading.risk_events import RiskEvent, RiskEventHandler, RiskEventKind
from trading.risk_rules import Objection, RiskView, Rule
from trading.risk_settings import RiskSettings

__all__ = [
    "LOT_SIZE",
    "MINIMUM_QUANTITY",
    "THROTTLE",
    "ApprovedOrder",
    "EmergencyStop",
    "PreTradeVerdict",
    "RiskEvent",
    "RiskEventHandler",
    "RiskEventKind",
    "StopControls",
    "StopReport",
    "ThrottleLimits",
    "check_daily_loss_limit",
    "emergency_stop",
    "pre_trade_check",
    "risk_checks_of",
    "throttle_size",
]

_log = logging.getLogger(__name__)

THROTTLE = "throttle_size"
MINIMUM_QUANTITY = "minimum_quantity"
LOT_SIZE = "lot_size"

_BASIS_POINTS = Decimal(10_000)
_OF_WHAT_IS_SENT = (DuplicateOrders, MinOrderNotional)


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """From where on the market makes an order smaller. None switches participation, or the estimated impact, off.

    An order of which less than ``skip_fraction`` is left is not sent at all.
    """

    max_participation_fraction: Decimal | None
    max_spread_bps: Decimal
    max_volatility_fraction: Decimal
    max_impact_bps: Decimal | None = None
    skip_fraction: Decimal = ZERO

    @classmethod
    def of(cls, risk: RiskSettings) -> "ThrottleLimits":
        """The limits of the settings."""
        return cls(
            risk.max_participation_fraction,
            risk.max_spread_bps,
            risk.max_volatility_fraction,
            risk.max_impact_bps,
            risk.throttle_skip_fraction,
        )


@dataclass(frozen=True, slots=True)
class PreTradeVerdict:
    """What the rules made of one order: shares that may be sent (0: none), and every objection."""

    quantity: int
    objections: tuple[Objection, ...]

    @property
    def refused(self) -> bool:
        return self.quantity == 0


@dataclass(frozen=True, slots=True)
class ApprovedOrder:
    """An intent that passed the pre-trade check: the only thing the router places."""

    intent: OrderIntent
    verdict: PreTradeVerdict

    def __post_init__(self) -> None:
        if self.intent.quantity > self.verdict.quantity:
            raise ValueError(
                f"order {self.intent.client_order_id}: {self.intent.quantity} shares, approved {self.verdict.quantity}"
            )


def pre_trade_check(
    view: RiskView, rules: Sequence[Rule], throttle: ThrottleLimits, minimum_quantity: int = 1, lot_size: int = 1
) -> PreTradeVerdict:
    """How many of ``view.quantity`` shares may be sent, with the reason of every rule that wanted fewer.

    The shares that reduce a position pass whatever the rules say; the least of the allowances bounds the rest, in whole lots
    of ``lot_size``. What is left of an order that only adds and falls below ``minimum_quantity`` is not sent at all.
    """
    reducing = view.quantity - view.adding
    if view.adding == 0:
        return PreTradeVerdict(view.quantity, ())
    allowed = view.adding
    objections = []
    for rule in rules:
        try:
            objection = rule.object_to(view)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a rule, it refuses
            objection = _could_not_tell(rule.name, view, error)
        # A limit that others have gone beyond, and that the order makes no worse, is nothing to say of it.
        if objection is not None and objection.allowed < view.adding:
            objections.append(objection)
            allowed = min(allowed, max(objection.allowed, 0))
    # What the limits leave is what the market has to carry.
    throttled = _ask(THROTTLE, view, partial(throttle_size, allowed or view.adding, view, throttle))
    if throttled is not None:
        objections.append(throttled)
        allowed = min(allowed, throttled.allowed)
    if 0 < allowed < view.adding:
        # These judge what is sent, not what was wanted.
        left = replace(view, quantity=reducing + allowed, adding=allowed)
        for rule in rules:
            if isinstance(rule, _OF_WHAT_IS_SENT):
                objection = _ask(rule.name, left, partial(rule.object_to, left))
                if objection is not None and all(objection.rule != other.rule for other in objections):
                    objections.append(objection)
                    allowed = 0
    odd = allowed % lot_size
    if odd:
        objections.append(Objection(LOT_SIZE, allowed - odd, "not in whole lots", Decimal(allowed), Decimal(lot_size)))
        allowed -= odd
    if 0 < allowed < minimum_quantity and reducing == 0:
        objections.append(
            Objection(
                MINIMUM_QUANTITY, 0, "too few shares are left to send", Decimal(allowed), Decimal(minimum_quantity)
            )
        )
        allowed = 0
    return PreTradeVerdict(reducing + allowed, tuple(objections))


def throttle_size(quantity: int, view: RiskView, limits: ThrottleLimits) -> Objection | None:
    """Scale ``quantity`` down to what the market carries; None when it carries all of it. Never up, never below zero.

    At most ``max_participation_fraction`` of the average volume of a bar; beyond ``max_spread_bps`` and
    ``max_volatility_fraction`` in proportion to how far the market is beyond them; and no more than moves the price by
    ``max_impact_bps``, by the square-root law: impact = volatility x sqrt(quantity / average volume), both of one bar
    (Almgren, Thum, Hauptmann and Li 2005 give the exponent as 0.6; Bouchaud, Farmer and Lillo 2009 as one half). What is left
    has to be worth sending: less than ``skip_fraction`` of what was wanted becomes nothing. A volume that is not known or zero
    carries nothing; a spread that the feed does not have is skipped; a volatility that cannot be told carries nothing.
    """
    carried = Decimal(quantity)
    reasons = []
    observed = limit = None
    volume, volatility = view.average_volume, view.volatility_fraction
    needs_volume = limits.max_participation_fraction is not None or limits.max_impact_bps is not None
    if needs_volume and (volume is None or not volume > 0):
        return Objection(THROTTLE, 0, f"no volume is known for {view.symbol}", volume, None)
    if volatility is None or not volatility >= 0:
        return Objection(THROTTLE, 0, f"the volatility of {view.symbol} cannot be told", volatility, None)
    if limits.max_participation_fraction is not None and volume is not None:
        most = limits.max_participation_fraction * volume
        if carried > most:
            observed, limit = carried / volume, limits.max_participation_fraction
            carried = most
            reasons.append("more than its share of the average volume")
    if view.spread_bps is not None and not view.spread_bps <= limits.max_spread_bps:
        observed, limit = view.spread_bps, limits.max_spread_bps
        carried *= limits.max_spread_bps / view.spread_bps
        reasons.append("the spread is wide")
    if volatility > limits.max_volatility_fraction:
        observed, limit = volatility, limits.max_volatility_fraction
        carried *= limits.max_volatility_fraction / volatility
        reasons.append("volatility is high")
    if limits.max_impact_bps is not None and volume is not None and volatility > 0:
        least_moving = limits.max_impact_bps / (volatility * _BASIS_POINTS)
        most = volume * least_moving * least_moving
        if carried > most:
            observed, limit = volatility * _BASIS_POINTS * (carried / volume).sqrt(), limits.max_impact_bps
            carried = most
            reasons.append("it would move the price")
    allowed = int(carried.to_integral_value(rounding=ROUND_DOWN))
    if allowed >= quantity:
        return None
    if allowed < limits.skip_fraction * quantity:
        allowed = 0
        reasons.append("what is left is not worth sending")
    return Objection(THROTTLE, max(allowed, 0), " and ".join(reasons), observed, limit)


def check_daily_loss_limit(starting_equity: Decimal, equity: Decimal, limit: Decimal | None) -> Objection | None:
    """An objection once the loss since the session's start has reached ``limit`` (money, positive); None before.

    A loss that is not a number is one that reached it.
    """
    if limit is None:
        return None
    loss = starting_equity - equity
    if loss.is_finite() and loss < limit:
        return None
    lost = to_cents(loss) if loss.is_finite() else loss
    return Objection("max_daily_loss", 0, f"the day has lost {lost} of at most {to_cents(limit)}", loss, limit)


def risk_checks_of(
    verdict: PreTradeVerdict, session_id: str, bar_time: datetime, symbol: str, client_order_id: str
) -> list[RiskCheck]:
    """The objections of a verdict as rows for the ledger."""
    return [
        RiskCheck(
            session_id,
            bar_time,
            symbol,
            client_order_id,
            objection.rule,
            Verdict.REFUSED if objection.allowed == 0 else Verdict.TRIMMED,
            objection.reason,
            objection.observed,
            objection.limit_value,
        )
        for objection in verdict.objections
    ]


def _ask(name: str, view: RiskView, ask: Callable[[], Objection | None]) -> Objection | None:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a rule, it refuses
        return _could_not_tell(name, view, error)


def _could_not_tell(name: str, view: RiskView, error: Exception) -> Objection:
    _log.warning("risk rule failed rule=%s symbol=%s", name, view.symbol, exc_info=error)
    return Objection(name, 0, f"the rule could not tell ({type(error).__name__}: {error})")
