"""The book: cash, lots, realized and unrealized P&L, fees and measures of the account.

The book is a fold over fills and nothing else: starting it again from the same fills gives the same book to the last
micro. It compares itself with a broker and never copies from one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading.account_views import BookedPosition, LedgerView
from trading.balance_differences import compare_balances
from trading.decisions import EquityPoint, PositionSnapshot
from trading.differences import Discrepancy
from trading.fill_book import FillBook
from trading.fill_differences import Consequences
from trading.lots import Position
from trading.money import ZERO
from trading.orders import Execution, Fill
from trading.ports import BrokerAccount
from trading.settings import CostBasis, ReconciliationSettings

_TOLERANCES = ReconciliationSettings()


@dataclass(frozen=True, slots=True)
class ProfitAndLoss:
    """Net of commissions, from the account's first session on, in units of its currency."""

    realized: Decimal
    unrealized: Decimal
    commissions: Decimal

    @property
    def total(self) -> Decimal:
        """What the account has gained or lost."""
        return self.realized + self.unrealized


@dataclass(frozen=True, slots=True)
class HeldPosition:
    """One open position at its last price. Quantity, basis and value are signed; P&L is net of the opening commission."""

    symbol: str
    quantity: int
    cost_basis: Decimal
    price: Decimal
    market_value: Decimal
    unrealized_pnl: Decimal

    @property
    def average_cost(self) -> Decimal:
        """Cost of one share with its opening commission; positive for long and short."""
        return self.cost_basis / self.quantity


@dataclass(frozen=True, slots=True)
class PortfolioState:
    """The account at one moment.

    ``gross_exposure`` and ``net_exposure`` are fractions of equity (None without equity), ``turnover`` the money
    traded in the session as a fraction of its starting equity, ``win_rate`` the fraction of the session's closing
    executions that realized a gain (None when nothing closed).
    """

    cash: Decimal
    market_value: Decimal
    equity: Decimal
    pnl: ProfitAndLoss
    session_pnl: Decimal
    session_realized_pnl: Decimal
    session_commissions: Decimal
    high_water_mark: Decimal
    drawdown: Decimal
    gross_exposure: Decimal | None
    net_exposure: Decimal | None
    turnover: Decimal
    win_rate: Decimal | None
    positions: Mapping[str, HeldPosition]


