"""What Prefect's server keeps: how long what it records, so that a month of daily sessions stays under a gigabyte; and on disk who
holds a slot of a deployment, because a slot whose holder it forgot with a restart is never free again.

The rule: the ledger is the record; the run history is for looking at what happened lately. The server itself removes what is
older, every hour and a few rows at a time; the flow ``housekeeping`` removes what the server has no rule for.
"""

import json
from datetime import timedelta

EVENTS_KEPT = timedelta(days=7)
"""Events are the larger part of a session's history, and only automations and the feed of events look at them."""
HEARTBEATS_KEPT = timedelta(days=1)
"""A flow run says every half minute that it is there; a day later nobody asks."""
RUNS_KEPT = timedelta(days=60)
"""Flow runs with their task runs, states, logs and artifacts, counted from their end."""
RUNS_LOOKED_FOR_EVERY = timedelta(hours=1)
_ROWS_AT_ONCE = 100
"""Of one removing transaction: on SQLite nobody else writes meanwhile."""


def retention_settings() -> dict[str, str]:
    """The environment of the server, by which it removes what is old and remembers who holds slots."""
    return {
        # In its own folder. In memory they were lost with a power cut in mid-run: every later health check was left out, every later
        # housekeeping and report waited for ever, and a run that lived through a restart of the server was ended.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # Durations are written as Prefect reads them: this one as ISO 8601, the others in seconds.
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{EVENTS_KEPT.days}D",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": _seconds(RUNS_KEPT),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": json.dumps(
            {"prefect.flow-run.heartbeat": int(HEARTBEATS_KEPT.total_seconds())}
        ),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": _seconds(RUNS_LOOKED_FOR_EVERY),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_BATCH_SIZE": str(_ROWS_AT_ONCE),
    }


def _seconds(length: timedelta) -> str:
    return str(int(length.total_seconds()))
