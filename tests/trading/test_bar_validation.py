from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.bar_validation import BarsRefused, BarValidator, Finding, Judgement, Reference
from trading.bars import MISSING, BarColumns, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.settings import FindingAction, ValidationSettings
from trading.trading_hours import TradingHours

MINUTE = timedelta(minutes=1)
TUESDAY, WEDNESDAY = TradingCalendar("XNYS", date(2024, 1, 16)).sessions_between(date(2024, 1, 16), date(2024, 1, 17))
OPEN = TUESDAY.opens_at
EVENING = datetime(2024, 1, 17, 22, 0, tzinfo=UTC)

# (minute after the open, open, high, low, close, volume), prices in whole units
Row = tuple[int, int | None, int | None, int | None, int | None, int | None]


def bar(minute: int, price: int = 100, volume: int | None = 10) -> Row:
    return minute, price, price, price, price, volume


def columns(rows: Sequence[Row], symbol: str = "SPY") -> BarColumns:
    def prices(place: int) -> list[int]:
        return [MISSING if (value := row[place]) is None else value * 1_000_000 for row in rows]

    return BarColumns(
        symbol,
        np.array([to_epoch_us(OPEN + row[0] * MINUTE) for row in rows], dtype=np.int64),
        *(np.array(prices(place), dtype=np.int64) for place in range(1, 5)),
        np.array([MISSING if row[5] is None else row[5] for row in rows], dtype=np.int64),
    )


def examined(
    rows: Sequence[Row],
    now: datetime = EVENING,
    sessions: Sequence[TradingHours] = (TUESDAY, WEDNESDAY),
    **actions: str | float,
) -> Judgement:
    validator = BarValidator(ValidationSettings.model_validate(actions), Timeframe.MINUTE_1)
    return validator.examine({"SPY": columns(rows)}, sessions, now, {})


