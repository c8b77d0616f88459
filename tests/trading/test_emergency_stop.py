"""A stop pass by pass, against a broker that is away, refuses or forgets. Whole sessions are stopped elsewhere."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from trading.decisions import Halt
from trading.emergency_stop import EmergencyStop, emergency_stop
from trading.errors import BrokerUnavailable, StoreError
from trading.stops import Stop, StopAction, StopState, StopStep

AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


class Account:
    """An account with working orders and positions, and a broker and a store that may be away.

    Cancels end an order at once unless it ``resists``; closing orders fill when the market ``trades``, unless it ``rejects``
    them.
    """

    def __init__(self, orders: Sequence[str] = (), positions: dict[str, int] | None = None) -> None:
        self.orders = list(orders)
        self.positions = dict(positions or {})
        self.exits: dict[str, str] = {}
        self.asked: set[str] = set()
        self.halts: list[Halt] = []
        self.calls: list[str] = []
        self.legs: list[str] = []
        self.spared: list[bool] = []
        self.saved: list[Stop] = []
        self.written: list[StopStep] = []
        self.away: set[str] = set()
        self.resists: set[str] = set()
        self.rejects = False

    def _reach(self, what: str) -> None:
        self.calls.append(what)
        if what in self.away:
            raise StoreError("the disk is full") if what == "record" else BrokerUnavailable(f"{what}: silence")

    def latch(self, halt: Halt) -> None:
        self._reach("latch")
        self.halts.append(halt)

    def cancel_open_orders(self, at: datetime, symbol: str | None = None, spare_exits: bool = False) -> list[str]:
        assert at >= AT
        self._reach("cancel")
        self.spared.append(spare_exits)
        wanted = [order for order in self.orders if symbol in (None, order.split("-")[0])]
        new = [order for order in wanted if order not in self.asked]
        self.asked.update(new)
        self.orders = [order for order in self.orders if order not in wanted or order in self.resists]
        return new

    def flatten_positions(self, at: datetime, symbol: str | None = None, leg: str = "flatten") -> list[str]:
        assert at >= AT
        self._reach("flatten")
        self.legs.append(leg)
        sent = [held for held in self.positions if symbol in (None, held) and held not in self.exits.values()]
        if not self.rejects:
            self.exits.update({f"{held}-{leg}": held for held in sent})
        return [f"{held}-{leg}" for held in sent]

    def trade(self) -> None:
        for held in self.exits.values():
            self.positions.pop(held, None)
        self.exits.clear()

    def exposure_at_broker(self, symbol: str | None = None, positions: bool = True) -> list[str]:
        self._reach("look")
        orders = [f"order {order}" for order in [*self.orders, *self.exits] if symbol in (None, order.split("-")[0])]
        held = [f"{shares} {name}" for name, shares in self.positions.items() if positions and symbol in (None, name)]
        return orders + held

    def record(self, stop: Stop, steps: Sequence[StopStep]) -> None:
        self._reach("record")
        self.saved.append(stop)
        self.written += steps


def a_stop(scope: str = "all", flatten: bool = False) -> Stop:
    return Stop("0123456789ab", "paper", "s", scope, "fat finger", flatten, "ann", AT)


def told(stop: EmergencyStop) -> list[tuple[str, bool, str]]:
    return [(str(step.action), step.succeeded, step.detail) for step in stop.steps]


# Done at once


def test_a_stop_halts_first_cancels_and_looks() -> None:
    account = Account(["SPY-1", "QQQ-2"], {"SPY": 50})
    stop = emergency_stop(account, a_stop(), AT)
    assert account.calls == ["latch", "cancel", "look", "record"]
    assert (stop.stop.state, stop.stop.ended_at, stop.report.succeeded) == (StopState.SUCCEEDED, AT, True)
    assert told(stop) == [
        ("halt", True, "all: fat finger"),
        ("cancel", True, "SPY-1, QQQ-2"),
        ("verify", True, "no order is left at the broker"),
        ("done", True, "done after 0 s"),
    ]
    [halt] = account.halts
    assert (halt.scope, halt.reason, halt.halted_at, halt.expires_at) == ("all", "fat finger", AT, None)
    # Positions are not its business.
    assert account.positions == {"SPY": 50}
    assert account.spared == [False]


def test_a_stop_that_flattens_is_done_when_the_broker_shows_it() -> None:
    account = Account(["SPY-1"], {"SPY": 50, "QQQ": -3})
    stop = emergency_stop(account, a_stop(flatten=True), AT)
    assert account.calls == ["latch", "cancel", "flatten", "look", "record"]
    assert account.spared == [True]
    assert (stop.stop.state, stop.stop.ended_at, stop.report.succeeded) == (StopState.RUNNING, None, False)
    assert stop.report.left == ("order SPY-stop-01234567-2", "order QQQ-stop-01234567-2", "50 SPY", "-3 QQQ")
    account.trade()
    stop.advance(AT + 7 * SECOND)
    assert (stop.stop.state, stop.stop.ended_at) == (StopState.SUCCEEDED, AT + 7 * SECOND)
    assert told(stop)[-2:] == [
        ("verify", True, "no position and no order is left at the broker"),
        ("done", True, "done after 7 s"),
    ]
    assert stop.report.left == ()


def test_a_stop_of_one_symbol_leaves_the_others_alone() -> None:
    account = Account(["SPY-1", "QQQ-2"], {"SPY": 50, "QQQ": 5})
    stop = emergency_stop(account, a_stop("symbol:SPY", flatten=True), AT)
    account.trade()
    stop.advance(AT + MINUTE)
    assert stop.report.succeeded
    assert (account.orders, account.positions) == (["QQQ-2"], {"QQQ": 5})
    assert account.halts[0].scope == "symbol:SPY"


def test_a_stop_of_nothing_says_that_there_was_nothing() -> None:
    stop = emergency_stop(Account(), a_stop(flatten=True), AT)
    assert stop.report.succeeded
    assert told(stop)[1:3] == [("cancel", True, "nothing to do"), ("flatten", True, "nothing to do")]
    assert stop.report.failures == ()


def test_a_stop_that_is_over_does_nothing_more() -> None:
    account = Account()
    stop = emergency_stop(account, a_stop(), AT)
    before = list(account.calls)
    assert stop.advance(AT + MINUTE) == stop.stop
    assert stop.give_up(AT + MINUTE, "the session is over").state is StopState.SUCCEEDED
    assert account.calls == before


def test_what_a_stop_latches_can_be_another_halt() -> None:
    account = Account()
    own = Halt("account:paper", "the day has lost", AT, AT + MINUTE, "s", "max_daily_loss")
    EmergencyStop(account, a_stop(), halt=own).advance(AT)
    assert account.halts == [own]


# Not done at once


@pytest.mark.parametrize("away", ["latch", "cancel", "flatten", "look"])
def test_a_stop_goes_on_when_a_step_fails_and_does_not_claim_success(away: str) -> None:
    account = Account(["SPY-1"])
    account.away = {away}
    stop = emergency_stop(account, a_stop(flatten=True), AT)
    assert account.calls == ["latch", "cancel", "flatten", "look", "record"]
    assert (stop.stop.state, stop.report.succeeded) == (StopState.RUNNING, False)
    failures = [(action, detail) for action, succeeded, detail in told(stop) if not succeeded]
    assert any("silence" in detail for _, detail in failures)
    assert len(stop.report.failures) == len(failures) > 0
    account.away = set()
    stop.advance(AT + MINUTE)
    assert stop.report.succeeded
    assert account.halts, "the halt came with the second pass at the latest"


def test_a_broker_that_is_away_for_two_passes_is_tried_until_it_answers() -> None:
    account = Account(["SPY-1"], {"SPY": 50})
    account.away = {"cancel", "flatten", "look"}
    stop = emergency_stop(account, a_stop(flatten=True), AT)
    stop.advance(AT + SECOND)
    assert stop.stop.state is StopState.RUNNING
    assert stop.report.left == ("unknown: the broker could not be asked (look: silence)",)
    assert account.halts, "the halt needs no broker"
    # The same failure is written down once, however often it comes.
    assert told(stop)[1:] == [
        ("cancel", False, "BrokerUnavailable: cancel: silence"),
        ("flatten", False, "BrokerUnavailable: flatten: silence"),
        ("verify", False, "left: unknown: the broker could not be asked (look: silence)"),
    ]
    account.away = set()
    stop.advance(AT + 2 * SECOND)
    account.trade()
    stop.advance(AT + 3 * SECOND)
    assert stop.report.succeeded
    assert account.positions == {}
    assert account.calls.count("latch") == 1


def test_an_order_whose_cancel_is_refused_is_asked_again_and_keeps_the_stop_open() -> None:
    account = Account(["SPY-1"])
    account.resists = {"SPY-1"}
    stop = emergency_stop(account, a_stop(), AT)
    assert (stop.report.succeeded, stop.report.left) == (False, ("order SPY-1",))
    stop.advance(AT + MINUTE)
    assert account.calls.count("cancel") == 2
    assert told(stop)[-1] == ("verify", True, "left: order SPY-1")
    account.resists = set()
    stop.advance(AT + 2 * MINUTE)
    assert stop.report.succeeded


def test_closing_orders_that_are_rejected_are_sent_again_under_other_names_and_not_at_every_look() -> None:
    account = Account(positions={"SPY": 50})
    account.rejects = True
    stop = emergency_stop(account, a_stop(flatten=True), AT)
    for seconds in (1, 4, 4.9):
        stop.advance(AT + seconds * SECOND)
    assert len(account.legs) == 1
    stop.advance(AT + 5 * SECOND)
    assert len(account.legs) == 2
    account.rejects = False
    stop.advance(AT + 10 * SECOND)
    account.trade()
    stop.advance(AT + 11 * SECOND)
    assert stop.report.succeeded
    assert len(set(account.legs)) == len(account.legs)


def test_a_flatten_that_sent_nothing_is_tried_at_every_look() -> None:
    account = Account()
    account.orders, account.resists = ["SPY-1"], {"SPY-1"}
    stop = emergency_stop(account, a_stop(flatten=True), AT)
    account.positions = {"SPY": 50}  # the order filled before its cancel came
    account.resists = set()
    stop.advance(AT + SECOND)
    assert account.exits
    account.trade()
    stop.advance(AT + 2 * SECOND)
    assert stop.report.succeeded


# Too late


@pytest.mark.parametrize(("seconds", "alarm"), [(179, False), (179.999999, False), (180, True), (181, True)])
def test_a_stop_that_is_not_done_in_time_is_an_alarm(seconds: float, alarm: bool) -> None:
    account = Account(["SPY-1"])
    account.resists = {"SPY-1"}
    stop = emergency_stop(account, a_stop(), AT)
    stop.advance(AT + seconds * SECOND)
    assert stop.stop.state is (StopState.ALARM if alarm else StopState.RUNNING)
    alarms = [detail for action, _, detail in told(stop) if action == "alarm"]
    assert alarms == (["not done after 180 s; left: order SPY-1"] if alarm else [])


def test_how_long_a_stop_may_take_can_be_set() -> None:
    account = Account(["SPY-1"])
    account.resists = {"SPY-1"}
    stop = emergency_stop(account, a_stop(), AT, alarm_after=MINUTE)
    assert stop.advance(AT + 59 * SECOND).state is StopState.RUNNING
    assert stop.advance(AT + MINUTE).state is StopState.ALARM
    assert told(stop)[-1] == ("alarm", False, "not done after 60 s; left: order SPY-1")
    at_once = emergency_stop(account, a_stop(), AT, alarm_after=timedelta(0))
    assert at_once.stop.state is StopState.ALARM


def test_an_alarm_is_raised_once_tried_on_and_becomes_a_success() -> None:
    account = Account(["SPY-1"])
    account.resists = {"SPY-1"}
    stop = emergency_stop(account, a_stop(), AT)
    for minute in (3, 4, 5):
        assert stop.advance(AT + minute * MINUTE).state is StopState.ALARM
        assert stop.stop.ended_at is None
    assert [step.action for step in stop.steps].count(StopAction.ALARM) == 1
    account.resists = set()
    stop.advance(AT + 6 * MINUTE)
    assert (stop.stop.state, stop.stop.ended_at) == (StopState.SUCCEEDED, AT + 6 * MINUTE)
    assert told(stop)[-1] == ("done", True, "done after 360 s")


def test_a_stop_that_is_given_up_ends_as_an_alarm() -> None:
    account = Account(["SPY-1"], {"SPY": 50})
    account.resists = {"SPY-1"}
    stop = emergency_stop(account, a_stop(), AT)
    assert stop.give_up(AT + MINUTE, "the session is over") == stop.stop
    assert (stop.stop.state, stop.stop.ended_at) == (StopState.ALARM, AT + MINUTE)
    assert told(stop)[-1] == ("alarm", False, "the session is over; left: order SPY-1")
    assert account.saved[-1] == stop.stop
    before = list(account.calls)
    stop.advance(AT + 2 * MINUTE)
    assert account.calls == before


def test_a_stop_that_is_given_up_before_anybody_looked_says_so() -> None:
    account = Account()
    stop = EmergencyStop(account, a_stop())
    stop.give_up(AT, "nobody came")
    assert told(stop) == [("alarm", False, "nobody came; left: unknown")]


def test_an_alarm_that_stood_is_kept_when_it_is_given_up() -> None:
    account = Account(["SPY-1"])
    account.resists = {"SPY-1"}
    stop = emergency_stop(account, a_stop(), AT, alarm_after=timedelta(0))
    stop.give_up(AT + MINUTE, "the session is over")
    assert [step.action for step in stop.steps].count(StopAction.ALARM) == 1
    assert (account.saved[-1].state, account.saved[-1].ended_at) == (StopState.ALARM, AT + MINUTE)


# Written down


def test_every_step_is_written_down_once_and_in_order() -> None:
    account = Account(["SPY-1"], {"SPY": 50})
    stop = emergency_stop(account, a_stop(flatten=True), AT)
    account.trade()
    stop.advance(AT + MINUTE)
    assert account.written == stop.steps
    assert [step.number for step in stop.steps] == list(range(1, len(stop.steps) + 1))
    assert {step.stop_id for step in stop.steps} == {"0123456789ab"}
    assert account.saved[-1] == stop.stop
    assert [step.taken_at for step in stop.steps if step.action is StopAction.DONE] == [AT + MINUTE]


def test_a_pass_that_brings_nothing_new_writes_nothing() -> None:
    account = Account(["SPY-1"])
    account.resists = {"SPY-1"}
    stop = emergency_stop(account, a_stop(), AT)
    for seconds in (1, 2, 3):
        stop.advance(AT + seconds * SECOND)
    assert account.calls.count("record") == 1
    account.orders.append("SPY-9")
    account.resists.add("SPY-9")
    stop.advance(AT + 4 * SECOND)
    assert account.calls.count("record") == 2
    assert told(stop)[-2:] == [("cancel", True, "SPY-9"), ("verify", True, "left: order SPY-1; order SPY-9")]


def test_a_store_that_cannot_be_written_does_not_keep_a_stop_from_stopping() -> None:
    account = Account(["SPY-1"])
    account.away = {"record"}
    stop = emergency_stop(account, a_stop(), AT)
    assert stop.report.succeeded
    assert account.orders == []
    assert account.written == []


def test_what_could_not_be_written_is_written_with_the_next_pass() -> None:
    account = Account(["SPY-1"])
    account.away, account.resists = {"record"}, {"SPY-1"}
    stop = emergency_stop(account, a_stop(), AT)
    stop.advance(AT + SECOND)
    assert account.written == []
    account.away = set()
    stop.advance(AT + 2 * SECOND)
    assert account.written == stop.steps
    assert account.saved == [stop.stop]
    assert [step.number for step in account.written] == [1, 2, 3]


# After a restart


def test_a_stop_that_is_taken_up_again_goes_on_from_its_steps() -> None:
    account = Account(["SPY-1"], {"SPY": 50})
    account.resists = {"SPY-1"}
    first = emergency_stop(account, a_stop(flatten=True), AT)
    account.exits.clear()  # the process died before they were sent, or the broker forgot them
    account.resists = set()
    stop = EmergencyStop(account, first.stop, account.written)
    stop.advance(AT + MINUTE)
    account.trade()
    stop.advance(AT + 2 * MINUTE)
    assert stop.report.succeeded
    assert account.calls.count("latch") == 1
    assert len(set(account.legs)) == len(account.legs) == 3
    numbers = [step.number for step in stop.steps]
    assert numbers == list(range(1, len(numbers) + 1))
    assert account.written == stop.steps


def test_a_stop_whose_halt_had_failed_latches_it_after_the_restart() -> None:
    account = Account(["SPY-1"])
    account.away = {"latch"}
    first = emergency_stop(account, a_stop(), AT)
    account.away = set()
    stop = EmergencyStop(account, first.stop, first.steps)
    stop.advance(AT + MINUTE)
    assert account.halts
    assert stop.report.succeeded


def test_an_alarm_is_not_raised_again_after_a_restart() -> None:
    account = Account(["SPY-1"])
    account.resists = {"SPY-1"}
    first = emergency_stop(account, a_stop(), AT, alarm_after=timedelta(0))
    stop = EmergencyStop(account, first.stop, first.steps)
    stop.advance(AT + 10 * MINUTE)
    assert [step.action for step in stop.steps].count(StopAction.ALARM) == 1
    assert stop.stop.state is StopState.ALARM
    assert account.calls.count("record") == 1
