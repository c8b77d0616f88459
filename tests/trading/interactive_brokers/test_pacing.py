"""How often past bars may be asked for."""

from trading.interactive_brokers.pacing import HistoryPacing


def test_a_first_question_may_be_asked_at_once() -> None:
    assert HistoryPacing().wait("SPY 1 D", "SPY", 100.0) == 0


def test_the_same_question_waits_fifteen_seconds_and_another_does_not() -> None:
    pacing = HistoryPacing()
    pacing.note("SPY 1 D", "SPY", 100.0)
    assert 10 <= pacing.wait("SPY 1 D", "SPY", 105.0) < 10.1
    assert pacing.wait("SPY 2 D", "SPY", 105.0) == 0
    assert pacing.wait("SPY 1 D", "SPY", 115.1) == 0


def test_the_sixth_question_about_one_contract_waits_until_the_first_is_two_seconds_old() -> None:
    pacing = HistoryPacing()
    for number in range(5):
        assert pacing.wait(f"SPY {number}", "SPY", 100.0 + number / 10) == 0
        pacing.note(f"SPY {number}", "SPY", 100.0 + number / 10)
    # The first was asked at 100.0: at 100.5 one and a half seconds are left.
    assert 1.5 <= pacing.wait("SPY 5", "SPY", 100.5) < 1.6
    assert pacing.wait("QQQ 0", "QQQ", 100.5) == 0


def test_sixty_questions_in_ten_minutes_are_enough() -> None:
    pacing = HistoryPacing()
    for number in range(60):
        assert pacing.wait(number, number, float(number)) == 0
        pacing.note(number, number, float(number))
    # The first was asked at 0 and counts until 600; at 60 the next one has 540 seconds to wait.
    assert 540 <= pacing.wait(60, 60, 60.0) < 540.1
    # At 601 the first is forgotten, the second (asked at 1) just so.
    pacing.note(60, 60, 600.1)
    assert 0.9 <= pacing.wait(61, 61, 600.1) < 1.0


def test_whoever_was_told_to_wait_waits_whatever_he_asks() -> None:
    pacing = HistoryPacing()
    pacing.violated(100.0, 15.0)
    assert pacing.wait("QQQ 1 D", "QQQ", 101.0) == 14
    assert pacing.wait("QQQ 1 D", "QQQ", 115.0) == 0


def test_no_ten_minutes_ever_hold_more_than_sixty_questions() -> None:
    """A client that asks as fast as it is let: counted from outside, as the broker counts."""
    pacing, at, asked = HistoryPacing(), 0.0, []
    for number in range(200):
        contract = f"S{number % 7}"
        at += pacing.wait(number, contract, at)
        pacing.note(number, contract, at)
        asked.append((at, contract))
    for start, contract in asked:
        assert sum(start <= moment < start + 600 for moment, _ in asked) <= 60
        assert sum(start <= moment < start + 2 and of == contract for moment, of in asked) <= 5
