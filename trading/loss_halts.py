"""Losses that halt: what a watch has seen becomes a latch, a row and an event."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from trading.bars import Column
from trading.decisions import Halt, Verdict
from trading.halt_latches import HaltLatches
from trading.loss_watch import SYMBOL_LOSS, UNTOLD_LOSS, LossWatch, Trip
from trading.money import ZERO, to_micros
from trading.order_tape import OrderTape
from trading.orders import Fill
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries
from trading.risk_events import RiskEventKind
from trading.risk_notes import RiskNotes
from trading.risk_settings import RiskSettings
from trading.trading_hours import TradingHours


class LossHalts:
    """The losses of one session's account. Between two fills a symbol is watched by one price."""

    def __init__(
        self,
        account: str,
        hours: TradingHours,
        risk: RiskSettings,
        bar_length: timedelta,
        tracker: PnLTracker,
        latches: HaltLatches,
        tape: OrderTape,
        notes: RiskNotes,
    ) -> None:
        self._account_scope = f"account:{account}"
        self._hours = hours
        self._bar_length = bar_length
        self._tracker = tracker
        self._latches = latches
        self._tape = tape
        self._notes = notes
        self._traded_symbols: set[str] = set()
        self._symbol_floors: list[tuple[str, int, Decimal]] = []
        self.watch = LossWatch(risk, bar_length)

    def change_limits(self, risk: RiskSettings) -> None:
        """Watch these limits from now on. What has tripped stays tripped."""
        self.watch.change_limits(risk)
        self._set_symbol_floors()
        self.look_again()

    def look_again(self) -> None:
        """Look at every symbol of the day, and at its trades, with the next bar: limits, or what halts, are not what they were."""
        self._traded_symbols.update(self._tape.symbols)

    def follow_latches(self) -> None:
        """What halts the account already says nothing more; what does no longer can trip again."""
        self.watch.latch(halt.rule for halt in self._latches.standing if halt.scope == self._account_scope)

    def begin_day(
        self,
        starting_equity: Decimal,
        highest_today: Decimal,
        highest_ever: Decimal,
        recent: Sequence[tuple[datetime, Decimal]] = (),
    ) -> None:
        """Take up the account's day (see ``LossWatch.begin_day``); ``recent`` are equities by the ends of their bars."""
        begun = (self._hours.opens_at, starting_equity)
        self.watch.begin_day(starting_equity, highest_today, highest_ever, [begun, *recent])
        self._set_symbol_floors()

    def note_fills(self, new: Sequence[Fill], moved: Iterable[str]) -> None:
        """These executions were booked, and the positions of ``moved`` or their cost are others than before."""
        self._tape.note_fills(new)
        self._traded_symbols.update(moved)

    def check_losses(self, bar_time: datetime, entries: LedgerEntries) -> list[Halt]:
        """Halt what has reached a loss limit by the end of this bar; the halts that are new, which are in ``entries`` too.

        Losses that cannot be told halt the account.
        """
        at = bar_time + self._bar_length
        try:
            trips = self._look_for_losses(at)
        except (ArithmeticError, ValueError, KeyError) as error:
            reason = f"what the account has lost cannot be told ({type(error).__name__}: {error})"
            trips = [Trip(UNTOLD_LOSS, reason, ZERO, ZERO)]
        return (
            [halt for trip in trips if (halt := self._trip(trip, bar_time, at, entries)) is not None] if trips else []
        )

    def _look_for_losses(self, at: datetime) -> Sequence[Trip]:
        tracker = self._tracker
        trips = self.watch.look(at, tracker.equity)
        if self._traded_symbols:
            trips = [*trips, *self._look_at_trades()]
        for symbol, sign, floor in self._symbol_floors:
            price = tracker.price(symbol)
            if price is not None and (price <= floor if sign > 0 else price >= floor):
                trip = self.watch.look_at_symbol(tracker, symbol)
                trips = trips if trip is None else [*trips, trip]
        return trips

    def _look_at_trades(self) -> list[Trip]:
        """What fills since the last bar trip; positions have other prices to be watched for from now on."""
        tracker, traded = self._tracker, self._traded_symbols
        trips = self.watch.look_at_trades(tracker, self._tape.traded_today)
        closed = (symbol for symbol in sorted(traded) if not tracker.quantity(symbol))
        trips += [trip for symbol in closed if (trip := self.watch.look_at_symbol(tracker, symbol)) is not None]
        traded.clear()
        self._set_symbol_floors()
        return trips

    def _set_symbol_floors(self) -> None:
        floors = ((symbol, self.watch.symbol_floor(self._tracker, symbol)) for symbol in self._tracker.held_symbols)
        self._symbol_floors = [(symbol, *floor) for symbol, floor in floors if floor is not None]

    def _trip(self, trip: Trip, bar_time: datetime, at: datetime, entries: LedgerEntries) -> Halt | None:
        if trip.near:
            self._notes.tell(
                RiskEventKind.LIMIT_NEAR,
                at,
                f"{trip.rule}: {trip.reason}",
                rule=trip.rule,
                observed=trip.observed,
                limit_value=trip.limit_value,
            )
            return None
        scope = self._account_scope if trip.symbol is None else f"symbol:{trip.symbol}"
        if self._latches.stands(scope, trip.rule):
            return None
        ends = None if trip.lasting else self._hours.closes_at
        halt = Halt(scope, trip.reason, at, ends, self._notes.session_id, trip.rule)
        self._latches.take_up([halt])
        self.follow_latches()
        entries.halts.append(halt)
        check = self._notes.check(
            bar_time, trip.symbol, None, trip.rule, Verdict.HALTED, trip.reason, trip.observed, trip.limit_value
        )
        entries.risk_checks.append(check)
        self._notes.tell_of([check])
        return halt

    def bars_before_a_trip(self, equity: Column, closes: Mapping[str, Column]) -> int:
        """How many of these bars come surely before one on which a loss trips (equity and held symbols' closes in micros)."""
        quiet = self.watch.bars_before_a_trip(equity)
        for symbol, sign, floor in self._symbol_floors:
            close, level = closes[symbol][:quiet], to_micros(floor)
            lost = close <= level + 1 if sign > 0 else close >= level - 1
            if lost.any() and not self._latches.stands(f"symbol:{symbol}", SYMBOL_LOSS):
                quiet = int(lost.argmax())
        return quiet
