"""The order in which Prefect's automations hear of events, where the server was restarted in between.

By itself an event that says which one it follows waits until the automations have heard of that one, a quarter of an hour at most. What
they have heard of is kept in memory: a server that was restarted waits in vain for what its predecessor has handled, and the crash of a
run that began shortly before is told fifteen minutes late. Here what is in the server's database from before the start needs no waiting.

Prefect finds this module by ``PREFECT_SERVER_EVENTS_CAUSAL_ORDERING``; it is imported as the server starts.
"""

import logging
from uuid import UUID

import sqlalchemy as sa
from prefect.server.database import provide_database_interface
from prefect.server.events.ordering import PRECEDING_EVENT_LOOKBACK, memory
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.types._datetime import now

_log = logging.getLogger(__name__)

_started_at = now("UTC")


class CausalOrdering(memory.CausalOrdering):
    """Prefect's own, kept in memory, that also knows what was handled before this server started."""

    async def wait_for_leader(self, event: ReceivedEvent) -> None:
        """Wait for the event that this one follows, unless a server before this one has had it."""
        if event.follows is not None and await self._was_handled_before(event.follows):
            return
        await super().wait_for_leader(event)

    async def _was_handled_before(self, leader: UUID) -> bool:
        if now("UTC") - _started_at > PRECEDING_EVENT_LOOKBACK or await self.event_has_been_seen(leader):
            return False  # nothing waits longer than that, or nothing has to wait
        database = provide_database_interface()
        try:
            async with database.session_context() as session:
                received = await session.scalar(sa.select(database.Event.received).where(database.Event.id == leader))
        except sa.exc.SQLAlchemyError as error:  # then it waits, as it would without us
            _log.warning("not known whether event %s was handled before the start: %s", leader, error)
            return False
        return received is not None and received < _started_at
