"""A session that is over, decided again: the same bars, what was held then, and the policy asked as it is asked live.

The rule: nothing is traded. What the account held on each bar is told from its fills and never from what would be decided now.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading.bars import BarSlice
from trading.decision_comparison import Said
from trading.decisions import EquityPoint
from trading.live_data_loader import LiveDataLoader
from trading.money import round_money
from trading.orders import Fill
from trading.pnl_tracker import PnLTracker
from trading.policy_watch import PolicyWatch
from trading.settings import CostBasis


@dataclass(frozen=True, slots=True)
class Held:
    """What a policy was shown of a position: signed shares, and unrealized P&L as a fraction of cost."""

    quantity: int
    unrealized_fraction: float


@dataclass(frozen=True, slots=True)
class DecidedAgain:
    """What each of the policies said, in their order, and what they were shown of positions, by bar and symbol.

    ``uncertain`` are bars on which fills do not come to the cash that was recorded, so that what was held is a guess.
    """

    said: tuple[tuple[Said, ...], ...]
    held: Mapping[tuple[datetime, str], Held]
    uncertain: tuple[datetime, ...]


class BookThen:
    """The account's book as it stood when each bar was decided on.

    ``fills`` are all of the account in booking order, ``equity`` the points that were recorded: how far the fills were booked by
    a bar is told by its cash and realized P&L, whenever they were executed or heard of.
    """

    def __init__(
        self,
        cost_basis: CostBasis,
        opening_cash: Decimal,
        fills: Sequence[Fill],
        equity: Iterable[EquityPoint],
        bar_length: timedelta,
    ) -> None:
        self.tracker = PnLTracker(cost_basis)
        self.tracker.initialize_portfolio_state(opening_cash)
        self._fills = fills
        self._booked = 0
        self._points = {point.bar_time: (point.cash, point.realized_pnl) for point in equity}
        self._bar_length = bar_length
        self._standings = self._standings_of(cost_basis, opening_cash)

    def move_to(self, moment: BarSlice) -> bool:
        """Book what was booked when the moment was decided on, and value it at its closes.

        False where no number of fills comes to what was recorded; then those that were executed before the bar's end are booked.
        """
        count = self._count_at(moment.bar_time)
        certain = count is not None
        if count is None:
            ends = moment.bar_time + self._bar_length
            count = self._booked
            while count < len(self._fills) and self._fills[count].execution.executed_at < ends:
                count += 1
        for fill in self._fills[self._booked : count]:
            self.tracker.update_position(fill)
        self._booked = count
        self.tracker.mark({symbol: bar.close for symbol, bar in moment.bars.items()})
        return certain

    def _count_at(self, bar_time: datetime) -> int | None:
        point = self._points.get(bar_time)
        standings = range(self._booked, len(self._standings))
        return next((count for count in standings if self._standings[count] == point), None)

    def _standings_of(self, cost_basis: CostBasis, opening_cash: Decimal) -> list[tuple[Decimal, Decimal]]:
        """Cash and realized P&L after each number of fills, as the ledger writes them."""
        book = PnLTracker(cost_basis)
        book.initialize_portfolio_state(opening_cash)
        standings = [(opening_cash, book.realized)]
        for fill in self._fills:
            book.update_position(fill)
            standings.append((round_money(book.cash), round_money(book.realized)))
        return standings


def decide_again(
    watches: Sequence[PolicyWatch], moments: Iterable[BarSlice], loader: LiveDataLoader, book: BookThen
) -> DecidedAgain:
    """Ask the policies of ``watches`` about each moment, in the order in which a bar's steps are done live.

    ``loader`` has its warmup, and its window moves on with the moments.
    """
    said: list[list[Said]] = [[] for _ in watches]
    held: dict[tuple[datetime, str], Held] = {}
    uncertain = []
    for moment in moments:
        if not book.move_to(moment):
            uncertain.append(moment.bar_time)
        loader.cache_data(moment)
        if not moment.bars:
            continue
        tracker = book.tracker
        for symbol in moment.bars:
            held[moment.bar_time, symbol] = Held(tracker.quantity(symbol), tracker.unrealized_fraction(symbol))
        for watch, rows in zip(watches, said, strict=True):
            heard = watch.hear(tuple(moment.bars), loader.window, tracker, moment.bar_time)
            rows += [
                Said(
                    moment.bar_time,
                    symbol,
                    signal.action,
                    signal.confidence,
                    signal.error,
                    signal.note,
                    signal.target_weight,
                )
                for symbol, signal in heard.signals.items()
            ]
    return DecidedAgain(tuple(map(tuple, said)), held, tuple(uncertain))
