from datetime import UTC, datetime, timedelta

import pytest

from storage.store import Store, open_store
from trading.errors import LeaseLost, SessionHeld
from trading.lease_keeper import LeaseKeeper
from trading.leases import LEASE_LASTS, Runner

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SESSION = "2026-01-05.paper.sma"
ONE, OTHER = Runner("elsewhere", 1, "s", "one"), Runner("elsewhere", 2, "s", "other")


class SetWall:
    """A person's clock that is set by hand."""

    def __init__(self) -> None:
        self.time = AT

    def now(self) -> datetime:
        return self.time

    def wait_until(self, moment: datetime) -> None:
        self.time = max(self.time, moment)


@pytest.fixture
def stores(tmp_path):  # two runners in one process see the same database
    with open_store(tmp_path / "ledger.duckdb") as one, open_store(tmp_path / "ledger.duckdb") as other:
        yield one, other


def test_without_a_lease_nothing_is_guarded(stores: tuple[Store, Store]) -> None:
    keeper = LeaseKeeper(stores[0].ledger, SetWall())
    keeper.require()
    keeper.give_back()


def test_a_session_that_is_held_is_not_taken(stores: tuple[Store, Store]) -> None:
    wall = SetWall()
    first, second = LeaseKeeper(stores[0].ledger, wall), LeaseKeeper(stores[1].ledger, wall)
    first.take(SESSION, ONE)
    with pytest.raises(SessionHeld):
        second.take(SESSION, OTHER)
    first.require()
    first.give_back()
    second.take(SESSION, OTHER)
    second.require()
    second.give_back()


def test_one_that_was_slow_and_lost_its_lease_may_not_send(stores: tuple[Store, Store]) -> None:
    wall = SetWall()
    first, second = LeaseKeeper(stores[0].ledger, wall), LeaseKeeper(stores[1].ledger, wall)
    first.take(SESSION, ONE)
    wall.time += LEASE_LASTS + timedelta(seconds=1)
    second.take(SESSION, OTHER)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            first.require()
    second.require()
    first.give_back()
    second.require()
    second.give_back()


def test_one_that_was_slow_and_that_nobody_followed_goes_on(stores: tuple[Store, Store]) -> None:
    wall = SetWall()
    keeper = LeaseKeeper(stores[0].ledger, wall)
    keeper.take(SESSION, ONE)
    wall.time += 3 * LEASE_LASTS
    keeper.require()
    keeper.give_back()


def test_a_lost_lease_stays_lost_after_it_was_given_back(stores: tuple[Store, Store]) -> None:
    wall = SetWall()
    first, second = LeaseKeeper(stores[0].ledger, wall), LeaseKeeper(stores[1].ledger, wall)
    first.take(SESSION, ONE)
    wall.time += LEASE_LASTS + timedelta(seconds=1)
    second.take(SESSION, OTHER)
    with pytest.raises(LeaseLost):
        first.require()
    first.give_back()
    with pytest.raises(LeaseLost):
        first.require()
    second.give_back()


def test_a_clock_that_is_set_forward_costs_its_own_runner_nothing(stores: tuple[Store, Store]) -> None:
    wall = SetWall()
    keeper, other = LeaseKeeper(stores[0].ledger, wall), LeaseKeeper(stores[1].ledger, wall)
    keeper.take(SESSION, ONE)
    wall.time += timedelta(hours=1)
    keeper.require()
    with pytest.raises(SessionHeld):
        other.take(SESSION, OTHER)
    keeper.give_back()


def test_a_clock_that_is_set_back_leaves_the_session_to_its_runner(stores: tuple[Store, Store]) -> None:
    wall = SetWall()
    keeper, other = LeaseKeeper(stores[0].ledger, wall), LeaseKeeper(stores[1].ledger, wall)
    keeper.take(SESSION, ONE)
    wall.time -= timedelta(hours=1)
    keeper.require()
    with pytest.raises(SessionHeld):
        other.take(SESSION, OTHER)
    # What was given back is free at once, whatever the clock says.
    keeper.give_back()
    other.take(SESSION, OTHER)
    other.give_back()


def test_one_whose_clock_is_ahead_takes_the_session_over_and_the_first_sends_nothing_more(
    stores: tuple[Store, Store],
) -> None:
    here, ahead = SetWall(), SetWall()
    ahead.time += 2 * LEASE_LASTS
    first, second = LeaseKeeper(stores[0].ledger, here), LeaseKeeper(stores[1].ledger, ahead)
    first.take(SESSION, ONE)
    second.take(SESSION, OTHER)
    here.time += LEASE_LASTS
    with pytest.raises(LeaseLost):
        first.require()
    first.give_back()
    second.require()
    second.give_back()
