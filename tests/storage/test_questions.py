"""Asking the history: answers with their types, and no way to write."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from storage.questions import (
    FindingCount,
    RuleCount,
    UndecidedCount,
    ask,
    discrepancies_of,
    equity_of,
    findings_of,
    order_counts,
    rules_that_spoke,
    sessions_on,
    trades_of,
    undecided_of,
)
from storage.store import Store, open_store
from trading.decisions import Action, DataFinding, Decision, RiskCheck, Verdict
from trading.differences import Discrepancy, Reconciliation
from trading.errors import ConfigurationError, StoreError
from trading.orders import OrderEvent, OrderStatus, Side
from trading.ports import LedgerEntries


@pytest.fixture
def history(path: Path, book: Any) -> Path:
    with open_store(path) as store:
        store.ledger.open_session(book.record())
        store.ledger.commit(book.session, LedgerEntries(fills=[book.fill(Side.BUY, 1, "1.5")]))
    return path


def test_an_answer_has_names_decimals_and_utc_times(history: Path, book: Any) -> None:
    answer = ask(history, "SELECT price, filled_at, symbol FROM fills")
    assert answer.columns == ("price", "filled_at", "symbol")
    assert answer.rows == ((Decimal("1.500000"), book.at(0), "SPY"),)
    assert answer.rows[0][1].isoformat() == "2026-01-05T14:30:00+00:00"


def test_a_wrong_query_is_answered_with_duckdbs_own_words(history: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no answer: Binder Error.*nosuch"):
        ask(history, "SELECT nosuch FROM fills")
    with pytest.raises(ConfigurationError, match="Parser Error"):
        ask(history, "SELEKT 1")


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM fills",
        "DROP TABLE fills",
        "INSERT INTO halts (scope, halted_at, reason) VALUES ('all', now(), '')",
        "COPY fills TO '{folder}/out.csv'",
        "ATTACH '{folder}/out.duckdb' AS other",
        "EXPORT DATABASE '{folder}/out'",
        "SELECT * FROM read_text('/etc/hostname')",
    ],
)
def test_a_question_writes_nothing_and_sees_nothing_else(history: Path, sql: str) -> None:
    with pytest.raises(ConfigurationError, match="no answer"):
        ask(history, sql.format(folder=history.parent))
    assert ask(history, "SELECT count(*) FROM fills").rows == ((1,),)
    assert [file.name for file in history.parent.iterdir()] == [history.name]


@pytest.mark.parametrize("sql", ["", "SELECT 1; DROP TABLE fills"])
def test_a_question_is_one_statement(history: Path, sql: str) -> None:
    with pytest.raises(ConfigurationError, match="One query at a time"):
        ask(history, sql)


def test_a_question_to_no_database_makes_none(path: Path) -> None:
    with pytest.raises(StoreError, match="There is no database"):
        ask(path, "SELECT 1")
    assert not path.exists()


def test_the_report_finds_what_the_session_left(store: Store, book: Any, next_day: Any) -> None:
    def check(minute: int, verdict: Verdict, reason: str) -> RiskCheck:
        return RiskCheck(
            book.session, book.at(minute), "SPY", f"o{minute}", "max_order_shares", verdict, reason, None, None
        )

    for day in (book, next_day):
        store.ledger.open_session(day.record())
    findings = [DataFinding("SPY", book.at(minute), "gap", "warn", f"{minute} bars") for minute in (3, 2)]
    points = [book.worth(minute, "100000", "0") for minute in (1, 2)]
    found = Discrepancy("cash", "USD", "1", "2", "book the difference")
    store.ledger.commit(
        book.session,
        LedgerEntries(
            intents=[book.intent("o", Side.BUY, 2), book.intent("r", Side.BUY, 5)],
            order_events=[OrderEvent("r", book.at(1), OrderStatus.REJECTED, "no")],
            fills=[book.fill(Side.BUY, 2, "10"), book.fill(Side.SELL, 2, "13", minute=7)],
            risk_checks=[
                check(1, Verdict.REFUSED, "first"),
                check(2, Verdict.REFUSED, "second"),
                check(3, Verdict.TRIMMED, "cut"),
            ],
            decisions=[
                Decision(book.session, book.at(minute), "SPY", Action.HOLD, 0, None, 1.0, error, note)
                for minute, error, note in ((1, None, None), (2, "nan", None), (3, "inf", None), (4, None, "unsure"))
            ],
            findings=findings,
            equity=points,
        ),
    )
    store.ledger.commit(
        book.session,
        LedgerEntries(
            reconciliations=[Reconciliation("paper", book.session, book.at(9), "after", (found,), remaining=(found,))]
        ),
    )
    assert sessions_on(store, book.day) == [book.record()]
    [trade] = trades_of(store, book.session)
    assert (trade.direction, trade.quantity, trade.realized_pnl) == ("LONG", 2, Decimal("4"))  # 2 x 3 - 1 - 1
    assert trade.exit_time == book.at(7)
    assert rules_that_spoke(store, book.session) == [
        RuleCount("max_order_shares", "REFUSED", 2, "second"),
        RuleCount("max_order_shares", "TRIMMED", 1, "cut"),
    ]
    assert undecided_of(store, book.session) == [
        UndecidedCount("SPY", "failed", 2, "inf"),
        UndecidedCount("SPY", "held back", 1, "unsure"),
    ]
    assert findings_of(store, book.session) == [FindingCount("SPY", "gap", "warn", 2, book.at(2), "2 bars")]
    assert order_counts(store, book.session) == {"FILLED": 1, "REJECTED": 1}
    assert equity_of(store, book.session) == points
    [seen] = discrepancies_of(store, book.session)
    assert (seen.stage, seen.seen_at, seen.discrepancy) == ("after", book.at(9), found)
    assert trades_of(store, next_day.session) == []
