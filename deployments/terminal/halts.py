"""``openbell halt`` and ``openbell resume``: set and clear the latch that keeps sessions from taking new risk.

A session asks for halts when it starts. One that is running holds the database, so that it cannot be halted from
here: stop it (Ctrl-C, or a polite kill) and halt.
"""

import getpass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from deployments.terminal.answer import answer_json, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, settings_from
from storage.questions import standing_halts
from storage.store import Store, open_store
from trading.decisions import Halt
from trading.errors import ConfigurationError

_KINDS = ("account:", "strategy:", "symbol:")

Scope = Annotated[
    str,
    typer.Option("--scope", metavar="SCOPE", help="all, account:NAME, strategy:NAME or symbol:NAME."),
]


def halt(
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever clears it.")],
    scope: Scope = "all",
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let no session take new risk within the scope, until `openbell resume`."""
    with failures_told(as_json):
        _check(scope)
        if not reason.strip():
            raise ConfigurationError("--reason is empty. Say why, for whoever clears the halt.")
        now = datetime.now(UTC)
        with open_store(settings_from(config, db).store.path) as store:
            store.ledger.record_halt(Halt(scope, reason.strip(), now))
            _answer(store, now, f"Halted {scope}: {reason.strip()}", {"halted": scope}, as_json)


def resume(scope: Scope = "all", db: Db = None, config: Config = None, as_json: Json = False) -> None:
    """Clear the halts that stand under exactly this scope."""
    with failures_told(as_json):
        _check(scope)
        now = datetime.now(UTC)
        with open_store(settings_from(config, db).store.path) as store:
            cleared = store.ledger.clear_halts(scope, getpass.getuser(), now)
            words = f"Cleared {cleared} halt{'' if cleared == 1 else 's'} of {scope}."
            _answer(store, now, words, {"resumed": scope, "cleared": cleared}, as_json)


def _check(scope: str) -> None:
    if scope != "all" and not (scope.startswith(_KINDS) and scope.partition(":")[2]):
        raise ConfigurationError(
            f"--scope {scope!r} is none. Write all, account:NAME, strategy:NAME or symbol:NAME, for example account:paper."
        )


def _answer(store: Store, now: datetime, words: str, facts: dict[str, Any], as_json: bool) -> None:
    standing = standing_halts(store, now)
    if as_json:
        halts = [{"scope": one.scope, "reason": one.reason, "halted_at": one.halted_at} for one in standing]
        answer_json({**facts, "standing": halts, "db": str(store.path)})
        return
    screen().print(words, highlight=False)
    for one in standing:
        screen().print(f"  stands: {one.scope}: {one.reason}", highlight=False, markup=False)
    if not standing:
        screen().print("No halt stands.")
