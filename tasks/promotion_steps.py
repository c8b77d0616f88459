"""Stages of policies as Prefect tasks: a promotion and a rollback, each with what came of it as an artifact.

Never retried by Prefect: a gate that refused, or a session that holds the database, is an answer that a person wants to see.
"""

from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.manual_promotion import promote_by_hand, rollback_by_hand
from tasks.promotion_in_words import promotion_in_words, rollback_in_words
from tasks.run_record import API_ERRORS
from trading.policy_records import Stage
from trading.settings import Settings


@task(name="promote", task_run_name="promote {policy}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def promote(settings: Settings, policy: str, stage: str, force: bool, reason: str) -> dict[str, Any]:
    """Ask the gate and promote where it agrees. Repeating it says that the policy is there already."""
    answer = promote_by_hand(settings, policy, Stage(stage), force, reason)
    get_run_logger().info(
        "policy=%s stage=%s promoted=%s replaced=%s forced=%s",
        answer["policy"],
        answer["stage"],
        answer["promoted"],
        answer["replaced"],
        answer["forced"],
    )
    return answer


@task(name="rollback", task_run_name="roll back {name}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def rollback(settings: Settings, name: str, stage: str, reason: str) -> dict[str, Any]:
    """Put the previous champion back. Repeating it goes back one more."""
    answer = rollback_by_hand(settings, name, Stage(stage), reason)
    get_run_logger().info("policy=%s stage=%s retired=%s", answer["policy"], answer["stage"], answer["retired"])
    return answer


@task(name="publish-promotion", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_promotion(answer: Mapping[str, Any]) -> None:
    """Put what the gate compared and found where a person looks; an API that is away is logged and costs nothing else."""
    _publish("promote-policy", promotion_in_words(answer), "What the gate compared, and what came of it")


@task(name="publish-rollback", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_rollback(answer: Mapping[str, Any]) -> None:
    """Put who is champion now where a person looks."""
    _publish("rollback-policy", rollback_in_words(answer), "Who is champion now, and who was retired")


def _publish(key: str, markdown: str, description: str) -> None:
    try:
        create_markdown_artifact(markdown, key=key, description=description)
    except API_ERRORS as error:
        get_run_logger().warning("%s not published: %s", key, error)
