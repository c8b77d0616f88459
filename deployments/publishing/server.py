"""The Prefect server that deployments are written to, and the work pool on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessWorker

from trading.errors import ConfigurationError


@contextmanager
def server() -> Iterator[SyncPrefectClient]:
    """The server that PREFECT_API_URL or the active profile names. Raises ``ConfigurationError`` where none is named or none answers."""
    address = get_current_settings().api.url
    if not address:
        raise ConfigurationError(
            "No Prefect server is named. Set PREFECT_API_URL to its address, for example http://127.0.0.1:4200/api, or start one "
            "with openbell up, which deploys by itself."
        )
    with get_client(sync_client=True) as client:
        try:
            client.hello().raise_for_status()
        except httpx.HTTPStatusError as error:
            raise ConfigurationError(
                f"The Prefect server at {address} answers with {error.response.status_code}. Check the address in PREFECT_API_URL, and "
                "PREFECT_API_AUTH_STRING where the server asks for a password."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ConfigurationError(
                f"The Prefect server at {address} does not answer ({type(error).__name__}). Start it, or set PREFECT_API_URL to the "
                "one that runs."
            ) from error
        yield client


def make_work_pool(client: SyncPrefectClient, name: str) -> bool:
    """Make the process work pool where it is not there; whether it was made. One that is there stays as it is."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(
                name=name,
                type=ProcessWorker.type,
                base_job_template=ProcessWorker.get_default_base_job_template(),
                description="Runs of openbell, each in a process of the worker's machine.",
            )
        )
        return True
    return False
