"""The comparison of ledger and broker: pure, complete, and without opinion about who is right.

Both sides come in as values; out comes a list of differences in one order, each with what would repair it. An empty list
means that they agree. What a repair explains is not told twice: positions and cash are compared as they will be once the
fills that are missing are booked. That the broker did not answer is an exception long before this module.
"""

from trading.account_views import BrokerView, Difference, LedgerView
from trading.balance_differences import compare_balances
from trading.differences import Discrepancy
from trading.fill_differences import Consequences, compare_fills
from trading.order_differences import compare_orders_with_broker
from trading.settings import ReconciliationSettings


def compare(ours: LedgerView, theirs: BrokerView, tolerances: ReconciliationSettings) -> list[Discrepancy]:
    """Everything that differs: fills by time, orders by id, positions by symbol, cash. Changes nothing."""
    return [difference.discrepancy for difference in find_differences(ours, theirs, tolerances)]


def find_differences(ours: LedgerView, theirs: BrokerView, tolerances: ReconciliationSettings) -> list[Difference]:
    """As ``compare``, each with its remedy. Doing all remedies in their order leaves those without one, and no others."""
    after = Consequences(ours)
    return [
        *compare_fills(ours, theirs, after),
        *compare_orders_with_broker(ours, theirs, after),
        *compare_balances(ours, theirs.account, after, tolerances),
    ]
