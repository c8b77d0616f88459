"""``openbell worker``: a worker whose sessions end in order when it is stopped."""

import os
from pathlib import Path
from typing import Annotated

import typer

from deployments.publishing.house import home_and_settings
from deployments.stack.environment import WORK_POOL
from deployments.stack.worker import guard_worker
from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.failures import failures_told
from deployments.terminal.up import say
from tasks.prefect_address import prefect_address
from trading.errors import ConfigurationError


def worker(
    pool: Annotated[str, typer.Option("--pool", metavar="NAME", help="Work pool that it takes runs from.")] = WORK_POOL,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Its name in the UI.", show_default="this machine's")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Where its output goes.", show_default="here")
    ] = None,
) -> None:
    """Run a worker for scheduled and started runs. A signal ends its sessions in order, then the worker itself.

    Asks the server that PREFECT_API_URL names. Ends with 1 where a run had to be killed, or the worker does not stay up.
    """
    with failures_told(as_json=False):
        if prefect_address() is None:
            raise ConfigurationError(
                "No Prefect server is named. Set PREFECT_API_URL to its address, for example http://127.0.0.1:4200/api."
            )
        if not guard_worker(pool, name, home_and_settings(None, os.environ)[0], log, say):
            raise typer.Exit(ExitCode.FAILED)
