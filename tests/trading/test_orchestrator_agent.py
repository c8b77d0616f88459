import itertools
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from trading.bars import Bar
from trading.brokers.paper import PaperBroker
from trading.calendar import TradingCalendar
from trading.decisions import Action, Halt, Signal
from trading.differences import InstrumentLock
from trading.errors import (
    AlreadyTraded,
    BrokerUnavailable,
    ClosedDay,
    ConfigurationError,
    DataNotFit,
    Halted,
    NotApproved,
    StoppedEarly,
    Unreconciled,
)
from trading.hooks import Observers
from trading.orders import Side
from trading.policies.buy_and_hold import BuyAndHold
from trading.policies.flat import Flat
from trading.policies.sma_crossover import SmaCrossover
from trading.ports import LedgerEntries, MarketWindow
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict
from trading.sessions import Mode, SessionState
from trading.settings import SizingMethod

MONDAY, TUESDAY, WEDNESDAY = date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7)
HALF_DAY = date(2026, 11, 27)
OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
FACTS = ("decisions", "orders", "fills", "equity", "position_snapshots", "risk_checks", "data_findings")
BUSY = {
    "session": {"symbols": ["SPY", "QQQ"], "timeframe": "15min"},
    "policy": {"parameters": {"fast": 2, "slow": 5}},
}
"""26 bars of two symbols and an order every few bars."""
SMALL = {"sizing": {"method": "fixed_shares", "shares": 50}}


class Script:
    """Says for each bar in turn what the test wrote down; then HOLD."""

    name = fingerprint = "script"
    warmup_bars = 1

    def __init__(self, *says: object) -> None:
        self._says = list(says)

    def decide(self, window: MarketWindow, holdings: object) -> Mapping[str, Signal]:
        said = self._says.pop(0) if self._says else Action.HOLD
        if isinstance(said, Exception):
            raise said
        return dict.fromkeys(window.symbols, Signal(said)) if isinstance(said, Action) else said  # type: ignore[return-value]

    def decide_history(self, bars: object) -> Any:
        raise NotImplementedError


def bars(*closes: str, symbol: str = "SPY", volume: int = 100_000) -> list[Bar]:
    """A bar a minute from the open on; each opens where the one before closed."""
    prices = [Decimal(closes[0]), *map(Decimal, closes)]
    return [
        Bar(symbol, OPENS + timedelta(minutes=minute), was, max(was, now), min(was, now), now, volume)
        for minute, (was, now) in enumerate(itertools.pairwise(prices))
    ]


