import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trading.bars import MISSING, BarColumns, BarSlice, Timeframe, to_epoch_us
from trading.bundles.folder import Bundle, read_bundle, write_bundle
from trading.bundles.manifest import Choice, Weights
from trading.bundles.network_file import Answers, Lstm
from trading.decisions import Action, Signal
from trading.errors import PolicyNotFit
from trading.market_window import LiveWindow
from trading.pnl_tracker import PnLTracker
from trading.policies.action_maps import answer_of
from trading.policies.bundle_policy import BundlePolicy, RememberingBundlePolicy, load_policy
from trading.training.estimators import fit_estimator, save_estimator

MakeBundle = Callable[..., Bundle]

MONDAY = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
CODES = {Action.BUY: 1, Action.SELL: -1, Action.HOLD: 0}
# Follows the last bar: scores of SELL, HOLD, BUY are -500 r, 0, 500 r of the return r, so that a rise of 0.2 % is a BUY at
# e / (1 + e + 1/e) = 0.665.
FOLLOWS = [[-500.0], [0.0], [500.0]]


def columns(closes: list[float], volume: int = 100, start: datetime = MONDAY) -> BarColumns:
    price = np.array([round(close * 1_000_000) for close in closes], dtype=np.int64)
    times = to_epoch_us(start) + 60_000_000 * np.arange(len(closes), dtype=np.int64)
    return BarColumns("SPY", times, price, price, price, price, np.full(len(closes), volume, dtype=np.int64))


def loaded(bundle: Bundle) -> BundlePolicy:
    return load_policy(read_bundle(bundle.folder), Timeframe.MINUTE_1, "XNYS")


def bar_by_bar(policy: BundlePolicy, bars: BarColumns) -> list[Signal]:
    window = LiveWindow(["SPY"], max(policy.warmup_bars, 64), 1 << 20, timedelta(days=30))
    said = []
    for bar in bars:
        window.advance(BarSlice(bar.bar_time, {"SPY": bar}))
        said.append(policy.decide(window, PnLTracker())["SPY"])
    return said


def test_a_model_decides_on_the_features_of_the_bar(network_bundle: MakeBundle) -> None:
    policy = loaded(network_bundle(FOLLOWS))
    quiet, rise, fall = bar_by_bar(policy, columns([100, 100.2, 100.2 * 100 / 100.2]))
    assert (policy.warmup_bars, quiet) == (2, Signal(Action.HOLD))
    ratio = math.exp(500 * math.log(1.002))
    assert rise.action is Action.BUY
    assert rise.confidence == pytest.approx(ratio / (1 + ratio + 1 / ratio))
    assert fall.action is Action.SELL


def test_a_history_is_decided_as_its_bars_are(network_bundle: MakeBundle) -> None:
    features = [
        {"name": "return"},
        {"name": "bollinger", "parameters": {"bars": 5}},
        {"name": "ema_distance", "parameters": {"bars": 2}},
    ]
    made = network_bundle([[-200, 0.5, 3], [0, 0, 0.1], [300, -0.4, 1]], features)
    rng = np.random.default_rng(1)
    bars = columns((100 * np.exp(np.cumsum(rng.normal(0, 1e-3, 350)))).round(2).tolist())
    history, live = loaded(made).decide_history(bars), bar_by_bar(loaded(made), bars)
    assert history is not None
    assert history.confidence is not None
    assert history.action.tolist() == [CODES[signal.action] for signal in live]
    assert set(history.action.tolist()) == {-1, 0, 1}
    told = [math.nan if signal.confidence is None else signal.confidence for signal in live]
    np.testing.assert_allclose(history.confidence, told, atol=1e-9)
    assert history.errors == {}


