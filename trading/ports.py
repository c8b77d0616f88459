"""The edges of trading in openbell's own words. Adapters live in sub-packages and in ``storage``.

Every port is synchronous and owned by one thread, the one that trades.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trading.account_balances import Balance, BalanceReading
from trading.bars import Bar, BarColumns, BarSlice, Column, RawSlice
from trading.decisions import (
    DataFinding,
    Decision,
    EquityPoint,
    Halt,
    PolicyState,
    PositionSnapshot,
    RiskCheck,
    ShadowDecision,
    Signal,
)
from trading.differences import ExternalFill, ExternalOrder, InstrumentLock, Reconciliation
from trading.errors import BrokerError
from trading.leases import Lease, Runner
from trading.limit_changes import LimitChange
from trading.operator_requests import OperatorRequest
from trading.orders import (
    Execution,
    Fill,
    OpenOrder,
    OrderAmendment,
    OrderEvent,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
)
from trading.sessions import Mode, SessionRecord, SessionState, SessionSummary
from trading.stops import Stop, StopStep
from trading.trading_hours import TradingHours


class Clock(Protocol):
    """The session's time: the wall, the bars' own, or a multiple of the wall."""

    def now(self) -> datetime:
        """The moment in the session's time, aware UTC, never going back."""
        ...

    def wait_until(self, moment: datetime) -> None:
        """Return once ``now()`` has reached ``moment``; at once when it has passed."""
        ...


@runtime_checkable
class Unwaiting(Protocol):
    """The clock of a market that waits for nobody, at whatever speed its time goes."""

    def seconds_since(self, moment: datetime) -> float:
        """Seconds of the wall that have gone by since a moment of the session's time; negative for one to come."""
        ...


class BarSource(Protocol):
    """Bars at rest: a file or a table of one timeframe."""

    @property
    def name(self) -> str:
        """What a person calls it, for messages."""
        ...

    def symbols(self) -> tuple[str, ...]:
        """All symbols it has bars of, sorted."""
        ...

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Raw bars whose open lies in ``[start, end)``, in the source's order; empty where there are none."""
        ...

    def span(self, symbol: str) -> tuple[datetime, datetime] | None:
        """Opens of the first and the last bar of ``symbol``, None where there are none."""
        ...


