"""Networks by hand and in blocks. That they agree with stable-baselines3 is shown where agents are trained."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trading.bundles.network_file import Activation, Answers, Dense, Lstm, Network, write_network
from trading.errors import PolicyNotFit
from trading.policies.networks import BLOCK, NetworkScorer, load_network
from trading.policies.scorer_of import load_scorer


def dense(weight: list[list[float]], bias: list[float]) -> Dense:
    return Dense(np.array(weight, dtype=np.float64), np.array(bias, dtype=np.float64))


def scorer(**parts: object) -> NetworkScorer:
    return load_network(write_network(Network(**parts)))  # type: ignore[arg-type]


def drawn(answers: Answers = Answers.PROBABILITIES, lstm: bool = False) -> NetworkScorer:
    """Six features, layers of 16, 8 and 3; with ``lstm`` two recurrent layers of 5 and 4 before them."""
    draw = np.random.default_rng(11)

    def floats(*shape: int) -> NDArray[np.float32]:
        return draw.normal(size=shape).astype(np.float32)

    cells = (Lstm(floats(20, 6), floats(20, 5), floats(20)), Lstm(floats(16, 5), floats(16, 4), floats(16)))
    widths = [4 if lstm else 6, 16, 8, 3]
    layers = tuple(Dense(floats(out, into), floats(out)) for into, out in itertools.pairwise(widths))
    return scorer(
        features=tuple("abcdef"), activation=Activation.TANH, answers=answers, layers=layers, lstm=cells if lstm else ()
    )


def test_a_network_by_hand() -> None:
    # Hidden: relu(1*2 - 1*3 + 0.5) = 0 and relu(2*2 + 0*3 + 0) = 4. Values: 3*0 + 1*4 + 1 = 5 and 0 - 0.5*4 + 0 = -2.
    made = scorer(
        features=("a", "b"), activation=Activation.RELU, answers=Answers.VALUES,
        layers=(dense([[1, -1], [2, 0]], [0.5, 0]), dense([[3, 1], [0, -0.5]], [1, 0])),
    )  # fmt: skip
    scores, states = made.score(np.array([[2.0, 3.0]]))
    assert scores.tolist() == [[5.0, -2.0]]
    assert states is None
    assert (made.inputs, made.outputs, made.state_size, made.are_probabilities) == (2, 2, 0, False)
    assert made.features == ("a", "b")


def test_probabilities_are_those_of_the_logits() -> None:
    # Logits 0 and ln 3: probabilities 1/4 and 3/4. A thousand more on both changes nothing and overflows nothing.
    made = scorer(
        features=("a",), activation=Activation.TANH, answers=Answers.PROBABILITIES,
        layers=(dense([[1], [1]], [0, math.log(3)]),),
    )  # fmt: skip
    scores, _ = made.score(np.array([[0.0], [1_000.0]]))
    assert scores == pytest.approx(np.array([[0.25, 0.75], [0.25, 0.75]]), abs=1e-12)
    assert made.are_probabilities


def test_a_mean_stays_within_its_bounds() -> None:
    made = scorer(
        features=("a",), activation=Activation.TANH, answers=Answers.MEAN, layers=(dense([[2]], [0]),), bounds=(-1.0, 0.5)
    )  # fmt: skip
    assert made.score(np.array([[0.1], [1.0], [-1.0]]))[0].tolist() == [[0.2], [0.5], [-1.0]]
    assert not made.are_probabilities


def test_a_recurrent_network_by_hand() -> None:
    # All weights zero, so all gates are 1/2, and a bias that makes the new memory 1 (tanh of 50).
    # Bar 1: memory = 1/2*0 + 1/2*1 = 0.5, shown = 1/2*tanh(0.5). Bar 2: memory = 1/2*0.5 + 1/2 = 0.75, shown = 1/2*tanh(0.75).
    zero = np.zeros((4, 1))
    made = scorer(
        features=("a",), activation=Activation.TANH, answers=Answers.VALUES,
        lstm=(Lstm(zero, zero, np.array([0.0, 0.0, 50.0, 0.0])),), layers=(dense([[1], [10]], [0, 0]),),
    )  # fmt: skip
    first, state = made.score(np.array([[7.0]]))
    assert first == pytest.approx(np.array([[0.5 * math.tanh(0.5), 5 * math.tanh(0.5)]]), abs=1e-12)
    assert state is not None
    assert state.dtype == np.float32
    assert state.tolist() == [[pytest.approx(0.5 * math.tanh(0.5)), 0.5]]
    second, state = made.score(np.array([[7.0]]), state)
    assert second[0, 0] == pytest.approx(0.5 * math.tanh(0.75), abs=1e-7)
    assert state is not None
    assert state[0, 1] == 0.75
    assert made.state_size == 2


def test_no_state_is_a_state_of_zeros() -> None:
    made, rows = drawn(lstm=True), np.random.default_rng(2).normal(size=(3, 6))
    assert made.state_size == 18
    without, with_zeros = made.score(rows), made.score(rows, np.zeros((3, 18), dtype=np.float32))
    assert np.array_equal(without[0], with_zeros[0])
    assert np.array_equal(without[1], with_zeros[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("lstm", [False, True], ids=["dense", "recurrent"])
def test_a_row_scores_the_same_beside_any_other_rows(lstm: bool) -> None:
    made = drawn(lstm=lstm)
    rows = np.random.default_rng(3).normal(size=(BLOCK + 100, 6)) * 3
    states = np.random.default_rng(4).normal(size=(len(rows), made.state_size)).astype(np.float32) if lstm else None
    scores, after = made.score(rows, states)
    for number in (0, 1, BLOCK - 1, BLOCK, BLOCK + 99):
        part = slice(number, number + 1)
        alone, state = made.score(rows[part], None if states is None else states[part])
        assert np.abs(alone - scores[part]).max() <= 1e-12
        if after is not None and state is not None:
            assert np.abs(state - after[part]).max() <= 1e-6
    assert scores.shape == (len(rows), 3)


@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6))
def test_whatever_is_asked_probabilities_come_to_one(row: list[float]) -> None:
    for made in (drawn(), drawn(lstm=True)):
        scores, _ = made.score(np.array([row]))
        assert (scores >= 0).all()
        assert scores.sum() == pytest.approx(1.0)


def test_asking_changes_no_rows() -> None:
    made = drawn(lstm=True)
    rows, states = np.ones((2, 6)), np.ones((2, 18), dtype=np.float32)
    made.score(rows, states)
    assert (rows == 1).all()
    assert (states == 1).all()


def test_rows_of_another_width_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"rows of 6 features are needed, not \(2, 5\)"):
        drawn().score(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="a state of 18 numbers is needed for each row"):
        drawn(lstm=True).score(np.zeros((2, 6)), np.zeros((2, 17), dtype=np.float32))


def test_weights_of_one_format_are_not_taken_for_the_other() -> None:
    made = write_network(Network(("a",), Activation.TANH, Answers.VALUES, (dense([[1], [2]], [0, 0]),)))
    assert load_scorer("arrays", made).features == ("a",)
    with pytest.raises(PolicyNotFit, match="not one that skops wrote"):
        load_scorer("skops", made)
    with pytest.raises(PolicyNotFit, match="not an archive"):
        load_scorer("arrays", b"")


def test_a_network_is_asked_without_any_learning_framework() -> None:
    asked = (
        "import sys, trading.policies.networks, trading.policies.scorer_of, trading.bundles.network_file\n"
        "heavy = {'torch', 'stable_baselines3', 'sb3_contrib', 'sklearn', 'skops', 'gymnasium', 'pandas'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)
