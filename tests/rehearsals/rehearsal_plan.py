"""What a rehearsal is: one account's day at the gateway, what goes wrong in it, and when its sessions are killed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading.settings import Settings, parse_settings

ACCOUNT = "DU1234567"
CASH = Decimal(1_000_000)
LEDGER = Path("ledger.duckdb")
MONDAY = date(2026, 1, 5)
SYMBOLS = ("AAA", "BBB", "CCC")

BEFORE = "before the first session"
"""The time of faults that happen before anybody has connected."""

Fault = Mapping[str, Any]

_PATIENCE = {
    "connect_timeout_seconds": "4",
    "answer_timeout_seconds": "1",
    "acknowledgement_timeout_seconds": "0.4",
    "heartbeat_seconds": "0.5",
    "reconnect_first_seconds": "0.05",
    "reconnect_longest_seconds": "1",
}
"""Times of the wall, for a gateway on the same machine."""
_BUSY_DAY: Mapping[str, Mapping[str, Any]] = {
    "policy": {"name": "sma_crossover", "parameters": {"fast": 2, "slow": 3}},
    "sizing": {"method": "fixed_shares", "shares": 100},
    "orders": {"settle_seconds": "0.2", "tick_size": "0.01"},
    # Losses shall not end what is there to be disturbed.
    "risk": {
        "max_daily_loss": "off",
        "max_symbol_loss": "off",
        "max_losing_streak": "off",
        "max_hourly_turnover": "off",
        "max_daily_turnover": "off",
        "max_drawdown_speed_fraction": "off",
        "max_position_fraction": "1",
        "max_duplicate_orders": "off",
        # A day passes in seconds: what takes a moment of the wall takes minutes of it.
        "max_price_age_seconds": 2_700,
    },
    "reconciliation": {"every_minutes": 60},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """``sections`` are settings over those of a busy day; ``zone`` is where the session's machine believes to be, ``written``
    how the gateway writes times (see ``openbell gateway --timezone``)."""

    name: str
    faults: tuple[Fault, ...] = ()
    symbols: tuple[str, ...] = SYMBOLS[:2]
    timeframe: str = "15min"
    speed: float = 3_000.0
    seed: int = 7
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    zone: str | None = None
    written: str = ""
    kills: tuple[float, ...] = ()
    """Seconds after which each session's process is killed, one after the other; the one after the last lives."""
    gateway_killed_at: float | None = None
    """Seconds after the first session's start at which the gateway's process is killed, to be started again at once."""
    brackets: bool = False
    """Orders with stops and targets, changed on the way, instead of a policy's."""

    def settings(self, port: int) -> Settings:
        """What the session is started with; paths are relative to its folder."""
        document: dict[str, Any] = {name: dict(section) for name, section in _BUSY_DAY.items()}
        document |= {
            "session": {"symbols": self.symbols, "timeframe": self.timeframe, "account": ACCOUNT, "pace": "live"},
            "feed": {"kind": "ib"},
            "broker": {"kind": "ib", "ib": {"port": port, "account": ACCOUNT, **_PATIENCE}},
            "store": {"path": str(LEDGER), "serve": False},
        }
        return parse_settings(_laid_over(document, self.sections), f"the rehearsal {self.name!r}")

    def market(self) -> Settings:
        """What the gateway plays."""
        return parse_settings(
            {
                "session": {"symbols": self.symbols, "timeframe": "5min"},
                "feed": {"kind": "synthetic", "synthetic": {"seed": self.seed}},
                "broker": {"paper": {"slippage_bps": "0"}},
                "store": {"path": "nowhere.duckdb"},
            },
            f"the market of {self.name!r}",
        )


def _laid_over(document: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """One nested mapping over another, in all its depth."""
    laid = dict(document)
    for name, value in over.items():
        below = laid.get(name)
        laid[name] = _laid_over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return laid
