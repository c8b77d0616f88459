"""Training from stored bars to a registered bundle: real DuckDB, real fits, sessions replayed as they would be traded."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.store import open_store
from tasks.manual_promotion import registered_policies
from tasks.policy_composition import assemble_policy
from tasks.policy_training import begin_training, train_by_hand
from trading.bars import BarColumns, Timeframe
from trading.bundles.folder import read_bundle
from trading.errors import ConfigurationError
from trading.policy_settings import PolicyChoice
from trading.settings import Settings
from trading.training.estimator_fit import fit_on

Market = Callable[..., BarColumns]
SMALL_AGENT = {
    "kind": "ppo",
    "parameters": {"n_steps": 64, "batch_size": 64, "n_epochs": 2, "net_arch": [8]},
    "agent": {"total_steps": 256, "leg_steps": 128},
}


def quiet(_words: str, _done: int, _total: int) -> None:
    """Nobody watches."""


@pytest.fixture
def market(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a training on a database with these bars: no costs, folds of 4 sessions, features that suit them."""

    def make(*bars: BarColumns, costs: bool = False, **train: Any) -> Settings:
        database = tmp_path / "bars.duckdb"
        if bars:
            with open_store(database) as store:
                store.bars_of(Timeframe.MINUTE_5).import_bars(bars)
        free = {} if costs else {"slippage_bps": 0, "commission_per_share": 0, "commission_minimum": 0}
        return Settings.model_validate(
            {
                "session": {"timeframe": "5min", "symbols": [one.symbol for one in bars] or ["SPY"]},
                "broker": {"paper": free},
                "store": {"path": database, "policies": tmp_path / "policies"},
                "train": {
                    "name": "reverting",
                    "features": [
                        {"name": "return", "parameters": {"bars": 1}},
                        {"name": "ema_distance", "parameters": {"bars": 10}},
                        {"name": "time_of_day"},
                    ],
                    "label": {"horizon_bars": 3, "band_fraction": 0.0005},
                    "walk_forward": {"folds": 3, "test_sessions": 4, "train_sessions": 7},
                    **train,
                },
            }
        )

    return make


def with_training(settings: Settings, **train: Any) -> Settings:
    document = settings.model_dump()
    return Settings.model_validate({**document, "train": {**document["train"], **train}})


def left_behind(settings: Settings) -> tuple[list[str], list[str]]:
    """Every file below the folder of policies but checkpoints, and every registered policy."""
    folder = settings.store.policies
    files = [str(file.relative_to(folder)) for file in folder.rglob("*") if ".checkpoints" not in file.parts]
    return files, [record.fingerprint for record in registered_policies(settings)]


def test_what_can_be_learned_is_learned_and_registered(
    market: Callable[..., Settings], market_that_reverts: Market
) -> None:
    settings = market(market_that_reverts())
    answer = train_by_hand(settings, quiet)
    overall = answer["overall"]
    assert overall["model"]["total_return"] > 0.01 > overall["flat"]["total_return"] == 0.0
    assert overall["model"]["total_return"] > overall["buy_and_hold"]["total_return"]
    assert answer["trials"]["significant"]
    assert answer["out_of_sample"] == {"sessions": 12, "first_session": "2026-01-15", "last_session": "2026-02-02"}

    [record] = registered_policies(settings)
    assert (record.fingerprint, str(record.stage), record.path) == (
        answer["policy"],
        "candidate",
        settings.store.policies / "reverting" / answer["version"],
    )
    assert record.metrics["return_after_costs"] == overall["model"]["total_return"]
    assert record.metrics["deflated_sharpe"] == answer["trials"]["deflated_sharpe"]
    # 20 sessions of 78 bars.
    assert answer["trained"]["bars"] == 1_560

    with open_store(settings.store.path) as store:
        policy = assemble_policy(PolicyChoice(bundle=record.fingerprint), settings, store)
    assert policy.fingerprint == record.fingerprint

    report = Path(answer["report"])
    assert {file.name for file in report.iterdir()} >= {"report.md", "report.json", "equity.png", "calibration.png"}
    assert json.loads((report / "report.json").read_text())["overall"] == overall
    page = (report / "report.md").read_text()
    assert f"# {record.fingerprint}" in page
    assert all(f"]({name})" in page for name in ("equity.png", "drawdown.png", "importance.png", "decisions.png"))
    # It reverts to 100: what says most of the next bars is how far away the price is.
    assert answer["importance"][0]["feature"] == "ema_distance(bars=10)"


