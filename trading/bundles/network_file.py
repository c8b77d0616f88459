"""A trained network as a file of named arrays: what training writes and a session reads. It is numbers and nothing else.

Layout (``.npz``): ``format``, ``features`` (labels of the inputs in order), ``activation``, ``answers``; for each recurrent layer
``lstm0.input`` (4H x inputs), ``lstm0.hidden`` (4H x H), ``lstm0.bias`` (4H), gates in torch's order input, forget, cell, output;
for each dense layer ``layer0.weight`` (outputs x inputs) and ``layer0.bias``; for a mean ``low`` and ``high``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from trading.bundles.archives import read_archive, read_array, write_archive, write_array
from trading.errors import PolicyNotFit

NETWORK_FORMAT = 1
MAX_FEATURES = 500
MAX_WIDTH = 4_096
MAX_LAYERS = 16

Floats = NDArray[np.float32] | NDArray[np.float64]


class Activation(StrEnum):
    """What a neuron does to its sum. The last layer does nothing."""

    TANH = "tanh"
    RELU = "relu"


class Answers(StrEnum):
    """What the last layer's numbers are: logits of ``PROBABILITIES``, ``VALUES`` of actions, or the ``MEAN`` of one number."""

    PROBABILITIES = "probabilities"
    VALUES = "values"
    MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Dense:
    """``weight`` (outputs x inputs) and ``bias`` (outputs)."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Lstm:
    """``input`` (4H x inputs), ``hidden`` (4H x H) and ``bias`` (4H): rows of the input, forget, cell and output gate."""

    input: Floats
    hidden: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Network:
    """An actor: recurrent layers, if any, then dense layers. ``bounds`` is what a mean is clipped to.

    Raises ``PolicyNotFit`` where the arrays do not go together or are not finite.
    """

    features: tuple[str, ...]
    activation: Activation
    answers: Answers
    layers: tuple[Dense, ...]
    lstm: tuple[Lstm, ...] = ()
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.features) <= MAX_FEATURES or len(set(self.features)) != len(self.features):
            raise PolicyNotFit(
                f"The network names {len(self.features)} features; it needs 1 to {MAX_FEATURES}, each once."
            )
        if not 0 < len(self.layers) <= MAX_LAYERS or len(self.lstm) > MAX_LAYERS:
            raise PolicyNotFit(f"The network has {len(self.layers)} layers; 1 to {MAX_LAYERS} are taken.")
        width = len(self.features)
        for number, cell in enumerate(self.lstm):
            hidden = cell.hidden.shape[-1] if cell.hidden.ndim == 2 else 0
            _expect(f"lstm{number}.hidden", cell.hidden, (4 * hidden, hidden))
            _expect(f"lstm{number}.input", cell.input, (4 * hidden, width))
            _expect(f"lstm{number}.bias", cell.bias, (4 * hidden,))
            width = hidden
        for number, layer in enumerate(self.layers):
            outputs = len(layer.bias) if layer.bias.ndim == 1 else 0
            _expect(f"layer{number}.bias", layer.bias, (outputs,))
            _expect(f"layer{number}.weight", layer.weight, (outputs, width))
            width = outputs
        self._check_answers(width)

    def _check_answers(self, outputs: int) -> None:
        if self.answers is not Answers.MEAN:
            if self.bounds is not None or outputs < 2:
                raise PolicyNotFit(
                    f"A network of {self.answers} needs two outputs or more and no bounds; it has {outputs} outputs."
                )
        elif self.bounds is None or outputs != 1 or not -1e9 <= self.bounds[0] < self.bounds[1] <= 1e9:
            raise PolicyNotFit(
                f"A network of a mean needs one output and the bounds of it, low before high; it has {outputs}."
            )


def write_network(network: Network) -> bytes:
    """The network as a file; the same network is the same bytes."""
    arrays: dict[str, NDArray[np.generic]] = {
        "format": np.array(NETWORK_FORMAT),
        "features": np.array(network.features, dtype=np.str_),
        "activation": np.array(network.activation.value, dtype=np.str_),
        "answers": np.array(network.answers.value, dtype=np.str_),
    }
    for number, cell in enumerate(network.lstm):
        arrays |= {
            f"lstm{number}.input": cell.input,
            f"lstm{number}.hidden": cell.hidden,
            f"lstm{number}.bias": cell.bias,
        }
    for number, layer in enumerate(network.layers):
        arrays |= {f"layer{number}.weight": layer.weight, f"layer{number}.bias": layer.bias}
    if network.bounds is not None:
        arrays |= {"low": np.array(network.bounds[0]), "high": np.array(network.bounds[1])}
    return write_archive({f"{name}.npy": write_array(np.asarray(array, order="C")) for name, array in arrays.items()})


def read_network(content: bytes) -> Network:
    """The network of a file. Raises ``PolicyNotFit`` for anything that ``write_network`` would not have written."""
    arrays = {name.removesuffix(".npy"): read_array(name, data) for name, data in read_archive(content).items()}
    taken = _Taken(arrays)
    if taken.whole("format") != NETWORK_FORMAT:
        raise PolicyNotFit(
            f"The network's file has another layout than {NETWORK_FORMAT}, the one that is read. Export it again."
        )
    network = Network(
        features=taken.words("features"),
        activation=Activation(taken.word("activation", tuple(Activation))),
        answers=Answers(taken.word("answers", tuple(Answers))),
        lstm=tuple(
            Lstm(*(taken.floats(f"lstm{number}.{part}") for part in ("input", "hidden", "bias")))
            for number in taken.numbers("lstm", "input")
        ),
        layers=tuple(
            Dense(taken.floats(f"layer{number}.weight"), taken.floats(f"layer{number}.bias"))
            for number in taken.numbers("layer", "weight")
        ),
        bounds=(taken.number("low"), taken.number("high")) if "low" in arrays else None,
    )
    if foreign := sorted(set(arrays) - taken.names):
        raise PolicyNotFit(f"The network's file holds arrays that no network has: {', '.join(foreign)[:200]}.")
    return network


class _Taken:
    """Arrays by name, each checked for its kind as it is taken, and a list of those that were."""

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self._arrays = arrays
        self.names: set[str] = set()

    def numbers(self, layer: str, part: str) -> Iterator[int]:
        """0, 1, 2, ... as far as there are layers."""
        number = 0
        while f"{layer}{number}.{part}" in self._arrays:
            yield number
            number += 1

    def floats(self, name: str) -> Floats:
        array = self._take(name)
        if array.dtype == np.float32:
            return array.astype(np.float32)
        if array.dtype == np.float64:
            return array.astype(np.float64)
        raise PolicyNotFit(f"{name} of the network holds {array.dtype}, not floats.")

    def number(self, name: str) -> float:
        array = self.floats(name)
        if array.shape != ():
            raise PolicyNotFit(f"{name} of the network is not one number.")
        return float(array)

    def whole(self, name: str) -> int:
        array = self._take(name)
        if array.shape != () or array.dtype.kind != "i":
            raise PolicyNotFit(f"{name} of the network is not one whole number.")
        return int(array.item())

    def words(self, name: str) -> tuple[str, ...]:
        array = self._take(name)
        if array.ndim != 1 or array.dtype.kind != "U" or array.size > MAX_FEATURES:
            raise PolicyNotFit(f"{name} of the network is not a list of at most {MAX_FEATURES} words.")
        return tuple(str(word) for word in array)

    def word(self, name: str, known: tuple[str, ...]) -> str:
        array = self._take(name)
        word = str(array.item()) if array.shape == () and array.dtype.kind == "U" else ""
        if word not in known:
            raise PolicyNotFit(f"{name} of the network is {word[:40]!r}, not one of {', '.join(known)}.")
        return word

    def _take(self, name: str) -> NDArray[np.generic]:
        if name not in self._arrays:
            raise PolicyNotFit(f"The network's file has no array {name}.")
        self.names.add(name)
        return self._arrays[name]


def _expect(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    if array.shape != shape or not all(0 < extent <= 4 * MAX_WIDTH for extent in shape):
        raise PolicyNotFit(
            f"{name} of the network has the shape {array.shape}; {shape} of 1 to {MAX_WIDTH} fits what comes before."
        )
    if not np.isfinite(array).all():
        raise PolicyNotFit(f"{name} of the network holds numbers that are not finite.")
