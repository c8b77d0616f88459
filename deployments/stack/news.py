"""What happens on a stack, in lines for a person: sessions and other runs that start and end, events of trading, alarms.

The rule: it only asks the server, and one that does not answer is no news.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

EVERY_SECONDS = 2.0
_LOOK_BACK = timedelta(minutes=2)
"""Events reach the server's database some time after they occurred."""
_ASK_SECONDS = 2.0
_ROWS = 50
_RUN = "prefect.flow-run."
_OF_NO_INTEREST = ("Scheduled", "Pending", "Submitting", "AwaitingRetry", "heartbeat", "pull-step")
_WELL = ("Running", "Completed")
_QUIET_TAGS = ("watch", "maintenance")
"""Runs every few minutes, or at night: only what goes wrong with them is news."""
_DULL_EVENTS = ("openbell.fill", "openbell.risk.refused", "openbell.risk.trimmed")
"""Many, and nothing that a person has to do anything about: they are in the UI and in the ledger."""
_ALARMING = (
    *("Failed", "Crashed", "Late", "TimedOut", "Cancelled"),
    *("Alarm", "Refused", "Unreconciled", "NoBackup", "Incomplete", "DatabaseHeld"),
)


@dataclass(frozen=True, slots=True)
class News:
    """One line: when it was, what happened, and whether a person should look."""

    at: datetime
    words: str
    is_alarming: bool


class Newsroom:
    """Asks the server for its events from ``since`` on, and keeps what was told already."""

    def __init__(self, api_url: str, access: httpx.Auth, since: datetime) -> None:
        self._client = httpx.Client(base_url=api_url, auth=access, timeout=_ASK_SECONDS)
        self._since = since
        self._told: dict[str, datetime] = {}
        self._ask_at = 0.0

    def latest(self) -> list[News]:
        """What has come in since the last time, oldest first; asks every two seconds at most."""
        if time.monotonic() < self._ask_at:
            return []
        self._ask_at = time.monotonic() + EVERY_SECONDS
        now = datetime.now(UTC)
        since = max(self._since, now - _LOOK_BACK)
        question = {
            "filter": {
                "occurred": {"since": since.isoformat(), "until": (now + timedelta(minutes=1)).isoformat()},
                "event": {
                    "prefix": [_RUN, "openbell."],
                    "exclude_prefix": [f"{_RUN}{name}" for name in _OF_NO_INTEREST] + list(_DULL_EVENTS),
                },
            },
            "limit": _ROWS,
        }
        try:
            answer = self._client.post("/events/filter", json=question)
            answer.raise_for_status()
            events = answer.json()["events"]
        except (httpx.HTTPError, ValueError, KeyError):
            return []
        news = [news_of(event) for event in events if event["id"] not in self._told]
        self._told = {id: at for id, at in self._told.items() if at >= since}
        self._told.update({event["id"]: datetime.fromisoformat(event["occurred"]) for event in events})
        return sorted((one for one in news if one is not None), key=lambda one: one.at)

    def running(self) -> list[str]:
        """Names of the flow runs that run now, as far as the server tells."""
        question = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}, "limit": _ROWS}
        try:
            answer = self._client.post("/flow_runs/filter", json=question)
            answer.raise_for_status()
            return [str(run["name"]) for run in answer.json()]
        except (httpx.HTTPError, ValueError, KeyError):
            return []

    def close(self) -> None:
        """Leave the server alone."""
        self._client.close()


def news_of(event: Mapping[str, Any]) -> News | None:
    """An event of the server as a line; None for one that nobody needs to read."""
    name, payload = str(event["event"]), event.get("payload") or {}
    at = datetime.fromisoformat(event["occurred"])
    if name.startswith(_RUN):
        return _news_of_run(at, name.removeprefix(_RUN), event, payload)
    message = str(payload.get("message") or name.removeprefix("openbell."))
    remedy = str(payload.get("remedy") or "")
    is_alarming = not name.startswith("openbell.session.") or name.endswith((".refused", ".stopped"))
    return News(at, f"{message} {remedy}".strip(), is_alarming)


def _news_of_run(at: datetime, state: str, event: Mapping[str, Any], payload: Mapping[str, Any]) -> News | None:
    related = event.get("related") or []
    tags = {one.get("prefect.resource.id", "").removeprefix("prefect.tag.") for one in related}
    if state in _WELL and tags & set(_QUIET_TAGS):
        return None
    run = event["resource"].get("prefect.resource.name", "a run")
    flow = next(
        (one.get("prefect.resource.name") for one in related if one.get("prefect.resource.role") == "flow"), None
    )
    message = str((payload.get("validated_state") or {}).get("message") or "") if state not in _WELL else ""
    words = f"{flow or 'run'} {run!r}: {state}" + (f". {message}" if message else "")
    return News(at, words, state in _ALARMING)
