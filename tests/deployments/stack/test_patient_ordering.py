"""A server that was restarted tells at once what becomes of a run that began before: it waits for no event that it will not get."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from prefect.server.database import provide_database_interface
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import temporary_database_config
from prefect.server.events.ordering import EventArrivedEarly, get_triggers_causal_ordering, memory
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import PREFECT_SERVER_EVENTS_CAUSAL_ORDERING, temporary_settings
from prefect.types._datetime import now

from deployments.stack import patient_ordering


@pytest.fixture(autouse=True)
def database(tmp_path: Path) -> Iterator[str]:
    """An empty table of events, as Prefect makes it, in the database that its server would use."""
    path = tmp_path / "prefect.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    table = provide_database_interface().Event.__table__
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateTable(table))
    engine.dispose()
    address = f"sqlite+aiosqlite:///{path}"
    with temporary_database_config(AioSqliteConfiguration(connection_url=address)):
        yield address


@pytest.fixture(autouse=True)
def nothing_heard_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that has just started."""
    monkeypatch.setattr(patient_ordering, "_started_at", now("UTC"))
    memory.CausalOrdering.clear_all_scopes()
    yield
    memory.CausalOrdering.clear_all_scopes()


def event(follows: UUID | None = None) -> ReceivedEvent:
    return ReceivedEvent(
        id=uuid4(),
        occurred=now("UTC"),
        received=now("UTC"),
        event="prefect.flow-run.Crashed",
        resource={"prefect.resource.id": "prefect.flow-run.1"},
        follows=follows,
    )


async def write_down(leader: ReceivedEvent, received_before_start: timedelta) -> None:
    database = provide_database_interface()
    async with database.session_context(begin_transaction=True) as session:
        await session.execute(
            sa.insert(database.Event).values(
                id=leader.id,
                occurred=leader.occurred,
                event=leader.event,
                resource_id=leader.resource.id,
                resource={},
                related_resource_ids=[],
                related=[],
                payload={},
                received=patient_ordering._started_at - received_before_start,
                recorded=leader.occurred,
            )
        )


def is_heard_of(
    follower: ReceivedEvent, leader: ReceivedEvent | None, before_start: timedelta, module: ModuleType
) -> bool:
    """Whether automations hear of an event at once, where the one that it follows was written down then (None: never)."""

    async def hear() -> bool:
        if leader is not None:
            await write_down(leader, before_start)
        with temporary_settings({PREFECT_SERVER_EVENTS_CAUSAL_ORDERING: module.__name__}):
            ordering = get_triggers_causal_ordering()

        async def nobody_waits_for_it(event: ReceivedEvent, depth: int = 0) -> None:
            pytest.fail(f"{event.id} comes as a follower of depth {depth}")

        try:
            async with ordering.preceding_event_confirmed(nobody_waits_for_it, follower):
                return True
        except EventArrivedEarly:
            return False

    return asyncio.run(hear())


def test_what_was_handled_before_the_start_is_not_waited_for() -> None:
    leader = event()
    follower = event(leader.id)
    # Why it is changed. Where this fails, Prefect has mended it, and patient_ordering.py can go.
    assert not is_heard_of(follower, leader, timedelta(seconds=5), memory)


def test_with_ours_it_is_heard_of_at_once() -> None:
    leader = event()
    assert is_heard_of(event(leader.id), leader, timedelta(seconds=5), patient_ordering)


def test_what_comes_after_the_start_is_waited_for_as_ever() -> None:
    leader = event()
    assert not is_heard_of(event(leader.id), leader, timedelta(seconds=-5), patient_ordering)
    assert not is_heard_of(event(uuid4()), None, timedelta(0), patient_ordering)
    assert is_heard_of(event(), None, timedelta(0), patient_ordering)


def test_a_database_that_does_not_answer_is_no_reason_to_lose_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(patient_ordering._log, "warning", lambda words, *_: told.append(words))

    async def forget() -> None:
        async with provide_database_interface().session_context(begin_transaction=True) as session:
            await session.execute(sa.text("DROP TABLE events"))

    asyncio.run(forget())
    assert not is_heard_of(event(uuid4()), None, timedelta(0), patient_ordering)
    assert told == ["not known whether event %s was handled before the start: %s"]
