"""Past bars: what durations reach back to, how bars are put together, what is refused, and how often one may ask."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from trading.bars import MISSING, Bar, BarColumns, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.money import from_micros
from trading.rehearsal_gateway.bar_answers import BarAnswer, BarAnswers
from trading.rehearsal_gateway.bar_requests import BarRequest, read_request
from trading.rehearsal_gateway.pacing import Pacing
from trading.rehearsal_gateway.past_bars import PastBars, nothing
from trading.rehearsal_gateway.refusals import Refused
from trading.rehearsal_gateway.wire_times import UnreadableTime, WireTimes

CALENDAR = TradingCalendar("XNYS", date(2026, 1, 5))
NEW_YORK = CALENDAR.hours(date(2026, 1, 5)).zone
TIMES = WireTimes(NEW_YORK)
DOLLAR = 1_000_000


def at(text: str) -> datetime:
    """A moment on New York's wall."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


def minutes(first: date, last: date) -> BarColumns:
    """Minute bars of whole sessions: the open is that minute's number of the session in dollars, plus 100."""
    times, opens = [], []
    for hours in CALENDAR.sessions_between(first, last):
        count = hours.bar_count(Timeframe.MINUTE_1)
        times += [to_epoch_us(hours.opens_at) + 60_000_000 * minute for minute in range(count)]
        opens += [(100 + minute) * DOLLAR for minute in range(count)]
    opened = np.array(opens, dtype=np.int64)
    volume = np.full(len(times), 600, dtype=np.int64)
    high, low, closed = opened + 2 * DOLLAR, opened - DOLLAR, opened + DOLLAR
    return BarColumns("SPY", np.array(times, dtype=np.int64), opened, high, low, closed, volume)


STORED = minutes(date(2025, 11, 3), date(2026, 1, 5))


def read(symbol: str, start: datetime, end: datetime) -> BarColumns:
    within = (STORED.time >= to_epoch_us(start)) & (STORED.time < to_epoch_us(end))
    return STORED.take(within) if symbol == "SPY" else BarColumns.empty(symbol)


PAST = PastBars(read, Timeframe.MINUTE_1)
ANSWERS = BarAnswers(PAST, CALENDAR)


def request(duration: str, size: str, end: str = "", what: str = "TRADES", rth: bool = True) -> BarRequest:
    return read_request(end, size, duration, what, rth, 1, False, TIMES)


def ask(now: str, duration: str, size: str, end: str = "", what: str = "TRADES", rth: bool = True) -> BarAnswer:
    moment = at(now)
    return ANSWERS.answer("SPY", request(duration, size, end, what, rth), moment, moment)


def begins(answer: BarAnswer) -> list[str]:
    return [f"{bar.time.astimezone(NEW_YORK):%m-%d %H:%M}" for bar in answer.bars]


def test_a_day_is_a_session_counted_from_the_one_that_is_on() -> None:
    in_session = begins(ask("2026-01-05 09:40", "1 D", "1 min"))
    assert (in_session[0], in_session[-1], len(in_session)) == ("01-05 09:30", "01-05 09:39", 10)
    # Before the open, over a weekend: the day is Friday, and the one before it the last of the year.
    before_open = begins(ask("2026-01-05 09:00", "2 D", "1 min"))
    assert (before_open[0], before_open[-1], len(before_open)) == ("12-31 09:30", "01-02 15:59", 780)


def test_seconds_are_counted_in_trading_time() -> None:
    assert begins(ask("2026-01-05 09:32", "300 S", "1 min")) == [
        "01-02 15:57", "01-02 15:58", "01-02 15:59", "01-05 09:30", "01-05 09:31",
    ]  # fmt: skip
    assert begins(ask("2026-01-03 12:00", "120 S", "1 min")) == ["01-02 15:58", "01-02 15:59"]
    # A half day ended at 13:00.
    assert begins(ask("2025-11-29 12:00", "60 S", "1 min")) == ["11-28 12:59"]


def test_weeks_and_months_are_the_calendars() -> None:
    assert begins(ask("2026-01-05 09:30", "1 W", "1 day")) == [
        "12-29 00:00",
        "12-30 00:00",
        "12-31 00:00",
        "01-02 00:00",
    ]
    assert begins(ask("2026-01-05 09:30", "1 M", "1 day"))[0] == "12-05 00:00"


