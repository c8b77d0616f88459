"""What the gate asks of the history. SPY's sessions: Monday 2026-01-05 to Thursday 8; the open is at 14:30 UTC."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from storage.policy_sessions import paper_record, unseen_sessions
from storage.store import Store
from trading.bars import BarColumns, Timeframe, to_epoch_us
from trading.ports import LedgerEntries
from trading.promotion import PaperRecord
from trading.sessions import Mode, SessionState, session_id

MINUTE = Timeframe.MINUTE_1


def bars(symbol: str, times: Sequence[datetime]) -> BarColumns:
    price = np.full(len(times), 100_000_000, dtype=np.int64)
    return BarColumns(
        symbol, np.array([to_epoch_us(one) for one in times], dtype=np.int64), price, price, price, price, price
    )


def moment(day: int, hour: int = 14, minute: int = 30) -> datetime:
    return datetime(2026, 1, day, hour, minute, tzinfo=UTC)


def stored(store: Store, **days: Sequence[int]) -> None:
    """One bar at each open."""
    store.bars.import_bars([bars(symbol, [moment(day) for day in opens]) for symbol, opens in days.items()])


def found(store: Store, after: datetime, symbols: Sequence[str] = ("SPY",), most: int = 60) -> list[int]:
    return [one.session_date.day for one in unseen_sessions(store.connection, symbols, "XNYS", MINUTE, after, most)]


def test_a_session_is_unseen_when_it_opens_after_the_last_bar_of_training(store: Store) -> None:
    stored(store, SPY=[5, 6, 7, 8])
    assert found(store, moment(5, 14, 29)) == [5, 6, 7, 8]
    assert found(store, moment(5)) == [6, 7, 8]  # its first bar was seen
    assert found(store, moment(6, 20, 59)) == [7, 8]
    assert found(store, moment(8)) == []
    assert found(store, moment(6, 20, 59), most=1) == [8]


def test_sessions_without_bars_of_every_symbol_and_bars_outside_of_hours_do_not_count(store: Store) -> None:
    stored(store, SPY=[5, 6, 7, 8], QQQ=[5, 7, 8])
    assert found(store, moment(2), ["SPY", "QQQ"]) == [5, 7, 8]
    store.bars.import_bars([bars("QQQ", [moment(6, 13, 0), moment(6, 21, 0)])])  # 08:00 and the close, New York
    assert found(store, moment(2), ["SPY", "QQQ"]) == [5, 7, 8]
    store.bars.import_bars([bars("QQQ", [moment(6, 20, 59)])])
    assert found(store, moment(2), ["SPY", "QQQ"]) == [5, 6, 7, 8]


def test_bars_of_another_length_or_no_bars_at_all_are_none(store: Store) -> None:
    assert found(store, moment(2)) == []
    store.bars_of(Timeframe.MINUTE_30).import_bars([bars("SPY", [moment(6)])])
    assert found(store, moment(2)) == []


def test_a_long_past_is_looked_back_on_for_a_year(store: Store) -> None:
    stored(store, SPY=[5, 6])
    assert found(store, datetime(2011, 1, 18, tzinfo=UTC)) == [5, 6]


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({}, 1),
        ({"mode": Mode.LIVE}, 1),
        ({"mode": Mode.SYNTHETIC}, 0),
        ({"state": SessionState.STOPPED}, 0),
        ({"policy_fingerprint": "trend@2"}, 0),
        ({"session_date": date(2026, 1, 4)}, 0),  # the day that the training ended on
    ],
)
def test_completed_sessions_of_later_days_and_real_prices_count_at_paper(
    store: Store, book: Any, change: dict[str, Any], counted: int
) -> None:
    record = replace(book.record(), state=SessionState.COMPLETED, policy_fingerprint="trend@1")
    store.ledger.open_session(replace(record, **change))
    assert paper_record(store.connection, "trend@1", datetime(2026, 1, 4, 20, 59, tzinfo=UTC)).sessions == counted


def test_failures_count_in_stopped_sessions_too(store: Store, book: Any, next_day: Any) -> None:
    for day, state in ((book, SessionState.COMPLETED), (next_day, SessionState.STOPPED)):
        store.ledger.open_session(replace(day.record(), policy_fingerprint="trend@1", state=state))
        failed = [replace(day.decision(minute), error="ValueError: no") for minute in (0, 1)]
        store.ledger.commit(day.session, LedgerEntries(decisions=[*failed, day.decision(2)]))
    other = replace(
        book.record(), session_id=session_id(book.day, "paper", "other"), strategy="other", policy_fingerprint="trend@2"
    )
    store.ledger.open_session(other)
    failed_elsewhere = replace(book.decision(0), session_id=other.session_id, error="ValueError: no")
    store.ledger.commit(other.session_id, LedgerEntries(decisions=[failed_elsewhere]))
    assert paper_record(store.connection, "trend@1", moment(2)) == PaperRecord(sessions=1, failures=4)
    assert paper_record(store.connection, "trend@3", moment(2)) == PaperRecord(0, 0)
