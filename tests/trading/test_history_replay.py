"""A replay makes what its sessions would have made one by one: that is its whole promise, so that is what is compared."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.store import Store, open_store
from trading.bars import BarColumns, from_epoch_us, to_epoch_us
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.calendar import TradingCalendar, TradingHours
from trading.clocks.bar_clock import BarClock
from trading.feeds.recorded import RecordedFeed
from trading.feeds.synthetic import SyntheticFeed
from trading.history_replay import HistoryReplay
from trading.orchestrator_agent import OrchestratorAgent, TradingPorts
from trading.policies.sma_crossover import SmaCrossover
from trading.sessions import Mode
from trading.settings import Settings

ACCOUNT = "paper"
FIRST_WARMUP_DAY, FIRST_DAY, LAST_DAY = date(2026, 1, 2), date(2026, 1, 6), date(2026, 1, 12)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CALENDAR = TradingCalendar("XNYS", FIRST_DAY)

WIDE = {
    "max_order_shares": 1_000_000,
    "max_position_shares": 1_000_000,
    "max_position_fraction": 1,
    "max_daily_loss": None,
    "max_participation_fraction": None,
}

# Everything of the record that a replay and live sessions must agree on, in an order that both have.
QUESTIONS = {
    "sessions": """SELECT session_id, session_date, mode, state, last_bar_time, policy_fingerprint, starting_equity,
        starting_realized_pnl FROM sessions ORDER BY session_id""",
    "decisions": """SELECT session_id, bar_time, symbol, action, target_quantity, confidence, error FROM decisions
        ORDER BY bar_time, symbol""",
    "risk_checks": "SELECT * FROM risk_checks ORDER BY bar_time, symbol, rule",
    "orders": "SELECT * FROM orders ORDER BY bar_time, symbol",
    "order_events": """SELECT client_order_id, event_time, status, detail, broker_order_id FROM order_events
        ORDER BY client_order_id, event_time, status""",
    "fills": "SELECT * FROM fills ORDER BY booking",
    "position_snapshots": "SELECT * FROM position_snapshots ORDER BY bar_time, symbol",
    "equity": """SELECT session_id, bar_time, cash, market_value, equity, realized_pnl, unrealized_pnl, drawdown
        FROM equity ORDER BY bar_time""",
    "halts": "SELECT scope, halted_at, reason, expires_at, cleared_at, cleared_by FROM halts ORDER BY halted_at",
    "positions": "SELECT * FROM positions ORDER BY symbol",
    "trades": "SELECT * FROM trades ORDER BY ALL",
}


@dataclass(frozen=True, slots=True)
class BarsInMemory:
    """Implements ``trading.ports.BarSource``."""

    bars: Mapping[str, BarColumns]
    name: str = "the bars of the test"

    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted(self.bars))

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        columns = self.bars[symbol]
        return columns.take((columns.time >= to_epoch_us(start)) & (columns.time < to_epoch_us(end)))

    def span(self, symbol: str) -> tuple[datetime, datetime] | None:
        times = self.bars[symbol].time
        return (from_epoch_us(times[0]), from_epoch_us(times[-1])) if len(times) else None


def settings(symbols: Sequence[str], **sections: dict[str, Any]) -> Settings:
    """Five-minute bars and quick averages: a week has many crossings and few bars."""
    return Settings.model_validate(
        {
            "session": {"symbols": symbols, "timeframe": "5min"},
            "policy": {"parameters": {"fast": 3, "slow": 8}},
            "sizing": {"fraction": "0.3"},
            "risk": WIDE,
        }
        | sections
    )


def market(wanted: Settings) -> dict[str, BarColumns]:
    """Synthetic bars of the week, the days before it included."""
    feed = SyntheticFeed(wanted.feed.synthetic, CALENDAR, wanted.session.timeframe, BarClock(NOON))
    days = CALENDAR.sessions_between(FIRST_WARMUP_DAY, LAST_DAY)
    return {symbol: feed.history(symbol, days[0].opens_at, days[-1].closes_at) for symbol in wanted.session.symbols}


def week() -> list[TradingHours]:
    return CALENDAR.sessions_between(FIRST_DAY, LAST_DAY)


def trade_live(wanted: Settings, bars: Mapping[str, BarColumns], directory: Path) -> dict[str, list[Any]]:
    """Day after day as it is done live: each session opens the ledger and the broker's account anew."""
    database = directory / "live.duckdb"
    for hours in week():
        with open_store(database) as store, closing(PaperFile(directory / "live.sqlite", ACCOUNT)) as file:
            broker = PaperBroker(ACCOUNT, wanted.broker.paper, hours.opens_at, file)
            feed = RecordedFeed(BarsInMemory(bars), wanted.session.timeframe, BarClock(hours.opens_at))
            clock = BarClock(hours.opens_at)
            ports = TradingPorts(CALENDAR, clock, clock, feed, broker, policy(wanted), store.ledger, broker)
            assert OrchestratorAgent(wanted, ACCOUNT, hours, ports).run_session().discrepancies == 0
    with open_store(database) as store:
        return answers(store)


