"""Many sessions over stored bars, replayed into the ledger on an account that exists for this alone. No Prefect here.

The rules: the account of a replay begins with ``replay-`` and is traded by nothing else, so that its figures never meet those of a
session that somebody traded. A replay always starts with its first session: what the ledger has of it already is traded again in memory and has to
come out the same, and only what is new is written. The database is held while something is written to it, and not longer.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from storage.replayed_sessions import SessionFigures, figures_of_account
from storage.store import Store
from storage.visit import read_from
from tasks.clean_history import clean_history
from tasks.free_database import open_when_free
from tasks.history_composition import replay_on_paper, source_to_replay
from tasks.policy_composition import assemble_policy, under_its_name
from tasks.replay_ledger import ReplayedBefore, WritesWhenFree
from trading.bars import BarColumns
from trading.calendar import TradingCalendar
from trading.errors import AlreadyTraded, ConfigurationError, DataNotFit
from trading.history_replay import ReplayOutcome
from trading.ports import BarSource, Policy
from trading.replay_accounts import PREFIX, may_name_a_replay
from trading.sessions import Mode
from trading.settings import FeedKind, Settings
from trading.trading_hours import TradingHours

_HELD_FOR_SECONDS = 3.0
_LEFT_OUT = {
    "session": {"account", "pace", "granularity"},
    "store": True,
    "train": True,
    "promotion": True,
    "alerts": True,
    "reconciliation": True,
    "policy": {"name", "bundle", "stage", "shadow"},
}
"""Settings that change nothing about what a replay trades; a policy is known by its fingerprint."""


@dataclass(frozen=True, slots=True)
class ReplayChunk:
    """Sessions that are traded in one go: those of one month, as far as they are in the ledger already, or are not."""

    label: str
    sessions: tuple[TradingHours, ...]
    is_known: bool


@dataclass(frozen=True, slots=True)
class _Read:
    """What a replay needs from the database and its files; ``known`` is what the ledger has on its account."""

    account: str
    policy: Policy
    bars: dict[str, BarColumns]
    sessions: tuple[TradingHours, ...]
    known: list[SessionFigures]


class SessionReplay:
    """A replay that is ready: its bars are read, its policy is loaded. ``trade`` its ``chunks`` in order, then ask for the ``answer``."""

    def __init__(self, settings: Settings, read: _Read, wait_seconds: float) -> None:
        self.settings = settings
        self.account = read.account
        self.sessions = read.sessions
        self.policy = read.policy.fingerprint
        self.halted: str | None = None
        self.replayed = 0
        known = _known_of(read, settings)
        self.chunks = _chunks(read.sessions, len(known))
        ledger = ReplayedBefore(
            {figures.record.session_id: figures for figures in known},
            WritesWhenFree(settings.store.path, wait_seconds),
        )
        self._replay = replay_on_paper(settings, read.account, read.policy, read.sessions[0].opens_at, ledger)
        self._replay.begin(read.bars)

    def trade(self, chunk: ReplayChunk) -> ReplayOutcome:
        """Trade the chunk's sessions; the ledger has all of them when this returns. Sets ``halted`` where no session would follow.

        Raises ``SessionHeld`` where somebody holds the database, ``AlreadyTraded`` where what is known does not come out again.
        """
        outcome = self._replay.trade(chunk.sessions)
        self.halted = outcome.halted
        if not chunk.is_known:
            self.replayed += outcome.sessions
        return outcome

    def figures(self) -> list[SessionFigures]:
        """What its sessions came to, from the ledger alone."""
        found = read_from(self.settings.store.path, lambda store: figures_of_account(store.connection, self.account))
        return [one for one in found if one.record.session_date <= self.sessions[-1].session_date]


def prepare_replay(
    settings: Settings,
    first: date | None = None,
    last: date | None = None,
    account: str | None = None,
    wait_seconds: float = _HELD_FOR_SECONDS,
) -> SessionReplay:
    """Read the bars and the policy of a replay of the sessions from ``first`` to ``last`` (empty: the first and last with bars).

    Without ``account`` the account is named after everything that decides what comes out: the same replay has the same, another has
    another. Broker and account of the settings do not count: a replay is traded on a simulated account in memory.

    Raises ``ConfigurationError``, ``DataNotFit``, ``PolicyNotFit``, ``SessionHeld`` where somebody holds the database for longer than
    ``wait_seconds``, and ``AlreadyTraded`` where ``account`` has other sessions.
    """
    settings = under_its_name(_as_replayed(settings), None)
    if account is not None and not may_name_a_replay(account):
        raise ConfigurationError(
            f"A replay cannot be kept as {account!r}: name it {PREFIX}NAME, in letters, digits, _ and -, so that nobody takes it for an "
            "account that was traded."
        )
    if first is not None and last is not None and last < first:
        raise ConfigurationError(f"{first} to {last} ends before it begins. Give the earlier day first.")
    source = source_to_replay(settings)
    with open_when_free(settings.store.path, wait_seconds, "Nothing is replayed"):
        pass  # refuses before the slow part, not after it
    read = read_from(settings.store.path, lambda store: _read(settings, source, store, first, last, account))
    return SessionReplay(settings, read, wait_seconds)


def replay_answer(replay: SessionReplay) -> dict[str, Any]:
    """What the replay came to, in plain values: totals, and its sessions under ``days``. Money is Decimal."""
    figures = replay.figures()
    totals = totals_of(figures)
    return {
        "account": replay.account,
        "strategy": replay.settings.strategy,
        "policy": replay.policy,
        "mode": str(figures[0].record.mode) if figures else str(Mode.RECORDED),
        "state": "COMPLETED" if replay.halted is None else "HALTED",
        **({} if replay.halted is None else {"reason": replay.halted}),
        **totals,
        "replayed": replay.replayed,
        "not_replayed": len(replay.sessions) - len(figures),
        "days": [day_of(one) for one in figures],
        "db": str(replay.settings.store.path),
    }


def totals_of(figures: Sequence[SessionFigures]) -> dict[str, Any]:
    """The sums over sessions; ``win_rate`` is None without a round trip."""
    trades = sum(one.trades for one in figures)
    return {
        "first": figures[0].record.session_date if figures else None,
        "last": figures[-1].record.session_date if figures else None,
        "sessions": len(figures),
        **{
            name: sum(getattr(one, name) for one in figures)
            for name in ("bars", "orders", "fills", "realized_pnl", "commissions")
        },
        "trades": trades,
        "win_rate": sum(one.winning_trades for one in figures) / trades if trades else None,
        "starting_equity": figures[0].record.starting_equity if figures else None,
        "equity": figures[-1].ending_equity if figures else None,
        "max_drawdown_fraction": max((one.max_drawdown for one in figures), default=None),
    }


def day_of(one: SessionFigures) -> dict[str, Any]:
    """One session's row."""
    return {
        "session_date": one.record.session_date,
        "orders": one.orders,
        "fills": one.fills,
        "trades": one.trades,
        "realized_pnl": one.realized_pnl,
        "commissions": one.commissions,
        "equity": one.ending_equity,
        "max_drawdown_fraction": one.max_drawdown,
    }


