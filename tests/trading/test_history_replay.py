"""A replay makes what its sessions would have made one by one: that is its whole promise, so that is what is compared."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.store import Store, open_store
from tasks.policy_composition import assemble_policy
from trading.bars import MISSING, BarColumns, from_epoch_us, to_epoch_us
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.bundles.folder import Bundle
from trading.bundles.network_file import Answers, Lstm
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.errors import Halted
from trading.feeds.recorded import RecordedFeed
from trading.feeds.synthetic import SyntheticFeed
from trading.history_replay import HistoryReplay
from trading.money import from_micros
from trading.orchestrator_agent import OrchestratorAgent, TradingPorts
from trading.ports import Policy
from trading.sessions import Mode
from trading.settings import Settings
from trading.trading_hours import TradingHours

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
    "decisions": """SELECT session_id, bar_time, symbol, action, target_quantity, round(confidence, 8), error, note
        FROM decisions
        ORDER BY bar_time, symbol""",
    "weights": "SELECT bar_time, symbol, round(target_weight, 8) FROM decisions ORDER BY bar_time, symbol",
    "risk_checks": "SELECT * FROM risk_checks ORDER BY bar_time, symbol, rule, client_order_id, reason",
    "orders": "SELECT * FROM orders ORDER BY bar_time, symbol, client_order_id",
    "order_events": """SELECT client_order_id, event_time, status, detail, broker_order_id FROM order_events
        ORDER BY client_order_id, event_time, status""",
    "fills": "SELECT * FROM fills ORDER BY booking",
    "money": "SELECT symbol, side, quantity, price, commission FROM fills ORDER BY booking",
    "position_snapshots": "SELECT * FROM position_snapshots ORDER BY bar_time, symbol",
    "equity": """SELECT session_id, bar_time, cash, market_value, equity, realized_pnl, unrealized_pnl, drawdown
        FROM equity ORDER BY bar_time""",
    "halts": "SELECT halted_at, scope, rule, session_id, reason, expires_at, cleared_at, cleared_by FROM halts ORDER BY ALL",
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


QUICK = {"policy": {"parameters": {"fast": 3, "slow": 8}}, "sizing": {"fraction": "0.3"}}
MakeSettings = Callable[..., Settings]


@pytest.fixture
def settings(calm: Callable[..., Any]) -> MakeSettings:
    """Long bars and quick averages: a week has many crossings and few bars. Risk keeps quiet."""

    def made(symbols: Sequence[str], timeframe: str = "10min", **sections: dict[str, Any]) -> Settings:
        session = {"symbols": symbols, "timeframe": timeframe}
        return Settings.model_validate(calm(**{"session": session, **QUICK, "risk": WIDE} | sections))

    return made


def careful(symbols: Sequence[str], timeframe: str = "10min", **sections: dict[str, Any]) -> Settings:
    """The same week with every limit and the end of the day as they are where nobody sets anything."""
    session = {"symbols": symbols, "timeframe": timeframe}
    return Settings.model_validate({"session": session, **QUICK} | sections)


def market(wanted: Settings) -> dict[str, BarColumns]:
    """Synthetic bars of the week, the days before it included."""
    feed = SyntheticFeed(wanted.feed.synthetic, CALENDAR, wanted.session.timeframe, BarClock(NOON))
    days = CALENDAR.sessions_between(FIRST_WARMUP_DAY, LAST_DAY)
    return {symbol: feed.history(symbol, days[0].opens_at, days[-1].closes_at) for symbol in wanted.session.symbols}


def week() -> list[TradingHours]:
    return CALENDAR.sessions_between(FIRST_DAY, LAST_DAY)


def trade_live(
    wanted: Settings, bars: Mapping[str, BarColumns], directory: Path, days: Sequence[TradingHours] = ()
) -> dict[str, list[Any]]:
    """Day after day as it is done live: each session opens the ledger and the broker's account anew."""
    database = directory / "live.duckdb"
    for hours in days or week():
        with open_store(database) as store, closing(PaperFile(directory / "live.sqlite", ACCOUNT)) as file:
            broker = PaperBroker(ACCOUNT, wanted.broker.paper, hours.opens_at, file)
            feed = RecordedFeed(BarsInMemory(bars), wanted.session.timeframe, BarClock(hours.opens_at))
            clock = BarClock(hours.opens_at)
            ports = TradingPorts(CALENDAR, clock, clock, feed, broker, policy(wanted), store.ledger, broker)
            agent = OrchestratorAgent(wanted, ACCOUNT, hours, ports)
            if halted_for_good(store):
                with pytest.raises(Halted):
                    agent.run_session()
                break
            assert agent.run_session().discrepancies == 0
    with open_store(database) as store:
        return answers(store)


