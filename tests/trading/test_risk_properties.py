"""Whatever the market does, whatever a policy says and however large it wants to trade: what risk promises holds.

Real sessions on random markets with random limits; what came of them is read from the ledger alone and judged by code that
shares nothing with the rules.
"""

import contextlib
import random
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.bars import Bar, to_epoch_us
from trading.calendar import TradingCalendar
from trading.decisions import Action, Halt, Signal
from trading.errors import NotApproved, StoppedEarly
from trading.orders import OrderType, Side
from trading.ports import MarketWindow
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict
from trading.risk_settings import RiskSettings
from trading.sessions import SessionState
from trading.trading_hours import TradingHours

DAY = date(2026, 1, 5)
HOURS = TradingCalendar("XNYS", DAY).hours(DAY)
ACCOUNT = Decimal(100_000)
FEW = settings(settings.get_profile("whole sessions"), suppress_health_check=[HealthCheck.function_scoped_fixture])


# Markets


@dataclass(frozen=True)
class Market:
    """A random market, the same for the same seed. ``kind`` says what is wrong with it."""

    seed: int
    kind: str
    symbols: tuple[str, ...]
    minutes: int = 30

    @property
    def length(self) -> timedelta:
        return timedelta(minutes=self.minutes)

    def bars(self) -> list[Bar]:
        bars = []
        for symbol in self.symbols:
            dice = random.Random(f"{self.seed} {symbol}")
            price = dice.choice([3.0, 50.0, 100.0, 900.0])
            for number in range(int((HOURS.closes_at - HOURS.opens_at) / self.length)):
                if dice.random() < {"gaps": 0.3, "calm": 0.0}.get(self.kind, 0.02):
                    continue
                drift = -0.012 if self.kind == "falling" else 0.0
                opened = price * (1 + dice.gauss(0, 0.03 if self.kind == "jumps" else 0.002))
                price = max(opened * (1 + dice.gauss(drift, 0.01)), 0.5)
                high, low = (
                    max(opened, price) * (1 + dice.random() / 200),
                    min(opened, price) * (1 - dice.random() / 200),
                )
                volume = dice.choice([0, None, 40, 3_000, 100_000]) if self.kind == "thin" else 200_000
                at = HOURS.opens_at + number * self.length
                bars.append(Bar(symbol, at, *(Decimal(f"{value:.2f}") for value in (opened, high, low, price)), volume))
        return bars


MARKETS = st.builds(
    Market,
    st.integers(0, 10_000),
    st.sampled_from(["calm", "gaps", "jumps", "falling", "thin"]),
    st.sampled_from([("SPY",), ("SPY", "QQQ"), ("SPY", "QQQ", "IWM")]),
)


# Policies


class Whim:
    """A policy without memory, so that a restart cannot change its mind; some of them are broken or malicious.

    ``meddler`` has the agent and sends orders that nobody approved.
    """

    warmup_bars = 1

    def __init__(self, kind: str, seed: int, length: timedelta) -> None:
        self.name = self.fingerprint = kind
        self._seed = seed
        self._length = length
        self.agent: Any = None
        self.sneaked = 0

    def decide(self, window: MarketWindow, holdings: object) -> Mapping[str, Signal]:
        return {symbol: self._of(symbol, int(window.times(symbol, 1)[0]), window) for symbol in window.symbols}

    def _of(self, symbol: str, at: int, window: MarketWindow) -> Signal:
        dice = random.Random(f"{self._seed} {symbol} {at}")
        number = (at - to_epoch_us(HOURS.opens_at)) // (self._length // timedelta(microseconds=1))
        if self.name == "always":
            return Signal(Action.BUY)
        if self.name == "flipping":
            return Signal(Action.SELL if number % 2 else Action.BUY, 1.0)
        if self.name == "broken" and dice.random() < 0.3:
            raise RuntimeError("the model is broken")
        if self.name == "nan" and dice.random() < 0.5:
            return Signal(Action.BUY, float("nan"))
        if self.name == "meddler":
            self._meddle(symbol, number, dice, window)
        return Signal(dice.choice(list(Action)), dice.random())

    def _meddle(self, symbol: str, number: int, dice: random.Random, window: MarketWindow) -> None:
        shares, side = dice.choice([1, 40, 5_000]), dice.choice(list(Side))
        at = HOURS.opens_at + (number + 1) * self._length
        price = Decimal(int(window.closes(symbol, 1)[0])).scaleb(-6)
        intent = self.agent.order_router.market_intent(symbol, side, shares, price, at - self._length, at, "sneaked")
        try:
            self.agent.place_order(ApprovedOrder(intent, PreTradeVerdict(shares, ())))
            self.sneaked += 1
        except NotApproved:
            if dice.random() < 0.3:
                raise

    def decide_history(self, bars: object) -> Any:
        raise NotImplementedError


