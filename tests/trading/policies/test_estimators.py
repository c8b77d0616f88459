"""Estimators out of skops files: the same answers as scikit-learn's, faster; and no file does anything but answer."""

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from trading.bundles.archives import read_archive, read_array, write_archive, write_array
from trading.bundles.skops_files import canonical, read_estimator, write_estimator
from trading.errors import PolicyNotFit
from trading.policies.estimators import load_estimator, obey_no_file, parts_of
from trading.training.estimators import save_estimator

DRAW = np.random.default_rng(29)
ROWS = DRAW.normal(size=(300, 4)) * [1.0, 50.0, 0.01, 1.0] + [0.0, 100.0, 0.0, -3.0]
NOISE = DRAW.normal(size=300)
TWO = np.where(ROWS[:, 0] + NOISE > 0, "BUY", "SELL")
THREE = np.where(np.abs(NOISE) < 0.4, "HOLD", TWO)
NUMBERS = ROWS[:, 0] + 0.1 * NOISE
FEATURES = ("returns(bars=1)", "volume_zscore", "distance", "position")

COMPILED: dict[str, tuple[Any, NDArray[Any]]] = {
    "logistic regression": (make_pipeline(StandardScaler(), LogisticRegression()), TWO),
    "logistic regression of three": (make_pipeline(StandardScaler(), LogisticRegression()), THREE),
    "every scaler": (make_pipeline(RobustScaler(), MaxAbsScaler(), MinMaxScaler(), "passthrough", LogisticRegression()), THREE),
    "stochastic gradient": (make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)), TWO),
    "ridge": (make_pipeline(StandardScaler(with_mean=False), Ridge()), NUMBERS),
    "network": (make_pipeline(StandardScaler(), MLPClassifier((8, 4), max_iter=2_000, random_state=0)), THREE),
    "network of two": (make_pipeline(StandardScaler(), MLPClassifier((8,), activation="tanh", max_iter=2_000, random_state=0)), TWO),
    "network of a number": (make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=2_000, random_state=0)), NUMBERS),
    "forest": (RandomForestClassifier(20, random_state=0, n_jobs=2), THREE),
    "forest behind a scaler": (make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)), TWO),
    "boosting": (GradientBoostingClassifier(n_estimators=10, random_state=0), THREE),
    "hist boosting": (HistGradientBoostingClassifier(max_iter=10, random_state=0), TWO),
}  # fmt: skip
ASKED: dict[str, tuple[Any, NDArray[Any]]] = {
    "naive Bayes": (GaussianNB(), THREE),
    "calibrated": (CalibratedClassifierCV(make_pipeline(StandardScaler(), LogisticRegression()), cv=2), TWO),
    "stochastic gradient of three": (make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)), THREE),
    "boosting from another model": (GradientBoostingClassifier(n_estimators=3, init=GaussianNB(), random_state=0), TWO),
    "a network of another activation": (
        make_pipeline(StandardScaler(), MLPClassifier((4,), activation="logistic", max_iter=5_000, random_state=0)), TWO,
    ),
}  # fmt: skip


def answers(estimator: Any, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(rows))
    return np.asarray(estimator.predict(rows)).reshape(-1, 1)


@pytest.mark.parametrize(
    ("estimator", "labels", "compiled"),
    [(*case, True) for case in COMPILED.values()] + [(*case, False) for case in ASKED.values()],
    ids=[*COMPILED, *ASKED],
)
def test_a_loaded_estimator_answers_as_the_fitted_one(estimator: Any, labels: NDArray[Any], compiled: bool) -> None:
    estimator.fit(ROWS, labels)
    scorer = load_estimator(save_estimator(estimator, FEATURES))
    scores, states = scorer.score(ROWS)
    assert np.abs(scores - answers(estimator, ROWS)).max() <= 1e-12
    alone = np.concatenate([scorer.score(ROWS[number : number + 1])[0] for number in range(0, 300, 7)])
    assert np.abs(alone - scores[::7]).max() <= 1e-9
    classes = tuple(sorted(set(labels))) if labels.dtype.kind == "U" else ()
    assert (scorer.compiled, scorer.features, scorer.classes) == (compiled, FEATURES, classes)
    assert (scorer.inputs, scorer.outputs, scorer.are_probabilities) == (4, len(classes) or 1, bool(classes))
    assert (states, scorer.state_size) == (None, 0)


def test_the_same_fit_is_the_same_bytes() -> None:
    first, second = (RandomForestClassifier(5, random_state=3).fit(ROWS, TWO) for _ in range(2))
    assert save_estimator(first, FEATURES) == save_estimator(second, FEATURES)


def test_what_was_fitted_with_names_is_asked_without_a_warning() -> None:
    import pandas

    pipeline = make_pipeline(StandardScaler(), GaussianNB()).fit(pandas.DataFrame(ROWS, columns=list(FEATURES)), TWO)
    scorer = load_estimator(write_estimator(pipeline))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer.score(ROWS)
    assert scorer.features == FEATURES