def asked(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path / "ledger.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def stop_after(count: int) -> Callable[[], bool]:
    left = iter(range(count - 1, -1, -1))
    return lambda: next(left) == 0


# A whole session


def test_a_session_trades_from_the_open_to_the_close_and_says_what_it_came_to(at_desk, tmp_path: Path) -> None:
    with at_desk(**BUSY) as desk:
        summary = desk.agent.run_session()
    assert (summary.state, summary.mode, summary.bars, summary.decisions) == (
        SessionState.COMPLETED,
        Mode.SYNTHETIC,
        26,
        52,
    )
    assert summary.fills > 5
    assert summary.discrepancies == 0
    [(cash, value, equity, realized, unrealized)] = asked(
        tmp_path,
        "SELECT cash, market_value, equity, realized_pnl, unrealized_pnl FROM equity ORDER BY bar_time DESC LIMIT 1",
    )
    assert (equity, realized, unrealized) == (summary.equity, summary.realized_pnl, summary.unrealized_pnl)
    assert cash + value == equity
    assert realized + unrealized == equity - 100_000
    # Bars of a quarter of an hour, a comparison every quarter of an hour: one before each bar but the first.
    assert asked(
        tmp_path, "SELECT stage, count(*), sum(discrepancies) FROM reconciliations GROUP BY ALL ORDER BY ALL"
    ) == [
        ("close", 1, 0),
        ("open", 1, 0),
        ("scheduled", 25, 0),
    ]


def test_a_bought_and_sold_position_is_worked_out_by_hand(at_desk, tape, tmp_path: Path) -> None:
    # Decided at 14:30, bought at the open of 14:31 (100) plus 10 bp: 100.10. Sold at the open of 14:33 (102) less
    # 10 bp: 101.898. 50 shares: 5,094.90 - 5,005.00 - 2 x 1.00 = 87.90.
    tape_of_the_day = tape(bars("100", "101", "102", "103", "103"))
    with at_desk(
        source=tape_of_the_day,
        decider=Script(Action.BUY, Action.HOLD, Action.SELL),
        sizing={"method": "fixed_shares", "shares": 50},
        broker={"paper": {"slippage_bps": 10}},
    ) as desk:
        summary = desk.agent.run_session()
    assert (summary.orders, summary.fills, summary.realized_pnl, summary.commissions) == (2, 2, Decimal("87.90"), 2)
    assert summary.equity == Decimal("100087.90")
    assert asked(tmp_path, "SELECT side, quantity, price, filled_at FROM fills ORDER BY booking") == [
        ("BUY", 50, Decimal("100.100000"), OPENS + timedelta(minutes=1)),
        ("SELL", 50, Decimal("101.898000"), OPENS + timedelta(minutes=3)),
    ]


def test_every_fill_is_at_the_open_after_its_decision(at_desk, tmp_path: Path) -> None:
    with at_desk(**BUSY) as desk:
        desk.agent.run_session()
    times = asked(tmp_path, "SELECT filled_at - bar_time FROM fills JOIN orders USING (client_order_id)")
    assert {gap for (gap,) in times} == {timedelta(minutes=15)}


@pytest.mark.parametrize("method", SizingMethod)
def test_every_sizing_method_trades_a_session(at_desk, method: SizingMethod) -> None:
    sizing = {"method": method, "shares": 7, "notional": "5000"}
    with at_desk(HALF_DAY, BuyAndHold(), sizing=sizing, session={"timeframe": "15min"}) as desk:
        summary = desk.agent.run_session()
        held = desk.agent.get_portfolio_state().positions["SPY"]
    assert (summary.state, summary.orders) == (SessionState.COMPLETED, 1)
    expected = {
        SizingMethod.FIXED_SHARES: range(7, 8),
        SizingMethod.FIXED_NOTIONAL: range(40, 56),
        SizingMethod.VOLATILITY_TARGET: range(1, 501),
    }
    # A tenth of the account is 10,000: about a hundred shares of what costs about 100.
    assert held.quantity in expected.get(method, range(80, 112))


def test_a_half_day_has_210_bars(at_desk) -> None:
    with at_desk(day=HALF_DAY, decider=Flat()) as desk:
        assert desk.agent.run_session().bars == 210


def test_there_is_no_session_on_a_holiday() -> None:
    with pytest.raises(ClosedDay, match="Christmas"):
        TradingCalendar("XNYS", date(2026, 12, 25)).hours(date(2026, 12, 25))


def test_nothing_is_ever_filled_on_a_bad_print(at_desk, tmp_path: Path) -> None:
    market = {"synthetic": {"bad_print_fraction": 0.2, "gap_fraction": 0.05}}
    with at_desk(feed=market, policy={"name": "sma_crossover", "parameters": {"fast": 2, "slow": 5}}) as desk:
        summary = desk.agent.run_session()
    # A duplicate is dropped beside the bar that it repeats, which is good.
    dropped = asked(tmp_path, "SELECT bar_time FROM data_findings WHERE action = 'drop' AND finding <> 'duplicate_bar'")
    fills = asked(tmp_path, "SELECT filled_at FROM fills")
    assert (summary.fills, len(dropped)) == (len(fills), len(set(dropped)))
    assert len(fills) > 10
    assert len(dropped) > 30
    assert not set(fills) & set(dropped)
    assert not set(asked(tmp_path, "SELECT bar_time FROM decisions")) & set(dropped)


# Stopping and going on


@pytest.mark.parametrize("bars_before", [1, 11, 25, 26])
def test_a_session_that_was_stopped_and_taken_up_again_is_the_undisturbed_one(
    at_desk, facts, tmp_path: Path, bars_before: int
) -> None:
    noisy = BUSY | {"feed": {"synthetic": {"gap_fraction": 0.05}}}
    with at_desk(account="whole", **noisy) as desk:
        desk.agent.run_session()
    whole = facts(tmp_path / "ledger.duckdb", *FACTS, "order_events")
    (tmp_path / "ledger.duckdb").unlink()

    (tmp_path / "whole.sqlite").unlink()
    with at_desk(account="whole", **noisy) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(stop_after(bars_before))
    assert asked(tmp_path, "SELECT state FROM sessions") == [("STOPPED",)]
    with at_desk(account="whole", **noisy) as desk:
        summary = desk.agent.run_session()
    assert summary.state is SessionState.COMPLETED
    assert summary.discrepancies == 0
    assert facts(tmp_path / "ledger.duckdb", *FACTS, "order_events") == whole


_CHILD = """
import sys
from datetime import date
from tasks.composition import assemble
from trading.settings import Settings
document = {
    "store": {"path": sys.argv[1]}, "session": {"symbols": ["SPY", "QQQ"]},
    "feed": {"kind": "synthetic"}, "policy": {"parameters": {"fast": 2, "slow": 5}},
}
print("ready", flush=True)
with assemble(Settings.model_validate(document), date(2026, 11, 27)) as desk:
    desk.agent.run_session()
"""


def trade_in_another_process(ledger: Path, seconds_to_live: float | None) -> bool:
    """Whether the session came to its end before the process was killed."""
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(ledger)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    if seconds_to_live is not None:
        time.sleep(seconds_to_live)
        child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    assert child.returncode in (0, -signal.SIGKILL)
    return child.returncode == 0


def test_a_session_whose_process_is_killed_again_and_again_is_the_undisturbed_one(facts, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole" / "l.duckdb", tmp_path / "killed" / "l.duckdb"
    for folder in (whole, killed):
        folder.parent.mkdir()
    assert trade_in_another_process(whole, None)
    moments = random.Random(20261127)
    for _ in range(4):
        if trade_in_another_process(killed, moments.uniform(0.1, 0.9)):
            break
    else:
        assert trade_in_another_process(killed, None)
    assert facts(killed, *FACTS) == facts(whole, *FACTS)
    with duckdb.connect(str(killed), read_only=True) as connection:
        assert connection.execute("SELECT state FROM sessions").fetchall() == [("COMPLETED",)]
        assert connection.execute("SELECT count(*) FROM discrepancies").fetchall() == [(0,)]


def test_a_completed_session_is_not_traded_again(at_desk, facts, tmp_path: Path) -> None:
    with at_desk(**BUSY) as desk:
        first = desk.agent.run_session()
    before = facts(tmp_path / "ledger.duckdb", *FACTS, "sessions", "reconciliations", "order_events")
    with at_desk(**BUSY) as desk:
        assert desk.agent.run_session() == first
    assert facts(tmp_path / "ledger.duckdb", *FACTS, "sessions", "reconciliations", "order_events") == before


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"policy": {"parameters": {"fast": 3, "slow": 5}}}, "policy"),
        ({"session": {"symbols": ["SPY"], "timeframe": "15min"}}, "symbols"),
        ({"session": {"symbols": ["SPY", "QQQ"], "timeframe": "30min"}}, "timeframe"),
        ({"sizing": {"fraction": "0.05"}}, "sizing"),
        ({"orders": {"allow_short": True}}, "orders"),
        ({"book": {"cost_basis": "average"}}, "book"),
    ],
)
def test_a_session_goes_on_only_as_it_began(at_desk, changed: dict[str, Any], named: str) -> None:
    with at_desk(**BUSY) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(stop_after(3))
    with at_desk(**BUSY | changed) as desk, pytest.raises(AlreadyTraded, match=f"other {named}"):
        desk.agent.run_session()


