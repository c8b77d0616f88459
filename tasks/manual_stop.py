"""An emergency stop by hand, and the end of a halt. No Prefect here.

The rule: who holds the database stops. It is asked through its door, and by a flag beside the database where the door does not
open; when nobody holds it the stop is done here.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from storage.halt_flag import flagged, raise_flag
from storage.handed_in import answer_to
from storage.store import open_store
from storage.visit import read_from
from tasks.at_the_door import HEARD_WITHIN_SECONDS, accepted, answered, handed_in, within
from tasks.halts_in_words import check_scope, standing, unknown_in
from tasks.operators import operator_name
from tasks.stop_without_session import (
    StopWanted,
    Told,
    end_unfinished_stops,
    plainly_told,
    stop_without_session,
)
from trading.errors import ConfigurationError, OpenbellError, StoreBusy, StoreError
from trading.operator_requests import RequestKind
from trading.settings import Settings
from trading.stops import StopStep

WAIT_SECONDS = 240.0
"""Longer than a session tries before it raises the alarm."""
ASKED = "ASKED"
"""The state of a stop that was asked for and that nobody has confirmed."""

_PATIENCE_SECONDS = 3.0
"""How long a door may stay shut before the flag is raised: a session is about to open it, or another command to leave."""
_LOOKED_EVERY_SECONDS = 0.2
_TRIED_EVERY_SECONDS = 2.0
_HELD_BRIEFLY_SECONDS = 10.0
_LONGEST_MINUTES = 60 * 24 * 366


def stop_by_hand(
    settings: Settings,
    scope: str | None,
    reason: str,
    flatten: bool = False,
    minutes: float | None = None,
    account: str | None = None,
    wait_seconds: float = WAIT_SECONDS,
    told: Told | None = None,
    until_close: bool = False,
) -> dict[str, Any]:
    """Halt ``scope``, cancel what works in it, with ``flatten`` close what is held, and look at the broker until it shows it.

    ``minutes`` of the wall end the halt, else ``openbell resume`` does; with ``until_close`` the session's close does, and the scope
    may be None: the account. ``account`` names it where no session runs and several could be meant. ``told`` hears of each step.

    Returns ``stop_id state scope reason flatten steps left notes standing answered_by asked_by db``. ``state`` is SUCCEEDED, ALARM
    (the broker still has ``left``), or ASKED where nobody has confirmed it within ``wait_seconds``. Raises ``ConfigurationError``
    for what cannot be asked, ``StoreError`` where it could neither be done nor asked for.
    """
    if scope is not None:
        scope = check_scope(scope)
    elif not until_close:
        raise ConfigurationError("A halt needs a scope. Give all, or a part of it, for example account:paper.")
    if not reason.strip():
        raise ConfigurationError("The reason is empty. Say why, for whoever clears the halt.")
    if minutes is not None and not 0 < minutes <= _LONGEST_MINUTES:
        raise ConfigurationError(
            f"{minutes:g} minutes are none. Give more than 0 and at most {_LONGEST_MINUTES:,} (a year), or leave it out to halt until "
            "a resume."
        )
    wanted = StopWanted(settings, scope, reason.strip(), flatten, minutes, account, until_close, told or _to_nobody)
    return {**_by_whoever_can(wanted, wait_seconds), "db": str(settings.store.path)}


def resume_by_hand(settings: Settings, scope: str = "all", wait_seconds: float = 60.0) -> dict[str, Any]:
    """Clear the halts that stand under exactly ``scope``: ``resumed cleared standing answered_by db``.

    Flags and requests that nobody has obeyed yet count as halts. Raises ``StoreBusy`` where whoever holds the database has not
    answered in time: then the halts stand.
    """
    scope = check_scope(scope)
    path = settings.store.path

    def at_rest() -> dict[str, Any]:
        with open_store(path) as store:
            now, user = datetime.now(UTC), operator_name()
            cleared = store.ledger.clear_halts(scope, user, now)
            end_unfinished_stops(store, scope, user, now)
            for request in store.ledger.requests():
                if request.kind is RequestKind.HALT and request.arguments.get("scope") == scope:
                    refused = {"error": "resumed", "message": f"{user} cleared {scope} before anyone obeyed the halt."}
                    store.ledger.answer_request(request.request_id, refused, now)
                    cleared += 1
            return {"resumed": scope, "cleared": cleared, "standing": standing(store, now)}

    answer = answered(path, RequestKind.RESUME, {"scope": scope}, wait_seconds, at_rest, _HELD_BRIEFLY_SECONDS)
    if "standing" not in answer:
        answer["standing"] = halts_standing(settings)
    return {**answer, "db": str(path)}


def halts_standing(settings: Settings) -> list[dict[str, Any]] | None:
    """Every halt that stands now; None where whoever holds the database does not say."""
    path = settings.store.path
    with contextlib.suppress(StoreError):
        return within(HEARD_WITHIN_SECONDS, lambda: read_from(path, lambda store: standing(store, datetime.now(UTC))))
    return None


def _by_whoever_can(wanted: StopWanted, wait_seconds: float) -> dict[str, Any]:
    begun = time.monotonic()
    patient_until, deadline = begun + min(wait_seconds, _PATIENCE_SECONDS), begun + wait_seconds
    stop_id, asked_by, tried_at = "", "", begun - _TRIED_EVERY_SECONDS
    seen: list[dict[str, Any]] = []
    try:
        while True:
            # Asked before it is looked: a flag comes down when its answer is there to be read.
            came_down = asked_by == "flag" and not _is_up(wanted, stop_id)
            answer = _look(wanted, stop_id, seen) if stop_id else None
            if answer is not None:
                return {**_completed(wanted, answer), "answered_by": "session", "asked_by": asked_by}
            if not stop_id or time.monotonic() - tried_at >= _TRIED_EVERY_SECONDS:
                tried_at = time.monotonic()
                # While somebody holds the ledger it is busy.
                with contextlib.suppress(StoreBusy):
                    done = stop_without_session(wanted, stop_id, seen)
                    return {**done, "answered_by": "ledger", "asked_by": asked_by or "hand"}
            if not stop_id:
                stop_id, asked_by = _ask(wanted, is_late=time.monotonic() >= patient_until)
            elif time.monotonic() >= deadline or came_down:
                return _not_confirmed(wanted, stop_id, seen, asked_by)
            time.sleep(_LOOKED_EVERY_SECONDS)
    except KeyboardInterrupt:
        # What was asked for stands: whoever leaves now should know.
        if not stop_id:
            raise
        return _not_confirmed(wanted, stop_id, seen, asked_by)


def _ask(wanted: StopWanted, is_late: bool) -> tuple[str, str]:
    """The id of the request and how it was made: through the door, by the flag when that is late, or not yet."""
    path = wanted.settings.store.path
    named = {"scope": wanted.scope, "reason": wanted.reason, "flatten": wanted.flatten, "minutes": wanted.minutes}
    arguments = {name: value for name, value in named.items() if value is not None}
    kind = RequestKind.FLATTEN if wanted.until_close else RequestKind.HALT
    try:
        return handed_in(path, kind, arguments, _PATIENCE_SECONDS).request_id, "door"
    except StoreError as unheard:
        if not is_late:
            return "", ""
        try:
            return raise_flag(path, arguments, operator_name(), datetime.now(UTC)).request_id, "flag"
        except OSError as error:
            raise StoreError(
                f"NOTHING WAS STOPPED: {unheard} The flag {path}.halt cannot be raised either: {error}. End the process that holds the "
                "database, and look at the broker yourself."
            ) from error


def _look(wanted: StopWanted, stop_id: str, seen: list[dict[str, Any]]) -> Mapping[str, Any] | None:
    """The session's answer where there is one; steps that were not seen before are told and kept in ``seen``."""
    path = wanted.settings.store.path

    def ask() -> tuple[Mapping[str, Any] | None, list[StopStep]]:
        answer = answer_to(path, stop_id, 0.0)
        return answer, read_from(path, lambda store: store.ledger.stop_steps(stop_id))

    try:
        answer, steps = within(HEARD_WITHIN_SECONDS, ask)
    except StoreError:
        return None  # its door is shut, or it is slow: it goes on all the same
    for step in steps:
        if step.number > len(seen):
            seen.append(plainly_told(step))
            wanted.told(seen[-1])
    return answer


