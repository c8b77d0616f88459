"""An order as a client wrote it down, and what of it this gateway does not model."""

from dataclasses import dataclass
from decimal import Decimal

from trading.rehearsal_gateway.wire import FieldReader

_COMBINATION = "BAG"


@dataclass(frozen=True, slots=True)
class AskedContract:
    """What a client says of the contract it means; any of it may be empty."""

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    primary_exchange: str
    currency: str
    local_symbol: str


def read_contract(fields: FieldReader) -> AskedContract:
    """The twelve fields by which clients name a contract."""
    con_id, symbol, sec_type = fields.integer(), fields.text(), fields.text()
    fields.skip(4)  # expiry, strike, right, multiplier
    exchange, primary, currency, local = fields.texts(4)
    fields.skip()  # trading class
    return AskedContract(con_id, symbol, sec_type, exchange, primary, currency, local)


@dataclass(frozen=True, slots=True)
class OrderTicket:
    """One order as it came, in the words of TWS. ``not_modelled`` names what it asks for and would not get here."""

    order_id: int
    contract: AskedContract
    action: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    aux_price: Decimal | None
    tif: str
    oca_group: str
    account: str
    open_close: str
    order_ref: str
    transmit: bool
    parent_id: int
    outside_rth: bool
    hidden: bool
    oca_type: int
    trail_stop_price: Decimal | None
    trailing_percent: Decimal | None
    what_if: bool
    model_code: str = ""
    not_modelled: tuple[str, ...] = ()


def read_ticket(fields: FieldReader) -> OrderTicket:
    """The order of a ``placeOrder`` message. Raises ``NotUnderstood``."""
    absent: list[str] = []

    def unless(means_nothing: bool, what: str) -> None:
        if not means_nothing:
            absent.append(what)

    order_id = fields.integer()
    contract = read_contract(fields)
    fields.skip(2)  # secIdType, secId
    action = fields.text()
    quantity = fields.amount() or Decimal(0)
    order_type, limit_price, aux_price = fields.text(), fields.amount(), fields.amount()
    tif, oca_group, account, open_close = fields.texts(4)
    fields.skip()  # origin
    order_ref, transmit, parent_id = fields.text(), fields.flag(), fields.integer()
    unless(not fields.flag(), "blockOrder")
    unless(not fields.flag(), "sweepToFill")
    fields.skip(2)  # displaySize and triggerMethod, which change nothing in a market without a book of orders
    outside_rth, hidden = fields.flag(), fields.flag()
    if contract.sec_type == _COMBINATION:
        absent.append("combinations")
        fields.skip(8 * fields.integer())
        fields.skip(fields.integer())
        fields.skip(2 * fields.integer())
    fields.skip()  # once sharesAllocation
    unless(not fields.amount(), "discretionaryAmt")
    unless(fields.text() == "", "goodAfterTime")
    unless(fields.text() == "", "goodTillDate")
    unless(not any(fields.texts(4)), "allocation to groups and profiles")
    model_code = fields.text()
    fields.skip(3)  # shortSaleSlot, designatedLocation, exemptCode
    oca_type = fields.integer()
    fields.skip(2)  # rule80A, settlingFirm
    unless(not fields.flag(), "allOrNone")
    unless(fields.integer() == 0, "minQty")
    unless(not fields.amount(), "percentOffset")
    fields.skip(2)  # eTradeOnly, firmQuoteOnly
    unless(not fields.amount(), "nbboPriceCap")
    fields.skip(6)  # auctionStrategy, startingPrice, stockRefPrice, delta, stockRangeLower, stockRangeUpper
    fields.skip()  # overridePercentageConstraints
    unless(not fields.amount(), "volatility")
    fields.skip()  # volatilityType
    if fields.text():
        absent.append("delta-neutral orders")
        fields.skip(9)
    else:
        fields.skip()  # deltaNeutralAuxPrice
    fields.skip(2)  # continuousUpdate, referencePriceType
    trail_stop_price, trailing_percent = fields.amount(), fields.amount()
    fields.skip(2)  # scaleInitLevelSize, scaleSubsLevelSize
    if fields.amount():
        absent.append("scale orders")
        fields.skip(7)
    fields.skip(3)  # scaleTable, activeStartTime, activeStopTime
    if fields.text():
        absent.append("hedge orders")
        fields.skip()
    fields.skip(4)  # optOutSmartRouting, clearingAccount, clearingIntent, notHeld
    if fields.flag():
        absent.append("delta-neutral contracts")
        fields.skip(3)
    if fields.text():
        absent.append("algorithms")
        fields.skip(2 * fields.integer())
    fields.skip()  # algoId
    what_if = fields.flag()
    fields.skip(4)  # orderMiscOptions, solicited, randomizeSize, randomizePrice
    if order_type == "PEG BENCH":
        fields.skip(5)
    conditions = fields.integer()
    if conditions:
        absent.append("conditions")
        _skip_conditions(fields, conditions)
    unless(fields.text() == "", "adjusted orders")
    fields.skip(6)  # triggerPrice, lmtPriceOffset, adjustedStopPrice, -StopLimitPrice, -TrailingAmount, -TrailingUnit
    fields.skip(3)  # extOperator, softDollarTier
    unless(not fields.amount(), "cashQty")
    # What follows up to the end (compliance, routing, duration, postToAts, autoCancelParent, manualOrderTime and the sizes of
    # pegged orders) differs from version to version and says nothing about how an order trades here.
    return OrderTicket(
        order_id,
        contract,
        action,
        quantity,
        order_type,
        limit_price,
        aux_price,
        tif,
        oca_group,
        account,
        open_close,
        order_ref,
        transmit,
        parent_id,
        outside_rth,
        hidden,
        oca_type,
        trail_stop_price,
        trailing_percent,
        what_if,
        model_code,
        tuple(absent),
    )


_CONDITION_FIELDS = {1: 6, 3: 3, 4: 3, 5: 4, 6: 5, 7: 5}
"""How many fields a condition has after its kind."""


def _skip_conditions(fields: FieldReader, count: int) -> None:
    for _ in range(count):
        fields.skip(_CONDITION_FIELDS.get(fields.integer(), 0))
    fields.skip(2)  # conditionsIgnoreRth, conditionsCancelOrder