def test_a_session_stopped_by_the_data_has_traded_and_keeps_its_policy(at_desk, tape, tmp_path: Path) -> None:
    # The third bar jumps by a half: set to refuse, it ends a session that has traded already.
    refusing = {"validation": {"price_jump": "refuse"}}
    jumping = tape(bars("100", "100", "150", "100", "100"))
    with at_desk(source=jumping, decider=BuyAndHold(), **refusing) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT state FROM sessions") == [("STOPPED",)]
    assert asked(tmp_path, "SELECT finding, action FROM data_findings WHERE finding = 'price_jump'") == [
        ("price_jump", "refuse")
    ]
    with at_desk(source=jumping, decider=Flat(), **refusing) as desk, pytest.raises(AlreadyTraded):
        desk.agent.run_session()


# An account goes forward in time


def test_positions_are_carried_over_days_and_the_days_add_up(at_desk, tmp_path: Path) -> None:
    equity, carried = [Decimal(100_000)], []
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        with at_desk(day, **BUSY) as desk:
            equity.append(desk.agent.run_session().equity)
            carried.append(bool(desk.agent.get_portfolio_state().positions))
    assert any(carried)
    days = asked(
        tmp_path,
        "SELECT starting_equity, total_pnl, realized_pnl + unrealized_change FROM daily_pnl ORDER BY session_date",
    )
    assert days == [(start, end - start, end - start) for start, end in itertools.pairwise(equity)]


def test_an_account_that_holds_something_refuses_an_earlier_day(at_desk, tmp_path: Path) -> None:
    with at_desk(TUESDAY, BuyAndHold(), **BUSY) as desk:
        desk.agent.run_session()
    with at_desk(MONDAY, BuyAndHold(), **BUSY) as desk, pytest.raises(AlreadyTraded, match="holds SPY, QQQ"):
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT count(*) FROM sessions") == [(1,)]


def test_an_account_without_positions_trades_an_earlier_day(at_desk, tmp_path: Path) -> None:
    with at_desk(TUESDAY, Flat(), **BUSY) as desk:
        desk.agent.run_session()
    with at_desk(MONDAY, BuyAndHold(), **BUSY) as desk:
        summary = desk.agent.run_session()
    assert (summary.fills, summary.discrepancies) == (2, 0)
    # Held is what was booked last, whatever its day.
    assert asked(tmp_path, "SELECT symbol FROM positions ORDER BY symbol") == [("QQQ",), ("SPY",)]


