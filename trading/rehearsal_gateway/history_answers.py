"""Answers requests for past bars, and keeps those up to date that were asked for so."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from trading.bars import Bar
from trading.rehearsal_gateway.bar_answers import BarAnswers, delivered
from trading.rehearsal_gateway.bar_requests import SCHEDULE, BarRequest, read_request
from trading.rehearsal_gateway.connected_client import ConnectedClient, Handler
from trading.rehearsal_gateway.contract_answers import read_description
from trading.rehearsal_gateway.data_permissions import DataPermissions
from trading.rehearsal_gateway.data_subscriptions import Subscriptions
from trading.rehearsal_gateway.instruments import SMART, Listing
from trading.rehearsal_gateway.market import DayMarket
from trading.rehearsal_gateway.market_port import BarFaults, DeliveredBar
from trading.rehearsal_gateway.message_kinds import Incoming
from trading.rehearsal_gateway.pacing import Pacing
from trading.rehearsal_gateway.refusals import Refused, answered
from trading.rehearsal_gateway.wire import Field, FieldReader
from trading.rehearsal_gateway.wire_times import WireTimes

_SERVICE = "Historical Market Data Service error message:"


@dataclass(slots=True)
class _Kept:
    """A bar that grows: who asked is told of it every five seconds."""

    request: BarRequest
    bar: DeliveredBar | None


class HistoryAnswers:
    """Handlers of requests for past bars. ``keep`` is told every bar of five seconds."""

    def __init__(self, market: DayMarket, times: WireTimes, pacing: Pacing, permissions: DataPermissions) -> None:
        self._market = market
        self._times = times
        self._pacing = pacing
        self._permissions = permissions
        self._bars = BarAnswers(market.past, market.calendar)
        self.kept: Subscriptions[_Kept] = Subscriptions()
        self.handlers: Mapping[int, Handler] = {
            Incoming.reqHistoricalData: answered(self._history),
            Incoming.cancelHistoricalData: answered(self._cancel),
        }

    def _history(self, client: ConnectedClient, request_id: int, fields: FieldReader) -> None:
        asked = read_description(fields)
        fields.skip()  # include expired
        end, size, duration = fields.texts(3)
        regular_hours, what, date_format = fields.flag(), fields.text(), fields.integer()
        keep = fields.flag()
        request = read_request(end, size, duration, what, regular_hours, date_format, keep, self._times)
        instrument = self._market.instruments.the_one(asked)
        self._permissions.check_history(instrument)
        if not self._pacing.allows((instrument.con_id, end, size, duration, what, regular_hours, keep)):
            raise Refused(162, f"{_SERVICE}Historical data request pacing violation")
        if request.what == SCHEDULE:
            self._send_schedule(client, request_id, request)
            return
        now, known_until = self._market.now(), self._market.known_until
        answer = self._bars.answer(instrument.symbol, request, now, known_until)
        if not answer.bars:
            raise Refused(162, f"{_SERVICE}HMDS query returned no data: {_named(instrument, request)}")
        if keep:
            self.kept.add(client, request_id, instrument.symbol, _Kept(request, self._in_progress(instrument, request)))
        written = [field for bar in answer.bars for field in self._written(bar, request)]
        span = [self._times.moment(moment) for moment in (answer.starts_at, answer.ends_at)]
        client.send(17, request_id, *span, len(answer.bars), *written)

    def _cancel(self, client: ConnectedClient, request_id: int, _fields: FieldReader) -> None:
        if not self.kept.end(client, request_id):
            raise Refused(366, f"No historical data query found for ticker id:{request_id}")
        # TWS tells a cancel that worked under the number of "no data".
        client.error(request_id, 162, f"{_SERVICE}API historical data query cancelled: {request_id}")

    def keep(self, bar: Bar, faults: BarFaults) -> None:
        """Five seconds are over: bars that are kept up to date have grown, or a new one has begun."""
        for client, request_id, kept in self.kept.to(bar.symbol):
            begins = self._begin(bar.bar_time, kept.request)
            kept.bar = _grown(kept.bar, bar, begins)
            for told in faults(kept.bar, f"kept {client.client_id}:{request_id}"):
                client.send(90, request_id, *self._update(told, kept.request))

    def _in_progress(self, instrument: Listing, request: BarRequest) -> DeliveredBar | None:
        until = self._market.known_until
        begins = self._begin(until, request)
        bars = self._bars.between(instrument.symbol, request, begins, until, until)
        return bars[-1] if bars else None

    def _begin(self, moment: datetime, request: BarRequest) -> datetime:
        return self._bars.begin(moment, request.seconds)

    def _send_schedule(self, client: ConnectedClient, request_id: int, request: BarRequest) -> None:
        calendar = self._market.calendar
        end = min(request.end or self._market.now(), self._market.now())
        start = request.starts_at(end, calendar)
        days = calendar.exchange_date(start), calendar.exchange_date(end)
        sessions = [hours for hours in calendar.sessions_between(*days) if hours.opens_at < end]
        if not sessions:
            raise Refused(162, f"{_SERVICE}HMDS query returned no data")

        def at(moment: datetime) -> str:
            return f"{moment.astimezone(self._market.exchange_zone):%Y%m%d-%H:%M:%S}"

        listed = [
            text
            for hours in sessions
            for text in (at(hours.opens_at), at(hours.closes_at), f"{hours.session_date:%Y%m%d}")
        ]
        span = at(sessions[0].opens_at), at(sessions[-1].closes_at)
        client.send(106, request_id, *span, self._times.exchange_zone_name, len(sessions), *listed)

    def _when(self, bar: DeliveredBar, request: BarRequest) -> Field:
        if request.is_daily:
            return f"{bar.time.astimezone(self._market.exchange_zone):%Y%m%d}"
        return int(bar.time.timestamp()) if request.in_epoch_seconds else self._times.moment(bar.time)

    def _written(self, bar: DeliveredBar, request: BarRequest) -> list[Field]:
        when = self._when(bar, request)
        return [when, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.average, bar.count]

    def _update(self, bar: DeliveredBar, request: BarRequest) -> list[Field]:
        when = self._when(bar, request)
        return [bar.count, when, bar.open, bar.close, bar.high, bar.low, bar.average, bar.volume]


def _grown(bar: DeliveredBar | None, piece: Bar, begins: datetime) -> DeliveredBar:
    opened, high, low, closed = (float(price) for price in (piece.open, piece.high, piece.low, piece.close))
    average = round((high + low + closed) / 3, 4)
    shares = piece.volume or 0
    if bar is None or bar.time != begins:
        return delivered(piece.symbol, begins, opened, high, low, closed, shares, average)
    volume = bar.volume + shares
    worth = bar.average * bar.volume + average * shares
    return delivered(
        piece.symbol,
        begins,
        bar.open,
        max(bar.high, high),
        min(bar.low, low),
        closed,
        int(volume),
        round(worth / volume, 4) if volume else average,
    )


def _named(instrument: Listing, request: BarRequest) -> str:
    return f"{instrument.symbol}@{SMART} {request.what.title()}"
