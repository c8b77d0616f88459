"""Stored bars are looked through for gaps, and filled up from a source. No Prefect here.

The rules: a session is asked for once it is over, one symbol at a time, and what came is written at once, so that a loading that is ended goes on
where it was. Stored bars that differ from what comes stay as they are unless somebody wants them replaced, and are told in both cases. The
database is held for as long as one session's bars take to write.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from storage.asked_history import AskedBefore, asked_before, note_answer
from storage.bars import BarDifference
from storage.store import Store
from storage.visit import read_from
from tasks.clean_history import sessions_between
from tasks.free_database import open_when_free
from trading.bar_gaps import SessionGap, gaps_in, missing_bars
from trading.bar_validation import BarValidator, Finding
from trading.bars import BarColumns
from trading.calendar import TradingCalendar
from trading.errors import DataNotFit
from trading.past_bars import PastBars
from trading.settings import Settings
from trading.trading_hours import TradingHours


@dataclass(frozen=True, slots=True)
class LoadingPlan:
    """What is to be asked for: ``wanted`` sessions, with 0 missing where they are only compared.

    ``not_traded`` are gaps that the source has twice had nothing for. ``going`` is today's session where it is not over.
    """

    first: date
    last: date
    sessions: int
    wanted: tuple[SessionGap, ...]
    not_traded: tuple[SessionGap, ...]
    going: date | None


@dataclass(frozen=True, slots=True)
class LoadedSession:
    """What came of asking for one symbol's session. ``note`` says why nothing did; ``findings`` counts what is odd about its bars."""

    gap: SessionGap
    loaded: int = 0
    replaced: int = 0
    still_missing: int = 0
    differing: tuple[BarDifference, ...] = ()
    findings: dict[str, int] = field(default_factory=dict)
    note: str = ""


def plan_loading(
    settings: Settings,
    source: PastBars,
    symbols: Sequence[str],
    days: int,
    until: date | None = None,
    compare: bool = False,
    ask_again: bool = False,
) -> LoadingPlan:
    """Look for gaps in the stored bars of the last ``days`` days up to ``until`` (empty: the source's today).

    With ``compare`` whole sessions are asked for too; with ``ask_again`` what the source has had nothing for before. Reads while a
    session holds the database.
    """
    session = settings.session
    now = source.now()
    today = TradingCalendar(session.exchange, now.date()).exchange_date(now)
    last = min(until or today, today)
    first = last - timedelta(days=days - 1)
    sessions = sessions_between(session.exchange, first, last)
    over = [hours for hours in sessions if hours.closes_at <= now]
    going = next((hours.session_date for hours in sessions if hours.closes_at > now), None)
    gaps, known = _gaps_stored(settings, source, symbols, over)
    wanted: list[SessionGap] = []
    not_traded: list[SessionGap] = []
    for gap in gaps:
        asked = known.get((gap.symbol, gap.hours.session_date))
        at_rest = asked is not None and asked.is_believed and asked.missing == gap.missing and not ask_again
        (not_traded if at_rest and source.kind == "ib" else wanted).append(gap)
    if compare:
        held = {(gap.symbol, gap.hours.session_date) for gap in gaps}
        wanted += [
            SessionGap(symbol, hours, 0, hours.bar_count(session.timeframe))
            for symbol in symbols
            for hours in over
            if (symbol, hours.session_date) not in held
        ]
        wanted.sort(key=lambda gap: (gap.hours.session_date, gap.symbol))
    return LoadingPlan(first, last, len(over), tuple(wanted), tuple(not_traded), going)