def test_a_bar_that_was_not_committed_is_not_followed_by_another(at_desk) -> None:
    """Whoever retries within the process would go on without the news that the failed try has taken in."""
    with at_desk(MONDAY, BuyAndHold(), **BUSY) as desk:
        agent = desk.agent
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        agent.reconcile("open")
        moments = agent.live_bars()
        agent.generate_action(*next(moments))
        with pytest.raises(StoppedEarly, match="was not committed"):
            agent.generate_action(*next(moments))


def test_a_session_that_never_had_a_bar_binds_nothing(at_desk) -> None:
    too_long = {**BUSY, "session": {"timeframe": "30min", "symbols": ["SPY", "QQQ"]}}
    with at_desk(MONDAY, SmaCrossover(2, 100_000), **too_long) as desk, pytest.raises(ConfigurationError):
        desk.agent.run_session()
    with at_desk(MONDAY, BuyAndHold(), **too_long) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED


def test_a_day_that_was_stopped_is_not_taken_up_after_a_later_one(at_desk) -> None:
    with at_desk(MONDAY, Flat(), **BUSY) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(stop_after(5))
    with at_desk(TUESDAY, Flat(), **BUSY) as desk:
        desk.agent.run_session()
    with at_desk(MONDAY, Flat(), **BUSY) as desk, pytest.raises(AlreadyTraded, match="in its past"):
        desk.agent.run_session()


def test_orders_of_a_session_that_was_stopped_expire_before_the_next_day(at_desk, tmp_path: Path) -> None:
    with at_desk(MONDAY, BuyAndHold(), **BUSY) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(stop_after(1))
    with at_desk(TUESDAY, Flat(), **BUSY) as desk:
        assert desk.agent.run_session().discrepancies == 0
    assert asked(tmp_path, "SELECT DISTINCT status FROM orders") == [("EXPIRED",)]
    assert asked(tmp_path, "SELECT * FROM fills") == []


# Refusing


def test_a_paper_account_that_is_gone_refuses_the_session(at_desk, tmp_path: Path) -> None:
    with at_desk(MONDAY, BuyAndHold(), **BUSY) as desk:
        desk.agent.run_session()
    for file in tmp_path.glob("paper.sqlite*"):
        file.unlink()
    with at_desk(TUESDAY, BuyAndHold(), **BUSY) as desk, pytest.raises(Unreconciled, match="broker no such execution"):
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT state FROM sessions ORDER BY session_date") == [("COMPLETED",), ("REFUSED",)]
    assert asked(tmp_path, "SELECT kind, symbol FROM discrepancies ORDER BY number") == [
        ("unconfirmed_fill", "SPY"),
        ("unconfirmed_fill", "QQQ"),
    ]
    assert asked(tmp_path, "SELECT symbol, lifted_at FROM instrument_locks ORDER BY symbol") == [
        ("QQQ", None),
        ("SPY", None),
    ]


def test_a_paper_account_that_was_edited_locks_what_it_cannot_explain_and_trades_the_rest(
    at_desk, tmp_path: Path
) -> None:
    with at_desk(MONDAY, **BUSY) as desk:
        desk.agent.run_session()
    with sqlite3.connect(tmp_path / "paper.sqlite") as account:
        account.execute("DELETE FROM executions WHERE symbol = 'SPY' AND sequence > 2")
    with at_desk(TUESDAY, **BUSY) as desk:
        summary = desk.agent.run_session()
    assert summary.discrepancies > 0
    assert asked(tmp_path, "SELECT symbol, lifted_at FROM instrument_locks") == [("SPY", None)]
    tuesday = "session_id LIKE '2026-01-06%'"
    [(fills,)] = asked(tmp_path, f"SELECT count(*) FROM fills WHERE symbol = 'QQQ' AND {tuesday}")
    assert fills > 2
    # Leaving a locked position stays possible; going in does not.
    bought = asked(tmp_path, f"SELECT count(*) FROM orders WHERE symbol = 'SPY' AND side = 'BUY' AND {tuesday}")
    assert bought == [(0,)]


def test_a_refused_session_can_be_traded_once_its_reason_is_gone(at_desk, tmp_path: Path) -> None:
    with at_desk(MONDAY, BuyAndHold(), **BUSY) as desk:
        desk.agent.run_session()
    (tmp_path / "paper.sqlite").rename(tmp_path / "away.sqlite")
    with at_desk(TUESDAY, BuyAndHold(), **BUSY) as desk, pytest.raises(Unreconciled):
        desk.agent.run_session()
    (tmp_path / "away.sqlite").rename(tmp_path / "paper.sqlite")
    with at_desk(TUESDAY, BuyAndHold(), **BUSY) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED


