"""``openbell policies``, ``promote`` and ``rollback``: which trained policies there are, and which of them is champion.

They call the plain functions and not the flows, so that they need no server; the flows ``promote-policy`` and ``rollback-policy``
do the same from the Prefect UI.
"""

from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deployments.terminal.answer import answer_json, screen
from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, settings_from

if TYPE_CHECKING:
    from trading.policy_records import PolicyRecord

_COLUMNS = ("name", "fingerprint", "stage", "kind", "trained until", "created", "metrics")
_HEADLINES = ("return_after_costs", "sharpe", "deflated_sharpe", "max_drawdown")
"""Metrics that are shown where training measured them; else the first three numbers that there are."""
_HEADLINES_SHOWN = 3

StageOption = Literal["paper", "live"]
Reason = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", help="Why, for whoever reads the history of stages.", show_default=False),
]


def policies(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only policies of this name.")] = None,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the registered policies, the newest of each name first."""
    with failures_told(as_json):
        from tasks.manual_promotion import registered_policies

        settings = settings_from(config, db)
        found = registered_policies(settings, name)
        if as_json:
            answer_json({"policies": [_told(record) for record in found], "db": str(settings.store.path)})
            return
        if not found:
            named = f" of the name {name}" if name else ""
            _say(f"No policy{named} is registered in {settings.store.path}. Train one with openbell train.")
            return
        from deployments.terminal.text_table import show_table

        show_table(_COLUMNS, [_row(record) for record in found], all_rows=True)


def promote(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FINGERPRINT",
            help="A name (its newest candidate; for live the one at paper), or at least 8 hex digits of a fingerprint.",
            show_default=False,
        ),
    ],
    to: Annotated[StageOption, typer.Option("--to", help="Stage that it comes to.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Whatever the gate says; needs --reason.")] = False,
    reason: Reason = "",
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Replay a policy and the champion on sessions that neither has seen, and promote it where the gate agrees.

    Ends with 3 where the gate refuses; then nothing is changed.
    """
    with failures_told(as_json):
        from tasks.manual_promotion import promote_by_hand
        from trading.policy_records import Stage

        answer = promote_by_hand(settings_from(config, db), policy, Stage(to), force, reason)
        if as_json:
            answer_json(answer)
        else:
            _show(answer)
        if not answer["promoted"]:
            raise typer.Exit(ExitCode.REFUSED)


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The policy's name.", show_default=False)],
    stage: Annotated[
        StageOption, typer.Option("--stage", help="Stage whose champion is taken back.", show_default=False)
    ],
    reason: Reason = "",
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Retire the champion of a stage and put back the one whose place it took. No gate is asked."""
    with failures_told(as_json):
        from tasks.manual_promotion import rollback_by_hand
        from trading.policy_records import Stage

        answer = rollback_by_hand(settings_from(config, db), name, Stage(stage), reason)
        if as_json:
            answer_json(answer)
            return
        retired = f" {answer['retired']} is retired." if answer["retired"] else ""
        _say(f"{answer['policy']} is champion at {answer['stage']} again.{retired}")


def _show(answer: Mapping[str, Any]) -> None:
    from deployments.terminal.text_table import show_table
    from tasks.promotion_in_words import CONTENDER_COLUMNS, contenders, findings, outcome, window

    gate = answer["gate"]
    _say(window(gate))
    if compared := contenders(gate):
        show_table(CONTENDER_COLUMNS, compared, all_rows=True)
    for rule, said, words in findings(gate):
        _say(f"  {said:<7} {rule}: {words}")
    _say(outcome(answer))


def _row(record: "PolicyRecord") -> tuple[str, ...]:
    until = record.trained_until
    return (
        record.name,
        record.fingerprint,
        str(record.stage),
        record.kind,
        until.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if until else "",
        record.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
        ", ".join(f"{name} {_number(value)}" for name, value in _headlines(record.metrics)),
    )


def _headlines(metrics: Mapping[str, Any]) -> list[tuple[str, float]]:
    numbers = {
        name: value for name, value in metrics.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    shown = [name for name in _HEADLINES if name in numbers] or list(numbers)
    return [(name, numbers[name]) for name in shown[:_HEADLINES_SHOWN]]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _told(record: "PolicyRecord") -> dict[str, Any]:
    return {
        "name": record.name,
        "fingerprint": record.fingerprint,
        "version": record.version,
        "stage": record.stage,
        "kind": record.kind,
        "trained_until": record.trained_until,
        "created_at": record.created_at,
        "registered_at": record.registered_at,
        "path": str(record.path),
        "metrics": record.metrics,
    }


def _say(words: str) -> None:
    screen().print(words, highlight=False, markup=False)