def _as_replayed(settings: Settings) -> Settings:
    """The settings with what a replay leaves out put to what it is."""
    kind = FeedKind.SYNTHETIC if settings.feed.kind is FeedKind.SYNTHETIC else FeedKind.RECORDED
    session = settings.session.model_copy(update={"account": None, "pace": "max"})
    return settings.model_copy(
        update={
            "session": session,
            "feed": settings.feed.model_copy(update={"kind": kind}),
            "broker": settings.broker.model_copy(update={"kind": "paper"}),
            "policy": settings.policy.model_copy(update={"shadow": None}),
        }
    )


def _read(
    settings: Settings,
    source: BarSource | None,
    store: Store,
    first: date | None,
    last: date | None,
    account: str | None,
) -> _Read:
    session = settings.session
    policy = assemble_policy(settings.policy, settings, store)
    bars_at = store.bars_of(session.timeframe) if source is None else source
    begins, ends = _range(settings, bars_at, first, last)
    bars, sessions = clean_history(
        bars_at,
        session.symbols,
        session.exchange,
        session.timeframe,
        begins,
        ends,
        policy.warmup_bars,
        settings.validation,
    )
    now = datetime.now(UTC)
    over = [hours for hours in sessions if hours.closes_at <= now or settings.feed.kind is FeedKind.SYNTHETIC]
    if not over:
        raise DataNotFit(
            f"The session of {sessions[0].session_date} is not over: its bars are not all there. Replay it when it is."
        )
    named = account or PREFIX + _digest(settings, policy, over[0].session_date)
    return _Read(named, policy, bars, tuple(over), figures_of_account(store.connection, named))