@pytest.mark.parametrize("scope", ["all", "account:paper", "strategy:sma_crossover"])
def test_a_halt_in_the_ledger_refuses_a_new_session(at_desk, tmp_path: Path, scope: str) -> None:
    with at_desk(**BUSY) as desk:
        desk.store.ledger.record_halt(Halt(scope, "the operator said so", OPENS - timedelta(hours=1)))
        with pytest.raises(Halted, match="the operator said so"):
            desk.agent.run_session()
    assert asked(tmp_path, "SELECT * FROM orders") == []


def test_a_halt_of_one_symbol_lets_the_others_trade(at_desk, tmp_path: Path) -> None:
    with at_desk(decider=BuyAndHold(), **BUSY) as desk:
        desk.store.ledger.record_halt(Halt("symbol:SPY", "odd prices", OPENS - timedelta(hours=1)))
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT DISTINCT symbol FROM orders") == [("QQQ",)]
    assert asked(tmp_path, "SELECT DISTINCT symbol, rule, verdict FROM risk_checks") == [("SPY", "halted", "REFUSED")]


def test_a_halt_of_something_else_does_not_matter(at_desk) -> None:
    with at_desk(decider=Flat(), **BUSY) as desk:
        desk.store.ledger.record_halt(Halt("account:other", "theirs", OPENS))
        assert desk.agent.run_session().state is SessionState.COMPLETED


def test_a_daily_loss_halts_the_session_lets_reductions_pass_and_is_over_the_next_day(
    at_desk, tape, tmp_path: Path
) -> None:
    # 1,000 shares bought at 10: at 9.90 the loss is 100.00 and a dollar of commission (5.00), beyond the limit of 90.
    # The sale at 14:33 still goes out; buying again does not.
    falling = tape(bars("10", "10", "9.90", "9.90", "9.90", "9.90", "9.90"))
    script = Script(Action.BUY, Action.HOLD, Action.HOLD, Action.SELL, Action.HOLD, Action.BUY)
    limits = {
        "sizing": {"method": "fixed_shares", "shares": 1_000},
        "risk": {"max_daily_loss": "90", "max_order_shares": 1_000},
        "broker": {"paper": {"slippage_bps": 0}},
    }
    with at_desk(source=falling, decider=script, **limits) as desk:
        summary = desk.agent.run_session()
    assert summary.halted
    assert (summary.orders, summary.fills) == (2, 2)
    checks = asked(tmp_path, "SELECT rule, verdict, bar_time FROM risk_checks ORDER BY bar_time")
    assert checks == [
        ("max_daily_loss", "HALTED", OPENS + timedelta(minutes=2)),
        ("halted", "REFUSED", OPENS + timedelta(minutes=5)),
    ]
    with at_desk(TUESDAY, Flat(), **BUSY) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED


def test_a_warmup_that_is_set_to_refuse_refuses_and_is_on_record(at_desk, tape, tmp_path: Path) -> None:
    short = tape(bars("100", "100"))
    with at_desk(source=short, validation={"too_little_history": "refuse"}) as desk, pytest.raises(DataNotFit):
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT state FROM sessions") == [("REFUSED",)]
    assert asked(tmp_path, "SELECT finding, action FROM data_findings") == [("too_little_history", "refuse")]


def test_data_that_refuses_before_anything_was_traded_refuses_the_session(at_desk, tape, tmp_path: Path) -> None:
    thin = tape(bars("100", "100", volume=0))
    with at_desk(source=thin, decider=Flat(), validation={"zero_volume": "refuse"}) as desk, pytest.raises(DataNotFit):
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT state FROM sessions") == [("REFUSED",)]
    assert ("zero_volume",) in asked(tmp_path, "SELECT finding FROM data_findings")


def test_what_the_broker_said_is_kept_when_it_falls_silent_in_the_middle_of_a_comparison(at_desk, tape) -> None:
    # One order is filled, unheard; of another one nobody knows whether it was ever sent.
    class Silent:
        def __init__(self, paper: Any) -> None:
            self._paper = paper
            self.falls_silent = True

        def __getattr__(self, name: str) -> Any:
            return getattr(self._paper, name)

        def find_order(self, client_order_id: str) -> Any:
            if self.falls_silent:
                raise BrokerUnavailable("silence")
            return self._paper.find_order(client_order_id)

    both = tape([*bars("100", "100", "100"), *bars("50", "50", "50", symbol="QQQ")])
    pair = {"session": {"symbols": ["SPY", "QQQ"]}, **SMALL}
    buy = {"SPY": Signal(Action.BUY)}
    markets: list[PaperBroker] = []
    with at_desk(source=both, decider=Script(buy), wrap=lambda paper: markets.append(paper) or paper, **pair) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        agent.process_new_bar(*next(moments))
        # As if the process had died after the market moved on: filled at the broker, not in the ledger.
        markets[0].see(next(moments)[0])
        lost = agent.order_router.intent("QQQ", Side.BUY, 5, Decimal(50), OPENS - timedelta(minutes=5), OPENS)
        desk.store.ledger.commit(agent.session_id, LedgerEntries(intents=[lost]))
    lines: list[Silent] = []

    def line(paper: Any) -> Any:
        lines.append(Silent(paper))
        return lines[0]

    with at_desk(source=both, decider=Script(buy), wrap=line, **pair) as desk:
        agent = desk.agent
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        with pytest.raises(BrokerUnavailable):
            agent.reconcile("open")
        assert [fill.execution.quantity for fill in desk.store.ledger.fills("paper")] == [50]
        lines[0].falls_silent = False
        assert agent.reconcile("open") == []
        assert agent.pnl_tracker.quantity("SPY") == 50


