"""A gateway out of settings: whose bars it plays, on which day, and from when on."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from storage.store import open_store
from tasks.gateway_composition import GatewayAsked, Rehearsal, assemble_gateway
from trading.bars import Bar, BarColumns
from trading.errors import DataNotFit
from trading.rehearsal_gateway.gateway_settings import ExecutionTimes
from trading.sessions import Mode
from trading.settings import Settings, parse_settings

THURSDAY, FRIDAY = date(2026, 1, 8), date(2026, 1, 9)


def assembled(settings: Settings, asked: GatewayAsked) -> Rehearsal:
    async def assemble() -> Rehearsal:
        return assemble_gateway(settings, asked)

    return asyncio.run(assemble())


@pytest.fixture
def stored(tmp_path: Path) -> Settings:
    """A database with three minutes of two days, in a share with a class and in another."""
    settings = parse_settings({"store": {"path": str(tmp_path / "stored.duckdb")}}, source="a test")
    with open_store(settings.store.path) as store:
        for symbol in ("BRK.B", "SPY"):
            bars = [
                Bar(symbol, datetime(2026, 1, day, 14, minute, tzinfo=UTC), *[Decimal(price)] * 4, 1_000)
                for day, price in ((8, 100), (9, 200))
                for minute in (30, 31, 32)
            ]
            store.bars.import_bars([BarColumns.of(symbol, bars)])
    return settings


def test_a_stored_day_is_read_and_the_database_is_free_for_the_session(stored: Settings) -> None:
    rehearsal = assembled(stored, GatewayAsked(day=FRIDAY))
    with open_store(stored.store.path) as store:
        assert store.bars.symbols() == ("BRK.B", "SPY")
    market = rehearsal.market
    assert rehearsal.mode is Mode.RECORDED
    # The class stands after a blank on the wire.
    assert market.symbols == ("BRK B", "SPY")
    assert market.last_price("BRK B") == 100
    opens_at = rehearsal.hours.opens_at
    assert market.now() == opens_at - timedelta(minutes=5)
    assert [len(market.past.between("BRK B", opens_at - timedelta(days=back), opens_at)) for back in (0, 1)] == [0, 3]
    assert [bar.close for bar in market.past.between("BRK B", opens_at, rehearsal.hours.closes_at)] == [200] * 3


def test_without_a_date_it_is_the_newest_stored_day_or_the_first_invented_one(stored: Settings) -> None:
    recorded = parse_settings(
        {"store": {"path": str(stored.store.path)}, "feed": {"kind": "recorded"}}, source="a test"
    )
    assert assembled(recorded, GatewayAsked()).hours.session_date == FRIDAY
    invented = assembled(stored, GatewayAsked())
    assert (invented.mode, invented.hours.session_date) == (Mode.SYNTHETIC, date(2026, 1, 5))
    assert invented.market.symbols == ("SPY",)


def test_a_day_without_bars_and_a_symbol_without_any_are_refused(stored: Settings) -> None:
    with pytest.raises(DataNotFit, match="2026-01-07"):
        assembled(stored, GatewayAsked(day=date(2026, 1, 7)))
    with pytest.raises(DataNotFit, match="QQQ"):
        assembled(stored, GatewayAsked(day=THURSDAY, symbols=("QQQ",)))


def test_where_the_day_begins_and_how_times_are_written_can_be_asked_for(stored: Settings) -> None:
    rehearsal = assembled(stored, GatewayAsked(day=THURSDAY, start=time(9, 32), time_zone="none"))
    assert rehearsal.market.now() == rehearsal.hours.opens_at + timedelta(minutes=2)
    assert rehearsal.market.last_price("SPY") == 100
    assert rehearsal.gateway.settings.execution_times is ExecutionTimes.UNZONED
    assert rehearsal.gateway.settings.time_zone == "US/Eastern"