def test_the_bundle_says_where_it_comes_from(market: Callable[..., Settings], market_that_reverts: Market) -> None:
    # A return beyond 0.4 % in a quarter of an hour is rare: most of what it says is HOLD.
    settings = market(market_that_reverts(), seed=11, label={"horizon_bars": 3, "band_fraction": 0.004})
    answer = train_by_hand(settings, quiet)
    bundle = read_bundle(Path(answer["bundle"]))
    manifest = bundle.manifest
    assert manifest.trained.first.isoformat() == "2026-01-05T14:30:00+00:00"
    assert manifest.trained.last.isoformat() == "2026-02-02T20:55:00+00:00"
    assert manifest.lineage.seed == manifest.lineage.settings["train"]["seed"] == 11
    assert manifest.requires == {"scikit-learn": manifest.lineage.libraries["scikit-learn"]}
    assert manifest.lineage.code_version
    # All three words occur among its decisions, and each is among the samples that a session checks.
    assert {str(action) for action in bundle.golden.actions} == {"BUY", "HOLD", "SELL"}
    assert len(bundle.golden.actions) == 64


def test_of_noise_nothing_is_significant(market: Callable[..., Settings], market_that_reverts: Market) -> None:
    answer = train_by_hand(market(market_that_reverts(pull=0.0, seed=19), costs=True), quiet)
    assert not answer["trials"]["significant"]
    assert any("NOT significant" in sentence for sentence in answer["sentences"])
    assert answer["overall"]["model"]["total_return"] < 0
    assert any("It loses against flat (+0.00%)" in sentence for sentence in answer["sentences"])


def test_luck_that_would_count_in_one_trial_does_not_among_fifty(
    market: Callable[..., Settings], market_that_reverts: Market
) -> None:
    """One of twenty random walks looks like skill: this is such a one."""
    lucky = market_that_reverts(pull=0.0, seed=5)
    answer = train_by_hand(market(lucky, costs=True, other_trials=49), quiet)
    assert answer["trials"]["count"] == 50
    assert answer["trials"]["probabilistic_sharpe"] > 0.95 > answer["trials"]["deflated_sharpe"]
    assert not answer["trials"]["significant"]


def test_the_same_training_twice_is_the_same_model_and_one_trial(
    market: Callable[..., Settings], market_that_reverts: Market
) -> None:
    settings = market(market_that_reverts(), estimator="gradient_boosting", parameters={"max_iter": 20})
    first = train_by_hand(settings, quiet)
    # A bundle's version is the second that it was made in.
    Path(first["bundle"]).rename(Path(first["bundle"]).with_name("first"))
    Path(first["report"]).rename(Path(first["report"]).with_name("first.report"))
    second = train_by_hand(settings, quiet)
    weights = [Path(folder) / "model.skops" for folder in (Path(first["bundle"]).with_name("first"), second["bundle"])]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert first["overall"] == second["overall"]
    assert second["trials"]["count"] == 1
    other = train_by_hand(with_training(settings, other_trials=3, estimator=None, parameters={}), quiet)
    # This one, the model that was registered twice, and three that were tried elsewhere.
    assert other["trials"]["count"] == 5
    assert other["trials"]["luck"] > 0


@pytest.mark.parametrize("moment", ["fold 2", "final model", "report", "registering"])
def test_an_interruption_leaves_neither_a_bundle_nor_a_row(
    market: Callable[..., Settings], market_that_reverts: Market, moment: str
) -> None:
    settings = market(market_that_reverts())

    def interrupted(words: str, _done: int, _total: int) -> None:
        if words.startswith(moment):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_by_hand(settings, interrupted)
    assert left_behind(settings) == ([], [])