class Fickle:
    """The paper broker behind a line that is silent when its account is asked for, while it is told to be."""

    def __init__(self, paper: Any) -> None:
        self._paper = paper
        self.silent = False

    def __getattr__(self, name: str) -> Any:
        if name == "account" and self.silent:
            raise BrokerUnavailable("silence")
        return getattr(self._paper, name)


def test_a_broker_that_is_silent_at_the_open_refuses_the_session(at_desk, tmp_path: Path) -> None:
    with at_desk(MONDAY, BuyAndHold(), **BUSY) as desk:
        desk.agent.run_session()

    def line(paper: Any) -> Any:
        fickle = Fickle(paper)
        fickle.silent = True
        return fickle

    with (
        at_desk(TUESDAY, BuyAndHold(), wrap=line, **BUSY) as desk,
        pytest.raises(Unreconciled, match="silence is never flat"),
    ):
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT state FROM sessions ORDER BY session_date") == [("COMPLETED",), ("REFUSED",)]


class Mute:
    """Bars before the session that nobody tells."""

    def __init__(self, tape: Any) -> None:
        self._tape = tape

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tape, name)

    def history(self, *_: Any) -> Any:
        raise BrokerUnavailable("silence")


def test_a_warmup_that_nobody_tells_refuses_the_session(at_desk, tape, tmp_path: Path) -> None:
    source = Mute(tape(bars("100", "100")))
    with at_desk(source=source) as desk, pytest.raises(DataNotFit, match="were not told"):
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT state FROM sessions") == [("REFUSED",)]


def test_no_new_risk_is_taken_while_a_broker_is_silent_in_mid_session(at_desk, tape, tmp_path: Path) -> None:
    lines: list[Fickle] = []

    def line(paper: Any) -> Any:
        lines.append(Fickle(paper))
        return lines[0]

    buy, hold = {"SPY": Signal(Action.BUY)}, {"SPY": Signal(Action.HOLD)}
    every_minute = {**SMALL, "reconciliation": {"every_minutes": 1}}
    source = tape(bars(*["100"] * 6))
    with at_desk(source=source, decider=Script(hold, buy, buy, buy), wrap=line, **every_minute) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        for silent in (False, True, True, False):
            moment, findings = next(moments)
            lines[0].silent = silent
            agent.reconcile_if_due(moment.bar_time)
            agent.process_new_bar(moment, findings)
            assert bool(agent.get_open_orders()) is (not silent and moment.bar_time > OPENS)
    refused = asked(tmp_path, "SELECT rule, reason FROM risk_checks ORDER BY bar_time")
    assert [rule for rule, _ in refused] == ["halted", "halted"]
    assert "the broker did not answer" in refused[0][1]


def test_a_lock_lifts_itself_when_the_difference_is_gone(at_desk, tape, tmp_path: Path) -> None:
    buy = {"SPY": Signal(Action.BUY)}
    every_minute = {**SMALL, "reconciliation": {"every_minutes": 1}}
    lock = InstrumentLock("paper", "SPY", OPENS, "position SPY: ledger 0, broker 7")
    with at_desk(source=tape(bars(*["100"] * 4)), decider=Script(buy, buy), **every_minute) as desk:
        agent = opened(desk)
        desk.store.ledger.commit(agent.session_id, LedgerEntries(locks=[lock]))
        agent.loop.gate.lock({"SPY": lock.reason})
        moments = agent.live_bars()
        agent.process_new_bar(*next(moments))
        assert agent.get_open_orders() == {}
        moment, findings = next(moments)
        agent.reconcile_if_due(moment.bar_time)
        agent.process_new_bar(moment, findings)
        assert len(agent.get_open_orders()) == 1
    assert asked(tmp_path, "SELECT count(*) FROM instrument_locks WHERE lifted_at IS NULL") == [(0,)]