def halted_for_good(store: Store) -> bool:
    """Whether a halt stands that only a person ends: no session starts under it."""
    return bool(store.connection.rows("FROM halts WHERE expires_at IS NULL"))


def trade_replay(
    wanted: Settings, bars: Mapping[str, BarColumns], directory: Path, days: Sequence[TradingHours] = ()
) -> dict[str, list[Any]]:
    """The same days at once."""
    days = days or week()
    with open_store(directory / "replay.duckdb") as store:
        broker = PaperBroker(ACCOUNT, wanted.broker.paper, days[0].opens_at)
        clock = BarClock(NOON)
        replay = HistoryReplay(wanted, ACCOUNT, policy(wanted), broker, broker, store.ledger, clock, Mode.RECORDED)
        outcome = replay.run(bars, days)
        found = answers(store)
    assert outcome.sessions == len(found["sessions"])
    assert outcome.sessions == len(days) or outcome.halted is not None
    assert outcome.symbol_bars == len(found["decisions"])
    assert outcome.orders == len(found["orders"])
    assert outcome.fills == len(found["fills"])
    assert outcome.equity == worth_at_the_end(found, bars, days[outcome.sessions - 1])
    return found


def worth_at_the_end(found: Mapping[str, list[Any]], bars: Mapping[str, BarColumns], last: TradingHours) -> Decimal:
    """Cash and positions after the last close, folded from the fills alone: what trades in the closing auction comes after
    the last bar's equity."""
    worth = Decimal(100_000)
    for symbol, side, quantity, price, commission in found["money"]:
        times, closes = bars[symbol].time, bars[symbol].close
        close = from_micros(int(closes[np.searchsorted(times, to_epoch_us(last.closes_at)) - 1]))
        worth += (quantity if side == "BUY" else -quantity) * (close - price) - commission
    return worth


def policy(wanted: Settings) -> Policy:
    return assemble_policy(wanted.policy, wanted, None)


def answers(store: Store) -> dict[str, list[Any]]:
    return {name: store.connection.rows(question) for name, question in QUESTIONS.items()}


def compared(
    wanted: Settings, bars: Mapping[str, BarColumns], directory: Path, days: Sequence[TradingHours] = ()
) -> dict[str, list[Any]]:
    """Trade the days (the week) both ways, compare table by table, and return what both have."""
    live = trade_live(wanted, bars, directory, days)
    replayed = trade_replay(wanted, bars, directory, days)
    for name in QUESTIONS:
        assert len(replayed[name]) == len(live[name]), name
        for ours, reference in zip(replayed[name], live[name], strict=True):
            assert ours == reference, name
    return replayed


def test_one_symbol_makes_the_same_record_replayed_as_live(tmp_path: Path, settings: MakeSettings) -> None:
    wanted = settings(["SPY"])
    found = compared(wanted, market(wanted), tmp_path, week()[:3])

    assert len(found["decisions"]) == 3 * 39
    assert len(found["trades"]) > 5


