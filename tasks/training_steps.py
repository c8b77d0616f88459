"""A training as Prefect tasks: what it reads, each fold, the final model, and the report as an artifact.

Never retried by Prefect: the same bars and settings would fail the same way, and what was interrupted has left nothing behind.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.policy_training import begin_training, finish_training
from tasks.run_record import API_ERRORS
from trading.settings import Settings
from trading.training.report_page import page
from trading.training.trainer import FoldOutcome, Trainer
from trading.training.training_data import PooledFold


@task(name="read-history", cache_policy=NO_CACHE, persist_result=False, retries=0)
def read_history(settings: Settings, resume: bool) -> Trainer:
    """Bars, features, labels and folds. The database is free again afterwards."""
    trainer = begin_training(settings, resume)
    get_run_logger().info(
        "symbols=%s sessions=%s folds=%s data=%s",
        ",".join(trainer.data.symbols),
        len(trainer.data.sessions),
        len(trainer.folds),
        trainer.data.fingerprint[:16],
    )
    return trainer


@task(name="judge-fold", task_run_name="{fold.label}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def judge_fold(trainer: Trainer, fold: PooledFold) -> FoldOutcome:
    """Fit on the fold's training sessions, trade its test sessions."""
    outcome = trainer.judge_fold(fold, _told())
    get_run_logger().info("fold=%s rows=%s purged=%s", fold.number, outcome.rows, fold.purged)
    return outcome


@task(name="fit-and-register", task_run_name="fit and register", cache_policy=NO_CACHE, persist_result=False, retries=0)
def fit_and_register(trainer: Trainer, outcomes: Sequence[FoldOutcome]) -> dict[str, Any]:
    """The final model, its bundle, its report and its row: all of it, or nothing."""
    answer = finish_training(trainer, outcomes, _told())
    get_run_logger().info("policy=%s bundle=%s stage=%s", answer["policy"], answer["bundle"], answer["stage"])
    return answer


@task(name="publish-training", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_training(answer: Mapping[str, Any]) -> None:
    """Put the report where a person looks. Its pictures stay where they are, and are named."""
    folder = Path(answer["report"])
    pictures = sorted(file.name for file in folder.glob("*.png"))
    named = f"\nPictures are in `{folder.absolute()}` on the worker's machine: {', '.join(pictures)}.\n"
    try:
        create_markdown_artifact(
            page(answer, ()) + named, key="train-policy", description="How it did on sessions that it had not seen"
        )
    except API_ERRORS as error:
        get_run_logger().warning("train-policy not published: %s", error)


def _told() -> Callable[[str, int, int], None]:
    """Progress as lines of the log: what is begun, and every tenth of it."""
    said: set[tuple[str, int]] = set()

    def told(words: str, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if (words, tenth) not in said:
            said.add((words, tenth))
            get_run_logger().info("%s done=%s of=%s", words, done, total)

    return told
