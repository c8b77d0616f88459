"""Reconciliation with real stores and the real paper account, made to differ for real: rows lost, files edited, orders
placed behind the ledger's back. The session that made them is an ordinary one."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.store import open_store
from tasks.composition import assemble
from tasks.rest_composition import assemble_reconciliation
from trading.account_at_rest import reconciler_at_rest
from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.differences import Discrepancy, DiscrepancyKind, Reconciliation
from trading.errors import BrokerUnavailable, ConfigurationError, StoreError
from trading.operator_requests import OperatorRequest, RequestKind
from trading.orders import (
    Execution,
    OrderEvent,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from trading.ports import BrokerAccount, BrokerOrder, LedgerEntries
from trading.reconciler import Reconciler
from trading.reconciliation_answer import answer_reconcile_request
from trading.settings import Settings, parse_settings

KIND = DiscrepancyKind
DAY = datetime(2026, 1, 5, tzinfo=UTC)
NOW = datetime(2026, 1, 5, 21, tzinfo=UTC)
TODAY = NOW + timedelta(days=2)
ACCOUNT = "synthetic"
OF_THE_WALL = {"superseded_at", "claimed_at"}


@dataclass(frozen=True)
class Place:
    """A ledger and an account file of one session, and ways to look at them and to break them."""

    folder: Path

    @property
    def settings(self) -> Settings:
        return parse_settings(
            {
                "session": {"timeframe": "30min", "symbols": ["AAA", "BBB"]},
                "policy": {"parameters": {"fast": 2, "slow": 4}},
                "feed": {"kind": "synthetic"},
                "orders": {"settle_seconds": 0},
                "store": {"path": str(self.folder / "ledger.duckdb")},
            },
            "a test",
        )

    def ledger(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run one statement on the closed ledger."""
        with duckdb.connect(str(self.folder / "ledger.duckdb")) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql, list(parameters)).fetchall()

    def account(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run one statement on the account's file."""
        with contextlib.closing(sqlite3.connect(self.folder / f"ledger.{ACCOUNT}.sqlite")) as connection, connection:
            return connection.execute(sql, parameters).fetchall()

    def lose_fills(self, *exec_ids: str) -> None:
        """The ledger as if it had never heard of these executions; their orders still work in it."""
        for exec_id in exec_ids:
            [(order_id,)] = self.ledger("DELETE FROM fills WHERE exec_id = ? RETURNING client_order_id", exec_id)
            self.ledger(
                "UPDATE orders SET status = 'ACCEPTED', filled_quantity ="
                " (SELECT coalesce(sum(quantity), 0) FROM fills WHERE fills.client_order_id = orders.client_order_id)"
                " WHERE client_order_id = ?",
                order_id,
            )

    def fills(self) -> list[tuple[Any, ...]]:
        """The fills that count, without when they were booked."""
        return self.ledger("SELECT * EXCLUDE (booking) FROM fills ORDER BY exec_id")

    def facts(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything that repairs write, without what the wall clock says and without the record of comparisons."""
        tables = ("orders", "order_events", "fills", "superseded_fills", "position_snapshots")
        found = {}
        with duckdb.connect(str(self.folder / "ledger.duckdb"), read_only=True) as connection:
            for table in (*tables, "external_orders", "external_fills", "instrument_locks"):
                cursor = connection.execute(f"SELECT * FROM {table}")
                kept = [place for place, it in enumerate(cursor.description) if it[0] not in OF_THE_WALL]
                found[table] = sorted((tuple(row[place] for place in kept) for row in cursor.fetchall()), key=repr)
        return found

    @contextlib.contextmanager
    def reconciler(self, broker: type[PaperBroker] = PaperBroker, writing: bool = True) -> Iterator[Reconciler]:
        """A reconciler as by hand, over a paper broker of this kind."""
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(open_store(self.settings.store.path, read_only=not writing))
            file = PaperFile(self.folder / f"ledger.{ACCOUNT}.sqlite", ACCOUNT, read_only=True)
            stack.callback(file.close)
            paper = broker(ACCOUNT, self.settings.broker.paper, NOW, file)
            yield reconciler_at_rest(self.settings, ACCOUNT, paper, store.ledger, lambda: None)

    def reconcile(
        self, broker: type[PaperBroker] = PaperBroker, claim: Sequence[str] = (), at: datetime = NOW
    ) -> Reconciliation:
        with self.reconciler(broker) as reconciler:
            return reconciler.reconcile("manual", at, claim)

    def compare(self, broker: type[PaperBroker] = PaperBroker) -> Reconciliation:
        with self.reconciler(broker, writing=False) as reconciler:
            return reconciler.compare("manual", NOW)

    @contextlib.contextmanager
    def at_the_broker(self) -> Iterator[PaperBroker]:
        """The account as someone else trades it."""
        file = PaperFile(self.folder / f"ledger.{ACCOUNT}.sqlite", ACCOUNT)
        try:
            yield PaperBroker(ACCOUNT, self.settings.broker.paper, DAY, file)
        finally:
            file.close()


@pytest.fixture(scope="module")
def traded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traded")
    with assemble(Place(folder).settings, None) as desk:
        desk.agent.run_session()
    # As a copy of the folder would take it: no log beside the file.
    with contextlib.closing(sqlite3.connect(folder / f"ledger.{ACCOUNT}.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


@pytest.fixture
def place(traded_once: Path, tmp_path: Path) -> Place:
    shutil.copytree(traded_once, tmp_path / "place")
    return Place(tmp_path / "place")


def kinds(done: Sequence[Discrepancy]) -> list[DiscrepancyKind]:
    return [one.kind for one in done]


def intent(order_id: str, side: Side = Side.BUY, quantity: int = 10, symbol: str = "AAA", **terms: Any) -> OrderIntent:
    at = NOW - timedelta(hours=1)
    return OrderIntent(order_id, "s", ACCOUNT, at, symbol, side, quantity, Decimal(100), at, **terms)


def a_limit_far_below(order_id: str) -> OrderIntent:
    """A purchase that nothing fills and that no close ends."""
    terms = {"order_type": OrderType.LIMIT, "limit_price": Decimal(1), "time_in_force": TimeInForce.GTC}
    return intent(order_id, **terms)


def next_bar(symbol: str = "AAA") -> BarSlice:
    at = NOW + timedelta(days=1)
    price = Decimal(100)
    return BarSlice(at, {symbol: Bar(symbol, at, price, price, price, price, 1_000)})


def write(place: Place, *intents: OrderIntent, status: OrderStatus) -> None:
    """These intents in the ledger, as far as ``status``."""
    with open_store(place.settings.store.path) as store:
        events = [OrderEvent(one.client_order_id, one.created_at, status) for one in intents]
        store.ledger.commit("s", LedgerEntries(intents=list(intents), order_events=events))


class OnlyToday(PaperBroker):
    """A broker that keeps no executions of the days before, as real ones forget them overnight."""

    @property
    def executions_kept_since(self) -> datetime:  # type: ignore[override]
        return TODAY

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        return tuple(one for one in super().executions(since) if one.executed_at >= TODAY)


class Silent(PaperBroker):
    """A broker that tells its account and then says no more."""

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        del since
        raise BrokerUnavailable("The line is dead.")


def test_after_an_undisturbed_session_nothing_differs(place: Place) -> None:
    assert place.compare().discrepancies == ()
    done = place.reconcile()
    assert (done.discrepancies, done.repairs, done.remaining) == ((), (), ())
    assert place.ledger("SELECT stage, discrepancies FROM reconciliations ORDER BY reconciliation_id DESC LIMIT 1") == [
        ("manual", 0)
    ]


def test_lost_fills_come_back_as_they_were(place: Place) -> None:
    before = place.fills()
    lost = [row[0] for row in before[2:6]]
    place.lose_fills(*lost)
    done = place.reconcile()
    assert kinds(done.discrepancies) == [KIND.MISSING_FILL] * 4
    assert done.remaining == ()
    assert place.fills() == before
    assert place.ledger("SELECT count(*) FROM open_orders") == [(0,)]
    assert place.compare().discrepancies == ()


def test_positions_are_restated_where_fills_came_back(place: Place) -> None:
    held = place.ledger("SELECT account, symbol, quantity FROM positions ORDER BY symbol")
    [(exec_id, symbol)] = place.ledger("SELECT exec_id, symbol FROM fills ORDER BY booking DESC LIMIT 1")
    place.lose_fills(exec_id)
    place.ledger(
        "DELETE FROM position_snapshots WHERE symbol = ? AND booking = (SELECT max(booking) FROM position_snapshots WHERE symbol = ?)",
        symbol,
        symbol,
    )
    assert place.ledger("SELECT account, symbol, quantity FROM positions ORDER BY symbol") != held
    place.reconcile()
    assert place.ledger("SELECT account, symbol, quantity FROM positions ORDER BY symbol") == held


def test_a_comparison_that_repairs_nothing_writes_nothing(place: Place) -> None:
    place.lose_fills(place.fills()[0][0])
    before = {file.name: file.read_bytes() for file in place.folder.iterdir()}
    found = place.compare()
    assert kinds(found.discrepancies) == [KIND.MISSING_FILL]
    assert found.remaining == found.discrepancies
    assert {file.name: file.read_bytes() for file in place.folder.iterdir()} == before


def test_repairs_are_written_with_their_comparison(place: Place) -> None:
    exec_id = place.fills()[0][0]
    place.lose_fills(exec_id)
    place.reconcile()
    newest = "(SELECT max(reconciliation_id) FROM reconciliations)"
    [found] = place.ledger(f"SELECT kind, subject, remains FROM discrepancies WHERE reconciliation_id = {newest}")
    assert found == ("missing_fill", exec_id, False)
    [(kind, subject, done)] = place.ledger(
        f"SELECT kind, subject, done FROM repairs WHERE reconciliation_id = {newest}"
    )
    assert (kind, subject) == ("missing_fill", exec_id)
    assert done.startswith("booked ")


def test_a_price_that_the_ledger_has_wrong_is_corrected_and_the_first_is_kept(place: Place) -> None:
    before = place.fills()
    prices = place.ledger("SELECT lineage, price FROM fills ORDER BY lineage")
    place.ledger("UPDATE fills SET price = price + 1 WHERE exec_id = ?", before[0][0])
    done = place.reconcile()
    assert kinds(done.discrepancies) == [KIND.CHANGED_FILL]
    assert [row[0] for row in place.ledger("SELECT exec_id FROM superseded_fills")] == [before[0][0]]
    assert place.ledger("SELECT lineage, price FROM fills ORDER BY lineage") == prices
    assert place.compare().discrepancies == ()


def test_a_commission_that_was_not_known_is_booked(place: Place) -> None:
    before = place.fills()
    place.ledger("UPDATE fills SET commission = NULL WHERE exec_id = ?", before[0][0])
    assert kinds(place.reconcile().discrepancies) == [KIND.COMMISSION]
    assert place.fills() == before


def test_an_execution_that_vanishes_at_the_broker_locks_its_symbol_until_it_is_back(place: Place) -> None:
    [gone] = place.account("SELECT * FROM executions ORDER BY sequence LIMIT 1")
    place.account("DELETE FROM executions WHERE sequence = ?", gone[0])
    before = place.fills()
    done = place.reconcile()
    assert kinds(done.remaining) == [KIND.UNCONFIRMED_FILL]
    assert place.fills() == before
    [(symbol, lifted)] = place.ledger("SELECT symbol, lifted_at FROM instrument_locks")
    assert (symbol, lifted) == (done.remaining[0].symbol, None)
    place.account(f"INSERT INTO executions VALUES ({', '.join('?' * len(gone))})", *gone)
    assert place.reconcile(at=NOW + timedelta(minutes=1)).discrepancies == ()
    assert place.ledger("SELECT lifted_at FROM instrument_locks") == [(NOW + timedelta(minutes=1),)]


def test_a_lock_that_was_lifted_stands_again_also_in_the_same_moment(place: Place) -> None:
    [gone] = place.account("SELECT * FROM executions ORDER BY sequence LIMIT 1")
    for _ in range(2):
        place.account("DELETE FROM executions WHERE sequence = ?", gone[0])
        place.reconcile()
        with place.reconciler() as reconciler:
            assert len(reconciler.locks()) == 1
        place.account(f"INSERT INTO executions VALUES ({', '.join('?' * len(gone))})", *gone)
        place.reconcile()
        with place.reconciler() as reconciler:
            assert reconciler.locks() == []


def test_a_position_that_stays_unexplained_keeps_its_one_lock(place: Place) -> None:
    place.account("DELETE FROM executions WHERE sequence = (SELECT min(sequence) FROM executions)")
    place.reconcile()
    place.reconcile(at=NOW + timedelta(minutes=1))
    assert place.ledger("SELECT locked_at FROM instrument_locks") == [(NOW,)]


def test_an_order_that_never_arrived_ends(place: Place) -> None:
    write(place, intent("lost"), status=OrderStatus.SUBMITTED)
    done = place.reconcile()
    assert kinds(done.discrepancies) == [KIND.ORDER_NEVER_ARRIVED]
    assert place.ledger("SELECT status FROM orders WHERE client_order_id = 'lost'") == [("EXPIRED",)]
    steps = place.ledger("SELECT session_id, status, detail FROM order_events WHERE client_order_id = 'lost'")
    assert steps[-1] == ("s", "EXPIRED", "never reached the broker")
    assert place.compare().discrepancies == ()


@pytest.mark.parametrize(("state", "left"), [("RUNNING", True), ("STOPPED", True), ("COMPLETED", False)])
def test_an_order_of_a_bar_that_was_interrupted_is_left_to_it(place: Place, state: str, left: bool) -> None:
    [(session_id,)] = place.ledger("UPDATE sessions SET state = ? RETURNING session_id", state)
    again = replace(intent("again"), session_id=session_id, bar_time=NOW)
    write(place, again, status=OrderStatus.SUBMITTED)
    assert kinds(place.reconcile().discrepancies) == ([] if left else [KIND.ORDER_NEVER_ARRIVED])
    status = "SUBMITTED" if left else "EXPIRED"
    assert place.ledger("SELECT status FROM orders WHERE client_order_id = 'again'") == [(status,)]


def test_an_order_that_the_broker_ended_while_nobody_looked_ends(place: Place) -> None:
    with place.at_the_broker() as broker:
        broker.submit(a_limit_far_below("a"))
        broker.cancel("a")
    write(place, a_limit_far_below("a"), status=OrderStatus.ACCEPTED)
    assert kinds(place.reconcile().discrepancies) == [KIND.ORDER_GONE]
    assert place.ledger("SELECT status FROM orders WHERE client_order_id = 'a'") == [("CANCELLED",)]
    assert place.compare().discrepancies == ()


def test_an_order_that_filled_while_nobody_looked_is_booked_and_ends(place: Place) -> None:
    with place.at_the_broker() as broker:
        broker.submit(intent("a"))
        broker.see(next_bar())
    write(place, intent("a"), status=OrderStatus.UNKNOWN)
    done = place.reconcile()
    assert kinds(done.discrepancies) == [KIND.MISSING_FILL]
    assert place.ledger("SELECT status, filled_quantity FROM orders WHERE client_order_id = 'a'") == [("FILLED", 10)]
    assert place.ledger("SELECT session_id FROM fills WHERE client_order_id = 'a'") == [("s",)]
    [newest, *_] = place.ledger(
        "SELECT status, detail FROM order_events WHERE client_order_id = 'a' ORDER BY rowid DESC"
    )
    assert newest == ("FILLED", "found at the broker")
    assert place.compare().discrepancies == ()


def test_an_order_that_works_at_the_broker_after_all_is_taken_up_again_once(place: Place) -> None:
    with place.at_the_broker() as broker:
        broker.submit(a_limit_far_below("a"))
    write(place, a_limit_far_below("a"), status=OrderStatus.EXPIRED)
    assert kinds(place.reconcile().discrepancies) == [KIND.ORDER_REOPENED]
    assert place.ledger("SELECT client_order_id FROM open_orders") == [("a",)]
    assert place.reconcile().discrepancies == ()
    with place.at_the_broker() as broker:
        broker.cancel("a")
    assert kinds(place.reconcile().discrepancies) == [KIND.ORDER_GONE]
    assert place.ledger("SELECT count(*) FROM open_orders") == [(0,)]


def test_an_order_made_elsewhere_is_recorded_and_followed(place: Place) -> None:
    with place.at_the_broker() as broker:
        broker.submit(a_limit_far_below("of another system"))
    assert kinds(place.reconcile().discrepancies) == [KIND.EXTERNAL_ORDER]
    assert place.reconcile().discrepancies == ()
    with place.at_the_broker() as broker:
        broker.cancel("of another system")
    assert kinds(place.reconcile().discrepancies) == [KIND.EXTERNAL_ORDER]
    assert place.ledger("SELECT symbol, quantity, status FROM external_orders") == [("AAA", 10, "GONE")]
    assert place.reconcile().discrepancies == ()
    assert place.ledger("SELECT count(*) FROM orders WHERE client_order_id = 'of another system'") == [(0,)]


def trade_elsewhere(place: Place, side: Side = Side.BUY) -> None:
    with place.at_the_broker() as broker:
        broker.submit(intent("of another system", side))
        broker.see(next_bar())


def test_a_trade_made_elsewhere_explains_and_is_no_part_of_the_book(place: Place) -> None:
    before = place.fills()
    trade_elsewhere(place)
    assert kinds(place.reconcile().discrepancies) == [KIND.EXTERNAL_FILL]
    assert place.fills() == before
    assert place.ledger("SELECT count(*) FROM instrument_locks") == [(0,)]
    assert place.reconcile().discrepancies == ()


@pytest.mark.parametrize("recorded_before", [True, False])
def test_a_claimed_trade_belongs_to_the_book(place: Place, recorded_before: bool) -> None:
    trade_elsewhere(place)
    if recorded_before:
        place.reconcile()
    [(held,)] = place.ledger(
        "SELECT sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END) FROM fills WHERE symbol = 'AAA'"
    )
    done = place.reconcile(claim=["AAA"])
    assert done.repairs[-1].done.startswith("claimed: booked BUY 10 AAA at 100.01")
    assert place.ledger("SELECT source, quantity FROM fills WHERE source = 'claimed'") == [("claimed", 10)]
    assert place.ledger("SELECT count(*) FROM external_fills WHERE claimed_at IS NULL") == [(0,)]
    [(quantity,)] = place.ledger("SELECT quantity FROM positions WHERE symbol = 'AAA'")
    assert quantity == held + 10
    again = place.reconcile(claim=["AAA"])
    assert (again.discrepancies, again.repairs) == ((), ())


def test_other_symbols_are_not_claimed(place: Place) -> None:
    trade_elsewhere(place)
    assert place.reconcile(claim=["BBB"]).repairs[-1].done.startswith("recorded BUY 10 AAA")
    assert place.ledger("SELECT count(*) FROM fills WHERE source = 'claimed'") == [(0,)]


def test_a_ledger_restored_from_before_takes_the_trades_since_as_made_elsewhere(place: Place) -> None:
    place.ledger("DELETE FROM orders WHERE symbol = 'BBB'")
    place.ledger("DELETE FROM fills WHERE symbol = 'BBB'")
    done = place.reconcile()
    assert set(kinds(done.discrepancies)) == {KIND.EXTERNAL_FILL}
    assert done.remaining == ()
    claimed = place.reconcile(claim=["BBB"])
    assert len(claimed.repairs) == len(done.repairs)
    assert place.compare().discrepancies == ()


def test_a_fill_that_only_its_orders_total_shows_is_inferred_and_gives_way_to_the_real_one(place: Place) -> None:
    before = place.fills()
    with place.at_the_broker() as broker:
        broker.submit(intent("a"))
        broker.see(next_bar())
    write(place, intent("a"), status=OrderStatus.ACCEPTED)
    done = place.reconcile(OnlyToday)
    # The commission of one is within the tolerance of cash.
    assert kinds(done.discrepancies) == [KIND.UNEXPLAINED_FILL]
    assert place.ledger("SELECT source, quantity, price, commission FROM fills WHERE client_order_id = 'a'") == [
        ("inferred", 10, Decimal("100.010000"), None)
    ]
    assert place.reconcile(OnlyToday).discrepancies == ()
    # The broker tells all after all.
    assert kinds(place.reconcile().discrepancies) == [KIND.MISSING_FILL]
    assert place.ledger("SELECT source, quantity, commission FROM fills WHERE client_order_id = 'a'") == [
        ("paper", 10, Decimal("1.000000"))
    ]
    assert len(place.fills()) == len(before) + 1
    assert place.compare().discrepancies == ()


def test_an_order_that_is_over_is_looked_up_when_a_position_is_not_explained(place: Place) -> None:
    """Its last fill came while its cancel was confirmed; the next day the broker keeps no execution of it."""
    [(order_id, exec_id)] = place.ledger("SELECT client_order_id, exec_id FROM fills ORDER BY booking DESC LIMIT 1")
    place.lose_fills(exec_id)
    place.ledger("UPDATE orders SET status = 'CANCELLED' WHERE client_order_id = ?", order_id)
    done = place.reconcile(OnlyToday)
    assert kinds(done.discrepancies) == [KIND.UNEXPLAINED_FILL]
    assert done.remaining == ()
    assert place.ledger("SELECT source FROM fills WHERE client_order_id = ?", order_id) == [("inferred",)]


def test_a_position_that_nothing_explains_is_locked_and_others_go_on(place: Place) -> None:
    [(order_id, exec_id, symbol)] = place.ledger(
        "SELECT client_order_id, exec_id, symbol FROM fills ORDER BY booking DESC LIMIT 1"
    )
    place.lose_fills(exec_id)
    place.ledger("DELETE FROM orders WHERE client_order_id = ?", order_id)
    done = place.reconcile(OnlyToday)
    assert KIND.POSITION in kinds(done.remaining)
    with place.reconciler() as reconciler:
        assert [lock.symbol for lock in reconciler.locks()] == [symbol]


def test_a_broker_that_does_not_answer_changes_nothing(place: Place) -> None:
    place.lose_fills(place.fills()[0][0])
    before, comparisons = place.facts(), place.ledger("SELECT count(*) FROM reconciliations")
    with pytest.raises(BrokerUnavailable, match="The line is dead"):
        place.reconcile(Silent)
    assert place.facts() == before
    assert place.ledger("SELECT count(*) FROM reconciliations") == comparisons


def test_a_trade_between_two_answers_is_no_unexplained_position(place: Place) -> None:
    with place.at_the_broker() as broker:
        broker.submit(intent("a"))
        write(place, intent("a"), status=OrderStatus.ACCEPTED)
        waiting = iter([next_bar()])

        class Busy(PaperBroker):
            def executions(self, since: datetime | None) -> tuple[Execution, ...]:
                told = broker.executions(since)
                for bar in waiting:
                    broker.see(bar)
                return told

            def account(self) -> BrokerAccount:
                return broker.account()

            def find_order(self, client_order_id: str) -> BrokerOrder | None:
                return broker.find_order(client_order_id)

        done = place.reconcile(Busy)
    assert kinds(done.discrepancies) == [KIND.MISSING_FILL]
    assert done.remaining == ()


def test_a_book_that_is_not_what_its_fills_make_it_is_told(place: Place) -> None:
    with place.reconciler() as reconciler:
        reconciler._tracker.cash += 5
        done = reconciler.reconcile("close", NOW)
    book = [one for one in done.remaining if one.kind is KIND.BOOK]
    assert [(one.subject, Decimal(one.ours) - Decimal(one.brokers)) for one in book] == [("cash", Decimal(5))]


def test_a_store_that_cannot_be_written_leaves_nothing_behind(place: Place) -> None:
    place.lose_fills(place.fills()[0][0])
    before = place.facts()
    with place.reconciler(writing=False) as reconciler, pytest.raises(StoreError):
        reconciler.reconcile("manual", NOW)
    assert place.facts() == before


def test_an_account_that_the_ledger_does_not_have_is_a_matter_of_the_options(place: Place) -> None:
    for account in ("nobody", ""):
        with (
            pytest.raises(ConfigurationError, match="--account"),
            assemble_reconciliation(place.settings, account or "x", False),
        ):
            pass


# What a session answers to an operator


def ask(**arguments: object) -> OperatorRequest:
    return OperatorRequest("r", RequestKind.RECONCILE, arguments, "someone", NOW)


def test_a_session_answers_a_comparison_in_plain_values(place: Place) -> None:
    exec_id = place.fills()[0][0]
    place.lose_fills(exec_id)
    before = place.facts()
    with place.reconciler() as reconciler:
        answer = answer_reconcile_request(ask(repair=False), reconciler, NOW)
    assert [(one["kind"], one["subject"], one["remains"]) for one in answer["discrepancies"]] == [
        ("missing_fill", exec_id, True)
    ]
    assert answer["remaining"] == answer["discrepancies"]
    assert place.facts() == before


def test_a_session_repairs_and_claims_on_request(place: Place) -> None:
    place.lose_fills(place.fills()[0][0])
    trade_elsewhere(place)
    with place.reconciler() as reconciler:
        answer = answer_reconcile_request(ask(account=ACCOUNT, repair=True, claim=["AAA"]), reconciler, NOW)
    assert answer["remaining"] == []
    assert len(answer["repairs"]) == 3
    assert place.compare().discrepancies == ()


def test_a_session_of_another_account_says_so(place: Place) -> None:
    with place.reconciler() as reconciler:
        answer = answer_reconcile_request(ask(account="paper"), reconciler, NOW)
    assert answer == {"error": "other account", "message": "The session that runs trades account synthetic, not paper."}


def test_a_session_whose_broker_is_silent_says_so(place: Place) -> None:
    with place.reconciler(Silent) as reconciler:
        answer = answer_reconcile_request(ask(repair=True), reconciler, NOW)
    assert answer == {"error": "broker unavailable", "message": "The line is dead."}


# Whatever has happened to both sides


def _lose(place: Place, fill: str) -> None:
    with contextlib.suppress(ValueError):  # lost already
        place.lose_fills(fill)


def _ledger_row(column: str, value: str) -> Callable[[Place, str], None]:
    return lambda place, fill: _ignore(place.ledger(f"UPDATE fills SET {column} = {value} WHERE exec_id = ?", fill))


def _broker_row(column: str, value: str) -> Callable[[Place, str], None]:
    return lambda place, fill: _ignore(
        place.account(f"UPDATE executions SET {column} = {value} WHERE exec_id = ?", fill)
    )


def _ledger_order(value: str) -> Callable[[Place, str], None]:
    return lambda place, fill: _ignore(
        place.ledger(
            f"UPDATE orders SET status = '{value}' WHERE client_order_id ="
            " (SELECT client_order_id FROM fills WHERE exec_id = ?)",
            fill,
        )
    )


def _vanish(place: Place, fill: str) -> None:
    place.account("DELETE FROM executions WHERE exec_id = ?", fill)


def _elsewhere(place: Place, fill: str) -> None:
    """The same trade once more, by somebody else."""
    columns = "client_order_id, symbol, side, quantity, price, commission, executed_at"
    place.account(
        f"INSERT OR IGNORE INTO executions (exec_id, {columns}) SELECT 'x' || exec_id, {columns.replace('client_order_id', repr(''))}"
        " FROM executions WHERE exec_id = ?",
        fill,
    )


def _unsent(place: Place, fill: str) -> None:
    write(place, intent(f"unsent {fill}"), status=OrderStatus.UNKNOWN)


def _ignore(rows: object) -> None:
    del rows


HAPPENINGS: dict[str, Callable[[Place, str], None]] = {
    "the ledger loses a fill": _lose,
    "the ledger has another price": _ledger_row("price", "price + 0.5"),
    "the ledger has another quantity": _ledger_row("quantity", "quantity + 1"),
    "the ledger lacks a commission": _ledger_row("commission", "NULL"),
    "the ledger has another commission": _ledger_row("commission", "7"),
    "the ledger's order works again": _ledger_order("ACCEPTED"),
    "the ledger's order expired": _ledger_order("EXPIRED"),
    "the broker changes a price": _broker_row("price", "'99.5'"),
    "the broker changes a quantity": _broker_row("quantity", "quantity + 3"),
    "the broker loses an execution": _vanish,
    "somebody else trades": _elsewhere,
    "an order is never sent": _unsent,
}


@settings(settings.get_profile("whole sessions"))
@given(data=st.data())
def test_a_second_reconciliation_changes_nothing(
    traded_once: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("random") / "place"
    shutil.copytree(traded_once, folder)
    try:
        place = Place(folder)
        exec_ids = [row[0] for row in place.fills()]
        steps = st.lists(st.tuples(st.sampled_from(sorted(HAPPENINGS)), st.sampled_from(exec_ids)), max_size=6)
        for happening, fill in data.draw(steps):
            HAPPENINGS[happening](place, fill)
        foreseen = place.compare()
        first = place.reconcile()
        assert first.discrepancies == foreseen.discrepancies
        assert not any(one.repairable for one in first.remaining)
        once = place.facts()
        second = place.reconcile()
        assert second.repairs == ()
        assert {(one.kind, one.subject) for one in second.discrepancies} == {
            (one.kind, one.subject) for one in first.remaining
        }
        assert place.facts() == once
    finally:
        shutil.rmtree(folder)
