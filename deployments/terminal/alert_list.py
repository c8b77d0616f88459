"""``openbell alerts``: which alerts stand on the Prefect server and where they go, and with ``--test`` whether they arrive."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.terminal.answer import answer_json, aside, screen
from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Json

if TYPE_CHECKING:
    from deployments.alerts.delivery import Delivery
    from deployments.alerts.standing import StandingAlert


def alerts(
    test: Annotated[bool, typer.Option("--test", help="Send a test message and wait until it was taken.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=1, help="How long the test may take to be taken.")
    ] = 30.0,
    as_json: Json = False,
) -> None:
    """Show who is told of what. They are made by openbell deploy; one can be switched off in the Prefect UI.

    Ends with 1 where a test message was not taken.
    """
    answer: dict[str, Any] = {}
    code = ExitCode.DONE
    with failures_told(as_json, answer):
        from deployments.alerts.delivery import send_test
        from deployments.alerts.standing import standing_alerts
        from deployments.publishing.server import server

        with server() as client:
            found = standing_alerts(client)
            answer["alerts"] = [_plain(one) for one in found]
            if not as_json:
                _show(found)
            if test:
                told = send_test(client, "A test of openbell's alerts, asked for with openbell alerts --test.", wait)
                answer["test"] = [{"channel": one.channel, "arrived": one.arrived, "words": one.words} for one in told]
                code = _show_test(told, as_json)
        if as_json:
            answer_json({**answer, "exit_code": int(code)})
    raise typer.Exit(code)


def _plain(alert: "StandingAlert") -> dict[str, Any]:
    return {
        "name": alert.title,
        "on": alert.is_on,
        "once_in_seconds": alert.once_in,
        "channels": list(alert.channels),
    }


def _show(found: "tuple[StandingAlert, ...]") -> None:
    from deployments.terminal.text_table import show_table

    if not any(one.channels for one in found):
        _say(
            "No one is told of anything: no alert goes to a notification block. openbell deploy makes them from [alerts]."
        )
        return
    rows = [
        (one.title, "on" if one.is_on else "off", _span(one.once_in), ", ".join(one.channels) or "acts only")
        for one in found
    ]
    show_table(("alert", "", "once in", "goes to"), rows, all_rows=True)


def _show_test(told: "tuple[Delivery, ...]", as_json: bool) -> ExitCode:
    if not as_json:
        for one in told:
            if one.arrived:
                _say(f"{one.channel}: the test was {one.words}.")
            else:
                aside().print(f"{one.channel}: the test did not arrive: {one.words}", markup=False)
    return ExitCode.DONE if all(one.arrived for one in told) else ExitCode.FAILED


def _span(once_in: timedelta | None) -> str:
    return "a run" if once_in is None else f"{once_in.total_seconds() / 60:g} min"


def _say(words: str) -> None:
    screen().print(words, highlight=False, markup=False)
