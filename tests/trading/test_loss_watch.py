"""Every loss limit at its limit, just under it and just over it; an account that began its day with 100,000."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.bars import to_epoch_us
from trading.loss_watch import LossWatch, Trip
from trading.money import to_micros
from trading.orders import Execution, Fill, Side
from trading.pnl_tracker import PnLTracker
from trading.risk_settings import RiskSettings

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OFF = dict.fromkeys(
    (
        "max_daily_loss",
        "max_daily_loss_fraction",
        "max_session_drawdown_fraction",
        "max_drawdown_fraction",
        "max_drawdown_speed_fraction",
        "max_losing_streak",
        "max_symbol_loss",
        "max_daily_turnover",
    ),
    "off",
)


def watch(
    highest_today: str = "100000",
    highest_ever: str = "100000",
    recent: Mapping[int, str] | None = None,
    length: timedelta = MINUTE,
    **risk: Any,
) -> LossWatch:
    """A watch of the named limits alone; ``recent`` are equities by minutes after the open."""
    made = LossWatch(RiskSettings.model_validate({**OFF, **risk}), length)
    begun = {0: "100000"} if recent is None else recent
    made.begin_day(
        Decimal(100_000),
        Decimal(highest_today),
        Decimal(highest_ever),
        [(OPENS + minute * MINUTE, Decimal(equity)) for minute, equity in begun.items()],
    )
    return made


def seen(watching: LossWatch, *equities: str, first: int = 1) -> list[list[str]]:
    """The rules that trip at each of the equities, a minute apart; ``~`` is in front of those that nearly do."""
    return [
        ["~" * trip.near + trip.rule for trip in watching.look(OPENS + minute * MINUTE, Decimal(equity))]
        for minute, equity in enumerate(equities, first)
    ]


# Falls


@pytest.mark.parametrize(
    ("limit", "tripping", "nearly"),
    [
        # 1,000 of 100,000, and four fifths of it.
        ({"max_daily_loss": "1000"}, "99000", "99200"),
        ({"max_daily_loss_fraction": "0.01"}, "99000", "99200"),
        ({"max_session_drawdown_fraction": "0.01"}, "99000", "99200"),
        ({"max_drawdown_fraction": "0.01"}, "99000", "99200"),
    ],
    ids=str,
)
def test_a_fall_halts_when_it_reaches_its_limit_and_is_told_of_once_before(
    limit: dict[str, str], tripping: str, nearly: str
) -> None:
    [rule] = limit
    micro = Decimal("0.000001")
    just_above, just_near = str(Decimal(tripping) + micro), str(Decimal(nearly) + micro)
    assert seen(watch(**limit), just_near, nearly, nearly, just_above, tripping) == [[], [f"~{rule}"], [], [], [rule]]
    assert seen(watch(**limit), tripping) == [[rule]]
    assert seen(watch(**limit), "1") == [[rule]]
    # A deeper fall past both is told as what it is.
    assert seen(watch(**limit), just_above) == [[f"~{rule}"]]
    assert seen(watch(), "1", "0", "-5000") == [[], [], []]


def test_each_fall_is_measured_from_its_own_high() -> None:
    risen = {"highest_today": "110000", "highest_ever": "200000"}
    # 10% of 100,000, 110,000 and 200,000: 90,000, 99,000 and 180,000.
    assert seen(watch(**risen, max_daily_loss_fraction="0.1"), "90001", "90000")[1] == ["max_daily_loss_fraction"]
    assert seen(watch(**risen, max_daily_loss="10000"), "90001", "90000")[1] == ["max_daily_loss"]
    assert seen(watch(**risen, max_session_drawdown_fraction="0.1"), "99001", "99000") == [
        ["~max_session_drawdown_fraction"],
        ["max_session_drawdown_fraction"],
    ]
    assert seen(watch(**risen, max_drawdown_fraction="0.1"), "180001", "180000") == [
        ["~max_drawdown_fraction"],
        ["max_drawdown_fraction"],
    ]


def test_a_new_high_raises_the_levels_of_the_session_and_of_all_time_and_not_the_days_first() -> None:
    limits = {"max_daily_loss_fraction": "0.1", "max_session_drawdown_fraction": "0.1", "max_drawdown_fraction": "0.1"}
    # From 120,000 a tenth is 108,000; the day's first is still 100,000.
    told = seen(watch(**limits), "120000", "108000.000001", "108000", "90000")
    assert told[0] == []
    assert set(told[1]) == {"~max_session_drawdown_fraction", "~max_drawdown_fraction"}
    assert told[2] == ["max_session_drawdown_fraction", "max_drawdown_fraction"]
    assert told[3][0] == "max_daily_loss_fraction"
    # A high of all time above the day's is not moved by the day's.
    higher = watch(highest_ever="130000", max_drawdown_fraction="0.1")
    assert seen(higher, "120000", "117000.01", "117000")[2] == ["max_drawdown_fraction"]


def test_highs_are_never_below_what_the_day_began_with() -> None:
    low = {"highest_today": "50000", "highest_ever": "60000"}
    assert seen(watch(**low, max_session_drawdown_fraction="0.1"), "90000") == [["max_session_drawdown_fraction"]]
    assert seen(watch(**low, max_drawdown_fraction="0.1"), "90000") == [["max_drawdown_fraction"]]
    assert seen(watch("110000", "60000", max_drawdown_fraction="0.1"), "99000") == [["max_drawdown_fraction"]]


def test_what_is_latched_says_nothing_more() -> None:
    limits = {"max_daily_loss": "1000", "max_daily_loss_fraction": "0.02"}
    watching = watch(**limits)
    watching.latch(["max_daily_loss"])
    assert seen(watching, "99000", "98000") == [[], ["max_daily_loss_fraction"]]
    watching.latch(["max_daily_loss_fraction"])
    assert seen(watching, "98000") == [["max_daily_loss"]]
    watching.latch([])
    assert sorted(seen(watching, "98000")[0]) == ["max_daily_loss", "max_daily_loss_fraction"]


def test_limits_that_change_are_watched_from_then_on() -> None:
    watching = watch(max_daily_loss="1000")
    assert seen(watching, "99500") == [[]]
    watching.change_limits(RiskSettings.model_validate({**OFF, "max_daily_loss": "500"}))
    assert seen(watching, "99500") == [["max_daily_loss"]]
    watching.change_limits(RiskSettings.model_validate(OFF))
    assert seen(watching, "1") == [[]]


def test_the_fall_of_all_time_can_be_measured_anew_but_not_from_below_the_day() -> None:
    watching = watch(highest_ever="200000", max_drawdown_fraction="0.1")
    watching.rebase(Decimal(150_000))
    assert seen(watching, "135000.01", "135000")[1] == ["max_drawdown_fraction"]
    fresh = watch(highest_ever="200000", max_drawdown_fraction="0.1")
    fresh.rebase(Decimal(1))
    assert seen(fresh, "90000.01", "90000") == [["~max_drawdown_fraction"], ["max_drawdown_fraction"]]


def test_how_near_is_near_can_be_set() -> None:
    # Half of 1,000.
    assert seen(watch(max_daily_loss="1000", near_limit_fraction="0.5"), "99500.01", "99500") == [
        [],
        ["~max_daily_loss"],
    ]


def test_a_fall_is_told_with_its_numbers() -> None:
    at = OPENS + MINUTE
    [money] = watch(max_daily_loss="1000").look(at, Decimal("98765.432"))
    assert money == Trip(
        "max_daily_loss", "the day has lost 1234.57 of at most 1000.00", Decimal("1234.568"), Decimal(1_000)
    )
    [first] = watch(max_daily_loss_fraction="0.02").look(at, Decimal(97_000))
    assert first == Trip(
        "max_daily_loss_fraction",
        "equity fell from the day's first 100000.00 by 3000.00 (3.00% of at most 2.00%)",
        Decimal("0.03"),
        Decimal("0.02"),
    )
    [session] = watch("200000", max_session_drawdown_fraction="0.02").look(at, Decimal(150_000))
    assert session.reason == "equity fell from the day's highest 200000.00 by 50000.00 (25.00% of at most 2.00%)"
    assert (session.observed, session.lasting) == (Decimal("0.25"), False)
    [ever] = watch(highest_ever="200000", max_drawdown_fraction="0.1").look(at, Decimal(150_000))
    assert ever.reason == "equity fell from the highest ever 200000.00 by 50000.00 (25.00% of at most 10.00%)"
    # Only a person ends that one.
    assert ever.lasting
    [fast] = watch(max_drawdown_speed_fraction="0.01").look(at, Decimal(98_000))
    assert fast.reason == "equity fell quickly, from 100000.00 by 2000.00 (2.00% of at most 1.00%)"
    assert (fast.symbol, fast.lasting, fast.near) == (None, False, False)


def test_an_account_that_never_had_anything_is_told_in_money() -> None:
    watching = LossWatch(RiskSettings.model_validate({**OFF, "max_daily_loss_fraction": "0.5"}), MINUTE)
    watching.begin_day(Decimal(0), Decimal(0), Decimal(0), [])
    [trip] = watching.look(OPENS, Decimal(-5))
    assert (trip.rule, trip.observed) == ("max_daily_loss_fraction", 5)
    watching.begin_day(Decimal("0.50"), Decimal("0.50"), Decimal("0.50"), [])
    [trip] = watching.look(OPENS, Decimal("0.10"))
    assert trip.observed == Decimal("0.8")


def test_an_equity_that_is_not_a_number_is_an_error_and_never_a_silence() -> None:
    with pytest.raises(ArithmeticError):
        watch(max_daily_loss="1000").look(OPENS, Decimal("NaN"))


# Speed


FAST = {"max_drawdown_speed_fraction": "0.01", "drawdown_speed_minutes": 3}


def test_a_quick_fall_is_measured_from_the_highest_of_its_minutes() -> None:
    rule = "max_drawdown_speed_fraction"
    # A hundredth of 100,000; three minutes later the open no longer counts.
    assert seen(watch(**FAST), "99000.01") == [[]]
    assert seen(watch(**FAST), "99000") == [[rule]]
    assert seen(watch(**FAST), "99800", "99600", "99000") == [[], [], [rule]]
    # In the fourth minute the highest is 99,800: 98,802.
    assert seen(watch(**FAST), "99800", "99600", "99400", "98802.01") == [[], [], [], []]
    assert seen(watch(**FAST), "99800", "99600", "99400", "98802") == [[], [], [], [rule]]
    # A rise replaces what was lower before it.
    assert seen(watch(**FAST), "99800", "101000", "100000", "99990.01", "99990") == [[], [], [], [], [rule]]
    assert seen(watch(**FAST), "101000", "100000", "100000", "100000", "98999")[4] == [rule]
    assert seen(watch(**FAST), "101000", "100000", "100000", "100000", "99000.01")[4] == []


def test_minutes_before_a_restart_count_as_well() -> None:
    began = {0: "100000", 1: "102000", 2: "101500"}
    assert seen(watch("102000", recent=began, **FAST), "100980", first=3) == [["max_drawdown_speed_fraction"]]
    assert seen(watch("102000", recent=began, **FAST), "100980.01", first=3) == [[]]
    # Out of their window: 101,500 is the highest left, 100,485.
    assert seen(watch("102000", recent=began, **FAST), "100485.01", first=5) == [[]]
    assert seen(watch("102000", recent=began, **FAST), "100485", first=5) == [["max_drawdown_speed_fraction"]]


def test_a_new_day_forgets_the_minutes_of_the_one_before() -> None:
    watching = watch(recent={0: "500000"}, **FAST)
    watching.begin_day(Decimal(100_000), Decimal(100_000), Decimal(100_000), [(OPENS + MINUTE, Decimal(100_000))])
    assert seen(watching, "99000.01", first=2) == [[]]


def test_a_quick_fall_that_is_latched_or_off_is_not_watched() -> None:
    watching = watch(**FAST)
    watching.latch(["max_drawdown_speed_fraction"])
    assert seen(watching, "50000") == [[]]
    watching.latch([])
    # The fall before was not seen: what is measured is the highest that is remembered.
    assert seen(watching, "98000", first=2) == [["max_drawdown_speed_fraction"]]


def test_a_quick_fall_is_told_beside_the_others() -> None:
    both = watch(**FAST, max_daily_loss="1000")
    assert seen(both, "99000") == [["max_drawdown_speed_fraction", "max_daily_loss"]]
    assert seen(watch(**FAST, max_daily_loss="1000"), "99150", "99000.01") == [["~max_daily_loss"], []]


def test_the_minutes_of_the_speed_can_change() -> None:
    watching = watch(**FAST)
    assert seen(watching, "99800", "99600", "99400") == [[], [], []]
    # The open is still remembered and counts again.
    longer = {**OFF, **FAST, "drawdown_speed_minutes": 10}
    watching.change_limits(RiskSettings.model_validate(longer))
    assert seen(watching, "99000", first=4) == [["max_drawdown_speed_fraction"]]
    watching.change_limits(RiskSettings.model_validate({**OFF, **FAST, "max_drawdown_speed_fraction": "0.001"}))
    assert seen(watching, "98900", first=5) == [["max_drawdown_speed_fraction"]]


# One symbol


def book(*trades: tuple[str, Side, int, str], cash: str = "100000") -> PnLTracker:
    """A book of these trades without commissions, each an order of its own."""
    tracker = PnLTracker()
    tracker.initialize_portfolio_state(Decimal(cash))
    for number, (symbol, side, shares, price) in enumerate(trades):
        execution = Execution(
            f"x{number}", f"o{number}", symbol, side, shares, Decimal(price), Decimal(0), OPENS + number * MINUTE
        )
        tracker.update_position(Fill(execution, "s", "paper", "paper"))
    return tracker


@pytest.mark.parametrize(
    ("side", "price", "halts"),
    [
        # 100 shares from 50: 5 a share are 500.
        (Side.BUY, "45.01", False),
        (Side.BUY, "45", True),
        (Side.BUY, "44.99", True),
        (Side.BUY, "60", False),
        (Side.SELL, "54.99", False),
        (Side.SELL, "55", True),
        (Side.SELL, "55.01", True),
        (Side.SELL, "40", False),
    ],
)
def test_a_symbol_halts_when_it_has_lost_its_limit(side: Side, price: str, halts: bool) -> None:
    tracker = book(("SPY", side, 100, "50"))
    tracker.mark({"SPY": Decimal(price)})
    trip = watch(max_symbol_loss="500").look_at_symbol(tracker, "SPY")
    assert (trip is not None) is halts
    assert watch().look_at_symbol(tracker, "SPY") is None


def test_what_a_symbol_has_lost_is_told() -> None:
    tracker = book(("SPY", Side.BUY, 100, "50"))
    tracker.mark({"SPY": Decimal("44.5")})
    assert watch(max_symbol_loss="500").look_at_symbol(tracker, "SPY") == Trip(
        "max_symbol_loss", "SPY has lost 550.00 of at most 500.00 today", Decimal(550), Decimal(500), "SPY"
    )


def test_a_loss_that_was_realized_counts_without_a_position() -> None:
    tracker = book(("SPY", Side.BUY, 100, "50"), ("SPY", Side.SELL, 100, "45"))
    assert watch(max_symbol_loss="500").look_at_symbol(tracker, "SPY") is not None
    assert watch(max_symbol_loss="500.01").look_at_symbol(tracker, "SPY") is None


@pytest.mark.parametrize(
    ("trades", "floor"),
    [
        # 100 from 50: at 45 they have lost 500.
        ([("SPY", Side.BUY, 100, "50")], (1, "45")),
        ([("SPY", Side.SELL, 100, "50")], (-1, "55")),
        ([("SPY", Side.BUY, 1, "600")], (1, "100")),
        # 200 were made before: 700 may go.
        ([("SPY", Side.BUY, 10, "30"), ("SPY", Side.SELL, 10, "50"), ("SPY", Side.BUY, 100, "50")], (1, "43")),
        ([("SPY", Side.BUY, 100, "50"), ("SPY", Side.SELL, 100, "50")], None),
        ([], None),
    ],
)
def test_the_price_at_which_a_symbol_has_lost_too_much(trades: list[Any], floor: tuple[int, str] | None) -> None:
    found = watch(max_symbol_loss="500").symbol_floor(book(*trades), "SPY")
    assert found == (None if floor is None else (floor[0], Decimal(floor[1])))
    assert watch().symbol_floor(book(*trades), "SPY") is None


# Streaks and turnover


def round_trips(*outcomes: str) -> list[tuple[str, Side, int, str]]:
    """One share bought at 50 and sold at each of these prices."""
    return [trade for price in outcomes for trade in (("SPY", Side.BUY, 1, "50"), ("SPY", Side.SELL, 1, price))]


@pytest.mark.parametrize(
    ("outcomes", "trips"),
    [
        ((), False),
        (("49", "49"), False),
        (("49", "49", "49"), True),
        (("49", "49", "49", "49"), True),
        (("51", "49", "49", "49"), True),
        (("49", "51", "49", "49"), False),
        # Neither lost nor won ends it.
        (("49", "49", "50"), False),
        (("49", "49", "49", "51"), False),
    ],
)
def test_so_many_losses_in_a_row_halt(outcomes: tuple[str, ...], trips: bool) -> None:
    tracker = book(*round_trips(*outcomes))
    tripped = watch(max_losing_streak=3).look_at_trades(tracker, Decimal(0))
    assert [trip.rule for trip in tripped] == ["max_losing_streak"] * trips
    assert watch().look_at_trades(tracker, Decimal(0)) == []
    latched = watch(max_losing_streak=3)
    latched.latch(["max_losing_streak"])
    assert latched.look_at_trades(tracker, Decimal(0)) == []


def test_a_streak_is_told() -> None:
    [trip] = watch(max_losing_streak=2).look_at_trades(book(*round_trips("49", "49", "49")), Decimal(0))
    assert trip == Trip("max_losing_streak", "3 closing orders in a row have lost money", Decimal(3), Decimal(2))


@pytest.mark.parametrize(("traded", "trips"), [("199999.99", False), ("200000", True), ("200000.01", True)])
def test_so_much_traded_in_a_day_halts(traded: str, trips: bool) -> None:
    # Twice 100,000.
    tripped = watch(max_daily_turnover="2").look_at_trades(book(), Decimal(traded))
    assert [trip.rule for trip in tripped] == ["max_daily_turnover"] * trips
    assert watch().look_at_trades(book(), Decimal(traded)) == []
    latched = watch(max_daily_turnover="2")
    latched.latch(["max_daily_turnover"])
    assert latched.look_at_trades(book(), Decimal(traded)) == []


def test_turnover_is_told_as_a_multiple_where_there_is_equity() -> None:
    [trip] = watch(max_daily_turnover="2").look_at_trades(book(), Decimal(250_000))
    assert trip == Trip(
        "max_daily_turnover",
        "250000.00 were traded today, with an equity of 100000.00",
        Decimal("2.5"),
        Decimal(2),
    )
    [broke] = watch(max_daily_turnover="2").look_at_trades(book(cash="0"), Decimal(250_000))
    assert broke.observed == 250_000
    [poor] = watch(max_daily_turnover="2").look_at_trades(book(cash="0.50"), Decimal(250_000))
    assert poor.observed == 500_000


def test_a_streak_and_turnover_are_told_together() -> None:
    both = watch(max_losing_streak=1, max_daily_turnover="1")
    tripped = both.look_at_trades(book(*round_trips("49")), Decimal(200_000))
    assert [trip.rule for trip in tripped] == ["max_losing_streak", "max_daily_turnover"]


# Many bars at once


def column(*equities: object) -> Any:
    return np.array([to_micros(Decimal(str(equity))) for equity in equities], dtype=np.int64)


@pytest.mark.parametrize(
    ("limits", "equities", "quiet"),
    [
        ({"max_daily_loss": "1000"}, (99_500, 99_001, 99_000, 100_000), 2),
        ({"max_daily_loss": "1000"}, (99_500, 99_001), 2),
        ({"max_daily_loss": "1000"}, (98_000,), 0),
        ({"max_daily_loss": "1000"}, (), 0),
        ({"max_daily_loss_fraction": "0.01"}, (99_001, 99_000), 1),
        # From 120,000 a tenth is 108,000.
        ({"max_session_drawdown_fraction": "0.1"}, (120_000, 108_001, 108_000), 2),
        ({"max_drawdown_fraction": "0.1"}, (120_000, 108_001, 108_000), 2),
        ({"max_session_drawdown_fraction": "0.1"}, (90_001, 90_000), 1),
        ({}, (1, -5), 2),
    ],
)
def test_bars_that_surely_trip_nothing_are_counted(
    limits: dict[str, str], equities: tuple[int, ...], quiet: int
) -> None:
    assert watch(**limits).bars_before_a_trip(column(*equities)) == quiet


def test_bars_are_counted_from_the_highs_before_them() -> None:
    today = watch("120000", max_session_drawdown_fraction="0.1")
    assert today.bars_before_a_trip(column(108_001, 108_000)) == 1
    ever = watch(highest_ever="120000", max_drawdown_fraction="0.1")
    assert ever.bars_before_a_trip(column(108_001, 108_000)) == 1
    latched = watch(max_session_drawdown_fraction="0.1", max_drawdown_fraction="0.1", **FAST)
    latched.latch(["max_session_drawdown_fraction", "max_drawdown_fraction", "max_drawdown_speed_fraction"])
    assert latched.bars_before_a_trip(column(50_000, 1)) == 2


def test_a_quick_fall_in_many_bars_is_found_and_what_is_quiet_is_remembered() -> None:
    watching = watch(**FAST)
    fall = column(99_900, 99_800, 99_700, 98_600)
    assert watching.bars_before_a_trip(fall) == 3
    assert watching.bars_before_a_trip(column(99_900, 99_800, 99_700)) == 3
    # A fall of five per cent in so many minutes is slow.
    slow = column(*(100_000 - 100 * step for step in range(50)))
    assert watching.bars_before_a_trip(slow) == 50
    # The window of a coarser bar reaches back less far in bars.
    coarse = watch(length=timedelta(minutes=30), **FAST)
    assert coarse.bars_before_a_trip(column(99_900, 99_800, 99_700, 98_901)) == 4
    quiet = column(99_900, 99_800, 99_700)
    ends = np.array([to_epoch_us(OPENS + minute * MINUTE) for minute in (1, 2, 3)], dtype=np.int64)
    watching.note_quiet(ends, quiet)
    assert seen(watching, "98802.01", first=5) == [[]]
    assert seen(watching, "98802", first=5) == [["max_drawdown_speed_fraction"]]


def test_a_day_without_a_bar_yet_is_quiet_as_far_as_its_falls_are() -> None:
    assert watch(recent={}, **FAST).bars_before_a_trip(column(99_900, 98_800)) == 1
    assert watch(recent={}, max_daily_loss="1000").bars_before_a_trip(column(99_900, 99_000)) == 1


def test_highs_of_quiet_bars_are_kept() -> None:
    watching = watch(max_session_drawdown_fraction="0.1", max_drawdown_fraction="0.1")
    ends = np.array([to_epoch_us(OPENS + minute * MINUTE) for minute in (1, 2)], dtype=np.int64)
    watching.note_quiet(ends, column(120_000, 110_000))
    watching.note_quiet(ends[:0], column())
    watching.note_quiet(ends, column(110_000, 110_000))
    assert seen(watching, "108000", first=3) == [["max_session_drawdown_fraction", "max_drawdown_fraction"]]


CENTS = st.integers(8_800_000, 10_600_000).map(lambda cents: Decimal(cents) / 100)
SMALL_STEPS = st.lists(st.integers(-40_000, 40_000), min_size=1, max_size=60).map(
    lambda steps: [Decimal(10_000_000 + total) / 100 for total in np.cumsum(steps).tolist()]
)


@given(
    equities=st.lists(CENTS, min_size=1, max_size=40) | SMALL_STEPS,
    limits=st.fixed_dictionaries(
        {
            "max_daily_loss": st.sampled_from(["off", "700", "5000"]),
            "max_daily_loss_fraction": st.sampled_from(["off", "0.01", "0.07"]),
            "max_session_drawdown_fraction": st.sampled_from(["off", "0.012", "0.09"]),
            "max_drawdown_fraction": st.sampled_from(["off", "0.013", "0.1"]),
            "max_drawdown_speed_fraction": st.sampled_from(["off", "0.005", "0.02"]),
            "drawdown_speed_minutes": st.sampled_from([1, 3, 15]),
        }
    ),
    cut=st.integers(0, 40),
)
def test_a_stretch_of_bars_comes_to_the_same_as_its_bars_one_by_one(
    equities: list[Decimal], limits: dict[str, Any], cut: int
) -> None:
    one_by_one, in_columns = watch(**limits), watch(**limits)
    tripped: list[list[str]] = [
        [name for name in names if not name.startswith("~")] for names in seen(one_by_one, *map(str, equities))
    ]
    first = next((place for place, names in enumerate(tripped) if names), len(equities))
    quiet = in_columns.bars_before_a_trip(column(*equities))
    assert quiet <= first
    kept = min(quiet, cut)
    ends = np.array([to_epoch_us(OPENS + minute * MINUTE) for minute in range(1, kept + 1)], dtype=np.int64)
    in_columns.note_quiet(ends, column(*equities[:kept]))
    rest = seen(in_columns, *map(str, equities[kept : first + 1]), first=kept + 1)
    assert [[name for name in names if not name.startswith("~")] for names in rest] == tripped[kept : first + 1]
