"""What a gateway is started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from trading.settings import PaperSettings


class ExecutionTimes(StrEnum):
    """How times of executions are written: in the zone with its name, without it (older TWS), or as UTC with a dash."""

    ZONED = "zoned"
    UNZONED = "unzoned"
    UTC = "utc"


def _one_account() -> dict[str, Decimal]:
    return {"DU1234567": Decimal(1_000_000)}


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """``accounts`` are names and the cash they begin with. ``paper`` says what trades cost. ``state`` keeps it all; None
    forgets it at the end. ``port`` and ``control_port`` 0 are chosen by the system; no control door where it is None."""

    accounts: Mapping[str, Decimal] = field(default_factory=_one_account)
    paper: PaperSettings = field(default_factory=lambda: PaperSettings(slippage_bps=Decimal(0)))
    state: Path | None = None
    faults: Path | None = None
    port: int = 0
    control_port: int | None = None
    time_zone: str = "US/Eastern"
    execution_times: ExecutionTimes = ExecutionTimes.ZONED
    currency: str = "USD"