class Feed(Protocol):
    """Where bars come from. Delivers what the source says, good or bad; judging it is the loader's work."""

    @property
    def mode(self) -> Mode:
        """What kind of prices these are."""
        ...

    def history(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Raw bars whose open lies in ``[start, end)``, in source order; empty where the source has none.

        Raises ``DataNotFit`` when the source does not know the symbol at all, ``BrokerUnavailable`` when it gave no
        answer ("no data" and "no answer" are different things).
        """
        ...

    def stream(self, symbols: Sequence[str], hours: TradingHours, after: datetime | None) -> Iterator[RawSlice]:
        """The session's bars moment by moment, each delivered when it is over and not before.

        ``after``: only bars later than this one (a resumed session). Times outside ``hours`` are not delivered. Ends
        at the close. Raises ``DataNotFit`` before the first slice when there is not one bar to deliver.
        """
        ...


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The broker's first word on an order it was handed."""

    client_order_id: str
    broker_order_id: str
    status: OrderStatus


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """An order as the broker has it.

    ``client_order_id`` is empty where the order was made elsewhere. ``average_price`` is that of the filled shares, None
    before the first; prices that the order's type does not have are None.
    """

    client_order_id: str
    broker_order_id: str
    symbol: str
    side: Side
    quantity: int
    filled: int
    status: OrderStatus
    order_type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    average_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class BrokerPosition:
    """A position as the broker has it: signed shares, ``average_cost`` per share with commissions."""

    symbol: str
    quantity: int
    average_cost: Decimal


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """The broker's account as a whole.

    ``cash`` is that of the base currency, ``currency``; cash in others is among the ``balances``, which move with prices and
    take no part when two answers are compared.
    """

    account: str
    cash: Decimal
    positions: tuple[BrokerPosition, ...]
    open_orders: tuple[BrokerOrder, ...]
    balances: tuple[Balance, ...] = field(default=(), compare=False)
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class OrderReport:
    """The broker's news of one order."""

    client_order_id: str
    broker_order_id: str
    status: OrderStatus
    event_time: datetime
    detail: str = ""


class Broker(Protocol):
    """Who executes. Reports come at least once, may repeat and may come late; execution ids are what is unique.

    Every method raises ``BrokerUnavailable`` when the broker cannot be asked. None of them ever answers "nothing"
    for "I do not know".
    """

    @property
    def source(self) -> str:
        """Where its fills come from, as written to ``fills.source``."""
        ...

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        """Hand over one order. The same ``client_order_id`` again is the same order, never a second one.

        Raises ``OrderRefused`` when the broker said no, ``OutcomeUnknown`` when it gave no answer.
        """
        ...

    def cancel(self, client_order_id: str) -> None:
        """Ask for the rest of an order to be cancelled; whether it was comes as a report.

        Cancelling an order that is over already does nothing. Raises ``OutcomeUnknown`` when no answer came.
        """
        ...

    def replace(self, amendment: OrderAmendment) -> None:
        """Change a working order in place, under the same id.

        Raises ``OrderRefused`` when the broker said no (the order works on as it was, or is over), ``OutcomeUnknown`` when
        it gave no answer: ``find_order`` then tells which it has.
        """
        ...

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        """The order under this id, also when it is over; None only when the broker surely never had it."""
        ...

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        """News since the last poll, in the broker's order; the first poll of a connection brings all of the current day."""
        ...

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        """All executions at or after ``since``, also of orders made elsewhere, as far back as the broker keeps them.

        Asking takes no news away from ``poll``.
        """
        ...

    @property
    def connections(self) -> int:
        """How often a connection was made so far; more than before means that news may have been missed."""
        ...

    @property
    def executions_kept_since(self) -> datetime | None:
        """From when on ``executions`` is complete; None where it always is. Many brokers keep the current day alone."""
        ...

    def account(self) -> BrokerAccount:
        """Cash, positions and open orders (those made elsewhere included) at this moment."""
        ...


@runtime_checkable
class SendsTogether(Protocol):
    """A broker that takes an order with those that protect it in one go. One that does not gets them one by one."""

    def submit_together(self, intents: Sequence[OrderIntent]) -> list[Acknowledgement | BrokerError]:
        """Hand over a parent and its children: none of them works before all have been handed over.

        One answer for each, in order: what ``submit`` would have returned or raised. Raises ``BrokerUnavailable`` when
        none of them was handed over.
        """
        ...


@runtime_checkable
class Resting(Protocol):
    """A broker that is away at known times: it restarts every night, and says so before."""

    def no_new_orders(self, at: datetime) -> str | None:
        """Why nothing that opens or adds should be sent at ``at``, for a person; None while it may be. Asks nobody."""
        ...


class SimulatedMarket(Protocol):
    """A market that trades only what it is shown: the other side of a simulated broker. A real broker needs none."""

    def begin_session(self, resumed: bool) -> None:
        """A session begins: what is left of earlier sessions' DAY orders expires.

        One that is not resumed starts from its first bar. Without a working order the market then forgets which bars it
        has seen, so that an account without positions can trade an earlier day.
        """
        ...

    def see(self, moment: BarSlice) -> None:
        """Let the market trade these finished bars, before anyone decides on them. Seen bars do nothing again."""
        ...

    def end_of_session(self, at: datetime) -> None:
        """The market closes: what is left of DAY orders expires."""
        ...


class MarketWindow(Protocol):
    """The newest bars of each symbol up to and including the one that is decided on; never a later one."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that have a bar at the moment that is decided on."""
        ...

    def available(self, symbol: str) -> int:
        """How many bars of the symbol there are to look back on."""
        ...

    def closes(self, symbol: str, count: int) -> Column:
        """The last ``count`` closes in micros, oldest first; fewer where fewer are available."""
        ...

    def highs(self, symbol: str, count: int) -> Column:
        """The last ``count`` highs in micros, oldest first."""
        ...

    def lows(self, symbol: str, count: int) -> Column:
        """The last ``count`` lows in micros, oldest first."""
        ...

    def volumes(self, symbol: str, count: int) -> Column:
        """The last ``count`` volumes in shares, oldest first; ``MISSING`` where the source has none."""
        ...

    def times(self, symbol: str, count: int) -> Column:
        """The opens of the last ``count`` bars in microseconds since the epoch, oldest first."""
        ...


class Holdings(Protocol):
    """What the account holds, for policies that look at it."""

    def quantity(self, symbol: str) -> int:
        """Signed shares held, as filled."""
        ...

    def unrealized_fraction(self, symbol: str) -> float:
        """Unrealized P&L of the position, net of its opening commissions, as a fraction of its cost; 0 without one."""
        ...


@dataclass(frozen=True, slots=True)
class HistorySignals:
    """What a policy says on each of N bars of one symbol: ``action`` is 1 BUY, -1 SELL, 0 HOLD.

    ``confidence`` is N numbers between 0 and 1, NaN where there is none; None where there never is. ``errors`` says by row
    where the policy failed, and why: it holds there.
    """

    action: NDArray[np.int8]
    confidence: NDArray[np.float64] | None = None
    errors: Mapping[int, str] = field(default_factory=dict)


class Policy(Protocol):
    """What decides. One definition, asked in two ways that agree on every action."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Identifies the policy with its parameters."""
        ...

    @property
    def warmup_bars(self) -> int:
        """Bars it must have seen before its first decision, that one's bar included; it holds before."""
        ...

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        """A signal for each of ``window.symbols``. May raise; the watch records that and nothing is sent.

        Asked once for each bar, in their order.
        """
        ...

    def decide_history(self, bars: BarColumns) -> HistorySignals | None:
        """For each bar of one symbol what ``decide`` would have said then.

        None where that depends on what happened on the way (on what is held, on a memory, on weights that are resized): such a
        policy is asked bar by bar.
        """
        ...


@runtime_checkable
class Trained(Protocol):
    """A policy that was fitted to bars, and can be too old."""

    @property
    def trained_until(self) -> datetime:
        """Open of the newest bar that it has seen."""
        ...


@runtime_checkable
class WarmingUp(Protocol):
    """A policy that has something to work out of its warmup, and better before the open than on the first bar."""

    def warm_up(self, window: MarketWindow, symbols: Sequence[str]) -> None:
        """Take in what ``window`` shows of ``symbols``; decides nothing. Not having been asked changes no decision."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A policy with a memory that goes from bar to bar, and has to survive a restart."""

    @property
    def fingerprint(self) -> str: ...

    def states(self) -> Mapping[str, bytes]:
        """What it remembers of each symbol that it was asked about last."""
        ...

    def take_up_states(self, states: Mapping[str, bytes]) -> None:
        """Remember this. Raises ``ValueError`` for what is not a state of this policy."""
        ...


@dataclass(frozen=True, slots=True)
class ReplayBlock:
    """Decisions and equity of many consecutive bars as columns: what a replay commits instead of rows.

    ``bar_time`` has N rows in microseconds; ``present``, ``action`` (1, 0, -1) and ``target`` are N x S over
    ``symbols``; the money columns are N micros; ``drawdown`` is N fractions. ``confidence`` and
    ``target_weight`` are N x S with NaN for none, or None; ``errors`` and ``notes`` are texts by row and column.
    """

    session_id: str
    symbols: tuple[str, ...]
    bar_time: Column
    present: NDArray[np.bool_]
    action: NDArray[np.int8]
    target: Column
    cash: Column
    market_value: Column
    realized_pnl: Column
    unrealized_pnl: Column
    drawdown: NDArray[np.float64]
    confidence: NDArray[np.float64] | None = None
    target_weight: NDArray[np.float64] | None = None
    errors: Mapping[tuple[int, int], str] = field(default_factory=dict)
    notes: Mapping[tuple[int, int], str] = field(default_factory=dict)


@dataclass(slots=True)
class LedgerEntries:
    """Facts that belong together and are committed together.

    ``marks`` are the prices that the newest equity point (or the last block's last bar) valued the held symbols at.
    ``lifted_locks`` are locks that end at their ``locked_at``. ``reopened`` are the only steps back: orders that were over
    here and that a comparison found working at the broker. A stop that is there already becomes what it says now. Fills whose source is claimed were made elsewhere: their
    external fills are ours from then on.
    """

    bars: list[Bar] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    risk_checks: list[RiskCheck] = field(default_factory=list)
    intents: list[OrderIntent] = field(default_factory=list)
    order_events: list[OrderEvent] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    positions: list[PositionSnapshot] = field(default_factory=list)
    equity: list[EquityPoint] = field(default_factory=list)
    findings: list[DataFinding] = field(default_factory=list)
    halts: list[Halt] = field(default_factory=list)
    amendments: list[OrderAmendment] = field(default_factory=list)
    external_orders: list[ExternalOrder] = field(default_factory=list)
    external_fills: list[ExternalFill] = field(default_factory=list)
    locks: list[InstrumentLock] = field(default_factory=list)
    lifted_locks: list[InstrumentLock] = field(default_factory=list)
    reconciliations: list[Reconciliation] = field(default_factory=list)
    reopened: list[OrderEvent] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    stop_steps: list[StopStep] = field(default_factory=list)
    limit_changes: list[LimitChange] = field(default_factory=list)
    shadow_decisions: list[ShadowDecision] = field(default_factory=list)
    policy_states: list[PolicyState] = field(default_factory=list)
    blocks: list[ReplayBlock] = field(default_factory=list)
    balances: list[BalanceReading] = field(default_factory=list)
    marks: dict[str, Decimal] = field(default_factory=dict)

    def add(self, more: "LedgerEntries") -> None:
        """Take in the facts of ``more``, after those that are here."""
        for name in self.__slots__:
            if name == "marks":
                self.marks |= more.marks
            else:
                getattr(self, name).extend(getattr(more, name))

    def __bool__(self) -> bool:
        return any(
            (
                self.bars,
                self.decisions,
                self.risk_checks,
                self.intents,
                self.order_events,
                self.fills,
                self.positions,
                self.equity,
                self.findings,
                self.halts,
                self.amendments,
                self.external_orders,
                self.external_fills,
                self.locks,
                self.lifted_locks,
                self.reconciliations,
                self.reopened,
                self.stops,
                self.stop_steps,
                self.limit_changes,
                self.shadow_decisions,
                self.policy_states,
                self.blocks,
                self.balances,
                self.marks,
            )
        )


class ReplayLedger(Protocol):
    """Where a replay writes what it has done: whole sessions."""

    def commit_replay(self, sessions: Sequence[SessionRecord], entries: LedgerEntries) -> None:
        """Write whole sessions that a replay has finished, with everything that happened in them."""
        ...


class Ledger(ReplayLedger, Protocol):
    """The record. Each method is one transaction: wholly there or not at all when it fails (``StoreError``)."""

    def find_session(self, session_id: str) -> SessionRecord | None:
        """The session as it stands, None where there is none."""
        ...

    def open_session(self, record: SessionRecord) -> None:
        """Write a new session, or set a stopped one RUNNING again."""
        ...

    def commit(self, session_id: str, entries: LedgerEntries, last_bar_time: datetime | None = None) -> None:
        """Write all entries; with ``last_bar_time`` the bar counts as fully processed.

        Repeats are harmless: a fill, intent, decision or equity point that is there already stays as it is. A fill whose
        lineage is there takes its place where its revision is higher and is passed over where it is not; what was
        replaced is kept apart. Inferred fills of an order give way to its executions, share by share.
        """
        ...

    def close_session(self, session_id: str, state: SessionState, ended_at: datetime, reason: str) -> None:
        """Write the session's end."""
        ...

    def opening_cash(self, account: str) -> Decimal | None:
        """The equity with which the account's first session started, None before it."""
        ...

    def fills(self, account: str) -> list[Fill]:
        """All fills of the account, in the order in which they were booked."""
        ...

    def open_orders(self, account: str) -> list[OpenOrder]:
        """The account's orders that are not final, oldest first."""
        ...

    def high_water_mark(self, account: str, since: date | None = None) -> Decimal | None:
        """The highest equity the account ever had at a bar's close, None before its first bar.

        With ``since`` only sessions of that exchange date and later count.
        """
        ...

    def equity_since(self, account: str, since: datetime) -> list[tuple[datetime, Decimal]]:
        """Bar times and equities of the account's bars at or after ``since``, in the order in which they were written."""
        ...

    def first_session_of(self, account: str, session_date: date) -> SessionRecord | None:
        """The session of the account that was started first on an exchange date and processed a bar; None without one."""
        ...

    def last_bar_time(self, account: str, after: SessionRecord | None = None) -> datetime | None:
        """The newest bar that any session of the account has fully processed.

        With ``after`` only sessions of later dates count, and those of the same date that were begun later.
        """
        ...

    def last_session_date(self, account: str, strategy: str) -> date | None:
        """The newest date the strategy has a session on in this account."""
        ...

    def last_prices(self, account: str) -> Mapping[str, Decimal]:
        """For each symbol the account holds, the price it was last valued at."""
        ...

    def marks_before(self, account: str, session_date: date) -> Mapping[str, Decimal]:
        """The prices that the account's positions were valued at last in sessions before an exchange date."""
        ...

    def active_halts(self, account: str, strategy: str, symbols: Sequence[str], at: datetime) -> list[Halt]:
        """Halts that stand at ``at`` and cover any of these."""
        ...

    def clear_halts(self, scope: str, cleared_by: str, at: datetime) -> int:
        """End the halts that stand under exactly this scope; how many there were."""
        ...

    def cancels_since(self, account: str, since: datetime) -> list[datetime]:
        """When cancels of the account's orders were asked for first, at or after ``since``, oldest first."""
        ...

    def day_trades(self, account: str, since: date, before: date) -> int:
        """Round trips opened and closed on one exchange date, of sessions from ``since`` on and before ``before``.

        Counted per session date, symbol and closing order, as brokers count pattern day trades.
        """
        ...

    def unfinished_stops(self, account: str) -> list[Stop]:
        """Emergency stops that were not shown to be done, oldest first."""
        ...

    def stop_steps(self, stop_id: str) -> list[StopStep]:
        """The steps of a stop, in order."""
        ...

    def limit_changes(self, session_id: str) -> list[LimitChange]:
        """Changes of the session's limits that were made (not those refused), oldest first."""
        ...

    def decisions_of(self, session_id: str) -> list[Decision]:
        """What was decided in the session so far, in the order of its bars."""
        ...

    def policy_states(self, session_id: str, fingerprint: str) -> list[PolicyState]:
        """What a policy remembered after the session's last bar that it was asked about, one for each symbol."""
        ...

    def find_orders(self, client_order_ids: Sequence[str]) -> dict[str, OpenOrder]:
        """Those of the orders that the ledger has, wherever they stand, by id; ``intent`` as amended."""
        ...

    def orders_since(self, account: str, since: datetime) -> list[OpenOrder]:
        """The account's orders made at or after ``since``, wherever they stand, oldest first."""
        ...

    def external_fills(self, account: str) -> list[ExternalFill]:
        """Executions made elsewhere that no one has claimed, in the order in which they were seen."""
        ...

    def external_orders(self, account: str) -> list[ExternalOrder]:
        """Orders made elsewhere as they were last seen, by the broker's id; those that work no more are left out."""
        ...

    def locks(self, account: str) -> list[InstrumentLock]:
        """Instruments that are locked now."""
        ...

    def take_lease(self, session_id: str, runner: Runner, at: datetime) -> Lease:
        """Take the right to trade the session. From then on every write of this ledger is bound to it.

        Raises ``SessionHeld`` while another runner has it: one whose lease has not expired and whose process is not
        surely gone. A write after another runner has taken it raises ``LeaseLost`` and leaves nothing behind.
        """
        ...

    def renew_lease(self, at: datetime) -> None:
        """Show that this runner is still there; raises ``LeaseLost``. May be called from another thread."""
        ...

    def release_lease(self) -> None:
        """Give the right back; nothing where it was lost or never taken."""
        ...

    def requests(self) -> list[OperatorRequest]:
        """What operators have asked for and nobody has answered, oldest first."""
        ...

    def answer_request(self, request_id: str, answer: Mapping[str, object], at: datetime) -> None:
        """Write what came of a request."""
        ...

    def summary(self, session_id: str) -> SessionSummary:
        """What the session came to, from the facts alone."""
        ...
