"""``openbell halt``, ``flatten`` and ``resume``: the emergency stop, and its end.

They call the plain functions and not the flows: an operator under stress waits for no server. The flows ``emergency-stop`` and
``resume-trading`` do the same from the Prefect UI.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.terminal.answer import answer_json, aside, screen
from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.failures import debugging, failures_told
from deployments.terminal.options import Config, Db, Json, settings_of_one
from trading.errors import ConfigurationError

Scope = Annotated[
    str,
    typer.Option("--scope", metavar="SCOPE", help="all, account:NAME, strategy:NAME or symbol:NAME."),
]
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long a running session may take to show it done.")
]


def halt(
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever clears it.")],
    scope: Scope = "all",
    flatten: Annotated[bool, typer.Option("--flatten", help="Close every position in the scope too.")] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", metavar="N", help="End the halt after so long.", show_default="until openbell resume"
        ),
    ] = None,
    wait: Wait = 240.0,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Stop: no new risk, open orders cancelled, and the broker looked at until it shows it.

    The session that runs does it, or this command where none runs. Ends with 0 when it is shown to be done, 1 when it is not.
    """
    with failures_told(as_json):
        from tasks.manual_stop import stop_by_hand

        settings = settings_of_one(config, db)
        answer = stop_by_hand(settings, scope, reason, flatten, minutes, None, wait, _teller(as_json))
        _show({**answer, "halted": scope}, as_json, wait)


def flatten(
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever reads it later.")
    ] = "flattened by hand",
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope", metavar="SCOPE", help="account:NAME or symbol:NAME.", show_default="the account that is traded"
        ),
    ] = None,
    wait: Wait = 240.0,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Close every position now and cancel what is open; no new risk until the session's close.

    Positions are closed by the session that runs. Ends with 0 when the broker shows nothing left, 1 when it does not.
    """
    with failures_told(as_json):
        from tasks.manual_stop import stop_by_hand

        if scope is not None and not scope.startswith(("account:", "symbol:")):
            raise ConfigurationError(
                f"--scope {scope!r} cannot be flattened. Write account:NAME or symbol:NAME, or leave it out for the account."
            )
        settings = settings_of_one(config, db)
        answer = stop_by_hand(settings, scope, reason, True, None, None, wait, _teller(as_json), until_close=True)
        _show(answer, as_json, wait)


def resume(
    scope: Scope = "all",
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long a running session may take to answer.")
    ] = 60.0,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Clear the halts that stand under exactly this scope; a session that runs takes risk again."""
    with failures_told(as_json):
        from tasks.manual_stop import resume_by_hand

        answer = resume_by_hand(settings_of_one(config, db), scope, wait)
        if as_json:
            answer_json(answer)
            return
        cleared = answer["cleared"]
        who = ", done by the session that runs" if answer["answered_by"] == "session" else ""
        _say(screen(), f"Cleared {cleared} halt{'' if cleared == 1 else 's'} of {answer['resumed']}{who}.")
        _say_standing(answer["standing"])


def _teller(as_json: bool) -> Callable[[Mapping[str, Any]], None]:
    """Shows each step when it is taken: beside the answer where that is JSON."""
    if not debugging():
        # A step that failed is shown as such; its traceback would hide it.
        logging.getLogger("trading.emergency_stop").setLevel(logging.CRITICAL)

    def tell(step: Mapping[str, Any]) -> None:
        at = datetime.fromisoformat(step["taken_at"]).astimezone(UTC)
        account = f"{step['account']}: " if step.get("account") else ""
        failed = "" if step["succeeded"] else "FAILED: "
        _say(
            aside() if as_json else screen(),
            f"{at:%H:%M:%S} UTC  {step['action']:<8} {account}{failed}{step['detail']}",
        )

    return tell


def _show(answer: Mapping[str, Any], as_json: bool, waited: float) -> None:
    """What stands in the end, and how to clear it; leaves with the exit code."""
    done = answer["state"] == "SUCCEEDED"
    if as_json:
        answer_json(answer)
    else:
        _say_outcome(answer, waited)
        for note in answer["notes"]:
            _say(screen(), note)
        _say_standing(answer["standing"])
    raise typer.Exit(ExitCode.DONE if done else ExitCode.FAILED)


def _say_outcome(answer: Mapping[str, Any], waited: float) -> None:
    shown = screen()
    by_session = answer["answered_by"] == "session"
    match answer["state"]:
        case "SUCCEEDED":
            held = " and nothing is held" if answer["flatten"] else ""
            _say(shown, f"Stopped {answer['scope']}: {answer['reason']}. No order works at the broker{held}.")
        case "ASKED":
            _say(shown, _asked(answer, waited), style="bold red")
        case _:
            _say(shown, f"ALARM: {answer['scope']} could not be shown to be stopped.", style="bold red")
            for words in answer["left"]:
                _say(shown, f"  at the broker: {words}")
            if by_session:
                _say(
                    shown,
                    f"The session tries on. Watch it: openbell sql \"from stop_steps where stop_id = '{answer['stop_id']}'\"",
                )
            else:
                _say(
                    shown,
                    "Nothing tries on: no session runs. Positions are closed while one does: start it, and run openbell flatten.",
                )


def _asked(answer: Mapping[str, Any], waited: float) -> str:
    if answer["flag_is_up"]:
        return (
            f"NOT CONFIRMED within {waited:g} s. Nobody answers for the database, so that the flag {answer['db']}.halt is up: whoever "
            "holds the database obeys it, and so does the next session. Look at the broker yourself."
        )
    if answer["asked_by"] == "flag":
        return (
            "NOT CONFIRMED. The session has obeyed the flag that was raised beside the database, and its door is shut: what came of it "
            f"can be read when it ends, in stop_steps (stop {answer['stop_id']}). Look at the broker yourself."
        )
    return (
        f"NOT CONFIRMED within {waited:g} s. The session has the request (stop {answer['stop_id']}) and carries it out when it comes to "
        "it: between two bars, and not while it waits for its broker. Look at the broker yourself."
    )


def _say_standing(standing: list[Mapping[str, Any]] | None) -> None:
    shown = screen()
    if standing is None:
        _say(shown, "Which halts stand cannot be told while the database is held.")
        return
    for one in standing:
        until = f" (until {one['expires_at']})" if one.get("expires_at") else ""
        _say(
            shown,
            f"  stands: {one['scope']}: {one['reason']}{until}; clear it with openbell resume --scope {one['scope']}",
        )
    if not standing:
        _say(shown, "No halt stands.")


def _say(console: Console, words: str, style: str | None = None) -> None:
    console.print(words, highlight=False, markup=False, style=style)