def test_a_policy_that_has_followed_the_warmup_decides_alike_and_sooner(network_bundle: MakeBundle) -> None:
    features = [{"name": "rsi", "parameters": {"bars": 5}}, {"name": "return"}]
    made = network_bundle([[0.01, -200], [0, 0], [-0.01, 200]], features)
    rng = np.random.default_rng(4)
    bars = columns((100 * np.exp(np.cumsum(rng.normal(0, 1e-3, 200)))).round(2).tolist())
    said = []
    for warmed in (False, True):
        policy = loaded(made)
        window = LiveWindow(["SPY"], policy.warmup_bars, 1 << 20, timedelta(days=30))
        window.fill(bars.take(slice(0, 190)))
        if warmed:
            policy.warm_up(window, ["SPY", "QQQ"])
        answers = []
        for bar in bars.take(slice(190, None)):
            window.advance(BarSlice(bar.bar_time, {"SPY": bar}))
            answers.append(policy.decide(window, PnLTracker())["SPY"])
        said.append(answers)
    assert said[0] == said[1]
    assert len({signal.confidence for signal in said[0]}) > 5


def test_a_feature_that_is_no_number_is_named_and_decides_nothing(network_bundle: MakeBundle) -> None:
    features = [{"name": "return"}, {"name": "volume_zscore", "parameters": {"bars": 3}}]
    made = network_bundle([[-500, 0], [0, 0], [500, 0]], features)
    bars = columns([100, 101, 102, 103, 104])
    bars = replace(bars, volume=np.array([100, 100, 100, MISSING, 100], dtype=np.int64))
    history, live = loaded(made).decide_history(bars), bar_by_bar(loaded(made), bars)
    assert history is not None
    assert [signal.action for signal in live] == [Action.HOLD, Action.HOLD, Action.BUY, Action.HOLD, Action.HOLD]
    assert [signal.error for signal in live] == [None, None, None, *["volume_zscore(bars=3) is nan"] * 2]
    assert history.errors == {3: "volume_zscore(bars=3) is nan", 4: "volume_zscore(bars=3) is nan"}
    assert history.action.tolist() == [0, 0, 1, 0, 0]


def test_one_number_may_be_compared_with_levels(network_bundle: MakeBundle) -> None:
    made = network_bundle(
        [[1.0]],
        answers=Answers.MEAN,
        actions={"kind": "bands", "sell_below": -0.001, "buy_above": 0.001},
        kind="regressor",
    )
    bars = columns([100, 100.2, 100.2, 100])
    history = loaded(made).decide_history(bars)
    assert history is not None
    assert history.action.tolist() == [0, 1, 0, -1]
    assert history.confidence is None
    assert [CODES[signal.action] for signal in bar_by_bar(loaded(made), bars)] == [0, 1, 0, -1]


@pytest.mark.parametrize(
    "options",
    [
        {"features": [{"name": "position"}]},
        {"answers": Answers.MEAN, "actions": {"kind": "target_weight", "lowest": -1, "highest": 1}, "weight": [[1.0]]},
        {"actions": {"kind": "choice", "actions": [-0.1, 0, 0.1]}},
        {"memory": Lstm(np.ones((4, 1)), np.ones((4, 1)), np.zeros(4))},
    ],
)
def test_what_depends_on_the_way_is_asked_bar_by_bar(network_bundle: MakeBundle, options: dict[str, Any]) -> None:
    weight = options.pop("weight", FOLLOWS)
    assert loaded(network_bundle(weight, **options)).decide_history(columns([100, 101, 102])) is None


def test_statistics_of_training_scale_what_the_model_sees(network_bundle: MakeBundle) -> None:
    # (r - 0.001) / sqrt(0.000003 + 0.000001) = (r - 0.001) / 0.002: at a return of 0.001 all scores are 0, and SELL is first.
    scaling = {"mean": [0.001], "variance": [0.000003], "epsilon": 0.000001, "limit": 10.0}
    plain = network_bundle(FOLLOWS)
    with pytest.raises(PolicyNotFit, match="golden sample 1 of 2"):
        load_policy(
            replace(plain, manifest=plain.manifest.model_validate({**plain.manifest.model_dump(), "scaling": scaling})),
            Timeframe.MINUTE_1,
            "XNYS",
        )


# A memory

CELL = Lstm(
    np.array([[50.0], [0.0], [80.0], [20.0]]), np.array([[0.5], [0.2], [0.7], [0.1]]), np.array([0.0, 2.0, 0.0, 0.5])
)


