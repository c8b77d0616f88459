"""The one way in which something about a session becomes a Prefect event."""

from collections.abc import Mapping
from typing import Any

from prefect.events import Event, emit_event


def emit_about_session(
    name: str,
    session_id: str,
    payload: Mapping[str, Any],
    flow_run_id: str | None,
    labels: Mapping[str, str] | None = None,
) -> Event | None:
    """Emit an event of the session, related to the run where one is named; None where Prefect takes none.

    It occurs now. ``payload`` is plain values; ``labels`` are what automations can tell events of one name apart by.
    """
    related = []
    if flow_run_id is not None:
        related = [{"prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.role": "flow-run"}]
    resource = {"prefect.resource.id": f"openbell.session.{session_id}", "prefect.resource.name": session_id}
    return emit_event(event=name, resource={**resource, **(labels or {})}, related=related, payload=dict(payload))
