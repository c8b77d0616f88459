"""``openbell report``: what the sessions of a day came to, from the history."""

from datetime import date
from typing import Annotated, Any

import typer

from deployments.terminal.answer import answer_json, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, day_asked, settings_from
from trading.errors import ConfigurationError
from trading.settings import Settings

_NEAREST = 2


def report(
    day: Annotated[
        str | None,
        typer.Argument(
            metavar="DATE", help="Exchange date, for example 2011-01-18.", show_default="the newest with a session"
        ),
    ] = None,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Tell what every session of a day came to, or how far it is."""
    known: dict[str, Any] = {}
    with failures_told(as_json, known):
        asked = day_asked(day, "DATE")
        settings = settings_from(config, db)
        known["db"] = str(settings.store.path)
        _report(settings, asked, as_json)


def _report(settings: Settings, asked: date | None, as_json: bool) -> None:
    from deployments.terminal.closing_facts import closing_facts, report_answer
    from deployments.terminal.closing_summary import show_closing_summary
    from storage.questions import session_dates, sessions_on
    from storage.visit import read_from

    day = asked or next(reversed(read_from(settings.store.path, session_dates)), date.min)
    sessions = read_from(
        settings.store.path,
        lambda store: [closing_facts(store, record.session_id) for record in sessions_on(store, day)],
    )
    if not sessions:
        raise ConfigurationError(_nothing_on(settings, day))
    if as_json:
        answer_json({"sessions": [report_answer(facts) for facts in sessions], "db": str(settings.store.path)})
        return
    for place, facts in enumerate(sessions):
        if place:
            screen().print()
        show_closing_summary(facts)


def _nothing_on(settings: Settings, day: date) -> str:
    from storage.questions import session_dates
    from storage.visit import read_from

    days = read_from(settings.store.path, session_dates)
    if not days:
        return f"The database {settings.store.path} has no session at all. Trade one with 'openbell session'."
    before = [other for other in days if other < day][-_NEAREST:]
    after = [other for other in days if other > day][:_NEAREST]
    nearest = ", ".join(other.isoformat() for other in before + after)
    return f"The database {settings.store.path} has no session on {day.isoformat()}. The nearest are on {nearest}."