def test_an_interruption_after_the_row_was_written_leaves_all_of_it(
    market: Callable[..., Settings], market_that_reverts: Market
) -> None:
    settings = market(market_that_reverts())

    def interrupted(words: str, done: int, _total: int) -> None:
        if (words, done) == ("registering", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_by_hand(settings, interrupted)
    [record] = registered_policies(settings)
    assert read_bundle(record.path).fingerprint == record.fingerprint
    assert record.path.with_name(f"{record.version}.report").is_dir()


def test_an_agent_goes_on_where_it_was_interrupted(
    market: Callable[..., Settings], market_that_reverts: Market
) -> None:
    settings = market(market_that_reverts(), **{**SMALL_AGENT, "features": []})
    whole = train_by_hand(settings, quiet)
    weights = (Path(whole["bundle"]) / "model.npz").read_bytes()
    Path(whole["bundle"]).rename(Path(whole["bundle"]).with_name("whole"))
    Path(whole["report"]).rename(Path(whole["report"]).with_name("whole.report"))
    with pytest.raises(ConfigurationError, match="nothing to resume"):
        train_by_hand(settings, quiet, resume=True)

    begun: list[tuple[str, int]] = []

    def interrupted(words: str, done: int, _total: int) -> None:
        begun.append((words, done))
        if words.startswith("final model") and done == 256:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_by_hand(settings, interrupted)
    begun.clear()
    resumed = train_by_hand(settings, lambda words, done, _total: begun.append((words, done)), resume=True)
    # Folds that were finished are not learned again, and the final model goes on after its first leg.
    learned = [entry for entry in begun if "learning" in entry[0]]
    assert learned == [("final model: learning", 256)]
    assert (Path(resumed["bundle"]) / "model.npz").read_bytes() == weights
    assert resumed["overall"] == whole["overall"]
    assert not (settings.store.policies / "reverting" / ".checkpoints").exists()


def test_where_a_sale_may_open_a_short_position_flat_stays_flat(
    market: Callable[..., Settings], market_that_reverts: Market
) -> None:
    settings = market(market_that_reverts())
    short = settings.model_copy(update={"orders": settings.orders.model_copy(update={"allow_short": True})})
    overall = train_by_hand(short, quiet)["overall"]
    assert (overall["flat"]["total_return"], overall["flat"]["orders"]) == (0.0, 0)
    # The model is asked with a session's settings: it is hardly ever out of a market that reverts.
    assert overall["model"]["exposure"] > 0.8


def test_symbols_are_pooled_into_one_model(market: Callable[..., Settings], market_that_reverts: Market) -> None:
    both = market_that_reverts(), market_that_reverts(seed=2, symbol="QQQ")
    answer = train_by_hand(market(*both), quiet)
    assert answer["symbols"] == ["SPY", "QQQ"]
    assert answer["trained"]["bars"] == 2 * 1_560
    # Seven sessions are trained on (the eighth is the embargo). The last 3 bars of each have no label, and 114 bars are not warm: all of the
    # first session, and 36 of the second.
    assert answer["folds"][0]["rows"] == 2 * (5 * 75 + 75 - 36)


@pytest.mark.parametrize(
    "train",
    [
        {"kind": "regressor"},
        {
            "estimator": "gradient_boosting",
            "parameters": {"max_iter": 30},
            "label": {"kind": "triple_barrier", "horizon_bars": 6, "gain_volatilities": 1.0, "loss_volatilities": 1.0},
        },
    ],
    ids=["regressor", "triple barrier, stopped early"],
)
def test_other_kinds_of_teaching_learn_it_too(
    market: Callable[..., Settings], market_that_reverts: Market, train: Mapping[str, Any]
) -> None:
    answer = train_by_hand(market(market_that_reverts(), **train), quiet)
    assert answer["overall"]["model"]["total_return"] > 0.01


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"walk_forward": {"folds": 9, "test_sessions": 9}}, "20 sessions are too few"),
        ({"features": [{"name": "rsj"}]}, "did you mean rsi"),
        ({"features": [{"name": "position"}]}, "learns from bars alone"),
        ({"label": {"band_fraction": 0.9}}, "labels from .* are HOLD"),
        ({"estimator": "logistic_regresion"}, "did you mean logistic_regression"),
        ({"estimator": "ridge"}, "ridge is a regressor, and train.kind is classifier"),
        ({"first_date": "2027-01-01", "last_date": "2027-02-01"}, "no bar of SPY in the sessions"),
        ({"first_date": "2026-03-01"}, "There is no session between"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_reason(
    market: Callable[..., Settings], market_that_reverts: Market, train: Mapping[str, Any], said: str
) -> None:
    settings = market(market_that_reverts(), **train)
    with pytest.raises(ConfigurationError, match=said):
        train_by_hand(settings, quiet)
    assert left_behind(settings) == ([], [])


def test_without_bars_it_says_so(market: Callable[..., Settings], market_that_reverts: Market) -> None:
    with pytest.raises(ConfigurationError, match="There is no database"):
        train_by_hand(market(), quiet)
    settings = market(market_that_reverts())
    elsewhere = settings.model_copy(update={"session": settings.session.model_copy(update={"symbols": ("QQQ",)})})
    with pytest.raises(ConfigurationError, match="which has SPY"):
        train_by_hand(elsewhere, quiet)
    with pytest.raises(ConfigurationError, match="keeps no checkpoints"):
        train_by_hand(settings, quiet, resume=True)


def test_no_price_after_a_fold_began_is_in_its_model(
    market: Callable[..., Settings], market_that_reverts: Market
) -> None:
    """Everything from the first test session on is another market: the first fold's figures on it change, its training does not."""
    bars = market_that_reverts()
    cut = 8 * 78  # seven sessions of training and one between
    other = market_that_reverts(seed=99)
    changed = bars.take(slice(0, cut)).joined(other.take(slice(cut, None)))
    assert not np.array_equal(bars.close, changed.close)
    weights = []
    for history in (bars, changed):
        settings = market(history)
        data = begin_training(settings).data
        fold = data.folds[0]
        weights.append(fit_on(data, fold.train, fold.train_dates).content)
        settings.store.path.unlink()
    assert weights[0] == weights[1]
