"""One Hypothesis profile for everything below (the same examples on every run, never many of them), and a desk to trade
at: real stores and a real paper account on ``tmp_path`` around whatever policy and bars a test needs."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from numpy.typing import NDArray

from storage.store import Store, open_store
from tasks.composition import Desk
from tasks.policy_composition import build_policy
from trading.bars import Bar, BarColumns, RawSlice, Timeframe, to_epoch_us
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.bundles.folder import Bundle, write_bundle
from trading.bundles.manifest import Golden, Manifest
from trading.bundles.network_file import Activation, Answers, Dense, Lstm, Network, write_network
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.errors import DataNotFit
from trading.features.feature_set import FeatureSet
from trading.features.spec import FEATURE_VERSION, FeatureSpec
from trading.feeds.moments import moments
from trading.feeds.synthetic import SyntheticFeed
from trading.hooks import Observers
from trading.market_rules import KnownPrice
from trading.orchestrator_agent import OrchestratorAgent, TradingPorts
from trading.orders import Side
from trading.policies.action_maps import answer_of
from trading.ports import Broker, Feed, Policy
from trading.risk_callbacks import ThrottleLimits, pre_trade_check
from trading.risk_rules import Activity, OtherPositions, RiskView, Rule
from trading.sessions import Mode
from trading.settings import Settings
from trading.trading_hours import TradingHours

# Days on which risk keeps quiet, for tests that are about something else: positions may stay overnight, and every limit
# that can be switched off is, apart from the two that a session's own tests rely on (the day's loss in money, and the
# share of a bar's volume). What a test sets itself stands.
CALM: Mapping[str, Mapping[str, Any]] = {
    "closing": {"hold_overnight": True},
    "risk": {
        "max_order_notional": None,
        "max_price_deviation_fraction": None,
        "max_duplicate_orders": None,
        "max_orders_per_second": None,
        "max_orders_per_session": None,
        "max_cancels_per_minute": None,
        "max_position_notional": None,
        "max_leverage": None,
        "max_positions": None,
        "cash_reserve_fraction": 0,
        "max_impact_bps": None,
        "throttle_skip_fraction": 0,
        "max_price_age_seconds": None,
        "max_gap_bars": None,
        "max_daily_loss_fraction": None,
        "max_session_drawdown_fraction": None,
        "max_drawdown_fraction": None,
        "max_drawdown_speed_fraction": None,
        "max_losing_streak": None,
        "max_symbol_loss": None,
        "max_hourly_turnover": None,
        "max_daily_turnover": None,
        "max_trades_per_session": None,
    },
}


def calmed(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The sections of a test over the calm ones, key by key."""
    return {name: {**CALM.get(name, {}), **sections.get(name, {})} for name in {**CALM, **sections}}


@pytest.fixture
def calm() -> Callable[..., dict[str, dict[str, Any]]]:
    """``calm(risk={...})``: the sections of a test's settings, with risk that keeps quiet in what they leave open."""
    return lambda **sections: calmed(sections)


class StandingWall:
    """A person's clock that never moves: what it dates can be compared."""

    def now(self) -> datetime:
        return datetime(2026, 6, 1, tzinfo=UTC)

    def wait_until(self, moment: datetime) -> None:
        del moment


