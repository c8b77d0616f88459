"""Many sessions over stored bars, as fast as they can be traded, on the same rules as one that runs live.

The policy is asked once for a whole history; between two things that happen, bars are valued as columns; and where
something happens (a decision that changes a position, an order that can fill, a limit that is reached) the very same
parts (broker, book, ``RiskGate``, router) do the work that do it live. A replay therefore makes the same orders, fills and equity as its
sessions would have made one by one.

Its broker lives in memory and dies with it, and sessions are committed whole, several at a time. An intent that is
lost with its broker was never sent to anyone: that is why a replay may commit late, and nothing else may.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from operator import mul

import numpy as np
from numpy.typing import NDArray

from trading.assessment import Assessment
from trading.bars import BarColumns, BarSlice, Column, from_epoch_us, to_epoch_us
from trading.bookkeeping import Bookkeeper
from trading.closing_steps import ClosingStep
from trading.decisions import Action, Signal
from trading.errors import ConfigurationError
from trading.market_window import HistoryWindow
from trading.money import from_micros, to_micros
from trading.order_router import OrderRouter, OrderScope
from trading.order_views import tails_look_back
from trading.orders import OpenOrder
from trading.pnl_tracker import PnLTracker
from trading.policy_watch import PolicyWatch, fit_until, held_back_in_history
from trading.ports import (
    Broker,
    Clock,
    HistorySignals,
    LedgerEntries,
    Policy,
    ReplayBlock,
    ReplayLedger,
    SimulatedMarket,
)
from trading.risk_events import RiskEventHandler
from trading.risk_gate import RiskGate
from trading.sessions import Mode, SessionRecord, SessionState, session_id
from trading.settings import Settings
from trading.trading_hours import TradingHours

_BARS_PER_COMMIT = 122_880
"""One row group of DuckDB: from there on rows go into the file whole and not through the log first."""
_SIGNALS = {1: Signal(Action.BUY), -1: Signal(Action.SELL)}
_CODES = {Action.BUY: 1, Action.SELL: -1, Action.HOLD: 0}


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """What a replay came to: counts, and the account at its end.

    ``halted`` says why no session would start after the last one: a halt that a person has to clear.
    """

    sessions: int
    symbol_bars: int
    orders: int
    fills: int
    equity: Decimal
    halted: str | None = None


@dataclass(frozen=True, slots=True)
class _Panel:
    """One session's bars of all symbols, side by side: N moments x S symbols; ``close`` is carried over absences.

    ``first`` is each symbol's row in its own history at the panel's first moment, ``upto[n, s]`` how many of its bars
    came up to and including moment n. ``confidence`` and ``weight`` are NaN where there is none; ``errors`` and ``notes`` are texts by row
    and column. A policy that is asked bar by bar fills in what it says as the session goes.
    """

    time: Column
    present: NDArray[np.bool_]
    close: Column
    action: NDArray[np.int8]
    confidence: NDArray[np.float64]
    weight: NDArray[np.float64]
    errors: dict[tuple[int, int], str]
    notes: dict[tuple[int, int], str]
    first: tuple[int, ...]
    upto: Column

    def row_of(self, row: int, column: int) -> int:
        """Where the symbol's newest bar at the panel's row stands in its own history."""
        return self.first[column] + int(self.upto[row, column]) - 1


@dataclass(frozen=True, slots=True)
class _Ahead:
    """For each symbol's column and each row the next row, itself included, with a buy, a sell, a bar."""

    buy: list[list[int]]
    sell: list[list[int]]
    present: list[list[int]]


@dataclass(slots=True)
class _Columns:
    """The money of each bar of one session, in micros, filled in as the session goes."""

    target: Column
    cash: Column
    market_value: Column
    realized: Column
    unrealized: Column


@dataclass(slots=True)
class _Pending:
    """Sessions that are finished and not yet committed."""

    sessions: list[SessionRecord] = field(default_factory=list)
    entries: LedgerEntries = field(default_factory=LedgerEntries)
    bars: int = 0


