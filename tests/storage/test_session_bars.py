"""The bars that a session decided on come back as they went in."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from storage.session_bars import bars_decided_on
from storage.store import open_store
from trading.bars import Bar, BarSlice
from trading.ports import LedgerEntries

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def bar(minute: int, symbol: str, close: str, volume: int | None) -> Bar:
    price = Decimal(close)
    return Bar(symbol, OPENS + timedelta(minutes=minute), price, price + 1, price - 1, price, volume)


def test_bars_come_back_moment_by_moment(tmp_path: Path) -> None:
    spy, qqq, later = bar(0, "SPY", "100.000001", 500), bar(0, "QQQ", "99.5", None), bar(2, "SPY", "101", 0)
    with open_store(tmp_path / "ledger.duckdb") as store:
        store.ledger.commit("one", LedgerEntries(bars=[spy, qqq]))
        store.ledger.commit("one", LedgerEntries(bars=[later]))
        store.ledger.commit("another", LedgerEntries(bars=[bar(1, "SPY", "50", 1)]))
        found = bars_decided_on(store.connection, "one")
        assert bars_decided_on(store.connection, "a third") == []
    assert found == [
        BarSlice(spy.bar_time, {"QQQ": qqq, "SPY": spy}),
        BarSlice(later.bar_time, {"SPY": later}),
    ]
