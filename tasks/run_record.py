"""What a person sees of a session in the Prefect UI besides its task runs: progress, the closing report, the gap.

None of it is on the way of a bar: progress is written from the observers' thread, at most every two seconds; the rest
comes after the close. Each call has a short timeout and is tried once, because Prefect's own patience (a minute a call)
would only keep a finished session waiting. Where the API is away the ledger still has everything, and the log says so.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from trading.hooks import Happening

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_UPDATES = 2.0
_API_TIMEOUT_SECONDS = 5.0
_SECONDS_TO_SETTLE = 30.0
"""How long the server may take to write down the runs of a burst before they count as missing."""

API_ERRORS = (httpx.HTTPError, PrefectException, OSError)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How complete the run history is: task runs made by the flow, found at the server (None: it did not say)."""

    made: int
    recorded: int | None

    @property
    def gap(self) -> int | None:
        """Task runs that the UI does not show."""
        return None if self.recorded is None else self.made - self.recorded

    def sentence(self) -> str:
        """The comparison in words."""
        if self.recorded is None:
            return (
                f"The Prefect API did not say how many of {self.made} task runs it recorded; the ledger has every bar."
            )
        if self.gap:
            return f"The Prefect UI shows {self.recorded} of {self.made} task runs; the ledger has every bar."
        return f"All {self.made} task runs of the bars are recorded."


class RunReporter:
    """Writes artifacts of one flow run through a client of its own, so that any thread can."""

    def __init__(self, flow_run_id: UUID) -> None:
        self.flow_run_id = flow_run_id
        self._bars_expected = 1
        self._artifact_id: UUID | None = None
        self._bars = 0
        self._written_at = float("-inf")
        self._client = _client()

    def follow(self, bars_expected: int) -> Callable[[Happening], None]:
        """The callback that follows a session of so many bars."""
        self._bars_expected = max(bars_expected, 1)
        return self._bar_processed

    def _bar_processed(self, happening: Happening) -> None:
        """One more bar is done: the progress artifact follows, not more often than it should."""
        self._bars += 1
        if time.monotonic() - self._written_at >= _SECONDS_BETWEEN_UPDATES:
            self._write_progress(f"{happening.session_id} {happening.bar_time}")

    def finish(self, key: str, markdown: str) -> None:
        """Complete the progress and publish the closing report; an API that is away is logged, never raised."""
        self._write_progress(f"{key}: done")
        try:
            with _trying_once():
                self._client.create_artifact(
                    ArtifactCreate(
                        key=key,
                        type="markdown",
                        description="What was traded, what was refused and why, what did not reconcile",
                        data=markdown,
                        flow_run_id=self.flow_run_id,
                    )
                )
        except API_ERRORS as error:
            _log.warning("closing report not published flow_run_id=%s error=%s", self.flow_run_id, error)

    def compare_runs(self, name_part: str, made: int) -> RunRecord:
        """Task runs the server has whose name contains ``name_part``, once they are all there or the time is over."""
        body = {"flow_runs": {"id": {"any_": [str(self.flow_run_id)]}}, "task_runs": {"name": {"like_": name_part}}}
        deadline = time.monotonic() + _SECONDS_TO_SETTLE
        recorded: int | None = None
        while True:
            try:
                with _trying_once():
                    recorded = int(self._client.request("POST", "/task_runs/count", json=body).json())
            except API_ERRORS as error:
                _log.warning("task runs not counted flow_run_id=%s error=%s", self.flow_run_id, error)
                return RunRecord(made, None)
            if recorded >= made or time.monotonic() >= deadline:
                return RunRecord(made, recorded)
            time.sleep(0.25)

    def was_cancelled(self) -> bool:
        """Whether a person cancelled the run; no where the API does not say: then it was ended in some other way."""
        try:
            with _trying_once():
                state = self._client.read_flow_run(self.flow_run_id).state
        except API_ERRORS as error:
            _log.warning("not known whether the run was cancelled flow_run_id=%s error=%s", self.flow_run_id, error)
            return False
        return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)

    def close(self) -> None:
        """Let go of the client."""
        self._client.__exit__(None, None, None)

    def _write_progress(self, description: str) -> None:
        percent = min(100.0 * self._bars / self._bars_expected, 100.0)
        self._written_at = time.monotonic()
        try:
            with _trying_once():
                if self._artifact_id is None:
                    new = ArtifactCreate(
                        key="session-progress",
                        type="progress",
                        description=description,
                        data=percent,
                        flow_run_id=self.flow_run_id,
                    )
                    self._artifact_id = self._client.create_artifact(new).id
                else:
                    self._client.update_artifact(
                        self._artifact_id, ArtifactUpdate(data=percent, description=description)
                    )
        except API_ERRORS as error:
            _log.warning("progress not published flow_run_id=%s error=%s", self.flow_run_id, error)


@contextmanager
def _trying_once() -> Iterator[None]:
    with temporary_settings(updates={PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


def _client() -> SyncPrefectClient:
    client = get_client(httpx_settings={"timeout": _API_TIMEOUT_SECONDS}, sync_client=True)
    client.__enter__()
    return client


@contextmanager
def reporting(flow_run_id: UUID) -> Iterator[RunReporter]:
    """A reporter for the length of a flow run."""
    reporter = RunReporter(flow_run_id)
    try:
        yield reporter
    finally:
        reporter.close()
