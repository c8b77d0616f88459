"""The comparison of ledger and broker: pure, complete, and without opinion about who is right.

Both sides come in as values; out comes a list of differences in one order, each with what would repair it. An empty list
means that they agree. What a repair explains is not told twice: positions and cash are compared as they will be once the
fills that are missing are booked. That the broker did not answer is an exception long before this module.
"""

from collections.abc import Mapping
from decimal import Decimal

from trading.account_views import BrokerView, Difference, LedgerView
from trading.balance_differences import compare_balances
from trading.differences import Discrepancy, DiscrepancyKind
from trading.fill_differences import Consequences, compare_fills
from trading.order_differences import compare_orders_with_broker
from trading.ports import BrokerAccount
from trading.settings import ReconciliationSettings

CASH_TOLERANCE = Decimal("0.01")
"""Cash may differ by a cent: brokers round their statements."""


def compare(ours: LedgerView, theirs: BrokerView, tolerances: ReconciliationSettings) -> list[Discrepancy]:
    """Everything that differs: fills by time, orders by id, positions by symbol, cash. Changes nothing."""
    return [difference.discrepancy for difference in find_differences(ours, theirs, tolerances)]


def find_differences(ours: LedgerView, theirs: BrokerView, tolerances: ReconciliationSettings) -> list[Difference]:
    """As ``compare``, each with its remedy. Doing all remedies in their order leaves those without one, and no others."""
    after = Consequences(ours)
    return [
        *compare_fills(ours, theirs, after),
        *compare_orders_with_broker(ours, theirs, after),
        *compare_balances(ours, theirs, after, tolerances),
    ]


def compare_books(cash: Decimal, quantities: Mapping[str, int], account: BrokerAccount) -> list[Discrepancy]:
    """Differences in positions and cash. ``quantities`` are the ledger's signed shares per symbol."""
    theirs = {position.symbol: position.quantity for position in account.positions}
    found = []
    for symbol in sorted(quantities.keys() | theirs.keys()):
        ours, brokers = quantities.get(symbol, 0), theirs.get(symbol, 0)
        if ours != brokers:
            found.append(
                Discrepancy(
                    DiscrepancyKind.POSITION,
                    symbol,
                    str(ours),
                    str(brokers),
                    f"find the executions behind {brokers - ours:+d} {symbol} and book them",
                )
            )
    if abs(cash - account.cash) > CASH_TOLERANCE:
        found.append(
            Discrepancy(
                DiscrepancyKind.CASH,
                account.account,
                str(cash),
                str(account.cash),
                f"find the fee, dividend or transfer of {account.cash - cash:+} and book it",
            )
        )
    return found
