"""Makes one deployment on the server what the files say: written where it differs, left alone where it does not.

The rule: what a person switched off in the UI stays off. Everything else that the files say overwrites what was changed there.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, construct_schedule
from prefect.events import Automation, DeploymentTriggerTypes
from prefect.events.schemas.automations import AutomationCore
from pydantic import TypeAdapter

from deployments.publishing.planned import PlannedDeployment

_TRIGGER: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)
MADE_HERE = "Made by openbell deploy from prefect.yaml."
"""The description of automations that start our deployments."""
_COMPARED = {"name", "description", "trigger", "actions"}


class Written(StrEnum):
    """What became of a deployment."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    LEFT = "left"


def write(client: SyncPrefectClient, wanted: PlannedDeployment, there: DeploymentResponse | None) -> Written:
    """Make the deployment ``wanted``; ``there`` is the one that stands under its name."""
    said = _said(wanted)
    if there is None:
        flow_id = client.create_flow_from_name(wanted.flow.name)
        made = client.create_deployment(
            flow_id, wanted.name, schedules=[_schedule(one) for one in wanted.schedules], **said
        )
        _write_triggers(client, wanted, made)
        return Written.CREATED
    differs = any(found != said[name] for name, found in _found(there, said).items())
    if differs:
        client.update_deployment(there.id, DeploymentUpdate.model_validate(said))
    changes = [differs, _write_schedules(client, wanted, there), _write_triggers(client, wanted, there.id)]
    return Written.CHANGED if any(changes) else Written.UNCHANGED


def remove(client: SyncPrefectClient, there: DeploymentResponse) -> None:
    """Take a deployment away, with what would start it."""
    for one in client.read_resource_related_automations(f"prefect.deployment.{there.id}"):
        if one.description == MADE_HERE:
            client.delete_automation(one.id)
    client.delete_deployment(there.id)


def _said(wanted: PlannedDeployment) -> dict[str, Any]:
    """What the server is told, in JSON's words, so that it can be compared with what the server tells."""
    said: dict[str, Any] = {
        "version": wanted.version or wanted.flow.version,
        "description": wanted.description,
        "tags": sorted(wanted.tags),
        "entrypoint": wanted.entrypoint,
        "work_pool_name": wanted.work_pool,
        "job_variables": wanted.job_variables,
        "parameters": wanted.parameters,
        "pull_steps": wanted.pull_steps,
        "concurrency_limit": wanted.concurrency_limit,
        "concurrency_options": wanted.concurrency_options,
        "enforce_parameter_schema": True,
        "parameter_openapi_schema": wanted.flow.parameters.model_dump(exclude_unset=True),
    }
    if wanted.work_queue is not None:
        said["work_queue_name"] = wanted.work_queue
    plain: dict[str, Any] = json.loads(json.dumps(said, default=str))
    return plain


def _found(there: DeploymentResponse, said: dict[str, Any]) -> dict[str, Any]:
    """What the server tells of the same fields."""
    found = there.model_dump(mode="json", include=set(said))
    limit, options = there.global_concurrency_limit, there.concurrency_options
    return {
        **found,
        "tags": sorted(there.tags),
        "concurrency_limit": limit.limit if limit else None,
        "concurrency_options": options.model_dump(mode="json", exclude_none=True) if options else None,
    }


def _write_schedules(client: SyncPrefectClient, wanted: PlannedDeployment, there: DeploymentResponse) -> bool:
    """Schedules are known by their slugs; those without one were made in the UI and are left alone."""
    found = {one.slug: one for one in there.schedules if one.slug}
    changed = False
    for said in wanted.schedules:
        one, present = _schedule(said), found.pop(said["slug"], None)
        if present is None:
            client.create_deployment_schedules(there.id, [one])
        elif not _same(one.schedule, present.schedule) or one.parameters != present.parameters:
            client.update_deployment_schedule(there.id, present.id, schedule=one.schedule, parameters=one.parameters)
        else:
            continue
        changed = True
    for left in found.values():
        client.delete_deployment_schedule(there.id, left.id)
        changed = True
    return changed


def _same(one: SCHEDULE_TYPES, other: SCHEDULE_TYPES) -> bool:
    return one.model_dump(mode="json") == other.model_dump(mode="json")


def _schedule(said: Any) -> DeploymentScheduleCreate:
    when = {key: said[key] for key in ("cron", "interval", "anchor_date", "rrule", "timezone") if key in said}
    return DeploymentScheduleCreate(
        schedule=construct_schedule(**when),
        active=said.get("active", True),
        slug=said["slug"],
        parameters=said.get("parameters", {}),
    )


def _write_triggers(client: SyncPrefectClient, wanted: PlannedDeployment, deployment_id: UUID) -> bool:
    """What starts the deployment on an event. The server does not tell who made an automation: ours say so, or have our names."""
    automations = [_automation(said, deployment_id) for said in wanted.triggers]
    ours = {one.name for one in automations}
    related = client.read_resource_related_automations(f"prefect.deployment.{deployment_id}")
    left = [one for one in related if one.name in ours or one.description == MADE_HERE]
    changed = False
    for automation in automations:
        present = next((one for one in left if one.name == automation.name), None)
        if present is not None:
            left.remove(present)
        if present is None:
            client.create_automation(automation)
        elif _differs(automation, present):
            # Whose it is cannot be changed, so it is not said; whether it is on is a person's to say.
            told = automation.model_dump(exclude={"owner_resource"}) | {"enabled": present.enabled}
            client.update_automation(present.id, AutomationCore.model_validate(told))
        else:
            continue
        changed = True
    for one in left:
        client.delete_automation(one.id)
        changed = True
    return changed


def _automation(said: Mapping[str, Any], deployment_id: UUID) -> AutomationCore:
    trigger = _TRIGGER.validate_python({**said, "description": MADE_HERE})
    trigger.set_deployment_id(deployment_id)
    return trigger.as_automation()


def _differs(automation: AutomationCore, present: Automation) -> bool:
    return automation.model_dump(include=_COMPARED) != present.model_dump(include=_COMPARED)
