from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.policy_registry import promote, register
from storage.store import open_store
from tasks.composition import assemble
from tasks.policy_composition import as_it_began, assemble_policy, under_its_name
from trading.errors import AlreadyTraded, ConfigurationError, PolicyNotFit, StoppedEarly
from trading.policy_records import BundleFacts, Stage
from trading.sessions import SessionState
from trading.settings import Settings, parse_settings

Says = Callable[..., BundleFacts]
NOW = datetime(2026, 1, 4, tzinfo=UTC)


def settings(tmp_path: Path, **policy: Any) -> Settings:
    return parse_settings(
        {"policy": policy, "feed": {"kind": "synthetic"}, "store": {"path": tmp_path / "l.duckdb"}}, "a test"
    )


def champions(tmp_path: Path, *facts: BundleFacts) -> None:
    """Each of them comes to paper in the place of the one before."""
    with open_store(tmp_path / "l.duckdb") as store:
        over = None
        for one in facts:
            register(store.connection, one, NOW, "ada")
            promote(store.connection, one.fingerprint, Stage.PAPER, NOW, "ada", "a test", None, over, Stage.CANDIDATE)
            over = one.fingerprint


def test_a_trained_policy_gives_its_strategy_a_name_unless_it_has_one(tmp_path: Path, bundle_that_says: Says) -> None:
    made = bundle_that_says(tmp_path / "v7", "BUY")
    by_folder = settings(tmp_path, bundle=str(made.path))
    assert (by_folder.strategy, under_its_name(by_folder, None).strategy) == ("v7", "stubborn")
    assert under_its_name(settings(tmp_path, bundle=made.fingerprint), None).strategy == "stubborn"
    named = by_folder.model_copy(update={"session": by_folder.session.model_copy(update={"strategy": "mine"})})
    assert under_its_name(named, None).strategy == "mine"
    assert under_its_name(settings(tmp_path, name="flat"), None).strategy == "flat"


def test_a_stage_is_looked_up_in_a_database(tmp_path: Path) -> None:
    wanted = settings(tmp_path, name="stubborn", stage="paper")
    with pytest.raises(ConfigurationError, match="looked up in a database"):
        assemble_policy(wanted.policy, wanted, None)
    with (
        open_store(tmp_path / "l.duckdb") as store,
        pytest.raises(ConfigurationError, match=r"No policy stubborn is at stage paper in .*; none is registered"),
    ):
        assemble_policy(wanted.policy, wanted, store)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"name": "stubborn", "stage": "live"}, "No policy stubborn is at stage live"),
        ({"name": "nobody", "stage": "paper"}, "registered are stubborn"),
        ({"bundle": "stubborn@ffffffff"}, "No policy with the fingerprint stubborn@ffffffff"),
        ({"bundle": "no/such/folder"}, "There is no bundle no/such/folder"),
    ],
)
def test_a_policy_that_there_is_not_is_told(
    tmp_path: Path, bundle_that_says: Says, policy: dict[str, Any], said: str
) -> None:
    champions(tmp_path, bundle_that_says(tmp_path / "buyer", "BUY"))
    with pytest.raises(ConfigurationError, match=said), assemble(settings(tmp_path, **policy), date(2026, 1, 5)):
        pass


def test_a_fingerprint_may_be_given_by_its_beginning(tmp_path: Path, bundle_that_says: Says) -> None:
    made = bundle_that_says(tmp_path / "buyer", "BUY")
    champions(tmp_path, made)
    wanted = settings(tmp_path, bundle=made.fingerprint[: len("stubborn@") + 8])
    with open_store(tmp_path / "l.duckdb") as store:
        assert assemble_policy(wanted.policy, wanted, store).fingerprint == made.fingerprint


def stop_after(count: int) -> Callable[[], bool]:
    bars = iter(range(count - 1))
    return lambda: next(bars, None) is None


def test_a_session_that_stopped_goes_on_with_the_policy_it_began_with(tmp_path: Path, bundle_that_says: Says) -> None:
    first, second = (bundle_that_says(tmp_path / word, word) for word in ("BUY", "HOLD"))
    champions(tmp_path, first)
    wanted = settings(tmp_path, name="stubborn", stage="paper")
    with assemble(wanted, date(2026, 1, 5)) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(stop_after(20))
    with open_store(tmp_path / "l.duckdb") as store:
        register(store.connection, second, NOW, "ada")
        promote(
            store.connection,
            second.fingerprint,
            Stage.PAPER,
            NOW,
            "ada",
            "better",
            None,
            first.fingerprint,
            Stage.CANDIDATE,
        )
    with assemble(wanted, date(2026, 1, 5)) as desk:
        summary = desk.agent.run_session()
        [[fingerprint]] = desk.store.connection.rows("SELECT policy_fingerprint FROM sessions")
    assert (summary.bars, fingerprint) == (390, first.fingerprint)
    with assemble(wanted, date(2026, 1, 6)) as desk:
        assert desk.agent.run_session().fills == 0
        said = desk.store.connection.rows("SELECT policy_fingerprint FROM sessions ORDER BY session_date")
    assert said == [(first.fingerprint,), (second.fingerprint,)]


