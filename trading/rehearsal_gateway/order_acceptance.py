"""Whether an order is taken: what it means, whether it may trade so, and what it would tie up."""

from trading.brokers.paper_commission import commission_of
from trading.money import ZERO
from trading.rehearsal_gateway.gateway_book import GatewayBook
from trading.rehearsal_gateway.gateway_settings import ExecutionTimes, GatewaySettings
from trading.rehearsal_gateway.margins import Margins
from trading.rehearsal_gateway.market_port import Instrument, Market
from trading.rehearsal_gateway.order_checks import Refusal, Terms, rejected, terms_of
from trading.rehearsal_gateway.order_messages import time_text
from trading.rehearsal_gateway.order_ticket import OrderTicket


class OrderAcceptance:
    """Judges tickets by the book and the market as they are; changes nothing."""

    def __init__(self, book: GatewayBook, market: Market, settings: GatewaySettings) -> None:
        self._book = book
        self._market = market
        self._settings = settings

    def checked(self, client_id: int, ticket: OrderTicket, instrument: Instrument | None) -> Terms | Refusal:
        """The order in our words, or the first reason why it is none."""
        contract, accounts = ticket.contract, self._book.accounts
        if instrument is None:
            return Refusal(200, "No security definition has been found for the request")
        if not contract.exchange:
            return Refusal(321, "Error validating request.-'bX' : cause - Missing order exchange")
        if contract.exchange != "SMART":
            return Refusal(
                10311,
                f"This order will be directly routed to {contract.exchange}. Direct routed orders may result in higher trade "
                "fees. Restriction is specified in Precautionary Settings of Global Configuration/API.",
            )
        if not ticket.account and len(accounts) > 1:
            return Refusal(435, "You must specify an account.")
        if ticket.account and ticket.account not in accounts:
            return Refusal(321, f"Error validating request.-'bX' : cause - Invalid account code '{ticket.account}'")
        if self._book.others_order(client_id, ticket.order_id) is not None:
            return Refusal(103, "Duplicate order id")
        parent = self._book.find(client_id, ticket.parent_id) if ticket.parent_id else None
        if ticket.parent_id and parent is None:
            return Refusal(135, f"Can't find order with id ={ticket.parent_id}")
        terms = terms_of(ticket, instrument)
        if isinstance(terms, Refusal) or parent is not None:
            return terms
        margins = self.margins(ticket, instrument)
        if margins.margin_after > max(margins.margin_before, margins.equity):
            return rejected(
                "YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH LOAN VALUE "
                f"[{margins.equity:.2f} {self._settings.currency}] MUST EXCEED THE INITIAL MARGIN "
                f"[{margins.margin_after:.2f} {self._settings.currency}]"
            )
        return terms

    def margins(self, ticket: OrderTicket, instrument: Instrument) -> Margins:
        """What the order would make of the margin of its account, filled at the last price."""
        account = self._book.accounts[ticket.account or next(iter(self._book.accounts))]
        price_of = self._market.last_price
        shares = int(ticket.quantity)
        price = price_of(instrument.symbol) or ticket.limit_price or ticket.aux_price or ZERO
        commission = commission_of(self._settings.paper, shares, shares * price)
        change = shares if ticket.action == "BUY" else -shares
        return account.margins_with(
            instrument.symbol,
            change,
            commission,
            lambda one: price_of(one) or (price if one == instrument.symbol else None),
        )

    def instrument_of(self, ticket: OrderTicket) -> Instrument | None:
        """What the order is for, None where there is no such thing."""
        contract = ticket.contract
        found = (
            self._market.instrument_of(contract.con_id) if contract.con_id else self._market.instrument(contract.symbol)
        )
        if found is None or contract.sec_type not in ("", found.sec_type):
            return None
        return found if contract.currency in ("", found.currency) else None

    def waiting(self, ticket: OrderTicket, instrument: Instrument) -> str:
        """What warning 399 says of an order that waits for the open."""
        order = f"{ticket.action} {ticket.quantity:f} {instrument.symbol} {instrument.primary_exchange}"
        now = self._market.now()
        hours = self._market.hours(now)
        if hours is None or now >= hours.closes_at:
            return f"Order Message:\n{order}\nWarning: your order will not be placed at the exchange before the next session"
        opens = time_text(hours.opens_at, ExecutionTimes.ZONED, self._settings.time_zone)
        opens = f"{opens[:4]}-{opens[4:6]}-{opens[6:]}"
        return f"Order Message:\n{order}\nWarning: your order will not be placed at the exchange until {opens}"