def test_what_a_file_says_of_processes_is_not_obeyed() -> None:
    # Asked of scikit-learn itself, 64 processes would be started for two rows.
    fitted = VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())], voting="soft").fit(ROWS[:, :1], TWO)
    estimator = read_estimator(write_estimator(fitted.set_params(n_jobs=64, verbose=True)))
    assert (estimator.n_jobs, estimator.verbose) == (64, True)
    obey_no_file(estimator)
    assert {part.n_jobs for part in parts_of(estimator) if hasattr(part, "n_jobs")} == {1}
    assert not estimator.verbose


def test_an_estimator_without_probabilities_is_refused() -> None:
    with pytest.raises(PolicyNotFit, match="RidgeClassifier says no probabilities"):
        load_estimator(write_estimator(make_pipeline(StandardScaler(), RidgeClassifier()).fit(ROWS, TWO)))


def test_a_scaler_alone_is_no_model() -> None:
    with pytest.raises(PolicyNotFit, match="StandardScaler is no classifier and no regressor"):
        load_estimator(write_estimator(StandardScaler().fit(ROWS)))


def test_rows_of_another_width_are_an_error() -> None:
    scorer = load_estimator(write_estimator(Ridge().fit(ROWS, NUMBERS)))
    with pytest.raises(ValueError, match=r"rows of 4 features are needed, not \(1, 3\)"):
        scorer.score(np.zeros((1, 3)))
    assert scorer.score(np.zeros((0, 4)))[0].shape == (0, 1)


class _Evil:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, (str(self.path),)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    content = pickle.dumps(_Evil(made))
    with pytest.raises(PolicyNotFit, match="not an archive"):
        load_estimator(content)
    assert not made.exists()
    pickle.loads(content)
    assert made.exists(), "the pickle does what it is said to do"


def test_a_type_that_is_not_trusted_is_named_and_not_made(tmp_path: Path) -> None:
    made = tmp_path / "made"
    content = write_estimator(Ridge().fit(ROWS, NUMBERS))
    schema = schema_of(content)
    # What skops would load, were os.mkdir trusted: a call of it with the folder's name.
    schema["content"]["content"]["alpha"] = {
        "__class__": "partial", "__module__": "functools", "__loader__": "PartialNode",
        "content": {
            "func": {"__class__": "mkdir", "__module__": "posix", "__loader__": "FunctionNode"},
            "args": {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": [str(made)]},
        },
    }  # fmt: skip
    with pytest.raises(
        PolicyNotFit, match=r"not trusted: functools\.partial \(PartialNode\), posix\.mkdir \(FunctionNode\)\. Nothing"
    ):
        load_estimator(with_schema(content, schema))
    assert not made.exists()


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (SVC(), r"sklearn\.svm\._classes\.SVC"),
        (make_pipeline(FunctionTransformer(np.tanh), GaussianNB()), r"numpy\.tanh \(FunctionNode\)"),
    ],
)
def test_trusted_by_skops_is_not_enough(estimator: Any, named: str) -> None:
    import skops.io  # it looks at all of scikit-learn, and imports torch: not where tests are only collected

    fitted = estimator.fit(ROWS, TWO)
    with pytest.raises(PolicyNotFit, match=named):
        load_estimator(skops.io.dumps(fitted))
    with pytest.raises(PolicyNotFit, match=named):
        write_estimator(fitted)


def test_a_trusted_type_under_another_loader_is_refused() -> None:
    content = write_estimator(Ridge().fit(ROWS, NUMBERS))
    schema = schema_of(content)
    schema["__loader__"] = "FunctionNode"
    with pytest.raises(PolicyNotFit, match=r"Ridge \(FunctionNode\)"):
        load_estimator(with_schema(content, schema))


def test_an_older_protocol_is_refused() -> None:
    content = write_estimator(Ridge().fit(ROWS, NUMBERS))
    with pytest.raises(PolicyNotFit, match="not of skops' protocol"):
        load_estimator(with_schema(content, {**schema_of(content), "protocol": 0}))


def test_object_ids_do_not_swap_what_was_judged_for_something_else() -> None:
    """skops takes the second node of an id for the first; here both are what stands in them."""
    content = write_estimator(Ridge(alpha=2.0).fit(ROWS, NUMBERS))
    schema = schema_of(content)
    state = schema["content"]["content"]
    state["alpha"]["__id__"] = state["max_iter"]["__id__"] = 7
    loaded = read_estimator(with_schema(content, schema))
    assert (loaded.alpha, loaded.max_iter) == (2.0, None)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(part: float) -> None:
    content = write_estimator(RandomForestClassifier(3, random_state=0).fit(ROWS, TWO))
    with pytest.raises(PolicyNotFit, match="not an archive"):
        load_estimator(content[: int(part * len(content))])


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("schema.json", "w") as stream,
    ):
        for _ in range(520):
            stream.write(bytes(2**20))
    assert len(buffer.getvalue()) < 4 * 2**20
    with pytest.raises(PolicyNotFit, match="would unpack to 545,259,520 bytes"):
        load_estimator(buffer.getvalue())


