"""Commissions that a broker tells later than its executions: whenever they come, the figures are those of one that told them
at once. And balances, which are written down and compare with nothing."""

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from trading.account_at_rest import reconciler_at_rest
from trading.account_balances import Balance, BalanceTag
from trading.brokers.paper import PaperBroker
from trading.orders import Execution, OrderAmendment, OrderIntent
from trading.policies.buy_and_hold import BuyAndHold
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, OrderReport
from trading.sessions import SessionState

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)
FIFTY: dict[str, Any] = {
    "session": {"timeframe": "30min"},
    "sizing": {"method": "fixed_shares", "shares": 50},
    "broker": {"paper": {"commission_minimum": "5"}},
    "reconciliation": {"every_minutes": 60},
}
NEVER = 10**9


class TellsLater:
    """The paper account that keeps its commissions to itself until the poll, or the question for executions, of a number.

    With a poll it tells its executions again, as one that sends a report of the commission.
    """

    executions_kept_since = None
    connections = 1

    def __init__(self, paper: PaperBroker, poll: int = NEVER, question: int = NEVER) -> None:
        self.paper = paper
        self.source = paper.source
        self._until_poll, self._until_question = poll, question
        self._looks = 0

    def _told(self, reports: Any) -> Any:
        if self._until_poll <= 0 or self._until_question <= 0:
            return tuple(reports)
        return tuple(replace(one, commission=None) if isinstance(one, Execution) else one for one in reports)

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        return self.paper.submit(intent)

    def cancel(self, client_order_id: str) -> None:
        self.paper.cancel(client_order_id)

    def replace(self, amendment: OrderAmendment) -> None:
        self.paper.replace(amendment)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        return self.paper.find_order(client_order_id)

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        self._until_poll -= 1
        again = self.paper.executions(None) if self._until_poll == 0 else ()
        return self._told([*self.paper.poll(), *again])

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        self._until_question -= 1
        return self._told(self.paper.executions(since))

    def account(self) -> BrokerAccount:
        """Its balances are others with every look at them."""
        self._looks += 1
        balances = (
            Balance(BalanceTag.CASH, "EUR", Decimal(250)),
            Balance(BalanceTag.NET_LIQUIDATION, "USD", Decimal(100_000 + self._looks)),
        )
        return replace(self.paper.account(), balances=balances)


def figures(folder: Path) -> list[tuple[Any, ...]]:
    return asked(
        folder,
        "SELECT session_date, realized_pnl, unrealized_pnl, commissions, starting_equity, ending_equity, fills"
        " FROM daily_pnl ORDER BY session_date",
    )


def asked(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "ledger.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def trade(at_desk: Any, folder: Path, day: date, **tells: int) -> None:
    """A day of 50 bought and held."""
    wrap = (lambda paper: TellsLater(paper, **tells)) if tells else (lambda paper: paper)
    with at_desk(day, BuyAndHold(), wrap=wrap, folder=folder, **FIFTY) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED


def repair_by_hand(at_desk: Any, folder: Path) -> None:
    """``openbell reconcile --repair`` at rest, with a broker that tells everything."""
    brokers: list[PaperBroker] = []

    def kept(paper: PaperBroker) -> PaperBroker:
        brokers.append(paper)
        return paper

    with at_desk(MONDAY, wrap=kept, folder=folder, **FIFTY) as desk:
        rest = reconciler_at_rest(desk.agent.settings, "paper", brokers[0], desk.store.ledger, lambda: None)
        assert rest.reconcile("manual", desk.hours.closes_at).remaining == ()


@pytest.fixture(scope="module")
def in_time(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("in-time")


@pytest.mark.parametrize(
    ("monday", "tuesday", "by_hand", "found", "restated"),
    [
        ({"poll": 8}, {}, False, [], 0),
        ({"question": 4}, {}, False, ["scheduled"], 0),
        ({"poll": NEVER}, {"poll": 1}, False, [], 1),
        ({"poll": NEVER}, {"question": 1}, False, ["open"], 1),
        ({"poll": NEVER}, {"poll": NEVER}, True, ["manual"], 1),
    ],
    ids=["by a report", "to the schedule's question", "by the next connection", "at the next open", "to a person"],
)
def test_whenever_a_commission_is_told_the_days_come_to_the_same(
    at_desk: Any,
    tmp_path: Path,
    in_time: Path,
    monday: dict[str, int],
    tuesday: dict[str, int],
    by_hand: bool,
    found: list[str],
    restated: int,
) -> None:
    if not list(in_time.iterdir()):
        for day in (MONDAY, TUESDAY):
            trade(at_desk, in_time, day)
    trade(at_desk, tmp_path, MONDAY, **monday)
    if by_hand:
        repair_by_hand(at_desk, tmp_path)
        assert figures(tmp_path) == figures(in_time)[:1]
    trade(at_desk, tmp_path, TUESDAY, **tuesday)
    assert figures(tmp_path) == figures(in_time)
    assert asked(tmp_path, "SELECT count(*) FROM fills WHERE commission IS NULL") == [(0,)]
    rows = asked(
        tmp_path,
        f"SELECT what, commissions_before, commissions_after FROM restatements WHERE session_date = '{MONDAY}'",
    )
    assert rows == [("commission", Decimal(0), Decimal(5))] * restated
    # It was not known at first.
    equities = [asked(folder, "SELECT bar_time, equity FROM equity ORDER BY ALL") for folder in (tmp_path, in_time)]
    assert equities[0] != equities[1]
    seen = "SELECT DISTINCT stage FROM discrepancies JOIN reconciliations USING (reconciliation_id)"
    assert asked(tmp_path, f"{seen} WHERE kind = 'commission'") == [(stage,) for stage in found]


def test_balances_are_written_with_every_comparison_and_are_no_difference(at_desk: Any, tmp_path: Path) -> None:
    trade(at_desk, tmp_path, MONDAY, poll=2)
    assert asked(tmp_path, "SELECT DISTINCT kind FROM discrepancies") == []
    comparisons = asked(tmp_path, "SELECT DISTINCT session_id, reconciled_at FROM reconciliations ORDER BY ALL")
    for tag, currency in (("cash", "EUR"), ("net_liquidation", "USD")):
        read = f"SELECT session_id, read_at FROM account_balances WHERE tag = '{tag}' AND currency = '{currency}'"
        assert asked(tmp_path, f"{read} ORDER BY ALL") == comparisons
    # A look at the account is enough where nothing but its balances moved: two for each comparison, two for the book's first cash.
    [(newest,)] = asked(tmp_path, "SELECT max(amount) FROM account_balances WHERE tag = 'net_liquidation'")
    assert newest <= 100_000 + 2 * asked(tmp_path, "SELECT count(*) FROM reconciliations")[0][0] + 2
