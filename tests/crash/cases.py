"""One case: consecutive sessions of one account, killed several times, beside the same sessions undisturbed."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import children
import same_rows
from market_days import ACCOUNT_FILE, ALL_DAYS, LEDGER, MarketDays
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
_LEFT_BEHIND = frozenset({LEDGER.name, ACCOUNT_FILE.name, children.JOURNAL, children.DIARY})


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What the sessions come to when nobody kills them, and which points they pass."""

    days: MarketDays
    tables: dict[str, Table]
    activity: Mapping[str, int]
    visits: tuple[Mapping[str, int], ...]
    seconds_inside: tuple[Mapping[str, float], ...]
    seconds: tuple[float, ...]

    def points(self, day: int) -> list[str]:
        """The points that the session of this day passes, each as ``when place``."""
        return sorted(self.visits[day])


@dataclass(slots=True)
class Outcome:
    """What became of a case."""

    number: int
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


def undisturbed(days: MarketDays, home: Path) -> Undisturbed:
    """Trade the days in ``home`` without a kill. Raises ``ChildDied`` where they are not what they should be."""
    home.mkdir(parents=True)
    children.prepare(home, days)
    ends = [children.trade(home, days, day, None) for day in days.days]
    for end in ends:
        if end.exit_code != days.exit_code:
            raise children.ChildDied(
                f"undisturbed, {days.name!r} ended with {end.exit_code}: {end.told[-2:]} in {home}"
            )
    seen = children.look(home, at_the_end=True)
    wrong = [one["text"] for end in ends for one in end.told if one["what"] == "violation"] + seen.violations
    idle = [what for what in days.must_have if not seen.activity.get(what)]
    if wrong or idle:
        raise children.ChildDied(f"undisturbed, {days.name!r} has no {idle} and is wrong in {wrong}; see {home}")
    survived = [next(one for one in end.told if one["what"] == "survived") for end in ends]
    return Undisturbed(
        days,
        seen.tables,
        seen.activity,
        tuple(one["visits"] for one in survived),
        tuple(one["seconds"] for one in survived),
        tuple(end.seconds for end in ends),
    )


def run(number: int, seed: int, references: Mapping[str, Undisturbed], home: Path) -> Outcome:
    """One case in ``home``, which is kept where anything is wrong with it."""
    chance = Random(f"{seed}:{number}")
    # The sessions in which nothing may be traded are over quickly: seldom is often enough.
    reference = references[ALL_DAYS[number % len(ALL_DAYS)].name]
    outcome = Outcome(number, reference.days.name, str(home))
    home.mkdir(parents=True)
    try:
        children.prepare(home, reference.days)
        _trade(_Trading(outcome, reference, chance, home))
    except children.ChildDied as died:
        outcome.violations.append(str(died))
    if not outcome.violations:
        shutil.rmtree(home)
    return outcome


@dataclass(slots=True)
class _Trading:
    outcome: Outcome
    reference: Undisturbed
    chance: Random
    home: Path
    sent: set[str] = field(default_factory=set)
    last_bars: Mapping[str, str] = field(default_factory=dict)


def _trade(case: _Trading) -> None:
    days, outcome = case.reference.days, case.outcome
    for index, day in enumerate(days.days):
        deaths = [
            _death(case, index, first) for first in (True, *[False] * case.chance.randint(1, _MOST_KILLS_A_SESSION))
        ]
        name = session_id(day, days.settings.session.account or "", days.settings.strategy)
        for start, death in enumerate([*deaths, None]):
            outcome.restarts += start > 0
            end = children.trade(case.home, days, day, death)
            outcome.violations += [
                f"{one} ({death})" for one in _told(end.told, case.sent, case.last_bars.get(name, ""))
            ]
            fate = f"dead {' '.join(end.place)}" if end.killed else f"exit code {end.exit_code}"
            outcome.story.append(f"{day} start {start + 1}: to die {death or 'never'}: {fate}")
            if end.killed:
                outcome.deaths.append(
                    (_DIED_AT_RANDOM, end.place[1]) if death is None or death.is_random else end.place
                )
                seen = children.look(case.home, at_the_end=False)
                case.last_bars = seen.last_bars
                outcome.violations += [
                    f"after the kill {death}, dead {' '.join(end.place)}: {one}" for one in seen.violations
                ]
            elif end.exit_code != days.exit_code:
                why = next((one["why"] for one in end.told if "why" in one), "no word")
                outcome.violations.append(f"start {start + 1} of {name} ended with exit code {end.exit_code}: {why}")
            if outcome.violations:
                return
            if not end.killed:
                break
        outcome.sessions += 1
    seen = children.look(case.home, at_the_end=True)
    outcome.orders, outcome.fills = seen.activity.get("orders", 0), seen.activity.get("fills", 0)
    outcome.violations += seen.violations
    outcome.violations += list(same_rows.differences(case.reference.tables, seen.tables))
    left = sorted(file.name for file in case.home.iterdir() if file.name not in _LEFT_BEHIND)
    if left:
        outcome.violations.append(f"files that nobody will ever take away: {', '.join(left)}")


def _death(case: _Trading, day: int, first: bool) -> Death:
    """When the child is to die next. The first death of a session takes its turn among the named points."""
    reference, chance = case.reference, case.chance
    if not first and chance.random() < _AT_RANDOM:
        return Death(after_seconds=chance.uniform(0, 0.8 * reference.seconds[day]))
    points = reference.points(day)
    turn = case.outcome.number // len(ALL_DAYS) * len(reference.days.days) + day
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


def _told(told: list[dict[str, Any]], sent: set[str], last_bar: str) -> Iterator[str]:
    """What a child's journal says that must not be. ``sent`` are the orders that earlier children sent."""
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
