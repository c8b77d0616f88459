"""Whether this machine's server answers, or its worker is online: what a container's health check asks.

    python -m deployments.stack.healthy server
    python -m deployments.stack.healthy worker

Exits with 0 where it is, with 1 where it is not.
"""

import os
import socket
import sys

import httpx

from deployments.stack.environment import WORK_POOL
from tasks.prefect_access import PrefectAccess

_SECONDS = 5.0


def is_server_healthy(api: str) -> bool:
    """Whether the server at ``api`` can use its database."""
    return httpx.get(f"{api}/ready", timeout=_SECONDS).status_code == 200


def is_worker_healthy(api: str, name: str) -> bool:
    """Whether the worker of that name has told the server lately that it is there."""
    found = httpx.post(
        f"{api}/work_pools/{WORK_POOL}/workers/filter",
        auth=PrefectAccess(api),
        json={"workers": {"status": {"any_": ["ONLINE"]}}},
        timeout=_SECONDS,
    )
    return found.status_code == 200 and any(one["name"] == name for one in found.json())


def main(what: str) -> int:
    """The exit code."""
    api = os.environ.get("PREFECT_API_URL", "http://127.0.0.1:4200/api").rstrip("/")
    try:
        well = is_worker_healthy(api, socket.gethostname()) if what == "worker" else is_server_healthy(api)
    except (httpx.HTTPError, ValueError, KeyError):
        well = False
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
