"""Registering policies, promoting and rolling back; who is champion at any moment, and what is kept of it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.connection import Connection
from storage.door import open_door
from storage.policy_registry import (
    champion,
    policies,
    policy,
    previous_champion,
    promote,
    register,
    rollback,
    stage_changes,
)
from storage.schema import migrate
from storage.snapshot import write_snapshot
from storage.store import Store, open_store
from storage.visit import read_from
from trading.errors import ConfigurationError, NotPromoted, PolicyNotFit
from trading.policy_records import BundleFacts, PolicyRecord, Stage

Facts = Callable[..., BundleFacts]


def at(minute: int) -> datetime:
    return datetime(2026, 1, 5, 12, tzinfo=UTC) + timedelta(minutes=minute)


def registered(store: Store, facts: Facts, *digits: str) -> list[PolicyRecord]:
    """Policies of the name ``trend``, a minute after one another."""
    return [register(store.connection, facts(one), at(place), "ada") for place, one in enumerate(digits)]


def promoted(
    store: Store,
    digits: str,
    to: Stage = Stage.PAPER,
    minute: int = 10,
    over: str | None = None,
    seen_at: Stage | None = None,
) -> None:
    replaced = None if over is None else f"trend@{over.ljust(16, '0')}"
    promote(
        store.connection,
        f"trend@{digits.ljust(16, '0')}",
        to,
        at(minute),
        "ada",
        "better",
        {"promotes": True},
        replaced,
        seen_at or policy(store.connection, f"trend@{digits.ljust(16, '0')}").stage,
    )


def test_a_policy_that_was_moved_while_the_gate_looked_at_it_is_not_promoted(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "a", "b")
    promoted(store, "a")
    promoted(store, "b", over="a", minute=11)
    rollback(store.connection, "trend", Stage.PAPER, at(12), "ada", "it lost money")
    with pytest.raises(NotPromoted, match="is at retired by now, and was at paper when the gate looked at it"):
        promoted(store, "b", Stage.LIVE, minute=13, seen_at=Stage.PAPER)


def test_a_row_of_somebody_elses_stage_is_none_of_ours(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "a", "b")
    store.connection.execute("UPDATE policies SET stage = 'production' WHERE fingerprint LIKE 'trend@b%'")
    assert [one.fingerprint for one in policies(store.connection)] == ["trend@a000000000000000"]


def stages(store: Store) -> dict[str, str]:
    """Stage by the first digit of the fingerprint."""
    return {one.fingerprint.split("@")[1][0]: str(one.stage) for one in policies(store.connection)}


def test_a_registered_bundle_is_a_candidate_and_everything_of_it_is_kept(store: Store, bundle_facts: Facts) -> None:
    facts = bundle_facts("a1", metrics={"sharpe": 0.5, "skill": float("nan")})
    record = register(store.connection, facts, at(0), "ada")
    assert (record.fingerprint, record.stage, record.kind) == ("trend@a100000000000000", Stage.CANDIDATE, "classifier")
    assert record.manifest == facts.manifest
    assert (record.path, record.registered_at) == (Path("/bundles/trend"), at(0))
    assert record.trained_until == datetime(2026, 1, 2, 20, 59, tzinfo=UTC)
    assert record.metrics == {"sharpe": 0.5, "skill": None}  # no number is null in JSON
    [lineage] = store.connection.rows(
        "SELECT lineage->>'$.data.data_fingerprint', lineage->>'$.settings.folds', lineage->>'$.code_version' FROM policies"
    )
    assert lineage == ("d", "5", "1.0")
    [change] = stage_changes(store.connection, "trend")
    assert (change.number, change.from_stage, change.stage, change.changed_by) == (1, None, Stage.CANDIDATE, "ada")


def test_registering_again_changes_nothing_but_where_it_is(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "a")
    promoted(store, "a")
    again = register(store.connection, bundle_facts("a", path=Path("/moved")), at(20), "bob")
    assert (again.stage, again.path, again.registered_at) == (Stage.PAPER, Path("/moved"), at(0))
    assert [change.stage for change in stage_changes(store.connection, "trend")] == [Stage.CANDIDATE, Stage.PAPER]


def test_a_folder_that_was_named_from_somewhere_is_found_from_anywhere(store: Store, bundle_facts: Facts) -> None:
    record = register(store.connection, bundle_facts("a", path=Path("bundles/trend")), at(0), "ada")
    assert record.path == Path.cwd() / "bundles" / "trend"


def test_another_manifest_under_the_same_fingerprint_is_refused(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "a")
    with pytest.raises(PolicyNotFit, match=r"trend@a000000000000000 is registered with another manifest"):
        register(store.connection, bundle_facts("a", version="2", path=Path("/forged")), at(1), "ada")
    assert policy(store.connection, "trend@a0000000").path == Path("/bundles/trend")


def test_a_fingerprint_belongs_to_its_name(bundle_facts: Facts) -> None:
    facts = bundle_facts("a")
    with pytest.raises(ValueError, match="is of another policy than trend"):
        BundleFacts("other@a000000000000000", facts.manifest, facts.path)
    with pytest.raises(ValueError, match="is no fingerprint"):
        BundleFacts("trend@a0", facts.manifest, facts.path)


@pytest.mark.parametrize("asked", ["trend@abcdef0100000000", "trend@abcdef01", "abcdef01"])
def test_a_unique_beginning_finds_it(store: Store, bundle_facts: Facts, asked: str) -> None:
    registered(store, bundle_facts, "abcdef01", "abcdef02")
    assert policy(store.connection, asked).fingerprint == "trend@abcdef0100000000"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("abcdef0", "is no fingerprint"),  # seven digits
        ("trend@abcdef0", "at least 8"),
        ("trend", "is no fingerprint"),
        ("abcdef99", "No policy with the fingerprint abcdef99"),
        ("other@abcdef01", "No policy with the fingerprint"),
        ("abcdef012", "trend@abcdef0123000000, trend@abcdef0120000000|several"),
    ],
)
def test_what_finds_none_or_several_is_told(store: Store, bundle_facts: Facts, asked: str, said: str) -> None:
    registered(store, bundle_facts, "abcdef0120", "abcdef0123")
    with pytest.raises(ConfigurationError, match=said):
        policy(store.connection, asked)


def test_a_promotion_archives_the_champion_of_that_stage_only(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "a", "b", "c")
    promoted(store, "a", Stage.LIVE)
    promoted(store, "b", Stage.PAPER)
    promoted(store, "c", Stage.PAPER, over="b")
    assert stages(store) == {"a": "live", "b": "archived", "c": "paper"}
    last, before = stage_changes(store.connection, "trend")[:-3:-1]
    assert (last.fingerprint[6], last.from_stage, last.gate) == ("c", Stage.CANDIDATE, {"promotes": True})
    assert (before.fingerprint[6], before.from_stage, before.stage) == ("b", Stage.PAPER, Stage.ARCHIVED)
    assert before.reason == "trend@c000000000000000 was promoted to paper"
    found = champion(store.connection, "trend", Stage.PAPER)
    assert found is not None
    assert found.fingerprint == "trend@c000000000000000"


def test_policies_of_other_names_keep_their_champions(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "a")
    register(store.connection, bundle_facts("b", name="other"), at(1), "ada")
    promoted(store, "a")
    promote(store.connection, "other@b000000000000000", Stage.PAPER, at(2), "ada", "", None, None, Stage.CANDIDATE)
    assert stages(store) == {"a": "paper", "b": "paper"}
    assert champion(store.connection, "nobody", Stage.PAPER) is None


def test_a_candidate_is_the_newest_of_its_name(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "b", "c", "a")
    found = champion(store.connection, "trend", Stage.CANDIDATE)
    assert found is not None
    assert found.fingerprint.startswith("trend@a")


def test_coming_to_live_leaves_paper_to_nobody(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "a")
    promoted(store, "a")
    promoted(store, "a", Stage.LIVE)
    assert champion(store.connection, "trend", Stage.PAPER) is None
    # It left paper of itself: a rollback there has nobody to put back.
    assert previous_champion(store.connection, "trend", Stage.PAPER) is None


def test_a_promotion_that_was_compared_with_another_champion_is_refused_and_changes_nothing(
    store: Store, bundle_facts: Facts
) -> None:
    registered(store, bundle_facts, "a", "b", "c")
    promoted(store, "a")
    changes = stage_changes(store.connection, "trend")
    with pytest.raises(NotPromoted, match=r"is trend@a000000000000000 by now, and the gate compared with nobody"):
        promoted(store, "b")
    with pytest.raises(NotPromoted, match="Promote again"):
        promoted(store, "b", over="c")
    assert stage_changes(store.connection, "trend") == changes
    assert stages(store) == {"a": "paper", "b": "candidate", "c": "candidate"}


@pytest.mark.parametrize(
    ("to", "said"),
    [(Stage.LIVE, "is at live already"), (Stage.PAPER, "openbell rollback trend"), (Stage.RETIRED, "not to")],
)
def test_what_is_live_is_promoted_no_further(store: Store, bundle_facts: Facts, to: Stage, said: str) -> None:
    registered(store, bundle_facts, "a")
    promoted(store, "a", Stage.LIVE)
    with pytest.raises(ConfigurationError, match=said):
        promoted(store, "a", to, over="a")


def test_rolling_back_goes_through_the_champions_of_the_past_one_by_one(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "a", "b", "c")
    promoted(store, "a")
    promoted(store, "b", over="a")
    promoted(store, "c", over="b")
    first = rollback(store.connection, "trend", Stage.PAPER, at(20), "bob", "lost too much")
    assert first.before is not None
    assert (first.champion.fingerprint[6], first.before.fingerprint[6]) == ("b", "c")
    assert first.champion.stage is Stage.PAPER
    assert stages(store) == {"a": "archived", "b": "paper", "c": "retired"}
    rollback(store.connection, "trend", Stage.PAPER, at(21), "bob", "this one too")
    assert stages(store) == {"a": "paper", "b": "retired", "c": "retired"}
    with pytest.raises(ConfigurationError, match=r"trend@a000000000000000 is the first champion of trend at paper"):
        rollback(store.connection, "trend", Stage.PAPER, at(22), "bob", "")
    assert stages(store) == {"a": "paper", "b": "retired", "c": "retired"}
    told = [(change.fingerprint[6], change.stage, change.reason) for change in stage_changes(store.connection, "trend")]
    assert told[-2:] == [("b", Stage.RETIRED, "this one too"), ("a", Stage.PAPER, "this one too")]


def test_a_champion_that_was_archived_elsewhere_is_not_put_back_here(store: Store, bundle_facts: Facts) -> None:
    registered(store, bundle_facts, "a", "b", "c")
    promoted(store, "a")
    promoted(store, "b", over="a")  # a was champion at paper,
    promoted(store, "a", Stage.LIVE)
    promoted(store, "c", Stage.LIVE, over="a")  # and at live after that
    with pytest.raises(ConfigurationError, match="nothing to go back to"):
        rollback(store.connection, "trend", Stage.PAPER, at(20), "bob", "")
    rollback(store.connection, "trend", Stage.LIVE, at(20), "bob", "")
    assert stages(store) == {"a": "live", "b": "paper", "c": "retired"}


def test_a_rollback_of_what_is_not_registered_is_told(store: Store, bundle_facts: Facts) -> None:
    with pytest.raises(ConfigurationError, match="No policy trend is registered"):
        rollback(store.connection, "trend", Stage.PAPER, at(0), "bob", "")
    registered(store, bundle_facts, "a")
    with pytest.raises(ConfigurationError, match="There never was a champion of trend at paper"):
        rollback(store.connection, "trend", Stage.PAPER, at(0), "bob", "")


def test_of_many_who_promote_at_once_one_becomes_champion(path: Path, bundle_facts: Facts) -> None:
    with open_store(path) as store:
        digits = "abcdef"
        registered(store, bundle_facts, *digits)
    ready, outcomes = threading.Barrier(len(digits)), list[str]()

    def race(mine: str) -> None:
        connection = Connection(path)
        try:
            ready.wait(30)
            promote(
                connection, f"trend@{mine.ljust(16, '0')}", Stage.PAPER, at(30), mine, "", None, None, Stage.CANDIDATE
            )
            outcomes.append(mine)
        except NotPromoted:
            outcomes.append("refused")
        finally:
            connection.close()

    racers = [threading.Thread(target=race, args=(mine,)) for mine in digits]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert outcomes.count("refused") == 5
    with open_store(path) as store:
        [winner] = [mine for mine in outcomes if mine != "refused"]
        assert stages(store) == {mine: "paper" if mine == winner else "candidate" for mine in digits}
        assert [change.number for change in stage_changes(store.connection, "trend")] == list(range(1, 8))


def test_of_many_names_that_change_at_once_all_change(path: Path, bundle_facts: Facts) -> None:
    names = ("ann", "bob", "cid", "dot")
    with open_store(path) as store:
        for name in names:
            register(store.connection, bundle_facts("a", name=name), at(0), "ada")
    ready = threading.Barrier(len(names))

    def move(name: str) -> None:
        connection = Connection(path)
        try:
            ready.wait(30)
            promote(connection, f"{name}@a000000000000000", Stage.PAPER, at(1), name, "", None, None, Stage.CANDIDATE)
        finally:
            connection.close()

    movers = [threading.Thread(target=move, args=(name,)) for name in names]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join(60)
    with open_store(path) as store:
        assert [record.stage for record in policies(store.connection)] == [Stage.PAPER] * 4
        assert store.connection.rows("SELECT list(number ORDER BY number) FROM policy_stages") == [(list(range(1, 9)),)]


def test_a_row_that_is_not_openbells_is_shown_and_has_no_manifest(path: Path) -> None:
    connection = Connection(path)
    migrate(connection)
    with connection.transaction():
        connection.execute(
            "INSERT INTO policies VALUES ('f', 'mine', 'ppo', 'candidate', NULL, now(), '', '', '{}', '{}', now())"
        )
    [record] = policies(connection)
    assert (record.fingerprint, record.manifest, record.trained_until, record.metrics) == ("f", None, None, {})
    connection.close()


def test_the_registry_is_read_through_a_door_too_and_from_a_copy(
    store: Store, bundle_facts: Facts, tmp_path: Path
) -> None:
    registered(store, bundle_facts, "a", "b")
    promoted(store, "a")

    def look(visited: Store) -> tuple[Any, ...]:
        there = visited.connection
        assert there is not store.connection
        return (
            policies(there, "trend"),
            champion(there, "trend", Stage.PAPER),
            policy(there, "a0000000"),
            stage_changes(there, "trend"),
        )

    with open_door(store) as door:
        assert door.wait_until_open()
        seen: list[tuple[Any, ...]] = []
        looking = threading.Thread(target=lambda: seen.append(look(read_from(store.path, lambda visited: visited))))
        looking.start()
        looking.join(60)
        write_snapshot(store.path, tmp_path / "copy.duckdb")
    with open_store(tmp_path / "copy.duckdb", read_only=True) as copy:
        for connection in (store.connection, copy.connection):
            assert seen == [
                (
                    policies(connection, "trend"),
                    champion(connection, "trend", Stage.PAPER),
                    policy(connection, "a0000000"),
                    stage_changes(connection, "trend"),
                )
            ]