def test_symbols_that_miss_bars_make_the_same_record_replayed_as_live(tmp_path: Path, settings: MakeSettings) -> None:
    wanted = settings(["SPY", "QQQ", "IWM"], feed={"synthetic": {"gap_fraction": 0.3}})
    bars = market(wanted)
    days = week()[:2]
    found = compared(wanted, bars, tmp_path, days)

    first, last = to_epoch_us(days[0].opens_at), to_epoch_us(days[-1].closes_at)
    expected = sum(int(((columns.time >= first) & (columns.time < last)).sum()) for columns in bars.values())
    assert len(found["decisions"]) == expected < 2 * 3 * 39 * 0.75


def test_a_symbol_that_is_away_for_days_keeps_its_last_price(tmp_path: Path, settings: MakeSettings) -> None:
    wanted = settings(["SPY", "QQQ"])
    bars = market(wanted)
    # Away from Wednesday 15:00 UTC to the end of Thursday.
    first, last = (to_epoch_us(datetime(2026, 1, day, hour, tzinfo=UTC)) for day, hour in ((7, 15), (9, 0)))
    times = bars["QQQ"].time
    bars["QQQ"] = bars["QQQ"].take((times < first) | (times >= last))

    compared(wanted, bars, tmp_path, week()[:4])


def test_a_symbol_that_comes_late_is_decided_from_its_first_bar_on(tmp_path: Path, settings: MakeSettings) -> None:
    wanted = settings(["SPY", "QQQ"])
    bars = market(wanted)
    bars["QQQ"] = bars["QQQ"].take(bars["QQQ"].time >= to_epoch_us(datetime(2026, 1, 7, 16, tzinfo=UTC)))

    found = compared(wanted, bars, tmp_path, week()[:2])

    # Seven bars hold, the eighth decides.
    first = [action for _, _, symbol, action, *_ in found["decisions"] if symbol == "QQQ"][:8]
    assert first[:7] == ["HOLD"] * 7
    assert first[7] != "HOLD"


@pytest.mark.parametrize("gap_fraction", [0.0, 0.2])
def test_orders_that_fill_in_parts_make_the_same_record_replayed_as_live(
    tmp_path: Path, gap_fraction: float, settings: MakeSettings
) -> None:
    wanted = settings(
        ["SPY", "QQQ"],
        feed={"synthetic": {"gap_fraction": gap_fraction}},
        broker={"paper": {"max_volume_fraction": "0.001", "commission_maximum_fraction": "0.005"}},
    )
    found = compared(wanted, market(wanted), tmp_path, week()[:3])

    statuses = [status for _, _, status, *_ in found["order_events"]]
    assert statuses.count("PARTIALLY_FILLED") > 20
    assert "CANCELLED" in statuses


def test_short_selling_makes_the_same_record_replayed_as_live(tmp_path: Path, settings: MakeSettings) -> None:
    wanted = settings(
        ["SPY", "QQQ", "IWM"],
        feed={"synthetic": {"gap_fraction": 0.1}},
        orders={"allow_short": True},
        broker={"paper": {"max_volume_fraction": "0.002"}},
        book={"cost_basis": "average"},
    )
    found = compared(wanted, market(wanted), tmp_path, week()[:2])

    assert any(row[4] < 0 for row in found["decisions"])


def test_a_day_halted_by_its_loss_makes_the_same_record_replayed_as_live(
    tmp_path: Path, settings: MakeSettings
) -> None:
    wanted = settings(
        ["SPY", "QQQ"],
        orders={"allow_short": True},
        risk=WIDE | {"max_daily_loss": 400},
        feed={"synthetic": {"gap_fraction": 0.1, "annual_volatility_fraction": 0.6}},
    )
    found = compared(wanted, market(wanted), tmp_path, week()[:3])

    assert found["halts"]
    assert any(rule == "halted" for _, _, _, _, rule, *_ in found["risk_checks"])
    assert len({halted_at.date() for halted_at, *_ in found["halts"]}) < 3, "some days are not halted"


