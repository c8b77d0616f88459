"""Risk between decision and order: every order is checked here, and only what leaves here can be placed.

``pre_trade_check`` asks every rule and keeps every reason. It fails closed: a rule that raises refuses. Reducing a
position is always possible, in any state of the account; a refused order that also reduces becomes a plain reduction.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from functools import partial
from typing import Protocol

from trading.decisions import Halt, RiskCheck, Verdict
from trading.hooks import Happening, Observers
from trading.money import to_cents
from trading.orders import OrderIntent
from trading.risk_rules import (
    BuyingPower,
    KnownPrice,
    MaxOrderNotional,
    MaxOrderShares,
    MaxPositionFraction,
    MaxPositionShares,
    NotHalted,
    Objection,
    RiskView,
    Rule,
    ShortSelling,
)
from trading.settings import Settings

_log = logging.getLogger(__name__)

THROTTLE = "throttle_size"
MINIMUM_QUANTITY = "minimum_quantity"


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """From where on the market makes an order smaller. None switches participation off."""

    max_participation_fraction: Decimal | None
    max_spread_bps: Decimal
    max_volatility_fraction: Decimal


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


def rules_from(settings: Settings) -> tuple[Rule, ...]:
    """The rules that the settings ask for, in the order in which they are asked.

    The first ones establish that there is a price; rules after them rely on it.
    """
    risk = settings.risk
    paper = settings.broker.paper
    rules: list[Rule] = [
        KnownPrice(),
        NotHalted(),
        ShortSelling(settings.orders.allow_short),
        MaxOrderShares(risk.max_order_shares),
        MaxPositionShares(risk.max_position_shares),
        MaxPositionFraction(risk.max_position_fraction),
        BuyingPower(paper.commission_per_share, paper.commission_minimum),
    ]
    if risk.max_order_notional is not None:
        rules.append(MaxOrderNotional(risk.max_order_notional))
    return tuple(rules)


def pre_trade_check(
    view: RiskView, rules: Sequence[Rule], throttle: ThrottleLimits, minimum_quantity: int = 1
) -> PreTradeVerdict:
    """How many of ``view.quantity`` shares may be sent, with the reason of every rule that wanted fewer.

    The shares that reduce a position pass whatever the rules say; the least of the allowances bounds the rest. What
    is left of an order that only adds and falls below ``minimum_quantity`` is not sent at all.
    """
    reducing = view.quantity - view.adding
    if view.adding == 0:
        return PreTradeVerdict(view.quantity, ())
    allowed = view.adding
    objections = []
    for rule in rules:
        objection = _ask(rule.name, view, partial(rule.object_to, view))
        if objection is not None:
            objections.append(objection)
            allowed = min(allowed, max(objection.allowed, 0))
    throttled = _ask(THROTTLE, view, partial(throttle_size, view.adding, view, throttle))
    if throttled is not None:
        objections.append(throttled)
        allowed = min(allowed, throttled.allowed)
    if 0 < allowed < minimum_quantity and reducing == 0:
        objections.append(
            Objection(
                MINIMUM_QUANTITY, 0, "too few shares are left to send", Decimal(allowed), Decimal(minimum_quantity)
            )
        )
        allowed = 0
    return PreTradeVerdict(reducing + allowed, tuple(objections))


def throttle_size(quantity: int, view: RiskView, limits: ThrottleLimits) -> Objection | None:
    """Scale ``quantity`` down to what the market carries; None when it carries all of it. Never up.

    At most ``max_participation_fraction`` of the average volume of a bar; beyond ``max_spread_bps`` and
    ``max_volatility_fraction`` in proportion to how far the market is beyond them. A volume that is not known or
    zero carries nothing; a spread or volatility that the feed does not have is skipped.
    """
    carried = Decimal(quantity)
    reasons = []
    observed = limit = None
    if limits.max_participation_fraction is not None:
        if view.average_volume is None or not view.average_volume > 0:
            return Objection(THROTTLE, 0, f"no volume is known for {view.symbol}", view.average_volume, None)
        most = limits.max_participation_fraction * view.average_volume
        if carried > most:
            observed, limit = carried / view.average_volume, limits.max_participation_fraction
            carried = most
            reasons.append("more than its share of the average volume")
    if view.spread_bps is not None and view.spread_bps > limits.max_spread_bps:
        observed, limit = view.spread_bps, limits.max_spread_bps
        carried *= limits.max_spread_bps / view.spread_bps
        reasons.append("the spread is wide")
    if view.volatility_fraction is not None and view.volatility_fraction > limits.max_volatility_fraction:
        observed, limit = view.volatility_fraction, limits.max_volatility_fraction
        carried *= limits.max_volatility_fraction / view.volatility_fraction
        reasons.append("volatility is high")
    allowed = int(carried.to_integral_value(rounding=ROUND_DOWN))
    if allowed >= quantity:
        return None
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
    return Objection(
        "max_daily_loss", 0, f"the day has lost {to_cents(loss)} of at most {to_cents(limit)}", loss, limit
    )


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
        _log.exception("risk rule failed rule=%s symbol=%s", name, view.symbol)
        return Objection(name, 0, f"the rule could not tell ({type(error).__name__}: {error})")


class RiskEventKind(StrEnum):
    """What risk has to say to people."""

    REFUSED = "refused"
    TRIMMED = "trimmed"
    HALTED = "halted"
    EMERGENCY_STOP = "emergency_stop"


@dataclass(frozen=True, slots=True)
class RiskEvent:
    """One message: the check it is about, or a sentence."""

    kind: RiskEventKind
    session_id: str
    at: datetime
    message: str
    check: RiskCheck | None = None


class RiskEventHandler:
    """Carries risk events to those who asked for them, off the trading thread; none can hold up an order."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers

    def subscribe(self, handler: Callable[[RiskEvent], None], kinds: Iterable[RiskEventKind] = RiskEventKind) -> None:
        """Call ``handler`` with each event of these kinds."""

        def unwrap(happening: Happening) -> None:
            handler(happening.facts["event"])

        for kind in kinds:
            self._observers.register(f"risk.{kind}", unwrap)

    def emit(self, event: RiskEvent) -> None:
        """Tell the subscribers soon; returns at once."""
        name = f"risk.{event.kind}"
        if self._observers.wants(name):
            self._observers.emit(Happening(name, event.session_id, event.at, {"event": event}))

    def emit_checks(self, checks: Sequence[RiskCheck]) -> None:
        """Tell the subscribers of each check."""
        for check in checks:
            kind = RiskEventKind[check.verdict.name]
            self.emit(RiskEvent(kind, check.session_id, check.bar_time, check.reason, check))


