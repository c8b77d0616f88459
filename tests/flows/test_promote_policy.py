"""The flows promote-policy and rollback-policy on a real Prefect server."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.promote_policy import promote_policy
from flows.rollback_policy import rollback_policy
from storage.policy_registry import register
from storage.store import open_store
from tasks.manual_promotion import registered_policies
from trading.policy_records import BundleFacts
from trading.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")

Artifacts = Callable[[State[Any]], dict[str, str]]
Facts = Callable[..., BundleFacts]


@pytest.fixture
def settings(tmp_path: Path, bundle_facts: Facts) -> Settings:
    """A registry with two candidates, and no bars."""
    settings = Settings.model_validate({"store": {"path": tmp_path / "ledger.duckdb"}})
    with open_store(settings.store.path) as store:
        for place, digits in enumerate("ab"):
            at = datetime(2026, 1, 3, tzinfo=UTC) + timedelta(minutes=place)
            register(store.connection, bundle_facts(digits), at, "ada")
    return settings


def stages(settings: Settings) -> dict[str, str]:
    return {one.fingerprint[6]: str(one.stage) for one in registered_policies(settings)}


def test_a_run_promotes_and_another_rolls_back(settings: Settings, artifacts: Artifacts) -> None:
    for digit in "ab":
        promoted = promote_policy(
            f"trend@{digit}0000000", force=True, reason="shown to a class", settings=settings, return_state=True
        )
        assert promoted.is_completed(), promoted.message
    page = artifacts(promoted)["promote-policy"]
    assert "trend@b000000000000000 is at paper now in the place of trend@a000000000000000, against the gate." in page
    assert "Nothing was replayed: There are no stored 1min bars of SPY" in page
    assert stages(settings) == {"a": "archived", "b": "paper"}

    back = rollback_policy("trend", "paper", "it trades too much", settings, return_state=True)
    assert back.is_completed(), back.message
    assert "trend@a000000000000000 is champion at paper again" in artifacts(back)["rollback-policy"]
    assert stages(settings) == {"a": "paper", "b": "retired"}


def test_a_run_that_may_not_promote_fails_with_the_sentence(settings: Settings) -> None:
    refused = promote_policy("trend", settings=settings, return_state=True)
    assert refused.is_failed()
    assert "no stored 1min bars of SPY after 2026-01-02 20:59 UTC" in str(refused.message)
    nobody = promote_policy(settings=settings, return_state=True)
    assert nobody.is_failed()
    assert "No policy was named" in str(nobody.message)
    nothing_before = rollback_policy("trend", settings=settings, return_state=True)
    assert nothing_before.is_failed()
    assert "There never was a champion of trend at paper" in str(nothing_before.message)
    assert stages(settings) == {"a": "candidate", "b": "candidate"}


def test_while_a_session_runs_a_run_fails_and_says_when_to_come_back(running: Settings) -> None:
    state = promote_policy("trend", force=True, reason="now", settings=running, return_state=True)
    assert state.is_failed()
    assert "Run it again when the session is over" in str(state.message)
