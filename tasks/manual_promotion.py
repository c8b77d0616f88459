"""Promoting a policy and taking one back, by hand or by a flow run. No Prefect here.

The rule: stages change only between sessions, and the database is free while policies are replayed. So the registry is read,
the replays are made, and the change is written where the champion is still the one that was compared with.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.policy_registry import champion, policies, policy, promote, rollback
from storage.policy_sessions import paper_record, unseen_sessions
from storage.store import Store, open_store
from storage.visit import read_from
from tasks.operators import operator_name
from tasks.policy_replays import replays
from trading.errors import ConfigurationError, NotPromoted, OpenbellError, PolicyNotFit, StoreBusy
from trading.policy_records import PolicyRecord, Stage, Succession, fingerprint_prefix, require_promotable
from trading.promotion import YARDSTICKS, Contest, Evaluate, PaperRecord, UnseenWindow, Verdict, judge, trials_on
from trading.settings import Settings


def promote_by_hand(
    settings: Settings,
    name_or_fingerprint: str,
    to: Stage,
    force: bool = False,
    reason: str = "",
    evaluate: Evaluate | None = None,
) -> dict[str, Any]:
    """Ask the gate, and promote the policy where it agrees or ``force`` overrides it.

    A name means its newest candidate, for live the one that is at paper. Returns ``policy``, ``name``, ``stage``, ``promoted``,
    ``replaced`` (a fingerprint or None), ``forced``, ``gate`` and ``db``; where the gate refused nothing is changed. Raises
    ``NotPromoted`` while another process holds the database, and whatever the replays raise, unless ``force``.
    """
    if force and not reason.strip():
        raise ConfigurationError("To override the gate say why: give a reason with it. It is kept with the change.")
    with _registry(settings) as store:
        asked = _asked(store, name_or_fingerprint, to)
        require_promotable(asked, to)
        before = champion(store.connection, asked.name, to)
    verdict, gate = None, dict[str, Any]()
    try:
        verdict = _judged(settings, asked, before, to, evaluate or replays(settings))
        gate = gate_document(verdict, before)
    except OpenbellError as error:
        if not force:
            raise
        gate = {"promotes": False, "not_asked": str(error)}
    agreed = verdict is not None and verdict.promotes
    forced = force and not agreed
    answer = {
        "policy": asked.fingerprint,
        "name": asked.name,
        "stage": str(to),
        "promoted": agreed or force,
        "replaced": None,
        "forced": forced,
        "gate": gate,
        "db": str(settings.store.path),
    }
    if not answer["promoted"]:
        return answer
    with _registry(settings) as store:
        done = promote(
            store.connection,
            asked.fingerprint,
            to,
            datetime.now(UTC),
            operator_name(),
            reason.strip() or "the gate agreed",
            {**gate, "forced": forced},
            before.fingerprint if before else None,
            asked.stage,
        )
    return {**answer, "replaced": done.before.fingerprint if done.before else None}


def rollback_by_hand(settings: Settings, name: str, stage: Stage, reason: str = "") -> dict[str, Any]:
    """Put the previous champion of the stage back; the one there now is retired. No gate is asked.

    Returns ``policy`` (who is champion now), ``name``, ``stage``, ``retired`` (a fingerprint or None) and ``db``. Raises
    ``ConfigurationError`` where there is no previous one, ``NotPromoted`` while another process holds the database.
    """
    _require_named(name)
    with _registry(settings) as store:
        done: Succession = rollback(
            store.connection, name, stage, datetime.now(UTC), operator_name(), reason.strip() or "rolled back"
        )
    return {
        "policy": done.champion.fingerprint,
        "name": name,
        "stage": str(stage),
        "retired": done.before.fingerprint if done.before else None,
        "db": str(settings.store.path),
    }


def registered_policies(settings: Settings, name: str | None = None) -> list[PolicyRecord]:
    """All policies, or those of a name, the newest first; also while a session runs."""
    return read_from(settings.store.path, lambda store: policies(store.connection, name))


def gate_document(verdict: Verdict, champion_before: PolicyRecord | None) -> dict[str, Any]:
    """What the gate compared and found, as it is kept in ``policy_stages.gate``."""
    return {
        "promotes": verdict.promotes,
        "champion": champion_before.fingerprint if champion_before else None,
        "findings": [asdict(finding) for finding in verdict.findings],
        "figures": dict(verdict.figures),
    }


def _judged(
    settings: Settings, asked: PolicyRecord, before: PolicyRecord | None, to: Stage, evaluate: Evaluate
) -> Verdict:
    window, trials, paper = read_from(settings.store.path, lambda store: _window(store, settings, asked, before))
    contest = Contest(
        window,
        evaluate(asked, window),
        evaluate(before, window) if before else None,
        {name: evaluate(name, window) for name in YARDSTICKS},
        trials,
    )
    return judge(settings.promotion, to, asked.stage, contest, paper if to is Stage.LIVE else None)


def _window(
    store: Store, settings: Settings, asked: PolicyRecord, before: PolicyRecord | None
) -> tuple[UnseenWindow, int, PaperRecord]:
    """The sessions to replay, how many policies were tried on them, and what the policy has shown at paper."""
    manifest = asked.manifest
    if manifest is None:
        raise PolicyNotFit(
            f"The manifest of {asked.fingerprint} cannot be read by this openbell: it was written by another one. Train it again."
        )
    seen_until = max(one for one in (asked.trained_until, before.trained_until if before else None) if one is not None)
    symbols = manifest.trained.symbols
    hours = unseen_sessions(
        store.connection,
        symbols,
        manifest.exchange,
        manifest.timeframe,
        seen_until,
        settings.promotion.unseen_sessions,
    )
    window = UnseenWindow(symbols, manifest.exchange, manifest.timeframe, tuple(one.session_date for one in hours))
    if not hours:
        raise NotPromoted(
            f"There are no stored {manifest.timeframe} bars of {', '.join(symbols)} after {seen_until:%Y-%m-%d %H:%M} UTC, where the "
            f"training of {asked.fingerprint}{' or of the champion' if before else ''} ends: nothing shows what it does on days that it "
            "has not seen. Import newer bars with openbell import-bars."
        )
    trials = trials_on(hours[0].opens_at, policies(store.connection, asked.name))
    return window, trials, paper_record(store.connection, asked.fingerprint, manifest.trained_until)


def _asked(store: Store, name_or_fingerprint: str, to: Stage) -> PolicyRecord:
    """The policy that a person means."""
    _require_named(name_or_fingerprint)
    named = policies(store.connection, name_or_fingerprint)
    if not named and fingerprint_prefix(name_or_fingerprint) is not None:
        return policy(store.connection, name_or_fingerprint)
    wanted = Stage.PAPER if to is Stage.LIVE else Stage.CANDIDATE
    for record in named:
        if record.stage is wanted:
            return record
    if not named:
        raise ConfigurationError(
            f"No policy {name_or_fingerprint} is registered in {store.path}. See: openbell policies"
        )
    stages = ", ".join(f"{record.fingerprint} at {record.stage}" for record in named)
    raise ConfigurationError(
        f"No policy of the name {name_or_fingerprint} is at {wanted}, from where one comes to {to}. There are: {stages}. Name one "
        "by its fingerprint."
    )


@contextlib.contextmanager
def _registry(settings: Settings) -> Iterator[Store]:
    """The database, opened to change stages; raises ``NotPromoted`` while another process holds it."""
    _require_there(settings.store.path)
    try:
        with open_store(settings.store.path) as store:
            yield store
    except StoreBusy as error:
        raise NotPromoted(
            f"{str(error).split(';')[0]}. Stages are changed between sessions: a session keeps the policy that it began with. Run it "
            "again when the session is over."
        ) from error


def _require_named(text: str) -> None:
    if not text:
        raise ConfigurationError("No policy was named. Give a name or a fingerprint; openbell policies shows them.")


def _require_there(path: Path) -> None:
    if not path.exists():
        raise ConfigurationError(
            f"There is no database {path}, and so no registered policy. Train one with openbell train, or name another file "
            "with --db."
        )