def test_orders_for_the_close_make_the_same_record_replayed_as_live(tmp_path: Path, settings: MakeSettings) -> None:
    wanted = settings(
        ["SPY", "QQQ"], "5min", orders={"order_type": "LIMIT_ON_CLOSE"}, feed={"synthetic": {"gap_fraction": 0.05}}
    )
    found = compared(wanted, market(wanted), tmp_path)

    assert found["fills"]


def test_order_events_and_halts_of_a_replay_name_their_own_session(tmp_path: Path, settings: MakeSettings) -> None:
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


def test_orders_that_risk_trims_and_refuses_make_the_same_record_replayed_as_live(
    tmp_path: Path, settings: MakeSettings
) -> None:
    wanted = settings(
        ["SPY", "QQQ", "IWM"],
        sizing={"fraction": "0.6"},
        risk=WIDE | {"max_order_shares": 500, "max_participation_fraction": "0.01", "max_volatility_fraction": "0.001"},
    )
    found = compared(wanted, market(wanted), tmp_path, week()[:2])

    rules = {rule for _, _, _, _, rule, *_ in found["risk_checks"]}
    assert {"throttle_size", "buying_power", "max_order_shares"} <= rules


def test_sizes_by_volatility_make_the_same_record_replayed_as_live(tmp_path: Path, settings: MakeSettings) -> None:
    wanted = settings(["SPY", "QQQ"], sizing={"method": "volatility_target", "risk_fraction": "0.0005"})
    compared(wanted, market(wanted), tmp_path, week()[:2])


def test_a_policy_is_not_asked_about_later_bars(tmp_path: Path, settings: MakeSettings) -> None:
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

    assert before[: 4 * 39] == after[: 4 * 39]


def test_the_book_of_a_replay_adds_up_on_every_bar(tmp_path: Path, settings: MakeSettings) -> None:
    wanted = settings(["SPY", "QQQ"], orders={"allow_short": True})
    for _, _, cash, value, equity, realized, unrealized, _ in trade_replay(wanted, market(wanted), tmp_path)["equity"]:
        assert cash + value == equity
        assert realized + unrealized == equity - Decimal(100_000)


# Risk in full: the end of the day, losses and limits, as they are where nobody sets anything

WILD = {"synthetic": {"gap_fraction": 0.1, "annual_volatility_fraction": 0.6}}
THREE = ["SPY", "QQQ", "IWM"]
SHORTS = {"allow_short": True}
LIMITS = {"order_type": "LIMIT", "limit_offset_bps": "-10"}
OVERNIGHT = {"hold_overnight": True}


def closed(calm: Callable[..., Any], timeframe: str = "10min", **sections: dict[str, Any]) -> Settings:
    """Wild days that end as they do where nobody says otherwise; risk keeps quiet in everything else."""
    session = {"symbols": THREE[:2] if timeframe == "1min" else THREE, "timeframe": timeframe}
    own = {"session": session, **QUICK, "risk": WIDE, "feed": WILD, "closing": {"hold_overnight": False}}
    return Settings.model_validate(calm(**own | sections))


def ruled(found: Mapping[str, list[Any]]) -> set[tuple[str, str]]:
    """Which rules spoke, and with which verdicts."""
    return {(rule, verdict) for _, _, _, _, rule, verdict, *_ in found["risk_checks"]}


def without_the_last(
    bars: Mapping[str, BarColumns], minutes: int, symbols: Sequence[str], days: Sequence[int]
) -> dict[str, BarColumns]:
    """The same bars without those of the last minutes before some closes."""
    thinned = dict(bars)
    for hours in week():
        if hours.session_date.day in days:
            closes_at = to_epoch_us(hours.closes_at)
            for symbol in symbols:
                times = thinned[symbol].time
                thinned[symbol] = thinned[symbol].take(
                    (times < closes_at - minutes * 60_000_000) | (times >= closes_at)
                )
    return thinned


