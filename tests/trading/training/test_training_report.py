"""The report's figures on records that are worked out by hand, and what its sentences say of them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trading.bundles.folder import Bundle
from trading.bundles.manifest import Golden
from trading.training.model_quality import Importance
from trading.training.report_page import page, rows_of
from trading.training.sharpe import sharpe_of
from trading.training.track_record import TrackRecord
from trading.training.trainer import FoldOutcome, Forecasts
from trading.training.training_data import PooledFold
from trading.training.training_report import joined, metrics_of, training_report

UNIT = 1_000_000
FIRST = date(2026, 1, 5)


@dataclass(frozen=True)
class Traded:
    """What a replay came to."""

    record: TrackRecord
    orders: int = 0
    refused: int = 0
    failures: int = 0
    halted: str | None = None


def record(first: date, *equities: float, starting: float = 100.0) -> TrackRecord:
    """One bar a session, with this equity at its close."""
    days = tuple(first + timedelta(days=place) for place in range(len(equities)))
    times = [int(datetime(one.year, one.month, one.day, 15, tzinfo=UTC).timestamp()) * UNIT for one in days]
    equity = np.array([round(one * UNIT) for one in equities])
    ends = np.arange(1, len(equities) + 1)
    return TrackRecord(round(starting * UNIT), np.array(times), equity, np.zeros_like(equity), days, ends, equity, ())


def outcome(number: int, *equities: float, others: float = 100.0, **model: Any) -> FoldOutcome:
    """A fold whose model had these equities, and whose yardsticks all ended with ``others``."""
    first = FIRST + timedelta(days=10 * number)
    still = Traded(record(first, *[others] * len(equities)))
    fold = PooledFold(number, {}, {}, (FIRST,), tuple(first + timedelta(days=day) for day in range(len(equities))), 3)
    replays = {"model": Traded(record(first, *equities), **model)}
    replays |= dict.fromkeys(("flat", "buy_and_hold", "sma_crossover"), still)
    said = Forecasts(np.array([0.2, 0.8]), np.array([False, number == 1]))
    importance = (Importance("rsi(bars=14)", 0.1 * number, 0.0), Importance("time_of_day", 0.0, 0.0))
    return FoldOutcome(fold, 50, replays, {"BUY": said}, importance, ())


@pytest.fixture
def bundle(bundle_facts: Any) -> Bundle:
    facts = bundle_facts("a")
    return Bundle(
        Path("/bundles/trend"),
        facts.manifest,
        facts.fingerprint,
        Golden(features=(), observations=(), scores=(), actions=()),
        b"",
    )


def test_accounts_one_after_another_go_on_with_what_was_made() -> None:
    whole = joined([record(FIRST, 101, 103), record(FIRST + timedelta(days=9), 98, 99)])
    # The second account lost 2 and then 1 of 100; the first had made 3.
    assert (whole.equity / UNIT).tolist() == [101, 103, 101, 102]
    assert whole.session_ends.tolist() == [1, 2, 3, 4]
    assert len(whole.session_dates) == 4
    assert whole.starting_equity == 100 * UNIT


def test_the_figures_of_all_folds_are_those_of_one_account(bundle: Bundle) -> None:
    report = training_report(bundle, [outcome(1, 101, 103), outcome(2, 98, 99, orders=4, refused=1)], [], 0)
    model = report["overall"]["model"]
    assert model["total_return"] == pytest.approx(0.02)
    # From 103 down to 101.
    assert model["drawdown"] == pytest.approx(2 / 103)
    assert (model["orders"], model["refused"]) == (4, 1)
    returns = [1 / 100, 2 / 101, -2 / 103, 1 / 101]
    expected = np.mean(returns) / np.std(returns, ddof=1)
    assert report["trials"]["sharpe_per_session"] == pytest.approx(expected)
    # Four sessions are too few to call it a year's.
    assert model["sharpe"] is None
    assert report["out_of_sample"]["sessions"] == 4
    assert report["folds"][1]["model"]["total_return"] == pytest.approx(-0.01)
    assert metrics_of(report)["return_after_costs"] == model["total_return"]
    # Of four promises of a BUY one came; (0.2^2 + 0.2^2 + 0.2^2 + 0.8^2) / 4, and a quarter of three quarters.
    assert report["calibration"]["BUY"]["brier"] == pytest.approx(0.19)
    assert report["calibration"]["BUY"]["brier_of_base_rate"] == pytest.approx(0.1875)
    assert report["importance"][0] == {
        "feature": "rsi(bars=14)",
        "mean": pytest.approx(0.15),
        "deviation": pytest.approx(0.05),
    }


RISING = (100.9, 102.1, 102.9, 104.1, 104.9, 106.1, 106.9, 108.1, 108.9, 110.1)


def test_two_gains_that_are_alike_are_no_certainty(bundle: Bundle) -> None:
    report = training_report(bundle, [outcome(1, 101.0, 102.01, orders=4)], [], 0)
    assert report["trials"]["deflated_sharpe"] is None
    assert not report["trials"]["significant"]
    assert report["sentences"][2].startswith("It made or lost something in 2 sessions only")


def test_sessions_in_which_nothing_happened_are_no_evidence(bundle: Bundle) -> None:
    """Twelve sessions, and four gains in them: a ratio that would look certain."""
    report = training_report(bundle, [outcome(1, *[100.0] * 4, 101, 102, 103, 104, *[104.0] * 4, orders=8)], [], 0)
    assert report["overall"]["model"]["sharpe"] > 0
    assert (report["trials"]["traded_sessions"], report["trials"]["deflated_sharpe"]) == (4, None)
    assert "in 4 sessions only" in report["sentences"][2]


def test_a_ratio_is_told_from_five_sessions_on_and_what_it_is_worth_from_ten(bundle: Bundle) -> None:
    nine = training_report(bundle, [outcome(1, *RISING[:4]), outcome(2, *RISING[:5])], [], 0)
    assert [fold["model"]["sharpe"] is None for fold in nine["folds"]] == [True, False]
    assert nine["overall"]["model"]["sharpe"] == pytest.approx(nine["trials"]["sharpe_per_session"] * 252**0.5)
    assert nine["trials"]["deflated_sharpe"] is None
    assert training_report(bundle, [outcome(1, *RISING)], [], 0)["trials"]["deflated_sharpe"] > 0.95


def test_what_is_significant_in_one_trial_is_less_so_in_many(bundle: Bundle) -> None:
    folds = [outcome(1, *RISING)]
    one, three, many = (
        training_report(bundle, folds, earlier, others)["trials"]
        for earlier, others in (([], 0), ([0.1, None], 0), ([0.1, None], 997))
    )
    assert [trials["count"] for trials in (one, three, many)] == [1, 3, 1_000]
    assert one["luck"] == 0
    assert one["deflated_sharpe"] == one["probabilistic_sharpe"]
    assert one["deflated_sharpe"] > three["deflated_sharpe"] > many["deflated_sharpe"]


def test_luck_is_never_less_than_that_of_ratios_without_skill(bundle: Bundle) -> None:
    """Two policies that are nearly one say nothing of how ratios scatter."""
    ratio = sharpe_of(np.diff([100.0, *RISING]) / np.array([100.0, *RISING])[:-1])
    assert ratio is not None
    trials = training_report(bundle, [outcome(1, *RISING)], [ratio.ratio + 1e-9], 0)["trials"]
    # Of 10 sessions: variance 1 / 9; of two trials the higher is expected at 0.4228 x Z(1/2) + 0.5772 x Z(1 - 1 / 2e) = 0.5772 x 0.8999.
    assert trials["luck"] == pytest.approx(0.5772 * 0.8999 * (252 / 9) ** 0.5, rel=1e-3)


def test_the_sentences_say_whom_it_loses_against(bundle: Bundle) -> None:
    lost = training_report(bundle, [outcome(1, 99.5, 99.0, 99.2, orders=2, failures=1, halted="daily loss")], [], 0)[
        "sentences"
    ]
    assert lost[0].startswith("Out of sample and after costs it made -0.80% in 3 sessions, 2026-01-15 to 2026-01-17")
    assert lost[1] == "It loses against flat (+0.00%), buy_and_hold (+0.00%) and sma_crossover (+0.00%)."
    assert lost[2].startswith("It made or lost something in 3 sessions only")
    assert lost[3:] == [
        "1 of its decisions failed.",
        "In 1 fold a halt ended its trading before the last session: daily loss",
    ]
    won = training_report(bundle, [outcome(1, *RISING, orders=2)], [], 0)["sentences"]
    assert won[1] == "It beats flat (+0.00%), buy_and_hold (+0.00%) and sma_crossover (+0.00%)."
    assert "significant, on these sessions" in won[2]


def test_one_that_never_traded_is_said_to_be_nothing(bundle: Bundle) -> None:
    report = training_report(bundle, [outcome(1, 100, 100)], [0.5], 3)
    assert report["sentences"][1:] == [
        "It equals flat (+0.00%), buy_and_hold (+0.00%) and sma_crossover (+0.00%).",
        "It never traded, so that there is nothing to be significant.",
    ]
    assert report["trials"]["deflated_sharpe"] is None
    assert report["trials"]["count"] == 5
    assert "cannot be told" in page(report, ())


def test_the_page_has_each_fold_and_the_pictures_that_there_are(bundle: Bundle) -> None:
    report = training_report(bundle, [outcome(1, 101, 103), outcome(2, 98, 99)], [], 0)
    text = page(report, ["equity.png", "drawdown.png", "calibration.png"])
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## All folds",
        "## Fold 1: 2026-01-15 to 2026-01-16",
        "## Fold 2: 2026-01-25 to 2026-01-26",
        "## Calibration",
        "## Importance",
    ]
    assert "](calibration.png)" in text
    assert "](importance.png)" not in text
    assert "| model | +2.00% |" in text
    assert rows_of(report["overall"])[0][:2] == ("model", "+2.00%")
