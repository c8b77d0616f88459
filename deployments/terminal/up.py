"""``openbell up``: the local stack until Ctrl-C, with its addresses and what happens on it."""

import contextlib
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from deployments.publishing.house import home_and_settings
from deployments.stack.address import StackAddress, check_access
from deployments.stack.local_stack import LocalStack, StackPlan, Telling, free_address
from deployments.stack.news import News
from deployments.stack.one_per_home import AlreadyUp, only_stack
from deployments.stack.worker import Signals
from deployments.terminal.answer import answer_json, aside
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Host, Json, Port, settings_from
from trading.strategies import strategies_of


def up(
    port: Port = 4200,
    host: Host = "127.0.0.1",
    deploys: Annotated[bool, typer.Option("--deploy/--no-deploy", help="Write the deployments to the server.")] = True,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Start the local stack and keep it up: Prefect server, deployments, worker, UI. Ctrl-C ends it in order.

    Works in the folder that OPENBELL_HOME names, else in this one. With --json one line says the addresses once it is up.
    """
    with failures_told(as_json):
        home, file = home_and_settings(config, os.environ)
        databases = _databases(home, file, db)
        address = StackAddress(host, port)
        check_access(address, os.environ)
        signals = Signals()
        try:
            with only_stack(home) as note:
                address = free_address(host, port)
                say(f"Starting the stack of {home} at {address.ui_url}: about 20 s, twice that at a busy machine.")
                plan = StackPlan(home, address, _deploy_command(config, db) if deploys else ())
                telling = Telling(say, _tell, lambda where, seconds: _ready(where, seconds, home, databases, as_json))
                LocalStack(plan, dict(os.environ), telling).run(note, signals)
        except AlreadyUp as other:
            if not other.note.api_url:
                raise
            say(f"{other} Nothing was started.")
            if as_json:
                answer_json(
                    {"api": other.note.api_url, "ui": other.note.ui_url, "pid": other.note.pid, "home": str(home)}
                )
            return
        say("The stack has stopped.")


def say(words: str) -> None:
    """A sentence about the stack, with its time."""
    _write(datetime.now().astimezone(), words, "")


def _tell(news: News) -> None:
    _write(news.at.astimezone(), news.words, "yellow" if news.is_alarming else "")


def _write(at: datetime, words: str, style: str) -> None:
    # A terminal that was closed is no reason to leave processes behind.
    with contextlib.suppress(OSError):
        aside().print(Text(f"{at:%H:%M:%S} {' '.join(words.split())}", style=style))
        sys.stderr.flush()


def _deploy_command(config: Path | None, db: Path | None) -> list[str]:
    options = [*(["--config", str(config.absolute())] if config else []), *(["--db", str(db.absolute())] if db else [])]
    return ["deploy", *options]


def _databases(home: Path, file: Path | None, db: Path | None) -> dict[str, Path]:
    """Whose ledgers the stack's sessions write: by strategy, or one without a name."""
    strategies = strategies_of(file) if db is None else ()
    if strategies:
        return {one.name: home / one.settings.store.path for one in strategies}
    return {"": (Path() if db is not None else home) / settings_from(file, db).store.path}


def _ready(address: StackAddress, seconds: float, home: Path, databases: Mapping[str, Path], as_json: bool) -> None:
    first = next(iter(databases.values()))
    asked = f' --db "{first}"' if len(databases) > 1 else ""
    lines = [
        f"UI        {address.ui_url}",
        f"API       {address.api_url}",
        f"          export PREFECT_API_URL={address.api_url}",
        f"Home      {home}",
        f"          export OPENBELL_HOME={home}",
        *[f"Database  {path}{f'   ({name})' if name else ''}" for name, path in databases.items()],
        f'          openbell sql "SELECT * FROM daily_pnl"{asked}   (a session that holds it answers through its door)',
    ]
    say(f"Up after {seconds:.0f} s. Ctrl-C stops it in order.")
    for line in lines:
        aside().print(Text(line))
    sys.stderr.flush()
    if as_json:
        facts = {"ui": address.ui_url, "api": address.api_url, "pid": os.getpid()}
        answer_json({**facts, "home": str(home), "db": str(first), "seconds": round(seconds, 1)})
