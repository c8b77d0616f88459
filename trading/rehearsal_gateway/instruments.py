"""What can be traded at the gateway, and how a client's description of a contract finds it.

Stocks and ETFs in US dollars. A contract id hangs on the symbol alone, so that it is the same in every run. Symbols are those of
Interactive Brokers throughout the gateway: the class of a share stands after a blank (BRK B), where openbell writes a full stop (BRK.B).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading.errors import ConfigurationError
from trading.rehearsal_gateway.market_port import Instrument
from trading.rehearsal_gateway.refusals import Refused

SMART = "SMART"
MARKET_RULE = 26
MARKET_RULES: Mapping[int, tuple[tuple[Decimal, Decimal], ...]] = {MARKET_RULE: ((Decimal(0), Decimal("0.01")),)}
"""By its number, from which price on which step of prices is allowed."""

_ETFS = frozenset(
    ("DIA", "EEM", "EFA", "GLD", "IVV", "IWM", "QQQ", "SLV", "SPY", "TLT", "VOO", "VTI", "XLE", "XLF", "XLK")
)
_LISTED = {
    "QQQ": "NASDAQ",
    "AAPL": "NASDAQ",
    "MSFT": "NASDAQ",
    "AMZN": "NASDAQ",
    "GOOG": "NASDAQ",
    "NVDA": "NASDAQ",
    "TLT": "NASDAQ",
}
_SMALLEST_MADE_ID, _MADE_IDS = 10_000_000, 800_000_000
ORDER_TYPES = (
    "ACTIVETIM,AD,ADJUST,ALERT,ALLOC,AON,AVGCOST,BASKET,COND,DAY,DEACT,DEACTDIS,FOK,GAT,GTC,GTD,IOC,LIT,LMT,LOC,LOO,MIT,MKT,MOC,MOO,"
    "OCA,OPG,SCALE,STP,STPLMT,TRAIL,TRAILLMT,WHATIF"
)


@dataclass(frozen=True, slots=True)
class Listing(Instrument):
    """An instrument with what contract details say of it."""

    is_etf: bool = False

    @property
    def long_name(self) -> str:
        """What a person reads: invented, for names of companies are no part of a rehearsal."""
        return f"{self.symbol} {'ETF' if self.is_etf else 'COMMON STOCK'} (REHEARSAL)"

    @property
    def valid_exchanges(self) -> str:
        """Where an order for it may go."""
        return f"{SMART},{self.primary_exchange},IBKRATS"

    @property
    def stock_type(self) -> str:
        """ETF or COMMON."""
        return "ETF" if self.is_etf else "COMMON"


@dataclass(frozen=True, slots=True)
class Description:
    """A contract as a client describes it; empty and 0 for what it does not say."""

    con_id: int = 0
    symbol: str = ""
    sec_type: str = ""
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    trading_class: str = ""


class UnknownContract(Refused):
    """No listing fits the description, or several do."""

    def __init__(self, text: str) -> None:
        super().__init__(200, text)


class Instruments:
    """All listings of the gateway. The first of a symbol is the one whose bars are played.

    ``primary_exchanges`` overrides where symbols are listed; a symbol of ``ambiguous`` has a second listing, which a description
    without a primary exchange fits as well.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        primary_exchanges: Mapping[str, str] | None = None,
        ambiguous: Sequence[str] = (),
    ) -> None:
        overrides = primary_exchanges or {}
        unknown = sorted({*overrides, *ambiguous} - set(symbols))
        if unknown:
            raise ConfigurationError(
                f"The gateway plays no bars of {', '.join(unknown)}. Name them with --symbols too."
            )
        self.symbols = tuple(symbols)
        self._first = {symbol: _listing(symbol, overrides.get(symbol)) for symbol in symbols}
        self._all = list(self._first.values())
        for symbol in ambiguous:
            exchange = "NYSE" if self._first[symbol].primary_exchange != "NYSE" else "NASDAQ"
            other = _made_id(f"{symbol}@{exchange}")
            self._all.append(Listing(symbol, other, exchange, is_etf=self._first[symbol].is_etf))
        self._by_id = {instrument.con_id: instrument for instrument in self._all}
        if len(self._by_id) != len(self._all):
            raise ConfigurationError("Two symbols of the gateway have the same contract id. Leave one of them out.")

    def of(self, symbol: str) -> Listing | None:
        """The listing whose bars are played; None for a symbol that is not."""
        return self._first.get(symbol)

    def with_id(self, con_id: int) -> Listing | None:
        """The listing under this contract id."""
        return self._by_id.get(con_id)

    def fitting(self, asked: Description) -> list[Listing]:
        """All listings that the description fits, the played one of a symbol first."""
        if asked.con_id:
            found = [self._by_id[asked.con_id]] if asked.con_id in self._by_id else []
        else:
            if asked.sec_type not in ("STK", "") or not (asked.symbol or asked.local_symbol):
                return []
            found = self._all
        return [instrument for instrument in found if _fits(instrument, asked)]

    def the_one(self, asked: Description) -> Listing:
        """The only listing that the description fits; raises ``UnknownContract``."""
        found = self.fitting(asked)
        if not found:
            raise UnknownContract("No security definition has been found for the request")
        if len(found) > 1:
            raise UnknownContract(f"The contract description specified for {asked.symbol} is ambiguous.")
        return found[0]

    def matching(self, pattern: str) -> list[Listing]:
        """Listings whose symbol begins with ``pattern``, at most sixteen."""
        wanted = pattern.strip().upper()
        return [one for one in self._all if wanted and one.symbol.startswith(wanted)][:16]


def _fits(instrument: Listing, asked: Description) -> bool:
    exchange = instrument.primary_exchange
    return (
        asked.symbol in ("", instrument.symbol)
        and asked.local_symbol in ("", instrument.symbol)
        and asked.sec_type in ("", "STK")
        and asked.currency in ("", instrument.currency)
        and asked.exchange in ("", SMART, "IBKRATS", exchange)
        and asked.primary_exchange in ("", exchange)
    )


def _listing(symbol: str, primary_exchange: str | None) -> Listing:
    is_etf = symbol in _ETFS
    exchange = primary_exchange or _LISTED.get(symbol) or ("ARCA" if is_etf else "NYSE")
    return Listing(symbol, _made_id(symbol), exchange, is_etf=is_etf)


def _made_id(name: str) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return _SMALLEST_MADE_ID + int.from_bytes(digest, "big") % _MADE_IDS