class PnLTracker:
    """Owns the book of one account. One thread at a time."""

    def __init__(self, cost_basis: CostBasis = CostBasis.FIFO) -> None:
        self._cost_basis = cost_basis
        self.initialize_portfolio_state(ZERO)

    def initialize_portfolio_state(
        self,
        initial_cash: Decimal,
        fills: Iterable[Fill] = (),
        prices: Mapping[str, Decimal] | None = None,
        high_water_mark: Decimal | None = None,
    ) -> None:
        """Start the book from its first cash and all fills since, in booking order.

        ``prices`` value what is held until a newer price is marked. Raises ``ValueError`` for a held symbol without
        any price: what cannot be valued cannot be traded around.
        """
        self.initial_cash = initial_cash
        self.cash = initial_cash
        self.realized = ZERO
        self.commissions = ZERO
        self._positions: dict[str, Position] = {}
        self._prices: dict[str, Decimal] = {}
        self._realized_by_symbol: dict[str, Decimal] = {}
        self._market_value: Decimal | None = None
        self._open_basis: Decimal | None = None
        self._counting = FillBook(fills)
        self._gained: dict[str, bool] = {}
        self._session_closes = 0
        self._session_wins = 0
        self._session_traded = ZERO
        self._filled: dict[str, int] = {}
        self._flow: dict[str, Decimal] = {}
        self._realized_by_order: dict[str, Decimal] = {}
        for fill in self._counting.fills:
            self._apply(fill)
        for symbol in self.held_symbols:
            price = (prices or {}).get(symbol)
            if price is None:
                raise ValueError(f"{symbol} is held and no price is known for it")
            self._prices[symbol] = price
        self._market_value = None
        # Only what stood at the close of a bar counts: a book that is taken up in the middle of one has had no more.
        self.high_water_mark = initial_cash if high_water_mark is None else high_water_mark
        self.roll_day()

    def roll_day(self) -> None:
        """Begin a new day: what the session made is counted from here; positions and totals stay."""
        self.starting_equity = self.equity
        self.starting_realized = self.realized
        self._starting_commissions = self.commissions
        self._session_closes = 0
        self._session_wins = 0
        self._session_traded = ZERO
        self._day_base = {symbol: self._total_of(symbol) for symbol in self._flow}
        self._closed_before_day = len(self._realized_by_order)

    def resume_day(
        self,
        starting_equity: Decimal,
        starting_realized: Decimal,
        fills: Iterable[Fill],
        starting_prices: Mapping[str, Decimal] | None = None,
    ) -> None:
        """Go on in a day that began earlier: its baseline, and the fills it has had so far (booked already).

        ``starting_prices`` valued the positions that the day began with; where one is not known, it is its price now.
        """
        self.starting_equity = starting_equity
        self.starting_realized = starting_realized
        fills = list(fills)
        self.rebase_day(fills, starting_prices or {})
        for fill in fills:
            execution = fill.execution
            self._starting_commissions -= execution.commission or ZERO
            self._session_traded += execution.quantity * execution.price
            gained = self._gained.get(execution.lineage)
            if gained is not None:
                self._session_closes += 1
                self._session_wins += gained

    def rebase_day(self, fills: Iterable[Fill], prices: Mapping[str, Decimal]) -> None:
        """Count what each symbol makes, and losing streaks, from before these fills of today (booked already).

        ``prices`` valued the positions that the account's day began with. What the session itself made is counted as before.
        """
        flow, held = dict(self._flow), {symbol: self.quantity(symbol) for symbol in self._flow}
        closed_today = set()
        for fill in fills:
            execution = fill.execution
            flow[execution.symbol] -= _cash_of(execution)
            held[execution.symbol] -= execution.side.sign * execution.quantity
            if execution.client_order_id in self._realized_by_order:
                closed_today.add(execution.client_order_id)
        self._day_base = {
            symbol: cash + held[symbol] * prices.get(symbol, self._prices.get(symbol, ZERO))
            for symbol, cash in flow.items()
        }
        self._closed_before_day = len(self._realized_by_order) - len(closed_today)

    def update_position(self, fill: Fill) -> bool:
        """Book one fill: cash, lots, P&L, fees. Whether the book has changed: not by one that was booked before.

        One whose commission was not known and is now, and one that corrects another, are booked where the first one
        stands. An inferred fill gives way to the executions of its order, share by share.
        """
        changes = self._counting.absorb(fill)
        if not changes:
            return False
        if len(changes) == 1 and changes[0].before is None:
            self._apply(fill)
        else:
            self._fold_again()
            self._session_traded += sum((_value(change.after) - _value(change.before) for change in changes), ZERO)
        return True

    def _apply(self, fill: Fill) -> None:
        execution = fill.execution
        order_id = execution.client_order_id
        self._filled[order_id] = self._filled.get(order_id, 0) + execution.quantity
        symbol = execution.symbol
        position = self._positions.get(symbol)
        if position is None:
            position = self._positions[symbol] = Position(self._cost_basis)
        amount = execution.quantity * execution.price
        commission = execution.commission or ZERO
        realized = position.apply(execution)
        cash = _cash_of(execution)
        self.cash += cash
        self._flow[symbol] = self._flow.get(symbol, ZERO) + cash
        self.commissions += commission
        self._session_traded += amount
        if realized is not None:
            self.realized += realized
            self._realized_by_symbol[symbol] = self._realized_by_symbol.get(symbol, ZERO) + realized
            self._realized_by_order[order_id] = self._realized_by_order.get(order_id, ZERO) + realized
            self._gained[execution.lineage] = realized > 0
            self._session_closes += 1
            self._session_wins += realized > 0
        self._prices.setdefault(symbol, execution.price)
        self._market_value = self._open_basis = None

    def knows(self, execution: Execution) -> bool:
        """Whether the execution, or one that it corrects or is corrected by, is booked."""
        return self._counting.knows(execution.lineage)

    def booked_as(self, execution: Execution) -> Fill | None:
        """The fill that counts of the execution's lineage."""
        return self._counting.booked_as(execution.lineage)

    def filled_of(self, client_order_id: str) -> int:
        """Shares of the order that are booked."""
        return self._filled.get(client_order_id, 0)

    def _fold_again(self) -> None:
        """Fold all fills again: what changed moves cash, the lots' cost and what was realized on them."""
        counting = self._counting
        day = (self.starting_equity, self.starting_realized, self._starting_commissions)
        session = (self._session_closes, self._session_wins, self._session_traded)
        prices, high_water_mark = dict(self._prices), self.high_water_mark
        day_base, closed_before_day = self._day_base, self._closed_before_day
        self.initialize_portfolio_state(self.initial_cash, counting.fills, prices, high_water_mark)
        self._counting = counting
        self._prices.update(prices)
        self.high_water_mark = high_water_mark  # it counts at the close of bars alone
        self.starting_equity, self.starting_realized, self._starting_commissions = day
        self._session_closes, self._session_wins, self._session_traded = session
        self._day_base, self._closed_before_day = day_base, closed_before_day

    def mark(self, prices: Mapping[str, Decimal]) -> None:
        """Value positions at these prices from now on."""
        self._prices.update(prices)
        self._market_value = None

    def quantity(self, symbol: str) -> int:
        """Signed shares held."""
        position = self._positions.get(symbol)
        return position.quantity if position is not None else 0

    def price(self, symbol: str) -> Decimal | None:
        """The price the symbol is valued at."""
        return self._prices.get(symbol)

    def unrealized_fraction(self, symbol: str) -> float:
        """Unrealized P&L of the position, net of its opening commissions, as a fraction of its cost; 0 without one."""
        position = self._positions.get(symbol)
        if position is None or not position.quantity:
            return 0.0
        basis = position.basis
        return float((position.quantity * self._prices[symbol] - basis) / abs(basis)) if basis else 0.0

    @property
    def held_symbols(self) -> tuple[str, ...]:
        """Symbols with an open position."""
        return tuple(symbol for symbol, position in self._positions.items() if position.quantity)

    @property
    def holdings(self) -> list[tuple[str, int, Decimal]]:
        """Each open position: its symbol, signed shares, and the price it is valued at."""
        prices = self._prices
        return [
            (symbol, position.quantity, prices[symbol])
            for symbol, position in self._positions.items()
            if position.quantity
        ]

    def held_prices(self) -> dict[str, Decimal]:
        """What each open position is valued at."""
        return {symbol: self._prices[symbol] for symbol, position in self._positions.items() if position.quantity}

    def day_pnl(self, symbol: str) -> Decimal:
        """What the symbol has made since the day began, realized or not, net of commissions."""
        return self._total_of(symbol) - self._day_base.get(symbol, ZERO)

    def day_pnl_parts(self, symbol: str) -> tuple[Decimal, int]:
        """``day_pnl`` without what the position is worth now, and the shares held: as columns of prices are valued."""
        return self._flow.get(symbol, ZERO) - self._day_base.get(symbol, ZERO), self.quantity(symbol)

    @property
    def losing_streak(self) -> int:
        """How many of the day's closing orders lost money, counted back from the newest."""
        streak = 0
        today = len(self._realized_by_order) - self._closed_before_day
        for made in reversed(self._realized_by_order.values()):
            if made >= 0 or streak == today:
                break
            streak += 1
        return streak

    def _total_of(self, symbol: str) -> Decimal:
        held = self.quantity(symbol)
        flow = self._flow.get(symbol, ZERO)
        return flow + held * self._prices[symbol] if held else flow

    @property
    def market_value(self) -> Decimal:
        """Value of all positions, shorts negative."""
        # Asked several times between two changes: by risk, by sizing and by the equity point.
        if self._market_value is None:
            prices = self._prices
            self._market_value = sum(
                (held.quantity * prices[symbol] for symbol, held in self._positions.items() if held.quantity), ZERO
            )
        return self._market_value

    @property
    def short_value(self) -> Decimal:
        """Value of the short positions alone, zero or negative."""
        prices = self._prices
        return sum(
            (held.quantity * prices[symbol] for symbol, held in self._positions.items() if held.quantity < 0), ZERO
        )

    @property
    def equity(self) -> Decimal:
        """Cash and positions together."""
        return self.cash + self.market_value

    @property
    def cost_basis(self) -> Decimal:
        """Signed cost of everything that is open."""
        if self._open_basis is None:
            self._open_basis = sum((held.basis for held in self._positions.values() if held.quantity), ZERO)
        return self._open_basis

    def calculate_pnl(self) -> ProfitAndLoss:
        """Realized, unrealized and fees since the account's first session."""
        return ProfitAndLoss(self.realized, self.market_value - self.cost_basis, self.commissions)

    def equity_point(self, session_id: str, bar_time: datetime) -> EquityPoint:
        """The account at the close of a bar; moves the high-water mark."""
        market_value = self.market_value
        equity = self.cash + market_value
        self.high_water_mark = max(self.high_water_mark, equity)
        return EquityPoint(
            session_id,
            bar_time,
            self.cash,
            market_value,
            equity,
            self.realized,
            market_value - self.cost_basis,
            drawdown_fraction(equity, self.high_water_mark),
        )

    def snapshot(self, session_id: str, account: str, bar_time: datetime, symbol: str) -> PositionSnapshot:
        """One position as the book has it now."""
        position = self._positions[symbol]
        realized = self._realized_by_symbol.get(symbol, ZERO)
        return PositionSnapshot(session_id, account, bar_time, symbol, position.quantity, position.basis, realized)

    def get_portfolio_state(self) -> PortfolioState:
        """Everything about the account at this moment."""
        positions = {symbol: self._held(symbol) for symbol in self.held_symbols}
        equity = self.equity
        gross = sum((abs(held.market_value) for held in positions.values()), ZERO)
        return PortfolioState(
            cash=self.cash,
            market_value=self.market_value,
            equity=equity,
            pnl=self.calculate_pnl(),
            session_pnl=equity - self.starting_equity,
            session_realized_pnl=self.realized - self.starting_realized,
            session_commissions=self.commissions - self._starting_commissions,
            high_water_mark=self.high_water_mark,
            drawdown=drawdown_fraction(equity, self.high_water_mark),
            gross_exposure=gross / equity if equity > 0 else None,
            net_exposure=self.market_value / equity if equity > 0 else None,
            turnover=self._session_traded / self.starting_equity if self.starting_equity > 0 else ZERO,
            win_rate=Decimal(self._session_wins) / self._session_closes if self._session_closes else None,
            positions=positions,
        )

    def synchronize_portfolio_state_with_broker(
        self, account: BrokerAccount, tolerances: ReconciliationSettings = _TOLERANCES
    ) -> list[Discrepancy]:
        """Compare positions and cash with the broker's; returns the differences and changes nothing."""
        state = self.get_portfolio_state()
        held = {symbol: BookedPosition(one.quantity, one.average_cost) for symbol, one in state.positions.items()}
        ours = LedgerView(account.account, state.cash, held, self._counting.fills)
        found = compare_balances(ours, account, Consequences(ours), tolerances)
        return [difference.discrepancy for difference in found]

    def _held(self, symbol: str) -> HeldPosition:
        position = self._positions[symbol]
        price = self._prices[symbol]
        value = position.quantity * price
        basis = position.basis
        return HeldPosition(symbol, position.quantity, basis, price, value, value - basis)


def drawdown_fraction(equity: Decimal, high_water_mark: Decimal) -> Decimal:
    """How far equity is below its highest, as a fraction of that (0 at a new high)."""
    if high_water_mark <= 0 or equity >= high_water_mark:
        return ZERO
    return (high_water_mark - equity) / high_water_mark


def _cash_of(execution: Execution) -> Decimal:
    """What an execution brings in (negative: takes), its commission taken off."""
    return -execution.side.sign * execution.quantity * execution.price - (execution.commission or ZERO)


def _value(fill: Fill | None) -> Decimal:
    return ZERO if fill is None else fill.execution.quantity * fill.execution.price
