"""A replay of many sessions as Prefect tasks: what it reads, one run for each month, and what a person finds of it.

Never retried by Prefect: the same bars and settings would come to the same, and what was finished is not written twice.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact, update_progress_artifact
from prefect.artifacts import create_progress_artifact as begin_progress
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.replay_page import day_rows, page_of
from tasks.replay_pictures import pictures_of
from tasks.run_record import API_ERRORS
from tasks.session_replays import ReplayChunk, SessionReplay, prepare_replay
from trading.settings import Settings


@task(name="prepare-replay", task_run_name="bars and policy", cache_policy=NO_CACHE, persist_result=False, retries=0)
def read_replay(settings: Settings, first: date | None, last: date | None, account: str | None) -> SessionReplay:
    """The bars of the whole replay, judged, and the policy. The database is free again afterwards."""
    replay = prepare_replay(settings, first, last, account)
    get_run_logger().info(
        "account=%s policy=%s sessions=%d chunks=%d",
        replay.account,
        replay.policy,
        len(replay.sessions),
        len(replay.chunks),
    )
    return replay


@task(name="replay-chunk", task_run_name="{chunk.label}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def replay_chunk(replay: SessionReplay, chunk: ReplayChunk) -> None:
    """The sessions of a month, each as it would have been traded; in the ledger when this is over."""
    outcome = replay.trade(chunk)
    get_run_logger().info(
        "account=%s sessions=%d orders=%d fills=%d equity=%s halted=%s",
        replay.account,
        outcome.sessions,
        outcome.orders,
        outcome.fills,
        outcome.equity,
        outcome.halted,
    )


class ReplayProgress:
    """The replay's progress for people: how many of its sessions are traded. An API that is away costs nothing but the picture."""

    def __init__(self, replay: SessionReplay) -> None:
        self._sessions = len(replay.sessions)
        self._done = 0
        self._artifact: Any = None
        self._show("reading is done")

    def done(self, chunk: ReplayChunk) -> None:
        """One more chunk is traded."""
        self._done += len(chunk.sessions)
        self._show(f"{chunk.label}: {self._done} of {self._sessions} sessions")

    def _show(self, words: str) -> None:
        percent = 100.0 * self._done / self._sessions
        try:
            if self._artifact is None:
                self._artifact = begin_progress(percent, key="replay-progress", description=words)
            else:
                update_progress_artifact(self._artifact, progress=percent, description=words)
        except API_ERRORS as error:
            get_run_logger().warning("progress not published: %s", error)


@task(name="publish-replay", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_replay(replay: SessionReplay, answer: Mapping[str, Any]) -> None:
    """Put what it came to where a person looks: a page with the totals and pictures, and a table of its sessions."""
    try:
        create_markdown_artifact(
            page_of(answer, pictures_of(replay)), key="replay", description="What the replay came to"
        )
        create_table_artifact(day_rows(answer), key="replay-sessions", description="What each session came to")
    except API_ERRORS as error:
        get_run_logger().warning("replay not published account=%s error=%s", answer["account"], error)
