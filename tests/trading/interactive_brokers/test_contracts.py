"""Which contract a symbol is at Interactive Brokers."""

from decimal import Decimal
from typing import Any

import pytest

from trading.errors import BrokerUnavailable, ConfigurationError, DataNotFit
from trading.ib_settings import ContractSettings, SecurityType
from trading.interactive_brokers.contracts import the_only_one
from trading.interactive_brokers.messages import Instrument, InstrumentDetails


def details(contract_id: int, exchange: str = "NYSE", symbol: str = "SPY", **other: str) -> InstrumentDetails:
    instrument = Instrument(symbol, contract_id, primary_exchange=exchange, **other)
    return InstrumentDetails(instrument, f"The {symbol} of {exchange}", Decimal("0.01"), "US/Eastern", "")


def test_one_contract_told_for_several_exchanges_is_one() -> None:
    told = [details(11, exchange="NYSE"), details(11, exchange="NYSE")]
    assert the_only_one(ContractSettings(symbol="SPY"), told).instrument.contract_id == 11


def test_of_two_contracts_none_is_chosen_and_both_are_named_with_what_would_choose() -> None:
    with pytest.raises(ConfigurationError) as refused:
        the_only_one(ContractSettings(symbol="SPY"), [details(11), details(12, exchange="ARCA")])
    for words in ("NYSE", "ARCA", "contract_id 11", "contract_id 12", "[[broker.ib.contracts]]", "primary_exchange"):
        assert words in str(refused.value)


def test_no_contract_is_a_symbol_that_is_not_known() -> None:
    with pytest.raises(DataNotFit, match="SPY"):
        the_only_one(ContractSettings(symbol="SPY"), [])


def test_a_class_of_shares_is_told_how_the_broker_writes_it() -> None:
    with pytest.raises(DataNotFit, match='broker_symbol = "BRK B"'):
        the_only_one(ContractSettings(symbol="BRK.B"), [])


@pytest.mark.parametrize("other", [{"symbol": "QQQ"}, {"currency": "EUR"}, {"security_type": "FUT"}])
def test_a_number_that_is_another_contracts_is_refused(other: dict[str, str]) -> None:
    meant = ContractSettings(symbol="SPY", contract_id=11)
    with pytest.raises(ConfigurationError, match="Contract 11"):
        the_only_one(meant, [details(11, **other)])


def test_a_future_may_be_looked_up() -> None:
    meant = ContractSettings(symbol="ES", security_type=SecurityType.FUTURE, exchange="CME", contract_id=7)
    assert the_only_one(meant, [details(7, symbol="ES", security_type="FUT")]).instrument.contract_id == 7


def test_a_contract_is_asked_for_once_and_kept_with_its_number_and_where_orders_go(gateway: Any, connect: Any) -> None:
    client = connect(gateway)
    asked = gateway.received("reqContractDetails")
    assert client.contracts.known("AAA") is None
    instrument = client.contracts.instrument("AAA")
    assert client.contracts.instrument("AAA") is instrument
    assert client.contracts.known("AAA") is instrument
    assert gateway.received("reqContractDetails") == asked + 1
    assert instrument.contract_id > 0
    assert instrument.exchange == "SMART"
    assert client.contracts.minimum_tick("AAA") == Decimal("0.01")
    # A position's contract carries its listing and no route.
    listed = Instrument("AAA", instrument.contract_id, exchange="", primary_exchange=instrument.primary_exchange)
    assert client.contracts.symbol_of(listed) == "AAA"


def test_an_ambiguous_symbol_is_refused_until_the_settings_say_which(gateway: Any, connect: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        connect(gateway).contracts.instrument("TWO")
    words = str(refused.value)
    number = int(words.split("contract_id = ")[1].split(",")[0])
    by_number = connect(gateway, contracts=[{"symbol": "TWO", "contract_id": number}]).contracts.instrument("TWO")
    assert by_number.contract_id == number
    listing = words.split('primary_exchange = "')[1].split('"')[0]
    by_listing = connect(gateway, contracts=[{"symbol": "TWO", "primary_exchange": listing}]).contracts.instrument(
        "TWO"
    )
    assert by_listing.contract_id == number


def test_an_unknown_symbol_is_refused_and_so_is_a_number_of_another(gateway: Any, connect: Any) -> None:
    client = connect(gateway)
    with pytest.raises(DataNotFit, match="NONE"):
        client.contracts.instrument("NONE")
    number = client.contracts.instrument("AAA").contract_id
    other = connect(gateway, contracts=[{"symbol": "BBB", "contract_id": number}])
    with pytest.raises(ConfigurationError, match="AAA"):
        other.contracts.instrument("BBB")


def test_a_symbol_that_the_broker_writes_otherwise_keeps_our_name(gateway: Any, connect: Any) -> None:
    client = connect(gateway, contracts=[{"symbol": "A.X", "broker_symbol": "AAA"}])
    instrument = client.contracts.instrument("A.X")
    assert instrument.symbol == "AAA"
    assert client.contracts.symbol_of(Instrument("AAA", instrument.contract_id)) == "A.X"
    # Also before it was looked up, as positions are that are there at the start.
    again = connect(gateway, contracts=[{"symbol": "A.X", "broker_symbol": "AAA"}])
    assert again.contracts.symbol_of(Instrument("AAA", instrument.contract_id)) == "A.X"


def test_what_is_no_share_is_not_traded(gateway: Any, connect: Any) -> None:
    client = connect(gateway, contracts=[{"symbol": "AAA", "security_type": "FUT", "exchange": "CME"}])
    with pytest.raises(ConfigurationError, match="FUT"):
        client.contracts.to_trade("AAA")
    assert client.contracts.to_trade("BBB").symbol == "BBB"


def test_no_line_is_no_answer(gateway: Any, connect: Any) -> None:
    client = connect(gateway)
    client.connection.close()
    with pytest.raises(BrokerUnavailable):
        client.contracts.instrument("AAA")
