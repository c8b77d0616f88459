"""One case: consecutive sessions of one account, killed several times, beside the same sessions undisturbed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import children
import same_rows
from market_days import ACCOUNT_FILE, ALL_DAYS, LEDGER, OPERATOR_ASKED, MarketDays, halt_everything
from moments_of_death import PLACES, Death
from same_rows import Table

from trading.sessions import session_id

_MOST_KILLS_A_SESSION = 6
_AT_RANDOM = 0.35
"""How many of the kills come at any moment; the others at a named point."""
_DANGEROUS = frozenset(
    {
        "after intent commit",
        "before send",
        "after send",
        "after acknowledgement",
        "during DuckDB's COMMIT",
        "after DuckDB's COMMIT",
        "during bar commit",
        "during market sees bars",
        "after cancel",
    }
)
"""Where a crash would double or lose something: every second kill at a named point comes there."""
_DIED_AT_RANDOM = "at random"
_LEFT_BEHIND = frozenset({LEDGER.name, ACCOUNT_FILE.name, OPERATOR_ASKED.name, children.DIARY})


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What the sessions come to when nobody kills them, and which points they pass."""

    name: str
    tables: dict[str, Table]
    first_day: dict[str, Table]
    activity: Mapping[str, int]
    visits: tuple[Mapping[str, int], ...]
    seconds_inside: tuple[Mapping[str, float], ...]
    seconds: tuple[float, ...]

    @property
    def days(self) -> MarketDays:
        """The days that were traded."""
        return next(days for days in ALL_DAYS if days.name == self.name)

    def points(self, day: int) -> list[str]:
        """The points that the session of this day passes, each as ``when place``."""
        return sorted(self.visits[day])


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to try: its name (kind and number), its own chance, and its own folder, which is not there yet."""

    name: str
    chance: Random
    number: int
    home: Path


@dataclass(slots=True)
class Outcome:
    """What became of a case."""

    case: str
    days: str
    home: str
    deaths: list[tuple[str, str]] = field(default_factory=list)
    restarts: int = 0
    sessions: int = 0
    orders: int = 0
    fills: int = 0
    violations: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    """Each start: when it was to die and where it did."""


def undisturbed(name: str, home: Path) -> Undisturbed:
    """Trade the days of this name in ``home`` without a kill. Raises ``ChildDied`` where they are not what they should be."""
    days = next(days for days in ALL_DAYS if days.name == name)
    home.mkdir(parents=True)
    children.prepare(home, days.prepare)
    ends = [children.trade(home, days, days.days[0], None)]
    first_day = children.look(home, at_the_end=True).tables
    ends += [children.trade(home, days, day, None) for day in days.days[1:]]
    for end in ends:
        if end.exit_code != days.exit_code:
            raise children.ChildDied(
                f"undisturbed, {days.name!r} ended with {end.exit_code}: {end.told[-2:]} in {home}"
            )
    seen = children.look(home, at_the_end=True, must_be_flat=days.ends_flat)
    wrong = [one["text"] for end in ends for one in end.told if one["what"] == "violation"] + seen.violations
    idle = [what for what in days.must_have if not seen.activity.get(what)]
    if wrong or idle:
        raise children.ChildDied(f"undisturbed, {days.name!r} has no {idle} and is wrong in {wrong}; see {home}")
    survived = [next(one for one in end.told if one["what"] == "survived") for end in ends]
    return Undisturbed(
        name,
        seen.tables,
        first_day,
        seen.activity,
        tuple(one["visits"] for one in survived),
        tuple(one["seconds"] for one in survived),
        tuple(end.seconds for end in ends),
    )


def run(case: Case, references: Mapping[str, Undisturbed]) -> Outcome:
    """Kill the sessions of one account until they are through. The folder is kept where anything is wrong with it."""
    reference = references[ALL_DAYS[case.number % len(ALL_DAYS)].name]
    outcome = Outcome(case.name, reference.days.name, str(case.home))
    case.home.mkdir(parents=True)
    try:
        children.prepare(case.home, reference.days.prepare)
        _trade(_Trading(case, outcome, reference))
    except children.ChildDied as died:
        outcome.violations.append(str(died))
    if not outcome.violations:
        children.remove(case.home)
    return outcome


@dataclass(slots=True)
class _Trading:
    case: Case
    outcome: Outcome
    reference: Undisturbed
    sent: set[str] = field(default_factory=set)
    sent_before_the_halt: frozenset[str] | None = None
    last_bars: Mapping[str, str] = field(default_factory=dict)

    @property
    def sent_while_halted(self) -> frozenset[str]:
        """Orders that were first sent after an operator had halted everything."""
        return frozenset() if self.sent_before_the_halt is None else frozenset(self.sent - self.sent_before_the_halt)


def _trade(trading: _Trading) -> None:
    """All sessions of the case, until one leaves something wrong."""
    days, outcome, home = trading.reference.days, trading.outcome, trading.case.home
    for index, day in enumerate(days.days):
        _trade_day(trading, index, day)
        if outcome.violations:
            return
        outcome.sessions += 1
    seen = children.look(
        home, at_the_end=True, sent_while_halted=trading.sent_while_halted, must_be_flat=days.ends_flat
    )
    outcome.orders, outcome.fills = seen.activity.get("orders", 0), seen.activity.get("fills", 0)
    outcome.violations += seen.violations
    if not (days.halted_on_the_way or days.operator_stops):
        only = same_rows.AFTER_A_STOP if days.ends_flat else None
        outcome.violations += list(same_rows.differences(trading.reference.tables, seen.tables, only))
    outcome.violations += list(left_behind(home))


def _trade_day(trading: _Trading, index: int, day: date) -> None:
    """One session, started again until it is through."""
    days, outcome, chance = trading.reference.days, trading.outcome, trading.case.chance
    name = session_id(day, days.settings.session.account or "", days.settings.strategy)
    kills = 1 + chance.randint(1, _MOST_KILLS_A_SESSION)
    for start in range(kills + 1):
        death = _death(trading, index, start == 0) if start < kills else None
        outcome.restarts += start > 0
        end = children.trade(trading.case.home, days, day, death)
        fate = f"dead {' '.join(end.place)}" if end.killed else f"exit code {end.exit_code}"
        outcome.story.append(f"{day} start {start + 1}: to die {death or 'never'}: {fate}")
        outcome.violations += [f"{one} ({death})" for one in _told(end.told, trading, trading.last_bars.get(name, ""))]
        if not end.killed:
            if end.exit_code != days.exit_code:
                why = next((one["why"] for one in end.told if "why" in one), "no word")
                outcome.violations.append(f"start {start + 1} of {name} ended with exit code {end.exit_code}: {why}")
            return
        outcome.deaths.append((_DIED_AT_RANDOM, end.place[1]) if death is None or death.is_random else end.place)
        seen = children.look(trading.case.home, at_the_end=False, sent_while_halted=trading.sent_while_halted)
        trading.last_bars = seen.last_bars
        outcome.violations += [f"after the kill {death}, {fate}: {one}" for one in seen.violations]
        if outcome.violations:
            return
        if days.halted_on_the_way and trading.sent_before_the_halt is None:
            _halt(trading)


def _halt(trading: _Trading) -> None:
    if children.prepare(trading.case.home, halt_everything):
        trading.sent_before_the_halt = frozenset(trading.sent)
        trading.outcome.story.append("an operator halts everything")


def left_behind(home: Path) -> Iterator[str]:
    """Files beside the two that a closed session leaves."""
    names = (file.name for file in home.iterdir())
    left = sorted(name for name in names if name not in _LEFT_BEHIND and not name.startswith(children.JOURNAL))
    if left:
        yield f"files that nobody will ever take away: {', '.join(left)}"


def _death(trading: _Trading, day: int, first: bool) -> Death:
    """When the child is to die next. The first death of a session takes its turn among the named points."""
    reference, chance = trading.reference, trading.case.chance
    if not first and chance.random() < _AT_RANDOM:
        return Death(after_seconds=chance.uniform(0, 0.8 * reference.seconds[day]))
    points = reference.points(day)
    turn = trading.case.number // len(ALL_DAYS) * len(reference.days.days) + day
    if first:
        point = points[turn % len(points)]
    else:
        dangerous = [point for point in points if point in _DANGEROUS]
        point = chance.choice(dangerous if dangerous and chance.random() < 0.5 else points)
    when, place = point.split(" ", 1)
    visits = reference.visits[day][point]
    # Rather early than late, so that a session is killed several times before it is through.
    visit = 1 + int(visits * chance.random() ** 2 * 0.7)
    inside = reference.seconds_inside[day].get(place, 0.0) / visits
    # What is not timed (opening and closing the files) takes some milliseconds.
    return Death(when, place, visit, chance.uniform(0, 1.2 * inside if inside else 0.03))


def _told(told: list[dict[str, Any]], trading: _Trading, last_bar: str) -> Iterator[str]:
    """What a child's journal says that must not be; what it sent is added to what was sent before."""
    sent = trading.sent
    asked: set[str] = set()
    now: set[str] = set()
    newest = last_bar.replace("T", " ")
    for one in told:
        if one["what"] == "violation":
            yield one["text"]
        elif one["what"] == "asked":
            asked.add(one["order"])
        elif one["what"] == "sent":
            if one["order"] in now:
                yield f"order {one['order']} was sent twice by one process"
            if one["order"] in sent and one["order"] not in asked:
                yield f"order {one['order']} was sent again and nobody had asked the broker for it"
            now.add(one["order"])
        elif one["what"] == "bar":
            if newest and one["bar"] <= newest:
                yield f"bar {one['bar']} was traded again after {newest} was committed"
            newest = one["bar"]
    sent |= now


def points_without_a_kill(references: Mapping[str, Undisturbed], outcomes: list[Outcome]) -> list[str]:
    """Named points that sessions pass and at which none died."""
    passed = {
        tuple(point.split(" ", 1))
        for reference in references.values()
        for day in range(len(reference.days.days))
        for point in reference.points(day)
    }
    reached = {death for outcome in outcomes for death in outcome.deaths}
    order = {place: number for number, place in enumerate(PLACES)}
    return [" ".join(point) for point in sorted(passed - reached, key=lambda point: (order[point[1]], point[0]))]
