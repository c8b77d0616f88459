"""Bars of five seconds for those who asked for them."""

from collections.abc import Mapping, Sequence

from trading.bars import Bar
from trading.rehearsal_gateway.bar_answers import delivered
from trading.rehearsal_gateway.connected_client import ConnectedClient, Handler
from trading.rehearsal_gateway.contract_answers import read_description
from trading.rehearsal_gateway.data_permissions import DataPermissions
from trading.rehearsal_gateway.data_subscriptions import Subscriptions
from trading.rehearsal_gateway.market import DayMarket
from trading.rehearsal_gateway.market_port import DeliveredBar
from trading.rehearsal_gateway.message_kinds import Incoming
from trading.rehearsal_gateway.refusals import Refused, answered
from trading.rehearsal_gateway.wire import FieldReader

_KINDS = ("TRADES", "MIDPOINT", "BID", "ASK")


class LiveBars:
    """Handlers of requests for bars of five seconds, and their delivery."""

    def __init__(self, market: DayMarket, permissions: DataPermissions) -> None:
        self._market = market
        self._permissions = permissions
        self.subscriptions: Subscriptions[str] = Subscriptions()
        self.handlers: Mapping[int, Handler] = {
            Incoming.reqRealTimeBars: answered(self._subscribe),
            Incoming.cancelRealTimeBars: answered(self._cancel),
        }

    def _subscribe(self, client: ConnectedClient, request_id: int, fields: FieldReader) -> None:
        asked = read_description(fields)
        seconds, what = fields.integer(), fields.text()
        if seconds != 5:
            raise Refused(
                321, f"Error validating request.-'rehearsal' : cause - Bars of {seconds} seconds: only 5 are served."
            )
        if what not in _KINDS:
            raise Refused(321, f"Error validating request.-'rehearsal' : cause - Invalid whatToShow: {what!r}.")
        instrument = self._market.instruments.the_one(asked)
        self._permissions.check_live_bars(instrument)
        self.subscriptions.add(client, request_id, instrument.symbol, what)

    def _cancel(self, client: ConnectedClient, request_id: int, _fields: FieldReader) -> None:
        if not self.subscriptions.end(client, request_id):
            raise Refused(300, f"Can't find EId with tickerId:{request_id}")

    def deliver(self, symbol: str, bars: Sequence[DeliveredBar]) -> None:
        """Send bars of a symbol to whoever asked for them."""
        for client, request_id, what in self.subscriptions.to(symbol):
            for bar in bars:
                traded = (bar.volume, bar.average, bar.count) if what == "TRADES" else (-1, -1, -1)
                when = int(bar.time.timestamp())
                client.send(50, 3, request_id, when, bar.open, bar.high, bar.low, bar.close, *traded)


def as_delivered(bar: Bar) -> DeliveredBar:
    """A bar of the market as numbers of the wire; without known volume nothing was counted."""
    opened, high, low, closed = (float(price) for price in (bar.open, bar.high, bar.low, bar.close))
    average = round((high + low + closed) / 3, 4)
    return delivered(bar.symbol, bar.bar_time, opened, high, low, closed, bar.volume or 0, average)
