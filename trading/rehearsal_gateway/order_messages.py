"""What clients are told of orders and executions, field by field. Each function gives one message's fields."""

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from trading.orders import Side
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.gateway_order import GatewayOrder, Standing
from trading.rehearsal_gateway.gateway_settings import ExecutionTimes
from trading.rehearsal_gateway.margins import Margins
from trading.rehearsal_gateway.market_port import Instrument
from trading.rehearsal_gateway.order_ticket import OrderTicket
from trading.rehearsal_gateway.wire import UNSET_DOUBLE, UNSET_INTEGER, Field

Fields = tuple[Field, ...]

NO_REQUEST = -1


_NO_AUCTION_PRICES: Fields = (
    "",
    "",
    "",
    "",
    "",
)  # startingPrice, stockRefPrice, delta, stockRangeLower, stockRangeUpper
_NO_VOLATILITY: Fields = ("", 0, "", "")  # volatility, its type, deltaNeutralOrderType, deltaNeutralAuxPrice
_NO_LEGS_AND_SCALES: Fields = (0, 0, 0, UNSET_INTEGER, UNSET_INTEGER, "")
_NO_PEGGED_SIZES: Fields = ("", "", "", "", "")  # minTradeQty to midOffsetAtHalf


def _contract(instrument: Instrument, right: str = "", exchange: str = "SMART") -> Fields:
    """A contract from its id to its class; ``right`` is told of shares as orders do it."""
    symbol = instrument.symbol
    return (
        instrument.con_id,
        symbol,
        instrument.sec_type,
        "",
        0,
        right,
        "",
        exchange,
        instrument.currency,
        symbol,
        instrument.trading_class,
    )


def order_status(order: GatewayOrder, standing: Standing, parent_order_id: int, last_price: Decimal) -> Fields:
    """``orderStatus``."""
    who = order.identity
    return (
        3,
        who.order_id,
        standing.status,
        standing.filled,
        standing.remaining,
        _price(standing.average_price),
        who.perm_id,
        parent_order_id,
        last_price,
        who.client_id,
        standing.why_held,
        0,
    )


def open_order(
    order: GatewayOrder,
    standing: Standing,
    parent_order_id: int,
    version: int,
    margins: Margins | None = None,
    warning: str = "",
) -> Fields:
    """``openOrder``, with the commission once there is one; ``margins`` answer a what-if."""
    who, ticket = order.identity, order.ticket
    fields: list[Field] = [5, who.order_id, *_contract(order.instrument, "?"), *_asked(order, standing.quantity)]
    fields += [who.client_id, who.perm_id, ticket.outside_rth, ticket.hidden, 0, "", ""]
    fields += _allocation(ticket)
    fields += ["", 0, "", -1, 0]  # settlingFirm, shortSaleSlot, designatedLocation, exemptCode, auctionStrategy
    fields += _NO_AUCTION_PRICES
    fields += [UNSET_INTEGER, False, False, False, UNSET_INTEGER]  # displaySize to minQty
    fields += [ticket.oca_type, False, False, "", parent_order_id, 0]  # to triggerMethod
    fields += _NO_VOLATILITY
    fields += [False, 0, ticket.trail_stop_price, ticket.trailing_percent, "", "", ""]
    fields += _NO_LEGS_AND_SCALES
    fields += ["", False, "", "IB", False, False, ""]  # hedgeType to algoStrategy
    fields += [False, ticket.what_if, standing.status]
    fields += _state(standing, margins, warning)
    fields += [False, False, 0]  # randomizeSize, randomizePrice, conditions
    fields += ["None", "", ticket.trail_stop_price, "", "", "", "", 0]  # adjusted orders
    fields += ["", "", "", "", False, False, False, False]  # softDollarTier to usePriceMgmtAlgo
    if version >= 159:
        fields.append(UNSET_INTEGER)  # duration
    if version >= 160:
        fields.append(UNSET_INTEGER)  # postToAts
    if version >= 162:
        fields.append(False)  # autoCancelParent
    if version >= 170:
        fields += _NO_PEGGED_SIZES
    return tuple(fields)


