"""Why a settings document is not valid, in sentences: which value, and for an unknown key the nearest known one."""

import difflib
from collections.abc import Sequence
from typing import get_args

from pydantic import BaseModel, ValidationError


def explained(error: ValidationError, model: type[BaseModel], source: str, besides: Sequence[str] = ()) -> str:
    """What is wrong with a document of ``model`` from ``source``. ``besides`` are keys of its top level that ``model`` does not have."""
    sentences = []
    problems = error.errors()
    # Of a choice between words and a number only the number's complaint helps someone who gave a number.
    numbers = {problem["loc"][:-1] for problem in problems if problem["type"] not in ("literal_error", "float_parsing")}
    for problem in problems:
        if problem["type"] == "literal_error" and problem["loc"][:-1] in numbers:
            continue
        # Unions add the tried member to the location; the setting's own name is all a person needs.
        location = [str(part) for part in problem["loc"]]
        if problem["type"] == "extra_forbidden":
            sentences.append(_unknown_key(location, model, besides))
            continue
        name = ".".join(part for part in location if not _is_union_member(part)) or "settings"
        message = problem["msg"].removeprefix("Value error, ")
        sentences.append(f"{name} = {problem['input']!r}: {message[:1].lower()}{message[1:]}")
    return f"Settings from {source} are not valid. " + ". ".join(dict.fromkeys(sentences)) + "."


def _is_union_member(part: str) -> bool:
    return part.startswith(("literal[", "constrained-", "function-")) or part in {"float", "int", "str", "bool"}


def _unknown_key(location: list[str], model: type[BaseModel], besides: Sequence[str]) -> str:
    for part in location[:-1]:
        if part.isdigit():
            continue  # a place in a list of sections
        annotation = model.model_fields[part].annotation
        below = [
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if not below:
            break
        model = below[0]
    known = [*model.model_fields, *(besides if not location[:-1] else ())]
    nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    where = f"[{'.'.join(location[:-1])}]" if location[:-1] else "the top level"
    remedy = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    return f"Unknown key {location[-1]} in {where}: {remedy}"
