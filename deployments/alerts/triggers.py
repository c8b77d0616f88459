"""What fires alerts: states of runs with a tag, and events of ours.

A reactive trigger of Prefect fires with the first event, passes over all others for the same ``for_each`` until ``within`` is over, and fires
again with the first event after that: at once, and then once in a window at most. Windows follow each other without a gap, so that one message
at the end of a window and one at the beginning of the next can be close together; three cannot.
"""

from collections.abc import Sequence
from datetime import timedelta

from prefect.events import EventTrigger
from prefect.events.schemas.automations import Posture
from prefect.events.schemas.events import ResourceSpecification

RUN = "prefect.flow-run.*"
STATE_TYPE = "prefect.state-type"
STATE_MESSAGE = "prefect.state-message"
DEPLOYMENT = "related:deployment:prefect.resource.id"
RESOURCE = "prefect.resource.id"
HEALTH_CHECK = "openbell.health.check"
"""Label of events of the health check: what was looked at, and of which strategy."""

FINAL_STATES = (
    "Completed",
    "Failed",
    "Crashed",
    "Cancelled",
    "TimedOut",
    "Suspended",
    # Names of our own for ends of runs; each is an event of its own name.
    "Alarm",
    "ClosedDay",
    "Refused",
    "Skipped",
    "Stopped",
    "Unreconciled",
)
"""Names of states after which a run that is watched for silence has nothing to say any more."""


def run_ended(
    tags: Sequence[str], state_types: Sequence[str], within: timedelta, message: str | None = None
) -> EventTrigger:
    """A run with one of the tags came to an end of one of these types, whatever the state's name: once for each deployment.

    ``message`` is a pattern of state messages; with ``!`` before it, of those that are somebody else's.
    """
    match: dict[str, str | list[str]] = {RESOURCE: RUN, STATE_TYPE: list(state_types)}
    if message is not None:
        match[STATE_MESSAGE] = message
    return EventTrigger(
        expect={RUN},
        match=ResourceSpecification(match),
        match_related=_tagged(tags),
        for_each={DEPLOYMENT},
        posture=Posture.Reactive,
        threshold=1,
        within=within,
    )


def run_became(tag: str, state: str, within: timedelta) -> EventTrigger:
    """A run with the tag came into the state of this name: once for each deployment."""
    return EventTrigger(
        expect={f"prefect.flow-run.{state}"},
        match=ResourceSpecification({RESOURCE: RUN}),
        match_related=_tagged([tag]),
        for_each={DEPLOYMENT},
        posture=Posture.Reactive,
        threshold=1,
        within=within,
    )


def run_did_not_start(tag: str, within: timedelta) -> EventTrigger:
    """A run with the tag was late, or handed to a worker, and did not run ``within`` that time: for each run, at least 10 seconds."""
    return EventTrigger(
        after={"prefect.flow-run.Late", "prefect.flow-run.Pending"},
        expect={f"prefect.flow-run.{state}" for state in ("Running", "Cancelling", *FINAL_STATES)},
        match=ResourceSpecification({RESOURCE: RUN}),
        match_related=_tagged([tag]),
        for_each={RESOURCE},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def run_fell_silent(tags: Sequence[str], within: timedelta) -> EventTrigger:
    """A run with one of the tags gave a heartbeat, and ``within`` that time neither another nor an end.

    Only heartbeats and ends are expected: any other event would count as the one sign of life, and nothing would be missed after it.
    """
    heartbeat = "prefect.flow-run.heartbeat"
    return EventTrigger(
        after={heartbeat},
        expect={heartbeat, *(f"prefect.flow-run.{state}" for state in FINAL_STATES)},
        match=ResourceSpecification({RESOURCE: RUN}),
        match_related=_tagged(tags),
        for_each={RESOURCE},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def pool_was_left(name: str, within: timedelta) -> EventTrigger:
    """A work pool of that name lost its last worker, and ``within`` that time none came: one that restarts, or is new, is no news."""
    return EventTrigger(
        after={"prefect.work-pool.not-ready"},
        expect={"prefect.work-pool.ready"},
        match=ResourceSpecification({RESOURCE: "prefect.work-pool.*", "prefect.resource.name": name}),
        for_each={RESOURCE},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def event_of(
    *names: str,
    within: timedelta,
    threshold: int = 1,
    match: dict[str, str | list[str]] | None = None,
    for_each: Sequence[str] = (RESOURCE,),
) -> EventTrigger:
    """So many events of these names about the same subject within the window: once for each subject."""
    return EventTrigger(
        expect=set(names),
        match=ResourceSpecification(match or {}),
        for_each=set(for_each),
        posture=Posture.Reactive,
        threshold=threshold,
        within=within,
    )


def _tagged(tags: Sequence[str]) -> ResourceSpecification:
    return ResourceSpecification({RESOURCE: [f"prefect.tag.{tag}" for tag in tags], "prefect.resource.role": "tag"})
