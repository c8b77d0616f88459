"""The file of a network: what training wrote is what a session reads, and everything else is refused with its reason."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from trading.bundles.archives import read_archive, read_array, write_archive, write_array
from trading.bundles.network_file import Activation, Answers, Dense, Lstm, Network, read_network, write_network
from trading.errors import PolicyNotFit

Arrays = dict[str, NDArray[np.generic]]


def floats(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def network(**changed: object) -> Network:
    """Three features, two hidden neurons, three actions."""
    parts: dict[str, object] = {
        "features": ("rsi(bars=14)", "returns(bars=1)", "position"),
        "activation": Activation.TANH,
        "answers": Answers.PROBABILITIES,
        "layers": (Dense(floats(2, 3), floats(2)), Dense(floats(3, 2), floats(3))),
    }
    return Network(**{**parts, **changed})  # type: ignore[arg-type]


def recurrent() -> Network:
    lstm = (Lstm(floats(16, 3), floats(16, 4), floats(16)), Lstm(floats(8, 4), floats(8, 2), floats(8)))
    return network(lstm=lstm, layers=(Dense(floats(3, 2), floats(3)),))


def arrays_of(content: bytes) -> Arrays:
    return {name: read_array(name, data) for name, data in read_archive(content).items()}


def file_of(arrays: Arrays) -> bytes:
    return write_archive({name: write_array(array) for name, array in arrays.items()})


@pytest.mark.parametrize("made", [network, recurrent])
def test_a_network_comes_back_as_it_was_written(made: Callable[[], Network]) -> None:
    written = made()
    read = read_network(write_network(written))
    assert (read.features, read.activation, read.answers) == (written.features, written.activation, written.answers)
    assert all(np.array_equal(a.weight, b.weight) for a, b in zip(read.layers, written.layers, strict=True))
    assert all(np.array_equal(a.bias, b.bias) for a, b in zip(read.layers, written.layers, strict=True))
    assert all(np.array_equal(a.hidden, b.hidden) for a, b in zip(read.lstm, written.lstm, strict=True))
    assert write_network(read) == write_network(written)


def test_the_bounds_of_a_mean_come_back() -> None:
    layers = (Dense(floats(1, 3), floats(1)),)
    written = network(answers=Answers.MEAN, layers=layers, bounds=(-0.25, 0.5))
    assert read_network(write_network(written)).bounds == (-0.25, 0.5)


WEIGHT = "layer0.weight.npy"
DAMAGES: dict[str, tuple[Callable[[Arrays], object], str]] = {
    "a layer of the wrong width": (lambda a: a.update({WEIGHT: floats(2, 4)}), r"layer0.weight .* shape \(2, 4\)"),
    "a number that is none": (lambda a: a.update({WEIGHT: floats(2, 3) * np.float32(np.nan)}), "not finite"),
    "whole numbers for weights": (lambda a: a.update({WEIGHT: np.ones((2, 3), dtype=np.int64)}), "holds int64, not floats"),
    "a missing bias": (lambda a: a.pop("layer1.bias.npy"), r"has no array layer1\.bias"),
    "no layers": (lambda a: [a.pop(name) for name in list(a) if name.startswith("layer")], "has 0 layers"),
    "a layer after a gap": (lambda a: a.update({"layer3.weight.npy": floats(3, 3)}), "arrays that no network has: layer3.weight"),
    "an array of another thing": (lambda a: a.update({"code.npy": floats(1)}), "arrays that no network has: code"),
    "an unknown activation": (lambda a: a.update({"activation.npy": np.array("eval")}), "activation of the network is 'eval'"),
    "an unknown answer": (lambda a: a.update({"answers.npy": np.array("orders")}), "answers of the network is 'orders'"),
    "a newer layout": (lambda a: a.update({"format.npy": np.array(2)}), "another layout than 1"),
    "a feature twice": (lambda a: a.update({"features.npy": np.array(["a", "a", "b"])}), "names 3 features; .* each once"),
    "features as numbers": (lambda a: a.update({"features.npy": floats(3)}), "not a list of at most 500 words"),
    "one action only": (
        lambda a: a.update({"layer1.weight.npy": floats(1, 2), "layer1.bias.npy": floats(1)}),
        "needs two outputs or more",
    ),
    "bounds without a mean": (lambda a: a.update({"low.npy": np.array(0.0), "high.npy": np.array(1.0)}), "no bounds"),
    "bounds that are a list": (lambda a: a.update({"low.npy": floats(2), "high.npy": floats(2)}), "low of the network is not one"),
    "a recurrent layer without its gates": (
        lambda a: a.update({"lstm0.input.npy": floats(3, 3), "lstm0.hidden.npy": floats(3, 1), "lstm0.bias.npy": floats(3)}),
        "lstm0.hidden of the network has the shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_training_would_not_have_written_is_refused(
    damage: Callable[[Arrays], object], reason: str
) -> None:
    arrays = arrays_of(write_network(network()))
    damage(arrays)
    with pytest.raises(PolicyNotFit, match=reason):
        read_network(file_of(arrays))


def test_undamaged_arrays_pass() -> None:
    assert read_network(file_of(arrays_of(write_network(network())))).features[0] == "rsi(bars=14)"


def test_a_layer_of_millions_of_neurons_is_refused() -> None:
    with pytest.raises(PolicyNotFit, match="1 to 4096"):
        network(layers=(Dense(np.zeros((20_000, 3), dtype=np.float32), np.zeros(20_000, dtype=np.float32)),))
