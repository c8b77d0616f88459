"""Prefect's server, whose automations wait for SQLite instead of losing what happened, and for nothing that has come already.

    python -m deployments.stack.patient_server

By itself it looks, for each automation that waits for something to come, whether it waits, and then writes that it has come. Whoever
writes in between (and at the end of a run a lot is written) ends that with "database is locked" at once, however patient the connection
is; after four tries the event is put aside, and no automation behind that one ever hears of it: the crash of a session is told to nobody.
Here it asks to write before it reads, and waits its turn. On PostgreSQL nothing changes.

The order in which they hear of events is that of ``patient_ordering``, unless another is named in the environment.

The rule: of Prefect's code this changes that one look and nothing else. It is checked against the version that is installed by a test.
"""

import functools
import importlib
import os
import sys
from typing import Any

import sqlalchemy as sa
from prefect.server.events import triggers

_LOOK = "read_bucket"
_TAKE_THE_TURN = sa.text("UPDATE automation_bucket SET count = count WHERE 0")
"""Changes nothing; SQLite lets one writer in at a time, and this waits until it is us."""


def wait_for_the_database() -> None:
    """Let the triggers of this process wait for their turn. A second call changes nothing."""
    look = getattr(triggers, _LOOK)
    if hasattr(look, "waits_its_turn"):
        return

    @functools.wraps(look)
    async def look_when_it_is_our_turn(session: Any, *arguments: Any, **options: Any) -> Any:
        if session.get_bind().dialect.name == "sqlite":
            await session.execute(_TAKE_THE_TURN)
        return await look(session, *arguments, **options)

    look_when_it_is_our_turn.waits_its_turn = True  # type: ignore[attr-defined]
    setattr(triggers, _LOOK, look_when_it_is_our_turn)


def main() -> None:
    """Run the server in this process, with the settings of the environment."""
    ordering = os.environ.setdefault("PREFECT_SERVER_EVENTS_CAUSAL_ORDERING", "deployments.stack.patient_ordering")
    importlib.import_module(ordering)  # ours takes this for the moment of the start
    from prefect.cli import app

    wait_for_the_database()
    sys.argv = ["prefect", "server", "start"]
    app()


if __name__ == "__main__":
    main()