def test_a_week_with_all_defaults_makes_the_same_record_replayed_as_live(tmp_path: Path) -> None:
    wanted = careful(THREE, "5min", feed=WILD)
    found = compared(wanted, market(wanted), tmp_path)

    spoke = {"max_position_fraction", "max_symbol_loss", "halted", "entry_window", "flatten_before_close"}
    assert spoke <= {rule for rule, _ in ruled(found)}
    assert found["positions"] == []


@pytest.mark.parametrize(
    ("timeframe", "volume"),
    [
        # Of 78 bars the last but one is the last whose orders can trade: everything goes into the closing auction there.
        ("5min", None),
        # 15:56 and 15:58: by market orders that fill in parts, then into the auction.
        ("2min", "0.0005"),
        ("1min", "0.001"),
    ],
)
def test_positions_closed_before_the_close_make_the_same_record_replayed_as_live(
    tmp_path: Path, calm: Callable[..., Any], timeframe: str, volume: str | None
) -> None:
    wanted = closed(calm, timeframe, orders=SHORTS, broker={"paper": {"max_volume_fraction": volume}})
    found = compared(wanted, market(wanted), tmp_path, week()[:2] if timeframe == "5min" else week()[:1])

    assert ("flatten_before_close", "FLATTENED") in ruled(found)
    assert ("entry_window", "REFUSED") in ruled(found)


@pytest.mark.parametrize(("timeframe", "time_in_force", "volume"), [("5min", "GTC", None), ("2min", "DAY", "0.002")])
def test_limits_that_still_work_before_the_close_make_the_same_record_replayed_as_live(
    tmp_path: Path, calm: Callable[..., Any], time_in_force: str, timeframe: str, volume: str | None
) -> None:
    wanted = closed(
        calm,
        timeframe,
        orders=SHORTS | LIMITS | {"time_in_force": time_in_force},
        broker={"paper": {"max_volume_fraction": volume}},
    )
    found = compared(wanted, market(wanted), tmp_path, week()[:2] if timeframe == "5min" else week()[:1])

    assert {("entries_withdrawn", "REFUSED"), ("flatten_before_close", "FLATTENED")} <= ruled(found)


@pytest.mark.parametrize(
    ("minutes", "symbols", "orders"),
    [
        (12, ["SPY"], {}),  # one symbol says nothing from before the first step on
        (12, THREE, {}),  # nobody says anything: no step is ever taken
        (10, THREE, {}),  # what goes into the auction meets no bar any more
        (22, ["SPY", "IWM"], LIMITS | {"time_in_force": "GTC"}),
    ],
)
def test_bars_that_are_missing_before_the_close_make_the_same_record_replayed_as_live(
    tmp_path: Path, calm: Callable[..., Any], minutes: int, symbols: list[str], orders: dict[str, Any]
) -> None:
    wanted = closed(calm, orders=SHORTS | orders)
    bars = without_the_last(market(wanted), minutes, symbols, (6, 7))
    found = compared(wanted, bars, tmp_path, week()[:2])

    assert ("flatten_before_close", "ALARM") in ruled(found), "something is still held after a close"


@pytest.mark.parametrize(
    ("rule", "limit", "orders"),
    [
        ("max_daily_loss", 150, SHORTS),
        ("max_daily_loss", 150, {}),
        ("max_daily_loss_fraction", "0.0015", LIMITS),
        ("max_session_drawdown_fraction", "0.002", SHORTS),
        ("max_drawdown_speed_fraction", "0.002", SHORTS),
        ("max_symbol_loss", 60, SHORTS | LIMITS | {"time_in_force": "GTC"}),
        ("max_losing_streak", 3, SHORTS),
        ("max_daily_turnover", 3, SHORTS),
    ],
)
def test_losses_that_halt_make_the_same_record_replayed_as_live(
    tmp_path: Path, calm: Callable[..., Any], rule: str, limit: object, orders: dict[str, Any]
) -> None:
    wanted = closed(calm, risk=WIDE | {rule: limit}, orders=orders)
    found = compared(wanted, market(wanted), tmp_path, week()[:1])

    assert {halt[2] for halt in found["halts"]} == {rule}
    assert {(rule, "HALTED"), ("halted", "REFUSED")} <= ruled(found)


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        ("max_daily_loss", 100),
        ("max_session_drawdown_fraction", "0.002"),
        ("max_symbol_loss", 60),
    ],
)
def test_what_is_held_through_the_close_halts_once_a_day(
    tmp_path: Path, calm: Callable[..., Any], rule: str, limit: object
) -> None:
    """What has halted until the close is still as much of a loss on the last bar, and no second halt."""
    wanted = closed(calm, risk=WIDE | {rule: limit}, closing=OVERNIGHT, policy={"name": "buy_and_hold"})
    found = compared(wanted, market(wanted), tmp_path, week()[:2])

    days = [(scope, halted_at.date()) for halted_at, scope, *_ in found["halts"]]
    assert len(set(days)) == len(days) > 1


