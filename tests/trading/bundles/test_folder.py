import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trading.bundles.folder import MAX_MANIFEST_BYTES, Bundle, fingerprint_of, read_bundle, write_bundle
from trading.errors import ConfigurationError, PolicyNotFit

MakeBundle = Callable[..., Bundle]


@pytest.fixture
def bundle(network_bundle: MakeBundle) -> Bundle:
    return network_bundle([[-1.0], [0.0], [1.0]])


def edit(folder: Path, **changes: Any) -> None:
    """Change the manifest as somebody with an editor does."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    document |= changes
    path.write_text(json.dumps(document))


def test_what_was_written_is_read_back(bundle: Bundle) -> None:
    found = read_bundle(bundle.folder)
    assert found == bundle
    content = (bundle.folder / "manifest.json").read_bytes()
    assert found.fingerprint == f"probe@{hashlib.sha256(content).hexdigest()[:16]}" == fingerprint_of(content, "probe")
    assert sorted(path.name for path in bundle.folder.iterdir()) == ["golden.json", "manifest.json", "model.npz"]


def test_a_bundle_is_never_written_over(bundle: Bundle) -> None:
    before = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
    with pytest.raises(ConfigurationError, match="a bundle is never changed"):
        write_bundle(bundle.folder, bundle.manifest, b"other", bundle.golden)
    assert {path.name: path.read_bytes() for path in bundle.folder.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_left_without_a_trace(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "bundle", bundle.manifest, bundle.weights, bundle.golden)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundles", "file"]


def test_there_has_to_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no bundle"):
        read_bundle(tmp_path / "nowhere")


def test_a_folder_of_something_else_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("buy low")
    with pytest.raises(PolicyNotFit, match=r"manifest\.json of the bundle cannot be read"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("name", ["model.npz", "golden.json"])
@pytest.mark.parametrize("damage", ["changed", "shortened", "absent", "longer"])
def test_a_file_that_is_not_the_one_that_was_written_is_named(bundle: Bundle, name: str, damage: str) -> None:
    path = bundle.folder / name
    content = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        changed = {
            "changed": bytes([content[0] ^ 1]) + content[1:],
            "shortened": content[:-1],
            "longer": content + b"0",
        }
        path.write_bytes(changed[damage])
    with pytest.raises(PolicyNotFit, match=name):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_manifest_that_was_cut_short_is_refused(bundle: Bundle, size: int) -> None:
    path = bundle.folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(PolicyNotFit, match="not JSON"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": 2}, "has the format 2, and this version reads format 1"),
        ({"kind": "oracle"}, "kind"),
        ({"features": []}, "features"),
        ({"surprise": 1}, "surprise"),
        ({"actions": {"kind": "choice", "actions": [0, "PERHAPS"]}}, "actions"),
        ({"weights": {"format": "pickle", "file": "model.npz"}}, "weights.format"),
        ({"weights": {"format": "arrays", "file": "../model.npz"}}, "weights.file"),
        ({"files": {"/etc/passwd": "0" * 64}}, "files"),
        ({"files": {}}, r"has no hash of model\.npz"),
        ({"actions": {"kind": "target_weight", "scale": float("nan"), "lowest": 0, "highest": 1}}, "finite number"),
        ({"actions": {"kind": "choice", "actions": [True, "0.5", "BUY"]}}, "actions"),
        ({"features": [{"name": "rsi", "parameters": {"bars": True}}]}, "features"),
        ({"features": [{"name": "rsi", "parameters": {"bars": "14"}}]}, "features"),
        ({"lineage": {"settings": json.loads("[" * 40 + "]" * 40)}}, "nested deeper than 32 levels"),
        ({"lineage": {"code_version": "\ud800"}}, "holds text that is none"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(bundle: Bundle, changes: dict[str, Any], named: str) -> None:
    edit(bundle.folder, **changes)
    with pytest.raises(PolicyNotFit, match=named):
        read_bundle(bundle.folder)


def test_a_changed_manifest_is_another_policy(bundle: Bundle) -> None:
    edit(bundle.folder, version="2")
    assert read_bundle(bundle.folder).fingerprint != bundle.fingerprint


def test_a_file_that_the_manifest_does_not_know_is_not_looked_at(bundle: Bundle, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (bundle.folder / "model.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(PolicyNotFit, match=r"model\.pkl"):
        read_bundle(bundle.folder)
    assert not (tmp_path / "sprung").exists()


def test_golden_samples_are_read_up_to_a_size(bundle: Bundle) -> None:
    content = b" " * (MAX_MANIFEST_BYTES + 1)
    (bundle.folder / "golden.json").write_bytes(content)
    files = {**bundle.manifest.files, "golden.json": hashlib.sha256(content).hexdigest()}
    edit(bundle.folder, files=files)
    with pytest.raises(PolicyNotFit, match="a bundle's have at most"):
        read_bundle(bundle.folder)


def test_a_link_out_of_the_bundle_is_not_followed(bundle: Bundle, tmp_path: Path) -> None:
    weights = bundle.folder / "model.npz"
    weights.rename(tmp_path / "elsewhere.npz")
    weights.symlink_to(tmp_path / "elsewhere.npz")
    with pytest.raises(PolicyNotFit, match=r"model\.npz"):
        read_bundle(bundle.folder)


def test_a_pipe_in_the_bundle_does_not_hang_the_session(bundle: Bundle) -> None:
    weights = bundle.folder / "model.npz"
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(PolicyNotFit, match="not a plain file"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize(("library", "version"), [("scikit-learn", "0.1"), ("no-such-library", "1.0")])
def test_weights_are_read_only_by_the_library_that_wrote_them(
    network_bundle: MakeBundle, library: str, version: str
) -> None:
    made = network_bundle([[-1.0], [0.0], [1.0]], requires={library: version})
    with pytest.raises(PolicyNotFit, match=rf"{library} {version}, and here it is"):
        read_bundle(made.folder)
