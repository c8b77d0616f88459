"""``openbell limits``: the limits of ``[risk]`` that are in force, and with ``--set`` other ones for the session that runs."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from deployments.terminal.answer import answer_json, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, settings_of_one
from trading.errors import ConfigurationError
from trading.settings import Settings


def limits(
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Change a limit of the session that runs; off switches it off."
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long a running session may take to answer.")
    ] = 60.0,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the limits in force, or change some while a session runs: all of them together, or none."""
    with failures_told(as_json):
        from tasks.manual_limits import change_limits, limits_in_force

        settings = settings_of_one(config, db)
        if not changes:
            _show(limits_in_force(settings), as_json)
            return
        answer = change_limits(settings, _named(changes, settings), wait)
        if as_json:
            answer_json(answer)
            return
        for name, (old, new) in answer["changed"].items():
            _say(f"{name}: {_word(old)} -> {_word(new)}")
        if not answer["changed"]:
            _say("Nothing has changed: the limits were these already.")


def _named(texts: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Changes by name from words like max_daily_loss=500; lists are written with commas."""
    changes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ConfigurationError(f"--set {text!r} is not NAME=VALUE. Write it like max_daily_loss=500.")
        field = type(settings.risk).model_fields.get(name)
        is_list = field is not None and isinstance(field.default, tuple)
        given: Any = (
            [part.strip() for part in value.split(",") if part.strip()] if is_list and value != "none" else value
        )
        section, _, key = name.partition(".")
        changes |= (
            {section: _within(section, key, given, changes, settings)}
            if key
            else {name: [] if value == "none" and is_list else given}
        )
    return changes


def _within(section: str, key: str, value: Any, changes: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A section inside [risk] as it is in force, with one key of it changed."""
    from tasks.manual_limits import limits_in_force

    before = changes.get(section) or limits_in_force(settings)["limits"].get(section) or {}
    return {**before, key: value}


def _show(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        answer_json(found)
        return
    from deployments.terminal.text_table import show_table

    session = found["session_id"]
    rows = [(name, _word(value), found["changed"].get(name, "")) for name, value in _flat(found["limits"])]
    show_table(("limit", "value", "changed at"), rows, all_rows=True)
    _say(
        f"In force in session {session}. Change some with openbell limits --set NAME=VALUE."
        if session
        else "No session runs: these are the settings that the next one takes."
    )


def _flat(limits: Mapping[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in limits.items():
        flat += (
            [(f"{name}.{key}", below) for key, below in value.items()]
            if isinstance(value, Mapping)
            else [(name, value)]
        )
    return flat


def _word(value: object) -> str:
    match value:
        case None:
            return "off"
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return ",".join(map(str, value)) or "none"
        case Mapping():
            return ", ".join(f"{key}={_word(below)}" for key, below in value.items())
        case _:
            return str(value)


def _say(words: str) -> None:
    screen().print(words, highlight=False, markup=False)
