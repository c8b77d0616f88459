"""Whole sessions over a line to the broker that fails as Hypothesis likes, and what must be true when it works again."""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trading.brokers.paper import PaperBroker
from trading.errors import BrokerUnavailable, OutcomeUnknown
from trading.orders import Execution, OrderAmendment, OrderIntent
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, OrderReport
from trading.sessions import SessionState

MONDAY = date(2026, 1, 5)
BUSY: dict[str, Any] = {
    "session": {"symbols": ["SPY", "QQQ"], "timeframe": "15min"},
    "policy": {"parameters": {"fast": 1, "slow": 2}},
    "orders": {"allow_short": True},
    "broker": {"paper": {"max_volume_fraction": "0.0005"}},
    "feed": {"synthetic": {"gap_fraction": 0.1}},
    "reconciliation": {"every_minutes": 60},
}
FINE, LOST_BEFORE, LOST_AFTER, SILENT, TWICE, LATER, SHUFFLED = range(7)


class FailingLine:
    """The paper broker behind a line that does with each call what the next number of the schedule says."""

    def __init__(self, paper: PaperBroker, schedule: list[int]) -> None:
        self.paper = paper
        self.source = paper.source
        self.executions_kept_since = None
        self.connections = 1
        self.schedule = schedule
        self._told: list[OrderReport | Execution] = []
        self._kept: list[OrderReport | Execution] = []
        self.arrived: list[str] = []

    def _next(self) -> int:
        return self.schedule.pop(0) if self.schedule else FINE

    def repair(self) -> None:
        self.schedule.clear()

    def _handed_over(self, act: Callable[[], Any]) -> Any:
        fault = self._next()
        if fault == SILENT:
            self.connections += 1
            raise BrokerUnavailable("the line is dead")
        if fault == LOST_BEFORE:
            raise OutcomeUnknown("no answer")
        answer = act()
        if fault in (LOST_AFTER, LATER):
            raise OutcomeUnknown("no answer")
        return answer

    def _asked(self, act: Callable[[], Any]) -> Any:
        if self._next() in (SILENT, LOST_BEFORE, LOST_AFTER):
            raise BrokerUnavailable("the line is dead")
        return act()

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        def arrive() -> Acknowledgement:
            # The paper broker knows an id again; not every broker does.
            self.arrived.append(intent.client_order_id)
            return self.paper.submit(intent)

        return self._handed_over(arrive)

    def cancel(self, client_order_id: str) -> None:
        self._handed_over(lambda: self.paper.cancel(client_order_id))

    def replace(self, amendment: OrderAmendment) -> None:
        self._handed_over(lambda: self.paper.replace(amendment))

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        return self._asked(lambda: self.paper.find_order(client_order_id))

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        return self._asked(lambda: self.paper.executions(since))

    def account(self) -> BrokerAccount:
        return self._asked(self.paper.account)

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        fault = self._next()
        if fault == SILENT:
            raise BrokerUnavailable("the line is dead")
        news, self._kept = self._kept + list(self.paper.poll()), []
        if fault == LATER:
            self._kept = news[len(news) // 2 :]
            news = news[: len(news) // 2]
        if fault == SHUFFLED:
            news.reverse()
        if fault == TWICE:
            news = news + self._told[-7:] + news
        self._told += news
        return tuple(news)


def asked(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(query).fetchall()


@settings(settings.get_profile("whole sessions"), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=st.lists(st.sampled_from(range(7)), min_size=5, max_size=160))
@example(schedule=[1, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1])
@example(schedule=[LOST_BEFORE] * 60)
@example(schedule=[LOST_AFTER, SILENT] * 40)
@example(schedule=[LATER, SHUFFLED, TWICE] * 40)
def test_whatever_the_line_does_the_account_and_the_ledger_agree_in_the_end(
    at_desk, tmp_path_factory: pytest.TempPathFactory, schedule: list[int]
) -> None:
    path = tmp_path_factory.mktemp("schedule")
    lines: list[FailingLine] = []

    def line(paper: PaperBroker) -> FailingLine:
        lines.append(FailingLine(paper, []))
        return lines[0]

    with at_desk(MONDAY, wrap=line, folder=path, **BUSY) as desk:
        agent = desk.agent
        # The open is not the question here: a silent broker refuses the session there.
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        agent.reconcile("open")
        lines[0].schedule = list(schedule)
        for moment, findings in agent.live_bars():
            agent.reconcile_if_due(moment.bar_time)
            agent.process_new_bar(moment, findings)
        lines[0].repair()
        agent.end_of_session()
        agent.reconcile("close")
        again = agent.reconcile("close")
        summary = agent.close_session(SessionState.COMPLETED)
        theirs = {
            order: lines[0].paper.find_order(order)
            for (order,) in desk.store.connection.rows("SELECT client_order_id FROM orders")
        }
        account = lines[0].paper.account()
        executions = {one.exec_id: one for one in lines[0].paper.executions(None)}
        booked = {fill.execution.exec_id: fill.execution for fill in desk.store.ledger.fills("paper")}
        cash = agent.pnl_tracker.cash
        held = {symbol: agent.pnl_tracker.quantity(symbol) for symbol in agent.pnl_tracker.held_symbols}

    assert len(set(lines[0].arrived)) == len(lines[0].arrived)
    assert again == []
    assert summary.state is SessionState.COMPLETED
    assert booked == executions
    assert cash == account.cash
    assert held == {position.symbol: position.quantity for position in account.positions}
    for order_id, status, quantity, filled in asked(
        path / "ledger.duckdb", "SELECT client_order_id, status, quantity, filled_quantity FROM orders"
    ):
        order = theirs[order_id]
        assert filled <= quantity
        if order is None:
            assert (status, filled) == ("EXPIRED", 0)
        else:
            assert (status, filled) == (order.status, order.filled)
    unfinished = asked(path / "ledger.duckdb", "SELECT count(*) FROM open_orders")
    assert unfinished == [(0,)]