class HistoryReplay:
    """Replays clean bars through one policy and account. ``bars`` must have passed validation.

    ``broker`` must be its own simulated market (``PaperBroker`` without a file is both). Raises ``ConfigurationError`` for a
    setting that a replay does not know.
    """

    def __init__(
        self,
        settings: Settings,
        account: str,
        policy: Policy,
        broker: Broker,
        market: SimulatedMarket,
        ledger: ReplayLedger,
        clock: Clock,
        mode: Mode = Mode.RECORDED,
    ) -> None:
        if settings.stopping.flatten_on_loss:
            raise ConfigurationError(
                "A replay does not close positions when a loss limit halts: set stopping.flatten_on_loss = false, or trade the "
                "sessions one by one."
            )
        self._settings = settings
        self._account = account
        self._policy = policy
        self._broker = broker
        self._market = market
        self._ledger = ledger
        self._clock = clock
        self._mode = mode
        self._settings_json = settings.model_dump_json()
        self._tracker = PnLTracker(settings.book.cost_basis)
        self._events = RiskEventHandler()
        self._tails = bool(tails_look_back(settings.risk))
        self._highest_since: Decimal | None = None
        guard = settings.risk.pattern_day_trader
        self._day_trades: deque[int] = deque(maxlen=max(guard.sessions - 1, 0))
        self._bar_length = settings.session.timeframe.length
        self._pending = _Pending()
        self._orders = 0
        self._fills = 0
        self._symbol_bars = 0
        self._left_open: list[OpenOrder] = []

    def run(self, bars: Mapping[str, BarColumns], sessions: Sequence[TradingHours]) -> ReplayOutcome:
        """Trade ``sessions`` (ascending) over ``bars``, which may begin earlier (warmup); commits as it goes.

        A halt that a person has to clear ends it with the session that it came in: none would start after that.
        """
        self.begin(bars)
        return self.trade(sessions)

    def begin(self, bars: Mapping[str, BarColumns]) -> None:
        """Take up the bars of the whole replay, and ask the policy about all of them where it can say; once, before ``trade``."""
        self._tracker.initialize_portfolio_state(self._broker.account().cash)
        self._symbols = tuple(symbol for symbol in self._settings.session.symbols if symbol in bars)
        self._column = {symbol: column for column, symbol in enumerate(self._symbols)}
        self._bars = bars
        self._said = self._ask_for_history(bars)
        self._window = HistoryWindow(bars)
        self._last_close = np.zeros(len(self._symbols), dtype=np.int64)

    def trade(self, sessions: Sequence[TradingHours]) -> ReplayOutcome:
        """Trade the next sessions (ascending, after those before); all of them are committed when this returns.

        The outcome counts from ``begin`` on, save for ``sessions``. Not to be called again once it was halted.
        """
        # One commit is written while the next sessions are traded: the ledger has this one thread until the end.
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="openbell-commit") as committer:
            writing: Future[None] | None = None
            traded, halted = 0, None
            for traded, hours in enumerate(sessions, start=1):
                halted = self._replay_session(hours)
                over = halted is not None or traded == len(sessions)
                if self._pending.bars >= _BARS_PER_COMMIT or over:
                    if writing is not None:
                        writing.result()
                    writing = committer.submit(self._take_pending())
                if over:
                    break
            if writing is not None:
                writing.result()
        return ReplayOutcome(traded, self._symbol_bars, self._orders, self._fills, self._tracker.equity, halted)

    def _ask_for_history(self, bars: Mapping[str, BarColumns]) -> dict[str, HistorySignals] | None:
        """The policy's word on every bar, with what is held back; None where it has to be asked bar by bar."""
        said: dict[str, HistorySignals] = {}
        for symbol in self._symbols:
            signals = self._policy.decide_history(bars[symbol])
            if signals is None:
                return None
            said[symbol] = signals
        return said

    # One session

    def _replay_session(self, hours: TradingHours) -> str | None:
        """Trade one session; why none may start after it, where a halt without an end was latched."""
        panel = self._panel(hours)
        record = self._record(hours)
        tracker = self._tracker
        tracker.roll_day()
        scope = OrderScope(record.session_id, record.strategy, self._account, hours.session_date)
        entries = self._pending.entries
        router = OrderRouter(scope, self._settings.sizing, self._settings.orders, self._broker, entries.add)
        router.recover(self._left_open)
        gate = self._gate(record, hours, router)
        bookkeeper = Bookkeeper(router, tracker, record, hours, self._bar_length, gate.note_fills)
        watch = self._watch_for(panel, record)
        columns = _Columns(*(np.zeros(size, dtype=np.int64) for size in (panel.close.shape, *[len(panel.time)] * 4)))
        self._walk(panel, columns, gate, router, bookkeeper, watch)
        if len(panel.time):
            self._mark(panel.close[-1].tolist())
        self._market.end_of_session(hours.closes_at)
        at_the_close = bookkeeper.book_reports(entries, hours.closes_at)
        self._fills += len(at_the_close)
        if len(panel.time):
            entries.risk_checks += gate.left_open(from_epoch_us(int(panel.time[-1])))
        self._day_trades.append(gate.tape.day_trades_today)
        # What no bar has valued is worth what was paid for it, as in a session that begins from the ledger.
        opened = [fill.execution for fill in at_the_close if not self._held[self._column[fill.execution.symbol]]]
        tracker.mark({execution.symbol: execution.price for execution in opened})
        self._left_open = list(router.get_open_orders().values())
        self._finish(record, panel, columns)
        return next((halt.reason for halt in gate.latches.standing if halt.expires_at is None), None)

    def _watch_for(self, panel: _Panel, record: SessionRecord) -> PolicyWatch | None:
        """Who asks the policy bar by bar, where its word depends on the way or failures have to be counted; else None."""
        settings = self._settings.policy
        until = fit_until(self._policy, settings)
        too_old = until is not None and len(panel.time) > 0 and from_epoch_us(int(panel.time[-1])) > until
        if self._said is not None and not panel.errors and not too_old:
            return None
        return PolicyWatch(self._policy, settings, record.session_id, self._events, timed=False)

    def _gate(self, record: SessionRecord, hours: TradingHours, router: OrderRouter) -> RiskGate:
        """The session's gate, with what it has to know of the days before."""
        tracker, since = self._tracker, self._settings.risk.drawdown_since
        gate = RiskGate(record, hours, self._settings, router, tracker, self._events)
        router.may_place = gate.require_approved
        starting, highest = tracker.starting_equity, tracker.high_water_mark
        if since is not None:
            highest = starting if self._highest_since is None else self._highest_since
        gate.begin_day(starting, starting, highest)
        held = {symbol: tracker.quantity(symbol) for symbol in tracker.held_symbols}
        gate.tape.take_up((), (), (), held, sum(self._day_trades))
        return gate

    def _walk(
        self,
        panel: _Panel,
        columns: _Columns,
        gate: RiskGate,
        router: OrderRouter,
        bookkeeper: Bookkeeper,
        watch: PolicyWatch | None,
    ) -> None:
        """From one bar on which something can happen to the next; those between are valued as columns."""
        count = len(panel.time)
        ahead = _Ahead(_next_rows(panel.action == 1), _next_rows(panel.action == -1), _next_rows(panel.present))
        self._take_up_book()
        ends = panel.time + self._bar_length // timedelta(microseconds=1)
        flattens = gate.closing.begin_of(ClosingStep.FLATTEN)
        withdraws = min(gate.closing.begin_of(ClosingStep.REDUCE_ONLY), flattens - self._bar_length)
        closing = [int(np.searchsorted(ends, to_epoch_us(begins))) for begins in (withdraws, flattens)]
        row = 0
        while row < count:
            working = self._working(router)
            expected = self._expected(working)
            following = self._next_event(row, count, ahead, expected, working)
            following = row if watch else min(following, self._next_closing(row, count, closing, working))
            if following > row:
                following = self._value_quietly(slice(row, following), panel, ends, columns, expected, gate)
            if following < count:
                self._trade_bar(following, panel, columns, gate, router, bookkeeper, working, watch)
            row = following + 1

    def _take_up_book(self) -> None:
        """What the book says between two fills, as whole numbers by symbol's column."""
        tracker = self._tracker
        self._held = [tracker.quantity(symbol) for symbol in self._symbols]
        self._cash, self._realized = to_micros(tracker.cash), to_micros(tracker.realized)
        self._basis = to_micros(tracker.cost_basis)

    def _working(self, router: OrderRouter) -> dict[int, int]:
        """Signed shares that working orders may still fill, by symbol's column."""
        working: dict[int, int] = {}
        for order in router.get_open_orders().values():
            column = self._column[order.intent.symbol]
            working[column] = working.get(column, 0) + order.signed_remaining
        return working

    def _expected(self, working: Mapping[int, int]) -> list[int]:
        """Each symbol's position with its working orders filled: what decides whether a decision changes anything."""
        expected = self._held.copy()
        for column, remaining in working.items():
            expected[column] += remaining
        return expected

    def _next_event(
        self, row: int, count: int, ahead: _Ahead, expected: Sequence[int], working: Mapping[int, int]
    ) -> int:
        following = count
        allow_short = self._settings.orders.allow_short
        for column, quantity in enumerate(expected):
            if quantity <= 0:
                following = min(following, ahead.buy[column][row])
            if quantity > 0 or (allow_short and quantity == 0):
                following = min(following, ahead.sell[column][row])
        for column in working:
            following = min(following, ahead.present[column][row])
        return following

    def _next_closing(self, row: int, count: int, closing: Sequence[int], working: Mapping[int, int]) -> int:
        """The first row from ``row`` on at which the end of the day wants something done; ``closing``: where its steps begin."""
        withdraw, flatten = closing
        if working:
            return max(row, withdraw)
        return max(row, flatten) if any(self._held) else count

    def _value_quietly(
        self, rows: slice, panel: _Panel, ends: Column, columns: _Columns, expected: Sequence[int], gate: RiskGate
    ) -> int:
        """Value bars on which nothing is traded; stops before the first one on which a loss limit may be reached."""
        value = panel.close[rows] @ np.array(self._held, dtype=np.int64)
        equity = value + self._cash
        held = {symbol: panel.close[rows, column] for column, symbol in enumerate(self._symbols) if self._held[column]}
        quiet = gate.bars_before_a_trip(equity, held)
        rows, value = slice(rows.start, rows.start + quiet), value[:quiet]
        gate.watch.note_quiet(ends[rows], equity[:quiet])
        columns.target[rows] = expected
        columns.cash[rows] = self._cash
        columns.market_value[rows] = value
        columns.realized[rows] = self._realized
        columns.unrealized[rows] = value - self._basis
        stop: int = rows.stop
        return stop

    def _trade_bar(
        self,
        row: int,
        panel: _Panel,
        columns: _Columns,
        gate: RiskGate,
        router: OrderRouter,
        bookkeeper: Bookkeeper,
        working: Mapping[int, int],
        watch: PolicyWatch | None,
    ) -> None:
        """One bar on which something may happen, by the parts of the live path and in their order."""
        symbols, entries = self._symbols, self._pending.entries
        bar_time = from_epoch_us(int(panel.time[row]))
        present = panel.present[row].tolist()
        if working:
            bars = {
                symbols[column]: self._bars[symbols[column]].bar(panel.row_of(row, column))
                for column in sorted(working)
                if present[column]
            }
            self._market.see(BarSlice(bar_time, bars))
            booked = bookkeeper.book_reports(entries, bar_time)
            if booked:
                self._fills += len(booked)
                self._take_up_book()
            working = self._working(router)
        target = self._expected(working)
        if gate.closing_step(bar_time) >= ClosingStep.FLATTEN:
            # What is held or ordered is closed, whatever is decided.
            busy = {*working, *(column for column, quantity in enumerate(self._held) if quantity)}
        else:
            busy = set()
        closes = panel.close[row].tolist()
        weighted: Mapping[int, Signal] = {}
        if watch is not None:
            self._mark(closes, [column for column, there in enumerate(present) if there])
            weighted = self._ask_now(watch, row, panel, bar_time)
        allow_short = self._settings.orders.allow_short
        wanting = [
            column
            for column, action in enumerate(panel.action[row].tolist())
            if action
            and present[column]
            and column not in busy
            and (column in weighted or _changes_something(action, target[column], allow_short))
        ]
        for column in busy:
            target[column] = 0
        self._mark(closes, [*wanting, *working])
        gate.check_losses(bar_time, entries)
        if watch is not None:
            halt = watch.halt_due(gate.strategy_scope, bar_time + self._bar_length, gate.closes_at)
            if halt is not None:
                gate.halt(halt, bar_time, entries)
        self._decide(wanting, row, panel, target, gate, router, bar_time, weighted)
        market_value = sum(map(mul, self._held, closes))
        columns.target[row] = target
        columns.cash[row] = self._cash
        columns.market_value[row] = market_value
        columns.realized[row] = self._realized
        columns.unrealized[row] = market_value - self._basis

    def _ask_now(self, watch: PolicyWatch, row: int, panel: _Panel, bar_time: datetime) -> dict[int, Signal]:
        """The policy's word on this bar, written into the panel; the signals that ask for weights, by column."""
        columns = np.flatnonzero(panel.present[row]).tolist()
        self._window.move_to({self._symbols[column]: panel.row_of(row, column) for column in columns})
        symbols = [self._symbols[column] for column in columns]
        heard = watch.hear(symbols, self._window, self._tracker, bar_time).signals
        for column, symbol in zip(columns, symbols, strict=True):
            signal = heard[symbol]
            panel.action[row, column] = _CODES[signal.action]
            panel.confidence[row, column] = math.nan if signal.confidence is None else signal.confidence
            panel.weight[row, column] = math.nan if signal.target_weight is None else signal.target_weight
            for texts, text in ((panel.errors, signal.error), (panel.notes, signal.note)):
                texts.pop((row, column), None)
                if text is not None:
                    texts[row, column] = text
        return {
            column: heard[symbol]
            for column, symbol in zip(columns, symbols, strict=True)
            if heard[symbol].target_weight is not None
        }

    def _decide(
        self,
        wanting: Sequence[int],
        row: int,
        panel: _Panel,
        target: list[int],
        gate: RiskGate,
        router: OrderRouter,
        bar_time: datetime,
        weighted: Mapping[int, Signal],
    ) -> None:
        """Risk, cancels and orders of one bar's decisions; writes into ``target`` what they ask for."""
        entries = self._pending.entries
        assessment = Assessment()
        if wanting:
            # The tail of the book looks back on all that is held.
            seen = range(len(self._symbols)) if self._tails else wanting
            rows = {self._symbols[column]: panel.row_of(row, column) for column in seen}
            self._window.move_to({symbol: at for symbol, at in rows.items() if at >= 0})
        for column in wanting:
            signal = weighted.get(column) or _SIGNALS[int(panel.action[row, column])]
            target[column] = gate.assess(signal, self._symbols[column], bar_time, self._window, assessment)
        gate.close_out(bar_time, assessment)
        if assessment.cancels or assessment.approved:
            at = bar_time + self._bar_length
            entries.order_events += router.execute(assessment.cancels, assessment.approved, at)
            self._orders += len(assessment.approved)
        gate.forget_approvals()
        entries.risk_checks += assessment.checks

    def _mark(self, closes: Sequence[int], wanting: Iterable[int] = ()) -> None:
        """Value at these closes (micros) what is held or about to be traded; nothing else is asked for its price."""
        columns = {*wanting, *(column for column, quantity in enumerate(self._held) if quantity)}
        self._tracker.mark({self._symbols[column]: from_micros(closes[column]) for column in columns})

    # What a session needs and leaves

    def _panel(self, hours: TradingHours) -> _Panel:
        start, end = to_epoch_us(hours.opens_at), to_epoch_us(hours.closes_at)
        spans = []
        for symbol in self._symbols:
            first, last = np.searchsorted(self._bars[symbol].time, (start, end))
            spans.append((int(first), int(last)))
        times = [self._bars[symbol].time[slice(*span)] for symbol, span in zip(self._symbols, spans, strict=True)]
        moments = times[0] if all(np.array_equal(times[0], other) for other in times[1:]) else _union(times)
        shape = (len(moments), len(self._symbols))
        present = np.zeros(shape, dtype=np.bool_)
        close = np.zeros(shape, dtype=np.int64)
        action = np.zeros(shape, dtype=np.int8)
        confidence, weight = np.full(shape, math.nan), np.full(shape, math.nan)
        errors: dict[tuple[int, int], str] = {}
        notes: dict[tuple[int, int], str] = {}
        for column, (symbol, span) in enumerate(zip(self._symbols, spans, strict=True)):
            rows = np.searchsorted(moments, times[column])
            present[rows, column] = True
            close[rows, column] = self._bars[symbol].close[slice(*span)]
            if self._said is None:
                continue
            said = held_back_in_history(self._said[symbol], slice(*span), self._settings.policy.minimum_confidence)
            action[rows, column] = said.action
            confidence[rows, column] = said.confidence
            errors.update(((int(rows[at]), column), text) for at, text in said.errors.items())
            notes.update(((int(rows[at]), column), text) for at, text in said.notes.items())
        close = _carried(close, present, self._last_close)
        if len(moments):
            self._last_close = close[-1]
        starts = tuple(first for first, _ in spans)
        upto: Column = np.cumsum(present, axis=0)
        return _Panel(moments, present, close, action, confidence, weight, errors, notes, starts, upto)

    def _record(self, hours: TradingHours) -> SessionRecord:
        settings = self._settings
        return SessionRecord(
            session_id(hours.session_date, self._account, settings.strategy),
            settings.strategy,
            self._account,
            hours.session_date,
            self._mode,
            SessionState.RUNNING,
            self._clock.now(),
            self._settings_json,
            self._policy.fingerprint,
            self._tracker.equity,
            self._tracker.realized,
        )

    def _finish(self, record: SessionRecord, panel: _Panel, columns: _Columns) -> None:
        equity = columns.cash + columns.market_value
        highest = np.maximum.accumulate(np.maximum(equity, to_micros(self._tracker.high_water_mark)))
        if len(equity):
            self._tracker.high_water_mark = from_micros(int(highest[-1]))
            since = self._settings.risk.drawdown_since
            if since is not None and record.session_date >= since:
                today = from_micros(int(equity.max()))
                self._highest_since = today if self._highest_since is None else max(self._highest_since, today)
        last: datetime | None = from_epoch_us(int(panel.time[-1])) if len(panel.time) else None
        self._pending.sessions.append(
            replace(record, state=SessionState.COMPLETED, ended_at=self._clock.now(), last_bar_time=last)
        )
        self._pending.entries.blocks.append(
            ReplayBlock(
                record.session_id,
                self._symbols,
                panel.time,
                panel.present,
                panel.action,
                columns.target,
                columns.cash,
                columns.market_value,
                columns.realized,
                columns.unrealized,
                (highest - equity) / np.maximum(highest, 1),
                _unless_none(panel.confidence),
                _unless_none(panel.weight),
                panel.errors,
                panel.notes,
            )
        )
        self._pending.bars += int(panel.present.sum())
        self._symbol_bars += int(panel.present.sum())

    def _take_pending(self) -> Callable[[], None]:
        """What commits the sessions finished so far; new ones gather apart from them."""
        pending, self._pending = self._pending, _Pending()
        pending.entries.marks = self._tracker.held_prices()
        return partial(self._ledger.commit_replay, pending.sessions, pending.entries)


