"""Trained policies as the registry knows them: a bundle, the stage that it is at, and how it came there.

The rule: of one name at most one policy is at ``paper`` and one at ``live``; whoever takes a place archives who had it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from trading.bundles.manifest import Manifest
from trading.errors import ConfigurationError

PREFIX_DIGITS = 8
"""Hex digits of a fingerprint that a person has to give at least."""
_FINGERPRINT = re.compile(r"([A-Za-z0-9_\-]{1,40})@([0-9a-f]{16,64})")
_PREFIX = re.compile(r"(?:([A-Za-z0-9_\-]{1,40})@)?([0-9a-f]{1,64})")


class Stage(StrEnum):
    """How far a policy is trusted.

    ``CANDIDATE``: registered. ``PAPER``, ``LIVE``: the champion there. ``ARCHIVED``: was champion until another took its
    place; a rollback puts it back. ``RETIRED``: was rolled back, and comes back only by being promoted again.
    """

    CANDIDATE = "candidate"
    PAPER = "paper"
    LIVE = "live"
    ARCHIVED = "archived"
    RETIRED = "retired"

    @property
    def has_one_champion(self) -> bool:
        """Whether at most one policy of a name can be at it."""
        return self in (Stage.PAPER, Stage.LIVE)


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What is registered: a bundle that was read and found whole.

    ``fingerprint`` is ``name@`` and 16 hex digits or more; ``metrics`` is what training measured, in JSON's words.
    """

    fingerprint: str
    manifest: Manifest
    path: Path
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = _FINGERPRINT.fullmatch(self.fingerprint)
        if found is None:
            raise ValueError(
                f"{self.fingerprint!r} is no fingerprint: it is the policy's name, @ and 16 hex digits or more"
            )
        if found[1] != self.manifest.name:
            raise ValueError(f"{self.fingerprint} is of another policy than {self.manifest.name}")

    @property
    def lineage(self) -> dict[str, Any]:
        """How it came about: the data that it was fitted on, and the settings, code and libraries that did it."""
        trained = self.manifest.trained.model_dump(mode="json")
        return {"data": trained, **self.manifest.lineage.model_dump(mode="json")}


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """One row of ``policies``. ``manifest`` is None where this version of openbell cannot read it."""

    fingerprint: str
    name: str
    version: str
    kind: str
    stage: Stage
    path: Path
    created_at: datetime
    registered_at: datetime
    metrics: Mapping[str, Any]
    manifest: Manifest | None

    @property
    def trained_until(self) -> datetime | None:
        """Open of the newest bar that it has seen, aware UTC."""
        return None if self.manifest is None else self.manifest.trained_until


@dataclass(frozen=True, slots=True)
class StageChange:
    """One row of ``policy_stages``: a policy came from one stage (None: it was registered) to another.

    ``gate`` is what the gate compared and found, in JSON's words; None where none was asked.
    """

    number: int
    name: str
    fingerprint: str
    from_stage: Stage | None
    stage: Stage
    changed_at: datetime
    changed_by: str
    reason: str
    gate: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Succession:
    """A place that changed hands: who has it now, and who had it (None: nobody)."""

    stage: Stage
    champion: PolicyRecord
    before: PolicyRecord | None


def require_promotable(record: PolicyRecord, to: Stage) -> None:
    """Raise ``ConfigurationError`` where the policy cannot be promoted to the stage, whatever the gate would say."""
    if not to.has_one_champion:
        raise ConfigurationError(f"Policies are promoted to paper or live, not to {to}.")
    if record.stage is to:
        raise ConfigurationError(f"{record.fingerprint} is at {to} already. There is nothing to promote.")
    if record.stage is Stage.LIVE:
        raise ConfigurationError(
            f"{record.fingerprint} is at live, which is above {to}. Take it back with: openbell rollback {record.name} "
            "--stage live"
        )


def fingerprint_prefix(text: str) -> tuple[str | None, str] | None:
    """Name (None where it is not said) and first digits of a fingerprint; None where ``text`` is a name alone.

    Raises ``ConfigurationError`` where the digits behind an @ are no hex digits, or fewer than ``PREFIX_DIGITS``.
    """
    found = _PREFIX.fullmatch(text)
    if found is not None and len(found[2]) >= PREFIX_DIGITS:
        return found[1], found[2]
    if "@" in text:
        raise ConfigurationError(
            f"{text!r} is no fingerprint: give at least {PREFIX_DIGITS} of the hex digits behind the @."
        )
    return None