def test_a_halt_that_a_person_has_to_clear_ends_the_replay_where_sessions_end(
    tmp_path: Path, calm: Callable[..., Any]
) -> None:
    wanted = closed(calm, risk=WIDE | {"max_drawdown_fraction": "0.02"})
    found = compared(wanted, market(wanted), tmp_path)

    [halt] = found["halts"]
    assert halt[2] == "max_drawdown_fraction"
    assert 1 <= len(found["sessions"]) < len(week())


def test_a_drawdown_that_counts_from_a_later_day_makes_the_same_record_replayed_as_live(
    tmp_path: Path, calm: Callable[..., Any]
) -> None:
    """From its highest on Wednesday the account falls by 4 % until Thursday; from Friday on by less than 3 %. Before that
    day only falls within a session count."""
    held = {"closing": OVERNIGHT, "policy": {"name": "buy_and_hold"}}
    wanted = closed(calm, "5min", risk=WIDE | {"max_drawdown_fraction": "0.03", "drawdown_since": "2026-01-09"}, **held)
    found = compared(wanted, market(wanted), tmp_path)

    assert found["halts"] == []
    assert max(drawdown for *_, drawdown in found["equity"]) > Decimal("0.04")


@pytest.mark.parametrize("missing", ["nothing", "the last quarter of an hour"])
def test_value_at_risk_makes_the_same_record_replayed_as_live(tmp_path: Path, missing: str) -> None:
    tail = {
        "max_value_at_risk_fraction": "0.02",
        "max_expected_shortfall_fraction": "0.03",
        "value_at_risk_bars": 100,
        "value_at_risk_horizon_bars": 78,
        "value_at_risk_confidence": "0.95",
        "max_position_fraction": 1,
        "max_symbol_loss": None,
        "max_session_drawdown_fraction": None,
        "max_drawdown_speed_fraction": None,
    }
    wanted = careful(THREE, sizing={"fraction": "0.5"}, feed=WILD, orders=SHORTS, risk=tail)
    bars = market(wanted)
    if missing != "nothing":
        bars = without_the_last(bars, 15, ["QQQ"], (6, 7))
    found = compared(wanted, bars, tmp_path, week()[:2])

    assert {("max_value_at_risk_fraction", "TRIMMED"), ("max_value_at_risk_fraction", "REFUSED")} <= ruled(found)


@pytest.mark.parametrize(
    ("risk", "orders"),
    [
        ({"max_hourly_turnover": 1, "max_daily_turnover": 4}, SHORTS),
        ({"max_orders_per_session": 20, "max_trades_per_session": 15, "max_cancels_per_minute": 1}, LIMITS),
        (
            {"max_gross_exposure": 70_000, "max_net_exposure": 30_000, "max_concentration_fraction": "0.6"},
            SHORTS | LIMITS | {"time_in_force": "GTC"},
        ),
        ({"max_positions": 2, "lot_size": 10, "min_order_notional": 5_000, "no_entry_first_minutes": 30}, SHORTS),
    ],
)
def test_limits_of_book_and_activity_make_the_same_record_replayed_as_live(
    tmp_path: Path, calm: Callable[..., Any], risk: dict[str, Any], orders: dict[str, Any]
) -> None:
    wanted = closed(calm, risk=WIDE | risk, orders=orders)
    found = compared(wanted, market(wanted), tmp_path, week()[:2])

    assert {rule for rule, _ in ruled(found)} & risk.keys()


