"""Live bars of a session over a real socket, from a rehearsal gateway in a process of its own: whatever happens on the way, what
is handed out are the bars that the market had, each once, in order, and none before it was over."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from trading.bars import MISSING, Timeframe
from trading.errors import DataNotFit, StoppedEarly
from trading.sessions import Mode


def test_each_minute_comes_when_it_is_over_and_not_before(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    first = gateway.begin_minute()
    session = client.take("AAA", "BBB", first=first)
    gateway.play_to(first + 2, seconds=55)
    client.until(lambda: len(session.taken) == 2)
    client.heard_all()
    # Eleven of twelve pieces of the third minute have been heard.
    assert session.minutes() == [first, first + 1]
    gateway.play_to(first + 3)
    client.until(lambda: len(session.taken) == 3)
    for symbol in ("AAA", "BBB"):
        assert session.rows(symbol) == played.bars(symbol, first, first + 3)
    assert client.feed.mode is Mode.LIVE
    assert client.alerts == []


def test_bars_that_come_twice_late_or_in_disorder_are_the_same_bars(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    first = gateway.begin_minute()
    session = client.take("CCC", first=first)
    gateway.play(0.25)
    gateway.fault("data_duplicate", symbol="CCC", bars=3)
    gateway.play(0.5)
    gateway.fault("data_out_of_order", symbol="CCC", bars=2)
    gateway.play(0.5)
    gateway.fault("data_stale", symbol="CCC", bars=2)
    gateway.play(0.5)
    gateway.play_to(first + 4)
    client.until(lambda: len(session.taken) == 4)
    assert session.rows("CCC") == played.bars("CCC", first, first + 4)
    assert [gateway.fired(one) for one in ("data_duplicate", "data_out_of_order", "data_stale")] == [1, 1, 1]


def test_a_minute_with_a_hole_is_mended_from_history_before_it_comes(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    first = gateway.begin_minute()
    asked = gateway.received("reqHistoricalData")
    session = client.take("DDD", "EEE", first=first)
    gateway.play(0.5)
    gateway.fault("data_stop", symbol="DDD", bars=3)
    gateway.play_to(first + 2, seconds=5)
    client.until(lambda: len(session.taken) == 2)
    for symbol in ("DDD", "EEE"):
        assert session.rows(symbol) == played.bars(symbol, first, first + 2)
    assert gateway.received("reqHistoricalData") == asked + 1


def test_nonsense_is_handed_on_for_the_validation_to_see(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    first = gateway.begin_minute()
    session = client.take("FFF", first=first)
    gateway.play(0.5)
    gateway.fault("data_nan", symbol="FFF", bars=1)
    gateway.play_to(first + 1, seconds=30)
    gateway.fault("data_nan", symbol="FFF", bars=1, price="-1")
    gateway.play_to(first + 2)
    client.until(lambda: len(session.taken) == 2)
    whole, rows = played.bars("FFF", first, first + 2), session.rows("FFF")
    opened, _, _, close, volume = whole[first]
    assert rows[first] == (opened, MISSING, MISSING, close, volume)
    opened, high, _, close, volume = whole[first + 1]
    assert rows[first + 1] == (opened, high, -1_000_000, close, volume)


def test_a_halted_symbol_holds_up_nobody_and_is_told_of_once(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    first = gateway.begin_minute(8)
    session = client.take("AAA", "HALT", first=first)
    # HALT trades in minutes 0 to 3, and then not before minute 8. The pieces after each minute say that it is over.
    for minute in range(first + 1, first + 8):
        gateway.play_to(minute, seconds=5)
        client.until(lambda wanted=minute - first: len(session.taken) == wanted)
    assert session.rows("AAA") == played.bars("AAA", first, first + 7)
    assert session.rows("HALT") == played.bars("HALT", first, first + 4)
    assert client.silences("HALT") == [False]
    gateway.play_to(first + 9)
    client.until(lambda: len(session.taken) == 9)
    assert session.rows("HALT") == played.bars("HALT", first, first + 9)
    assert client.silences("HALT") == [False, True]
    assert client.silences("AAA") == []


def test_a_silent_stream_is_noticed_within_a_bar_subscribed_anew_and_read_from_history(
    gateway: Any, connect: Any, played: Any
) -> None:
    client = connect(gateway)
    first = gateway.begin_minute()
    session = client.take("GGG", first=first)
    gateway.play_to(first + 1)
    client.until(lambda: len(session.taken) == 1)
    asked = gateway.received("reqRealTimeBars")
    gateway.fault("data_stop", symbol="GGG", bars=36)
    # A minute without a piece, and the three seconds that a bar may be late.
    gateway.play_to(first + 2, seconds=5)
    client.until(lambda: client.silences("GGG") == [False], "silent")
    client.until(lambda: gateway.received("reqRealTimeBars") == asked + 1, "subscribed anew")
    client.until(lambda: len(session.taken) == 2, "from history")
    gateway.play_to(first + 6)
    client.until(lambda: client.silences("GGG") == [False, True], "speaks again")
    client.until(lambda: len(session.taken) == 6)
    assert session.rows("GGG") == played.bars("GGG", first, first + 6)


def test_a_silent_stream_of_growing_bars_is_noticed_too(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway, live_bars="keep_up_to_date")
    first = gateway.begin_minute()
    asked = gateway.received("reqHistoricalData")
    session = client.take("FFF", first=first)
    client.until(lambda: gateway.received("reqHistoricalData") == asked + 1)
    gateway.play_to(first + 1, seconds=10)
    client.until(lambda: len(session.taken) == 1)
    gateway.fault("data_stop", symbol="FFF", bars=40)
    gateway.play_to(first + 2, seconds=10)
    client.until(lambda: len(session.taken) == 2, "from history")
    # What came last could have come at any moment up to now: from here on it is a minute.
    gateway.play_to(first + 3, seconds=20)
    client.until(lambda: client.silences("FFF") == [False], "silent")

    def speaks_again() -> bool:
        # No minute goes by before it is heard that bars come again.
        gateway.play(1 / 12)
        client.heard_all()
        time.sleep(0.05)
        return bool(client.silences("FFF") == [False, True])

    client.until(speaks_again, "speaks again")
    last = gateway.begin_minute()
    gateway.play_to(last, seconds=5)
    client.until(lambda: len(session.taken) == last - first)
    assert session.rows("FFF") == played.bars("FFF", first, last)


def test_what_was_missed_while_the_line_was_away_comes_in_order_when_it_is_back(
    gateway: Any, connect: Any, played: Any
) -> None:
    client = connect(gateway)
    first = gateway.begin_minute()
    session = client.take("AAA", "BBB", first=first)
    gateway.play_to(first + 1, seconds=20)
    client.until(lambda: len(session.taken) == 1)
    gateway.fault("restart", seconds=0.6)
    gateway.play_to(first + 4, seconds=30)
    client.until(lambda: len(session.taken) == 4, "missed bars")
    gateway.play_to(first + 6)
    client.until(lambda: len(session.taken) == 6, "live bars")
    assert session.minutes() == list(range(first, first + 6))
    for symbol in ("AAA", "BBB"):
        assert session.rows(symbol) == played.bars(symbol, first, first + 6)
    assert client.connection.connections == 2


@pytest.mark.parametrize("live_bars", ["5s", "keep_up_to_date"])
def test_data_lost_behind_the_gateway_are_subscribed_to_anew(
    gateway: Any, connect: Any, played: Any, live_bars: str
) -> None:
    client = connect(gateway, live_bars=live_bars)
    first = gateway.begin_minute()
    session = client.take("BBB", first=first)
    gateway.play_to(first + 1, seconds=20)
    client.until(lambda: len(session.taken) == 1)
    gateway.fault("broadcast", code=1100)
    gateway.play_to(first + 2, seconds=20)
    gateway.fault("broadcast", code=1101)
    client.until(lambda: client.connection.connections == 2 and client.connection.is_up)
    gateway.play_to(first + 4, seconds=5)
    client.until(lambda: len(session.taken) == 4)
    assert session.rows("BBB") == played.bars("BBB", first, first + 4)


def test_bars_that_the_broker_keeps_up_to_date_are_the_same_bars(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway, live_bars="keep_up_to_date")
    first = gateway.begin_minute()
    asked = gateway.received("reqHistoricalData")
    session = client.take("AAA", "BBB", first=first)
    client.until(lambda: gateway.received("reqHistoricalData") == asked + 2)
    client.heard_all()
    gateway.play_to(first + 3)
    # Of the last one nobody can say yet that it does not grow any more.
    client.until(lambda: len(session.taken) == 2)
    gateway.play_to(first + 3, seconds=5)
    client.until(lambda: len(session.taken) == 3)
    for symbol in ("AAA", "BBB"):
        assert session.rows(symbol) == played.bars(symbol, first, first + 3)


def test_a_resumed_session_gets_first_what_it_missed_today(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    first = gateway.begin_minute()
    gateway.play_to(first + 3, seconds=5)
    session = client.take("EEE", first=first)
    client.until(lambda: len(session.taken) == 3, "missed bars")
    assert session.rows("EEE") == played.bars("EEE", first, first + 3)
    # Of the fourth minute only a part can be heard: it comes from history too.
    gateway.play_to(first + 5)
    client.until(lambda: len(session.taken) == 5, "live bars")
    assert session.rows("EEE") == played.bars("EEE", first, first + 5)


def test_longer_bars_are_whole_too(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway, Timeframe.MINUTE_3)
    first = gateway.begin_minute(3)
    session = client.take("CCC", first=first)
    gateway.play_to(first + 3)
    client.until(lambda: len(session.taken) == 1)
    bars = list(played.bars("CCC", first, first + 3).values())
    opened, closed = bars[0][0], bars[-1][3]
    high, low, volume = max(bar[1] for bar in bars), min(bar[2] for bar in bars), sum(bar[4] for bar in bars)
    assert session.rows("CCC") == {first: (opened, high, low, closed, volume)}


def test_who_waits_is_attended_to_and_what_attending_raises_ends_the_wait(gateway: Any, connect: Any) -> None:
    client = connect(gateway)
    calls: list[str] = []

    def attend() -> None:
        calls.append(threading.current_thread().name)
        if len(calls) == 2:
            raise StoppedEarly("a person said stop")

    client.feed.attend = attend
    session = client.take("AAA", first=gateway.begin_minute())
    assert session.ended.wait(20)
    assert isinstance(session.error, StoppedEarly)
    assert calls == ["session", "session"]


def test_a_symbol_that_may_not_be_seen_refuses_the_session(gateway: Any, connect: Any) -> None:
    client = connect(gateway)
    session = client.take("AAA", "HIDDEN", first=gateway.begin_minute())
    assert session.ended.wait(20)
    assert isinstance(session.error, DataNotFit)
    assert "HIDDEN" in str(session.error)
    assert "market_data" in str(session.error)


def test_the_session_ends_at_the_close_also_where_the_stream_is_dead(
    late_gateway: Any, connect: Any, played: Any
) -> None:
    gateway = late_gateway
    client = connect(gateway)
    session = client.take("AAA", "BBB", first=387)
    gateway.fault("data_stop", symbol="BBB", bars=-1)
    gateway.play_to(388, seconds=5)
    client.until(lambda: len(session.taken) == 1, "the minute before")
    gateway.fault("data_stop", symbol="AAA", bars=-1)
    gateway.play_to(390, seconds=20)
    client.until(session.ended.is_set, "the end")
    assert session.minutes() == [387, 388, 389]
    assert session.rows("AAA") == played.bars("AAA", 387, 390)
    assert client.silences("AAA")[:1] == [False]


def test_past_bars_of_earlier_days_are_read_for_the_warmup(gateway: Any, connect: Any, played: Any) -> None:
    client = connect(gateway)
    begins = played.friday.closes_at - timedelta(minutes=30)
    bars = client.feed.history("AAA", begins, played.hours.opens_at)
    rows = zip(bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
    assert [tuple(int(number) for number in row) for row in rows] == list(played.bars("AAA", 360, 390).values())


def test_where_five_second_bars_are_not_served_the_brokers_own_are_kept_up_to_date(
    odd_gateway: Any, connect: Any, played: Any
) -> None:
    gateway = odd_gateway
    gateway.serve_no_five_seconds()
    client = connect(gateway)
    first = gateway.begin_minute()
    session = client.take("AAA", "BBB", first=first)
    client.until(lambda: gateway.received("reqHistoricalData") == 2, "the other kind")
    client.heard_all()
    gateway.play_to(first + 2, seconds=5)
    client.until(lambda: len(session.taken) == 2)
    for symbol in ("AAA", "BBB"):
        assert session.rows(symbol) == played.bars(symbol, first, first + 2)
    assert gateway.received("reqRealTimeBars") == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (354, "Market Data Subscriptions"),
        (10089, "Market Data Subscriptions"),
        (10168, "Market Data Subscriptions"),
        (10197, "another session"),
        (10167, "delayed"),
    ],
)
def test_without_live_data_the_session_is_refused_with_what_to_change(
    odd_gateway: Any, connect: Any, code: int, words: str
) -> None:
    odd_gateway.answer_five_seconds(code, "as the broker says it")
    session = connect(odd_gateway).take("AAA", first=odd_gateway.begin_minute())
    assert session.ended.wait(20)
    assert isinstance(session.error, DataNotFit)
    for each in (words, "AAA", str(code)):
        assert each in str(session.error)


def test_delayed_data_are_taken_where_they_are_allowed(odd_gateway: Any, connect: Any) -> None:
    gateway = odd_gateway
    gateway.answer_five_seconds(10167, "Displaying delayed market data.")
    client = connect(gateway, market_data="delayed")
    session = client.take("AAA", first=gateway.begin_minute())
    client.until(lambda: any(one.code == 10167 for one in client.errors))
    client.heard_all()
    # Bars may be twenty minutes old: until then none is missed, and nothing is given up.
    gateway.play(10)
    client.until(lambda: client.connection.clock.now() >= gateway.now - timedelta(seconds=5))
    assert session.error is None
    assert session.taken == []
    assert client.silences("AAA") == []
    # After that what has not come is asked for, and told of.
    gateway.play(14)
    client.until(lambda: len(session.taken) >= 1, "from history")
    client.until(lambda: client.silences("AAA") == [False], "silent")