def test_the_bar_in_progress_is_the_last_and_knows_only_what_is_over() -> None:
    # 25 seconds after 09:31 five pieces of five seconds are over. The minute goes from 101 by 100 to 103 and back to 102: 1 + 3 + 1
    # dollars in 2 + 8 + 2 pieces, so that the fifth ends at 100 + 3 * 3/8.
    last = ask("2026-01-05 09:31:25", "1 D", "1 min").bars[-1]
    assert last.time == at("2026-01-05 09:31")
    assert (last.open, last.low, last.volume, last.count) == (101.0, 100.0, 250, 3)
    assert last.close == last.high == 101.13
    # At the very minute nothing of it has been traded.
    assert begins(ask("2026-01-05 09:31", "1 D", "1 min")) == ["01-05 09:30"]


def test_nothing_is_known_that_was_not_shown_yet() -> None:
    now = at("2026-01-05 09:31:05")
    bars = ANSWERS.answer("SPY", request("1 D", "5 secs"), now, known_until=now - timedelta(seconds=5)).bars
    assert bars[-1].time == at("2026-01-05 09:30:55")


def test_an_end_takes_only_what_opened_before_it() -> None:
    answer = ask("2026-01-05 12:00", "1 D", "5 mins", end="20260105 09:42:00 US/Eastern")
    # Twelve minutes: the last bar of five has two.
    assert begins(answer) == ["01-05 09:30", "01-05 09:35", "01-05 09:40"]
    assert answer.bars[-1].volume == 1200
    # An end in the future shows no future.
    assert begins(ask("2026-01-05 09:32", "1 D", "1 min", end="20260105 16:00:00"))[-1] == "01-05 09:31"


def test_bars_begin_at_whole_multiples_of_the_wall_and_the_first_at_the_open() -> None:
    assert begins(ask("2026-01-05 12:30", "1 D", "1 hour")) == [
        "01-05 09:30",
        "01-05 10:00",
        "01-05 11:00",
        "01-05 12:00",
    ]
    assert begins(ask("2026-01-05 12:30", "1 D", "2 hours")) == ["01-05 09:30", "01-05 10:00", "01-05 12:00"]
    assert begins(ask("2026-01-05 10:10", "1 D", "20 mins")) == ["01-05 09:30", "01-05 09:40", "01-05 10:00"]


def test_a_bar_is_put_together_of_its_minutes() -> None:
    [first, *_] = ask("2026-01-05 12:30", "1 D", "3 mins").bars
    assert (first.open, first.high, first.low, first.close) == (100.0, 104.0, 99.0, 103.0)
    assert (first.volume, first.count) == (1800, 18)
    # Each minute's price is (high + low + close) / 3 = its number + 100 2/3.
    assert first.average == pytest.approx(101.6667)


def test_a_day_is_one_bar_of_its_session() -> None:
    [friday, today] = ask("2026-01-05 09:40", "2 D", "1 day").bars
    assert (friday.open, friday.close, friday.volume) == (100.0, 490.0, 390 * 600)
    assert (today.open, today.close, today.volume) == (100.0, 110.0, 6_000)


def test_a_half_day_ends_early_and_summer_time_moves_nothing() -> None:
    assert len(ask("2025-11-28 18:00", "1 D", "1 min").bars) == 210
    before = ask("2025-11-03 10:30", "1 D", "1 hour")
    assert begins(before) == ["11-03 09:30", "11-03 10:00"]


def test_quotes_have_no_volume() -> None:
    [bar] = ask("2026-01-05 09:31", "1 D", "1 min", what="MIDPOINT").bars
    assert (bar.volume, bar.average, bar.count) == (-1, -1, -1)


def test_bars_outside_the_session_are_shown_where_they_are_asked_for() -> None:
    early = Bar("SPY", at("2026-01-05 09:20"), *(from_micros(DOLLAR * price) for price in (5, 6, 4, 5)), 100)
    past = PastBars(nothing, Timeframe.MINUTE_1)
    past.show([early])
    answers, now = BarAnswers(past, CALENDAR), at("2026-01-05 09:40")
    assert answers.answer("SPY", request("2 D", "1 min"), now, now).bars == []
    [bar] = answers.answer("SPY", request("2 D", "1 min", rth=False), now, now).bars
    assert bar.open == 5.0