def test_round_trips_of_earlier_days_count_in_a_replay_as_they_do_live(
    tmp_path: Path, calm: Callable[..., Any]
) -> None:
    guard = {"enabled": True, "brokers": ["paper"], "minimum_equity": 1_000_000, "max_day_trades": 20, "sessions": 3}
    wanted = closed(calm, "5min", risk=WIDE | {"pattern_day_trader": guard}, orders=SHORTS)
    found = compared(wanted, market(wanted), tmp_path, week()[:4])

    assert ("pattern_day_trader", "REFUSED") in ruled(found)
    traded = {
        day.session_date
        for day in week()[:4]
        if any(f"{day.session_date}.paper.sma_crossover" in fill for fill in found["fills"])
    }
    # Twenty trips on Tuesday leave none for the two days after it.
    assert traded == {date(2026, 1, 6), date(2026, 1, 9)}


# Trained policies

MakeBundle = Callable[..., Bundle]
TREND = [{"name": "return", "parameters": {"bars": 3}}, {"name": "bollinger", "parameters": {"bars": 8}}]
# Scores of SELL, HOLD, BUY: with the move of three bars, against the distance from the mean.
WEIGHT = [[-150.0, 0.4], [0.0, 0.0], [150.0, -0.4]]


def trained(settings: MakeSettings, bundle: Bundle, symbols: Sequence[str] = ("SPY",), **sections: Any) -> Settings:
    chosen = {"bundle": str(bundle.folder), "max_age_days": None} | sections.pop("policy", {})
    return settings(symbols, bundle.manifest.timeframe, policy=chosen, **sections)


def test_a_trained_policy_makes_the_same_record_replayed_as_live(
    tmp_path: Path, settings: MakeSettings, network_bundle: MakeBundle
) -> None:
    bundle = network_bundle(WEIGHT, TREND, timeframe="10min")
    wanted = trained(settings, bundle, ["SPY", "QQQ"], feed={"synthetic": {"gap_fraction": 0.1}})
    found = compared(wanted, market(wanted), tmp_path, week()[:2])
    assert len(found["trades"]) > 10
    assert all(confidence is not None for *_, confidence, _, _ in found["decisions"])


def test_what_is_held_back_makes_the_same_record_replayed_as_live(
    tmp_path: Path, settings: MakeSettings, network_bundle: MakeBundle
) -> None:
    bundle = network_bundle(WEIGHT, TREND, timeframe="10min")
    guards = {"minimum_confidence": 0.45, "cooldown_bars": 4, "max_changes_per_session": 5}
    wanted = trained(settings, bundle, ["SPY", "QQQ"], policy=guards)
    found = compared(wanted, market(wanted), tmp_path, week()[:2])
    notes = [note for *_, note in found["decisions"] if note is not None]
    assert notes
    assert all("below policy.minimum_confidence 0.45" in note for note in notes)
    assert {"cooldown_bars", "max_changes_per_session"} <= {check[4] for check in found["risk_checks"]}


def test_a_policy_that_looks_at_what_it_holds_makes_the_same_record_replayed_as_live(
    tmp_path: Path, settings: MakeSettings, network_bundle: MakeBundle
) -> None:
    features = [*TREND, {"name": "position"}, {"name": "unrealized_pnl"}]
    weight = [[-150.0, 0.4, 0.6, -90.0], [0.0] * 4, [150.0, -0.4, -0.6, 90.0]]
    bundle = network_bundle(weight, features, timeframe="10min")
    wanted = trained(settings, bundle, ["SPY", "QQQ"], orders={"allow_short": True})
    found = compared(wanted, market(wanted), tmp_path, week()[:2])
    assert len(found["trades"]) > 10


