"""Which listing a client's words mean."""

from datetime import date

import pytest

from trading.calendar import TradingCalendar
from trading.errors import ConfigurationError
from trading.rehearsal_gateway.contract_answers import hours_text
from trading.rehearsal_gateway.instruments import Description, Instruments, UnknownContract


def asked(symbol: str = "", **more: object) -> Description:
    return Description(symbol=symbol, sec_type="STK", exchange="SMART", currency="USD", **more)  # type: ignore[arg-type]


def test_a_contract_id_is_the_same_in_every_run_and_finds_the_symbol() -> None:
    first, second = Instruments(["SPY", "QQQ"]), Instruments(["QQQ", "SPY"])
    spy = first.the_one(asked("SPY"))
    assert spy == second.the_one(Description(con_id=spy.con_id))
    # Written down: a client may keep contract ids between two rehearsals.
    assert spy.con_id == 643_430_211


def test_what_is_not_played_is_not_known() -> None:
    instruments = Instruments(["SPY", "BRK B"])
    assert instruments.the_one(asked("BRK B")).symbol == "BRK B"
    unknown = (
        asked("QQQ"),
        asked("BRK.B"),
        asked(""),
        asked("SPY", primary_exchange="NYSE"),
        Description(symbol="SPY", sec_type="OPT"),
        Description(symbol="SPY", sec_type="STK", currency="EUR"),
        Description(symbol="SPY", sec_type="STK", exchange="LSE"),
        Description(con_id=1),
    )
    for one in unknown:
        with pytest.raises(UnknownContract, match="No security definition") as refusal:
            instruments.the_one(one)
        assert refusal.value.code == 200


def test_an_ambiguous_symbol_is_told_apart_by_its_primary_exchange() -> None:
    instruments = Instruments(["ABC"], ambiguous=["ABC"])
    assert [one.primary_exchange for one in instruments.fitting(asked("ABC"))] == ["NYSE", "NASDAQ"]
    with pytest.raises(UnknownContract, match="ambiguous"):
        instruments.the_one(asked("ABC"))
    one, other = (instruments.the_one(asked("ABC", primary_exchange=name)) for name in ("NYSE", "NASDAQ"))
    assert one.con_id != other.con_id
    assert instruments.of("ABC") == one


def test_where_a_symbol_is_listed_can_be_said() -> None:
    assert Instruments(["SPY"]).the_one(asked("SPY")).primary_exchange == "ARCA"
    assert Instruments(["SPY"], {"SPY": "BATS"}).the_one(asked("SPY")).primary_exchange == "BATS"
    with pytest.raises(ConfigurationError, match="XYZ"):
        Instruments(["SPY"], ambiguous=["XYZ"])


def test_hours_of_the_next_days_have_holidays_and_half_days() -> None:
    calendar = TradingCalendar("XNYS", date(2025, 11, 26))
    wednesday = calendar.hours(date(2025, 11, 26)).opens_at
    assert hours_text(wednesday, calendar, extended=False).split(";")[:4] == [
        "20251126:0930-20251126:1600", "20251127:CLOSED", "20251128:0930-20251128:1300", "20251129:CLOSED",
    ]  # fmt: skip
    assert hours_text(wednesday, calendar, extended=True).split(";")[2] == "20251128:0400-20251128:1700"
    london = TradingCalendar("XLON", date(2025, 11, 26))
    assert hours_text(wednesday, london, extended=True).startswith("20251126:0800-20251126:1630;")


def test_symbols_are_found_by_how_they_begin() -> None:
    instruments = Instruments(["SPY", "SPYD", "QQQ"])
    assert [one.symbol for one in instruments.matching("spy")] == ["SPY", "SPYD"]
    assert instruments.matching(" ") == []
