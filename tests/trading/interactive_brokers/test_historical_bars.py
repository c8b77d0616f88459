"""Past bars: which questions cover a span, and what comes of answers, of refusals and of silence."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trading.bars import Timeframe, to_epoch_us
from trading.errors import BrokerUnavailable, DataNotFit
from trading.interactive_brokers.data_refusals import meaning_for_data
from trading.interactive_brokers.error_codes import Meaning
from trading.interactive_brokers.historical_bars import (
    HistoryRequest,
    Patience,
    asked_again,
    bar_size,
    duration_of,
    requests_for,
)

END = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "timeframe", "duration"),
    [
        (timedelta(minutes=30), Timeframe.MINUTE_1, "1800 S"),
        (timedelta(seconds=90), Timeframe.MINUTE_1, "300 S"),
        (timedelta(seconds=1801), Timeframe.MINUTE_1, "1860 S"),
        (timedelta(minutes=20), Timeframe.MINUTE_30, "3600 S"),
        (timedelta(days=1), Timeframe.MINUTE_1, "86400 S"),
        (timedelta(days=1, seconds=1), Timeframe.MINUTE_1, "2 D"),
        (timedelta(days=6), Timeframe.MINUTE_1, "6 D"),
        (timedelta(days=6, seconds=1), Timeframe.MINUTE_1, "1 W"),
        (timedelta(days=15), Timeframe.MINUTE_5, "3 W"),
    ],
)
def test_a_duration_covers_its_span_in_the_largest_unit_that_is_needed(
    span: timedelta, timeframe: Timeframe, duration: str
) -> None:
    assert duration_of(span, timeframe) == duration


def test_bar_sizes_are_written_as_the_broker_writes_them() -> None:
    assert [bar_size(one) for one in (Timeframe.MINUTE_1, Timeframe.MINUTE_2, Timeframe.MINUTE_30)] == [
        "1 min",
        "2 mins",
        "30 mins",
    ]


def test_a_long_span_is_asked_for_in_pieces_that_follow_each_other() -> None:
    start = END - timedelta(days=17)
    requests = requests_for(start, END, Timeframe.MINUTE_1)
    # Seventeen days are two weeks and three days; the oldest first.
    assert [one.duration for one in requests] == ["3 D", "1 W", "1 W"]
    assert [one.end for one in requests] == [END - timedelta(weeks=2), END - timedelta(weeks=1), END]
    assert requests_for(END, END, Timeframe.MINUTE_1) == []


@pytest.mark.parametrize(("asked", "again"), [("300 S", "420 S"), ("86400 S", "3 D"), ("3 D", "5 D"), ("1 W", "3 W")])
def test_a_third_attempt_uses_words_that_were_not_used_before_and_covers_as_much(asked: str, again: str) -> None:
    request = HistoryRequest(END, asked, "1 min")
    assert asked_again(request, 1, Timeframe.MINUTE_1) == request
    assert asked_again(request, 3, Timeframe.MINUTE_1) == HistoryRequest(END, again, "1 min")


@pytest.mark.parametrize(
    ("code", "text", "meaning"),
    [
        (
            162,
            "Historical Market Data Service error message:HMDS query returned no data: SPY@SMART Trades",
            Meaning.NO_DATA,
        ),
        (
            162,
            "Historical Market Data Service error message:Historical data request pacing violation",
            Meaning.NO_ANSWER,
        ),
        (162, "Historical Market Data Service error message:API historical data query cancelled: 7", Meaning.NO_ANSWER),
        (
            162,
            "Historical Market Data Service error message:No market data permissions for NYSE STK",
            Meaning.DATA_NOT_ALLOWED,
        ),
        (420, "Invalid Real-time Query:No market data permissions for ISLAND STK", Meaning.DATA_NOT_ALLOWED),
        (420, "Invalid Real-time Query:Historical data request pacing violation", Meaning.NO_ANSWER),
        (354, "Requested market data is not subscribed.", Meaning.DATA_NOT_ALLOWED),
        (10167, "Requested market data is not subscribed. Displaying delayed market data.", Meaning.DATA_DELAYED),
        (200, "No security definition has been found for the request", Meaning.CONTRACT_UNKNOWN),
    ],
)
def test_what_a_refusal_of_bars_means_is_in_its_words(code: int, text: str, meaning: Meaning) -> None:
    assert meaning_for_data(code, text) is meaning


def test_bars_of_a_span_are_those_whose_open_lies_in_it(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    opens = played.friday.opens_at
    bars = client.feed.history("AAA", opens + timedelta(minutes=10), opens + timedelta(minutes=13))
    assert bars.time.tolist() == [to_epoch_us(opens + timedelta(minutes=minute)) for minute in (10, 11, 12)]
    assert bars.close.tolist() == [row[3] for row in played.bars("AAA", 10, 13).values()]
    assert bars.volume.tolist() == [row[4] for row in played.bars("AAA", 10, 13).values()]


def test_a_span_over_the_weekend_and_into_today_has_both_days_and_no_bar_in_progress(
    gateway: Any, connect: Any, played: Any
) -> None:
    client = connect(gateway)
    first = gateway.begin_minute()
    gateway.play_to(first + 2, seconds=30)
    client.heard_all()
    now = client.connection.clock.now()
    bars = client.feed.history("BBB", played.friday.closes_at - timedelta(minutes=2), now + timedelta(minutes=1))
    today = (to_epoch_us(now) - to_epoch_us(played.hours.opens_at)) // 60_000_000
    wanted = [*played.bars("BBB", 388, 390).values(), *played.bars("BBB", 0, today).values()]
    assert bars.open.tolist() == [row[0] for row in wanted]


def test_a_night_without_bars_is_no_data(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    closes = played.friday.closes_at
    assert len(client.feed.history("AAA", closes + timedelta(hours=1), closes + timedelta(hours=3))) == 0


def test_a_pacing_violation_is_waited_out_and_asked_again(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    fired = gateway.fired("pacing")
    gateway.fault("pacing", times=1)
    opens = played.friday.opens_at
    bars = client.feed.history("CCC", opens + timedelta(minutes=20), opens + timedelta(minutes=22))
    assert bars.open.tolist() == [row[0] for row in played.bars("CCC", 20, 22).values()]
    assert gateway.fired("pacing") == fired + 1


def test_no_answer_is_asked_again_and_then_said(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway, answer_timeout_seconds="0.2", patience=Patience(attempts=2, pause_seconds=0.05))
    fired = gateway.fired("no_answer_history")
    gateway.fault("no_answer_history", times=2)
    opens = played.friday.opens_at
    with pytest.raises(BrokerUnavailable, match="AAA"):
        client.feed.history("AAA", opens + timedelta(minutes=30), opens + timedelta(minutes=31))
    assert gateway.fired("no_answer_history") == fired + 2
    # The line was not cut for it, and answers other questions.
    assert client.connection.connections == 1
    assert len(client.feed.history("AAA", opens, opens + timedelta(minutes=1))) == 1


def test_an_unknown_symbol_and_one_that_may_not_be_seen_are_refused(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    opens = played.friday.opens_at
    with pytest.raises(DataNotFit, match="NONE"):
        client.feed.history("NONE", opens, opens + timedelta(minutes=1))
    with pytest.raises(DataNotFit, match="Market Data Subscriptions"):
        client.feed.history("HIDDEN", opens, opens + timedelta(minutes=1))


def test_no_line_is_no_answer(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    client.contracts.instrument("AAA")
    client.connection.close()
    with pytest.raises(BrokerUnavailable):
        client.feed.history("AAA", played.friday.opens_at, played.friday.opens_at + timedelta(minutes=1))