def test_a_file_that_grows_by_referring_to_itself_is_refused() -> None:
    array = write_array(np.zeros(2**20))
    node = {
        "__class__": "ndarray",
        "__module__": "numpy",
        "__loader__": "NdArrayNode",
        "type": "numpy",
        "file": "a.npy",
    }
    many = {
        "__class__": "list",
        "__module__": "builtins",
        "__loader__": "ListNode",
        "content": [node] * 70,
        "protocol": 2,
    }
    with pytest.raises(PolicyNotFit, match=r"would load to more than 536,870,912 bytes"):
        canonical(write_archive({"schema.json": json.dumps(many).encode(), "a.npy": array}))


@pytest.mark.parametrize("schema", [b"", b"[]", b"{", b"[" * 100_000, b'{"protocol": true}'])
def test_a_schema_that_is_none_is_refused(schema: bytes) -> None:
    with pytest.raises(PolicyNotFit):
        load_estimator(write_archive({"schema.json": schema}))


def test_a_file_of_another_version_of_scikit_learn_is_refused() -> None:
    fitted = Ridge().fit(ROWS, NUMBERS)
    content = write_estimator(fitted)
    schema = schema_of(content)
    state = schema["content"]["content"]
    state["_sklearn_version"]["content"] = '"1.2.0"'
    with pytest.raises(PolicyNotFit, match="another version of scikit-learn"):
        load_estimator(with_schema(content, schema))


def test_weights_that_are_no_numbers_are_refused() -> None:
    fitted = make_pipeline(StandardScaler(), Ridge()).fit(ROWS, NUMBERS)
    fitted.steps[-1][1].coef_[0] = np.nan
    with pytest.raises(PolicyNotFit, match="not finite"):
        load_estimator(write_estimator(fitted))


# Trees whose indices lead out of them would crash the process when scikit-learn follows them.


def damaged(content: bytes, damage: Callable[[NDArray[Any]], object]) -> bytes:
    """The file with the nodes of each tree changed."""
    members = read_archive(content)
    for name in [name for name in members if name.endswith(".npy")]:
        array = read_array(name, members[name])
        if array.dtype.names is not None:
            changed = array.copy()
            damage(changed)
            members[name] = write_array(changed)
    return write_archive(members)


def unchanged(_: NDArray[Any]) -> None:
    """Writing anew is no damage."""


def far_child(nodes: NDArray[Any]) -> None:
    nodes["left_child" if "left_child" in nodes.dtype.names else "left"][0] = 2_000_000_000


def far_feature(nodes: NDArray[Any]) -> None:
    nodes["feature" if "feature" in nodes.dtype.names else "feature_idx"][0] = 2_000_000_000


def round_in_circles(nodes: NDArray[Any]) -> None:
    nodes["left_child" if "left_child" in nodes.dtype.names else "left"][0] = 0


TREES: dict[str, Any] = {
    "tree": DecisionTreeClassifier(max_depth=3),
    "forest": RandomForestClassifier(3, random_state=0),
    "forest in a pipeline": make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0)),
    "calibrated forest": CalibratedClassifierCV(RandomForestClassifier(3, random_state=0), cv=2),
    "boosting": GradientBoostingClassifier(n_estimators=3),
    "hist boosting": HistGradientBoostingClassifier(max_iter=3),
}


@pytest.mark.parametrize("damage", [far_child, far_feature, round_in_circles])
@pytest.mark.parametrize("estimator", TREES.values(), ids=TREES)
def test_a_tree_that_leads_out_of_itself_is_refused(estimator: Any, damage: Callable[[NDArray[Any]], object]) -> None:
    content = write_estimator(estimator.fit(ROWS, TWO))
    assert load_estimator(damaged(content, unchanged)).outputs == 2
    with pytest.raises(PolicyNotFit, match=r"leads nowhere|do not go with its features"):
        load_estimator(damaged(content, damage))


def test_a_tree_that_says_it_is_longer_than_it_is_is_refused() -> None:
    content = write_estimator(DecisionTreeClassifier(max_depth=1).fit(ROWS, TWO))
    schema = schema_of(content)
    state = schema["content"]["content"]["tree_"]["content"]["content"]
    state["node_count"]["content"] = "1000000"
    with pytest.raises(PolicyNotFit, match="has 3 nodes and says 1000000"):
        load_estimator(with_schema(content, schema))


def test_a_tree_for_more_features_than_its_forest_is_refused() -> None:
    wide = DecisionTreeClassifier(max_depth=2).fit(np.hstack([NOISE[:, None] * np.ones((1, 9)), ROWS]), TWO)
    forest = RandomForestClassifier(2, random_state=0).fit(ROWS, TWO)
    forest.estimators_[1] = wide
    with pytest.raises(PolicyNotFit, match="do not go with its features"):
        load_estimator(write_estimator(forest))


def schema_of(content: bytes) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(read_archive(content)["schema.json"])
    return schema


def with_schema(content: bytes, schema: dict[str, Any]) -> bytes:
    return write_archive({**read_archive(content), "schema.json": json.dumps(schema).encode()})