POLICIES = st.sampled_from(["random", "always", "flipping", "broken", "nan", "meddler"])


# Limits


def either(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


RISK = st.fixed_dictionaries(
    {
        "max_order_shares": either(30, 500, 1_000_000),
        "max_order_notional": either("off", "2500", "50000"),
        "max_position_shares": either(50, 1_000_000),
        "max_position_notional": either("off", "4000", "100000"),
        "max_position_fraction": either("0.1", "0.6", "3"),
        "max_gross_exposure": either("off", "9000", "120000"),
        "max_net_exposure": either("off", "6000", "70000"),
        "max_leverage": either("off", "0.3", "1", "2.5"),
        "max_positions": either("off", 1, 2),
        "cash_reserve_fraction": either("0", "0.02"),
        "max_participation_fraction": either("off", "0.1"),
        "max_price_deviation_fraction": either("off", "0.05"),
        "max_gap_bars": either("off", 0),
        "max_daily_loss": either("off", "150", "1000"),
        "max_symbol_loss": either("off", "100", "500"),
        "max_drawdown_speed_fraction": either("off", "0.01"),
        "drawdown_speed_minutes": either(15, 60),
        "max_volatility_fraction": either("0.02", "1"),
        "max_impact_bps": either("off", "25"),
        "max_concentration_fraction": either("off", "0.6"),
        "lot_size": either(1, 10),
    }
).map(lambda risk: RiskSettings().model_dump(mode="json") | risk)

SIZING = either(
    {"method": "fixed_shares", "shares": 5_000_000},
    {"method": "fraction_of_equity", "fraction": "1.0"},
    {"method": "fraction_of_cash", "fraction": "1.0"},
    {"method": "fixed_notional", "notional": "7000"},
)
ORDERS = st.fixed_dictionaries(
    {
        "order_type": either(
            OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP
        ),
        "time_in_force": either("DAY", "DAY", "GTC", "IOC"),
        "allow_short": st.booleans(),
        "limit_offset_bps": either("-20", "0", "150"),
        "tick_size": either("off", "0.05"),
    }
)
PAPER = st.fixed_dictionaries({"slippage_bps": either("0", "5"), "max_volume_fraction": either("off", "off", "0.1")})
CLOSING = either({"hold_overnight": False}, {"hold_overnight": False}, {"hold_overnight": True})


@dataclass(frozen=True)
class Setting:
    """Everything that makes a session."""

    market: Market
    policy: str
    sections: dict[str, Any]
    person: tuple[str, int]

    def decider(self) -> Whim:
        return Whim(self.policy, self.market.seed, self.market.length)

    @property
    def risk(self) -> RiskSettings:
        return RiskSettings.model_validate(self.sections["risk"])


def a_setting(
    market: Market,
    policy: str,
    risk: dict[str, Any],
    sizing: Any,
    orders: Any,
    paper: Any,
    closing: Any,
    person: tuple[str, int],
) -> Setting:
    sections = {
        "session": {"symbols": list(market.symbols), "timeframe": f"{market.minutes}min"},
        "risk": risk,
        "sizing": sizing,
        "orders": orders,
        "broker": {"paper": paper},
        "closing": closing,
    }
    return Setting(market, policy, sections, person)


SETTINGS = st.builds(
    a_setting,
    MARKETS,
    POLICIES,
    RISK,
    SIZING,
    ORDERS,
    PAPER,
    CLOSING,
    st.tuples(either("nothing", "nothing", "halt", "halt of SPY", "stop", "flatten"), st.integers(1, 9)),
)


# What the ledger says


@dataclass(frozen=True)
class Order:
    name: str
    symbol: str
    side: Side
    quantity: int
    worst: Decimal
    sent_at: datetime


class Told:
    """What a ledger tells of a session. Moments are ends of bars."""

    def __init__(self, path: Path, length: timedelta) -> None:
        with duckdb.connect(str(path / "ledger.duckdb"), read_only=True) as connection:

            def rows(query: str) -> list[Any]:
                return connection.execute(query).fetchall()

            self.orders = [
                Order(name, symbol, Side(side), quantity, max(price for price in prices if price is not None), utc(at))
                for name, symbol, side, quantity, at, *prices in rows(
                    """SELECT client_order_id, symbol, side, quantity, created_at, reference_price, limit_price, stop_price
                    FROM orders WHERE parent_id IS NULL ORDER BY created_at, client_order_id"""
                )
            ]
            self.fills = [
                (utc(at), name, symbol, Side(side), quantity, price)
                for at, name, symbol, side, quantity, price in rows(
                    "SELECT filled_at, client_order_id, symbol, side, quantity, price FROM fills ORDER BY booking"
                )
            ]
            self.commissions = [
                (utc(at), commission) for at, commission in rows("SELECT filled_at, commission FROM fills")
            ]
            self.ended: dict[str, datetime] = {}
            self.cancel_asked: dict[str, datetime] = {}
            for name, at, status in rows("SELECT client_order_id, event_time, status FROM order_events ORDER BY 2"):
                if status in ("FILLED", "CANCELLED", "EXPIRED", "REJECTED"):
                    self.ended.setdefault(name, utc(at))
                elif status == "CANCEL_PENDING":
                    self.cancel_asked[name] = utc(at)
            self.bars = {
                (utc(at), symbol): (low, high, close, volume)
                for at, symbol, low, high, close, volume in rows(
                    "SELECT bar_time, symbol, low, high, close, volume FROM session_bars"
                )
            }
            self.book = {
                utc(at) + length: (cash, equity)
                for at, cash, equity in rows("SELECT bar_time, cash, equity FROM equity")
            }
            self.halts = [
                (scope, rule, utc(at), ends and utc(ends), cleared and utc(cleared))
                for scope, rule, at, ends, cleared in rows(
                    "SELECT scope, rule, halted_at, expires_at, cleared_at FROM halts"
                )
            ]
            self.alarms = {symbol for (symbol,) in rows("SELECT symbol FROM risk_checks WHERE verdict = 'ALARM'")}
        self.length = length
        self.stopped_at: datetime | None = None
        self.symbols = sorted({symbol for _, symbol in self.bars})

    def position(self, symbol: str, at: datetime | None = None) -> int:
        """Shares held when orders are sent at ``at``; at the very end where None."""
        return sum(
            side.sign * quantity
            for filled_at, _, name, side, quantity, _ in self.fills
            if name == symbol and (at is None or filled_at < at)
        )

    def close(self, symbol: str, at: datetime) -> Decimal:
        known = [moment for moment, name in self.bars if name == symbol and moment + self.length <= at]
        return self.bars[max(known), symbol][2]

    def left_of(self, order: Order, at: datetime) -> int:
        """Shares of the order that may still fill once everything of the moment ``at`` is sent."""
        if order.sent_at > at:
            return 0
        over = self.ended.get(order.name)
        # What the next bar does has its open as its time, which is this moment. A cancel that is asked for now may come late.
        if over is not None and over < at and self.cancel_asked.get(order.name) != at:
            return 0
        # A stop sends what flattens after the broker has shown that its cancels are done.
        if over is not None and over <= at == self.stopped_at:
            return 0
        done = sum(quantity for filled_at, name, *_, quantity, _ in self.fills if name == order.name and filled_at < at)
        return order.quantity - done

    def open_of(self, symbol: str, side: Side, at: datetime) -> list[tuple[Order, int]]:
        found = [
            (order, self.left_of(order, at)) for order in self.orders if (order.symbol, order.side) == (symbol, side)
        ]
        return [(order, left) for order, left in found if left]

    def adds(self, order: Order) -> bool:
        """Whether it does more than reduce the position, with all that was sent beside it; not one that is over already."""
        if not self.left_of(order, order.sent_at):
            return False
        held = self.position(order.symbol, order.sent_at)
        out = sum(left for _, left in self.open_of(order.symbol, order.side, order.sent_at))
        return not (held * order.side.sign < 0 and out <= abs(held))


def utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def traded(at_desk: Any, tape: Any, wanted: Setting) -> Told:
    """The session traded to its end, with a person who interferes before one of its bars."""
    what, when = wanted.person
    with tempfile.TemporaryDirectory() as folder:
        decider = wanted.decider()
        source = tape(wanted.market.bars())
        with at_desk(DAY, decider=decider, source=source, folder=Path(folder), **wanted.sections) as desk:
            agent = decider.agent = desk.agent
            agent.open_session()
            agent.load_warmup_data()
            agent.validate_data()
            agent.reconcile("open")
            interfered_at = None
            for number, (moment, findings) in enumerate(agent.live_bars()):
                agent.reconcile_if_due(moment.bar_time)
                if number == when:
                    interfered_at = moment.bar_time
                    interfere(agent, what, interfered_at)
                agent.process_new_bar(moment, findings)
            agent.end_of_session()
            agent.reconcile("close")
            agent.close_session(SessionState.COMPLETED)
        told = Told(Path(folder), wanted.market.length)
    if what in ("stop", "flatten"):
        told.stopped_at = interfered_at
    return told


def interfere(agent: Any, what: str, at: datetime) -> None:
    if what == "halt":
        agent.loop.latch(Halt("all", "a person", at))
    elif what == "halt of SPY":
        agent.loop.latch(Halt("symbol:SPY", "a person", at))
    elif what in ("stop", "flatten"):
        agent.emergency_stop("a person", flatten=what == "flatten")


# a. Hard limits


def worth_after(held: int, working: list[tuple[Order, int]], price: Decimal) -> Decimal:
    """What a position is worth once these orders of its own direction filled, at the worst price that they allow."""
    shares = held + sum(left for _, left in working)
    return shares * max([price, *(order.worst for order, _ in working)] if shares > 0 else [price])


def no_limit_is_broken(told: Told, risk: RiskSettings, allow_short: bool) -> None:
    for at in sorted({order.sent_at for order in told.orders}):
        adding = [order for order in told.orders if order.sent_at == at and told.adds(order)]
        if not adding:
            continue
        cash, equity = told.book[at]
        for order in adding:
            held = told.position(order.symbol, at) * order.side.sign
            working = told.open_of(order.symbol, order.side, at)
            after = held + sum(left for _, left in working)
            value = worth_after(held, working, told.close(order.symbol, at))
            # What else was sent of it at this moment only reduced.
            sent = sum(left for one, left in working if one.sent_at == at)
            opened = min(sent, after)
            assert allow_short or order.side is Side.BUY
            assert opened <= risk.max_order_shares
            assert opened % risk.lot_size == 0
            assert risk.max_order_notional is None or opened * order.worst <= risk.max_order_notional
            assert after <= risk.max_position_shares
            assert risk.max_position_notional is None or value <= risk.max_position_notional
            assert value <= risk.max_position_fraction * equity
        gross: dict[str, tuple[Decimal, Decimal]] = {}
        net_up = net_down = bound = Decimal(0)
        for symbol in told.symbols:
            held = told.position(symbol, at)
            buys, sales = told.open_of(symbol, Side.BUY, at), told.open_of(symbol, Side.SELL, at)
            if not (held or buys or sales):
                continue
            price = told.close(symbol, at)
            up, down = worth_after(held, buys, price), worth_after(-held, sales, price)
            gross[symbol] = abs(up), abs(down)
            # What only reduces is never refused, so it is not asked how the book leans after it.
            net_up += worth_after(held, [one for one in buys if one[0].sent_at < at or one[0] in adding], price)
            net_down -= worth_after(-held, [one for one in sales if one[0].sent_at < at or one[0] in adding], price)
            # What is bound: shorts twice (their proceeds are no money to spend), and orders beyond what they close.
            bought, sold = sum(left for _, left in buys), sum(left for _, left in sales)
            opened = max(bought - max(-held, 0), 0) + max(sold - max(held, 0), 0)
            bound += (2 * max(-held, 0) + opened) * price
        for order in adding:
            # Its own side, beside the worse side of every other symbol.
            own = gross[order.symbol][0 if order.side is Side.BUY else 1]
            total = own + sum(max(sides) for symbol, sides in gross.items() if symbol != order.symbol)
            assert risk.max_gross_exposure is None or total <= risk.max_gross_exposure
            assert risk.max_leverage is None or total <= risk.max_leverage * equity
        assert risk.max_positions is None or len(gross) <= risk.max_positions
        assert bound <= cash - risk.cash_reserve_fraction * equity
        if risk.max_net_exposure is not None:
            assert not any(order.side is Side.BUY for order in adding) or net_up <= risk.max_net_exposure
            assert not any(order.side is Side.SELL for order in adding) or -net_down <= risk.max_net_exposure


# b. Halts


def nothing_is_added_while_halted(told: Told) -> None:
    for scope, rule, halted_at, ends, cleared in told.halts:
        for order in told.orders:
            covered = (
                scope in ("all", "account:paper") or scope == f"symbol:{order.symbol}" or scope.startswith("strategy")
            )
            # A person halts between two bars, after the orders of the one before; a rule before those of its own.
            began = order.sent_at > halted_at if rule == "operator" else order.sent_at >= halted_at
            over = any(end is not None and end <= order.sent_at for end in (ends, cleared))
            assert not (covered and began and not over and told.adds(order)), (scope, rule, order)


# c. After the day's loss


def the_loss_is_bounded(told: Told, slippage_bps: Decimal) -> None:
    latched = [at for scope, rule, at, *_ in told.halts if rule == "max_daily_loss"]
    if not latched:
        return
    begun = min(latched)
    equity_then = told.book[begun][1]
    held = {symbol: told.position(symbol, begun) for symbol in told.symbols}
    for at, (_, equity) in told.book.items():
        if at <= begun:
            continue
        worst = sum((paid for filled_at, paid in told.commissions if begun <= filled_at < at), Decimal(0))
        for symbol, shares in held.items():
            if not shares:
                continue
            assert 0 <= told.position(symbol, at) * (1 if shares > 0 else -1) <= abs(shares)
            before = told.close(symbol, begun)
            seen = [bar for (moment, name), bar in told.bars.items() if name == symbol and begun <= moment < at]
            if shares > 0:
                price = min([before, *(low for low, *_ in seen)]) * (1 - slippage_bps / 10_000)
            else:
                price = max([before, *(high for _, high, *_ in seen)]) * (1 + slippage_bps / 10_000)
            worst += shares * (before - price) + Decimal("0.01")
        assert equity >= equity_then - worst


# d. The close


def the_day_ends_flat_or_with_an_alarm(told: Told, hours: TradingHours, wanted: Setting) -> None:
    if wanted.sections["closing"]["hold_overnight"]:
        assert not told.alarms or wanted.person[0] in ("stop", "flatten")
        return
    last = hours.closes_at - told.length
    flattening = last - told.length
    for symbol in told.symbols:
        if told.position(symbol):
            assert symbol in told.alarms
        elif symbol in told.alarms:
            raise AssertionError(f"{symbol} is flat and an alarm says that it is not")
        came = (last, symbol) in told.bars and told.bars[last, symbol][3] != 0
        asked = any(at == flattening for at, _ in told.bars)
        if came and asked and wanted.sections["broker"]["paper"]["max_volume_fraction"] == "off":
            assert told.position(symbol) == 0, symbol


@FEW
@given(wanted=SETTINGS)
def test_whatever_is_decided_no_limit_is_broken_and_no_halt_ignored(at_desk, tape, wanted: Setting) -> None:
    told = traded(at_desk, tape, wanted)
    no_limit_is_broken(told, wanted.risk, wanted.sections["orders"]["allow_short"])
    nothing_is_added_while_halted(told)
    the_loss_is_bounded(told, Decimal(wanted.sections["broker"]["paper"]["slippage_bps"]))
    the_day_ends_flat_or_with_an_alarm(told, HOURS, wanted)


# e. Restarts


def traded_in_parts(at_desk: Any, tape: Any, wanted: Setting, folder: Path, stops: frozenset[int]) -> Path:
    """The session, stopped after these bars and taken up by a new desk on the same files; its ledger."""
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done in stops

    for _ in range(len(stops) + 1):
        decider = wanted.decider()
        source = tape(wanted.market.bars())
        with at_desk(DAY, decider=decider, source=source, folder=folder, **wanted.sections) as desk:
            decider.agent = desk.agent
            with contextlib.suppress(StoppedEarly):
                desk.agent.run_session(stop)
                break
    return folder / "ledger.duckdb"


WHAT_HAPPENED = ("orders", "fills", "equity", "risk_checks", "halts", "decisions", "position_snapshots")


@settings(FEW, max_examples=FEW.max_examples // 2)
@given(wanted=SETTINGS, stops=st.frozensets(st.integers(1, 12), min_size=1, max_size=4))
def test_a_session_that_is_restarted_sends_the_orders_it_would_have_sent(
    at_desk, tape, facts, wanted: Setting, stops: frozenset[int]
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        through = facts(traded_in_parts(at_desk, tape, wanted, Path(one), frozenset()), *WHAT_HAPPENED)
        in_parts = facts(traded_in_parts(at_desk, tape, wanted, Path(other), stops), *WHAT_HAPPENED)
    for table in WHAT_HAPPENED:
        assert in_parts[table] == through[table], table
