"""What is decided on a bar, what risk said of it, and what the account was worth: the facts of one bar as values."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Action(StrEnum):
    """What a policy wants of one symbol: be long, be out (or short, where allowed), or leave it."""

    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"


MAX_WEIGHT = 10.0
"""Largest target weight of either sign: more of an account than any broker lends."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A policy's word on one symbol. ``confidence`` is between 0 and 1, None where the policy has none.

    ``target_weight`` is the position it wants as a signed fraction of equity (BUY above zero, SELL else); without one a BUY or a
    SELL is sized by the session. A signal with ``error`` is a policy that failed on this symbol: it is recorded and never
    traded on. ``note`` says why the signal is not what the policy said first.
    """

    action: Action
    confidence: float | None = None
    error: str | None = None
    target_weight: float | None = None
    note: str | None = None

    @classmethod
    def of_weight(cls, weight: float, confidence: float | None = None) -> "Signal":
        """The signal that wants ``weight`` of equity in the symbol."""
        return cls(Action.BUY if weight > 0 else Action.SELL, confidence, target_weight=weight)

    def __post_init__(self) -> None:
        # "BUY" is as good as the word itself; a number, or anything else, is no action and never taken for one.
        object.__setattr__(self, "action", Action(self.action))
        if self.confidence is not None:
            object.__setattr__(self, "confidence", float(self.confidence))
            if not 0.0 <= self.confidence <= 1.0:
                raise ValueError(f"confidence {self.confidence} is not between 0 and 1")
        if self.error is not None and self.action is not Action.HOLD:
            raise ValueError("a failed decision can only hold")
        if self.target_weight is None:
            return
        weight = float(self.target_weight)
        object.__setattr__(self, "target_weight", weight)
        if not abs(weight) <= MAX_WEIGHT:
            raise ValueError(f"target weight {weight} is not a fraction of equity, or beyond {MAX_WEIGHT}")
        if self.action is not (Action.BUY if weight > 0 else Action.SELL):
            raise ValueError(f"{self.action} does not go with a target weight of {weight}")


@dataclass(frozen=True, slots=True)
class Decision:
    """A signal with the position it asks for. ``target_quantity`` is signed whole shares; ``note`` and ``target_weight`` as in ``Signal``."""

    session_id: str
    bar_time: datetime
    symbol: str
    action: Action
    target_quantity: int
    confidence: float | None
    latency_ms: float
    error: str | None
    note: str | None = None
    target_weight: float | None = None


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """What a policy that never trades would have wanted of a symbol on a bar."""

    session_id: str
    bar_time: datetime
    symbol: str
    fingerprint: str
    action: Action
    target_weight: float | None
    confidence: float | None
    latency_ms: float
    error: str | None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What a policy that has a memory remembers of a symbol after a bar: opaque to everyone else."""

    symbol: str
    fingerprint: str
    bar_time: datetime
    state: bytes


class Verdict(StrEnum):
    """What a rule did to an order, to a position, or to trading as a whole.

    FLATTENED: it closes a position before the session ends. ALARM: what it wants could not be done, and a person should look.
    """

    TRIMMED = "TRIMMED"
    REFUSED = "REFUSED"
    HALTED = "HALTED"
    FLATTENED = "FLATTENED"
    ALARM = "ALARM"


@dataclass(frozen=True, slots=True)
class RiskCheck:
    """A rule that did not simply agree: what it saw, what its limit is, and what it did.

    ``client_order_id`` is None where the rule spoke about the account and not about one order.
    """

    session_id: str
    bar_time: datetime
    symbol: str | None
    client_order_id: str | None
    rule: str
    verdict: Verdict
    reason: str
    observed: Decimal | None
    limit_value: Decimal | None


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """What the account was worth at the close of one bar.

    ``realized_pnl`` and ``unrealized_pnl`` count from the account's first session and are net of commissions, so that
    ``realized + unrealized = equity - initial cash`` and ``cash + market_value = equity`` hold exactly.
    ``drawdown`` is the fraction below the highest equity so far (0 at a new high, never negative).
    """

    session_id: str
    bar_time: datetime
    cash: Decimal
    market_value: Decimal
    equity: Decimal
    realized_pnl: Decimal
    unrealized_pnl: Decimal
    drawdown: Decimal


@dataclass(frozen=True, slots=True)
class PositionSnapshot:
    """A position after the fills of one bar, as the book has it. ``quantity`` and ``cost_basis`` are signed.

    ``cost_basis`` is what the open shares cost with their opening commissions: positive for a long position, negative
    (the proceeds less commissions) for a short one.
    """

    session_id: str
    account: str
    bar_time: datetime
    symbol: str
    quantity: int
    cost_basis: Decimal
    realized_pnl: Decimal


@dataclass(frozen=True, slots=True)
class DataFinding:
    """Something that is wrong with a bar, and what was done about it."""

    symbol: str
    bar_time: datetime | None
    finding: str
    action: str
    detail: str


OPERATOR = "operator"
"""The rule of a halt that a person made."""


@dataclass(frozen=True, slots=True)
class Halt:
    """A latch: no new risk within ``scope`` (``all``, ``account:NAME``, ``strategy:NAME`` or ``symbol:NAME``).

    Stands until a person clears it, or until ``expires_at`` where that is given. ``session_id`` names the session that
    halted; None where a person did. ``rule`` is what tripped: several rules can halt one scope at the same moment.
    """

    scope: str
    reason: str
    halted_at: datetime
    expires_at: datetime | None = None
    session_id: str | None = None
    rule: str = OPERATOR

    @property
    def symbol(self) -> str | None:
        """The one symbol that it is for; None where it is for more."""
        kind, _, name = self.scope.partition(":")
        return name if kind == "symbol" else None
