"""Which symbols' data the account has subscribed to, and what it is told of the others."""

from collections.abc import Collection

from trading.rehearsal_gateway.instruments import Listing
from trading.rehearsal_gateway.refusals import Refused

LIVE, FROZEN, DELAYED, DELAYED_FROZEN = 1, 2, 3, 4
"""Kinds of market data, as clients ask for them."""


class DataPermissions:
    """``missing`` are symbols without a subscription: their past and five-second bars are refused, their quotes delayed."""

    def __init__(self, missing: Collection[str] = ()) -> None:
        self._missing = frozenset(missing)

    def has(self, instrument: Listing) -> bool:
        """Whether live data of the instrument may be seen."""
        return instrument.symbol not in self._missing

    def check_history(self, instrument: Listing) -> None:
        """Raises ``Refused`` where past bars are not for this account."""
        if not self.has(instrument):
            raise Refused(
                162,
                "Historical Market Data Service error message:No market data permissions for "
                f"{instrument.primary_exchange} {instrument.sec_type}",
            )

    def check_live_bars(self, instrument: Listing) -> None:
        """Raises ``Refused`` where bars of five seconds are not for this account."""
        if not self.has(instrument):
            raise Refused(
                420,
                "Invalid Real-time Query:No market data permissions for "
                f"{instrument.primary_exchange} {instrument.sec_type}",
            )
