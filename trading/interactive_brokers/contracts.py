"""Which contract a symbol is: asked for once, refused where it is not the only one, kept with the broker's number.

The broker's number (conId) leaves no doubt; whatever is sent carries it. Orders are routed where the settings say, SMART as
a rule: the listing of a share (its primary exchange) is no place to send orders to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from trading.errors import BrokerUnavailable, ConfigurationError, DataNotFit
from trading.ib_settings import ContractSettings, SecurityType
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.messages import Instrument, InstrumentDetails

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_NAMED = 5


class Contracts:
    """The contracts of a session's symbols. What was found once is remembered for as long as this lives.

    Methods that ask raise ``BrokerUnavailable`` where no answer comes.
    """

    def __init__(self, connection: GatewayConnection) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._found: dict[str, InstrumentDetails] = {}
        self._symbols: dict[int, str] = {}

    def details(self, symbol: str) -> InstrumentDetails:
        """The one contract that is meant by ``symbol``; ``instrument.exchange`` is where orders go.

        Raises ``DataNotFit`` for a symbol that the broker does not know, ``ConfigurationError`` where several contracts fit or
        where the settings name one that is another.
        """
        known = self._found.get(symbol)
        if known is not None:
            return known
        fitting = self._connection.ask(partial(self._told, symbol), f"The contract of {symbol}", cuts_line=False)
        return self._keep(symbol, fitting)

    def instrument(self, symbol: str) -> Instrument:
        """The contract of ``symbol``, to ask for data or to send orders with; raises as ``details``."""
        return self.details(symbol).instrument

    def to_trade(self, symbol: str) -> Instrument:
        """As ``instrument``; raises ``ConfigurationError`` too for what is not traded yet: anything but shares and funds."""
        kind = self._settings.contract(symbol).security_type
        if kind is not SecurityType.STOCK:
            raise ConfigurationError(
                f'{symbol} is no share: [[broker.ib.contracts]] says security_type = "{kind.value}". Futures and currencies can be '
                "looked up and are not traded yet. Leave it out of session.symbols."
            )
        return self.instrument(symbol)

    def minimum_tick(self, symbol: str) -> Decimal:
        """The smallest step of the symbol's prices."""
        return self.details(symbol).minimum_tick

    def look_up(self, symbols: Iterable[str]) -> None:
        """Ask for all that are not known yet; raises as ``details`` for the first that is refused."""
        for symbol in symbols:
            self.details(symbol)

    async def found(self, line: "GatewayLine", symbol: str) -> Instrument:
        """As ``instrument``, for code on the connection's thread; raises the library's errors where no answer comes."""
        known = self._found.get(symbol)
        if known is None:
            known = self._keep(symbol, await line.details(self._asked(symbol)))
        return known.instrument

    def known(self, symbol: str) -> Instrument | None:
        """The contract where it was found before; asks nobody, on any thread."""
        details = self._found.get(symbol)
        return None if details is None else details.instrument

    def symbol_of(self, instrument: Instrument) -> str:
        """What sessions call a contract that the broker named: the symbol it was found under, else the settings' name for the
        broker's symbol, else the broker's own where that says all.

        An option is no share of its underlying, nor a share in another currency the one that is traded: such have names that no
        session trades.
        """
        known = self._symbols.get(instrument.contract_id)
        if known is not None:
            return known
        for one in self._settings.contracts:
            if instrument.contract_id and one.contract_id == instrument.contract_id:
                return one.symbol
            named = one.broker_symbol or one.symbol
            if (
                one.contract_id is None
                and (named, one.security_type.value, one.currency)
                == (instrument.symbol, instrument.security_type, instrument.currency)
                and instrument.primary_exchange in ("", one.primary_exchange or instrument.primary_exchange)
                and not self._is_another(one.symbol, instrument)
            ):
                return one.symbol
        usual = ContractSettings.model_fields
        if instrument.security_type not in ("", usual["security_type"].default.value):
            named = " ".join(instrument.local_symbol.split())
            return named if named not in ("", instrument.symbol) else f"{instrument.symbol} {instrument.security_type}"
        if instrument.currency not in ("", usual["currency"].default):
            return f"{instrument.symbol} {instrument.currency}"
        if self._is_another(instrument.symbol, instrument):
            return f"{instrument.symbol} {instrument.contract_id}"
        return instrument.symbol

    def _is_another(self, symbol: str, instrument: Instrument) -> bool:
        """Whether the symbol is known to be another contract than this one."""
        found = self._found.get(symbol)
        meant = self._settings.contract(symbol).contract_id if found is None else found.instrument.contract_id
        return bool(meant and instrument.contract_id and meant != instrument.contract_id)

    async def _told(self, symbol: str, line: "GatewayLine") -> list[InstrumentDetails]:
        from trading.interactive_brokers.library import RequestFailed

        try:
            return await line.details(self._asked(symbol))
        except RequestFailed as error:
            raise BrokerUnavailable(
                f"The contract of {symbol} was not told ({error}). Look at the gateway's log, and ask again."
            ) from error

    def _asked(self, symbol: str) -> Instrument:
        one = self._settings.contract(symbol)
        if one.contract_id is not None:
            # The number says all: what else would be said could only keep the broker from telling whose it is.
            return Instrument("", one.contract_id, security_type="", exchange=one.exchange, currency="")
        return Instrument(
            symbol=one.broker_symbol or one.symbol,
            security_type=one.security_type.value,
            exchange=one.exchange,
            primary_exchange=one.primary_exchange or "",
            currency=one.currency,
        )

    def _keep(self, symbol: str, fitting: Sequence[InstrumentDetails]) -> InstrumentDetails:
        found = the_only_one(self._settings.contract(symbol), fitting)
        # A listing may be told as the place of the contract; orders go where the settings say.
        exchange = self._settings.contract(symbol).exchange
        kept = replace(found, instrument=replace(found.instrument, exchange=exchange))
        self._found[symbol] = kept
        self._symbols[kept.instrument.contract_id] = symbol
        return kept


