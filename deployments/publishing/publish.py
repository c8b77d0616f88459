"""All of it: settings and prefect.yaml in, deployments on the server out."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.settings import get_current_settings

from deployments.alerts.applying import AppliedAlerts, apply_alerts
from deployments.publishing.deployments_document import read_deployments_document
from deployments.publishing.house import HOME, VERSION, deployments_file, home_and_settings, is_ours, version
from deployments.publishing.planned import PlannedDeployment, plan, planned_of
from deployments.publishing.server import make_work_pool, server
from deployments.publishing.writing import Written, remove, write
from trading.errors import ConfigurationError
from trading.settings import Settings, read_settings
from trading.strategies import refuse_what_is_shared, strategies_of

TAG = "openbell"
"""The tag of every deployment of ours."""
_PAGE = 200
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PublishedDeployment:
    """One deployment and what became of it. ``schedules``: when it starts by itself, in words."""

    full_name: str
    written: Written
    schedules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """What stands on the server now."""

    api: str
    home: Path
    settings_file: Path | None
    settings: Settings
    version: str
    work_pools: Mapping[str, bool]
    """Names of the work pools, and whether each was made."""
    deployments: tuple[PublishedDeployment, ...]
    strategies: tuple[str, ...]
    alerts: AppliedAlerts


def publish(config: Path | None = None, database: Path | None = None, prune: bool = False) -> Published:
    """Write all deployments; what is there and right is left alone, so that a second time changes nothing.

    ``config`` and ``database`` as in every command. ``prune`` removes deployments of ours that the files no longer name. Raises
    ``ConfigurationError``, before anything is written, for files that are not valid and a server that does not answer; for
    notification blocks that are not there when all but the alerts stands.
    """
    home, file = home_and_settings(config, os.environ)
    over = {} if database is None else {"store": {"path": str(database)}}
    settings, strategies = read_settings(file, over), strategies_of(file)
    if database is not None and strategies:
        raise ConfigurationError(
            f"{file} names strategies, and each has its database there. Leave out --db, or name it under [strategies.NAME.store]."
        )
    refuse_what_is_shared(strategies, home)
    this = version(os.environ)
    with server() as client:
        deployed = deployments_file(home)
        document = read_deployments_document(deployed, {HOME: str(home), VERSION: this})
        # A file that a person wrote says what it means.
        wanted = plan(
            planned_of(document), settings, strategies, datetime.now(UTC).date() if is_ours(deployed) else None
        )
        pools = {name: make_work_pool(client, name) for name in sorted({one.work_pool for one in wanted})}
        written = _write_all(client, wanted, prune)
    named = tuple(one.name for one in strategies)
    alerts = apply_alerts(settings.alerts, {one.name: one.settings.store.path for one in strategies})
    return Published(
        api=str(get_current_settings().api.url),
        home=home,
        settings_file=file,
        settings=settings,
        version=this,
        work_pools=pools,
        deployments=written,
        strategies=named,
        alerts=alerts,
    )


def _write_all(
    client: SyncPrefectClient, wanted: list[PlannedDeployment], prune: bool
) -> tuple[PublishedDeployment, ...]:
    there = _ours(client)
    became = {one.full_name: write(client, one, there.get(one.full_name)) for one in wanted}
    for name in sorted(there.keys() - became.keys()):
        became[name] = Written.REMOVED if prune else Written.LEFT
        if prune:
            remove(client, there[name])
    stands = _ours(client)
    return tuple(_published(name, how, stands.get(name)) for name, how in became.items())


def _published(name: str, how: Written, stands: DeploymentResponse | None) -> PublishedDeployment:
    schedules = stands.schedules if stands is not None and not stands.paused else []
    return PublishedDeployment(name, how, tuple(_in_words(one.schedule) for one in schedules if one.active))


def _in_words(schedule: SCHEDULE_TYPES) -> str:
    match schedule:
        case CronSchedule():
            return f"{schedule.cron} {schedule.timezone}"
        case IntervalSchedule():
            return f"every {schedule.interval}"
        case RRuleSchedule():
            return schedule.rrule
        case _:
            return "never"


def _ours(client: SyncPrefectClient) -> dict[str, DeploymentResponse]:
    """The deployments that carry our tag, by flow and name."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    flows = {one.id: one.name for one in _every(partial(client.read_flows, deployment_filter=ours))}
    return {
        f"{flows[one.flow_id]}/{one.name}": one
        for one in _every(partial(client.read_deployments, deployment_filter=ours))
    }


def _every(read: Callable[..., list[_T]]) -> list[_T]:
    found: list[_T] = []
    while True:
        page = read(limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            return found
