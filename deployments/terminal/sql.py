"""``openbell sql``: questions to the history. Reads only."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.terminal.answer import answer_json
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, settings_from
from trading.errors import ConfigurationError


def sql(
    query: Annotated[
        str | None,
        typer.Argument(metavar="[QUERY]", help="One SQL query; without it stdin is read, or asked for at a prompt."),
    ] = None,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask the history in SQL.

    Tables: sessions, bars, decisions, risk_checks, orders, order_events, fills, equity, data_findings, discrepancies.
    Views: daily_pnl, trades, positions, open_orders, slippage.

    While a session runs it is the session that answers.
    """
    known: dict[str, Any] = {}
    with failures_told(as_json, known):
        path = settings_from(config, db).store.path
        known["db"] = str(path)
        if query is None and sys.stdin.isatty():
            from deployments.terminal.prompt import ask_at_prompt

            ask_at_prompt(path, as_json)
            return
        text = query if query is not None else sys.stdin.read()
        if not text.strip():
            raise ConfigurationError(
                'No query was given. Write one, for example: openbell sql "select * from daily_pnl".'
            )
        answer(path, text, as_json)


def answer(path: Path, query: str, as_json: bool) -> None:
    """Ask one query and print what comes back."""
    from deployments.terminal.text_table import show_table
    from storage.questions import ask

    found = ask(path, query)
    if as_json:
        answer_json({"columns": found.columns, "rows": found.rows})
    else:
        show_table(found.columns, found.rows)
