"""A small account whose facts are quick to write down: one session a day, bars a minute apart from 14:30 UTC."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from storage.store import Store, open_store
from trading.decisions import Action, Decision, EquityPoint
from trading.orders import Execution, Fill, OrderIntent, Side
from trading.ports import LedgerEntries
from trading.sessions import Mode, SessionRecord, SessionState, session_id


@dataclass
class Book:
    """Makes facts of one session of account ``paper`` and strategy ``sma``."""

    day: date = date(2026, 1, 5)
    account: str = "paper"
    executions: int = field(default=0)

    @property
    def session(self) -> str:
        return session_id(self.day, self.account, "sma")

    def at(self, minute: int) -> datetime:
        return datetime(self.day.year, self.day.month, self.day.day, 14, 30, tzinfo=UTC) + timedelta(minutes=minute)

    def record(self, equity: str = "100000", realized: str = "0", settings: str = "{}") -> SessionRecord:
        return SessionRecord(
            session_id=self.session,
            strategy="sma",
            account=self.account,
            session_date=self.day,
            mode=Mode.RECORDED,
            state=SessionState.RUNNING,
            started_at=self.at(0),
            settings=settings,
            policy_fingerprint="f00d",
            starting_equity=Decimal(equity),
            starting_realized_pnl=Decimal(realized),
        )

    def decision(self, minute: int, symbol: str = "SPY", action: Action = Action.HOLD, target: int = 0) -> Decision:
        return Decision(self.session, self.at(minute), symbol, action, target, 0.5, 0.25, None)

    def intent(self, name: str, side: Side, quantity: int, reference: str = "100", minute: int = 0) -> OrderIntent:
        return OrderIntent(
            name,
            self.session,
            self.account,
            self.at(minute),
            "SPY",
            side,
            quantity,
            Decimal(reference),
            self.at(minute),
        )

    def fill(
        self,
        side: Side,
        quantity: int,
        price: str,
        commission: str | None = "1",
        minute: int = 0,
        order: str = "o",
        symbol: str = "SPY",
    ) -> Fill:
        self.executions += 1
        paid = None if commission is None else Decimal(commission)
        execution = Execution(
            f"{self.session}-x{self.executions}", order, symbol, side, quantity, Decimal(price), paid, self.at(minute)
        )
        return Fill(execution, self.session, self.account, "paper")

    def worth(self, minute: int, cash: str, value: str, realized: str = "0", unrealized: str = "0") -> EquityPoint:
        return EquityPoint(
            self.session,
            self.at(minute),
            Decimal(cash),
            Decimal(value),
            Decimal(cash) + Decimal(value),
            Decimal(realized),
            Decimal(unrealized),
            Decimal("0"),
        )

    def bar(self, minute: int) -> LedgerEntries:
        """The facts of a bar on which nothing happened."""
        return LedgerEntries(decisions=[self.decision(minute)], equity=[self.worth(minute, "100000", "0")])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_store(path) as opened:
        yield opened


@pytest.fixture(scope="session")
def new_book() -> type[Book]:
    """For fixtures that outlive a test."""
    return Book


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def next_day() -> Book:
    return Book(day=date(2026, 1, 6))
