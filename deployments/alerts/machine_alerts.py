"""Alerts about the machine, and about runs that are not sessions."""

from deployments.alerts.alert import Alert
from deployments.alerts.triggers import HEALTH_CHECK, RESOURCE, event_of, run_ended
from trading.alert_settings import AlertName

HEALTH_SUBJECT = "openbell.health.subject"
"""Label of events of the health check: ``other`` where there is no alert of its own."""

BY_HAND = ("operator", "reconciliation")
UPKEEP = ("history", "policy", "watch", "maintenance")
"""Tags of the runs that nobody waits for."""

_RUN = "{{ event.resource['prefect.resource.name'] }}"
_ENDED = "ended as {{ event.resource['prefect.state-name'] }}: {{ event.resource['prefect.state-message'] }}"
_MESSAGE = "{{ event.payload.message }}{% if event.payload.remedy %} {{ event.payload.remedy }}{% endif %}"

MACHINE_ALERTS = (
    Alert(
        AlertName.DISK_FULL,
        "disk nearly full: {{ event.payload.message }}",
        "The health check finds too little room for the database, its backups or Prefect.",
        f"{_MESSAGE}",
        "Sessions still trade. When the disk is full the session that runs ends before it sends anything that it could not write down, and "
        "positions stay as they are.",
        (
            "Make room: old backups, logs, run history. Run the deployment housekeeping.",
            "If a session has ended because of it, start it again once there is room: it goes on where it was.",
        ),
        lambda windows: event_of("openbell.health.disk", within=windows.repeat),
    ),
    Alert(
        AlertName.NOT_WELL,
        "not well: {{ event.payload.message }}",
        "The health check finds something else: the database, a lease, a run without a process, the clock, memory, the server.",
        f"{_MESSAGE}",
        "What runs goes on. The next session may be refused.",
        (
            "Look closer: openbell doctor says what is wrong on this machine and what to do about it.",
            "Mend it before the next session: 09:15 in New York.",
        ),
        lambda windows: event_of(
            "openbell.health.*",
            within=windows.repeat,
            match={RESOURCE: "openbell.*", HEALTH_SUBJECT: "other"},
            for_each=(RESOURCE, HEALTH_CHECK),
        ),
    ),
    Alert(
        AlertName.RUN_BY_HAND_FAILED,
        f"failed: {_RUN}",
        "A stop, a resumption, a change of limits or a comparison with the broker failed, crashed, or could not be verified.",
        f"The run {_RUN} {_ENDED}",
        "What was asked for may not have been done. A stop that could not be verified may leave positions or working orders.",
        (
            "Read the message above, and do it again from a terminal: openbell halt, flatten, resume, limits or reconcile.",
            "If nothing answers: touch openbell.duckdb.halt beside the database. Whoever holds it stops within half a second.",
            "Look at the account at the broker itself where something should have been closed.",
        ),
        lambda windows: run_ended(BY_HAND, ["FAILED", "CRASHED"], windows.repeat),
    ),
    Alert(
        AlertName.UPKEEP_FAILED,
        f"failed: {_RUN}",
        "A run that nobody waits for failed or crashed: report, history, training, health check, housekeeping with the backup.",
        f"The run {_RUN} {_ENDED}",
        "Trading is not touched. What the run should have made is missing: a report, bars, a policy, a backup, or the next warning.",
        (
            "Read the message above and the run's logs.",
            "Run it again: in the UI by Quick run of its deployment. All of these may be repeated.",
        ),
        lambda windows: run_ended(UPKEEP, ["FAILED", "CRASHED"], windows.repeat),
    ),
)