def the_only_one(meant: ContractSettings, fitting: Sequence[InstrumentDetails]) -> InstrumentDetails:
    """The contract that is meant, of those that fit its description. Raises ``DataNotFit`` where none does, ``ConfigurationError``
    where several do or the one is another than the settings say."""
    # One contract may be told once for each exchange that trades it.
    different = {one.instrument.contract_id: one for one in fitting}
    if not different:
        raise DataNotFit(_unknown(meant))
    if len(different) > 1:
        raise ConfigurationError(_ambiguous(meant, list(different.values())))
    (found,) = different.values()
    wanted = (meant.broker_symbol or meant.symbol, meant.security_type.value, meant.currency)
    told = (found.instrument.symbol, found.instrument.security_type, found.instrument.currency)
    if wanted != told:
        raise ConfigurationError(
            f"Contract {found.instrument.contract_id} is {' '.join(told)} ({found.name}), and {' '.join(wanted)} is meant by "
            f"{meant.symbol}. Mend its entry in [[broker.ib.contracts]]."
        )
    return found


def _unknown(meant: ContractSettings) -> str:
    asked = f"{meant.broker_symbol or meant.symbol} ({meant.security_type.value}, {meant.exchange}, {meant.currency}"
    asked += f", {meant.primary_exchange})" if meant.primary_exchange else ")"
    hint = f'[[broker.ib.contracts]] with symbol = "{meant.symbol}" says what the broker calls it'
    if meant.broker_symbol is None and "." in meant.symbol:
        hint += f': broker_symbol = "{meant.symbol.replace(".", " ")}" for a class of shares'
    return f"Interactive Brokers knows no {asked}. Trade another symbol; or {hint}."


def _ambiguous(meant: ContractSettings, candidates: Sequence[InstrumentDetails]) -> str:
    named = "; ".join(
        f"{one.name or one.instrument.symbol} on {one.instrument.primary_exchange or one.instrument.exchange} "
        f"(contract_id {one.instrument.contract_id})"
        for one in candidates[:_NAMED]
    )
    more = f"; and {len(candidates) - _NAMED} more" if len(candidates) > _NAMED else ""
    first = candidates[0].instrument
    return (
        f"{meant.symbol} is {len(candidates)} contracts at Interactive Brokers: {named}{more}. Say which: [[broker.ib.contracts]] "
        f'with symbol = "{meant.symbol}" and contract_id = {first.contract_id}, or primary_exchange = '
        f'"{first.primary_exchange or first.exchange}".'
    )
