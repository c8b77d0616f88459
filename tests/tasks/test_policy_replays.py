"""Replays for the gate: what they come to is what sessions of the same settings would have come to, one by one."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.policy_registry import policy, register
from storage.questions import ask
from storage.store import open_store
from tasks.composition import assemble
from tasks.manual_promotion import promote_by_hand
from tasks.policy_composition import build_policy
from tasks.policy_replays import PolicyReplay, replay_policy, replays
from trading.bars import BarColumns, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.decisions import Action, Signal
from trading.errors import ConfigurationError, DataNotFit, PolicyNotFit
from trading.policy_records import BundleFacts, Stage
from trading.policy_settings import PolicyChoice
from trading.ports import Holdings, MarketWindow, Policy
from trading.promotion import UnseenWindow
from trading.settings import Settings

DAYS = (date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7))
MINUTES = 390
WINDOW = UnseenWindow(("SPY",), "XNYS", Timeframe.MINUTE_1, DAYS)


def day_of_bars(day: date, cents: Callable[[int], int], opening: tuple[int, int] = (14, 30)) -> BarColumns:
    """Flat bars of a whole session; ``cents`` is the price of each minute."""
    first = datetime(day.year, day.month, day.day, *opening, tzinfo=UTC)
    times = np.array([to_epoch_us(first + timedelta(minutes=minute)) for minute in range(MINUTES)], dtype=np.int64)
    price = np.array([cents(minute) * 10_000 for minute in range(MINUTES)], dtype=np.int64)
    volume = np.full(MINUTES, 100_000, dtype=np.int64)
    return BarColumns("SPY", times, price, price, price, price, volume)


def settings_of(path: Path, **sections: Any) -> Settings:
    return Settings.model_validate(
        {
            "session": {"symbols": ["SPY"]},
            "store": {"path": path},
            "sizing": {"method": "fixed_shares", "shares": 100},
            "broker": {
                "paper": {
                    "initial_cash": 100_000,
                    "slippage_bps": 0,
                    "commission_per_share": 0,
                    "commission_minimum": 1,
                }
            },
            **sections,
        }
    )


def store_bars(path: Path, *days: BarColumns) -> None:
    with open_store(path) as store:
        store.bars.import_bars(days)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.duckdb"


def test_flat_comes_to_nothing(path: Path) -> None:
    store_bars(path, *(day_of_bars(day, lambda minute: 10_000 + minute) for day in DAYS))
    done = replays(settings_of(path))("flat", WINDOW)
    assert done.sessions == DAYS
    assert (done.returns, done.drawdown, done.orders, done.refused, done.failures) == ((0.0, 0.0, 0.0), 0.0, 0, 0, 0)


def test_holding_through_the_day_earns_the_move_less_its_costs(path: Path) -> None:
    # A cent a minute: bought at the second bar's open, 100.01, sold at the open of minute 385, 103.85 (what is held five
    # minutes before the close is closed at the next open): 100 x 3.84 - 2 x 1.00 = 382 of 100,000.
    store_bars(path, day_of_bars(DAYS[0], lambda minute: 10_000 + minute))
    window = UnseenWindow(("SPY",), "XNYS", Timeframe.MINUTE_1, DAYS[:1])
    done = replays(settings_of(path))("buy_and_hold", window)
    [traded] = done.returns
    assert traded == pytest.approx(0.00382)
    assert done.orders == 2


def test_returns_are_those_of_sessions_one_by_one(path: Path) -> None:
    days = [
        day_of_bars(day, lambda minute, step=step: 10_000 + 3 * step * (abs(minute % 60 - 30) - 15))
        for step, day in enumerate(DAYS, start=1)
    ]
    store_bars(path, *days)
    settings = settings_of(path)
    done = replays(settings)("sma_crossover", WINDOW)
    for day in DAYS:
        with assemble(settings, day) as desk:
            desk.agent.run_session()
    sessions = ask(path, "SELECT starting_equity, ending_equity FROM daily_pnl ORDER BY session_date").rows
    assert done.returns == pytest.approx([float(ended / began) - 1 for began, ended in sessions], abs=1e-12)
    assert len({round(one, 6) for one in done.returns}) == 3
    [[orders, drawdown]] = ask(path, "SELECT (SELECT count(*) FROM orders), (SELECT max(drawdown) FROM equity)").rows
    assert done.orders == orders
    assert done.drawdown == pytest.approx(float(drawdown), abs=1e-6)


def test_nothing_is_written_and_the_database_is_free_afterwards(path: Path) -> None:
    store_bars(path, *(day_of_bars(day, lambda minute: 10_000 + minute) for day in DAYS))
    replays(settings_of(path))("buy_and_hold", WINDOW)
    with open_store(path) as store:
        assert store.connection.rows("SELECT count(*) FROM sessions") == [(0,)]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_bars_outside_of_the_hours_are_not_traded(path: Path) -> None:
    calm = day_of_bars(DAYS[0], lambda _: 10_000)
    early = day_of_bars(DAYS[0], lambda _: 20_000, opening=(7, 30))  # ends at 14:00 UTC, before the open
    window = UnseenWindow(("SPY",), "XNYS", Timeframe.MINUTE_1, DAYS[:1])
    store_bars(path, early, calm)
    done = replays(settings_of(path))("buy_and_hold", window)
    assert done.returns == (pytest.approx(-0.00002),)  # two commissions of 1.00
    assert done.orders == 2


def test_what_no_session_would_trade_after_a_halt_returns_nothing(path: Path) -> None:
    # 100 shares fall from 100 to 61 on the first day: 3.9 % of 100,000, beyond 2 %: only a person clears that.
    falling = day_of_bars(DAYS[0], lambda minute: 10_000 - 10 * minute)
    rising = [day_of_bars(day, lambda minute: 6_100 + minute) for day in DAYS[1:]]
    store_bars(path, falling, *rising)
    limits = {
        "max_drawdown_fraction": "0.02",
        "max_daily_loss": "off",
        "max_daily_loss_fraction": "off",
        "max_session_drawdown_fraction": "off",
        "max_drawdown_speed_fraction": "off",
        "max_symbol_loss": "off",
    }
    done = replays(settings_of(path, risk=limits))("buy_and_hold", WINDOW)
    assert done.returns[0] < -0.02
    assert done.returns[1:] == (0.0, 0.0)


def test_bars_that_the_settings_refuse_are_not_replayed(path: Path) -> None:
    jumping = day_of_bars(DAYS[0], lambda minute: 10_000 if minute != 100 else 100_000)
    store_bars(path, jumping)
    window = UnseenWindow(("SPY",), "XNYS", Timeframe.MINUTE_1, DAYS[:1])
    with pytest.raises(DataNotFit, match=r"validation\.price_jump"):
        replays(settings_of(path, validation={"price_jump": "refuse"}))("flat", window)
    assert replays(settings_of(path))("flat", window).returns == (0.0,)


def test_a_bundle_that_is_gone_is_not_replayed(
    path: Path, tmp_path: Path, bundle_facts: Callable[..., BundleFacts]
) -> None:
    store_bars(path, day_of_bars(DAYS[0], lambda _: 10_000))
    with open_store(path) as store:
        register(store.connection, bundle_facts("a", path=tmp_path / "gone"), datetime(2026, 1, 3, tzinfo=UTC), "ada")
        record = policy(store.connection, "a0000000")
    with pytest.raises((ConfigurationError, PolicyNotFit), match="There is no bundle"):
        replays(settings_of(path))(record, WINDOW)


def test_a_bundle_that_always_buys_earns_what_holding_earns(
    path: Path, tmp_path: Path, bundle_that_says: Callable[..., BundleFacts]
) -> None:
    friday = day_of_bars(date(2026, 1, 2), lambda _: 10_000)  # what the model has to have seen
    store_bars(path, friday, *(day_of_bars(day, lambda minute: 10_000 + minute) for day in DAYS))
    with open_store(path) as store:
        facts = bundle_that_says(tmp_path / "bullish", "BUY")
        record = register(store.connection, facts, datetime(2026, 1, 3, tzinfo=UTC), "ada")
    evaluate = replays(settings_of(path))
    bought, held = evaluate(record, WINDOW), evaluate("buy_and_hold", WINDOW)
    assert bought.returns == held.returns
    assert bought.returns[0] == pytest.approx(0.00382)
    assert (bought.orders, bought.failures) == (6, 0)


def test_sessions_that_it_traded_at_paper_bring_a_policy_to_live(
    path: Path, tmp_path: Path, bundle_that_says: Callable[..., BundleFacts]
) -> None:
    friday = day_of_bars(date(2026, 1, 2), lambda _: 10_000)
    store_bars(path, friday, *(day_of_bars(day, lambda minute: 10_000 + minute) for day in DAYS))
    with open_store(path) as store:
        register(
            store.connection, bundle_that_says(tmp_path / "bullish", "BUY"), datetime(2026, 1, 3, tzinfo=UTC), "ada"
        )
    settings = settings_of(
        path,
        policy={"name": "stubborn", "stage": "paper"},
        promotion={"min_unseen_sessions": 3, "min_paper_sessions": 2},
    )
    assert promote_by_hand(settings, "stubborn", Stage.PAPER)["promoted"]
    shown = []
    for day in DAYS[:2]:
        with assemble(settings, day) as desk:
            desk.agent.run_session()
        answer = promote_by_hand(settings, "stubborn", Stage.LIVE)
        shown.append((answer["promoted"], answer["gate"]["figures"]["paper"]))
    assert shown == [(False, {"sessions": 1, "failures": 0}), (True, {"sessions": 2, "failures": 0})]


# One policy, with a record of every bar

ZIGZAG = [
    day_of_bars(day, lambda minute, step=step: 10_000 + 3 * step * (abs(minute % 60 - 30) - 15))
    for step, day in enumerate(DAYS, start=1)
]
HOURS = TradingCalendar("XNYS", DAYS[0]).sessions_between(DAYS[0], DAYS[-1])


def replayed(settings: Settings, policy: Policy, *days: BarColumns) -> PolicyReplay:
    bars = days[0]
    for day in days[1:]:
        bars = bars.joined(day)
    return replay_policy(policy, {"SPY": bars}, HOURS, settings)


def test_the_record_of_a_replay_is_that_of_sessions_one_by_one(path: Path) -> None:
    store_bars(path, *ZIGZAG)
    settings = settings_of(path)
    record = replayed(settings, build_policy(PolicyChoice()), *ZIGZAG).record
    for day in DAYS:
        with assemble(settings, day) as desk:
            desk.agent.run_session()
    equity = ask(path, "SELECT bar_time, equity, market_value FROM equity ORDER BY bar_time").rows
    assert record.starting_equity == 100_000_000_000
    assert record.bar_time.tolist() == [to_epoch_us(bar_time) for bar_time, _, _ in equity]
    assert record.equity.tolist() == [int(worth * 1_000_000) for _, worth, _ in equity]
    assert record.market_value.tolist() == [int(value * 1_000_000) for _, _, value in equity]
    assert (record.session_dates, record.session_ends.tolist()) == (DAYS, [MINUTES, 2 * MINUTES, 3 * MINUTES])
    ended = ask(path, "SELECT ending_equity FROM daily_pnl ORDER BY session_date").rows
    assert record.session_equity.tolist() == [int(worth * 1_000_000) for (worth,) in ended]
    fills = ask(path, "SELECT symbol, side, quantity, price, commission, filled_at FROM fills ORDER BY booking").rows
    assert len(fills) > 20
    assert list(fills) == [
        (one.symbol, one.side, one.quantity, one.price, one.commission, one.executed_at) for one in record.fills
    ]


def test_after_a_halt_the_other_sessions_stand_at_its_end(path: Path) -> None:
    falling = day_of_bars(DAYS[0], lambda minute: 10_000 - 10 * minute)
    rising = [day_of_bars(day, lambda minute: 6_100 + minute) for day in DAYS[1:]]
    limits = {"max_drawdown_fraction": "0.02", "max_daily_loss": "off", "max_daily_loss_fraction": "off"}
    done = replayed(settings_of(path, risk=limits), build_policy(PolicyChoice(name="buy_and_hold")), falling, *rising)
    assert done.halted is not None
    assert "the highest ever" in done.halted
    record = done.record
    assert record.session_dates == DAYS
    assert record.session_ends.tolist() == [MINUTES] * 3
    assert len(set(record.session_equity.tolist())) == 1
    assert record.session_equity[0] < 98_000_000_000


def test_a_loss_limit_that_flattens_in_sessions_only_halts_in_replays(path: Path) -> None:
    falling = day_of_bars(DAYS[0], lambda minute: 10_000 - 10 * minute)
    settings = settings_of(path, stopping={"flatten_on_loss": True}, risk={"max_daily_loss": 500})
    done = replayed(settings, build_policy(PolicyChoice(name="buy_and_hold")), falling)
    # Bought at the second bar's open, 99.90, and held until five minutes before the close, sold at 100.00 - 38.50.
    assert [(one.side, one.price) for one in done.record.fills] == [("BUY", Decimal("99.9")), ("SELL", Decimal("61.5"))]


class EverySecondBar:
    """Remembers how many bars it has seen, and fails on each second one."""

    name = fingerprint = "every_second_bar"
    warmup_bars = 1

    def __init__(self) -> None:
        self._seen = 0

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        del holdings
        self._seen += 1
        if self._seen % 2 == 0:
            raise RuntimeError("an even bar")
        return dict.fromkeys(window.symbols, Signal(Action.HOLD))

    def decide_history(self, bars: object) -> None:
        del bars

    def states(self) -> Mapping[str, bytes]:
        return {"SPY": bytes([self._seen % 256])}

    def take_up_states(self, states: Mapping[str, bytes]) -> None:
        self._seen = states["SPY"][0] if states else 0


def test_failed_decisions_are_counted_and_a_memory_begins_anew_with_each_replay(path: Path) -> None:
    policy, odd = EverySecondBar(), ZIGZAG[0].take(slice(0, 389))
    settings = settings_of(path)
    # 194 of 389 bars are even, in both replays: a memory that went on would fail on the odd ones in the second.
    for _ in range(2):
        done = replayed(settings, policy, odd)
        assert (done.failures, done.orders, done.refused) == (194, 0, 0)
