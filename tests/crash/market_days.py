"""The sessions that are killed: small, quick, and busy in the ways that make restarts hard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from storage.halt_flag import raise_flag
from storage.store import open_store
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.decisions import Halt
from trading.feeds.synthetic import SyntheticFeed
from trading.settings import Settings, SyntheticSettings, parse_settings

LEDGER = Path("ledger.duckdb")
ACCOUNT = "crash"
ACCOUNT_FILE = Path(f"ledger.{ACCOUNT}.sqlite")
OPERATOR_ASKED = Path("operator-asked")
SYMBOLS = ("AAA", "BBB", "CCC")
MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


def _nothing() -> None:
    """Most days need no preparation."""


@dataclass(frozen=True, slots=True)
class MarketDays:
    """Consecutive sessions of one account, traded in a directory of their own (all paths are relative).

    ``prepare`` runs there once before the first session. ``exit_code`` is how each session ends.
    """

    name: str
    sections: Mapping[str, Mapping[str, Any]]
    days: tuple[date, ...] = (MONDAY, TUESDAY)
    prepare: Callable[[], object] = _nothing
    exit_code: int = 0
    halted_on_the_way: bool = False
    """An operator halts everything after the first kill: what comes of it is judged, and equal to nothing."""
    operator_stops: bool = False
    """An operator asks for a halt that flattens, as ``openbell halt --flatten`` does, once half of the first day is over: what
    comes of it is judged, and equal to nothing."""
    ends_flat: bool = False
    """At the end a stop has done its work: all is halted, nothing is held, no order is open. See ``same_rows.AFTER_A_STOP``."""
    must_have: tuple[str, ...] = field(default=("partial fill", "cancel", "carried position"))
    """What an undisturbed run has to contain, so that nobody believes in kills of an idle session."""

    @property
    def settings(self) -> Settings:
        """Settings of every one of the sessions."""
        document: dict[str, Any] = {
            "session": {"symbols": SYMBOLS, "timeframe": "10min", "account": ACCOUNT},
            "policy": {"name": "sma_crossover", "parameters": {"fast": 2, "slow": 4}},
            # The broker is as quick as a file: nothing is on its way for longer.
            "orders": {"allow_short": True, "settle_seconds": "0.005"},
            "broker": {"paper": {"max_volume_fraction": "0.0003"}},
            # Most days need something to be carried into the next session.
            "closing": {"hold_overnight": True},
            "store": {"path": str(LEDGER)},
        }
        for section, values in {"feed": {"kind": "synthetic"}, **self.sections}.items():
            document[section] = {**document.get(section, {}), **values}
        return parse_settings(document, f"the days {self.name!r}")


def _halt(scope: str) -> Callable[[], None]:
    def prepare() -> None:
        with open_store(LEDGER) as store:
            store.ledger.record_halt(Halt(scope, "an operator said so", datetime(2026, 1, 5, 12, tzinfo=UTC)))

    return prepare


def halt_everything() -> datetime | None:
    """An operator's halt between two starts of a session; its moment in the session's time. None before the first bar."""
    bar = MarketDays("", {}).settings.session.timeframe.length
    with open_store(LEDGER) as store:
        last = store.ledger.last_bar_time(ACCOUNT)
        if last is None:
            return None
        # The bar after the last one was under way: its orders may have been sent, those of all later bars may not.
        at = last + 2 * bar
        store.ledger.record_halt(Halt("all", "an operator said so", at))
        return at


def ask_for_a_stop(last_bar_time: datetime | None) -> None:
    """What ``openbell halt --flatten`` does beside a session, once half of the day is over and nobody has asked before."""
    noon = datetime.combine(MONDAY, time(17, 45), UTC)
    asked = OPERATOR_ASKED.exists()
    if last_bar_time is None or last_bar_time < noon or asked:
        return
    raise_flag(LEDGER, {"reason": "an operator said so", "flatten": True}, "an operator", last_bar_time)
    OPERATOR_ASKED.touch()


def _import_bars() -> None:
    """Put an invented week into the database, so that a recorded session reads it from there."""
    calendar = TradingCalendar("XNYS", MONDAY)
    settings = MarketDays("", {}).settings
    start, end = datetime(2025, 12, 29, tzinfo=UTC), datetime(2026, 1, 7, tzinfo=UTC)
    feed = SyntheticFeed(SyntheticSettings(seed=11), calendar, settings.session.timeframe, BarClock(start))
    with open_store(LEDGER) as store:
        bars = [feed.history(symbol, start, end) for symbol in SYMBOLS]
        store.bars_of(settings.session.timeframe).import_bars(bars)


ALL_DAYS: tuple[MarketDays, ...] = (
    MarketDays("fills in parts", {}),
    MarketDays(
        "gaps and bad prints",
        {"feed": {"kind": "synthetic", "synthetic": {"seed": 3, "gap_fraction": 0.15, "bad_print_fraction": 0.15}}},
    ),
    MarketDays(
        "loss limit",
        {"risk": {"max_daily_loss": "100"}},
        must_have=("partial fill", "cancel", "halt"),
    ),
    MarketDays(
        "flat at the close",
        {"closing": {"hold_overnight": False}, "broker": {"paper": {"max_volume_fraction": "0.0005"}}},
        must_have=("partial fill", "cancel", "flattened"),
    ),
    MarketDays(
        "closed step by step",
        {
            "closing": {
                "hold_overnight": False,
                "reduce_only_minutes": 90,
                "warn_minutes": 90,
                "flatten_minutes": 60,
                "market_on_close_minutes": 30,
            },
            "orders": {"order_type": "LIMIT", "time_in_force": "GTC", "limit_offset_bps": "-4"},
        },
        must_have=("partial fill", "cancel", "flattened", "withdrawn"),
    ),
    MarketDays(
        "flattened by a loss",
        {"risk": {"max_daily_loss": "100"}, "stopping": {"flatten_on_loss": True}},
        ends_flat=True,
        must_have=("partial fill", "halt", "stop"),
    ),
    MarketDays(
        "stopped by an operator",
        {},
        days=(MONDAY,),
        operator_stops=True,
        ends_flat=True,
        must_have=("partial fill", "halt", "stop"),
    ),
    MarketDays("one symbol halted", {}, prepare=_halt("symbol:BBB"), must_have=("partial fill", "cancel", "halt")),
    MarketDays("all halted", {}, prepare=_halt("all"), exit_code=3, must_have=("halt",)),
    MarketDays("halted on the way", {}, days=(MONDAY,), halted_on_the_way=True, must_have=("partial fill", "cancel")),
    MarketDays(
        "limits that stay",
        {"orders": {"order_type": "LIMIT", "time_in_force": "GTC", "limit_offset_bps": "-4"}},
    ),
    MarketDays(
        "trailing stops",
        {"orders": {"order_type": "TRAILING_STOP", "time_in_force": "GTC", "trail_fraction": "0.001"}},
    ),
    MarketDays("stored bars", {"feed": {"kind": "recorded"}, "book": {"cost_basis": "average"}}, prepare=_import_bars),
)
