"""``openbell deploy``: the work pool and the deployments of prefect.yaml, with the settings of openbell.toml, on the Prefect server."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.terminal.answer import answer_json, aside, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json

if TYPE_CHECKING:
    from deployments.publishing.publish import Published


def deploy(
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Remove deployments of openbell that the files no longer name.")
    ] = False,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write the deployments to the Prefect server; a second time changes nothing.

    What is written: the work pool, every deployment of prefect.yaml with the settings of openbell.toml, those of each
    [strategies.NAME] in it instead, and the alerts. Parameters that were changed in the UI are overwritten; a schedule that was switched off there stays off.
    """
    known: dict[str, Any] = {}
    with failures_told(as_json, known):
        from deployments.publishing.publish import publish

        published = publish(config, db, prune)
        if as_json:
            answer_json(_answer(published))
        else:
            _show(published)
        _warn_of_what_is_left(published)


def _answer(published: "Published") -> dict[str, Any]:
    return {
        "api": published.api,
        "home": published.home,
        "settings_file": published.settings_file,
        "db": published.settings.store.path,
        "version": published.version,
        "work_pools": [{"name": name, "made": made} for name, made in published.work_pools.items()],
        "strategies": list(published.strategies),
        "deployments": [
            {"name": one.full_name, "written": one.written, "schedules": list(one.schedules)}
            for one in published.deployments
        ],
        "alerts": asdict(published.alerts),
    }


def _show(published: "Published") -> None:
    from deployments.terminal.text_table import show_table

    rows = [(one.full_name, one.written, ", ".join(one.schedules)) for one in published.deployments]
    show_table(("deployment", "", "starts by itself"), rows, all_rows=True)
    made = [name for name, is_new in published.work_pools.items() if is_new]
    if made:
        _say(f"The work pool {', '.join(made)} was made.")
    _say(published.alerts.in_words)
    _say(
        f"Version {published.version} on {published.api}; home {published.home}, settings "
        f"{published.settings_file or 'as they are by default'}."
    )


def _warn_of_what_is_left(published: "Published") -> None:
    left = [one for one in published.deployments if one.written == "left"]
    if not left:
        return
    from deployments.stack.local_stack import NO_LONGER_NAMED

    starting = [one.full_name for one in left if one.schedules]
    also = f" {', '.join(starting)} still start by themselves." if starting else ""
    aside().print(
        f"{NO_LONGER_NAMED} {', '.join(one.full_name for one in left)}.{also} openbell deploy --prune removes them.",
        markup=False,
    )


def _say(words: str) -> None:
    screen().print(words, highlight=False, markup=False)