def _range(settings: Settings, source: BarSource, first: date | None, last: date | None) -> tuple[date, date]:
    """The days that are meant."""
    if first is not None and last is not None:
        return first, last
    if settings.feed.kind is FeedKind.SYNTHETIC:
        raise ConfigurationError(
            "An invented market has no first and no last day. Name both: first_date and last_date in the form, --from and --to in a "
            "terminal."
        )
    spans = [span for symbol in settings.session.symbols if (span := source.span(symbol)) is not None]
    if not spans:
        known = ", ".join(source.symbols()[:8]) or "none at all"
        raise DataNotFit(
            f"There are no bars of {', '.join(settings.session.symbols[:8])} in {source.name}, which has {known}. Import some."
        )
    earliest, latest = min(span[0] for span in spans), max(span[1] for span in spans)
    exchange = settings.session.exchange
    return (
        first or TradingCalendar(exchange, earliest.date()).exchange_date(earliest),
        last or TradingCalendar(exchange, latest.date()).exchange_date(latest),
    )


def _digest(settings: Settings, policy: Policy, first: date) -> str:
    """What decides what a replay comes to, save its bars and its end, as a short name."""
    return hashlib.blake2s(_what_counts(settings, policy.fingerprint, first).encode(), digest_size=4).hexdigest()


def _what_counts(settings: Settings, policy: str, first: date) -> str:
    document = settings.model_dump(mode="json", exclude=_LEFT_OUT)  # type: ignore[arg-type]
    document["session"]["strategy"] = settings.strategy
    return json.dumps([document, policy, first.isoformat()], sort_keys=True)


def _known_of(read: _Read, settings: Settings) -> list[SessionFigures]:
    """What the ledger has of this very replay, from its first session on; raises ``AlreadyTraded`` for anything else there."""
    if not read.known:
        return []
    anew = f"Name another account with --account {PREFIX}NAME to replay anew."
    begun, first = read.known[0].record, read.sessions[0].session_date
    before = _what_counts(Settings.model_validate_json(begun.settings), begun.policy_fingerprint, begun.session_date)
    if before != _what_counts(settings, read.policy.fingerprint, first):
        raise AlreadyTraded(
            f"The account {read.account} holds another replay: from {begun.session_date} on, {begun.strategy} with policy "
            f"{begun.policy_fingerprint}, made on {begun.started_at:%Y-%m-%d}. {anew}"
        )
    both = list(zip(read.known, read.sessions, strict=False))
    odd = next((pair for pair in both if pair[0].record.session_date != pair[1].session_date), None)
    if odd is not None:
        raise AlreadyTraded(
            f"The account {read.account} has a session on {odd[0].record.session_date} where this replay has one on "
            f"{odd[1].session_date}: the stored bars are others by now. {anew}"
        )
    return [figures for figures, _ in both]


def _chunks(sessions: Sequence[TradingHours], known: int) -> list[ReplayChunk]:
    """Month by month; the month in which the ledger ends is two."""
    numbered = list(enumerate(sessions))
    chunks = []
    for (year, month, is_known), part in groupby(
        numbered, key=lambda one: (one[1].session_date.year, one[1].session_date.month, one[0] < known)
    ):
        again = " again" if is_known else ""
        chunks.append(ReplayChunk(f"{year}-{month:02d}{again}", tuple(hours for _, hours in part), is_known))
    return chunks
