"""prefect.yaml as `prefect deploy` reads it: templates of environment variables, variables and blocks filled in."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from prefect.utilities.templating import apply_values, resolve_block_document_references, resolve_variables

from trading.errors import ConfigurationError


def read_deployments_document(file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The document with its deployments' templates filled in, from this process's environment with ``environment`` over it and
    from the server. Raises ``ConfigurationError``.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}. Mend it.") from error
    if not isinstance(document, dict) or not isinstance(document.get("deployments"), list):
        raise ConfigurationError(f"{file} lists no deployments. Mend it.")
    with _environment_with(environment):
        filled = [_filled(one) for one in document["deployments"]]
        return {**document, "pull": _known_here(document.get("pull") or []), "deployments": filled}


@contextmanager
def _environment_with(more: Mapping[str, str]) -> Iterator[None]:
    """Prefect fills templates from the process's environment and from nowhere else."""
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


def _filled(said: dict[str, Any]) -> dict[str, Any]:
    # A trigger's parameters speak of the event that fired it, and pull steps are taken where a run starts: what is not known
    # here may be known there. Environment variables are known here: one that is not set is empty.
    late = _known_here({key: said[key] for key in ("triggers", "pull") if key in said})
    early: Any = {key: value for key, value in said.items() if key not in late}
    if "{{ prefect." in str(early):
        early = asyncio.run(_from_the_server(early))
    filled: dict[str, Any] = apply_values(_known_here(early), {}, skip_prefixes=["ctx."])
    return {**filled, **late}


def _known_here(said: Any) -> Any:
    return apply_values(said, dict(os.environ), remove_notset=False)


async def _from_the_server(said: dict[str, Any]) -> dict[str, Any]:
    said = await resolve_block_document_references(said)
    return await resolve_variables(said)