def _unless_none(numbers: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if np.isnan(numbers).all() else numbers


def _changes_something(action: int, expected: int, allow_short: bool) -> bool:
    """Whether the decision asks for another position than the one expected: the others are kept as they are."""
    if action > 0:
        return expected <= 0
    return action < 0 and (expected > 0 or (allow_short and expected == 0))


def _next_rows(wanted: NDArray[np.bool_]) -> list[list[int]]:
    """For each symbol and row the first row from there on where ``wanted`` holds; the row count where there is none."""
    count = len(wanted)
    rows = np.where(wanted, np.arange(count)[:, None], count)
    following = np.minimum.accumulate(rows[::-1], axis=0)[::-1]
    lists: list[list[int]] = following.T.tolist()
    return lists


def _union(times: Sequence[Column]) -> Column:
    moments: Column = np.unique(np.concatenate(times))
    return moments


def _carried(close: Column, present: NDArray[np.bool_], before: Column) -> Column:
    """Closes with each absence filled by the last one seen; ``before`` stands for what came before the first row."""
    if present.all():
        return close
    stacked = np.vstack((before, close))
    rows = np.vstack(
        (np.zeros(len(before), dtype=np.int64), np.where(present, np.arange(1, len(close) + 1)[:, None], 0))
    )
    carried: Column = np.take_along_axis(stacked, np.maximum.accumulate(rows, axis=0), axis=0)[1:]
    return carried