def test_a_session_whose_first_bar_was_interrupted_after_its_orders_goes_on_with_the_policy_that_sent_them(
    tmp_path: Path, bundle_that_says: Says
) -> None:
    first, second = (bundle_that_says(tmp_path / word, word) for word in ("BUY", "SELL"))
    champions(tmp_path, first)
    wanted = settings(tmp_path, name="stubborn", stage="paper")
    with assemble(wanted, date(2026, 1, 5)) as desk:
        agent = desk.agent
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        agent.reconcile("open")
        moment, findings = next(agent.live_bars())
        assessed = agent.assess(agent.generate_action(moment, findings))
        agent.order_router.execute(assessed.cancels, assessed.approved, moment.bar_time + timedelta(minutes=1))
        assert len(agent.get_open_orders()) == 1
    with open_store(tmp_path / "l.duckdb") as store:
        register(store.connection, second, NOW, "ada")
        promote(
            store.connection, second.fingerprint, Stage.PAPER, NOW, "ada", "", None, first.fingerprint, Stage.CANDIDATE
        )
        assert as_it_began(wanted, store, "2026-01-05.synthetic.stubborn").bundle == first.fingerprint


def watched(tmp_path: Path, **choice: Any) -> Settings:
    """Holds, beside a shadow, and stops after five bars."""
    wanted = settings(tmp_path, name="buy_and_hold", shadow=choice)
    with assemble(wanted, date(2026, 1, 5)) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(stop_after(5))
    return wanted


def test_a_session_that_holds_something_goes_on_without_a_shadow_that_is_gone(
    tmp_path: Path, bundle_that_says: Says
) -> None:
    shadow = bundle_that_says(tmp_path / "shadow", "BUY")
    wanted = watched(tmp_path, bundle=str(shadow.path))
    (shadow.path / ".DS_Store").write_bytes(b"")
    with assemble(wanted, date(2026, 1, 5)) as desk:
        summary = desk.agent.run_session()
        [[rows]] = desk.store.connection.rows("SELECT count(*) FROM shadow_decisions")
    assert (summary.state, summary.bars, rows) == (SessionState.COMPLETED, 390, 5)
    # A session that has not begun is refused: somebody wanted it watched.
    with pytest.raises(PolicyNotFit, match="DS_Store"), assemble(wanted, date(2026, 1, 6)):
        pass


def test_a_shadow_that_was_promoted_meanwhile_goes_on_watching(tmp_path: Path, bundle_that_says: Says) -> None:
    shadow = bundle_that_says(tmp_path / "shadow", "BUY")
    with open_store(tmp_path / "l.duckdb") as store:
        register(store.connection, shadow, NOW, "ada")
    wanted = watched(tmp_path, name="stubborn", stage="candidate")
    with open_store(tmp_path / "l.duckdb") as store:
        promote(store.connection, shadow.fingerprint, Stage.PAPER, NOW, "ada", "", None, None, Stage.CANDIDATE)
    with assemble(wanted, date(2026, 1, 5)) as desk:
        desk.agent.run_session()
        [[rows]] = desk.store.connection.rows("SELECT count(*) FROM shadow_decisions")
    assert rows == 390


def test_a_session_does_not_go_on_with_another_policy_that_is_named(tmp_path: Path, bundle_that_says: Says) -> None:
    first, second = (bundle_that_says(tmp_path / word, word) for word in ("BUY", "HOLD"))
    with (
        assemble(settings(tmp_path, bundle=str(first.path)), date(2026, 1, 5)) as desk,
        pytest.raises(StoppedEarly),
    ):
        desk.agent.run_session(stop_after(5))
    with (
        assemble(settings(tmp_path, bundle=str(second.path)), date(2026, 1, 5)) as desk,
        pytest.raises(AlreadyTraded, match=first.fingerprint),
    ):
        desk.agent.run_session()


def test_a_shadow_is_assembled_beside_the_champion(tmp_path: Path, bundle_that_says: Says) -> None:
    shadow = bundle_that_says(tmp_path / "shadow", "BUY")
    wanted = settings(tmp_path, name="flat", shadow={"bundle": str(shadow.path)})
    with assemble(wanted, date(2026, 1, 5)) as desk:
        summary = desk.agent.run_session()
        said = desk.store.connection.rows(
            "SELECT fingerprint, action, count(*) FROM shadow_decisions GROUP BY ALL ORDER BY action"
        )
    assert summary.orders == 0
    # It is a policy of one bar back: on the first bar it has the close of the day before to look at.
    assert said == [(shadow.fingerprint, "BUY", 390)]
