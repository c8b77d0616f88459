"""The registry of policies: which bundles there are, and which of them is champion where.

The rule: a change of stages is one transaction with its row in ``policy_stages``, and two of them never overlap: each
touches all rows of its name first, and takes the next number of all changes.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from storage.connection import ConflictingWrite, Connection, RepeatedFact
from storage.reading import utc
from trading.bundles.manifest import Manifest
from trading.errors import ConfigurationError, NotPromoted, PolicyNotFit, StoreError
from trading.policy_records import (
    BundleFacts,
    PolicyRecord,
    Stage,
    StageChange,
    Succession,
    fingerprint_prefix,
    require_promotable,
)

_STAGES = frozenset(Stage)
"""A row of somebody else's at another stage is none of ours."""
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.01
_COLUMNS = "fingerprint, name, version, kind, stage, path, created_at, registered_at, metrics, manifest"

Changed = TypeVar("Changed")
Rows = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]


def register(connection: Connection, bundle: BundleFacts, at: datetime, by: str) -> PolicyRecord:
    """Write the bundle as a candidate; one that is there already stays at its stage and is found at ``bundle.path`` now.

    The path is kept whole, so that a session finds the bundle wherever it is started.

    Raises ``PolicyNotFit`` where its fingerprint stands for another manifest.
    """
    manifest = bundle.manifest.model_dump(mode="json")
    folder = str(bundle.path.absolute())

    def change() -> None:
        known = _found(_within(connection), "fingerprint = ?", [bundle.fingerprint])
        if known:
            [(kept,)] = _within(connection)("SELECT manifest FROM policies WHERE fingerprint = ?", [bundle.fingerprint])
            if json.loads(kept) != _sayable(manifest):
                raise PolicyNotFit(
                    f"{bundle.fingerprint} is registered with another manifest than the one in {bundle.path}: one of the two was "
                    f"edited. The registered bundle was in {known[0].path}; train the other one again."
                )
            connection.execute("UPDATE policies SET path = ? WHERE fingerprint = ?", [folder, bundle.fingerprint])
            return
        connection.execute(
            "INSERT INTO policies (fingerprint, name, kind, stage, metrics, created_at, version, path, manifest, lineage,"
            " registered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                bundle.fingerprint,
                bundle.manifest.name,
                bundle.manifest.kind,
                Stage.CANDIDATE,
                _json(bundle.metrics),
                bundle.manifest.created,
                bundle.manifest.version,
                folder,
                _json(manifest),
                _json(bundle.lineage),
                at,
            ],
        )
        _note(connection, bundle.manifest.name, bundle.fingerprint, None, Stage.CANDIDATE, at, by, "registered", None)

    _changing(connection, bundle.manifest.name, change)
    return policy(connection, bundle.fingerprint)


def policies(connection: Connection, name: str | None = None) -> list[PolicyRecord]:
    """All policies, or those of one name: by name, the newest first."""
    return _found(connection.rows, "? IS NULL OR name = ?", [name, name])


def policy(connection: Connection, fingerprint: str) -> PolicyRecord:
    """The one policy whose fingerprint begins so: ``name@`` and hex digits, or the digits alone, at least 8.

    Raises ``ConfigurationError`` where there is none, or more than one.
    """
    asked = fingerprint_prefix(fingerprint)
    if asked is None:
        raise ConfigurationError(f"{fingerprint!r} is no fingerprint, which looks like name@0123456789abcdef.")
    name, digits = asked
    found = [
        record for record in policies(connection, name) if record.fingerprint.rpartition("@")[2].startswith(digits)
    ]
    if not found:
        raise ConfigurationError(
            f"No policy with the fingerprint {fingerprint} is registered in {connection.path}. See: openbell policies"
        )
    if len(found) > 1:
        several = ", ".join(record.fingerprint for record in found)
        raise ConfigurationError(f"{fingerprint} is the beginning of several fingerprints: {several}. Give more of it.")
    return found[0]


def champion(connection: Connection, name: str, stage: Stage) -> PolicyRecord | None:
    """Who of the name is at the stage, None where nobody is: of ``paper`` and ``live`` the only one, else the newest."""
    return _champion(connection.rows, name, stage)


def previous_champion(connection: Connection, name: str, stage: Stage) -> PolicyRecord | None:
    """Whom a rollback would put back: of those whose place another took at the stage, the last; None where there is none."""
    return _previous(connection.rows, name, stage)


def stage_changes(connection: Connection, name: str) -> list[StageChange]:
    """Every change of stage of policies of the name, oldest first."""
    found = connection.rows(
        """
        SELECT number, name, fingerprint, from_stage, stage, changed_at, changed_by, reason, gate
        FROM policy_stages WHERE name = ? ORDER BY number
        """,
        [name],
    )
    return [
        StageChange(
            number,
            its_name,
            fingerprint,
            None if left is None else Stage(left),
            Stage(stage),
            utc(changed_at),
            changed_by,
            reason,
            None if gate is None else json.loads(gate),
        )
        for number, its_name, fingerprint, left, stage, changed_at, changed_by, reason, gate in found
    ]