def remembering(make: MakeBundle, **options: Any) -> RememberingBundlePolicy:
    made = make([[-4.0], [0.0], [4.0]], memory=CELL, kind="recurrent_ppo", **options)
    policy = loaded(made)
    assert isinstance(policy, RememberingBundlePolicy)
    return policy


def walk(count: int, start: datetime = MONDAY) -> BarColumns:
    rng = np.random.default_rng(3)
    return columns((100 * np.exp(np.cumsum(rng.normal(0, 2e-3, count)))).round(2).tolist(), start=start)


def test_a_memory_goes_from_bar_to_bar_and_survives_a_restart(network_bundle: MakeBundle, tmp_path: Path) -> None:
    bars = walk(40)
    policy = remembering(network_bundle)
    whole = bar_by_bar(policy, bars)
    first = remembering(network_bundle, folder=tmp_path / "first")
    before = bar_by_bar(first, bars.take(slice(0, 25)))
    second = loaded(
        network_bundle([[-4.0], [0.0], [4.0]], memory=CELL, kind="recurrent_ppo", folder=tmp_path / "second")
    )
    assert isinstance(second, RememberingBundlePolicy)
    second.take_up_states(first.states())
    window = LiveWindow(["SPY"], 64, 1 << 20, timedelta(days=30))
    window.fill(bars.take(slice(0, 25)))
    after = []
    for bar in bars.take(slice(25, None)):
        window.advance(BarSlice(bar.bar_time, {"SPY": bar}))
        after.append(second.decide(window, PnLTracker())["SPY"])
    assert [*before, *after] == whole
    # Without the memory it decides otherwise: what is carried matters.
    forgetful = remembering(network_bundle, folder=tmp_path / "third")
    assert bar_by_bar(forgetful, bars.take(slice(24, None)))[1:] != whole[25:]


def test_a_memory_begins_anew_with_each_session(network_bundle: MakeBundle, tmp_path: Path) -> None:
    calm, wild = columns([100.0] * 30), columns([100.0, 90.0, 110.0] * 9 + [80.0, 120.0, 100.0])
    tuesday = walk(30, MONDAY + timedelta(days=1))
    after_calm = bar_by_bar(remembering(network_bundle), calm.joined(tuesday))
    after_wild = bar_by_bar(remembering(network_bundle, folder=tmp_path / "wild"), wild.joined(tuesday))
    assert after_calm[:30] != after_wild[:30]
    assert after_calm[30:] == after_wild[30:]


def test_a_state_of_another_model_is_not_taken(network_bundle: MakeBundle) -> None:
    with pytest.raises(ValueError, match="are no state of probe@"):
        remembering(network_bundle).take_up_states({"SPY": b"12345678" + b"\0" * 4})


# What refuses a session before its open


def test_a_model_is_asked_on_the_bars_it_was_trained_on(network_bundle: MakeBundle) -> None:
    made = network_bundle(FOLLOWS)
    with pytest.raises(PolicyNotFit, match="was trained on 1min bars of XNYS; the session has 5min bars of XNYS"):
        load_policy(made, Timeframe.MINUTE_5, "XNYS")
    with pytest.raises(PolicyNotFit, match="the session has 1min bars of XLON"):
        load_policy(made, Timeframe.MINUTE_1, "XLON")


def test_features_of_another_meaning_are_refused(network_bundle: MakeBundle) -> None:
    with pytest.raises(PolicyNotFit, match="features of version 0"):
        loaded(network_bundle(FOLLOWS, feature_version=0))


def test_features_in_another_order_are_refused(network_bundle: MakeBundle, tmp_path: Path) -> None:
    features = [{"name": "return"}, {"name": "bollinger"}]
    made = network_bundle([[-500, 0.1], [0, 0], [500, 0.2]], features)
    turned = made.manifest.model_copy(update={"features": made.manifest.features[::-1]})
    rewritten = write_bundle(tmp_path / "turned", turned, made.weights, made.golden)
    with pytest.raises(PolicyNotFit, match="In another order the model would see one thing for another"):
        loaded(rewritten)
    # Also where the golden samples were turned with them: the model knows its own inputs.
    golden = made.golden.model_copy(update={"features": made.golden.features[::-1]})
    with pytest.raises(PolicyNotFit, match="its model had"):
        loaded(write_bundle(tmp_path / "both", turned, made.weights, golden))


