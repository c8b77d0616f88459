"""What a person sees of a session in the Prefect UI besides its task runs: progress, the account, the closing report, the gap.

None of it is on the way of a bar: progress and account are written from the observers' thread, every few seconds at most; the
rest comes after the close. Each call has a short timeout and is tried once, because Prefect's own patience (a minute a call)
would only keep a finished session waiting. Where the API is away the ledger still has everything, and the log says so; a session
that ends meanwhile waits for it, with its database closed, so that its run does not seem to have crashed.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import StateType
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

from tasks.session_events import EventRecord, SessionEvents
from trading.hooks import Happening
from trading.money import to_cents
from trading.pnl_tracker import PortfolioState

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_UPDATES = 2.0
_SECONDS_BETWEEN_ACCOUNTS = 10.0
_SECONDS_AWAY_BETWEEN_TRIES = 5.0
_API_TIMEOUT_SECONDS = 5.0
_SECONDS_TO_SETTLE, _SECONDS_WITHOUT_NEWS = 60.0, 12.0
"""How long the server may take to write down the runs of a burst before they count as missing, and how long it may pause. A
connection that was lost is made anew by Prefect's client within some ten seconds."""

API_ERRORS = (httpx.HTTPError, PrefectException, OSError)
NO_ANSWER = (*API_ERRORS, ValueError, LookupError, TypeError, RuntimeError)
"""Those, and what comes of a page that a proxy answers with in the server's place: for where something has to go on in any case."""


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
    """Writes artifacts of one flow run through a client of its own, so that any thread can.

    A call that fails costs its time once: for a while after it, what is only for looking at is not tried.
    """

    def __init__(self, flow_run_id: UUID) -> None:
        self.flow_run_id = flow_run_id
        self._bars_expected = 1
        self._progress_id: UUID | None = None
        self._account_id: UUID | None = None
        self._bars = 0
        self._newest: Happening | None = None
        self._written_at = self._account_at = self._away_at = float("-inf")
        self._client = _client()
        # Made once: Prefect makes its settings anew for each change of them, which holds every other thread up for some 40 ms.
        standing = get_settings_context()
        self._profile = standing.profile
        self._tries_once = standing.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})

    def follow(self, bars_expected: int) -> Callable[[Happening], None]:
        """The callback that follows a session of so many bars."""
        self._bars_expected = max(bars_expected, 1)
        return self._bar_processed

    def _bar_processed(self, happening: Happening) -> None:
        """One more bar is done: progress and account follow, not more often than they should."""
        self._bars += 1
        self._newest = happening
        now = time.monotonic()
        if now - self._away_at < _SECONDS_AWAY_BETWEEN_TRIES:
            return
        if now - self._written_at >= _SECONDS_BETWEEN_UPDATES:
            self._write_progress(f"{happening.session_id} {happening.bar_time}")
        if now - self._account_at >= _SECONDS_BETWEEN_ACCOUNTS:
            self._write_account(happening)

    def ended(self, happening: Happening) -> None:
        """The session has ended: the account as it is now is what ``finish`` shows."""
        self._newest = happening

    def wait_for_api(self, seconds: float) -> bool:
        """Wait until the API answers, for so long at most; whether it does."""
        deadline = time.monotonic() + seconds
        told = False
        while True:
            try:
                with self._trying_once():
                    self._client.request("GET", "/health").raise_for_status()
                return True
            except API_ERRORS as error:
                if not told:
                    told = True
                    _log.warning(
                        "the session is over and in the ledger; waiting for the Prefect API to tell it flow_run_id=%s error=%s",
                        self.flow_run_id,
                        error,
                    )
                if time.monotonic() >= deadline:
                    return False
            time.sleep(0.5)

    def settle_events(self, events: SessionEvents) -> EventRecord:
        """Compare the events with the server's, and send again what it lost."""
        try:
            with self._trying_once():
                return events.settle(self._client)
        except API_ERRORS as error:
            _log.warning("events not compared flow_run_id=%s error=%s", self.flow_run_id, error)
            return EventRecord(events.count, 0, None)

    def finish(self, key: str, markdown: str) -> None:
        """Complete the progress and publish the closing report; an API that is away is logged, never raised."""
        self._write_progress(f"{key}: done")
        if self._newest is not None:
            self._write_account(self._newest)
        try:
            with self._trying_once():
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

    def compare_runs(self, made: Mapping[str, int]) -> dict[str, RunRecord]:
        """Task runs that the server has, by a part of their names, beside those ``made``.

        Asks until they are all there, or until nothing has come for a while: what the server writes late is no gap.
        """
        counted = self._count_runs(made)
        ends_at = time.monotonic() + _SECONDS_TO_SETTLE
        grew_at = time.monotonic()
        while counted is not None and any(counted[part] < made[part] for part in made):
            now = time.monotonic()
            if now >= ends_at or now - grew_at >= _SECONDS_WITHOUT_NEWS:
                break
            time.sleep(0.25)
            before, counted = counted, self._count_runs(made)
            if counted != before:
                grew_at = time.monotonic()
        return {part: RunRecord(count, None if counted is None else counted[part]) for part, count in made.items()}

    def _count_runs(self, parts: Iterable[str]) -> dict[str, int] | None:
        counted = {}
        for part in parts:
            body = {"flow_runs": {"id": {"any_": [str(self.flow_run_id)]}}, "task_runs": {"name": {"like_": part}}}
            try:
                with self._trying_once():
                    counted[part] = int(self._client.request("POST", "/task_runs/count", json=body).json())
            except API_ERRORS as error:
                _log.warning("task runs not counted flow_run_id=%s error=%s", self.flow_run_id, error)
                return None
        return counted

    def was_cancelled(self) -> bool:
        """Whether a person cancelled the run; no where the API does not say: then it was ended in some other way."""
        try:
            return self.ask_whether_cancelled()
        except NO_ANSWER as error:
            _log.warning("not known whether the run was cancelled flow_run_id=%s error=%s", self.flow_run_id, error)
            return False

    def ask_whether_cancelled(self) -> bool:
        """Whether a person cancelled the run. Raises what the client raises when the API does not say."""
        with self._trying_once():
            state = self._client.read_flow_run(self.flow_run_id).state
        return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)

    def close(self) -> None:
        """Let go of the client."""
        self._client.__exit__(None, None, None)

    @contextmanager
    def _trying_once(self) -> Iterator[None]:
        with SettingsContext(profile=self._profile, settings=self._tries_once):
            yield

    def _write_progress(self, description: str) -> None:
        percent = min(100.0 * self._bars / self._bars_expected, 100.0)
        self._written_at = time.monotonic()
        self._progress_id = self._put(self._progress_id, "session-progress", "progress", description, percent)

    def _write_account(self, happening: Happening) -> None:
        self._account_at = time.monotonic()
        page = account_page(happening.session_id, happening.bar_time, happening.facts["portfolio"])
        said = "The account after the newest bar" + ("; a halt stands" if happening.facts["halted"] else "")
        self._account_id = self._put(self._account_id, "session-account", "markdown", said, page)

    def _put(self, known: UUID | None, key: str, kind: str, description: str, data: str | float) -> UUID | None:
        """Write the artifact, a new one where none is known; its id. An API that is away is logged, and left alone for a while."""
        try:
            with self._trying_once():
                if known is not None:
                    self._client.update_artifact(known, ArtifactUpdate(data=data, description=description))
                    return known
                new = ArtifactCreate(
                    key=key, type=kind, description=description, data=data, flow_run_id=self.flow_run_id
                )
                return self._client.create_artifact(new).id
        except API_ERRORS as error:
            self._away_at = time.monotonic()
            _log.warning("%s not published flow_run_id=%s error=%s", key, self.flow_run_id, error)
            return known


def account_page(session_id: str, bar_time: datetime | None, account: PortfolioState) -> str:
    """Positions and P&L as a Markdown page; times UTC."""
    held = [
        f"| {one.symbol} | {one.quantity:,} | {to_cents(one.average_cost):,} | {to_cents(one.price):,} "
        f"| {to_cents(one.market_value):,} | {to_cents(one.unrealized_pnl):,} |"
        for one in account.positions.values()
    ]
    table = [
        "| symbol | shares | average cost | price | value | unrealized P&L |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join(
        [
            f"# {session_id}",
            "",
            f"After the bar of {bar_time:%H:%M} UTC." if bar_time is not None else "Before the first bar.",
            "",
            "| equity | cash | session P&L | realized in the session | commissions | drawdown |",
            "| ---: | ---: | ---: | ---: | ---: | ---: |",
            f"| {to_cents(account.equity):,} | {to_cents(account.cash):,} | {to_cents(account.session_pnl):,} "
            f"| {to_cents(account.session_realized_pnl):,} | {to_cents(account.session_commissions):,} | {account.drawdown:.2%} |",
            "",
            *([*table, *held] if held else ["Nothing is held."]),
            "",
        ]
    )


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
