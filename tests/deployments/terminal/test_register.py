"""``openbell register``, and sessions with policies that were registered: by folder, fingerprint and stage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.options import policy_asked
from storage.store import open_store
from trading.policy_records import BundleFacts

Command = Callable[..., Any]
Says = Callable[..., BundleFacts]


@pytest.fixture
def buyer(here: Path, bundle_that_says: Says) -> BundleFacts:
    return bundle_that_says(here / "bundles" / "buyer", "BUY")


def test_a_bundle_becomes_a_candidate_once(openbell: Command, here: Path, buyer: BundleFacts) -> None:
    for _ in range(2):
        answer = openbell("register", "bundles/buyer", "--json").answer
        assert answer == {
            "policy": buyer.fingerprint,
            "name": "stubborn",
            "stage": "candidate",
            "path": str(here / "bundles" / "buyer"),
            "db": "openbell.duckdb",
        }
    assert len(openbell("policies", "--json").answer["policies"]) == 1


def test_what_a_session_would_not_trade_is_not_registered(openbell: Command, here: Path, buyer: BundleFacts) -> None:
    weights = buyer.path / "actor.npz"
    weights.write_bytes(weights.read_bytes()[:-1])
    outcome = openbell("register", "bundles/buyer")
    assert outcome.code == ExitCode.REFUSED
    assert "actor.npz" in outcome.err
    assert not (here / "openbell.duckdb").exists()


@pytest.mark.parametrize(
    ("name", "said"), [("flat", "which is a built-in policy"), ("other", "is registered as candidate")]
)
def test_a_built_in_name_is_taken(openbell: Command, here: Path, bundle_that_says: Says, name: str, said: str) -> None:
    bundle_that_says(here / "made", "BUY", name=name)
    outcome = openbell("register", "./made")
    assert said in outcome.out + outcome.err
    assert outcome.code == (ExitCode.WRONG_USAGE if name == "flat" else ExitCode.DONE)


def test_there_has_to_be_a_bundle(openbell: Command, here: Path) -> None:
    assert openbell("register", "nowhere").code == ExitCode.WRONG_USAGE
    (here / "empty").mkdir()
    assert openbell("register", "empty").code == ExitCode.REFUSED


def test_bars_of_no_exchange_are_not_registered(openbell: Command, here: Path, buyer: BundleFacts) -> None:
    manifest = buyer.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"XNYS"', '"NOPE"'))
    outcome = openbell("register", "bundles/buyer")
    assert outcome.code == ExitCode.REFUSED
    assert "no exchange calendar 'NOPE'" in outcome.err
    assert not (here / "openbell.duckdb").exists()


@pytest.mark.usefixtures("buyer")
def test_a_database_that_is_held_takes_no_policy(openbell: Command, openbell_process: Command, here: Path) -> None:
    with open_store(here / "openbell.duckdb"):
        outcome = openbell_process("register", "bundles/buyer")
    assert outcome.code == ExitCode.REFUSED
    assert "is not registered" in outcome.err
    assert openbell("policies", "--json").answer["policies"] == []


@pytest.mark.parametrize(
    ("policy", "stage", "meant"),
    [
        ("stubborn", None, {"policy.bundle": "./stubborn"}),
        ("stubborn", "paper", {"policy.name": "stubborn", "policy.stage": "paper"}),
        ("flat", None, {"policy.name": "flat"}),
        ("./flat", None, {"policy.bundle": "./flat"}),
        ("a@0123abcd", None, {"policy.bundle": "a@0123abcd"}),
    ],
)
def test_a_folder_hides_no_name(here: Path, policy: str, stage: str | None, meant: dict[str, str]) -> None:
    for name in ("stubborn", "flat"):
        (here / name).mkdir()
    asked = policy_asked(policy, stage, None)
    assert {key: value for key, value in asked.items() if value is not None} == meant


@pytest.mark.usefixtures("buyer")
def test_a_session_trades_a_policy_by_its_stage_and_decides_alike_when_it_is_asked_again(
    openbell_process: Command, openbell: Command
) -> None:
    assert openbell("register", "bundles/buyer").code == ExitCode.DONE
    asked = ("--policy", "stubborn", "--stage", "candidate", "--granularity", "chunk", "--json")
    outcome = openbell_process("session", *asked)
    assert outcome.code == ExitCode.DONE, outcome.err
    assert outcome.answer["session_id"] == "2026-01-05.synthetic.stubborn"
    assert outcome.answer["decisions"] == 390
    assert outcome.answer["fills"] >= 2  # bought, and closed before the close
    told = openbell("decisions", "2026-01-05.synthetic.stubborn")
    assert told.code == ExitCode.DONE
    assert told.out.startswith("390 of 390 decisions")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--policy", "stubborn"), "a trained one needs bundle or stage"),
        (("--policy", "flat", "--stage", "paper"), "flat is built in"),
        (("--stage", "paper"), "sma_crossover is built in"),
        (("--policy", "a@b", "--parameter", "fast=3"), "a trained policy has no parameters"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_told(openbell: Command, options: tuple[str, ...], said: str) -> None:
    outcome = openbell("session", *options, "--json")
    assert (outcome.code, said in outcome.answer["message"]) == (ExitCode.WRONG_USAGE, True), outcome.answer


def test_another_bundle_in_the_place_of_a_registered_one_is_refused_before_the_open(
    openbell_process: Command, openbell: Command, here: Path, buyer: BundleFacts, bundle_that_says: Says
) -> None:
    assert openbell("register", "bundles/buyer").code == ExitCode.DONE
    buyer.path.rename(here / "elsewhere")
    bundle_that_says(buyer.path, "SELL")
    outcome = openbell_process("session", "--policy", buyer.fingerprint, "--json")
    assert outcome.code == ExitCode.REFUSED
    assert f"{buyer.fingerprint} was registered from there: somebody has changed it" in outcome.answer["message"]
    assert openbell("sql", "select count(*) as sessions from sessions", "--json").answer["rows"] == [[0]]
