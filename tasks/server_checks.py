"""The Prefect server as a stack needs it: its version, work pool, worker, deployments, blocks. Asked over HTTP; no Prefect is imported here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any

import httpx

from tasks.port_holder import port_holder
from tasks.prefect_access import PrefectAccess
from trading.checks import Check, bad, ok, warn
from trading.settings import Settings

WORK_POOL, TAG = "openbell", "openbell"
_API_SECONDS = 5.0
_ROWS = 200
_DEPLOY = "openbell deploy (openbell up does it by itself)."


@dataclass(frozen=True, slots=True)
class AnsweringServer:
    """A server that answers, with the time it said and when it was heard."""

    client: httpx.Client
    time_there: datetime | None
    heard_at: datetime


def open_server(address: str) -> AnsweringServer | Check:
    """The server at the address, or what is wrong with it."""
    client = httpx.Client(base_url=address.rstrip("/"), auth=PrefectAccess(address), timeout=_API_SECONDS)
    try:
        answer = client.get("/health")
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        client.close()
        return bad(
            "prefect",
            f"{address} does not answer ({type(error).__name__}: {error})",
            "Start the Prefect server, or unset PREFECT_API_URL so that a session starts one for itself.",
        )
    heard_at = datetime.now(UTC)
    try:
        there = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        there = None
    return AnsweringServer(client, there, heard_at)


def server_checks(
    server: AnsweringServer, address: str, settings: Settings, deployed_version: str | None
) -> Iterator[Check]:
    """``deployed_version`` is what a deployment of this installation would carry; None where that is not known."""
    client = server.client
    asked = client.get("/admin/version")
    if asked.status_code in (401, 403):
        yield bad(
            "prefect",
            f"{address} asks for a password",
            "export PREFECT_API_AUTH_STRING=NAME:PASSWORD, as its PREFECT_SERVER_API_AUTH_STRING has it.",
        )
        return
    yield _version(address, str(asked.json()) if asked.status_code == 200 else "")
    pool = client.get(f"/work_pools/{WORK_POOL}")
    if pool.status_code == 404:
        yield warn("work pool", f"there is no work pool {WORK_POOL}", f"Make it and the deployments: {_DEPLOY}")
    else:
        yield _pool(pool.json())
        yield _worker(client)
    yield _deployments(client, deployed_version)
    yield from _blocks(client, settings)


def _version(address: str, there: str) -> Check:
    here = version("prefect")
    if there == here:
        return ok("prefect", f"{address} answers, version {there}")
    if there.split(".")[:2] == here.split(".")[:2]:
        return ok("prefect", f"{address} answers, version {there}; {here} here goes with it")
    return warn(
        "prefect",
        f"{address} is version {there or 'unknown'}, and {here} is installed here",
        "Install the same on both: the server first, then workers (docs/operations.md, Upgrade).",
    )


def _pool(pool: Mapping[str, Any]) -> Check:
    if pool.get("is_paused"):
        return warn("work pool", f"{WORK_POOL} is paused: nothing starts", f"prefect work-pool resume {WORK_POOL}")
    if pool.get("type") != "process":
        return warn(
            "work pool", f"{WORK_POOL} is of type {pool.get('type')}", "Make one of type process; runs use files here."
        )
    return ok("work pool", f"{WORK_POOL} is there")


def _worker(client: httpx.Client) -> Check:
    found = _asked(client, f"/work_pools/{WORK_POOL}/workers/filter", {"workers": {"status": {"any_": ["ONLINE"]}}})
    if not found:
        return warn(
            "worker",
            "no worker is online: scheduled sessions will not start",
            "Start one: openbell up, or openbell worker.",
        )
    return ok("worker", f"{len(found)} online")


def _deployments(client: httpx.Client, deployed_version: str | None) -> Check:
    subject = "deployments"
    found = _asked(client, "/deployments/filter", {"deployments": {"tags": {"all_": [TAG]}}, "limit": _ROWS})
    if not found:
        return warn(subject, "there are none of openbell", f"Write them: {_DEPLOY}")
    others = sorted({str(one.get("version")) for one in found} - {deployed_version})
    if deployed_version is not None and others:
        return warn(
            subject,
            f"{len(found)} are there, some of version {', '.join(others)}; this is {deployed_version}",
            f"Write them again: {_DEPLOY}",
        )
    return ok(subject, f"{len(found)} are there")


def _blocks(client: httpx.Client, settings: Settings) -> Iterator[Check]:
    if not settings.alerts.blocks:
        yield _anyone_told(client)
        return
    missing = []
    for named in settings.alerts.blocks:
        kind, _, name = named.partition("/")
        if client.get(f"/block_types/slug/{kind}/block_documents/name/{name}").status_code != 200:
            missing.append(named)
    if missing:
        yield warn(
            "blocks",
            f"[alerts] blocks names {', '.join(missing)}, which the server does not have: nobody would be called",
            "Make it in the UI under Blocks, or with prefect block create, and then: openbell deploy.",
        )
    else:
        yield ok("blocks", f"all {len(settings.alerts.blocks)} that alerts go to are there")


def _anyone_told(client: httpx.Client) -> Check:
    """Alerts go somewhere where the one for tests was made; openbell deploy makes it last."""
    if _asked(client, "/automations/filter", {"automations": {"name": {"any_": ["openbell: test"]}}}):
        return ok("blocks", "alerts go to those that openbell deploy made")
    return warn(
        "blocks",
        "no one is told when something goes wrong: alerts go to no notification block",
        f"Set OPENBELL_ALERT_WEBHOOK_URL, OPENBELL_ALERT_SLACK_URL or OPENBELL_ALERT_SMTP_URL (docs/alerts.md), and then: {_DEPLOY}",
    )


def _asked(client: httpx.Client, path: str, question: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(path, json=dict(question))
    found = answer.json() if answer.status_code == 200 else []
    return [one for one in found if isinstance(one, dict)]


def port_check(port: int) -> Check:
    """Whether a stack could be started here as it is by default."""
    holder = port_holder("127.0.0.1", port)
    if holder is None:
        return ok("port", f"{port} is free for openbell up")
    if holder.prefect is not None:
        return warn(
            "port",
            f"{port} is taken by {holder.in_words()}, and PREFECT_API_URL does not name it",
            f"To use that one: export PREFECT_API_URL=http://127.0.0.1:{port}/api",
        )
    return warn(
        "port", f"{port} is taken by {holder.in_words()}", f"openbell up --port {port + 10}, or end that program."
    )