def load_session(
    settings: Settings, source: PastBars, gap: SessionGap, replace: bool = False, wait_seconds: float = 0.0
) -> LoadedSession:
    """Ask the source for one symbol's session and store what is missing; repeating it changes nothing more.

    Raises ``BrokerUnavailable`` where the source gave no answer, ``SessionHeld`` where the database is not free within
    ``wait_seconds``, ``ConfigurationError`` for a file whose bars contradict each other.
    """
    hours, timeframe = gap.hours, settings.session.timeframe
    try:
        arrived = source.between(gap.symbol, hours.opens_at, hours.closes_at)
    except DataNotFit as error:
        return LoadedSession(gap, still_missing=gap.missing, note=str(error))
    findings = _findings(arrived, hours, settings)
    with open_when_free(settings.store.path, wait_seconds, f"The bars of {gap.label} are not stored") as store:
        bars = store.bars_of(timeframe)
        stored = bars.between(gap.symbol, hours.opens_at, hours.closes_at)
        left = len(missing_bars(stored.joined(arrived), hours, timeframe))
        with store.connection.transaction():
            filled = bars.fill(arrived, replace)
            note_answer(
                store.connection, source.kind, gap.symbol, timeframe, hours.session_date, left, datetime.now(UTC)
            )
    note = "" if len(arrived) else f"{source.name} has no bar of it"
    return LoadedSession(gap, filled.inserted, filled.replaced, left, filled.differing, findings, note)


def loading_answer(
    settings: Settings, source: PastBars, plan: LoadingPlan, loaded: Sequence[LoadedSession], stopped: str = ""
) -> dict[str, Any]:
    """What a loading came to, in plain values: totals, each session that was asked for, each bar that differs.

    ``stopped`` says why the rest of the plan was not asked for.
    """
    not_asked = plan.wanted[len(loaded) :]
    sessions = [
        {
            "symbol": one.gap.symbol,
            "session_date": one.gap.hours.session_date,
            "expected": one.gap.expected,
            "missing": one.gap.missing,
            "loaded": one.loaded,
            "replaced": one.replaced,
            "still_missing": one.still_missing,
            "differing": len(one.differing),
            "findings": one.findings,
            "note": one.note,
        }
        for one in loaded
    ] + [
        {
            "symbol": gap.symbol,
            "session_date": gap.hours.session_date,
            "expected": gap.expected,
            "missing": gap.missing,
            "loaded": 0,
            "replaced": 0,
            "still_missing": gap.missing,
            "differing": 0,
            "findings": {},
            "note": "not asked for",
        }
        for gap in not_asked
    ]
    return {
        "source": source.name,
        "first": plan.first,
        "last": plan.last,
        "sessions": plan.sessions,
        "going": plan.going,
        "asked": len(loaded),
        **{name: sum(one[name] for one in sessions) for name in ("missing", "loaded", "replaced", "still_missing")},
        "not_traded": sum(gap.missing for gap in plan.not_traded),
        "stopped": stopped,
        "by_session": sessions,
        "differences": [
            {
                "symbol": found.symbol,
                "bar_time": found.bar_time,
                "stored": found.stored,
                "arriving": found.arriving,
                "done": "replaced" if one.replaced else "left as it is",
            }
            for one in loaded
            for found in one.differing
        ],
        "db": str(settings.store.path),
    }


def _gaps_stored(
    settings: Settings, source: PastBars, symbols: Sequence[str], over: Sequence[TradingHours]
) -> tuple[list[SessionGap], dict[tuple[str, date], AskedBefore]]:
    """Gaps of all symbols, day by day, and what the source has said of these days before."""
    timeframe = settings.session.timeframe
    if not over:
        return [], {}

    def look(store: Store | None) -> list[SessionGap]:
        gaps = []
        for symbol in symbols:
            stored = (
                BarColumns.empty(symbol)
                if store is None
                else store.bars_of(timeframe).between(symbol, over[0].opens_at, over[-1].closes_at)
            )
            gaps += gaps_in(stored, over, timeframe)
        return sorted(gaps, key=lambda gap: (gap.hours.session_date, gap.symbol))

    if not settings.store.path.exists():
        return look(None), {}
    return read_from(
        settings.store.path,
        lambda store: (
            look(store),
            asked_before(store.connection, source.kind, timeframe, over[0].session_date, over[-1].session_date),
        ),
    )


def _findings(bars: BarColumns, hours: TradingHours, settings: Settings) -> dict[str, int]:
    """What is odd about the bars of a session, by kind; what is missing is told apart from that."""
    if not len(bars):
        return {}
    validator = BarValidator(settings.validation, settings.session.timeframe)
    judged = validator.examine({bars.symbol: bars}, [hours], hours.closes_at, {})
    counts = Counter(found.finding for found in judged.findings if found.finding != Finding.GAP)
    return dict(counts)
