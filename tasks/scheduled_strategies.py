"""Which sessions on a ledger start by themselves, as the deployments on Prefect's server say."""

import logging

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse

from trading.errors import ConfigurationError
from trading.settings import Settings, parse_settings

_log = logging.getLogger(__name__)

OURS, SESSIONS = "openbell", "session"
"""The tags of what trades."""


def scheduled_strategies(client: SyncPrefectClient, settings: Settings) -> list[tuple[DeploymentResponse, Settings]]:
    """Session deployments on the database of ``settings`` that a schedule starts, each with its settings.

    Those are left out that a person paused or whose schedules are switched off, and those whose settings are not valid: their runs say so.
    """
    mine = settings.store.path.absolute().resolve()
    found = []
    for one in client.read_deployments(
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[OURS, SESSIONS]))
    ):
        if one.paused or not any(schedule.active for schedule in one.schedules):
            continue
        try:
            theirs = parse_settings(one.parameters.get("settings", {}), f"deployment {one.name}")
        except ConfigurationError as error:
            _log.warning("deployment %s is passed over: %s", one.name, error)
            continue
        if theirs.store.path.absolute().resolve() == mine:
            found.append((one, theirs))
    return found
