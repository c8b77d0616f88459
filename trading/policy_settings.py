"""Settings of what decides: which policy, and how far it is trusted."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from trading.setting_types import Name, Off, Section

BUILT_IN = ("flat", "buy_and_hold", "sma_crossover")
"""Policies that need no training."""

Stage = Literal["candidate", "paper", "live"]
Fingerprint = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,40}@[0-9a-f]{8,64}$")]


class PolicyChoice(Section):
    """Which policy: a built-in one by name and parameters, or a trained one by its folder, fingerprint or stage."""

    bundle: str | None = Field(default=None, min_length=1, max_length=1_000)
    """A trained policy: the folder of its bundle, or the fingerprint that it is registered under, for example `trend@0f3a52c1`."""
    stage: Stage | None = None
    """A trained policy: the one of `name` that is registered at this stage."""
    name: Name = Field(default="sma_crossover", validate_default=True)
    """Name of a built-in policy (`flat`, `buy_and_hold`, `sma_crossover`), or with `stage` that of a trained one."""
    parameters: dict[str, int | float | str | bool] = Field(default_factory=dict)
    """Parameters of a built-in policy, for example {fast = 20, slow = 50}."""

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint that ``bundle`` is; None where it is a folder, or there is none."""
        if self.bundle is None or "/" in self.bundle or "\\" in self.bundle:
            return None
        name, at, digits = self.bundle.rpartition("@")
        return (
            self.bundle if name and at and 8 <= len(digits) <= 64 and set(digits) <= set("0123456789abcdef") else None
        )

    @property
    def folder(self) -> Path | None:
        """The folder that ``bundle`` is; None where it is a fingerprint, or there is none."""
        return None if self.bundle is None or self.fingerprint is not None else Path(self.bundle)

    @property
    def is_trained(self) -> bool:
        """Whether it is a trained policy, and not a built-in one."""
        return self.bundle is not None or self.stage is not None

    @property
    def label(self) -> str:
        """What a person calls it before it was looked up: its name, or what its bundle is called."""
        if self.bundle is None:
            return self.name
        folder = self.folder
        return self.bundle.rpartition("@")[0] if folder is None else folder.name or self.name

    @field_validator("bundle", mode="before")
    @classmethod
    def _a_path_is_text(cls, bundle: object) -> object:
        return str(bundle) if isinstance(bundle, Path) else bundle

    @field_validator("stage")
    @classmethod
    def _one_trained_policy_is_meant(cls, stage: Stage | None, known: ValidationInfo) -> Stage | None:
        if stage is not None and known.data.get("bundle") is not None:
            raise ValueError("bundle and stage each say which trained policy is meant: leave out one of them")
        return stage

    @field_validator("name")
    @classmethod
    def _there_is_such_a_policy(cls, name: str, known: ValidationInfo) -> str:
        bundle, stage = known.data.get("bundle"), known.data.get("stage")
        if stage is not None and name in BUILT_IN:
            raise ValueError(f"stage = {stage!r} needs the name of a trained policy; {name} is built in")
        if bundle is None and stage is None and name not in BUILT_IN:
            raise ValueError(
                f"there is no built-in policy {name}: known are {', '.join(BUILT_IN)}; a trained one needs bundle or stage"
            )
        return name

    @field_validator("parameters")
    @classmethod
    def _only_built_in_ones_have_parameters(
        cls, parameters: dict[str, int | float | str | bool], known: ValidationInfo
    ) -> dict[str, int | float | str | bool]:
        if parameters and (known.data.get("bundle") is not None or known.data.get("stage") is not None):
            raise ValueError("a trained policy has no parameters: what it needs is in its bundle")
        return parameters


class PolicySettings(PolicyChoice):
    """What decides, and how far it is trusted."""

    shadow: PolicyChoice | None = None
    """A second policy that decides beside the first, is recorded in `shadow_decisions`, and never trades."""
    minimum_confidence: Annotated[float | None, Field(gt=0, le=1), Off] = None
    """A decision with less confidence holds. `off` asks for none; a policy that has no confidence cannot be asked for it."""
    cooldown_bars: Annotated[int, Field(ge=0, le=10_000)] = 0
    """For so many bars after an order of a symbol nothing is opened or added there. Positions can always be reduced."""
    max_changes_per_session: Annotated[int | None, Field(ge=0, le=100_000), Off] = None
    """How often the orders of a symbol may change sides within a session; after that its position is only reduced. `off` sets no limit."""
    decision_budget_ms: Annotated[Decimal, Field(gt=0, le=600_000)] = Decimal(1000)
    """How long a policy may take for a bar's decisions; what comes later is not traded on."""
    max_age_days: Annotated[int | None, Field(ge=1, le=36_500), Off] = 90
    """A trained policy that saw its last bar longer ago decides nothing. `off` sets no limit."""
    failures_until_reduce_only: Annotated[int, Field(ge=1, le=100_000)] = 5
    """After so many failed decisions of a symbol in a row the session only reduces positions, until its close or until a person resumes it."""
