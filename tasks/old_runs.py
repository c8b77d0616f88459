"""Old flow runs on Prefect's server, taken away through its API: for what the server's own vacuum has no rule, or is not told to.

The rule: only runs with a tag of ours, a few at a time with a pause between, so that nobody else waits for the server.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from tasks.run_record import API_ERRORS

TAG, LOOKS = "openbell", "watch"
"""The tag of everything of ours, and that of the health check's looks, of which there are ninety a day."""
AT_ONCE = 5
"""Runs between two pauses: each session has a thousand task runs below it, which the server deletes in one transaction."""
_PAUSE_SECONDS = 0.5
_ENDED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
_NEVER_BEGAN = ["SCHEDULED", "PENDING", "PAUSED"]


@dataclass(slots=True)
class RunsRemoved:
    """What was removed. ``left`` says that there is more; ``error`` that the server did not go on with it."""

    ended: int = 0
    never_began: int = 0
    artifacts: int = 0
    left: bool = False
    error: str = ""


def remove_old_runs(
    client: SyncPrefectClient, before: datetime, most: int, dry_run: bool, tags: Sequence[str] = (TAG,)
) -> RunsRemoved:
    """Delete runs that ended before ``before``, and those that should have begun before and never did; at most ``most``.

    With a run go its task runs, states and logs; its artifacts are deleted here, because the API leaves them. With ``dry_run``
    they are only counted; ``tags`` are those that a run has to have, all of them. A server that fails ends it: the next night goes on.
    """
    done = RunsRemoved()
    ended: Mapping[str, Any] = {
        "tags": {"all_": list(tags)},
        "state": {"type": {"any_": _ENDED}},
        "end_time": {"before_": before.isoformat()},
    }
    waiting: Mapping[str, Any] = {
        "tags": {"all_": list(tags)},
        "state": {"type": {"any_": _NEVER_BEGAN}},
        "expected_start_time": {"before_": before.isoformat()},
    }
    try:
        if dry_run:
            done.ended, done.never_began = _count(client, ended), _count(client, waiting)
            return done
        for runs in _batches(client, ended, most):
            done.artifacts += _delete(client, runs)
            done.ended += len(runs)
        for runs in _batches(client, waiting, most - done.ended):
            done.artifacts += _delete(client, runs)
            done.never_began += len(runs)
        done.left = (
            most > 0 and done.ended + done.never_began >= most and bool(_count(client, ended) + _count(client, waiting))
        )
    except API_ERRORS as error:
        done.error = f"{type(error).__name__}: {error}"
    return done


def _batches(client: SyncPrefectClient, of: Mapping[str, Any], most: int) -> Iterator[list[UUID]]:
    """The runs that are there still, until there are none or ``most`` were given."""
    given = 0
    while given < most:
        body = {"flow_runs": dict(of), "limit": min(AT_ONCE, most - given), "sort": "START_TIME_ASC"}
        answer = client.request("POST", "/flow_runs/filter", json=body)
        answer.raise_for_status()
        runs = [UUID(one["id"]) for one in answer.json()]
        if not runs:
            return
        yield runs
        given += len(runs)
        time.sleep(_PAUSE_SECONDS)


def _delete(client: SyncPrefectClient, runs: Sequence[UUID]) -> int:
    """The artifacts first: they are found by their runs. How many there were. What is gone meanwhile is no fault."""
    count = 0
    for run in runs:
        body = {"artifacts": {"flow_run_id": {"any_": [str(run)]}}}
        while found := client.request("POST", "/artifacts/filter", json=body).raise_for_status().json():
            for one in found:
                with contextlib.suppress(ObjectNotFound):
                    client.delete_artifact(UUID(one["id"]))
            count += len(found)
        with contextlib.suppress(ObjectNotFound):
            client.delete_flow_run(run)
    return count


def _count(client: SyncPrefectClient, of: Mapping[str, Any]) -> int:
    answer = client.request("POST", "/flow_runs/count", json={"flow_runs": dict(of)})
    answer.raise_for_status()
    return int(answer.json())
