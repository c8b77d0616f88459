"""The cash with which the book of an account begins that the ledger does not know yet."""

from decimal import Decimal

from trading.money import ZERO
from trading.orders import Execution
from trading.ports import Broker

_ASKED_AT_MOST = 3


def cash_before_trades(broker: Broker) -> Decimal:
    """The broker's cash as it was before the executions that it tells of. Raises ``BrokerUnavailable``.

    The first comparison takes those in as made elsewhere, each with its money: cash that has them already would count them twice.
    """
    account = broker.account()
    executions = broker.executions(None)
    for _ in range(_ASKED_AT_MOST):
        before, account = account, broker.account()
        if account.cash == before.cash:
            break
        executions = broker.executions(None)
    newest: dict[str, Execution] = {}
    for one in executions:
        known = newest.get(one.lineage)
        if known is None or one.revision >= known.revision:
            newest[one.lineage] = one
    return account.cash + sum(
        (one.side.sign * one.quantity * one.price + (one.commission or ZERO) for one in newest.values()), ZERO
    )
