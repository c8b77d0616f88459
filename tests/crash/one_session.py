"""What a child does: trade one session as a real one does, with its ports watched."""

import os
import traceback
from dataclasses import replace
from datetime import date
from typing import Any

from market_days import ACCOUNT_FILE, ask_for_a_stop
from moments_of_death import Watch, Watched, WatchedHand
from truths import agreement_of

from tasks.composition import Desk, assemble
from trading.errors import RefusedToTrade, StoppedEarly
from trading.orchestrator_agent import OrchestratorAgent
from trading.sessions import SessionState
from trading.settings import Settings


def trade(
    settings: Settings, day: date, watch: Watch, small_account: bool = False, operator_stops: bool = False
) -> int:
    """Trade the session to its end; returns the exit code that the terminal would give. Never raises.

    Between two bars it hears what it is asked for; with ``operator_stops`` somebody asks it to stop.
    With ``small_account`` the broker's file folds its log in at once, so that a limit on sizes meets the ledger first.
    """
    try:
        watch.reach("before", "opening the files")
        watch.reach("during", "opening the files")
        with assemble(settings, day) as desk:
            watch.reach("after", "opening the files")
            if small_account:
                desk.agent._ports.broker._file._connection.execute("PRAGMA wal_autocheckpoint = 1")  # type: ignore[attr-defined]
            agent = _watched(desk, watch)

            def between_two_bars() -> bool:
                if operator_stops:
                    ask_for_a_stop(agent.loop.last_bar_time)
                agent.attend()
                return False

            summary = agent.run_session(between_two_bars)
            # SQLite and DuckDB fold their logs into their files when they are closed.
            watch.reach("before", "closing the files")
            watch.reach("during", "closing the files")
        watch.reach("after", "closing the files")
        return 0 if summary.state is SessionState.COMPLETED else 1
    except RefusedToTrade as refused:
        watch.note("refused", why=str(refused))
        return 3
    except StoppedEarly as stopped:
        watch.note("stopped", why=str(stopped))
        return 4
    except BaseException as error:  # noqa: BLE001 - said in the journal and in the exit code
        watch.note("failed", why=f"{type(error).__name__}: {error}")
        traceback.print_exc()
        return 1


def _watched(desk: Desk, watch: Watch) -> OrchestratorAgent:
    """The desk's agent once more, over the same ports with the watch between it and them."""
    agent = desk.agent
    ports = agent._ports
    connection = desk.store.connection
    connection._writer = WatchedHand(connection._writer, watch)  # type: ignore[assignment]
    watched = replace(
        ports,
        broker=_port("broker", ports.broker, watch),
        ledger=_port("ledger", ports.ledger, watch),
        policy=_port("policy", ports.policy, watch),
        market=None if ports.market is None else _FirstLooks(ports.market, watch, desk),
    )
    return OrchestratorAgent(agent.settings, agent._account, desk.hours, watched)


def _port(name: str, inner: Any, watch: Watch) -> Any:
    return Watched(name, inner, watch)


class _FirstLooks(Watched):
    """The market, before whose first bar the reconciliation of the open is checked by looking into both files."""

    def __init__(self, inner: Any, watch: Watch, desk: Desk) -> None:
        super().__init__("market", inner, watch)
        self._desk: Desk | None = desk

    def see(self, moment: Any) -> None:
        if self._desk is not None:
            ledger = self._desk.store.connection.rows
            for violation in agreement_of(ledger, ACCOUNT_FILE, before_the_bar=True):
                self._watch.note(
                    "violation", text=f"after the reconciliation at the open: {violation}", pid=os.getpid()
                )
            self._desk = None
        self.__getattr__("see")(moment)
