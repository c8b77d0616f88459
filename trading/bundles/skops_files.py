"""Estimators of scikit-learn as files: in skops' format, with a closed list of types, and nothing made before all was looked at.

The file is read, judged and written anew in a canonical form; only that form is handed to skops. So what was judged is what is
loaded, and the same estimator is the same bytes.
"""

import hashlib
import json
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.bundles.archives import MAX_BYTES, read_archive, read_array, write_archive, write_array
from trading.bundles.skops_types import TRUSTED
from trading.errors import PolicyNotFit

SCHEMA = "schema.json"
MAX_NODES = 5_000_000
MAX_DEPTH = 200

_BROKEN = (TypeError, ValueError, LookupError, AttributeError, ImportError, RuntimeError, MemoryError, ArithmeticError)


def write_estimator(estimator: Any) -> bytes:
    """The fitted estimator as a file; equal estimators are equal bytes.

    Raises ``PolicyNotFit`` where it holds a type that ``read_estimator`` would not load, or one that skops cannot write.
    """
    import skops.io

    try:
        written = skops.io.dumps(estimator)
    except _BROKEN as error:
        raise PolicyNotFit(f"{type(estimator).__name__} cannot be written as a skops file ({error}).") from error
    return canonical(written)


def read_estimator(content: bytes) -> Any:
    """The estimator of a file.

    Raises ``PolicyNotFit`` for foreign or damaged files and for types that are not listed, before anything in them is made, and
    for an estimator of another version of scikit-learn.
    """
    import skops.io
    from sklearn.exceptions import InconsistentVersionWarning

    judged = canonical(content, zipfile.ZIP_STORED)
    trusted = sorted(set().union(*TRUSTED.values()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return skops.io.loads(judged, trusted=trusted)
    except InconsistentVersionWarning as error:
        raise PolicyNotFit(f"The estimator was fitted by another version of scikit-learn ({error}).") from error
    except _BROKEN as error:
        raise PolicyNotFit(f"The estimator's file cannot be loaded ({type(error).__name__}: {error}).") from error


def canonical(content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The same skops file with nothing left to chance: members named by their content, no object ids, no times.

    Raises ``PolicyNotFit`` as ``read_estimator`` does. Makes no object of the file.
    """
    from skops.io._protocol import PROTOCOL

    members = read_archive(content)
    if SCHEMA not in members:
        raise PolicyNotFit("The estimator's file is not one that skops wrote: it has no schema.")
    try:
        schema = json.loads(members[SCHEMA])
    except (ValueError, RecursionError) as error:
        raise PolicyNotFit(f"The schema of the estimator's file cannot be read ({error}).") from error
    # Older protocols have loaders of their own, which judge less.
    if not isinstance(schema, dict) or type(schema.get("protocol")) is not int or schema["protocol"] != PROTOCOL:
        raise PolicyNotFit(
            f"The estimator's file is not of skops' protocol {PROTOCOL}. Write it again with the skops installed here."
        )
    judge = _Judge(members)
    clean = judge.judged(schema, 0)
    if judge.foreign:
        raise PolicyNotFit(
            f"The estimator's file holds types that are not trusted: {', '.join(sorted(judge.foreign))[:500]}. Nothing of it was loaded."
        )
    return write_archive({SCHEMA: json.dumps(clean, sort_keys=False).encode(), **judge.kept}, compression)


class _Judge:
    """Walks a schema, copies it without object ids, and keeps the arrays that it refers to.

    Object ids go because skops takes a second node of the same id for the first one, whatever stands in it.
    """

    def __init__(self, members: Mapping[str, bytes]) -> None:
        self._members = members
        self.foreign: set[str] = set()
        self.kept: dict[str, bytes] = {}
        self._nodes = 0
        self._bytes = 0

    def judged(self, value: Any, depth: int) -> Any:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise PolicyNotFit("The schema of the estimator's file is nested too deeply, or too long.")
        if isinstance(value, list):
            return [self.judged(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        copy = {key: self.judged(item, depth + 1) for key, item in value.items() if key != "__id__"}
        if any(key in value for key in ("__loader__", "__class__", "__module__")):
            self._judge(copy)
        return copy

    def _judge(self, node: dict[str, Any]) -> None:
        loader, name = node.get("__loader__"), f"{node.get('__module__')}.{node.get('__class__')}"
        if not isinstance(loader, str) or name not in TRUSTED.get(loader, ()):
            self.foreign.add(f"{name} ({loader})")
        elif loader == "NdArrayNode" and node.get("type") == "numpy":
            node["file"] = self._keep(node.get("file"))
        elif loader == "TreeNode":
            self._judge_tree(node)

    def _keep(self, member: Any) -> str:
        """The canonical name of an array's member, which is looked at and kept."""
        if not isinstance(member, str) or member not in self._members:
            raise PolicyNotFit(f"The estimator's file refers to {str(member)[:80]!r}, which is not in it.")
        data = self._members[member]
        self._bytes += len(data)  # Each reference is another array when it is loaded.
        if self._bytes > MAX_BYTES:
            raise PolicyNotFit(f"The estimator's file would load to more than {MAX_BYTES:,} bytes.")
        array = read_array(member, data)
        if array.dtype.names is not None:
            data = write_array(_defined(array))
        name = f"{hashlib.sha256(data).hexdigest()}.npy"
        self.kept[name] = data
        return name

    def _judge_tree(self, node: dict[str, Any]) -> None:
        """scikit-learn believes what a tree says of its own size and reads that much memory."""
        try:
            _, classes, outputs = node["__reduce__"]["args"]["content"]
            state = node["content"]["content"]
            said = json.loads(state["node_count"]["content"]), json.loads(outputs["content"])
            nodes, counts = self._array(state["nodes"]), self._array(classes)
        except (LookupError, TypeError, ValueError) as error:
            raise PolicyNotFit(f"A tree of the estimator's file is not one that skops wrote ({error}).") from error
        if said != (len(nodes), 1) or any(type(number) is not int for number in said) or counts.shape != (1,):
            raise PolicyNotFit(
                f"A tree of the estimator's file has {len(nodes)} nodes and says {said[0]}, or has several outputs."
            )
        if int(counts[0]) < 1:
            raise PolicyNotFit("A tree of the estimator's file has no classes.")

    def _array(self, node: Mapping[str, Any]) -> NDArray[Any]:
        array = read_array(node["file"], self.kept[node["file"]])
        if array.ndim != 1:
            raise PolicyNotFit("A tree of the estimator's file has its nodes in the wrong shape.")
        return np.asarray(array)


def _defined(records: NDArray[Any]) -> NDArray[Any]:
    """Records with zeros wherever scikit-learn left memory as it found it: between fields, and where a leaf needs no value."""
    clean = np.zeros(records.shape, dtype=records.dtype)
    for field in records.dtype.names or ():
        clean[field] = records[field]
    if {"left_child", "missing_go_to_left"} <= set(records.dtype.names or ()):
        clean["missing_go_to_left"][clean["left_child"] < 0] = 0
    return clean
