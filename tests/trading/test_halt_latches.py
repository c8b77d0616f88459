from datetime import UTC, datetime, timedelta

import pytest

from trading.decisions import Halt
from trading.halt_latches import HaltLatches

AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
CLOSE = datetime(2026, 1, 5, 21, 0, tzinfo=UTC)
MICRO = timedelta(microseconds=1)


def latched(*halts: Halt) -> HaltLatches:
    latches = HaltLatches()
    latches.take_up(halts)
    return latches


def test_nothing_stands_at_first() -> None:
    free = HaltLatches()
    assert (free.standing, free.halted, free.halted_for("SPY"), free.latched_for("SPY")) == ((), None, None, None)
    assert free.expire(AT) == []
    assert free.clear("all") == []
    assert not free.stands("all", "operator")


@pytest.mark.parametrize("scope", ["all", "account:paper", "strategy:sma"])
def test_a_halt_of_more_than_a_symbol_is_for_everything(scope: str) -> None:
    latches = latched(Halt(scope, "fat finger", AT))
    assert latches.halted == latches.halted_for("SPY") == latches.latched_for("QQQ") == "fat finger"


def test_a_halt_of_a_symbol_is_for_that_symbol() -> None:
    latches = latched(Halt("symbol:SPY", "fat finger", AT))
    assert (latches.halted, latches.halted_for("QQQ"), latches.latched_for("QQQ")) == (None, None, None)
    assert latches.halted_for("SPY") == latches.latched_for("SPY") == "fat finger"


def test_several_halts_stand_beside_each_other_and_the_first_is_told() -> None:
    latches = latched(
        Halt("symbol:SPY", "its own", AT),
        Halt("all", "first", AT, rule="max_daily_loss"),
        Halt("all", "second", AT),
    )
    assert [halt.reason for halt in latches.standing] == ["its own", "first", "second"]
    assert (latches.halted, latches.halted_for("SPY"), latches.halted_for("QQQ")) == ("first", "its own", "first")
    assert latches.stands("all", "max_daily_loss")
    assert latches.stands("all", "operator")
    assert not latches.stands("all", "max_drawdown_fraction")
    assert not latches.stands("symbol:SPY", "max_daily_loss")
    assert not latches.stands("account:paper", "operator")


@pytest.mark.parametrize(
    ("before", "after", "ends"),
    [
        # Each stands until its own end, so that the later end counts.
        (None, CLOSE, None),
        (CLOSE, None, None),
        (CLOSE, CLOSE - MICRO, CLOSE),
        (CLOSE, CLOSE + MICRO, CLOSE + MICRO),
        (None, None, None),
    ],
)
def test_a_later_halt_of_the_same_rule(before: datetime | None, after: datetime | None, ends: datetime | None) -> None:
    latches = latched(Halt("all", "before", AT, before), Halt("all", "after", AT, after))
    [halt] = latches.standing
    assert halt.expires_at == ends
    assert halt.reason == ("before" if ends == before else "after")


def test_of_two_halts_with_one_end_the_first_stands() -> None:
    latches = latched(Halt("all", "before", AT, CLOSE), Halt("all", "after", AT, CLOSE))
    assert [halt.reason for halt in latches.standing] == ["before"]


@pytest.mark.parametrize(("at", "over"), [(CLOSE - MICRO, False), (CLOSE, True), (CLOSE + MICRO, True)])
def test_a_halt_ends_at_its_own_end(at: datetime, over: bool) -> None:
    ending, lasting = Halt("all", "until the close", AT, CLOSE, rule="max_daily_loss"), Halt("all", "for good", AT)
    latches = latched(ending, lasting)
    assert latches.expire(at) == ([ending] if over else [])
    assert latches.standing == ((lasting,) if over else (ending, lasting))
    assert latches.halted == ("for good" if over else "until the close")
    assert latches.expire(at) == []


def test_clearing_is_for_exactly_one_scope() -> None:
    one, two, other = Halt("all", "a", AT), Halt("all", "b", AT, rule="max_daily_loss"), Halt("symbol:SPY", "c", AT)
    latches = latched(one, two, other)
    assert latches.clear("symbol:QQQ") == []
    assert latches.clear("all") == [one, two]
    assert (latches.standing, latches.halted, latches.halted_for("SPY")) == ((other,), None, "c")
    assert latches.clear("symbol:SPY") == [other]
    assert latches.halted_for("SPY") is None


def test_locks_are_exactly_those_that_were_set_last() -> None:
    latches = HaltLatches()
    latches.lock({"SPY": "nobody knows why"})
    assert (latches.halted_for("SPY"), latches.halted_for("QQQ")) == ("nobody knows why", None)
    # A lock is no halt: it neither withdraws orders nor stands for the account.
    assert (latches.latched_for("SPY"), latches.halted, latches.standing) == (None, None, ())
    latches.lock({"QQQ": "nor here"})
    assert (latches.halted_for("SPY"), latches.halted_for("QQQ")) == (None, "nor here")


def test_everything_is_locked_until_the_next_comparison() -> None:
    latches = latched(Halt("symbol:SPY", "its own", AT))
    latches.lock_everything("the broker is silent")
    assert latches.halted_for("SPY") == latches.halted_for("QQQ") == "the broker is silent"
    assert latches.latched_for("SPY") == "its own"
    latches.lock({})
    assert (latches.halted_for("SPY"), latches.halted_for("QQQ")) == ("its own", None)


def test_a_lock_stays_when_halts_are_cleared() -> None:
    latches = latched(Halt("symbol:SPY", "its own", AT, CLOSE))
    latches.lock({"SPY": "nobody knows why"})
    latches.clear("symbol:SPY")
    latches.expire(CLOSE)
    assert latches.halted_for("SPY") == "nobody knows why"