def trade_replay(wanted: Settings, bars: Mapping[str, BarColumns], directory: Path) -> dict[str, list[Any]]:
    """The same week at once."""
    with open_store(directory / "replay.duckdb") as store:
        broker = PaperBroker(ACCOUNT, wanted.broker.paper, week()[0].opens_at)
        clock = BarClock(NOON)
        replay = HistoryReplay(wanted, ACCOUNT, policy(wanted), broker, broker, store.ledger, clock, Mode.RECORDED)
        outcome = replay.run(bars, week())
        found = answers(store)
    assert outcome.sessions == len(week())
    assert outcome.symbol_bars == len(found["decisions"])
    assert outcome.orders == len(found["orders"])
    assert outcome.fills == len(found["fills"])
    assert outcome.equity == found["equity"][-1][4]
    return found


def policy(wanted: Settings) -> SmaCrossover:
    return SmaCrossover(int(wanted.policy.parameters["fast"]), int(wanted.policy.parameters["slow"]))


def answers(store: Store) -> dict[str, list[Any]]:
    return {name: store.connection.rows(question) for name, question in QUESTIONS.items()}


def compared(wanted: Settings, bars: Mapping[str, BarColumns], directory: Path) -> dict[str, list[Any]]:
    """Trade the week both ways, compare table by table, and return what both have."""
    live = trade_live(wanted, bars, directory)
    replayed = trade_replay(wanted, bars, directory)
    for name in QUESTIONS:
        assert len(replayed[name]) == len(live[name]), name
        for ours, reference in zip(replayed[name], live[name], strict=True):
            assert ours == reference, name
    return replayed


def test_one_symbol_makes_the_same_record_replayed_as_live(tmp_path: Path) -> None:
    wanted = settings(["SPY"])
    found = compared(wanted, market(wanted), tmp_path)

    assert len(found["decisions"]) == 5 * 78
    assert len(found["trades"]) > 10


def test_symbols_that_miss_bars_make_the_same_record_replayed_as_live(tmp_path: Path) -> None:
    wanted = settings(["SPY", "QQQ", "IWM"], feed={"synthetic": {"gap_fraction": 0.3}})
    bars = market(wanted)
    found = compared(wanted, bars, tmp_path)

    expected = sum(int((columns.time >= to_epoch_us(week()[0].opens_at)).sum()) for columns in bars.values())
    assert len(found["decisions"]) == expected < 3 * 5 * 78 * 0.75


def test_a_symbol_that_is_away_for_days_keeps_its_last_price(tmp_path: Path) -> None:
    wanted = settings(["SPY", "QQQ"])
    bars = market(wanted)
    # Away from Wednesday 15:00 UTC to the end of Thursday.
    first, last = (to_epoch_us(datetime(2026, 1, day, hour, tzinfo=UTC)) for day, hour in ((7, 15), (9, 0)))
    times = bars["QQQ"].time
    bars["QQQ"] = bars["QQQ"].take((times < first) | (times >= last))

    compared(wanted, bars, tmp_path)


def test_a_symbol_that_comes_late_is_decided_from_its_first_bar_on(tmp_path: Path) -> None:
    wanted = settings(["SPY", "QQQ"])
    bars = market(wanted)
    bars["QQQ"] = bars["QQQ"].take(bars["QQQ"].time >= to_epoch_us(datetime(2026, 1, 7, 16, tzinfo=UTC)))

    found = compared(wanted, bars, tmp_path)

    # Seven bars hold, the eighth decides.
    first = [action for _, _, symbol, action, *_ in found["decisions"] if symbol == "QQQ"][:8]
    assert first[:7] == ["HOLD"] * 7
    assert first[7] != "HOLD"


@pytest.mark.parametrize("gap_fraction", [0.0, 0.2])
def test_orders_that_fill_in_parts_make_the_same_record_replayed_as_live(tmp_path: Path, gap_fraction: float) -> None:
    wanted = settings(
        ["SPY", "QQQ"],
        feed={"synthetic": {"gap_fraction": gap_fraction}},
        broker={"paper": {"max_volume_fraction": "0.001", "commission_maximum_fraction": "0.005"}},
    )
    found = compared(wanted, market(wanted), tmp_path)

    statuses = [status for _, _, status, *_ in found["order_events"]]
    assert statuses.count("PARTIALLY_FILLED") > 50
    assert "CANCELLED" in statuses


