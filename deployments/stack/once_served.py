"""A command of Prefect or ours that waits for the server: it imports what it needs meanwhile, and then runs in the same process.

    python -m deployments.stack.once_served prefect worker start ...
    python -m deployments.stack.once_served openbell deploy ...

The rule: it waits for ever. Whoever started it ends it when the server does not come.
"""

import importlib
import pkgutil
import sys
import time
from collections.abc import Sequence

import httpx

import flows
from tasks.prefect_access import PrefectAccess

POOL_SECONDS = 20.0
"""How long a worker waits for its work pool to be made by the deployments; afterwards it makes one itself."""
_PAUSE_SECONDS = 0.2
_HEAVY = {
    "prefect": ("prefect.cli", "prefect.cli.worker", "prefect.workers.process", "prefect.client.orchestration"),
    "openbell": (
        *("prefect", "prefect.client.orchestration", "prefect.deployments.base", "deployments.terminal.app"),
        # Forms are made of the flows themselves: seconds that the server needs anyway.
        *("deployments.publishing.publish", *(f"flows.{one.name}" for one in pkgutil.iter_modules(flows.__path__))),
    ),
}


def main(words: Sequence[str]) -> None:
    """Import, wait, run."""
    program, *arguments = words
    for module in _HEAVY[program]:
        importlib.import_module(module)
    from prefect.settings import get_current_settings

    api = str(get_current_settings().api.url).rstrip("/")
    with httpx.Client(auth=PrefectAccess(api), timeout=2.0) as client:
        while not _answers(client, f"{api}/health"):
            time.sleep(_PAUSE_SECONDS)
        if "--pool" in arguments:
            pool = arguments[arguments.index("--pool") + 1]
            deadline = time.monotonic() + POOL_SECONDS
            while not _answers(client, f"{api}/work_pools/{pool}") and time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
    sys.argv = list(words)
    if program == "openbell":
        from deployments.terminal.app import run

        sys.exit(run(arguments))
    from prefect.cli import app

    from deployments.stack.patient_worker import never_give_up

    never_give_up()
    app()


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