def test_target_weights_make_the_same_record_replayed_as_live(
    tmp_path: Path, settings: MakeSettings, network_bundle: MakeBundle
) -> None:
    bundle = network_bundle(
        [[40.0, -0.1]],
        TREND,
        timeframe="10min",
        answers=Answers.MEAN,
        actions={"kind": "target_weight", "scale": 0.3, "lowest": -0.1, "highest": 0.25},
    )
    wanted = trained(settings, bundle, ["SPY", "QQQ"], orders={"allow_short": True})
    found = compared(wanted, market(wanted), tmp_path, week()[:2])
    held = {target for _, _, _, _, target, *_ in found["decisions"]}
    assert min(held) < 0 < max(held)
    assert len(held) > 30  # many sizes, not one
    assert all(weight is not None for _, _, weight in found["weights"])


def test_a_memory_makes_the_same_record_replayed_as_live(
    tmp_path: Path, settings: MakeSettings, network_bundle: MakeBundle
) -> None:
    cell = Lstm(np.array([[60.0, 0.1], [0, 0], [90, -0.2], [20, 0]]), np.full((4, 1), 0.5), np.array([0, 1.5, 0, 0.5]))
    bundle = network_bundle([[-6.0], [0.0], [6.0]], TREND, timeframe="10min", memory=cell, kind="recurrent_ppo")
    wanted = trained(settings, bundle, ["SPY", "QQQ"])
    found = compared(wanted, market(wanted), tmp_path, week()[:2])
    assert len(found["trades"]) > 3


def test_a_policy_that_fails_makes_the_same_record_replayed_as_live(
    tmp_path: Path, settings: MakeSettings, network_bundle: MakeBundle
) -> None:
    features = [*TREND, {"name": "volume_zscore", "parameters": {"bars": 3}}]
    bundle = network_bundle([[*row, 0.0] for row in WEIGHT], features, timeframe="5min")
    wanted = trained(settings, bundle, ["SPY", "QQQ"], policy={"failures_until_reduce_only": 4})
    bars = market(wanted)
    # On Wednesday from 16:00 UTC on QQQ has no volume for two hours, on Thursday for one bar.
    volume = bars["QQQ"].volume.copy()
    for day, hour, count in ((7, 16, 24), (8, 16, 1)):
        first = int(np.searchsorted(bars["QQQ"].time, to_epoch_us(datetime(2026, 1, day, hour, tzinfo=UTC))))
        volume[first : first + count] = MISSING
    bars["QQQ"] = replace(bars["QQQ"], volume=volume)
    found = compared(wanted, bars, tmp_path, week()[:3])

    failed = [row for row in found["decisions"] if row[6] is not None]
    assert len(failed) == (24 + 2) + 3  # the window of three bars looks back on each gap
    assert {row[3] for row in failed} == {"HOLD"}
    assert [(scope, rule, halted_at) for halted_at, scope, rule, *_ in found["halts"]] == [
        (f"strategy:{wanted.strategy}", "policy_failures", datetime(2026, 1, 7, 16, 20, tzinfo=UTC))
    ]


def test_a_policy_that_grows_too_old_makes_the_same_record_replayed_as_live(
    tmp_path: Path, settings: MakeSettings, network_bundle: MakeBundle
) -> None:
    bundle = network_bundle(WEIGHT, TREND, timeframe="5min")  # has seen 2026-01-02 20:59
    wanted = trained(settings, bundle, policy={"max_age_days": 5})
    found = compared(wanted, market(wanted), tmp_path, week()[:3])
    failed = [row[1] for row in found["decisions"] if row[6] is not None]
    assert min(failed) == datetime(2026, 1, 8, 14, 30, tzinfo=UTC)
    assert len(failed) == 78
    assert found["decisions"][2 * 78][6].startswith("the model has seen nothing since 2026-01-02, 5 days ago")
