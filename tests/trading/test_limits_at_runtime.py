import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.brokers.paper import PaperBroker
from trading.calendar import TradingCalendar
from trading.decisions import Halt
from trading.errors import ConfigurationError, StoreError
from trading.limit_changes import LimitChange
from trading.limits_at_runtime import change_limits, limits_with
from trading.order_router import OrderRouter, OrderScope
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries
from trading.risk_events import RiskEvent, RiskEventHandler
from trading.risk_gate import RiskGate
from trading.risk_settings import RiskSettings
from trading.sessions import Mode, SessionRecord, SessionState
from trading.settings import Settings

DAY = date(2026, 1, 5)
HOURS = TradingCalendar("XNYS", DAY).hours(DAY)
AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
RECORD = SessionRecord(
    "2026-01-05.paper.sma", "sma", "paper", DAY, Mode.RECORDED, SessionState.RUNNING, HOURS.opens_at, "{}", "f",
    Decimal(100_000), Decimal(0),
)  # fmt: skip


class Book:
    """A ledger that keeps what is committed; ``broken`` keeps nothing."""

    def __init__(self, broken: bool = False, highest: str | None = None) -> None:
        self.changes: list[LimitChange] = []
        self.asked: list[tuple[str, date | None]] = []
        self._broken = broken
        self._highest = None if highest is None else Decimal(highest)

    def commit(self, session_id: str, entries: LedgerEntries) -> None:
        assert session_id == RECORD.session_id
        if self._broken:
            raise StoreError("the disk is full")
        self.changes += entries.limit_changes

    def high_water_mark(self, account: str, since: date | None = None) -> Decimal | None:
        self.asked.append((account, since))
        return self._highest


class Desk:
    """A gate in an account of 100,000, a ledger, and what risk said."""

    def __init__(self, book: Book | None = None, **risk: Any) -> None:
        settings = Settings.model_validate({"risk": risk})
        scope = OrderScope(RECORD.session_id, "sma", "paper", DAY)
        broker = PaperBroker("paper", settings.broker.paper, HOURS.opens_at)
        router = OrderRouter(scope, settings.sizing, settings.orders, broker, lambda _: None)
        tracker = PnLTracker()
        tracker.initialize_portfolio_state(Decimal(100_000))
        self.events = RiskEventHandler()
        self.told: list[RiskEvent] = []
        self.events.subscribe(self.told.append)
        self.gate = RiskGate(RECORD, HOURS, settings, router, tracker, self.events)
        self.book = Book() if book is None else book

    def change(self, wanted: object) -> Mapping[str, Any]:
        return change_limits(self.gate, self.book, RECORD, wanted, "ann", "c1", AT)  # type: ignore[arg-type]

    def heard(self) -> list[tuple[str, str, dict[str, Any]]]:
        self.events.close()
        return [(str(event.kind), event.message, dict(event.facts)) for event in self.told]


# What a change is


def test_only_what_is_named_is_another_than_before() -> None:
    risk = RiskSettings()
    changed = limits_with(risk, {"max_order_shares": 7, "max_daily_loss": "off", "max_leverage": "2.5"})
    assert changed == risk.model_copy(
        update={"max_order_shares": 7, "max_daily_loss": None, "max_leverage": Decimal("2.5")}
    )
    assert limits_with(risk, {}) == risk


