"""What a child does: trade one session at the gateway as a live one is, with its alerts written down."""

import contextlib
import json
import os
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rehearsal_plan import LEDGER, MONDAY, Plan

from storage.runners import this_runner
from storage.store import Store, open_store
from tasks.policy_composition import build_policy
from trading.account_at_rest import reconciler_at_rest
from trading.calendar import TradingCalendar
from trading.clocks.wall_clock import WallClock
from trading.errors import OpenbellError, RefusedToTrade, StoppedEarly
from trading.interactive_brokers.broker import IbBroker
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.episodes import Alert
from trading.interactive_brokers.feed import IbFeed
from trading.orchestrator_agent import OrchestratorAgent, TradingPorts
from trading.sessions import SessionState
from trading.settings import Settings

COMPLETED, FAILED, REFUSED, STOPPED = 0, 1, 3, 4


class Journal:
    """Lines of JSON, each written at once: the process may be killed at any moment."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._one_at_a_time = threading.Lock()

    def note(self, what: str, **facts: Any) -> None:
        """Write a line."""
        with self._one_at_a_time:
            os.write(self._file, json.dumps({"what": what, **facts}, default=str).encode() + b"\n")

    def note_alert(self, alert: Alert) -> None:
        """An operator would be told."""
        self.note("alert", kind=alert.kind, subject=alert.subject, over=alert.is_over, text=alert.text, at=alert.at)


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
        settings = plan.settings(port)
        with _lines(settings, journal) as (connection, broker, _), open_store(LEDGER) as store:
            account = settings.session.account or ""
            reconciler = reconciler_at_rest(settings, account, broker, store.ledger, lambda: None)
            done = reconciler.reconcile("manual", connection.clock.now())
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
def _lines(settings: Settings, journal: Journal) -> Iterator[tuple[GatewayConnection, IbBroker, IbFeed]]:
    connection = GatewayConnection(settings.broker.ib, journal.note_alert)
    contracts = Contracts(connection)
    broker = IbBroker(connection, contracts, settings.session.account or "")
    feed = IbFeed(connection, contracts, settings.session.timeframe)
    connection.open()
    try:
        contracts.look_up(settings.session.symbols)
        yield connection, broker, feed
    finally:
        journal.note("left", connections=broker.connections)
        connection.close()


@contextlib.contextmanager
def desk_of(settings: Settings, journal: Journal) -> Iterator[OrchestratorAgent]:
    """A session ready to run, put together as the composition root does."""
    with contextlib.ExitStack() as stack:
        store: Store = stack.enter_context(open_store(settings.store.path))
        connection, broker, feed = stack.enter_context(_lines(settings, journal))
        calendar = TradingCalendar(settings.session.exchange, MONDAY)
        hours = calendar.hours(MONDAY)
        policy = build_policy(settings.policy)
        runner = this_runner(uuid.uuid4().hex)
        ports = TradingPorts(calendar, connection.clock, WallClock(), feed, broker, policy, store.ledger, runner=runner)
        agent = OrchestratorAgent(settings, settings.session.account or "", hours, ports)
        stack.callback(agent.leave)
        stack.callback(feed.end)
        feed.attend = agent.attend
        yield agent
