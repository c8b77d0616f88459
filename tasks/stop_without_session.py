"""An emergency stop while nobody holds the database: at the brokers of its accounts, and in the ledger.

The rule: the halt is committed before any broker is asked, so that no session takes new risk whatever comes of the rest.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from storage.questions import accounts_of
from storage.store import Store
from tasks.halts_in_words import accounts_in, standing, unknown_in
from tasks.operators import operator_name
from tasks.rest_composition import StopDesk, account_in, assemble_stop
from trading.calendar import TradingCalendar
from trading.decisions import Halt
from trading.emergency_stop import EmergencyStop
from trading.errors import ConfigurationError, OpenbellError, StoreError
from trading.ports import LedgerEntries
from trading.settings import Settings
from trading.stops import Stop, StopAction, StopState, StopStep

Told = Callable[[Mapping[str, Any]], None]

_SHOWN_WITHIN = timedelta(seconds=3)
"""How long the broker of an account at rest may take to show that nothing works there any more."""
_SHOWN_BY_MARKET_WITHIN = timedelta(seconds=45)
"""The same where a market trades what closes a position."""
_LOOKED_EVERY_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StopWanted:
    """What a person wants stopped, and who hears of it.

    ``scope`` None is the account. ``until_close``: the halt is for the course of a session and needs nobody to clear it.
    """

    settings: Settings
    scope: str | None
    reason: str
    flatten: bool
    minutes: float | None
    account: str | None
    until_close: bool
    told: Told


def stop_without_session(wanted: StopWanted, request_id: str, seen: list[dict[str, Any]]) -> dict[str, Any]:
    """Stop every account in scope that the ledger knows. Raises ``StoreBusy`` while somebody holds the ledger.

    ``request_id`` is what a session was asked under before it left; ``seen`` are its steps, to which those taken here are added.
    """
    settings = wanted.settings
    if wanted.until_close and not settings.store.path.exists():
        raise ConfigurationError(f"There is no database {settings.store.path}. Name another with --db.")
    with contextlib.ExitStack() as closing:
        desk = closing.enter_context(assemble_stop(settings))
        store, now = desk.store, datetime.now(UTC)
        store.ledger.requests()  # a flag that is up comes down with its answer
        scope = wanted.scope or f"account:{account_in(store, wanted.account or settings.session.account)}"
        halt = _halt(wanted, scope, now)
        if halt is not None:
            store.ledger.record_halt(halt)
        accounts = [one for one in accounts_in(store, scope) if wanted.account in (None, one)]
        stopping = _Stopping(desk, wanted, scope, halt, request_id or uuid.uuid4().hex, seen)
        if not accounts and halt is not None:
            stopping.tell(StopStep(stopping.stop_id, 1, now, StopAction.HALT, True, f"{scope}: {wanted.reason}"))
        stops = [stopping.stop(account, is_first=account == accounts[0]) for account in accounts]
        done = all(stop.stop.state is StopState.SUCCEEDED for stop in stops)
        answer = {
            "stop_id": stopping.stop_id,
            "state": str(StopState.SUCCEEDED if done else StopState.ALARM),
            "scope": scope,
            "reason": wanted.reason,
            "flatten": wanted.flatten,
            "steps": list(seen),
            "left": [words for stop in stops for words in stop.left],
        }
        if request_id:
            store.ledger.answer_request(request_id, answer, datetime.now(UTC))
        return {**answer, "notes": unknown_in(store, scope), "standing": standing(store, datetime.now(UTC))}


def end_unfinished_stops(store: Store, scope: str, resumed_by: str, at: datetime) -> None:
    """Who resumes trading ends the stops of exactly this scope that a session left when it died: none goes on with them."""
    for account in accounts_of(store):
        for stop in store.ledger.unfinished_stops(account):
            if stop.scope == scope:
                number = len(store.ledger.stop_steps(stop.stop_id)) + 1
                why = f"trading was resumed by {resumed_by}"
                entries = LedgerEntries(
                    stops=[replace(stop, state=StopState.ALARM, ended_at=at)],
                    stop_steps=[StopStep(stop.stop_id, number, at, StopAction.ALARM, False, why)],
                )
                store.ledger.commit("", entries)


def plainly_told(step: StopStep, account: str | None = None) -> dict[str, Any]:
    """A step as JSON says it."""
    return {
        "number": step.number,
        "taken_at": step.taken_at.isoformat(),
        "action": str(step.action),
        "succeeded": step.succeeded,
        "detail": step.detail,
        "account": account,
    }


@dataclass(frozen=True, slots=True)
class _Stopping:
    """The accounts of one scope being stopped, one after the other."""

    desk: StopDesk
    wanted: StopWanted
    scope: str
    halt: Halt | None
    stop_id: str
    seen: list[dict[str, Any]]

    def stop(self, account: str, is_first: bool) -> EmergencyStop:
        """Stop one account, until it is shown or has become an alarm."""
        # One broker at a time: two accounts of a login cannot be connected under one number.
        with contextlib.ExitStack() as closing:
            return self._stop(account, is_first, closing)

    def _stop(self, account: str, is_first: bool, closing: contextlib.ExitStack) -> EmergencyStop:
        ledger = self.desk.store.ledger
        # Each account has a stop of its own: the first under the id that was asked with.
        stop_id = self.stop_id if is_first else f"{self.stop_id}.{account}"
        strategy = self.scope.removeprefix("strategy:") if self.scope.startswith("strategy:") else None
        controls = self.desk.controls(account, strategy, lambda step: self.tell(step, account), closing)
        trades = self.wanted.flatten and self.wanted.settings.broker.kind == "ib" and controls.would_trade()
        shown_within = _SHOWN_BY_MARKET_WITHIN if trades else _SHOWN_WITHIN
        now = datetime.now(UTC)
        begun = next((stop for stop in ledger.unfinished_stops(account) if stop.stop_id == stop_id), None)
        if begun is None:
            wanted = self.wanted
            stop = Stop(stop_id, account, "", self.scope, wanted.reason, wanted.flatten, operator_name(), now)
            before: Sequence[StopStep] = ()
            if self.halt is None:
                before = [StopStep(stop_id, 1, now, StopAction.HALT, True, "no session is on: none takes new risk")]
                controls.record(stop, before)
        else:
            stop, before = begun, ledger.stop_steps(stop_id)
        stopping = EmergencyStop(controls, stop, before, shown_within, self.halt)
        while stopping.advance(datetime.now(UTC)).state is StopState.RUNNING:
            time.sleep(_LOOKED_EVERY_SECONDS)
        if stopping.stop.flatten:
            try:
                controls.book_what_traded(datetime.now(UTC))
            except OpenbellError as error:  # what is closed is closed; the next comparison books it
                _log.warning("not booked account=%s error=%s", account, error)
        if begun is None:
            # A session that takes the account up trades as it is told then; it does not go on with this.
            ended = stopping.give_up(datetime.now(UTC), "no session runs that could go on with it")
            with contextlib.suppress(StoreError):  # what was done counts more than its record
                controls.record(ended, ())
        return stopping

    def tell(self, step: StopStep, account: str | None = None) -> None:
        """A step was taken."""
        told = plainly_told(step, account)
        self.seen.append(told)
        self.wanted.told(told)


def _halt(wanted: StopWanted, scope: str, now: datetime) -> Halt | None:
    """The halt with its end; None where it is for the course of a session and none is on."""
    if wanted.until_close:
        closes_at = _close_ahead(wanted.settings, now)
        return None if closes_at is None else Halt(scope, wanted.reason, now, closes_at)
    expires_at = None if wanted.minutes is None else now + timedelta(minutes=wanted.minutes)
    return Halt(scope, wanted.reason, now, expires_at)


def _close_ahead(settings: Settings, now: datetime) -> datetime | None:
    """Today's close at the exchange; None when it is over, or there is none today."""
    calendar = TradingCalendar(settings.session.exchange, now.date())
    day = calendar.exchange_date(now)
    if not calendar.is_session(day):
        return None
    closes_at = calendar.hours(day).closes_at
    return closes_at if now < closes_at else None