def test_a_part_of_the_guard_can_be_changed() -> None:
    changed = limits_with(RiskSettings(), {"pattern_day_trader": {"max_day_trades": 1}})
    guard = RiskSettings().pattern_day_trader
    assert changed.pattern_day_trader == guard.model_copy(update={"max_day_trades": 1})


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"max_order_shares": 0}, "risk.max_order_shares"),
        ({"max_order_shares": "many"}, "risk.max_order_shares"),
        ({"max_position_shares": "off"}, "risk.max_position_shares"),
        ({"max_leverage": -1}, "risk.max_leverage"),
        ({"max_leverage": "NaN"}, "risk.max_leverage"),
        ({"max_levarage": 1}, "did you mean max_leverage"),
        ({"pattern_day_trader": {"max_day_trades": -1}}, "max_day_trades"),
        ({"pattern_day_trader": 7}, "pattern_day_trader"),
    ],
)
def test_what_is_not_valid_is_named(wanted: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        limits_with(RiskSettings(), wanted)


# A change in a session


def test_a_change_is_in_force_written_down_and_told() -> None:
    desk = Desk()
    assert desk.change({"max_order_shares": 7, "max_daily_loss": "off"}) == {
        "changed": {"max_order_shares": [500, 7], "max_daily_loss": ["1000", None]}
    }
    assert (desk.gate.limits.max_order_shares, desk.gate.limits.max_daily_loss) == (7, None)
    assert sorted(desk.book.changes, key=lambda change: change.name) == [
        LimitChange("c1", RECORD.session_id, AT, "ann", "max_daily_loss", '"1000"', "null"),
        LimitChange("c1", RECORD.session_id, AT, "ann", "max_order_shares", "500", "7"),
    ]
    [(kind, message, facts)] = desk.heard()
    assert kind == "limits_changed"
    assert sorted(message.split(", ")) == ["max_daily_loss 1000 -> None", "max_order_shares 500 -> 7"]
    assert facts == {"changed": {"max_order_shares": [500, 7], "max_daily_loss": ["1000", None]}}


def test_what_was_written_leads_to_the_limits_again() -> None:
    desk = Desk()
    desk.change({"max_leverage": "2.5", "not_tradable": ["SPY"], "pattern_day_trader": {"enabled": True}})
    document = RiskSettings().model_dump(mode="json")
    for change in desk.book.changes:
        document[change.name] = json.loads(change.new_value)
    assert RiskSettings.model_validate(document) == desk.gate.limits
    assert len(desk.book.changes) == 3


@pytest.mark.parametrize("wanted", [None, {}, [], "max_order_shares", 7])
def test_without_a_named_limit_nothing_is_changed(wanted: object) -> None:
    desk = Desk()
    assert desk.change(wanted) == {"error": "nothing to change", "message": "No limit was named."}
    assert (desk.book.changes, desk.heard()) == ([], [])


def test_a_change_to_what_is_in_force_changes_nothing() -> None:
    desk = Desk()
    assert desk.change({"max_order_shares": 500}) == {"changed": {}}
    assert desk.book.changes == []
    assert desk.heard() == [("limits_changed", "no limit is another than before", {"changed": {}})]


def test_a_change_that_is_not_valid_as_a_whole_changes_nothing_and_is_written_down() -> None:
    desk = Desk()
    answer = desk.change({"max_order_shares": 7, "max_leverage": -1})
    assert answer["error"] == "not valid"
    assert "risk.max_leverage" in answer["message"]
    assert answer["message"].endswith("The limits stay as they were.")
    assert desk.gate.limits == RiskSettings()
    assert {(change.name, change.old_value, change.new_value) for change in desk.book.changes} == {
        ("max_order_shares", "500", "7"),
        ("max_leverage", '"1.00"', "-1"),
    }
    assert all("risk.max_leverage" in change.refusal for change in desk.book.changes)
    [(kind, message, facts)] = desk.heard()
    assert kind == "limits_changed"
    assert message.startswith("a change of limits was refused: ")
    assert facts == {"refused": True}


def test_an_unknown_limit_is_refused_and_written_down() -> None:
    desk = Desk()
    assert desk.change({"max_levarage": 1})["error"] == "not valid"
    [change] = desk.book.changes
    assert (change.name, change.old_value, change.new_value) == ("max_levarage", "null", "1")


def test_limits_that_look_back_further_than_the_session_keeps_are_refused() -> None:
    desk = Desk()
    desk.gate.bars_kept = 250
    answer = desk.change({"max_value_at_risk_fraction": "0.05"})
    assert answer["error"] == "not valid"
    assert "need 251 bars, and the session keeps 250" in answer["message"]
    assert desk.gate.limits.max_value_at_risk_fraction is None
    assert "at most 249" in desk.book.changes[0].refusal
    fits = Desk()
    fits.gate.bars_kept = 251
    assert "changed" in fits.change({"max_value_at_risk_fraction": "0.05"})
    # Without such a limit nothing looks back.
    assert "changed" in desk.change({"value_at_risk_bars": 9_000})


def test_a_change_that_cannot_be_written_down_is_not_in_force() -> None:
    desk = Desk(Book(broken=True))
    with pytest.raises(StoreError):
        desk.change({"max_order_shares": 7})
    assert desk.gate.limits == RiskSettings()
    assert desk.heard() == []


def test_no_change_clears_a_halt_and_what_tripped_says_nothing_more() -> None:
    desk = Desk()
    halt = Halt("account:paper", "the day has lost", AT, HOURS.closes_at, RECORD.session_id, "max_daily_loss")
    desk.gate.take_up_halts([halt])
    desk.change({"max_daily_loss": "off"})
    desk.change({"max_daily_loss": "500000"})
    assert desk.gate.halted == "the day has lost"
    desk.change({"max_daily_loss": "500"})
    rules = [trip.rule for trip in desk.gate.watch.look(AT + timedelta(minutes=1), Decimal(99_000))]
    assert "max_daily_loss" not in rules


def falls_at(desk: Desk, equity: str) -> bool:
    """Whether the fall from the highest equity ever trips there."""
    trips = desk.gate.watch.look(AT + timedelta(hours=1), Decimal(equity))
    return any(trip.rule == "max_drawdown_fraction" and not trip.near for trip in trips)


@pytest.mark.parametrize(
    ("highest", "trips", "does_not"),
    # A tenth below 150,000; below the day's 100,000 where everything since is less, or unknown.
    [("150000", "135000", "135000.01"), ("50000", "90000", "90000.01")],
)
def test_falls_are_measured_from_the_day_that_is_named(highest: str, trips: str, does_not: str) -> None:
    for equity, tripped in ((trips, True), (does_not, False)):
        desk = Desk(Book(highest=highest))
        desk.change({"drawdown_since": "2026-01-02"})
        assert desk.book.asked == [("paper", date(2026, 1, 2))]
        assert falls_at(desk, equity) is tripped


def test_falls_are_measured_as_before_where_nothing_is_known_of_that_day_or_it_is_the_same() -> None:
    desk = Desk(Book(highest=None))
    desk.change({"drawdown_since": "2026-01-02"})
    assert falls_at(desk, "90000")
    again = Desk(Book(highest="150000"), drawdown_since=date(2026, 1, 2))
    again.change({"max_order_shares": 7})
    assert again.book.asked == []
    # Without a first day the highest equity ever counts again.
    again.change({"drawdown_since": None})
    assert again.book.asked == [("paper", None)]
