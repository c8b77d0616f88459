"""Operators' actions as Prefect tasks: an emergency stop, its end, and a change of limits, each with what it came to as an artifact.

Never retried by Prefect: whoever holds the database tries on by itself, and a person wants to see what has not come about.
"""

from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.manual_limits import change_limits
from tasks.manual_stop import resume_by_hand, stop_by_hand
from tasks.run_record import API_ERRORS
from trading.settings import Settings


@task(name="stop", task_run_name="stop {scope}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def stop_trading(settings: Settings, scope: str, reason: str, flatten: bool, minutes: float | None) -> dict[str, Any]:
    """Stop the scope, step by step in the log, until the broker shows it or the alarm is raised. Repeating it does no harm."""
    log = get_run_logger()

    def tell(step: Mapping[str, Any]) -> None:
        say = log.info if step["succeeded"] else log.error
        say(
            "step=%d action=%s succeeded=%s detail=%s",
            step["number"],
            step["action"],
            step["succeeded"],
            step["detail"],
        )

    answer = stop_by_hand(settings, scope, reason, flatten, minutes, told=tell)
    say = log.info if answer["state"] == "SUCCEEDED" else log.error
    say(
        "stop_id=%s state=%s answered_by=%s left=%s",
        answer["stop_id"],
        answer["state"],
        answer["answered_by"],
        answer["left"],
    )
    return answer


@task(name="resume", task_run_name="resume {scope}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def resume_trading_in(settings: Settings, scope: str) -> dict[str, Any]:
    """Clear the halts that stand under exactly this scope. Repeating it clears none."""
    answer = resume_by_hand(settings, scope)
    get_run_logger().info("scope=%s cleared=%d answered_by=%s", scope, answer["cleared"], answer["answered_by"])
    return answer


@task(name="change-limits", task_run_name="change limits", cache_policy=NO_CACHE, persist_result=False, retries=0)
def change_limits_of(settings: Settings, limits: Mapping[str, Any]) -> dict[str, Any]:
    """Change limits of the session that runs, all or none. Repeating it changes nothing more."""
    answer = change_limits(settings, limits)
    for name, (old, new) in answer["changed"].items():
        get_run_logger().info("limit=%s old=%s new=%s", name, old, new)
    return answer


@task(name="publish-stop", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_stop(answer: Mapping[str, Any]) -> None:
    """Put the stop where a person looks; an API that is away is logged and costs nothing else."""
    _publish("emergency-stop", stop_in_words(answer), "What was stopped, and what the broker shows")


@task(name="publish-resume", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_resume(answer: Mapping[str, Any]) -> None:
    """Put what was cleared, and what still stands, where a person looks."""
    _publish("resume-trading", resume_in_words(answer), "Halts that were cleared, and those that stand")


@task(name="publish-limits", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_limits(answer: Mapping[str, Any]) -> None:
    """Put the limits before and after where a person looks."""
    _publish("change-limits", limits_in_words(answer), "Limits before and after")


def stop_in_words(answer: Mapping[str, Any]) -> str:
    """The stop as a Markdown page."""
    closing = " and close what is held" if answer["flatten"] else ""
    state = {"SUCCEEDED": "done, the broker shows it", "ASKED": "asked for, nobody has confirmed it"}
    lines = [
        f"# Stop of {answer['scope']}: {answer['state']}",
        "",
        f"To halt it, cancel what works{closing}: {state.get(answer['state'], 'ALARM, it could not be shown to be done')}.",
        "",
        f"Reason: {answer['reason']}",
        "",
        "| at | step | | |",
        "| --- | --- | --- | --- |",
        *[
            f"| {step['taken_at']} | {step['action']} | {'done' if step['succeeded'] else '**failed**'} | {_cell(step['detail'])} |"
            for step in answer["steps"]
        ],
        "",
        *[f"- At the broker: {words}" for words in answer["left"]],
        *[f"- {note}" for note in answer["notes"]],
        *_standing(answer["standing"]),
    ]
    return "\n".join([*lines, ""])


def resume_in_words(answer: Mapping[str, Any]) -> str:
    """What was cleared, as a Markdown page."""
    lines = [f"# Resume of {answer['resumed']}", "", f"{answer['cleared']} halts were cleared.", ""]
    return "\n".join([*lines, *_standing(answer["standing"]), ""])


def limits_in_words(answer: Mapping[str, Any]) -> str:
    """The changes as a Markdown page."""
    rows = [f"| `{name}` | {_limit(old)} | {_limit(new)} |" for name, (old, new) in answer["changed"].items()]
    return "\n".join(["# Limits changed", "", "| limit | before | now |", "| --- | --- | --- |", *rows, ""])


def _standing(standing: list[Mapping[str, Any]] | None) -> list[str]:
    if standing is None:
        return ["- Which halts stand cannot be told while the database is held."]
    if not standing:
        return ["- No halt stands."]
    return [
        f"- Stands: **{one['scope']}**: {one['reason']} (clear it with the flow resume-trading)" for one in standing
    ]


def _limit(value: object) -> str:
    return "off" if value is None else _cell(str(value))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _publish(key: str, markdown: str, description: str) -> None:
    try:
        create_markdown_artifact(markdown, key=key, description=description)
    except API_ERRORS as error:
        get_run_logger().warning("%s not published: %s", key, error)