def promote(
    connection: Connection,
    fingerprint: str,
    to: Stage,
    at: datetime,
    by: str,
    reason: str,
    gate: Mapping[str, Any] | None,
    over: str | None,
    seen_at: Stage,
) -> Succession:
    """Make the policy champion at ``to``; whoever was is archived. Nothing is changed where this raises.

    ``over`` is the champion that the gate compared with (None: there was none), ``seen_at`` the stage that the policy was at then. Raises
    ``NotPromoted`` where either is another by now, ``ConfigurationError`` where the policy cannot come to the stage at all.
    """
    asked = policy(connection, fingerprint)
    name, whole = asked.name, asked.fingerprint

    def change() -> tuple[PolicyRecord, PolicyRecord | None]:
        read = _within(connection)
        [record] = _found(read, "fingerprint = ?", [whole])
        if record.stage is not seen_at:
            raise NotPromoted(
                f"{whole} is at {record.stage} by now, and was at {seen_at} when the gate looked at it: somebody has moved it. Promote again "
                f"if it should come to {to} all the same."
            )
        require_promotable(record, to)
        before = _champion(read, name, to)
        if (before and before.fingerprint) != over:
            raise NotPromoted(
                f"The champion of {name} at {to} is {before.fingerprint if before else 'nobody'} by now, and the gate compared "
                f"with {over or 'nobody'}. Promote again."
            )
        if before is not None:
            _move(connection, before, Stage.ARCHIVED, at, by, f"{whole} was promoted to {to}", None)
        _move(connection, record, to, at, by, reason, gate)
        return record, before

    record, before = _changing(connection, name, change)
    return Succession(to, policy(connection, record.fingerprint), before)


def rollback(connection: Connection, name: str, stage: Stage, at: datetime, by: str, reason: str) -> Succession:
    """Put the previous champion of the stage back; the one who is there now is retired.

    Raises ``ConfigurationError``, and changes nothing, where there is no previous one.
    """

    def change() -> tuple[PolicyRecord, PolicyRecord | None]:
        read = _within(connection)
        if not _found(read, "name = ?", [name]):
            raise ConfigurationError(f"No policy {name} is registered in {connection.path}. See: openbell policies")
        now, previous = _champion(read, name, stage), _previous(read, name, stage)
        if previous is None:
            who = f"{now.fingerprint} is the first champion" if now else "There never was a champion"
            raise ConfigurationError(
                f"{who} of {name} at {stage}: there is nothing to go back to. Promote another, or stop its sessions with "
                "openbell halt."
            )
        if now is not None:
            _move(connection, now, Stage.RETIRED, at, by, reason, None)
        _move(connection, previous, stage, at, by, reason, None)
        return previous, now

    previous, now = _changing(connection, name, change)
    return Succession(stage, policy(connection, previous.fingerprint), now)


def _within(connection: Connection) -> Rows:
    """Reads what the transaction that is open sees."""

    def rows(sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        return connection.execute(sql, parameters).fetchall()

    return rows


def _champion(read: Rows, name: str, stage: Stage) -> PolicyRecord | None:
    found = _found(read, "name = ? AND stage = ?", [name, stage])
    return found[0] if found else None


def _previous(read: Rows, name: str, stage: Stage) -> PolicyRecord | None:
    """Who was archived from the stage last, and has not moved since."""
    found = read(
        """
        SELECT fingerprint FROM (
            FROM policy_stages WHERE name = ?
            QUALIFY row_number() OVER (PARTITION BY fingerprint ORDER BY number DESC) = 1
        ) WHERE stage = 'archived' AND from_stage = ? ORDER BY number DESC LIMIT 1
        """,
        [name, stage],
    )
    return _found(read, "fingerprint = ?", [found[0][0]])[0] if found else None


def _found(read: Rows, condition: str, parameters: Sequence[object]) -> list[PolicyRecord]:
    found = read(
        f"SELECT {_COLUMNS} FROM policies WHERE {condition} ORDER BY name, registered_at DESC, fingerprint", parameters
    )
    return [_record_of(row) for row in found if row[4] in _STAGES]


def _record_of(row: tuple[Any, ...]) -> PolicyRecord:
    fingerprint, name, version, kind, stage, path, created_at, registered_at, metrics, manifest = row
    try:
        known = Manifest.model_validate_json(manifest)
    except ValueError:  # a row of somebody else's, or of another version of openbell: it is shown, and trades nowhere
        known = None
    return PolicyRecord(
        fingerprint,
        name,
        version,
        kind,
        Stage(stage),
        Path(path),
        utc(created_at),
        utc(registered_at),
        json.loads(metrics) if metrics else {},
        known,
    )


def _move(
    connection: Connection,
    record: PolicyRecord,
    to: Stage,
    at: datetime,
    by: str,
    reason: str,
    gate: Mapping[str, Any] | None,
) -> None:
    connection.execute("UPDATE policies SET stage = ? WHERE fingerprint = ?", [to, record.fingerprint])
    _note(connection, record.name, record.fingerprint, record.stage, to, at, by, reason, gate)


def _note(
    connection: Connection,
    name: str,
    fingerprint: str,
    left: Stage | None,
    stage: Stage,
    at: datetime,
    by: str,
    reason: str,
    gate: Mapping[str, Any] | None,
) -> None:
    connection.execute(
        "INSERT INTO policy_stages (number, name, stage, fingerprint, changed_at, changed_by, reason, gate, from_stage)"
        " SELECT coalesce(max(number), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ? FROM policy_stages",
        [name, stage, fingerprint, at, by, reason, None if gate is None else _json(gate), left],
    )


def _json(document: Mapping[str, Any]) -> str:
    """As JSON says it: numbers that are none (a Sharpe ratio without a return) are null."""
    return json.dumps(_sayable(document), allow_nan=False)


def _sayable(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _sayable(item) for key, item in value.items()}
        case list() | tuple():
            return [_sayable(item) for item in value]
        case _:
            return value


def _changing(connection: Connection, name: str, change: Callable[[], Changed]) -> Changed:
    """``change`` in a transaction of its own, again from the start where another change came between."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with connection.transaction():
                return change()
        except (RepeatedFact, ConflictingWrite) as error:  # another has the number, the row or the fingerprint
            if time.monotonic() > give_up_at:
                raise StoreError(
                    f"The stages of {name} could not be changed: others were changing stages all the time. Try again."
                ) from error
            time.sleep(_PAUSE_SECONDS)
