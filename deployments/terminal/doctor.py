"""``openbell doctor``: what is wrong with this machine, the settings, or the line to the broker, and what to do about it.

The rule: it looks and changes nothing. Nothing is ordered and nothing is written.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from deployments.terminal.answer import answer_json, aside, screen
from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.failures import failures_told
from deployments.terminal.options import SETTINGS_FILE, Config, Db, Json, Symbols, settings_from, symbols_asked
from trading.checks import Check, CheckState
from trading.settings import Settings
from trading.strategies import strategies_of

_STYLES = {CheckState.OK: "green", CheckState.WARN: "yellow", CheckState.BAD: "bold red"}


def doctor(
    broker: Annotated[
        str | None,
        typer.Option("--broker", metavar="paper|ib", help="Whose line is looked at too.", show_default="the settings'"),
    ] = None,
    symbols: Symbols = None,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Look at this machine and the settings; with --broker ib also at the gateway, the account and its data.

    Ends with 0 where a session could be traded, also with warnings, with 3 where one would be refused.
    """
    with failures_told(as_json):
        settings = settings_from(config, db, {"broker.kind": broker, "session.symbols": symbols_asked(symbols)})
        file = config if config is not None else SETTINGS_FILE if SETTINGS_FILE.exists() else None
        strategies = [] if db is not None or file is None else [one.settings for one in strategies_of(file)]
        checks = _looked_at(settings, file, strategies, as_json)
        is_bad = any(check.state is CheckState.BAD for check in checks)
        code = ExitCode.REFUSED if is_bad else ExitCode.DONE
        advice = _gateway_settings(settings)
        if as_json:
            answer: dict[str, Any] = {"checks": [asdict(check) for check in checks], "exit_code": int(code)}
            answer_json({**answer, **({"gateway_settings": advice} if advice else {})})
        else:
            _show(checks)
            if advice and any(check.state is not CheckState.OK for check in checks):
                _say("\nWhat a session needs of the gateway's own settings:")
                for line in advice:
                    _say(f"  {line}")
    raise typer.Exit(code)


def _looked_at(settings: Settings, file: Path | None, strategies: Sequence[Settings], as_json: bool) -> list[Check]:
    """All checks; a person at a terminal sees meanwhile what is being looked at."""
    found: list[Check] = []
    if as_json or not sys.stderr.isatty():
        return list(_checks(settings, file, strategies))
    with aside().status("Looking at this machine") as status:
        for check in _checks(settings, file, strategies):
            found.append(check)
            status.update(f"{len(found)} looked at, after {check.subject}")
    return found


def _checks(settings: Settings, file: Path | None, strategies: Sequence[Settings]) -> Iterator[Check]:
    from deployments.publishing.house import version
    from tasks.machine_checks import machine_checks

    yield from machine_checks(settings, file, datetime.now(UTC), version(os.environ), strategies=strategies)
    if "ib" in (settings.broker.kind, settings.feed.kind):
        from tasks.ib_composition import gateway_checks

        yield from gateway_checks(settings)


def _gateway_settings(settings: Settings) -> tuple[str, ...]:
    if "ib" not in (settings.broker.kind, settings.feed.kind):
        return ()
    from tasks.ib_composition import gateway_settings_in_words

    return gateway_settings_in_words()


def _show(checks: list[Check]) -> None:
    if sys.stdout.isatty():
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for check in checks:
            words = Text(check.found)
            if check.next_step:
                words.append(f"\n{check.next_step}", style="bold")
            table.add_row(Text(check.state.value, style=_STYLES[check.state]), Text(check.subject), words)
        screen().print(table)
    else:
        wide = max(len(check.subject) for check in checks)
        for check in checks:
            step = f"  -> {check.next_step}" if check.next_step else ""
            _say(f"{check.state.value:<4}  {check.subject:<{wide}}  {check.found}{step}")
    count = {state: sum(check.state is state for check in checks) for state in CheckState}
    warned = f", {count[CheckState.WARN]} to know about" if count[CheckState.WARN] else ""
    if count[CheckState.BAD]:
        _say(f"{count[CheckState.BAD]} of {len(checks)} would keep a session from trading{warned}.")
    else:
        _say(f"Nothing here would keep a session from trading{warned}.")


def _say(words: str) -> None:
    screen().print(words, highlight=False, markup=False)