class Tape:
    """A feed of given bars."""

    mode = Mode.RECORDED

    def __init__(self, bars: Sequence[Bar]) -> None:
        symbols = dict.fromkeys(bar.symbol for bar in bars)
        self._bars = {
            symbol: BarColumns.of(symbol, [bar for bar in bars if bar.symbol == symbol]) for symbol in symbols
        }

    def history(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        bars = self._bars.get(symbol)
        if bars is None:
            raise DataNotFit(f"no bars of {symbol}")
        return bars.take((bars.time >= to_epoch_us(start)) & (bars.time < to_epoch_us(end)))

    def stream(self, symbols: Sequence[str], hours: TradingHours, after: datetime | None) -> Iterator[RawSlice]:
        rows = {symbol: self.history(symbol, hours.opens_at, hours.closes_at) for symbol in symbols}
        if after is not None:
            rows = {symbol: bars.take(bars.time > to_epoch_us(after)) for symbol, bars in rows.items()}
        return moments(rows, hours, Settings().session.timeframe, BarClock(hours.opens_at))


@pytest.fixture
def tape() -> type[Tape]:
    return Tape


DeskMaker = Callable[..., contextlib.AbstractContextManager[Desk]]


@pytest.fixture
def at_desk(tmp_path: Path) -> DeskMaker:
    """``with at_desk(day, decider=..., source=..., sizing={...}) as desk``: everything else is as in a real
    session, on days on which risk keeps quiet (``CALM``) in what the sections leave open.

    Sessions of one test share the ledger ``ledger.duckdb`` and the account's file. ``wrap`` makes a broker of its
    own out of the paper one.
    """

    @contextlib.contextmanager
    def desk(
        day: date = date(2026, 1, 5),
        decider: Policy | None = None,
        source: Feed | None = None,
        observers: Observers | None = None,
        account: str = "paper",
        folder: Path = tmp_path,
        wrap: Callable[[PaperBroker], Broker] = lambda paper: paper,
        shadow: Policy | None = None,
        **sections: Mapping[str, Any],
    ) -> Iterator[Desk]:
        wanted = Settings.model_validate(calmed(sections))
        calendar = TradingCalendar(wanted.session.exchange, day)
        hours = calendar.hours(day)
        with contextlib.ExitStack() as stack:
            store: Store = stack.enter_context(open_store(folder / "ledger.duckdb"))
            file = PaperFile(folder / f"{account}.sqlite", account)
            stack.callback(file.close)
            paper = PaperBroker(account, wanted.broker.paper, hours.opens_at, file)
            clock = BarClock(hours.opens_at)
            timeframe = wanted.session.timeframe
            ports = TradingPorts(
                calendar,
                clock,
                StandingWall(),
                source or SyntheticFeed(wanted.feed.synthetic, calendar, timeframe, clock),
                wrap(paper),
                decider or build_policy(wanted.policy),
                store.ledger,
                paper,
                shadow=shadow,
            )
            yield Desk(OrchestratorAgent(wanted, account, hours, ports, observers or Observers()), hours, store)

    return desk


@pytest.fixture
def network_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """``network_bundle(weight, features=[...])``: a whole bundle around one layer (outputs x features) of numbers.

    Its golden samples are worked out here with plain sums. ``memory`` puts one recurrent cell before the layer.
    """

    def make(
        weight: Sequence[Sequence[float]],
        features: Sequence[Mapping[str, Any]] = ({"name": "return", "parameters": {"bars": 1}},),
        bias: Sequence[float] | None = None,
        actions: Mapping[str, Any] | None = None,
        answers: Answers = Answers.PROBABILITIES,
        memory: Lstm | None = None,
        folder: Path | None = None,
        **other: Any,
    ) -> Bundle:
        specs = [FeatureSpec.model_validate(spec) for spec in features]
        labels = FeatureSet(specs, Timeframe(other.get("timeframe", "1min")), "XNYS").labels
        matrix, offset = np.array(weight, dtype=np.float64), np.array(bias or [0.0] * len(weight))
        rows = np.arange(2 * len(labels), dtype=np.float64).reshape(2, -1) / 10
        network = Network(
            labels,
            Activation.TANH,
            answers,
            (Dense(matrix, offset),),
            (memory,) if memory is not None else (),
            (-1.0, 1.0) if answers is Answers.MEAN else None,
        )
        seen = rows if memory is None else _remembered(memory, rows)
        scores = seen @ matrix.T + offset
        if answers is Answers.PROBABILITIES:
            scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        if answers is Answers.MEAN:
            scores = np.clip(scores, -1.0, 1.0)
        document = {
            "kind": "ppo",
            "name": "probe",
            "version": "1",
            "created": "2026-01-02T22:00:00Z",
            "exchange": "XNYS",
            "timeframe": "1min",
            "trained": {
                "symbols": ["SPY"],
                "first": "2025-12-01T14:30:00Z",
                "last": "2026-01-02T20:59:00Z",
                "bars": 8_000,
                "data_fingerprint": "d",
            },
            "features": [spec.model_dump() for spec in specs],
            "feature_version": FEATURE_VERSION,
            "actions": actions or {"kind": "choice", "actions": ["SELL", "HOLD", "BUY"][: len(weight)]},
            "weights": {"format": "arrays", "file": "model.npz"},
            "files": {},
        }
        manifest = Manifest.model_validate({**document, **other})
        answered = [answer_of(manifest.actions, row) for row in scores.tolist()]
        golden = Golden(features=labels, observations=rows.tolist(), scores=scores.tolist(), actions=answered)
        return write_bundle(folder or tmp_path / "bundles" / "probe", manifest, write_network(network), golden)

    return make


def _remembered(cell: Lstm, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a recurrent cell makes of rows one after the other, from nothing (Hochreiter & Schmidhuber 1997, torch's gates)."""
    size = cell.hidden.shape[1]
    hidden, kept, made = np.zeros(size), np.zeros(size), []
    for row in rows:
        gates = cell.input @ row + cell.hidden @ hidden + cell.bias
        into, forget, new, out = (gates[number * size : (number + 1) * size] for number in range(4))
        kept = kept / (1 + np.exp(-forget)) + np.tanh(new) / (1 + np.exp(-into))
        hidden = np.tanh(kept) / (1 + np.exp(-out))
        made.append(hidden)
    return np.array(made)


_OF_THE_WALL = {"started_at", "ended_at", "latency_ms", "attempts"}


@pytest.fixture
def facts() -> Callable[..., dict[str, list[tuple[object, ...]]]]:
    """Rows of a closed ledger by table, in no order, without what the wall clock and the number of tries write."""

    def read(path: Path, *tables: str) -> dict[str, list[tuple[object, ...]]]:
        with duckdb.connect(str(path), read_only=True) as connection:
            found = {}
            for table in tables:
                cursor = connection.execute(f"SELECT * FROM {table}")
                kept = [place for place, column in enumerate(cursor.description) if column[0] not in _OF_THE_WALL]
                found[table] = sorted((tuple(row[place] for place in kept) for row in cursor.fetchall()), key=repr)
            return found

    return read


# Risk: an order as the rules see it

_AN_ORDER = RiskView(
    symbol="SPY",
    side=Side.BUY,
    quantity=100,
    adding=100,
    price=Decimal(50),
    position=0,
    working=0,
    equity=Decimal(100_000),
    free_cash=Decimal(100_000),
    average_volume=Decimal(10_000),
    spread_bps=None,
    volatility_fraction=Decimal("0.01"),
    halted=None,
    opposing=0,
    previous_price=Decimal(50),
    limit_price=None,
    stop_price=None,
    missing_bars=0,
    price_age_seconds=Decimal(1),
    entries_closed=None,
    session_date=date(2026, 1, 5),
    others=OtherPositions(Decimal(0), Decimal(0), Decimal(0), 0, held=False),
    activity=Activity(0, 0, (), 0, Decimal(0), Decimal(0), 0, 0, opened_today=False),
    tail=None,
)
_EVERYTHING_GOES = ThrottleLimits(None, Decimal("Infinity"), Decimal("Infinity"))


def _risk_view(**changes: Any) -> RiskView:
    if "quantity" in changes and "adding" not in changes:
        changes["adding"] = changes["quantity"]
    for part in ("others", "activity"):
        if isinstance(changes.get(part), Mapping):
            changes[part] = replace(getattr(_AN_ORDER, part), **changes[part])
    return replace(_AN_ORDER, **changes)


@pytest.fixture(scope="session")
def risk_view() -> Callable[..., RiskView]:
    """``risk_view(position=-100, others={"count": 3})``: a purchase of 100 SPY at 50 (5,000) into an empty account of 100,000,
    with changes. What it adds is all of it unless the test says otherwise."""
    return _risk_view


@pytest.fixture(scope="session")
def allowed() -> Callable[..., int | None]:
    """``allowed(rule, **changes)``: adding shares that the rule allows, None where it agrees with all of them."""

    def ask(rule: Rule, **changes: Any) -> int | None:
        objection = rule.object_to(_risk_view(**changes))
        return None if objection is None else objection.allowed

    return ask


@pytest.fixture(scope="session")
def refused() -> Callable[..., bool]:
    """``refused(rule, **changes)``: whether the pre-trade check lets none of the order through, with this rule and a known price."""

    def ask(rule: Rule, **changes: Any) -> bool:
        return pre_trade_check(_risk_view(**changes), (KnownPrice(), rule), _EVERYTHING_GOES).refused

    return ask
