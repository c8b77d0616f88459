"""``openbell policies``, ``promote`` and ``rollback``, each in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.terminal.exit_codes import ExitCode
from storage.door_sign import read_sign
from storage.policy_registry import register
from storage.store import open_store
from trading.policy_records import BundleFacts

Command = Callable[..., Any]
Facts = Callable[..., BundleFacts]
HOUSE = Path(__file__).parents[3]
FORCED = ("--force", "--reason", "shown to a class")

TRADING = """
from tasks.composition import assemble
from trading.settings import Settings

document = {"session": {"pace": 60}, "policy": {"name": "flat"}, "feed": {"kind": "synthetic"}}
with assemble(Settings.model_validate(document), None) as desk:
    desk.agent.run_session()
"""


@pytest.fixture
def three(here: Path, bundle_facts: Facts) -> None:
    """Candidates trend@a…, trend@b… and other@c… in ``openbell.duckdb``; no bars."""
    facts = [
        bundle_facts("a", metrics={"folds": 5, "sharpe": 0.123456, "max_drawdown": 0.04}),
        bundle_facts("b"),
        bundle_facts("c", name="other"),
    ]
    with open_store(here / "openbell.duckdb") as store:
        for place, one in enumerate(facts):
            at = datetime(2026, 1, 3, tzinfo=UTC) + timedelta(minutes=place)
            register(store.connection, one, at, "ada")


def stages(openbell: Command) -> dict[str, str]:
    return {one["fingerprint"]: one["stage"] for one in openbell("policies", "--json").answer["policies"]}


@pytest.mark.usefixtures("three")
def test_the_registry_is_shown_by_name_with_its_headlines(openbell_process: Command) -> None:
    shown = openbell_process("policies")
    assert shown.code == ExitCode.DONE, shown.err
    lines = [line.split() for line in shown.out.splitlines()]
    assert [line[1] for line in lines[1:]] == [
        "other@c000000000000000",
        "trend@b000000000000000",
        "trend@a000000000000000",
    ]
    assert " ".join(lines[3]) == (
        "trend trend@a000000000000000 candidate classifier 2026-01-02 20:59 2026-01-02 22:00 sharpe 0.1235, max_drawdown 0.04"
    )
    assert len(openbell_process("policies", "other", "--json").answer["policies"]) == 1


@pytest.mark.usefixtures("three")
def test_a_promotion_and_a_rollback_are_one_command_each(openbell_process: Command, openbell: Command) -> None:
    first = openbell_process("promote", "trend@a0000000", "--to", "paper", *FORCED)
    assert first.code == ExitCode.DONE, first.err
    assert "trend@a000000000000000 is at paper now, against the gate." in first.out
    second = openbell_process("promote", "trend", "--to", "paper", *FORCED, "--json")
    assert second.code == ExitCode.DONE, second.err
    assert (second.answer["policy"], second.answer["replaced"]) == ("trend@b000000000000000", "trend@a000000000000000")
    back = openbell_process("rollback", "trend", "--stage", "paper", "--json")
    assert back.code == ExitCode.DONE, back.err
    assert (back.answer["policy"], back.answer["retired"]) == ("trend@a000000000000000", "trend@b000000000000000")
    assert stages(openbell) == {
        "other@c000000000000000": "candidate",
        "trend@b000000000000000": "retired",
        "trend@a000000000000000": "paper",
    }
    kept = openbell(
        "sql",
        "--json",
        "SELECT stage, reason, gate->>'$.forced' AS forced FROM policy_stages ORDER BY number DESC LIMIT 5",
    )
    assert kept.answer["rows"] == [
        ["paper", "rolled back", None],
        ["retired", "rolled back", None],
        ["paper", "shown to a class", "true"],
        ["archived", "trend@b000000000000000 was promoted to paper", None],
        ["paper", "shown to a class", "true"],
    ]


@pytest.mark.usefixtures("three")
def test_without_unseen_bars_the_gate_refuses(openbell_process: Command, openbell: Command) -> None:
    outcome = openbell_process("promote", "other", "--to", "paper", "--json")
    assert outcome.code == ExitCode.REFUSED
    assert outcome.answer["error"] == "not promoted"
    assert "no stored 1min bars of SPY after 2026-01-02 20:59 UTC" in outcome.answer["message"]
    assert stages(openbell)["other@c000000000000000"] == "candidate"


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("promote", "trend", "--to", "archived"), "'archived' is not one of"),
        (("promote", "trend"), "Missing option '--to'"),
        (("promote", "trend", "--to", "paper", "--force"), "give a reason"),
        (("promote", "nobody", "--to", "paper"), "No policy nobody is registered"),
        (("promote", "deadbeef", "--to", "paper"), "No policy with the fingerprint deadbeef"),
        (("promote", "trend", "--to", "live"), "No policy of the name trend is at paper"),
        (("rollback", "trend", "--stage", "live"), "There never was a champion of trend at live"),
        (("rollback", "nobody", "--stage", "paper"), "No policy nobody is registered"),
    ],
)
def test_a_slip_is_told_and_changes_nothing(openbell: Command, arguments: tuple[str, ...], said: str) -> None:
    before = stages(openbell)
    outcome = openbell(*arguments, "--json")
    assert outcome.code == ExitCode.WRONG_USAGE
    assert said in outcome.answer["message"]
    assert stages(openbell) == before


def test_the_gate_replays_both_and_says_why(
    openbell_process: Command, openbell: Command, here: Path, bars_file: Callable[..., Path], bundle_that_says: Facts
) -> None:
    """A cent up each minute on three days: who buys earns, and who sells never holds anything."""
    (here / "openbell.toml").write_text("[promotion]\nmin_unseen_sessions = 3\n")
    for day in (5, 6, 7):
        bars_file(f"{day}.csv", date(2026, 1, day))
    assert openbell("import-bars", "5.csv", "6.csv", "7.csv").code == ExitCode.DONE

    def registers(word: str, at: datetime) -> str:
        facts = bundle_that_says(here / word, word)
        with open_store(here / "openbell.duckdb") as store:
            return register(store.connection, facts, at, "ada").fingerprint

    buys = registers("BUY", datetime(2026, 1, 8, 1, tzinfo=UTC))
    promoted = openbell_process("promote", "stubborn", "--to", "paper")
    assert promoted.code == ExitCode.DONE, promoted.err
    assert "Replayed on 3 sessions that it has not seen, 2026-01-05 to 2026-01-07, SPY; after costs." in promoted.out
    assert f"{buys} is at paper now." in promoted.out
    assert "REFUSES" not in promoted.out

    sells = registers("SELL", datetime(2026, 1, 8, 2, tzinfo=UTC))
    refused = openbell_process("promote", "stubborn", "--to", "paper", "--json")
    assert refused.code == ExitCode.REFUSED
    answer = refused.answer
    assert (answer["policy"], answer["promoted"], answer["gate"]["champion"]) == (sells, False, buys)
    assert [one["rule"] for one in answer["gate"]["findings"] if not one["passed"]] == ["traded", "returns"]
    figures = answer["gate"]["figures"]
    assert (figures["candidate"]["orders"], figures["champion"]["orders"]) == (0, 6)
    assert figures["champion"]["total_return"] > 0
    shown = openbell("promote", "stubborn", "--to", "paper")
    assert "REFUSES traded: it sent no order at all" in shown.out
    assert f"{sells} is not promoted to paper. Nothing was changed." in shown.out
    assert stages(openbell) == {sells: "candidate", buys: "paper"}


def test_an_empty_registry_says_what_fills_it(openbell: Command, here: Path) -> None:
    with open_store(here / "openbell.duckdb"):
        pass
    outcome = openbell("policies")
    assert outcome.code == ExitCode.DONE
    assert "Train one with openbell train." in outcome.out
    assert openbell("policies", "trend", "--json").answer["policies"] == []


@pytest.mark.usefixtures("three")
def test_while_a_session_runs_policies_are_shown_and_not_moved(openbell: Command, here: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TRADING],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        stdin=subprocess.DEVNULL,
    ) as session:
        try:
            deadline = time.monotonic() + 60
            while read_sign(here / "openbell.duckdb") is None:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert stages(openbell)["trend@a000000000000000"] == "candidate"
            for arguments in (
                ("promote", "trend", "--to", "paper", *FORCED),
                ("rollback", "trend", "--stage", "paper"),
            ):
                outcome = openbell(*arguments, "--json")
                assert outcome.code == ExitCode.REFUSED
                assert "Stages are changed between sessions" in outcome.answer["message"]
            assert session.poll() is None
        finally:
            session.kill()
            session.wait(30)
