"""Which listing a client's words mean."""

import pytest

from trading.errors import ConfigurationError
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


def test_symbols_are_found_by_how_they_begin() -> None:
    instruments = Instruments(["SPY", "SPYD", "QQQ"])
    assert [one.symbol for one in instruments.matching("spy")] == ["SPY", "SPYD"]
    assert instruments.matching(" ") == []
