"""Sessions whose process ended without a word, brought to an end in the ledger. No Prefect here.

The rules: who may still be trading is left alone, and nothing is repaired: what the broker says is compared and written down for a person.
Started again on its day such a session goes on, ended here or not.
"""

import uuid
from dataclasses import dataclass
from datetime import date, datetime

from storage.left_running import sessions_left_running
from storage.overnight import LastSign, last_sign
from storage.runners import this_runner
from storage.visit import read_from
from tasks.free_database import open_when_free
from tasks.manual_reconciliation import reconcile_by_hand
from trading.errors import OpenbellError, SessionHeld
from trading.replay_accounts import is_replay
from trading.sessions import SessionRecord, SessionState
from trading.settings import Settings

_ASKED_FOR_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that said that it runs and did not: ``message`` is what is known of it, ``remedy`` what a person does about it.

    ``is_ended``: the ledger now has it as STOPPED. Otherwise ``message`` says why not.
    """

    session_id: str
    account: str
    session_date: date
    is_ended: bool
    message: str
    remedy: str


def unfinished_sessions(settings: Settings, until: date, now: datetime) -> list[str]:
    """Sessions of days up to ``until`` that the ledger has as running and that nobody trades, the oldest first."""
    if not settings.store.path.exists():
        return []
    found = read_from(settings.store.path, lambda store: sessions_left_running(store.connection, now))
    dead = [one for one in found if one.is_gone and one.session_date <= until]
    return sorted(one.session_id for one in dead if not is_replay(one.session_id.split(".")[1]))


def end_unfinished(settings: Settings, session_id: str, wait_seconds: float, now: datetime) -> EndedSession:
    """Compare the session's account with its broker, and write the session's end where nobody trades it.

    Raises ``StoreError`` where the ledger cannot be read or written; one that is held for longer than ``wait_seconds`` is told.
    """
    record = read_from(settings.store.path, lambda store: store.ledger.find_session(session_id))
    seen = read_from(settings.store.path, lambda store: last_sign(store, session_id))
    if record is None or record.state is not SessionState.RUNNING:
        return _told(session_id, record, False, "it was ended meanwhile")
    return write_end(settings, record, seen, _compared(settings, record), wait_seconds, now)


def write_end(
    settings: Settings,
    record: SessionRecord,
    seen: LastSign | None,
    compared: str,
    wait_seconds: float,
    now: datetime,
) -> EndedSession:
    """Write the session's end, unless somebody took it up since ``record`` and ``seen`` were read: the broker was asked and the
    database waited for, and meanwhile it may have been traded to its close. ``compared`` says what the broker said.
    """
    session_id = record.session_id
    who = (
        "nobody ever took it up"
        if seen is None
        else f"process {seen.pid} on {seen.host} was last seen at {seen.seen_at:%Y-%m-%d %H:%M:%S} UTC"
    )
    reason = f"its process ended without a word ({who}); ended by the end-of-day report"
    try:
        with open_when_free(settings.store.path, wait_seconds, "It still says RUNNING") as store:
            sign = last_sign(store, session_id)
            # Refused where a runner took it up since; then it is not ours to end.
            store.ledger.take_lease(session_id, this_runner(uuid.uuid4().hex), now)
            try:
                if sign != seen or store.ledger.find_session(session_id) != record:
                    return _told(session_id, record, False, "it was started again meanwhile, and stays as that left it")
                store.ledger.close_session(session_id, SessionState.STOPPED, seen.seen_at if seen else now, reason)
            finally:
                store.ledger.release_lease()
    except SessionHeld as held:
        return _told(session_id, record, False, f"{held} {compared}")
    last = (
        "before its first bar" if record.last_bar_time is None else f"after its bar of {record.last_bar_time:%H:%M} UTC"
    )
    return _told(session_id, record, True, f"{reason}, {last}. {compared}")


def _compared(settings: Settings, record: SessionRecord) -> str:
    """What the broker says of the account, in a sentence; a broker that cannot be asked is one too."""
    try:
        answer = reconcile_by_hand(
            _settings_of(settings, record), record.account, repair=False, wait_seconds=_ASKED_FOR_SECONDS
        )
    except OpenbellError as error:
        return f"Its account could not be compared with the broker: {error}"
    remaining = answer["remaining"]
    if not remaining:
        return "Ledger and broker agree."
    points = "; ".join(
        f"{one['kind']} {one['subject']}: ledger {one['ours']}, broker {one['brokers']}" for one in remaining[:5]
    )
    more = f" and {len(remaining) - 5} more" if len(remaining) > 5 else ""
    return f"Ledger and broker differ in {len(remaining)} points: {points}{more}."


def _settings_of(settings: Settings, record: SessionRecord) -> Settings:
    """Those that the session was traded with, in the ledger that is meant; the way to the broker is today's."""
    traded = Settings.model_validate_json(record.settings)
    broker = traded.broker
    if broker.kind == settings.broker.kind == "ib":
        broker = broker.model_copy(update={"ib": settings.broker.ib})
    return traded.model_copy(update={"store": settings.store, "broker": broker})


def _told(session_id: str, record: SessionRecord | None, is_ended: bool, words: str) -> EndedSession:
    day = date.fromisoformat(session_id.split(".")[0]) if record is None else record.session_date
    account = session_id.split(".")[1] if record is None else record.account
    remedy = (
        f"Look at what is held and working: openbell reconcile --account {account}. With --repair it books what the broker's records "
        f"explain; openbell flatten closes what is left. On its own day the session goes on where it stopped when it is started again."
    )
    return EndedSession(session_id, account, day, is_ended, f"Session {session_id}: {words.rstrip('.')}.", remedy)
