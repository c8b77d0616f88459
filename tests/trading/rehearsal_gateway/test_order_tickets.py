"""Orders that ask for more than is modelled: every field is read past, and what was asked for is named."""

from collections.abc import Callable
from typing import Any

import pytest
from ib_insync import (
    ComboLeg,
    Contract,
    DeltaNeutralContract,
    ExecutionCondition,
    MarginCondition,
    Order,
    OrderComboLeg,
    PercentChangeCondition,
    PriceCondition,
    Stock,
    TagValue,
    TimeCondition,
    VolumeCondition,
)

Run = Callable[..., None]
CONDITIONS = [
    PriceCondition(price=1.0, conId=5, exch="SMART"),
    TimeCondition(time="20260105 10:00:00"),
    MarginCondition(percent=5),
    ExecutionCondition(secType="STK", exch="SMART", symbol="SPY"),
    VolumeCondition(volume=7, conId=5, exch="SMART"),
    PercentChangeCondition(changePercent=2.5, conId=5, exch="SMART"),
]

UNMODELLED: list[tuple[dict[str, Any], str]] = [
    ({"blockOrder": True}, "blockOrder"),
    ({"sweepToFill": True}, "sweepToFill"),
    ({"discretionaryAmt": 0.5}, "discretionaryAmt"),
    ({"goodTillDate": "20260106 10:00:00"}, "goodTillDate"),
    ({"faGroup": "all"}, "allocation to groups and profiles"),
    ({"allOrNone": True}, "allOrNone"),
    ({"minQty": 3}, "minQty"),
    ({"percentOffset": 0.1}, "percentOffset"),
    ({"nbboPriceCap": 0.1}, "nbboPriceCap"),
    ({"volatility": 0.3, "volatilityType": 2}, "volatility"),
    ({"deltaNeutralOrderType": "MKT", "deltaNeutralConId": 7}, "delta-neutral orders"),
    ({"scaleInitLevelSize": 5, "scalePriceIncrement": 0.1, "scaleRandomPercent": True}, "scale orders"),
    ({"hedgeType": "D", "hedgeParam": "x"}, "hedge orders"),
    ({"algoStrategy": "Adaptive", "algoParams": [TagValue("adaptivePriority", "Normal")]}, "algorithms"),
    ({"conditions": CONDITIONS}, "conditions"),
    ({"adjustedOrderType": "STP", "triggerPrice": 99.0}, "adjusted orders"),
    ({"cashQty": 500.0}, "cashQty"),
]


@pytest.mark.parametrize("version", [157, 170, 176])
def test_what_is_asked_for_beyond_the_model_is_named_and_nothing_else(at_the_gateway: Run, version: int) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect(1, version)
        for change, what in UNMODELLED:
            told = {"action": "BUY", "totalQuantity": 10, "orderType": "LMT", "lmtPrice": 99, "tif": "DAY", **change}
            placed = client.place(Order(**told))
            await there.heard(client)
            texts = [text for number, code, text in client.errors if (number, code) == (placed.order.orderId, 321)]
            assert texts == [f"Not modelled by the rehearsal gateway: {what}"]
        # Several at once, each with fields of its own in between: all are read past.
        everything = {name: value for change, _ in UNMODELLED for name, value in change.items()}
        contract = Contract(symbol="SPY", secType="STK", exchange="SMART", currency="USD")
        contract.deltaNeutralContract = DeltaNeutralContract(7, 0.5, 1.0)
        client.ib.client.placeOrder(
            900, contract, Order(action="BUY", totalQuantity=1, orderType="PEG BENCH", tif="DAY", **everything)
        )
        await there.heard(client)
        [text] = [text for number, _, text in client.errors if number == 900]
        assert text.removeprefix("Not modelled by the rehearsal gateway: ").split(", ") == [
            *(what for _, what in UNMODELLED[:13]),
            "delta-neutral contracts",
            *(what for _, what in UNMODELLED[13:]),
        ]

    at_the_gateway(trade)


def test_a_combination_is_unknown_and_read_to_its_end(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        legs = [ComboLeg(conId=number, ratio=1, action="BUY", exchange="SMART") for number in (5, 6)]
        combination = Contract(symbol="SPY", secType="BAG", exchange="SMART", currency="USD", comboLegs=legs)
        order = Order(action="BUY", totalQuantity=1, orderType="MKT", tif="DAY", whatIf=True)
        order.orderComboLegs = [OrderComboLeg(1.0)]
        order.smartComboRoutingParams = [TagValue("NonGuaranteed", "1")]
        client.ib.client.placeOrder(900, combination, order)
        await there.heard(client)
        # That it was only asked what would be stands behind everything about legs: a refused question leaves nothing.
        assert client.codes(900) == [200]
        assert there.gateway.book.orders == {}

    at_the_gateway(trade)


def test_an_order_that_breaks_off_ends_the_line_and_not_the_gateway(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        raw = await there.connect_raw()
        await raw.until(9)
        await raw.send(3, 1, "broken")
        assert (await raw.reader.read())[-1:] in (b"", b"\0")
        assert raw.reader.at_eof()
        client = await there.connect(2)
        placed = client.place(Order(action="BUY", totalQuantity=1, orderType="MKT", tif="DAY"))
        await there.heard(client)
        assert placed.orderStatus.status == "PreSubmitted"

    at_the_gateway(trade)


def test_fields_that_change_nothing_are_taken(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        order = Order(
            action="BUY", totalQuantity=10, orderType="LMT", lmtPrice=99, tif="DAY", displaySize=5, hidden=True
        )
        order.openClose, order.outsideRth, order.modelCode, order.triggerMethod = "C", True, "model", 2
        placed = client.ib.placeOrder(Stock("SPY", "SMART", "USD"), order)
        await there.heard(client)
        assert client.codes(order.orderId) == []
        [told] = await (await there.connect(2)).ib.reqAllOpenOrdersAsync()
        assert (told.order.hidden, told.order.outsideRth, told.order.modelCode, told.order.openClose) == (
            True,
            True,
            "model",
            "C",
        )
        assert told.order.permId == placed.order.permId

    at_the_gateway(trade)
