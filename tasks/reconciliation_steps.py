"""A reconciliation by hand as Prefect tasks: one that compares and one that shows what it came to.

The comparison is never retried by Prefect: a broker that does not answer is an answer that a person wants to see.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.manual_reconciliation import reconcile_by_hand
from tasks.run_record import API_ERRORS
from trading.settings import Settings

_COLUMNS = ("kind", "subject", "ours", "brokers", "proposed_repair", "remains")


@task(name="reconcile", task_run_name="reconcile", cache_policy=NO_CACHE, persist_result=False, retries=0)
def reconcile_account(settings: Settings, account: str | None, repair: bool, claim: Sequence[str]) -> dict[str, Any]:
    """Compare the account with its broker, and repair where that is asked for. Repeating it changes nothing more."""
    answer = reconcile_by_hand(settings, account, repair, claim)
    get_run_logger().info(
        "account=%s discrepancies=%d repairs=%d remaining=%d answered_by=%s",
        answer["account"],
        len(answer["discrepancies"]),
        len(answer["repairs"]),
        len(answer["remaining"]),
        answer["answered_by"],
    )
    return answer


@task(name="publish-comparison", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_comparison(answer: Mapping[str, Any]) -> None:
    """Put the result where a person looks; an API that is away is logged and costs nothing else."""
    key = "reconciliation"
    try:
        create_markdown_artifact(markdown_of(answer), key=key, description="Ledger and broker compared")
        if answer["discrepancies"]:
            rows = [{name: str(found[name]) for name in _COLUMNS} for found in answer["discrepancies"]]
            create_table_artifact(
                rows, key=f"{key}-discrepancies", description="What differs, and what would repair it"
            )
    except API_ERRORS as error:
        get_run_logger().warning("comparison not published account=%s error=%s", answer["account"], error)


def markdown_of(answer: Mapping[str, Any]) -> str:
    """The result in sentences."""
    found, repairs, remaining = answer["discrepancies"], answer["repairs"], answer["remaining"]
    lines = [
        f"# Account {answer['account']}",
        f"{len(found)} differences between ledger and broker, {len(repairs)} repairs, {len(remaining)} left.",
        *[f"- **{one['kind']}** {one['subject']}: {one['done']}" for one in repairs],
        *[
            f"- **{one['kind']}** {one['subject']} stands: ledger {one['ours']}, broker {one['brokers']}; {one['proposed_repair']}"
            for one in remaining
        ],
        *[
            f"- No new risk in **{lock['symbol']}** since {lock['locked_at']}: {lock['reason']}"
            for lock in answer["locks"]
        ],
    ]
    return "\n".join([lines[0], "", lines[1], "", *lines[2:], ""])
