"""Networks that were trained elsewhere, asked with numpy alone. A session needs no learning framework.

Everything is computed in float64: a row then scores the same beside other rows to about 1e-15, where float32 would differ
in the seventh digit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.bundles.network_file import Activation, Answers, Lstm, Network, read_network
from trading.policies.scoring import Rows, States

BLOCK = 2_048
"""Rows that are computed at once, so that what lies between two layers stays in the cache."""

_Floats = NDArray[np.float64]


def load_network(content: bytes) -> "NetworkScorer":
    """The network of an ``.npz`` file as ``write_network`` makes it. Raises ``PolicyNotFit`` for any other content."""
    return NetworkScorer(read_network(content))


class DenseLayers:
    """Layers one after the other, with the activation between them and none after the last. Weights are (inputs x outputs)."""

    def __init__(self, weights: list[_Floats], biases: list[_Floats], activation: Activation) -> None:
        self._activate = np.tanh if activation is Activation.TANH else _relu
        *hidden, last = zip(map(np.ascontiguousarray, weights), biases, strict=True)
        self._hidden, (self._weight, self._bias) = hidden, last

    def __call__(self, rows: _Floats) -> _Floats:
        """The last layer's sums (N x outputs)."""
        for weight, bias in self._hidden:
            rows = rows @ weight
            rows += bias
            self._activate(rows, out=rows)
        rows = rows @ self._weight
        rows += self._bias
        return rows


@dataclass(frozen=True, slots=True)
class _Cell:
    """One recurrent layer, weights as (inputs x 4H)."""

    input: _Floats
    hidden: _Floats
    bias: _Floats

    @classmethod
    def of(cls, lstm: Lstm) -> "_Cell":
        return cls(_transposed(lstm.input), _transposed(lstm.hidden), lstm.bias.astype(np.float64))

    @property
    def size(self) -> int:
        return len(self.hidden)

    def step(self, rows: _Floats, hidden: _Floats, cell: _Floats) -> tuple[_Floats, _Floats]:
        """New hidden and cell state, by the equations of ``torch.nn.LSTM``."""
        gates = rows @ self.input
        gates += hidden @ self.hidden
        gates += self.bias
        taken, kept, new, shown = np.split(gates, 4, axis=1)
        cell = _sigmoid(kept) * cell + _sigmoid(taken) * np.tanh(new)
        return _sigmoid(shown) * np.tanh(cell), cell


class NetworkScorer:
    """A trained network as a ``Scorer``. The state of a row is the hidden states of all recurrent layers, then their cells."""

    classes: tuple[()] = ()

    def __init__(self, network: Network) -> None:
        self.features = network.features
        """Labels of the inputs in order, as they were when it was exported."""
        self._layers = DenseLayers(
            [_transposed(layer.weight) for layer in network.layers],
            [layer.bias.astype(np.float64) for layer in network.layers],
            network.activation,
        )
        self._cells = [_Cell.of(lstm) for lstm in network.lstm]
        self._half = sum(cell.size for cell in self._cells)
        self._outputs = len(network.layers[-1].bias)
        self._answers = network.answers
        self._finish = _finish(network)

    @property
    def inputs(self) -> int:
        return len(self.features)

    @property
    def outputs(self) -> int:
        return self._outputs

    @property
    def state_size(self) -> int:
        return 2 * self._half

    @property
    def are_probabilities(self) -> bool:
        return self._answers is Answers.PROBABILITIES

    def score(self, rows: Rows, states: States | None = None) -> tuple[Rows, States | None]:
        if rows.ndim != 2 or rows.shape[1] != self.inputs:
            raise ValueError(f"rows of {self.inputs} features are needed, not {rows.shape}")
        if self._cells:
            return self._score_recurrent(rows, states)
        if len(rows) <= BLOCK:
            return self._finish(self._layers(rows)), None
        scores = np.empty((len(rows), self._outputs))
        for start in range(0, len(rows), BLOCK):
            scores[start : start + BLOCK] = self._finish(self._layers(rows[start : start + BLOCK]))
        return scores, None

    def _score_recurrent(self, rows: Rows, states: States | None) -> tuple[Rows, States]:
        before = np.zeros((len(rows), self.state_size), dtype=np.float32) if states is None else states
        if before.shape != (len(rows), self.state_size):
            raise ValueError(f"a state of {self.state_size} numbers is needed for each row, not {before.shape}")
        after = np.empty_like(before, dtype=np.float32)
        scores = np.empty((len(rows), self._outputs))
        for start in range(0, len(rows), BLOCK):
            part = slice(start, start + BLOCK)
            seen = self._remember(rows[part], before[part].astype(np.float64), after[part])
            scores[part] = self._finish(self._layers(seen))
        return scores, after

    def _remember(self, rows: _Floats, before: _Floats, after: States) -> _Floats:
        """What the recurrent layers make of rows; their new states are written into ``after``."""
        first = 0
        for cell in self._cells:
            hidden, memory = slice(first, first + cell.size), slice(self._half + first, self._half + first + cell.size)
            rows, after[:, memory] = cell.step(rows, before[:, hidden], before[:, memory])
            after[:, hidden] = rows
            first += cell.size
        return rows


def softmax(sums: _Floats) -> _Floats:
    """Probabilities of logits, row by row."""
    sums = sums - np.maximum.reduce(sums, axis=1, keepdims=True)
    np.exp(sums, out=sums)
    sums /= np.add.reduce(sums, axis=1, keepdims=True)
    return sums


def _finish(network: Network) -> Callable[[_Floats], _Floats]:
    if network.answers is Answers.PROBABILITIES:
        return softmax
    if network.bounds is None:
        return lambda sums: sums
    low, high = network.bounds
    return lambda sums: np.clip(sums, low, high)


def _relu(rows: _Floats, out: _Floats) -> _Floats:
    return np.maximum(rows, 0.0, out=out)


def _sigmoid(sums: _Floats) -> _Floats:
    """``1 / (1 + exp(-x))``, without an overflow far from zero."""
    return 0.5 * (1.0 + np.tanh(0.5 * sums))


def _transposed(weight: NDArray[np.float32] | NDArray[np.float64]) -> _Floats:
    return np.ascontiguousarray(weight.T, dtype=np.float64)