# Policies that fail


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (RuntimeError("no model"), "RuntimeError: no model"),
        ({}, "the policy said nothing about this symbol"),
        ({"QQQ": Signal(Action.BUY)}, "the policy said nothing about this symbol"),
        (None, "TypeError: the policy said None instead of a signal for each symbol"),
        ({"SPY": "BUY"}, "the policy said 'BUY' instead of a signal"),
    ],
)
def test_a_policy_that_fails_trades_nothing_and_the_record_says_why(
    at_desk, tape, tmp_path: Path, said: object, error: str
) -> None:
    with at_desk(source=tape(bars("100", "100", "100")), decider=Script(said, said, said)) as desk:
        summary = desk.agent.run_session()
    assert (summary.state, summary.decisions, summary.orders) == (SessionState.COMPLETED, 3, 0)
    assert asked(tmp_path, "SELECT DISTINCT action, error FROM decisions") == [("HOLD", error)]


def test_a_policy_that_speaks_of_half_the_symbols_trades_those(at_desk, tape, tmp_path: Path) -> None:
    both = tape([*bars("100", "100", "100"), *bars("50", "50", "50", symbol="QQQ")])
    half = {"QQQ": Signal(Action.BUY)}
    with at_desk(source=both, decider=Script(half, half, half), session={"symbols": ["SPY", "QQQ"]}) as desk:
        desk.agent.run_session()
    assert asked(tmp_path, "SELECT symbol FROM orders") == [("QQQ",)]


def test_a_policy_that_fails_once_goes_on_with_the_next_bar(at_desk, tape) -> None:
    script = Script(ValueError("once"), Action.BUY)
    with at_desk(source=tape(bars("100", "100", "100")), decider=script) as desk:
        assert desk.agent.run_session().fills == 1


# An operator stops


def opened(desk: Any) -> Any:
    agent = desk.agent
    agent.open_session()
    agent.load_warmup_data()
    agent.validate_data()
    agent.reconcile("open")
    return agent


def test_an_emergency_stop_cancels_what_works_and_stands_for_later_sessions(at_desk, tape, tmp_path: Path) -> None:
    with at_desk(source=tape(bars("100", "100", "100", "100")), decider=BuyAndHold(), **SMALL) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        agent.process_new_bar(*next(moments))
        report = agent.emergency_stop("fat finger")
        assert report.succeeded
        for moment, findings in moments:
            agent.process_new_bar(moment, findings)
        agent.end_of_session()
        assert agent.reconcile("close") == []
        agent.close_session(SessionState.COMPLETED)
    assert asked(tmp_path, "SELECT status FROM orders") == [("CANCELLED",)]
    with at_desk(TUESDAY, BuyAndHold(), **BUSY) as desk, pytest.raises(Halted, match="fat finger"):
        desk.agent.run_session()


@pytest.mark.parametrize("times_pressed", [1, 2, 3])
def test_an_emergency_stop_flattens_however_often_it_is_pressed(at_desk, tape, times_pressed: int) -> None:
    with at_desk(source=tape(bars("100", "100", "100", "100", "100")), decider=Script(Action.BUY), **SMALL) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        for _ in range(2):
            agent.process_new_bar(*next(moments))
        assert agent.pnl_tracker.quantity("SPY") == 50
        for _ in range(times_pressed):
            report = agent.emergency_stop("out", flatten=True)
            # A simulated market fills with the next bar: until then the report owns up to what is left.
            assert not report.failures
            assert not report.succeeded
        for moment, findings in moments:
            agent.process_new_bar(moment, findings)
        assert agent.pnl_tracker.quantity("SPY") == 0
        assert agent.emergency_stop("still out", flatten=True).succeeded


def test_a_flatten_does_not_count_on_an_exit_that_it_has_just_cancelled(at_desk, tape) -> None:
    script = Script(Action.BUY, Action.HOLD, Action.SELL)
    with at_desk(source=tape(bars("100", "100", "100", "100", "100")), decider=script, **SMALL) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        for _ in range(3):
            agent.process_new_bar(*next(moments))
        [working] = agent.get_open_orders().values()
        assert (working.intent.side, working.remaining) == ("SELL", 50)
        agent.emergency_stop("out", flatten=True)
        for moment, findings in moments:
            agent.process_new_bar(moment, findings)
        assert agent.pnl_tracker.quantity("SPY") == 0


# The facade by hand


def test_a_notebook_asks_before_it_trades(at_desk, tape) -> None:
    with at_desk(source=tape(bars("100", "100", "100", "100")), decider=Script(), **SMALL) as desk:
        agent = opened(desk)
        agent.process_new_bar(*next(agent.live_bars()))
        assert agent.calculate_position_size("SPY") == 50
        delta = agent.calculate_shares_and_action(Action.BUY, "SPY")
        assert (delta.target_quantity, delta.side, delta.quantity) == (50, "BUY", 50)
        assert agent.get_open_orders() == {}
        assert agent.calculate_pnl().total == 0
        assert agent.synchronize_portfolio_state_with_broker() == []