def test_another_model_under_the_same_manifest_is_noticed_by_its_answers(
    network_bundle: MakeBundle, tmp_path: Path
) -> None:
    mine = network_bundle(FOLLOWS)
    other = network_bundle([[500.0], [0.0], [-500.0]], folder=tmp_path / "other")
    swapped = write_bundle(tmp_path / "swapped", mine.manifest, other.weights, mine.golden)
    with pytest.raises(
        PolicyNotFit, match="does not decide as it did when it was written: golden sample 2 of 2 was BUY"
    ):
        loaded(swapped)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"observations": [], "scores": [], "actions": []}, "golden samples of .* are missing"),
        ({"observations": [[1.0, 2.0], [1.0, 2.0]]}, "not of the model's shape"),
        ({"observations": [[1.0], [1.0, 2.0]]}, "are no table"),
        ({"scores": [[0.0] * 3] * 2}, "golden sample 1 of 2"),
    ],
)
def test_golden_samples_that_say_nothing_are_refused(
    network_bundle: MakeBundle, changes: dict[str, Any], named: str
) -> None:
    made = network_bundle(FOLLOWS)
    golden = made.golden.model_validate({**json.loads(made.golden.model_dump_json()), **changes})
    with pytest.raises(PolicyNotFit, match=named):
        load_policy(replace(made, golden=golden), Timeframe.MINUTE_1, "XNYS")


def test_an_action_map_of_another_size_is_refused(network_bundle: MakeBundle, tmp_path: Path) -> None:
    made = network_bundle(FOLLOWS)
    two = made.manifest.model_validate(
        {**made.manifest.model_dump(), "actions": {"kind": "choice", "actions": ["BUY", "SELL"]}}
    )
    with pytest.raises(PolicyNotFit, match="gives 3 scores, and its action map is for 2"):
        loaded(write_bundle(tmp_path / "two", two, made.weights, made.golden))


def test_a_map_that_turns_the_models_own_words_around_is_refused(network_bundle: MakeBundle, tmp_path: Path) -> None:
    made = network_bundle(FOLLOWS)
    rows = np.linspace(-0.01, 0.01, 60)[:, None]
    words = np.where(rows[:, 0] < -0.002, "SELL", np.where(rows[:, 0] > 0.002, "BUY", "HOLD"))
    model = fit_estimator("logistic_regression", {}, rows, words)
    scores = tuple(map(tuple, model.predict_proba(rows[::20]).tolist()))
    right = ("BUY", "HOLD", "SELL")  # scikit-learn sorts its classes

    def written(folder: str, actions: tuple[str, ...]) -> Bundle:
        chosen = Choice(actions=tuple(map(Action, actions)))
        manifest = made.manifest.model_copy(
            update={"kind": "classifier", "actions": chosen, "weights": Weights(format="skops", file="model.skops")}
        )
        answers = tuple(answer_of(chosen, one) for one in scores)
        golden = made.golden.model_copy(
            update={"observations": tuple(map(tuple, rows[::20].tolist())), "scores": scores, "actions": answers}
        )
        return write_bundle(tmp_path / folder, manifest, save_estimator(model, made.golden.features), golden)

    assert loaded(written("right", right)).name == "probe"
    with pytest.raises(PolicyNotFit, match="is BUY in the model's own words, and SELL in the manifest's"):
        loaded(written("turned", right[::-1]))


def test_a_session_of_an_agent_needs_no_learning_framework(network_bundle: MakeBundle) -> None:
    made = network_bundle(FOLLOWS)
    code = f"""
import sys
from pathlib import Path
from tasks.policy_composition import assemble_policy
from trading.settings import Settings, parse_settings
settings = parse_settings({{"policy": {{"bundle": {str(made.folder)!r}}}}}, "a test")
print(assemble_policy(settings.policy, settings, None).fingerprint)
print(sorted({{"torch", "stable_baselines3", "sb3_contrib", "gymnasium", "sklearn", "skops", "matplotlib"}} & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == [made.fingerprint, "[]"]
