"""The limits of ``[risk]`` by hand: which are in force, and changing them while a session runs. No Prefect here.

The rule: limits of a session are changed by the session, as a whole or not at all. Without one the settings file says them.
"""

import json
from collections.abc import Mapping
from typing import Any

from storage.door_sign import read_sign
from storage.session_traded import session_traded_by
from storage.store import Store, open_store
from storage.visit import Visit, read_from
from tasks.at_the_door import answered
from trading.errors import ConfigurationError, StoreError
from trading.operator_requests import RequestKind
from trading.settings import Settings, parse_settings

WAIT_SECONDS = 60.0
_HELD_BRIEFLY_SECONDS = 10.0


def change_limits(settings: Settings, changes: Mapping[str, Any], wait_seconds: float = WAIT_SECONDS) -> dict[str, Any]:
    """Change settings of ``[risk]`` of the session that runs: ``{"changed": {name: [old, new]}}``.

    ``changes`` is by name; ``"off"`` or None switches a limit off. Raises ``ConfigurationError`` where a value or a name is wrong,
    where no session runs, or where the session refused.
    """
    if not changes:
        raise ConfigurationError("No limit was named. Name one of [risk], for example max_daily_loss=500.")
    limits = checked(changes)

    def at_rest() -> dict[str, Any]:
        if settings.store.path.exists():
            with open_store(settings.store.path, read_only=True):
                pass
        raise ConfigurationError(
            f"No session holds {settings.store.path}: there is nothing to change. Write {' and '.join(limits)} into [risk] of the "
            "settings file (openbell.toml, or the one of --config); the next session takes it from there."
        )

    answer = answered(
        settings.store.path, RequestKind.LIMITS, {"limits": limits}, wait_seconds, at_rest, _HELD_BRIEFLY_SECONDS
    )
    return {**answer, "db": str(settings.store.path)}


def checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes as plain values that JSON can say; raises ``ConfigurationError`` that names the nearest known key."""
    risk = parse_settings({"risk": dict(changes)}, source="the limits that were given").risk
    document = risk.model_dump(mode="json")
    return {name: document[name] for name in changes}


def limits_in_force(settings: Settings) -> dict[str, Any]:
    """The limits that hold: of the session that has the database, with every change made since, else of ``settings``.

    ``{"session_id": name or None, "limits": {...}, "changed": {name: when}}``; values as JSON says them.
    """
    written: dict[str, Any] = {
        "session_id": None,
        "limits": settings.risk.model_dump(mode="json"),
        "changed": {},
        "db": str(settings.store.path),
    }
    if not settings.store.path.exists():
        return written
    try:
        running = read_from(settings.store.path, _of_the_session)
    except StoreError as error:
        raise type(error)(
            f"{error} The limits of the settings file may not be those that hold, so that they are not shown."
        ) from error
    return {**written, **running}


def _of_the_session(store: Store) -> dict[str, Any]:
    sign = read_sign(store.path)
    if sign is None or not isinstance(store.connection, Visit):
        return {}  # nobody trades: a session that says so was killed
    record = session_traded_by(store.connection, sign.pid)
    if record is None:
        return {}
    limits = Settings.model_validate_json(record.settings).risk.model_dump(mode="json")
    changed = {}
    for change in store.ledger.limit_changes(record.session_id):
        limits[change.name] = json.loads(change.new_value)
        changed[change.name] = change.changed_at.isoformat()
    return {"session_id": record.session_id, "limits": limits, "changed": changed}
