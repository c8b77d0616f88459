"""Answers about contracts: their details, symbols that begin like something, and the steps of prices."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from trading.calendar import TradingCalendar
from trading.rehearsal_gateway.connected_client import ConnectedClient, Handler
from trading.rehearsal_gateway.instruments import (
    MARKET_RULE,
    MARKET_RULES,
    ORDER_TYPES,
    SMART,
    Description,
    Instruments,
    Listing,
    UnknownContract,
)
from trading.rehearsal_gateway.market import DayMarket
from trading.rehearsal_gateway.message_kinds import Incoming
from trading.rehearsal_gateway.refusals import answered
from trading.rehearsal_gateway.wire import Field, FieldReader
from trading.rehearsal_gateway.wire_times import WireTimes
from trading.trading_hours import TradingHours

_DAYS_SHOWN = 6
_EXTENDED_IN = "America/New_York"
_EXTENDED_FROM, _EXTENDED_UNTIL, _EXTENDED_UNTIL_ON_HALF_DAYS, _WHOLE_DAY_ENDS = time(4), time(20), time(17), time(16)


def read_description(fields: FieldReader) -> Description:
    """The twelve fields of a contract as requests for data have them."""
    con_id = fields.integer()
    symbol, sec_type = fields.text(), fields.text()
    fields.skip(4)  # expiry, strike, right, multiplier
    exchange, primary_exchange, currency = fields.text(), fields.text(), fields.text()
    return Description(con_id, symbol, sec_type, exchange, primary_exchange, currency, fields.text(), fields.text())


class ContractAnswers:
    """Handlers of requests about contracts."""

    def __init__(self, market: DayMarket, times: WireTimes) -> None:
        self._market = market
        self._instruments: Instruments = market.instruments
        self._times = times
        self.handlers: Mapping[int, Handler] = {
            Incoming.reqContractDetails: answered(self._details),
            Incoming.reqMatchingSymbols: answered(self._matching),
            Incoming.reqMarketRule: self._rule,
        }

    def _details(self, client: ConnectedClient, request_id: int, fields: FieldReader) -> None:
        asked = read_description(fields)
        found = self._instruments.fitting(asked)
        if not found:
            raise UnknownContract("No security definition has been found for the request")
        for instrument in found:
            client.send(*self._detail(client.server_version, request_id, instrument, asked.exchange or SMART))
        client.send(52, 1, request_id)

    def _detail(self, version: int, request_id: int, instrument: Listing, exchange: str) -> list[Field]:
        now = self._market.now()
        return [
            10,
            *([8] if version < 164 else []),
            request_id,
            instrument.symbol,
            instrument.sec_type,
            *("", "0", ""),  # expiry, strike, right
            exchange,
            instrument.currency,
            instrument.symbol,
            instrument.trading_class,  # market name
            instrument.trading_class,
            instrument.con_id,
            instrument.min_tick,
            *([100] if version < 164 else []),
            "",  # multiplier
            ORDER_TYPES,
            instrument.valid_exchanges,
            1,  # price magnifier
            0,  # no underlying
            instrument.long_name,
            instrument.primary_exchange,
            *("", "", "", ""),  # contract month, industry, category, subcategory
            self._times.exchange_zone_name,
            hours_text(now, self._market.calendar, extended=True),
            hours_text(now, self._market.calendar, extended=False),
            *("", ""),  # economic value rule and multiplier
            0,  # no further ids
            1,  # aggregated group
            *("", ""),  # underlying symbol and type
            ",".join([str(MARKET_RULE)] * len(instrument.valid_exchanges.split(","))),
            "",  # real expiration date
            instrument.stock_type,
            *([1] if version == 163 else []),
            *([1, 1, 100] if version >= 164 else []),  # least size, steps of size
        ]

    def _matching(self, client: ConnectedClient, request_id: int, fields: FieldReader) -> None:
        found = self._instruments.matching(fields.text())
        listed: list[Field] = []
        for one in found:
            listed += [one.con_id, one.symbol, one.sec_type, one.primary_exchange, one.currency, 0]
            if client.server_version >= 176:
                listed += [one.long_name, ""]
        client.send(79, request_id, len(found), *listed)

    def _rule(self, client: ConnectedClient, fields: FieldReader) -> None:
        number = fields.integer()
        steps = MARKET_RULES.get(number)
        if steps is None:
            client.error(-1, 321, f"Error validating request.-'rehearsal' : cause - Unknown market rule {number}.")
            return
        client.send(93, number, len(steps), *(part for step in steps for part in step))


def hours_text(now: datetime, calendar: TradingCalendar, extended: bool) -> str:
    """The hours of the next days as contract details write them: 20240102:0930-20240102:1600;20240106:CLOSED."""
    first = calendar.exchange_date(now)
    days = [first + timedelta(days=ahead) for ahead in range(_DAYS_SHOWN)]
    sessions = {hours.session_date: hours for hours in calendar.sessions_between(days[0], days[-1])}
    return ";".join(_day_text(day, sessions.get(day), extended) for day in days)


def _day_text(day: date, hours: TradingHours | None, extended: bool) -> str:
    if hours is None:
        return f"{day:%Y%m%d}:CLOSED"
    opens, closes = hours.local(hours.opens_at), hours.local(hours.closes_at)
    if extended and hours.zone.key == _EXTENDED_IN:
        until = _EXTENDED_UNTIL if closes.time() >= _WHOLE_DAY_ENDS else _EXTENDED_UNTIL_ON_HALF_DAYS
        opens, closes = (datetime.combine(day, at, tzinfo=UTC) for at in (_EXTENDED_FROM, until))
    return f"{opens:%Y%m%d:%H%M}-{closes:%Y%m%d:%H%M}"
