"""All answers to requests for data, and the delivery of live bars: what the server is given beside the market."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from trading.bars import Bar
from trading.rehearsal_gateway.connected_client import ConnectedClient, Handler
from trading.rehearsal_gateway.contract_answers import ContractAnswers
from trading.rehearsal_gateway.data_permissions import DataPermissions
from trading.rehearsal_gateway.history_answers import HistoryAnswers
from trading.rehearsal_gateway.live_bars import LiveBars, as_delivered
from trading.rehearsal_gateway.market import DayMarket
from trading.rehearsal_gateway.market_port import BarFaults, DeliveredBar
from trading.rehearsal_gateway.pacing import Pacing
from trading.rehearsal_gateway.quotes import Quotes
from trading.rehearsal_gateway.wire_times import WireTimes

_FIVE_SECONDS = "five seconds"


class MarketDataDesk:
    """Implements ``trading.rehearsal_gateway.market_port.MarketData`` over ``market``.

    ``without_subscription`` are symbols whose data the account may not see; ``is_paced``: past bars are limited as at Interactive
    Brokers, by ``wall_seconds``.
    """

    def __init__(
        self,
        market: DayMarket,
        times: WireTimes,
        is_paced: bool = True,
        without_subscription: Collection[str] = (),
        wall_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        permissions = DataPermissions(without_subscription)
        self._history = HistoryAnswers(market, times, Pacing(is_paced, wall_seconds), permissions)
        self._live_bars = LiveBars(market, permissions)
        self._quotes = Quotes(market, permissions)
        self._faults: BarFaults | None = None
        self._handlers = {
            **ContractAnswers(market, times).handlers,
            **self._history.handlers,
            **self._live_bars.handlers,
            **self._quotes.handlers,
        }
        market.deliver = self._deliver

    @property
    def handlers(self) -> Mapping[int, Handler]:
        """By the number of the incoming message: who answers it."""
        return self._handlers

    def use_faults(self, faults: BarFaults) -> None:
        """From now on each live bar goes to clients as ``faults`` says."""
        self._faults = faults

    def forget(self, client: ConnectedClient) -> None:
        """End all subscriptions of a client."""
        self._live_bars.subscriptions.forget(client)
        self._history.kept.forget(client)
        self._quotes.forget(client)

    def streams_to(self, client: ConnectedClient) -> bool:
        """Whether a client is sent live data of any kind."""
        kinds = (self._live_bars.subscriptions, self._history.kept, self._quotes.subscriptions)
        return any(known is client for kind in kinds for _, known, _ in kind)

    def _deliver(self, bar: Bar) -> None:
        symbol = bar.symbol
        if self._live_bars.subscriptions.to(symbol) or self._quotes.subscriptions.to(symbol):
            bars = self._as_faults_say(as_delivered(bar), _FIVE_SECONDS)
            self._live_bars.deliver(symbol, bars)
            self._quotes.deliver(symbol, bars)
        self._history.keep(bar, self._as_faults_say)

    def _as_faults_say(self, bar: DeliveredBar, stream: str) -> Sequence[DeliveredBar]:
        return [bar] if self._faults is None else self._faults(bar, stream)