class StopControls(Protocol):
    """What stopping needs of a session; ``ExecutionLoop`` has it."""

    def latch(self, halt: Halt) -> None:
        """Commit the halt and obey it."""
        ...

    def cancel_open_orders(self, at: datetime) -> list[str]:
        """Ask for every open order to be cancelled; the ids asked for."""
        ...

    def flatten_positions(self, at: datetime) -> list[str]:
        """Send what closes every position; the ids sent."""
        ...

    def exposure_at_broker(self) -> list[str]:
        """What the broker still has, in words."""
        ...


@dataclass(frozen=True, slots=True)
class StopReport:
    """The steps of an emergency stop as they went, and what is left at the broker afterwards.

    On a simulated market a flattening order fills with the next bar, so positions may be left until then.
    """

    steps: tuple[str, ...]
    failures: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Every step was done and the broker has nothing left."""
        return not self.failures and not self.left


def emergency_stop(controls: StopControls, reason: str, at: datetime, flatten: bool = False) -> StopReport:
    """Halt everything, cancel every open order, optionally flatten every position, then look at the broker.

    The halt is latched first and stands until a person clears it. Each step is tried even when one before it failed;
    nothing is raised, the report says what was done and what was not.
    """
    steps: list[str] = []
    failures: list[str] = []

    def attempt(step: str, act: Callable[[], list[str]]) -> list[str]:
        try:
            done = act()
        except Exception as error:  # noqa: BLE001 - a stop goes on whatever one of its steps does
            _log.exception("emergency stop step failed step=%s", step)
            failures.append(f"{step}: {error}")
            return []
        steps.append(f"{step}: {', '.join(done) or 'done'}")
        return done

    def latch() -> list[str]:
        controls.latch(Halt("all", reason, at))
        return []

    attempt("halt", latch)
    attempt("cancel", lambda: controls.cancel_open_orders(at))
    if flatten:
        attempt("flatten", lambda: controls.flatten_positions(at))
    left = attempt("look at the broker", controls.exposure_at_broker)
    return StopReport(tuple(steps), tuple(failures), tuple(left))