def completed_order(order: GatewayOrder, standing: Standing, completed_at: str, version: int) -> Fields:
    """``completedOrder``: without orderId, clientId and total quantity, as TWS tells them."""
    ticket = order.ticket
    fields: list[Field] = [101, *_contract(order.instrument, "?"), *_asked(order, 0)]
    fields += [order.identity.perm_id, ticket.outside_rth, ticket.hidden, 0, ""]
    fields += _allocation(ticket)
    fields += ["", 0, "", -1]  # settlingFirm, shortSaleSlot, designatedLocation, exemptCode
    fields += _NO_AUCTION_PRICES
    fields += [UNSET_INTEGER, False, False, UNSET_INTEGER, ticket.oca_type, 0]  # displaySize to triggerMethod
    fields += _NO_VOLATILITY
    fields += [False, 0, ticket.trail_stop_price, ticket.trailing_percent, ""]
    fields += _NO_LEGS_AND_SCALES
    fields += ["", "", "IB", False, False, ""]  # hedgeType to algoStrategy
    fields += [False, standing.status, False, False, 0]  # solicited, status, randomizing, conditions
    fields += [ticket.trail_stop_price, "", "", False, False, "", standing.filled]  # to filledQuantity
    fields += [0, False, "", False, False, order.parent]  # refFuturesConId to parentPermId
    fields += [completed_at, _completed_status(order, standing)]
    if version >= 170:
        fields += _NO_PEGGED_SIZES
    return tuple(fields)


def _completed_status(order: GatewayOrder, standing: Standing) -> str:
    if standing.filled and not standing.remaining:
        return f"Filled Size: {standing.filled}"
    return order.detail or "Cancelled by Trader"


def execution_details(execution: GatewayExecution, instrument: Instrument, request_id: int, time_text: str) -> Fields:
    """``execDetails``; ``request_id`` -1 where nobody asked."""
    one = execution
    return (
        11,
        request_id,
        one.identity.order_id,
        *_contract(instrument),
        one.exec_id,
        time_text,
        one.account,
        instrument.primary_exchange,
        "BOT" if one.side is Side.BUY else "SLD",
        one.quantity,
        one.price,
        one.identity.perm_id,
        one.identity.client_id,
        0,
        one.cumulative,
        _price(one.average_price),
        one.order_ref,
        "",
        "",
        "",
        2,
    )


def commission_report(execution: GatewayExecution, currency: str) -> Fields:
    """``commissionReport``: the realized P&L is unset where nothing was closed."""
    realized = UNSET_DOUBLE if execution.realized is None else execution.realized
    return (59, 1, execution.exec_id, execution.commission, currency, realized, UNSET_DOUBLE, "")


def position(account: str, instrument: Instrument, quantity: int, average_cost: Decimal) -> Fields:
    """``position``: its contract carries the primary exchange where orders want SMART."""
    return (61, 3, account, *_contract(instrument, exchange=instrument.primary_exchange), quantity, average_cost)


def time_text(at: datetime, times: ExecutionTimes, zone: str) -> str:
    """A moment as executions tell it."""
    if times is ExecutionTimes.UTC:
        return f"{at.astimezone(UTC):%Y%m%d-%H:%M:%S}"
    local = f"{at.astimezone(ZoneInfo(zone)):%Y%m%d %H:%M:%S}"
    return local.replace(" ", "  ") if times is ExecutionTimes.UNZONED else f"{local} {zone}"


def _asked(order: GatewayOrder, quantity: int) -> list[Field]:
    """From action to orderRef."""
    ticket = order.ticket
    return [
        ticket.action,
        quantity,
        ticket.order_type,
        ticket.limit_price or 0,
        ticket.aux_price or 0,
        ticket.tif or "DAY",
        ticket.oca_group,
        order.account,
        ticket.open_close,
        0,
        ticket.order_ref,
    ]


def _allocation(ticket: OrderTicket) -> Fields:
    """faGroup, faMethod, faPercentage, faProfile, modelCode, goodTillDate, rule80A and percentOffset."""
    return ("", "", "", "", ticket.model_code, "", "", "")


def _state(standing: Standing, margins: Margins | None, warning: str) -> list[Field]:
    if margins is None:
        is_known = standing.commission is not None
        commission: Field = standing.commission if is_known else UNSET_DOUBLE
        return [*(UNSET_DOUBLE,) * 9, commission, UNSET_DOUBLE, UNSET_DOUBLE, "USD" if is_known else "", warning]
    return [*margins.in_order(), margins.commission, UNSET_DOUBLE, UNSET_DOUBLE, "USD", warning]


def _price(price: Decimal) -> Field:
    return round(price, 8)
