"""What becomes known after a session was closed restates its day: against numbers by hand, and against a ledger that was told
everything in time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage.store import Store
from trading.orders import INFERRED, Execution, Fill, Side
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries
from trading.sessions import Mode, SessionRecord, SessionState, session_id
from trading.settings import CostBasis

MONDAY = date(2026, 1, 5)
FIGURES = "realized_pnl, unrealized_pnl, total_pnl, commissions, starting_equity, ending_equity, fills"
COUNT = count()


@dataclass
class Account:
    """An account with a book, trading a day after the other as a session does: a bar of equity after what it booked."""

    store: Store
    name: str = "paper"
    basis: CostBasis = CostBasis.FIFO

    def __post_init__(self) -> None:
        self.book = PnLTracker(self.basis)
        self.book.initialize_portfolio_state(Decimal(100_000))
        self.day = MONDAY - timedelta(days=1)
        self.minute = 0

    @property
    def session(self) -> str:
        return session_id(self.day, self.name, "sma")

    def opens(self, number: int = 0) -> datetime:
        return datetime(self.day.year, self.day.month, self.day.day, 14, 30 + number, tzinfo=UTC)

    def open(self) -> None:
        self.day, self.minute = self.day + timedelta(days=1), 0
        self.book.roll_day()
        self.store.ledger.open_session(self._record)

    @property
    def _record(self) -> SessionRecord:
        return SessionRecord(
            self.session,
            "sma",
            self.name,
            self.day,
            Mode.LIVE,
            SessionState.RUNNING,
            self.opens(),
            f'{{"book": {{"cost_basis": "{self.basis}"}}}}',
            "f",
            self.book.starting_equity,
            self.book.starting_realized,
        )

    def fill(
        self, name: str, side: Side, quantity: int, price: str, commission: str | None = "1", minute: int = 0
    ) -> Fill:
        paid = None if commission is None else Decimal(commission)
        at = self.opens(minute) + timedelta(seconds=10)
        execution = Execution(
            f"{self.name}-{name}.0",
            f"order {name}",
            "SPY",
            side,
            quantity,
            Decimal(price),
            paid,
            at,
            f"{self.name}-{name}",
        )
        return Fill(execution, self.session, self.name, "broker")

    def hear(self, *fills: Fill) -> None:
        """Book what came, and commit it without a bar."""
        news = [fill for fill in fills if self.book.update_position(fill)]
        self.store.ledger.commit(self.session, LedgerEntries(fills=news))

    def bar(self, price: str, *fills: Fill) -> None:
        """The same with a bar that closes at ``price``."""
        self.book.mark({"SPY": Decimal(price)})
        news = [fill for fill in fills if self.book.update_position(fill)]
        point = self.book.equity_point(self.session, self.opens(self.minute))
        entries = LedgerEntries(fills=news, equity=[point], marks={"SPY": Decimal(price)})
        self.store.ledger.commit(self.session, entries, point.bar_time)
        self.minute += 1

    def close(self, state: SessionState = SessionState.COMPLETED) -> None:
        self.store.ledger.close_session(self.session, state, self.opens(29), "")

    def figures(self) -> list[tuple[Decimal, ...]]:
        return self.store.connection.rows(
            f"SELECT {FIGURES} FROM daily_pnl WHERE account = ? ORDER BY session_date", [self.name]
        )

    def restated(self, columns: str) -> list[tuple[object, ...]]:
        return self.store.connection.rows(
            f"SELECT {columns} FROM restatements WHERE account = ? ORDER BY number", [self.name]
        )


def money(*words: str) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, words))


def told(fill: Fill, commission: str) -> Fill:
    return replace(fill, execution=replace(fill.execution, commission=Decimal(commission)))


def corrected(fill: Fill, price: str, revision: int = 1) -> Fill:
    it = fill.execution
    return replace(
        fill,
        execution=replace(it, exec_id=f"{it.lineage}.{revision}", revision=revision, price=Decimal(price)),
    )


def test_a_commission_that_comes_after_the_close_restates_the_day(store: Store) -> None:
    account = Account(store)
    account.open()
    bought = account.fill("buy", Side.BUY, 100, "10", None)
    account.bar("10.50", bought)
    account.close()
    assert account.figures() == [(*money("0", "50", "50", "0", "100000", "100050"), 1)]
    assert store.ledger.summary(account.session).notes == (
        "1 fill has no commission yet: it counts 0 until the broker tells it",
    )
    account.hear(told(bought, "1.25"))
    # What was bought is still held: its cost is 1.25 higher, and nothing is realized yet.
    assert account.figures() == [(*money("0", "48.75", "48.75", "1.25", "100000", "100048.75"), 1)]
    assert account.restated(
        "what, exec_id, was_commission, became_commission, commissions_before, commissions_after"
    ) == [("commission", "paper-buy.0", None, *money("1.25", "0", "1.25"))]
    assert account.restated("session_date, was_quantity, became_price, realized_pnl_before, realized_pnl_after") == [
        (MONDAY, 100, *money("10", "0", "0"))
    ]
    assert store.ledger.summary(account.session).notes == (
        "restated after it was closed (commission): realized P&L was 0.00 and is 0.00, commissions were 0.00 and are 1.25",
    )
    # The bars say what was known then.
    assert store.connection.rows("SELECT equity FROM equity") == [money("100050")]
    # Heard again, it is nothing new.
    account.hear(told(bought, "1.25"))
    assert len(account.restated("number")) == 1


def test_what_was_closed_the_next_day_realizes_it_there(store: Store) -> None:
    account = Account(store)
    account.open()
    bought = account.fill("buy", Side.BUY, 100, "10", None)
    account.bar("10.50", bought)
    account.close()
    account.open()
    account.bar("11", account.fill("sell", Side.SELL, 100, "11", "1"))
    account.close()
    account.hear(told(bought, "2"))
    # Monday: 50 - 2. Tuesday: from 10.50 to 11 are 50, less 1; of the 100 that were realized 2 + 1 are commissions.
    assert account.figures() == [
        (*money("0", "48", "48", "2", "100000", "100048"), 1),
        (*money("97", "0", "49", "1", "100048", "100097"), 1),
    ]
    assert account.restated("session_date, fill_session_id = session_id, realized_pnl_before, realized_pnl_after") == [
        (MONDAY, True, *money("0", "0")),
        (MONDAY + timedelta(days=1), False, *money("99", "97")),
    ]


def test_a_session_that_runs_begins_with_what_its_open_comparison_learned_of_the_day_before(store: Store) -> None:
    account = Account(store)
    account.open()
    bought = account.fill("buy", Side.BUY, 100, "10", None)
    account.bar("10", bought)
    account.close()
    account.open()
    account.hear(told(bought, "3"))
    account.bar("10.10")
    account.close()
    # The 3 are Monday's, and not once more Tuesday's.
    assert account.figures() == [
        (*money("0", "-3", "-3", "3", "100000", "99997"), 1),
        (*money("0", "7", "10", "0", "99997", "100007"), 0),
    ]


def test_a_correction_and_a_late_fill_restate_what_was_realized(store: Store) -> None:
    account = Account(store)
    account.open()
    bought, sold = account.fill("buy", Side.BUY, 100, "10"), account.fill("sell", Side.SELL, 60, "11")
    account.bar("11", bought, sold)
    account.close()
    account.hear(corrected(sold, "10.90"), account.fill("more", Side.SELL, 40, "11.20"))
    # Bought for 1,001; sold for 653 and 447.
    assert account.figures() == [(*money("99", "0", "99", "3", "100000", "100099"), 3)]
    # 60 of the 100 for 600.60: 59 less 0.40 + ... = 660 - 1 - 600.60; then 6 less; then 447 - 400.40 more.
    assert account.restated("what, was_price, became_price, realized_pnl_before, realized_pnl_after") == [
        ("correction", *money("11", "10.90", "58.40", "52.40")),
        ("late fill", None, *money("11.20", "52.40", "99")),
    ]


def test_an_inferred_fill_that_gives_way_after_the_close_leaves_what_the_real_one_says(store: Store) -> None:
    account = Account(store)
    account.open()
    inferred = replace(account.fill("inferred", Side.BUY, 100, "10", None), source=INFERRED)
    account.bar("10", inferred)
    account.close()
    real = account.fill("real", Side.BUY, 100, "9.90")
    order = inferred.execution.client_order_id
    account.hear(replace(real, execution=replace(real.execution, client_order_id=order)))
    assert account.figures() == [(*money("0", "9", "9", "1", "100000", "100009"), 1)]
    assert account.restated("what, exec_id, became_quantity") == [
        ("late fill", "paper-real.0", 100),
        ("correction", "paper-real.0", None),
    ]


def test_what_a_session_books_after_its_last_bar_counts_when_it_is_closed(store: Store) -> None:
    account = Account(store)
    account.open()
    account.bar("10.50", account.fill("buy", Side.BUY, 100, "10"))
    # The closing auction, at another price than the last bar's close.
    account.hear(account.fill("auction", Side.SELL, 100, "10.40", None, minute=1))
    account.close()
    assert account.figures() == [(*money("39", "0", "39", "1", "100000", "100039"), 2)]
    assert account.restated("what, exec_id, realized_pnl_before, realized_pnl_after") == [
        ("after the last bar", "", *money("0", "39"))
    ]
    # The next day begins there.
    account.open()
    account.bar("10.40")
    account.close()
    assert account.figures()[1][2:6] == money("0", "0", "100039", "100039")
    assert len(account.restated("number")) == 1


def test_a_session_that_goes_on_after_it_stopped_has_it_in_its_next_bar(store: Store) -> None:
    account = Account(store)
    account.open()
    bought = account.fill("buy", Side.BUY, 100, "10", None)
    account.bar("10", bought)
    account.hear(account.fill("sell", Side.SELL, 50, "10.20"))
    account.close(SessionState.STOPPED)
    assert account.figures()[0][:3] == money("9", "0", "9")
    account.hear(told(bought, "2"))
    assert account.figures() == [(*money("8", "-1", "7", "3", "100000", "100007"), 2)]
    store.ledger.open_session(replace(account._record, last_bar_time=account.opens(0)))
    account.bar("10.20")
    account.close()
    assert account.figures() == [(*money("8", "9", "17", "3", "100000", "100017"), 2)]


def test_an_order_that_fills_days_later_restates_no_day(store: Store) -> None:
    account = Account(store)
    account.open()
    account.bar("10")
    monday = account.session
    account.close()
    account.open()
    account.bar("10")
    filled = replace(account.fill("good till cancelled", Side.BUY, 10, "10", minute=1), session_id=monday)
    account.bar("10", filled)
    account.close()
    assert account.restated("number") == []
    assert [figures[2] for figures in account.figures()] == list(money("0", "-1"))
    # Corrected afterwards it changes the day on which it happened.
    account.hear(corrected(filled, "9"))
    assert [figures[2] for figures in account.figures()] == list(money("0", "9"))


def test_a_session_that_is_begun_anew_starts_from_what_is_known_by_then(store: Store) -> None:
    account = Account(store)
    account.open()
    bought = account.fill("buy", Side.BUY, 100, "10", None)
    account.bar("10", bought)
    account.close()
    account.open()
    account.hear(told(bought, "3"))
    account.close(SessionState.REFUSED)
    account.book.roll_day()
    store.ledger.open_session(account._record)
    account.bar("10")
    account.close()
    assert account.figures()[1][2:6] == money("0", "0", "99997", "99997")


TRADE = st.tuples(st.sampled_from(Side), st.integers(1, 60), st.integers(900, 1_100), st.integers(0, 3), st.booleans())
"""Side, shares, price in cents; how many steps later its commission is known, and whether its price is corrected then."""


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    days=st.lists(st.lists(TRADE, max_size=4), min_size=2, max_size=3),
    basis=st.sampled_from(CostBasis),
    stopped=st.booleans(),
)
@example(
    days=[[(Side.BUY, 10, 1_000, 1, True)], [(Side.SELL, 20, 1_010, 3, True)]],
    basis=CostBasis.AVERAGE,
    stopped=True,
)
def test_days_told_late_come_to_what_they_come_to_when_told_in_time(
    store: Store, days: Sequence[Sequence[tuple[Side, int, int, int, bool]]], basis: CostBasis, stopped: bool
) -> None:
    number = next(COUNT)
    late, timely = (Account(store, f"{kind}-{number}", basis) for kind in ("late", "timely"))
    waiting: list[tuple[int, Fill]] = []
    step = 0

    def due() -> list[Fill]:
        nonlocal waiting
        now, waiting = [one for at, one in waiting if at <= step], [(at, one) for at, one in waiting if at > step]
        return now

    for place, trades in enumerate(days):
        for account in (late, timely):
            account.open()
        late.hear(*due())
        for minute, (side, quantity, cents, after, changes) in enumerate(trades):
            step += 1
            price = Decimal(cents) / 100
            name = f"{place}-{minute}"
            truth = [account.fill(name, side, quantity, str(price), "0.35", minute) for account in (late, timely)]
            if changes:
                truth = [corrected(fill, str(price + Decimal("0.07"))) for fill in truth]
            first = late.fill(name, side, quantity, str(price), None, minute)
            waiting.append((step + after, truth[0] if changes else told(first, "0.35")))
            late.bar(str(price), first, *due())
            timely.bar(str(price), truth[1])
        if not trades:
            late.bar("10", *due())
            timely.bar("10")
        step += 1
        late.hear(*due())
        late.close(SessionState.STOPPED if stopped else SessionState.COMPLETED)
        timely.close()
        step += 1
        late.hear(*due())
    step += 9
    late.hear(*due())
    assert late.figures() == timely.figures()
    # The last row of a day says what the day says.
    told_last = late.restated("session_id, commissions_after")
    paid = dict(store.connection.rows("SELECT session_id, commissions FROM daily_pnl WHERE account = ?", [late.name]))
    assert {name: paid[name] for name, _ in told_last} == dict(told_last)
