"""Positions and cash of the broker against the book's, after everything that explains a difference."""

from decimal import Decimal

from trading.account_views import Difference, LedgerView
from trading.differences import Discrepancy, DiscrepancyKind
from trading.fill_differences import Consequences
from trading.money import ZERO, plainly, round_money
from trading.ports import BrokerAccount
from trading.settings import ReconciliationSettings


def compare_balances(
    ours: LedgerView, theirs: BrokerAccount, after: Consequences, tolerances: ReconciliationSettings
) -> list[Difference]:
    """What stays different once the repairs are done and trades made elsewhere are counted: positions, then cash."""
    held = {position.symbol: position for position in theirs.positions if position.quantity}
    found: list[Difference] = []
    doubted_cash = ZERO
    for symbol in sorted(ours.positions.keys() | held.keys() | after.quantity.keys() | after.doubts.keys()):
        mine = ours.positions.get(symbol)
        booked = mine.quantity if mine is not None else 0
        explained = booked + after.quantity.get(symbol, 0)
        brokers = held[symbol].quantity if symbol in held else 0
        doubt, cash = after.doubts.get(symbol, (0, ZERO))
        if brokers != explained and brokers == explained + doubt:
            doubted_cash += cash  # the broker's balances follow its own word; the doubt itself is told already
            continue
        if brokers != explained:
            found.append(_position(symbol, booked, explained, brokers))
        elif mine is not None and ours.counts_average_cost and symbol not in after.touched_symbols:
            found += _average_price(ours, symbol, mine.average_cost, held[symbol].average_cost, tolerances)
    return found + _cash(ours, theirs, after.cash + doubted_cash, after.is_cash_known, tolerances)


def _position(symbol: str, booked: int, explained: int, brokers: int) -> Difference:
    counted = (
        "" if explained == booked else f" ({explained - booked:+d} by what is proposed and by trades made elsewhere)"
    )
    return Difference(
        Discrepancy(
            DiscrepancyKind.POSITION,
            symbol,
            f"{explained}{counted}",
            str(brokers),
            f"find the executions behind {brokers - explained:+d} {symbol}; until then no new risk in {symbol}",
            symbol,
            locking=True,
        )
    )


def _average_price(
    ours: LedgerView, symbol: str, average: Decimal, brokers: Decimal, tolerances: ReconciliationSettings
) -> list[Difference]:
    if abs(average - brokers) <= tolerances.average_price_tolerance_fraction * abs(brokers):
        return []
    booked = [fill.execution for fill in ours.fills if fill.execution.symbol == symbol]
    if any(execution.commission is None for execution in booked):
        return []  # the broker counts a commission that it has not told
    times = [execution.executed_at for execution in booked]
    late = "" if times == sorted(times) else "; some were found late and count after fills that were executed later"
    return [
        Difference(
            Discrepancy(
                DiscrepancyKind.AVERAGE_PRICE,
                symbol,
                plainly(round_money(average)),
                plainly(round_money(brokers)),
                f"compare the fills' prices and commissions with the broker's statement{late}",
                symbol,
            )
        )
    ]


def _cash(
    ours: LedgerView, theirs: BrokerAccount, change: Decimal, is_known: bool, tolerances: ReconciliationSettings
) -> list[Difference]:
    expected = ours.cash + change
    difference = theirs.cash - expected
    if not is_known or abs(difference) <= tolerances.cash_tolerance:
        return []
    awaited = sum(fill.execution.commission is None for fill in ours.fills)
    hint = f", or the commissions of {awaited} fills that have none yet" if awaited else ""
    counted = "" if not change else f" ({_signed(change)} by what is proposed and by trades made elsewhere)"
    return [
        Difference(
            Discrepancy(
                DiscrepancyKind.CASH,
                ours.account,
                f"{plainly(expected)}{counted}",
                plainly(theirs.cash),
                f"find the fee, interest, dividend or transfer of {_signed(difference)}{hint}",
            )
        )
    ]


def _signed(amount: Decimal) -> str:
    return f"{'+' if amount >= 0 else ''}{plainly(amount)}"
