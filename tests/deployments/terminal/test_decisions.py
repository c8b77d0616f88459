"""``openbell decisions``: the words, the JSON and the exit codes around a session that is decided again."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from deployments.terminal.exit_codes import ExitCode
from storage.door_sign import read_sign
from storage.policy_registry import register
from storage.store import open_store
from tasks.composition import assemble
from trading.policy_records import BundleFacts
from trading.sessions import SessionSummary
from trading.settings import Settings

Command = Callable[..., Any]
HOUSE = Path(__file__).parents[3]

TRADING = """
from tasks.composition import assemble
from trading.settings import Settings

document = {"session": {"pace": 600}, "feed": {"kind": "synthetic"}, "policy": {"parameters": {"fast": 3, "slow": 8}}}
with assemble(Settings.model_validate(document), None) as desk:
    desk.agent.run_session()
"""


def changed(here: Path, sql: str) -> None:
    with duckdb.connect(str(here / "openbell.duckdb")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        assert connection.execute(sql).fetchall() == [(1,)]


def test_a_session_that_is_decided_the_same_is_said_to_be(openbell: Command, traded: SessionSummary) -> None:
    told = openbell("decisions", traded.session_id)
    assert (told.code, told.err) == (ExitCode.DONE, "")
    assert told.out == (
        f"390 of 390 decisions of {traded.session_id} are the same (the policy sma_crossover(fast=20, slow=50)).\n"
    )
    assert openbell("decisions", traded.session_id, "--json").answer == {
        "session_id": traded.session_id,
        "is_same": True,
        "policy": "sma_crossover(fast=20, slow=50)",
        "recorded_policy": "sma_crossover(fast=20, slow=50)",
        "compared": 390,
        "same": 390,
        "too_late": 0,
        "first_difference": None,
        "shadow": None,
        "uncertain_bars": 0,
        "not_compared": ["target_quantity", "latency_ms"],
        "db": "openbell.duckdb",
    }


def test_the_first_difference_is_shown_with_both_rows(openbell: Command, here: Path, traded: SessionSummary) -> None:
    for minute in (40, 45):
        changed(
            here,
            f"UPDATE decisions SET action = 'HOLD', note = 'somebody' WHERE bar_time = '2026-01-05 15:{minute}:00+00'",
        )
    told = openbell("decisions", traded.session_id)
    assert told.code == ExitCode.FAILED
    lines = [line.split() for line in told.out.splitlines()]
    assert " ".join(lines[0][:3]) == "388 of 390"
    assert " ".join(lines[1]) == "The first difference: SPY at 2026-01-05 15:40 UTC, in action, note."
    assert lines[3] == ["recorded", "HOLD", "somebody"]
    assert lines[4][0] == "again"
    assert lines[4][1] in ("BUY", "SELL")
    answer = openbell("decisions", traded.session_id, "--json")
    assert answer.code == ExitCode.FAILED
    first = answer.answer["first_difference"]
    assert (first["bar_time"], first["symbol"], first["features"]) == ("2026-01-05T15:40:00+00:00", "SPY", None)
    assert (first["recorded"]["note"], first["again"]["note"]) == ("somebody", None)


def test_a_model_tells_what_it_was_shown_where_it_differs(
    openbell: Command, here: Path, bundle_that_says: Callable[..., BundleFacts]
) -> None:
    facts = bundle_that_says(here / "bullish", "BUY")
    with open_store(here / "openbell.duckdb") as store:
        register(store.connection, facts, datetime(2026, 1, 3, tzinfo=UTC), "ada")
    shadowed = {"bundle": facts.fingerprint, "shadow": {"name": "flat"}}
    settings = Settings.model_validate({"policy": shadowed, "feed": {"kind": "synthetic"}})
    with assemble(settings, date(2026, 1, 5)) as desk:
        session_id = desk.agent.run_session().session_id
    same = openbell("decisions", session_id, "--shadow", "flat", "--json").answer
    assert (same["policy"], same["same"], same["shadow"]["policy"], same["shadow"]["same"]) == (
        facts.fingerprint,
        390,
        "flat",
        390,
    )
    changed(here, "UPDATE decisions SET action = 'SELL' WHERE bar_time = '2026-01-05 15:40:00+00'")
    told = openbell("decisions", session_id)
    assert told.code == ExitCode.FAILED
    [shown] = [line.split() for line in told.out.splitlines() if line.startswith("return(bars=1)")]
    features = openbell("decisions", session_id, "--json").answer["first_difference"]["features"]
    assert float(shown[1]) == pytest.approx(features["return(bars=1)"], rel=1e-9)


def test_another_policy_may_be_asked_and_is_named(openbell: Command, traded: SessionSummary) -> None:
    told = openbell("decisions", traded.session_id, "--policy", "flat")
    assert told.code == ExitCode.FAILED
    assert "They were made by sma_crossover(fast=20, slow=50), which is another policy." in told.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("2026-01-05.paper.nobody",), "There is no session 2026-01-05.paper.nobody"),
        (("2026-01-05.synthetic.sma_crossover", "--policy", "nobody"), "there is no built-in policy nobody"),
        (("2026-01-05.synthetic.sma_crossover", "--policy", "./nowhere"), "There is no bundle nowhere"),
        (("2026-01-05.synthetic.sma_crossover", "--shadow", "flat"), "had no one shadow flat: it had none"),
    ],
)
def test_what_cannot_be_compared_is_wrong_usage(
    openbell: Command, traded: SessionSummary, arguments: tuple[str, ...], words: str
) -> None:
    del traded
    refused = openbell("decisions", *arguments, "--json")
    assert refused.code == ExitCode.WRONG_USAGE
    assert words in refused.answer["message"]


def test_a_session_is_compared_as_far_as_it_has_come_while_it_trades(openbell: Command, here: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", TRADING], cwd=here, env={"PYTHONPATH": str(HOUSE)}) as trading:
        try:
            while read_sign(here / "openbell.duckdb") is None:
                assert trading.poll() is None
            seen = 0
            while seen < 20:
                assert trading.poll() is None
                told = openbell("decisions", "2026-01-05.synthetic.sma_crossover", "--json")
                if told.code == ExitCode.WRONG_USAGE:
                    continue  # it has not begun, or decided nothing yet
                assert told.code == ExitCode.DONE, told.out
                assert told.answer["same"] == told.answer["compared"] < 390
                seen = told.answer["compared"]
            assert trading.poll() is None
        finally:
            trading.kill()
