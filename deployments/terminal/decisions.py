"""``openbell decisions``: whether a policy decides a recorded session again as it did, and where it first does not."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.terminal.answer import answer_json, screen
from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.failures import debugging, failures_told
from deployments.terminal.options import Config, Db, Json, policy_asked, settings_from

if TYPE_CHECKING:
    from tasks.decision_check import DecisionCheck, PolicyCheck
    from trading.decision_comparison import Said
    from trading.policy_settings import PolicyChoice

_COLUMNS = ("", "action", "confidence", "target weight", "error", "note")
_NOT_COMPARED = ("target_quantity", "latency_ms")
"""Columns of `decisions` that are not the policy's word: what risk and sizes made of the account, and the machine's time."""


def decisions(
    session_id: Annotated[
        str,
        typer.Argument(metavar="SESSION", help="A session, for example 2026-01-05.paper.trend.", show_default=False),
    ],
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="DIR|FINGERPRINT|NAME",
            help="Ask this policy.",
            show_default="the one that decided the session",
        ),
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option("--shadow", metavar="FINGERPRINT", help="Compare what this shadow of the session said too."),
    ] = None,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Decide a recorded session again, bar by bar as it was done live, and compare with what was recorded.

    Nothing is traded or written. Compared are action, confidence and target weight (to 1e-9), error and note. Ends with 1 where any row differs.
    """
    known: dict[str, Any] = {"session_id": session_id}
    with failures_told(as_json, known):
        from tasks.decision_check import check_decisions

        if not debugging():
            # A decision that failed is compared by what it says; a traceback for each bar would hide the answer.
            logging.getLogger("trading.policy_watch").setLevel(logging.CRITICAL)
        settings = settings_from(config, db)
        known["db"] = str(settings.store.path)
        check = check_decisions(settings, session_id, _choice(policy), shadow)
        if as_json:
            answer_json({**_answer(check), "db": str(settings.store.path)})
        else:
            _show(check)
        if not check.is_same:
            raise typer.Exit(ExitCode.FAILED)


def _choice(policy: str | None) -> "PolicyChoice | None":
    if policy is None:
        return None
    from trading.settings import read_settings

    asked = policy_asked(policy, None, None)
    given = {name.removeprefix("policy."): value for name, value in asked.items() if value is not None}
    return read_settings(None, {"policy": given}).policy


def _show(check: "DecisionCheck") -> None:
    session_id = check.session.session_id
    _show_policy(check.policy, session_id, "the policy")
    if check.shadow is not None:
        _show_policy(check.shadow, session_id, "the shadow")
    if check.uncertain_bars:
        _say(
            f"On {check.uncertain_bars} bars the fills do not come to the cash that was recorded: what was held there is a guess, and a "
            "policy that looks at it may decide otherwise."
        )


def _show_policy(check: "PolicyCheck", session_id: str, who: str) -> None:
    comparison = check.comparison
    _say(
        f"{comparison.same} of {comparison.compared} decisions of {session_id} are the same ({who} {check.fingerprint})."
    )
    if check.fingerprint != check.recorded_fingerprint:
        _say(f"They were made by {check.recorded_fingerprint}, which is another policy.")
    if comparison.too_late:
        _say(f"{comparison.too_late} more came too late in the session and are not compared.")
    first = comparison.first_difference
    if first is None:
        return
    from deployments.terminal.text_table import show_table

    _say(f"The first difference: {first.symbol} at {_moment(first.bar_time)}, in {', '.join(first.fields)}.")
    rows = [("recorded", *_cells(first.recorded)), ("again", *_cells(first.again))]
    show_table(_COLUMNS, rows, all_rows=True)
    if check.features is not None:
        _say("What the model was shown there:")
        show_table(("feature", "value"), list(check.features.items()), all_rows=True)


def _cells(said: "Said | None") -> tuple[Any, ...]:
    if said is None:
        return ("no row", None, None, None, None)
    weight, confidence = said.target_weight, said.confidence
    return (
        str(said.action),
        None if confidence is None else repr(confidence),
        None if weight is None else repr(weight),
        said.error,
        said.note,
    )


def _answer(check: "DecisionCheck") -> dict[str, Any]:
    return {
        "session_id": check.session.session_id,
        "is_same": check.is_same,
        **_told(check.policy),
        "shadow": None if check.shadow is None else _told(check.shadow),
        "uncertain_bars": check.uncertain_bars,
        "not_compared": _NOT_COMPARED,
    }


def _told(check: "PolicyCheck") -> dict[str, Any]:
    comparison, first = check.comparison, check.comparison.first_difference
    return {
        "policy": check.fingerprint,
        "recorded_policy": check.recorded_fingerprint,
        "compared": comparison.compared,
        "same": comparison.same,
        "too_late": comparison.too_late,
        "first_difference": None
        if first is None
        else {
            "bar_time": first.bar_time,
            "symbol": first.symbol,
            "fields": first.fields,
            "recorded": _row(first.recorded),
            "again": _row(first.again),
            "features": check.features,
        },
    }


def _row(said: "Said | None") -> Mapping[str, Any] | None:
    if said is None:
        return None
    return {
        "action": said.action,
        "confidence": said.confidence,
        "target_weight": said.target_weight,
        "error": said.error,
        "note": said.note,
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _say(words: str) -> None:
    screen().print(words, highlight=False, markup=False)
