"""Bundles on disk: written whole or not at all, read only where every byte is what the manifest says.

Nothing in a bundle is run, and nothing of it is even parsed before its hash is right.
"""

import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from trading.bundles.manifest import BUNDLE_FORMAT, GOLDEN_FILE, MANIFEST_FILE, Golden, Manifest
from trading.errors import ConfigurationError, PolicyNotFit

MAX_MANIFEST_BYTES = 8 * 2**20
MAX_FILE_BYTES = 512 * 2**20
MAX_DEPTH = 32

_FINGERPRINT_DIGITS = 16

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files are what its manifest says. ``weights`` are the bytes that were hashed."""

    folder: Path
    manifest: Manifest
    fingerprint: str
    golden: Golden
    weights: bytes


def write_bundle(folder: Path, manifest: Manifest, weights: bytes, golden: Golden) -> Bundle:
    """Write a bundle as ``folder``, whole or not at all; the manifest's hashes are filled in here.

    Raises ``ConfigurationError`` where the folder exists already or cannot be written.
    """
    contents = {manifest.weights.file: weights, GOLDEN_FILE: _as_json(golden)}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = manifest.model_copy(update={"files": hashes})
    contents[MANIFEST_FILE] = _as_json(manifest)
    if folder.exists():
        raise ConfigurationError(f"There is a {folder} already: a bundle is never changed. Name another version.")
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        unfinished.mkdir(parents=True)
        for name, content in contents.items():
            _write_durably(unfinished / name, content)
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ConfigurationError(f"The bundle {folder} cannot be written: {error}.") from error
    return Bundle(folder, manifest, fingerprint_of(contents[MANIFEST_FILE], manifest.name), golden, weights)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in ``folder``, with every file checked.

    Raises ``PolicyNotFit`` that says what is wrong with which file, ``ConfigurationError`` where there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"There is no bundle {folder}: it is not a folder. Name the one that holds {MANIFEST_FILE}."
        )
    content = _read_file(folder, MANIFEST_FILE, MAX_MANIFEST_BYTES)
    manifest = _parse(Manifest, _document(content, folder), folder / MANIFEST_FILE)
    for needed in (manifest.weights.file, GOLDEN_FILE):
        if needed not in manifest.files:
            raise PolicyNotFit(f"The manifest of {folder} has no hash of {needed}: it is not complete.")
    strange = sorted({path.name for path in folder.iterdir()} - {MANIFEST_FILE, *manifest.files})
    if strange:
        raise PolicyNotFit(
            f"The bundle {folder} holds {', '.join(strange[:5])}, which its manifest does not know. Delete what "
            "does not belong there, or take the bundle from where it was made."
        )
    files = {
        name: _read_file(folder, name, MAX_MANIFEST_BYTES if name == GOLDEN_FILE else MAX_FILE_BYTES)
        for name in manifest.files
    }
    for name, expected in manifest.files.items():
        found = hashlib.sha256(files[name]).hexdigest()
        if found != expected:
            raise PolicyNotFit(
                f"{folder / name} is not the file that the bundle was written with: its SHA-256 is {found[:16]}... and not "
                f"{expected[:16]}.... Take the bundle from where it was made."
            )
    golden = _parse(Golden, _document(files[GOLDEN_FILE], folder), folder / GOLDEN_FILE)
    require_versions(manifest, folder)
    return Bundle(folder, manifest, fingerprint_of(content, manifest.name), golden, files[manifest.weights.file])


def fingerprint_of(manifest: bytes, name: str) -> str:
    """What a bundle is known by: its name, and the beginning of the SHA-256 of its manifest."""
    return f"{name}@{hashlib.sha256(manifest).hexdigest()[:_FINGERPRINT_DIGITS]}"


def require_versions(manifest: Manifest, folder: Path) -> None:
    """Raise ``PolicyNotFit`` unless the libraries that the weights need are here in exactly the versions that wrote them."""
    for library, needed in manifest.requires.items():
        try:
            found = version(library)
        except PackageNotFoundError:
            found = "not installed"
        if found != needed:
            raise PolicyNotFit(
                f"The bundle {folder} was written with {library} {needed}, and here it is {found}: the model could decide "
                f"otherwise. Install {library}=={needed}, or train it again."
            )


def _document(content: bytes, folder: Path) -> Mapping[str, object]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PolicyNotFit(f"A file of the bundle {folder} is not JSON: {error}. Was it cut short?") from error
    if _depth(document) > MAX_DEPTH:
        raise PolicyNotFit(f"A file of the bundle {folder} is nested deeper than {MAX_DEPTH} levels, which none is.")
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise PolicyNotFit(f"A file of the bundle {folder} holds text that is none: {error.reason}.") from error
    if not isinstance(document, dict):
        raise PolicyNotFit(f"A file of the bundle {folder} is no bundle's: it holds no object.")
    if document.get("format", BUNDLE_FORMAT) != BUNDLE_FORMAT:
        raise PolicyNotFit(
            f"The bundle {folder} has the format {document['format']!r}, and this version reads format {BUNDLE_FORMAT}."
        )
    return document


def _depth(value: object, above: int = 0) -> int:
    """How many levels deep it is nested, counted no further than is allowed."""
    if above > MAX_DEPTH or not isinstance(value, dict | list):
        return above
    inside = value.values() if isinstance(value, dict) else value
    return max((_depth(one, above + 1) for one in inside if isinstance(one, dict | list)), default=above + 1)


def _parse(model: type[_Model], document: Mapping[str, object], path: Path) -> _Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PolicyNotFit(f"{path} is not what a bundle has: {place}: {first['msg']}.") from error


def _read_file(folder: Path, name: str, most: int) -> bytes:
    """The file's bytes; only a plain file of the folder itself, no link out of it."""
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise PolicyNotFit(f"{path} is not a plain file.")
            if state.st_size > most:
                raise PolicyNotFit(f"{path} has {state.st_size:,} bytes; a bundle's have at most {most:,}.")
            return file.read(most)
    except OSError as error:
        raise PolicyNotFit(f"{path} of the bundle cannot be read: {error.strerror or error}.") from error


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _as_json(model: BaseModel) -> bytes:
    return (model.model_dump_json(indent=1) + "\n").encode()