def test_short_selling_makes_the_same_record_replayed_as_live(tmp_path: Path) -> None:
    wanted = settings(
        ["SPY", "QQQ", "IWM"],
        feed={"synthetic": {"gap_fraction": 0.1}},
        orders={"allow_short": True},
        broker={"paper": {"max_volume_fraction": "0.002"}},
        book={"cost_basis": "average"},
    )
    found = compared(wanted, market(wanted), tmp_path)

    assert any(target < 0 for *_, target, _, _ in found["decisions"])


def test_a_day_halted_by_its_loss_makes_the_same_record_replayed_as_live(tmp_path: Path) -> None:
    wanted = settings(
        ["SPY", "QQQ"],
        orders={"allow_short": True},
        risk=WIDE | {"max_daily_loss": 150},
        feed={"synthetic": {"gap_fraction": 0.1, "annual_volatility_fraction": 0.6}},
    )
    found = compared(wanted, market(wanted), tmp_path)

    assert found["halts"]
    assert any(rule == "halted" for _, _, _, _, rule, *_ in found["risk_checks"])
    assert len({halted_at.date() for _, halted_at, *_ in found["halts"]}) < 5, "some days are not halted"


def test_orders_for_the_close_make_the_same_record_replayed_as_live(tmp_path: Path) -> None:
    wanted = settings(
        ["SPY", "QQQ"], orders={"order_type": "LIMIT_ON_CLOSE"}, feed={"synthetic": {"gap_fraction": 0.05}}
    )
    found = compared(wanted, market(wanted), tmp_path)

    assert found["fills"]


def test_order_events_and_halts_of_a_replay_name_their_own_session(tmp_path: Path) -> None:
    wanted = settings(["SPY"], risk=WIDE | {"max_daily_loss": 50})
    trade_replay(wanted, market(wanted), tmp_path)

    with open_store(tmp_path / "replay.duckdb") as store:
        events = store.connection.rows(
            "SELECT DISTINCT events.session_id, orders.session_id FROM order_events AS events"
            " JOIN orders USING (client_order_id)"
        )
        halts = store.connection.rows("SELECT session_id, halted_at FROM halts")
    assert all(event == order for event, order in events)
    assert all(session.startswith(halted_at.date().isoformat()) for session, halted_at in halts)


def test_orders_that_risk_trims_and_refuses_make_the_same_record_replayed_as_live(tmp_path: Path) -> None:
    wanted = settings(
        ["SPY", "QQQ", "IWM"],
        sizing={"fraction": "0.6"},
        risk=WIDE | {"max_order_shares": 500, "max_participation_fraction": "0.01", "max_volatility_fraction": "0.001"},
    )
    found = compared(wanted, market(wanted), tmp_path)

    rules = {rule for _, _, _, _, rule, *_ in found["risk_checks"]}
    assert {"throttle_size", "buying_power", "max_order_shares"} <= rules


def test_sizes_by_volatility_make_the_same_record_replayed_as_live(tmp_path: Path) -> None:
    wanted = settings(["SPY", "QQQ"], sizing={"method": "volatility_target", "risk_fraction": "0.0005"})
    compared(wanted, market(wanted), tmp_path)


def test_a_policy_is_not_asked_about_later_bars(tmp_path: Path) -> None:
    wanted = settings(["SPY"])
    bars = market(wanted)
    cut = int(np.searchsorted(bars["SPY"].time, to_epoch_us(week()[-1].opens_at)))
    before_cut, after_cut = bars["SPY"].take(slice(cut)), bars["SPY"].take(slice(cut, None))
    doubled = replace(
        after_cut, open=after_cut.open * 2, high=after_cut.high * 2, low=after_cut.low * 2, close=after_cut.close * 2
    )
    changed = before_cut.joined(doubled)
    (tmp_path / "changed").mkdir()

    before = trade_replay(wanted, bars, tmp_path)["decisions"]
    after = trade_replay(wanted, {"SPY": changed}, tmp_path / "changed")["decisions"]

    assert before[: 4 * 78] == after[: 4 * 78]


def test_the_book_of_a_replay_adds_up_on_every_bar(tmp_path: Path) -> None:
    wanted = settings(["SPY", "QQQ"], orders={"allow_short": True})
    for _, _, cash, value, equity, realized, unrealized, _ in trade_replay(wanted, market(wanted), tmp_path)["equity"]:
        assert cash + value == equity
        assert realized + unrealized == equity - Decimal(100_000)
