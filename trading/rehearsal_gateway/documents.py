"""Orders and executions as JSON documents and back, for the file of the gateway's state."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from trading.brokers.paper_order import ClosingBar, OrderPrices, OrderTerms, PaperOrder
from trading.orders import OrderStatus, OrderType, Side, TimeInForce
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.gateway_order import GatewayOrder, Identity, Stage
from trading.rehearsal_gateway.market_port import Instrument
from trading.rehearsal_gateway.order_ticket import AskedContract, OrderTicket

Document = dict[str, Any]


def order_to(order: GatewayOrder) -> Document:
    """An order as a document."""
    document = _plain(asdict(order))
    # A market may know more of its instruments than orders do.
    document["instrument"] = {one.name: document["instrument"][one.name] for one in fields(Instrument)}
    return document


def order_from(document: Document) -> GatewayOrder:
    """The order of a document."""
    made = dict(document)
    ticket = dict(made["ticket"])
    ticket["contract"] = AskedContract(**ticket["contract"])
    ticket["not_modelled"] = tuple(ticket["not_modelled"])
    for name in ("quantity", "limit_price", "aux_price", "trail_stop_price", "trailing_percent"):
        ticket[name] = _amount(ticket[name])
    instrument = dict(made["instrument"])
    instrument["min_tick"] = Decimal(instrument["min_tick"])
    made["identity"] = Identity(**made["identity"])
    made["instrument"] = Instrument(**instrument)
    made["ticket"] = OrderTicket(**ticket)
    made["stage"] = Stage(made["stage"])
    made["made_at"] = datetime.fromisoformat(made["made_at"])
    made["ended_at"] = _moment(made["ended_at"])
    return GatewayOrder(**made)


def booked_to(order: PaperOrder) -> Document:
    """An order of an account's book as a document."""
    return _plain(asdict(order))


def booked_from(document: Document) -> PaperOrder:
    """The order of an account's book of a document."""
    made = dict(document)
    terms = dict(made["terms"])
    terms["side"] = Side(terms["side"])
    terms["order_type"] = OrderType(terms["order_type"])
    terms["time_in_force"] = TimeInForce(terms["time_in_force"])
    terms["decided_on"] = datetime.fromisoformat(terms["decided_on"])
    closing = made["closing"]
    made["terms"] = OrderTerms(**terms)
    made["prices"] = OrderPrices(**{name: _amount(value) for name, value in made["prices"].items()})
    made["status"] = OrderStatus(made["status"])
    made["status_at"] = datetime.fromisoformat(made["status_at"])
    made["works_after"] = datetime.fromisoformat(made["works_after"])
    made["closing"] = None if closing is None else ClosingBar(Decimal(closing["price"]), closing["available"])
    for name in ("value", "commission", "best_price"):
        made[name] = _amount(made[name])
    return PaperOrder(**made)


def execution_to(execution: GatewayExecution) -> Document:
    """An execution as a document."""
    return _plain(asdict(execution))


def execution_from(document: Document) -> GatewayExecution:
    """The execution of a document."""
    made = dict(document)
    made["identity"] = Identity(**made["identity"])
    made["side"] = Side(made["side"])
    made["executed_at"] = datetime.fromisoformat(made["executed_at"])
    for name in ("price", "average_price", "commission", "realized"):
        made[name] = _amount(made[name])
    return GatewayExecution(**made)


def _plain(values: Mapping[str, Any]) -> Document:
    """Amounts and moments as text, all else as JSON has it."""
    return {name: _plain(value) if isinstance(value, dict) else _text(value) for name, value in values.items()}


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