def _completed(wanted: StopWanted, answer: Mapping[str, Any]) -> dict[str, Any]:
    answer = accepted(answer)
    path, scope = wanted.settings.store.path, str(answer["scope"])
    notes = [str(answer["note"])] if answer.get("note") else []
    with contextlib.suppress(OpenbellError):  # what is odd about the scope is not worth failing a stop that is done
        notes += within(HEARD_WITHIN_SECONDS, lambda: read_from(path, lambda store: unknown_in(store, scope)))
    return {**answer, "notes": notes, "standing": halts_standing(wanted.settings)}


def _not_confirmed(
    wanted: StopWanted, stop_id: str, seen: Sequence[Mapping[str, Any]], asked_by: str
) -> dict[str, Any]:
    by_flag = asked_by == "flag"
    # A flag knows no session, and so neither its account nor its close.
    notes = (
        ["Through the flag it is a halt, which openbell resume has to clear."] if by_flag and wanted.until_close else []
    )
    return {
        "stop_id": stop_id,
        "state": ASKED,
        "scope": wanted.scope or ("all" if by_flag else "account"),
        "reason": wanted.reason,
        "flatten": wanted.flatten,
        "steps": list(seen),
        "left": [],
        "notes": notes,
        "standing": None,
        "answered_by": None,
        "asked_by": asked_by,
        "flag_is_up": by_flag and _is_up(wanted, stop_id),
    }


def _is_up(wanted: StopWanted, stop_id: str) -> bool:
    return any(request.request_id == stop_id for request in flagged(wanted.settings.store.path))


def _to_nobody(_step: Mapping[str, Any]) -> None:
    pass
