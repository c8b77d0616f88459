"""What a child does: trade one session at the gateway as a live one is, with its alerts written down."""

import contextlib
import json
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

from rehearsal_plan import MONDAY, Plan

from tasks.composition import assemble
from tasks.rest_composition import assemble_reconciliation
from trading.errors import OpenbellError, RefusedToTrade, SessionOver, StoppedEarly
from trading.orchestrator_agent import OrchestratorAgent
from trading.risk_events import RiskEvent, RiskEventKind
from trading.sessions import SessionState
from trading.settings import Settings

COMPLETED, FAILED, REFUSED, STOPPED, OVER = 0, 1, 3, 4, 5
_EVENING = datetime.combine(MONDAY, time(22, 0), UTC)


class Journal:
    """Lines of JSON, each written at once: the process may be killed at any moment."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._one_at_a_time = threading.Lock()

    def note(self, what: str, **facts: Any) -> None:
        """Write a line."""
        with self._one_at_a_time:
            os.write(self._file, json.dumps({"what": what, **facts}, default=str).encode() + b"\n")

    def note_alert(self, event: RiskEvent) -> None:
        """An operator is told of the broker's line."""
        facts = event.facts
        self.note("alert", kind=facts["episode"], subject=facts["subject"], over=facts["is_over"], text=event.message)


def trade(plan: Plan, port: int, journal: Journal) -> int:
    """Trade the session to its end; returns the exit code that the terminal would give. Never raises."""

    def work() -> int:
        with desk_of(plan.settings(port), journal) as agent:
            summary = agent.run_session()
            return COMPLETED if summary.state is SessionState.COMPLETED else FAILED

    return as_exit_code(work, journal)


def reconcile(plan: Plan, port: int, journal: Journal) -> int:
    """Compare the account that nobody trades any more with the gateway, and repair what follows from its records."""

    def work() -> int:
        with assemble_reconciliation(plan.settings(port), None, repairs=True) as desk:
            done = desk.reconciler.reconcile("manual", _EVENING)
            for found in done.remaining:
                journal.note(
                    "remaining", kind=found.kind, subject=found.subject, ours=found.ours, brokers=found.brokers
                )
        return COMPLETED

    return as_exit_code(work, journal)


def as_exit_code(work: Callable[[], int], journal: Journal) -> int:
    """What ``work`` returns, or the exit code of what it raises; said in the journal. Never raises."""
    try:
        code = work()
    except SessionOver as over:
        journal.note("over", why=str(over))
        return OVER
    except RefusedToTrade as refused:
        journal.note("refused", why=str(refused))
        return REFUSED
    except StoppedEarly as stopped:
        journal.note("stopped", why=str(stopped))
        return STOPPED
    except OpenbellError as error:
        journal.note("failed", why=f"{type(error).__name__}: {error}")
        traceback.print_exc()
        return STOPPED
    except BaseException as error:  # noqa: BLE001 - said in the journal and in the exit code
        journal.note("failed", why=f"{type(error).__name__}: {error}")
        traceback.print_exc()
        return FAILED
    journal.note("ended", code=code)
    return code


@contextlib.contextmanager
def desk_of(settings: Settings, journal: Journal) -> Iterator[OrchestratorAgent]:
    """The session, ready to run, with somebody who is told of its broker's line."""
    with assemble(settings, MONDAY) as desk:
        agent = desk.agent
        agent.risk_events.subscribe(journal.note_alert, [RiskEventKind.BROKER_LINE])
        try:
            yield agent
        finally:
            agent.risk_events.drain()
            journal.note("left", connections=agent._ports.broker.connections)