def test_an_order_by_hand_is_on_record_and_can_be_called_back(at_desk, tape, tmp_path: Path) -> None:
    with at_desk(source=tape(bars("100", "100", "100", "100")), decider=Script(), **SMALL) as desk:
        agent = opened(desk)
        moments = agent.live_bars()
        agent.process_new_bar(*next(moments))
        [approved] = agent.approve("SPY", Side.BUY, 5).approved
        agent.place_order(approved)
        assert list(agent.get_open_orders()) == [approved.intent.client_order_id]
        agent.cancel_order(approved.intent.client_order_id)
        agent.process_new_bar(*next(moments))
    assert asked(tmp_path, "SELECT quantity, status FROM orders") == [(5, "CANCELLED")]
    assert asked(tmp_path, "SELECT * FROM fills") == []


def test_an_order_by_hand_that_risk_was_not_asked_about_is_not_sent(at_desk, tape, tmp_path: Path) -> None:
    with at_desk(source=tape(bars("100", "100", "100", "100")), decider=Script(), **SMALL) as desk:
        agent = opened(desk)
        agent.process_new_bar(*next(agent.live_bars()))
        intent = agent.order_router.intent("SPY", Side.BUY, 5, Decimal(100), OPENS, OPENS, leg="by hand")
        with pytest.raises(NotApproved, match="was not approved by risk"):
            agent.place_order(ApprovedOrder(intent, PreTradeVerdict(5, ())))
    assert asked(tmp_path, "SELECT * FROM orders") == []


def test_risk_is_heard_by_whoever_subscribes(at_desk, tape) -> None:
    heard: list[str] = []
    with at_desk(source=tape(bars("100", "100")), decider=BuyAndHold(), risk={"max_order_shares": 20}) as desk:
        agent = opened(desk)
        agent.risk_events.subscribe(lambda event: heard.append(f"{event.kind} {event.check.rule}"))
        agent.process_new_bar(*next(agent.live_bars()))
        agent.close_session(SessionState.STOPPED)
    assert heard == ["trimmed max_order_shares"]


def test_the_loop_trades_the_whole_session_by_itself(at_desk, tmp_path: Path) -> None:
    told: list[str] = []
    observers = Observers()
    for event in ("trading_started", "trading_stopped"):
        observers.register(event, lambda happening: told.append(happening.event))
    with at_desk(observers=observers, **BUSY) as desk:
        agent = opened(desk)
        assert agent.start_live_trading_loop() == 26
        agent.end_of_session()
        agent.reconcile("close")
        agent.close_session(SessionState.COMPLETED)
    assert told == ["trading_started", "trading_stopped"]
    # The second comparison is of the close, in the session's time.
    [(closing,)] = asked(tmp_path, "SELECT reconciled_at FROM reconciliations WHERE stage = 'close'")
    assert closing == datetime(2026, 1, 5, 21, 0, tzinfo=UTC)


def test_nothing_works_before_the_session_is_open(at_desk) -> None:
    with at_desk() as desk, pytest.raises(RuntimeError, match="open_session"):
        desk.agent.emergency_stop("too early")


def test_a_fill_before_the_first_finished_bar_does_not_move_what_the_day_began_with(at_desk, tmp_path: Path) -> None:
    # An order of Monday works on, and Tuesday's first bar fills it.
    stays = {**BUSY, "orders": {"order_type": "LIMIT", "time_in_force": "GTC", "limit_offset_bps": "-80"}}
    with at_desk(MONDAY, BuyAndHold(), **stays) as desk:
        desk.agent.run_session()
        before = {one.intent.symbol for one in desk.store.ledger.open_orders("paper")}
    assert before

    markets: list[PaperBroker] = []
    with at_desk(TUESDAY, BuyAndHold(), wrap=lambda paper: markets.append(paper) or paper, **stays) as desk:
        agent = opened(desk)
        began_with = agent.pnl_tracker.starting_equity
        for moment, _ in agent.live_bars():
            markets[0].see(moment)
            if markets[0].account().positions:
                break
        # As if the process had died here: filled, and not one bar of the day is finished.
        agent.reconcile("open")
        assert agent.pnl_tracker.held_symbols
    with at_desk(TUESDAY, BuyAndHold(), **stays) as desk:
        agent = opened(desk)
        assert agent.pnl_tracker.starting_equity == began_with
        assert agent.get_portfolio_state().session_commissions > 0
        agent.close_session(SessionState.STOPPED)
    assert asked(tmp_path, "SELECT starting_equity FROM sessions WHERE session_date = '2026-01-06'") == [(began_with,)]