def found(judgement: Judgement) -> list[tuple[int, str]]:
    """The findings as (minute after the open, kind)."""
    return [((f.bar_time - OPEN) // MINUTE, f.finding) for f in judgement.findings if f.bar_time]


def kept(judgement: Judgement) -> list[int]:
    return [(time - to_epoch_us(OPEN)) // 60_000_000 for time in judgement.kept()["SPY"].time.tolist()]


def test_sound_bars_are_kept_without_a_word() -> None:
    judgement = examined([bar(0), bar(1, 101), bar(2, 99)])
    assert (found(judgement), kept(judgement)) == ([], [0, 1, 2])


# Each kind with rows in which exactly the bar of minute 1 shows it.
SHOWN: dict[Finding, list[Row]] = {
    Finding.MISSING_VALUE: [bar(0), (1, 100, None, 100, 100, 10), bar(2)],
    Finding.NON_POSITIVE_PRICE: [bar(0), (1, 100, 100, 0, 100, 10), bar(2)],
    Finding.CROSSED_RANGE: [bar(0), (1, 100, 99, 101, 100, 10), bar(2)],
    Finding.OUTSIDE_RANGE: [bar(0), (1, 100, 101, 99, 102, 10), bar(2)],
    Finding.DUPLICATE_BAR: [bar(0), bar(1), (1, 99, 99, 99, 99, 10), bar(2)],
    Finding.OUT_OF_ORDER: [bar(0), bar(2), bar(1), bar(3)],
    Finding.PRICE_JUMP: [bar(0), bar(1, 121), bar(2)],
    Finding.ZERO_VOLUME: [bar(0), bar(1, volume=0), bar(2)],
}
ALONE = {Finding.PRICE_JUMP, Finding.ZERO_VOLUME}
"""These can be traded on when a person says so."""


@pytest.mark.parametrize("finding", list(SHOWN))
def test_a_finding_set_to_drop_takes_out_just_its_bar(finding: Finding) -> None:
    judgement = examined(SHOWN[finding], **{finding.value: "drop", "gap": "warn"})
    of_kind = [one for one in judgement.findings if one.finding == finding]
    assert [((one.bar_time - OPEN) // MINUTE, one.action) for one in of_kind if one.bar_time] == [(1, "drop")]
    rows = SHOWN[finding]
    bad = 2 if finding in (Finding.DUPLICATE_BAR, Finding.OUT_OF_ORDER) else 1
    assert judgement.keep["SPY"].tolist() == [row != bad for row in range(len(rows))]


@pytest.mark.parametrize("finding", list(SHOWN))
def test_a_finding_set_to_refuse_refuses_and_carries_what_was_found(finding: Finding) -> None:
    validator = BarValidator(ValidationSettings.model_validate({finding.value: "refuse"}), Timeframe.MINUTE_1)
    judgement = validator.examine({"SPY": columns(SHOWN[finding])}, [TUESDAY], EVENING, {})
    with pytest.raises(
        BarsRefused, match=rf"1 finding: SPY 2024-01-16 14:31Z {finding} .*set validation.{finding} to"
    ) as refusal:
        validator.refuse(judgement.findings)
    assert list(refusal.value.findings) == judgement.findings


@pytest.mark.parametrize("finding", sorted(ALONE))
def test_a_finding_set_to_warn_keeps_its_bar(finding: Finding) -> None:
    judgement = examined(SHOWN[finding], **{finding.value: "warn"})
    assert (1, finding.value) in found(judgement)
    assert kept(judgement) == [0, 1, 2]


@pytest.mark.parametrize("finding", sorted(set(SHOWN) - ALONE))
def test_nonsense_cannot_be_set_to_warn(finding: Finding) -> None:
    with pytest.raises(ValueError, match="'refuse' or 'drop'"):
        ValidationSettings.model_validate({finding.value: "warn"})


def test_findings_of_one_bar_say_all_that_is_wrong_with_its_numbers() -> None:
    judgement = examined([(0, None, 100, -1, 100, 10)])
    assert found(judgement) == [(0, "missing_value"), (0, "non_positive_price")]
    assert judgement.findings[0].detail == "open missing high 100 low -1 close 100"


def test_the_first_good_bar_of_a_minute_stays_when_a_bad_one_came_before_it() -> None:
    judgement = examined([bar(0), (1, None, 100, 100, 100, 10), bar(1)])
    assert (found(judgement), kept(judgement)) == ([(1, "missing_value")], [0, 1])


def test_a_move_of_exactly_the_limit_is_believed() -> None:
    assert found(examined([bar(0, 100), bar(1, 120)], max_jump_fraction=0.2)) == []
    assert found(examined([bar(0, 100), bar(1, 80)], max_jump_fraction=0.2)) == []


def test_one_wild_print_does_not_damn_the_good_bar_after_it() -> None:
    judgement = examined([bar(0), bar(1, 300), bar(2), bar(3, 10), bar(4)])
    assert (found(judgement), kept(judgement)) == ([(1, "price_jump"), (3, "price_jump")], [0, 2, 4])
    assert judgement.findings[0].detail == "open 300 high 300 low 300 close 300 after a close of 100"


def test_a_price_that_stays_at_its_new_level_is_believed_from_the_third_bar() -> None:
    judgement = examined([bar(0), bar(1, 150), bar(2, 151), bar(3, 152), bar(4, 153)])
    assert (found(judgement), kept(judgement)) == ([(1, "price_jump"), (2, "price_jump")], [0, 3, 4])


def test_wild_prints_that_do_not_agree_are_never_believed() -> None:
    judgement = examined([bar(0), bar(1, 150), bar(2, 300), bar(3, 150), bar(4, 300), bar(5)])
    assert kept(judgement) == [0, 5]


def test_a_wild_print_that_comes_three_times_for_its_minute_confirms_nothing() -> None:
    judgement = examined([bar(0), bar(1, 150), bar(1, 150), bar(1, 150), bar(2)])
    assert kept(judgement) == [0, 2]


def test_a_wild_first_print_of_the_day_costs_two_bars_and_not_the_session() -> None:
    judgement = examined([bar(0, 300), *(bar(minute) for minute in range(1, 30))])
    assert kept(judgement) == [0, *range(3, 30)]


def test_a_move_over_night_is_no_jump() -> None:
    # Wednesday's open is 1440 minutes after Tuesday's.
    judgement = examined([bar(389), bar(1440, 200), bar(1441, 200)], gap="warn")
    assert "price_jump" not in {kind for _, kind in found(judgement)}


def test_gaps_count_the_minutes_of_the_session_only() -> None:
    judgement = examined([bar(0), bar(1), bar(4), bar(389), bar(1440), bar(1443)])
    details = [(f.finding, f.detail) for f in judgement.findings]
    assert found(judgement) == [(4, "gap"), (389, "gap"), (1443, "gap")]
    assert details == [
        ("gap", "2 bars missing before it"),
        ("gap", "384 bars missing before it"),
        ("gap", "2 bars missing before it"),
    ]


def test_a_session_that_begins_late_has_a_gap_since_the_open() -> None:
    assert [(f.finding, f.detail) for f in examined([bar(1)]).findings] == [("gap", "1 bar missing before it")]


def test_a_dropped_bar_leaves_no_gap_because_its_minute_came() -> None:
    assert found(examined([bar(0), bar(1, 0), bar(2)])) == [(1, "non_positive_price")]


def test_a_gap_set_to_drop_costs_the_bar_after_it_and_no_more() -> None:
    assert kept(examined([bar(0), bar(5), bar(6)], gap="drop")) == [0, 6]


def test_a_source_without_volume_is_told_and_a_negative_volume_is_none() -> None:
    judgement = examined([bar(0, volume=None), bar(1, volume=-1), bar(2, volume=0)])
    assert [f.detail for f in judgement.findings] == [
        "the source has no volume",
        "the source has no volume",
        "volume 0",
    ]
    assert judgement.kept()["SPY"].volume.tolist() == [MISSING, MISSING, 0]


def test_a_bar_that_is_not_over_is_dropped_and_may_come_again() -> None:
    half_past = OPEN + 1.5 * MINUTE
    rows = [bar(0), bar(1)]
    judgement = examined(rows, now=half_past)
    assert (found(judgement), kept(judgement)) == ([(1, "unfinished_bar")], [0])
    assert kept(examined(rows, now=half_past, unfinished_bar="warn")) == [0, 1]

    validator, references = BarValidator(ValidationSettings(), Timeframe.MINUTE_1), dict[str, Reference]()
    validator.examine({"SPY": columns(rows)}, [TUESDAY], half_past, references)
    again = validator.examine({"SPY": columns(rows[1:])}, [TUESDAY], EVENING, references)
    assert (again.findings, again.keep["SPY"].tolist()) == ([], [True])


def test_a_last_bar_that_the_close_cuts_short_is_over_at_the_close() -> None:
    short = TradingHours(TUESDAY.session_date, OPEN, OPEN + 7 * MINUTE, TUESDAY.zone)
    validator = BarValidator(ValidationSettings(), Timeframe.MINUTE_5)
    judgement = validator.examine({"SPY": columns([bar(0), bar(5)])}, [short], short.closes_at, {})
    assert judgement.findings == []


def test_symbols_of_one_slice_are_judged_each_by_its_own_past() -> None:
    validator, references = BarValidator(ValidationSettings(), Timeframe.MINUTE_1), dict[str, Reference]()
    for minute, spy, qqq in ((0, 100, 400), (1, 100, 100), (2, 400, 400)):
        rows = {"SPY": columns([bar(minute, spy)]), "QQQ": columns([bar(minute, qqq)], "QQQ")}
        last = validator.examine(rows, [TUESDAY], EVENING, references)
        if minute == 1:
            assert [(f.symbol, f.finding) for f in last.findings] == [("QQQ", "price_jump")]
    assert [(f.symbol, f.detail) for f in last.findings] == [
        ("SPY", "open 400 high 400 low 400 close 400 after a close of 100")
    ]


def test_a_long_list_of_findings_is_counted_and_the_first_are_named() -> None:
    validator = BarValidator(ValidationSettings(zero_volume=FindingAction.REFUSE), Timeframe.MINUTE_1)
    judgement = validator.examine({"SPY": columns([bar(i, volume=0) for i in range(9)])}, [TUESDAY], EVENING, {})
    with pytest.raises(
        BarsRefused, match=r"9 findings: SPY 2024-01-16 14:30Z.*14:31Z.*14:32Z zero_volume \(volume 0\); and 6 more"
    ):
        validator.refuse(judgement.findings)


# Most steps are an ordinary minute: a small move of the level. The others are what data is full of.
steps_of_time = st.sampled_from([1, 1, 1, 1, 1, 1, 0, -1, 2, 3])
moves = st.integers(-12, 12)
faults = st.sampled_from(
    [None, None, None, None, None, None, "wild", "wild", "shift", "missing", "negative", "crossed"]
)
volumes = st.sampled_from([5, 5, 5, 0, -1, None])


@given(
    st.lists(st.tuples(steps_of_time, moves, faults, volumes), max_size=50),
    st.sampled_from(["drop", "warn"]),
    st.sampled_from(["drop", "warn"]),
    st.integers(2, 4),
)
@settings(max_examples=300, deadline=None)
def test_bars_judged_one_by_one_get_the_verdicts_of_the_whole_history(
    steps: list[tuple[int, int, str | None, int | None]], on_jump: str, on_gap: str, believed_after: int
) -> None:
    rows: list[Row] = []
    minute, level = 375, 100
    for step, move, fault, volume in steps:
        # Wednesday's open follows Tuesday's close without the night, so that small steps cross from one to the other.
        minute += step
        level = max(level + move, 20) * (2 if fault == "shift" else 1)
        close = level * 2 if fault == "wild" else level
        high = {"missing": None, "negative": -level, "crossed": level - 1}.get(fault or "", max(level, close))
        rows.append((minute if minute < 390 else minute + 1050, level, high, level, close, volume))
    validator = BarValidator(
        ValidationSettings.model_validate(
            {"price_jump": on_jump, "gap": on_gap, "jump_believed_after_bars": believed_after}
        ),
        Timeframe.MINUTE_1,
    )
    sessions = (TUESDAY, WEDNESDAY)
    whole_references, references = dict[str, Reference](), dict[str, Reference]()
    whole = validator.examine({"SPY": columns(rows)}, sessions, EVENING, whole_references)
    findings, keep = [], []
    for row in rows:
        one = validator.examine({"SPY": columns([row])}, sessions, EVENING, references)
        findings += one.findings
        keep += one.keep["SPY"].tolist()
    assert findings == whole.findings
    assert keep == whole.keep["SPY"].tolist()
    assert references == whole_references
    # What is kept makes bars that rise in time.
    bars = list(whole.kept()["SPY"])
    assert all(earlier.bar_time < later.bar_time for earlier, later in pairwise(bars))
