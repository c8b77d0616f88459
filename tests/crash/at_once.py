"""Two runners for one session, and a disk without room: what exactly once means beside kills."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import children
import same_rows
from cases import Case, Outcome, Undisturbed, left_behind
from children import Ended
from market_days import LEDGER
from moments_of_death import Death

from storage.store import open_store

_RUNNERS = 2
_SAYS_WHO_HAS_IT = ("held by", "another", "traded by", "runner")
_SAYS_WHAT_TO_DO = ("room", "run the same command again")


_SIZES = ((4_000, 60_000), (60_000, 180_000), (60_000, 180_000), (1_000_000, 6_500_000))
"""Bytes at which files are full: the broker's account, the ledger's log, and the ledger when its log is folded in."""


def race(case: Case, references: Mapping[str, Undisturbed]) -> Outcome:
    """Two processes start the same session at the same moment; some races stop or kill one of them on the way."""
    chance, home = case.chance, case.home
    reference = references["fills in parts"]
    days, day = reference.days, reference.days.days[0]
    outcome = Outcome(case.name, "two at once", str(home))
    home.mkdir(parents=True)
    death = Death(after_seconds=chance.uniform(0, reference.seconds[0])) if chance.random() < 0.3 else None
    reading, writing = os.pipe()
    runners = [children.start(home, days, day, death if n == 0 else None, gate=reading) for n in range(_RUNNERS)]
    os.write(writing, b"go")
    if death is None and chance.random() < 0.3:
        # One that is merely slow must neither lose its session nor trade it twice.
        runners[0].freeze()
        ends = [children.finish(runners[1])]
        runners[0].thaw()
        ends.insert(0, children.finish(runners[0]))
    else:
        ends = [children.finish(runner) for runner in runners]
    os.close(reading)
    os.close(writing)
    outcome.story = [f"runner {n}: {_fate(end)}" for n, end in enumerate(ends)]
    outcome.deaths = [("at random", end.place[1]) for end in ends if end.killed]
    outcome.violations += list(_both(ends, death))
    # Whoever did not get it is told the same session, or takes it up where it was left.
    again = children.trade(home, days, day, None)
    outcome.restarts = 1
    if again.exit_code != 0:
        outcome.violations.append(f"started once more afterwards it ended with {_fate(again)}")
    sent = [one["order"] for end in (*ends, again) for one in end.told if one["what"] == "sent"]
    if any(end.exit_code == 0 for end in ends) and any(one["what"] == "sent" for one in again.told):
        outcome.violations.append("a completed session was traded again")
    if death is None and len(sent) != len(set(sent)):
        outcome.violations.append("two runners sent the same order")
    _judge(outcome, reference, home)
    return outcome


def _both(ends: list[Ended], death: Death | None) -> Iterator[str]:
    through = [end for end in ends if end.exit_code == 0]
    traded = [end for end in through if any(one["what"] == "sent" for one in end.told)]
    if len(traded) > 1:
        yield "both runners traded the session"
    if not through and death is None:
        yield "no runner traded the session"
    for end in ends:
        if end.killed or end.exit_code == 0:
            continue
        why = " ".join(one["why"] for one in end.told if "why" in one)
        if not any(word in why for word in _SAYS_WHO_HAS_IT):
            yield f"the runner that lost does not say why in words: {_fate(end)}"
        if any(one["what"] == "sent" for one in end.told):
            yield f"the runner that lost had sent orders: {_fate(end)}"


def full_disk(case: Case, references: Mapping[str, Undisturbed]) -> Outcome:
    """A session whose files may grow to so many bytes and no further; then there is room again."""
    chance, home = case.chance, case.home
    reference = references["fills in parts"]
    days, day = reference.days, reference.days.days[0]
    outcome = Outcome(case.name, "full disk", str(home))
    home.mkdir(parents=True)
    low, high = chance.choice(_SIZES)
    largest = chance.randint(low, high)
    if chance.random() < 0.8:
        children.prepare(home, _make_ledger)
    end = children.finish(children.start(home, days, day, largest_file=largest))
    outcome.story = [f"files of at most {largest:,} bytes: {_fate(end)}"]
    if end.exit_code == 0:
        outcome.days = "full disk, enough room"
    else:
        why = " ".join(one["why"] for one in end.told if "why" in one)
        if not any(words in why for words in _SAYS_WHAT_TO_DO):
            outcome.violations.append(f"a full disk is not told in words: {_fate(end)}")
    outcome.violations += [f"after {_fate(end)}: {one}" for one in children.look(home, at_the_end=False).violations]
    again = children.trade(home, days, day, None)
    outcome.restarts = 1
    if again.exit_code != 0:
        outcome.violations.append(f"with room again it ended with {_fate(again)}")
    # Where it was the broker that had no room, orders were truly not taken, and the session went another way.
    troubled = any(one["what"] == "raised" and one["port"] in ("broker", "market") for one in end.told)
    if troubled:
        outcome.days = "full disk at the broker"
    _judge(outcome, reference, home, same_rows_wanted=not troubled)
    return outcome


def _make_ledger() -> None:
    with open_store(LEDGER):
        pass


def _judge(outcome: Outcome, reference: Undisturbed, home: Path, same_rows_wanted: bool = True) -> None:
    seen = children.look(home, at_the_end=True)
    outcome.sessions = 1
    outcome.orders, outcome.fills = seen.activity.get("orders", 0), seen.activity.get("fills", 0)
    outcome.violations += seen.violations
    if same_rows_wanted:
        outcome.violations += list(same_rows.differences(reference.first_day, seen.tables))
    outcome.violations += list(left_behind(home))
    if not outcome.violations:
        children.remove(home)


def _fate(end: Ended) -> str:
    why = "; ".join(one["why"] for one in end.told if "why" in one)
    return f"dead {' '.join(end.place)}" if end.killed else f"exit code {end.exit_code} {why}".strip()