def test_a_market_has_no_nonsense_and_each_bar_once() -> None:
    ten = np.full(6, 10 * DOLLAR, dtype=np.int64)
    time = to_epoch_us(at("2026-01-05 09:30")) + 60_000_000 * np.array([0, 1, 2, 3, 1, 4], dtype=np.int64)
    low, close, volume = ten.copy(), ten.copy(), np.full(6, 7, dtype=np.int64)
    low[2], close[3], volume[5] = -DOLLAR, MISSING, -1
    volume[4] = 8  # minute 1 a second time
    rows = BarColumns("SPY", time, ten, ten, low, close, volume)
    past = PastBars(lambda *_: rows, Timeframe.MINUTE_1)
    kept = past.between("SPY", at("2026-01-05 09:30"), at("2026-01-05 10:00"))
    assert kept.time.tolist() == time[:2].tolist()
    assert kept.volume.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"size": "7 mins"}, 321, "bar size"),
        ({"duration": "1"}, 321, "duration"),
        ({"duration": "0 D"}, 321, "duration"),
        ({"duration": "86401 S"}, 321, "made in days"),
        ({"duration": "366 D"}, 321, "made in years"),
        ({"duration": "2 Y"}, 162, "length exceed"),
        ({"duration": "2 D", "size": "5 secs"}, 162, "length exceed"),
        ({"what": "OPTION_IMPLIED_VOLATILITY"}, 321, "whatToShow"),
        ({"date_format": 3}, 321, "format"),
        ({"end": "yesterday"}, 10314, "End Date/Time"),
        ({"end": "20260105 10:00:00 Mars/Base"}, 10314, "End Date/Time"),
        ({"end": "20260105 10:00:00", "keep_up_to_date": True}, 321, "no end date"),
        ({"end": "20260105 10:00:00", "what": "ADJUSTED_LAST"}, 321, "not supported"),
    ],
)
def test_what_no_gateway_answers_is_refused(changed: dict[str, object], code: int, words: str) -> None:
    asked: dict[str, object] = {
        "end": "", "size": "1 min", "duration": "1 D", "what": "TRADES", "regular_hours": True, "date_format": 1,
        "keep_up_to_date": False, "times": TIMES,
    }  # fmt: skip
    with pytest.raises(Refused, match=words) as refusal:
        read_request(**{**asked, **changed})  # type: ignore[arg-type]
    assert refusal.value.code == code


def test_times_are_read_in_every_way_that_they_are_written() -> None:
    moment = at("2026-01-05 09:31:05")
    written: list[tuple[str, str]] = [
        ("", "20260105 09:31:05 US/Eastern"),
        ("Europe/Berlin", "20260105 15:31:05 Europe/Berlin"),
        ("none", "20260105  09:31:05"),
        ("UTC", "20260105-14:31:05"),
    ]
    for style, text in written:
        times = WireTimes(NEW_YORK, style)
        assert times.moment(moment) == text
        assert times.asked(text) == moment
    assert TIMES.asked("20260105 09:31:05 EST") == moment
    with pytest.raises(UnreadableTime):
        TIMES.asked("20261305 09:31:05")


@pytest.fixture
def pacing() -> Callable[[float, str], bool]:
    """Asks at a second of the wall."""
    seconds = [0.0]
    counted = Pacing(True, lambda: seconds[0])

    def asked(second: float, what: str) -> bool:
        seconds[0] = second
        return counted.allows(what)

    return asked


def test_the_same_is_not_asked_twice_within_fifteen_seconds(pacing: Callable[[float, str], bool]) -> None:
    assert pacing(0, "SPY")
    assert pacing(1, "QQQ")
    assert not pacing(14.9, "SPY")
    assert pacing(15, "SPY")


def test_sixty_are_asked_within_ten_minutes_and_no_more(pacing: Callable[[float, str], bool]) -> None:
    assert all(pacing(second, f"request {second}") for second in range(60))
    assert not pacing(599, "one more")
    assert pacing(600, "one more")  # the first has been forgotten
    assert not pacing(600, "and another")


def test_pacing_can_be_switched_off() -> None:
    counted = Pacing(False, lambda: 0.0)
    assert all(counted.allows("the same") for _ in range(100))
