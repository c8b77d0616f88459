"""Answers what clients ask about accounts, and tells those who asked to be told when something has changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading.money import ZERO
from trading.rehearsal_gateway import account_messages, order_messages
from trading.rehearsal_gateway.account_book import AccountBook
from trading.rehearsal_gateway.connected_client import NO_REQUEST, ConnectedClient, Handler
from trading.rehearsal_gateway.gateway_book import GatewayBook
from trading.rehearsal_gateway.market_port import Market
from trading.rehearsal_gateway.message_kinds import Incoming
from trading.rehearsal_gateway.wire import FieldReader

_BETWEEN_UPDATES = timedelta(minutes=3)
"""TWS tells values that move with the market every three minutes."""
_BETWEEN_PNL = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Somebody who wants to be told: of which accounts, under which request, and for a summary of which tags."""

    client: ConnectedClient
    kind: Incoming
    request_id: int
    accounts: tuple[str, ...]
    tags: str = ""
    con_id: int = 0


class AccountDesk:
    """The handlers of messages about accounts; ``has_traded`` and ``time_passes`` are told what changes values."""

    def __init__(self, book: GatewayBook, market: Market, currency: str) -> None:
        self._book = book
        self._market = market
        self._currency = currency
        self._asked: list[_Asked] = []
        self._told_at: datetime | None = None
        self._pnl_told_at: datetime | None = None
        ends = self._end
        self.handlers: Mapping[int, Handler] = {
            Incoming.reqAccountUpdates: self._updates,
            Incoming.reqAccountUpdatesMulti: self._updates_of_many,
            Incoming.cancelAccountUpdatesMulti: ends(Incoming.reqAccountUpdatesMulti),
            Incoming.reqAccountSummary: self._summary,
            Incoming.cancelAccountSummary: ends(Incoming.reqAccountSummary),
            Incoming.reqPositions: self._positions,
            Incoming.cancelPositions: self._end_positions,
            Incoming.reqPositionsMulti: self._positions_of_many,
            Incoming.cancelPositionsMulti: ends(Incoming.reqPositionsMulti),
            Incoming.reqPnL: self._pnl,
            Incoming.cancelPnL: ends(Incoming.reqPnL),
            Incoming.reqPnLSingle: self._pnl_of_one,
            Incoming.cancelPnLSingle: ends(Incoming.reqPnLSingle),
        }

    # What changes

    def has_traded(self, account: AccountBook, symbol: str) -> None:
        """A symbol has traded: its position and the account's values are told."""
        for asked in self._of(account):
            match asked.kind:
                case Incoming.reqPositions | Incoming.reqPositionsMulti:
                    self._tell_position(asked, account, symbol)
                case Incoming.reqPnLSingle:
                    instrument = self._market.instrument_of(asked.con_id)
                    if instrument is not None and instrument.symbol == symbol:
                        self._tell(asked)
                case Incoming.reqAccountUpdates:
                    self._tell_portfolio(asked.client, account, [symbol])
                    self._tell_values(asked, account)
                case _:
                    self._tell(asked)

    def time_passes(self) -> None:
        """Values that move with the market are told now and then."""
        now = self._market.now()
        if self._pnl_told_at is None or now - self._pnl_told_at >= _BETWEEN_PNL:
            self._pnl_told_at = now
            for asked in self._asked:
                if asked.kind in (Incoming.reqPnL, Incoming.reqPnLSingle):
                    self._tell(asked)
        if self._told_at is None or now - self._told_at >= _BETWEEN_UPDATES:
            self._told_at = now
            for asked in self._asked:
                if asked.kind is Incoming.reqAccountUpdates:
                    account = self._book.accounts[asked.accounts[0]]
                    self._tell_portfolio(asked.client, account, account.quantities())
                    self._tell_values(asked, account)
                elif asked.kind is Incoming.reqAccountSummary:
                    self._tell(asked)

    def forget(self, client: ConnectedClient) -> None:
        """A client has gone."""
        self._asked = [asked for asked in self._asked if asked.client is not client]

    # Requests

    def _updates(self, client: ConnectedClient, fields: FieldReader) -> None:
        is_wanted, name = fields.flag(), fields.text()
        self._stop(client, Incoming.reqAccountUpdates)
        accounts = self._named(name)
        if not is_wanted:
            return
        if not accounts:
            client.error(
                NO_REQUEST, 321, f"Error validating request.-'cb' : cause - The account code '{name}' is invalid"
            )
            return
        asked = _Asked(client, Incoming.reqAccountUpdates, 0, accounts[:1])
        self._asked.append(asked)
        account = self._book.accounts[accounts[0]]
        self._tell_values(asked, account)
        self._tell_portfolio(client, account, account.quantities())
        client.send(8, 1, self._wall())
        client.send(54, 1, account.name)

    def _updates_of_many(self, client: ConnectedClient, fields: FieldReader) -> None:
        self._begin(client, Incoming.reqAccountUpdatesMulti, fields.integer(), fields.text(), (74, 1))

    def _summary(self, client: ConnectedClient, fields: FieldReader) -> None:
        request_id, group, tags = fields.integer(), fields.text(), fields.text()
        running = [one for one in self._asked if one.client is client and one.kind is Incoming.reqAccountSummary]
        if len(running) >= 2:
            client.error(
                request_id,
                322,
                "Error processing request.-'cW' : cause - Maximum number of account summary requests exceeded",
            )
            return
        name = "" if group == "All" else group
        self._begin(client, Incoming.reqAccountSummary, request_id, name, (64, 1), tags)

    def _positions(self, client: ConnectedClient, fields: FieldReader) -> None:
        self._stop(client, Incoming.reqPositions)
        asked = _Asked(client, Incoming.reqPositions, 0, tuple(self._book.accounts))
        self._asked.append(asked)
        self._tell(asked)
        if "positions_never_end" not in client.spoilt:
            client.send(62, 1)

    def _end_positions(self, client: ConnectedClient, fields: FieldReader) -> None:
        self._stop(client, Incoming.reqPositions)

    def _positions_of_many(self, client: ConnectedClient, fields: FieldReader) -> None:
        self._begin(client, Incoming.reqPositionsMulti, fields.integer(), fields.text(), (72, 1))

    def _pnl(self, client: ConnectedClient, fields: FieldReader) -> None:
        self._begin(client, Incoming.reqPnL, fields.integer(), fields.text(), None)

    def _pnl_of_one(self, client: ConnectedClient, fields: FieldReader) -> None:
        request_id, name = fields.integer(), fields.text()
        fields.skip()
        self._begin(client, Incoming.reqPnLSingle, request_id, name, None, con_id=fields.integer())

    def _begin(
        self,
        client: ConnectedClient,
        kind: Incoming,
        request_id: int,
        name: str,
        end: tuple[int, int] | None,
        tags: str = "",
        con_id: int = 0,
    ) -> None:
        accounts = self._named(name)
        if not accounts:
            client.error(
                request_id, 321, f"Error validating request.-'cb' : cause - The account code '{name}' is invalid"
            )
            return
        asked = _Asked(client, kind, request_id, accounts, tags, con_id)
        self._asked.append(asked)
        self._tell(asked)
        if end is not None:
            client.send(*end, request_id)

    def _end(self, kind: Incoming) -> Handler:
        return lambda client, fields: self._stop(client, kind, fields.integer())

    def _stop(self, client: ConnectedClient, kind: Incoming, request_id: int = 0) -> None:
        self._asked = [
            one
            for one in self._asked
            if not (one.client is client and one.kind is kind and one.request_id == request_id)
        ]

    # Messages

    def _tell(self, asked: _Asked) -> None:
        """All that was asked for, as it is now."""
        for name in asked.accounts:
            account = self._book.accounts[name]
            match asked.kind:
                case Incoming.reqPositions | Incoming.reqPositionsMulti:
                    for symbol in account.quantities():
                        self._tell_position(asked, account, symbol)
                case Incoming.reqPnL:
                    worth = account.worth(self._market.last_price)
                    daily = worth.equity - account.initial_cash
                    asked.client.send(94, asked.request_id, daily, worth.unrealized, worth.realized)
                case Incoming.reqPnLSingle:
                    self._tell_pnl_of_one(asked, account)
                case _:
                    self._tell_values(asked, account)

    def _tell_values(self, asked: _Asked, account: AccountBook) -> None:
        values = account_messages.values_of(account, self._currency, self._market.last_price)
        send = asked.client.send
        match asked.kind:
            case Incoming.reqAccountSummary:
                for tag, text, currency in account_messages.chosen(asked.tags, values, self._currency):
                    send(63, 1, asked.request_id, account.name, tag, text, currency)
            case Incoming.reqAccountUpdatesMulti:
                for tag, text, currency in values:
                    send(73, 1, asked.request_id, account.name, "", tag, text, currency)
            case _:
                for tag, text, currency in values:
                    send(6, 2, tag, text, currency, account.name)

    def _tell_position(self, asked: _Asked, account: AccountBook, symbol: str) -> None:
        instrument = self._market.instrument(symbol)
        if instrument is None:
            return
        quantity, average_cost = _held(account, symbol)
        fields = order_messages.position(account.name, instrument, quantity, average_cost)
        if asked.kind is Incoming.reqPositionsMulti:
            rest = fields[2:]
            asked.client.send(71, 1, asked.request_id, *rest, "")
        else:
            asked.client.send(*fields)

    def _tell_portfolio(self, client: ConnectedClient, account: AccountBook, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            instrument = self._market.instrument(symbol)
            if instrument is not None:
                quantity, average_cost = _held(account, symbol)
                price = self._market.last_price(symbol) or average_cost
                client.send(*account_messages.portfolio_item(account, instrument, quantity, average_cost, price))

    def _tell_pnl_of_one(self, asked: _Asked, account: AccountBook) -> None:
        instrument = self._market.instrument_of(asked.con_id)
        if instrument is None:
            return
        quantity, average_cost = _held(account, instrument.symbol)
        price = self._market.last_price(instrument.symbol) or average_cost
        unrealized, realized = quantity * (price - average_cost), account.realized_of(instrument.symbol)
        asked.client.send(95, asked.request_id, quantity, unrealized + realized, unrealized, realized, quantity * price)

    def _named(self, name: str) -> tuple[str, ...]:
        """The accounts of that name; all where it is empty, none where it is unknown."""
        if not name:
            return tuple(self._book.accounts)
        return (name,) if name in self._book.accounts else ()

    def _of(self, account: AccountBook) -> list[_Asked]:
        return [asked for asked in self._asked if account.name in asked.accounts]

    def _wall(self) -> str:
        return f"{self._market.now().astimezone(self._market.exchange_zone):%H:%M}"


def _held(account: AccountBook, symbol: str) -> tuple[int, Decimal]:
    """Signed shares and their average cost with commissions; 0 where none are held."""
    held = next((one for one in account.paper.positions() if one.symbol == symbol), None)
    return (0, ZERO) if held is None else (held.quantity, held.average_cost)
