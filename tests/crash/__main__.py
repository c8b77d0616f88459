"""The crash harness: ``python tests/crash --kills 500 --seed 1``, or ``make crash-test KILLS=500 SEED=1``.

Sessions in processes of their own are killed with SIGKILL, again and again, until they are through; what they leave
is judged after each kill, and at the end compared row for row with sessions that nobody disturbed.
"""

import argparse
import gc
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from random import Random, SystemRandom

# Threads do not survive a fork, and arithmetic this small needs none.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import at_once
import cases
import same_rows
from cases import Case, Outcome, Undisturbed
from children import ChildDied
from market_days import ALL_DAYS
from moments_of_death import PLACES, WHENS

from storage.store import open_store

_SHOWN_VIOLATIONS = 20
_SHOWN_POINTS = 15
_TOLD_EVERY_SECONDS = 10.0
_KINDS: dict[str, Callable[[Case, Mapping[str, Undisturbed]], Outcome]] = {
    "kill": cases.run,
    "race": at_once.race,
    "disk": at_once.full_disk,
}
_REFERENCES: dict[str, Undisturbed] = {}
"""In a worker: what undisturbed sessions come to."""


def main() -> int:
    options = _options()
    if options.same:
        return _compare(*options.same)
    seed = options.seed if options.seed is not None else SystemRandom().randrange(1_000_000)
    home = Path(tempfile.mkdtemp(prefix="openbell-crash-", dir=options.home))
    print(
        f"crash harness: seed {seed}, {options.kills} kills wanted, at most {options.seconds:.0f} s, in {home}",
        flush=True,
    )
    started = time.monotonic()
    gc.freeze()  # what was imported stays as it is, in the children too
    try:
        references = _undisturbed(options.workers, home / "undisturbed")
    except ChildDied as died:
        print(f"nothing was killed: {died}")
        return 1
    if options.case is not None:
        outcomes = [_run_one(options.case, seed, home, references)]
    else:
        outcomes = _run_all(options, seed, references, home, started + options.seconds)
    _show(outcomes, references, seed, time.monotonic() - started)
    if any(outcome.violations for outcome in outcomes):
        return 1
    shutil.rmtree(home)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/crash", description="Kill sessions and judge what they leave.")
    parser.add_argument("--kills", type=int, default=500, help="how many kills to make (default 500)")
    parser.add_argument(
        "--races", type=int, default=20, help="how many times two processes start one session (default 20)"
    )
    parser.add_argument("--full-disks", type=int, default=20, help="how many sessions run out of room (default 20)")
    parser.add_argument("--seed", type=int, help="seed of all choices; a new one each time where none is given")
    parser.add_argument("--seconds", type=float, default=1800.0, help="start no new case after so long (default 1800)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="cases at a time (default: processors)"
    )
    parser.add_argument("--case", metavar="kill-N|race-N|disk-N", help="only this case of the seed")
    parser.add_argument("--go-on", action="store_true", help="do not stop at the first case with a violation")
    parser.add_argument("--same", nargs=2, type=Path, metavar="DB", help="only compare the tables of two databases")
    parser.add_argument("--home", type=Path, help="folder for the cases (default: the folder for temporary files)")
    return parser.parse_args()


def _undisturbed(workers: int, home: Path) -> dict[str, Undisturbed]:
    """What all days come to when nobody disturbs them. Raises ``ChildDied``."""
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        traded = {days.name: pool.submit(cases.undisturbed, days.name, home / days.name) for days in ALL_DAYS}
        return {name: future.result() for name, future in traded.items()}


def _compare(*databases: Path) -> int:
    """Say where the two differ. Their settings name paths and paces of their own."""
    tables = []
    for database in databases:
        with open_store(database, read_only=True) as store:
            tables.append(same_rows.all_tables(store.connection.rows, frozenset({"settings"})))
    found = list(same_rows.differences(*tables))
    print("\n".join(found) or f"{sum(len(rows) for _, rows in tables[0].values())} rows are equal")
    return 1 if found else 0


def _run_all(
    options: argparse.Namespace, seed: int, references: dict[str, Undisturbed], home: Path, until: float
) -> list[Outcome]:
    """Cases one after another, several at a time, until there are enough kills, a violation, or no time left."""
    outcomes: list[Outcome] = []
    waiting = itertools.chain(
        (f"race-{number}" for number in range(options.races)),
        (f"disk-{number}" for number in range(options.full_disks)),
        (f"kill-{number}" for number in itertools.count()),
    )
    kills, told = 0, 0.0
    # Forked workers have the references already; only names go to them, and outcomes come back.
    fork = get_context("fork")
    with ProcessPoolExecutor(options.workers, fork, _REFERENCES.update, (references,)) as pool:
        running: set[Future[Outcome]] = set()
        case = next(waiting)
        while True:
            enough = case.startswith("kill") and kills >= options.kills
            failed = not options.go_on and any(one.violations for one in outcomes)
            while not (enough or failed or time.monotonic() > until) and len(running) < options.workers:
                running.add(pool.submit(_run_one, case, seed, home))
                case = next(waiting)
            if not running:
                return outcomes
            done, running = wait(running, return_when=FIRST_COMPLETED)
            outcomes += [one.result() for one in done]
            kills = sum(len(one.deaths) for one in outcomes)
            if time.monotonic() - told > _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                print(f"  {kills} kills in {len(outcomes)} cases", flush=True)


def _run_one(case: str, seed: int, home: Path, references: Mapping[str, Undisturbed] = _REFERENCES) -> Outcome:
    kind, number = case.split("-")
    return _KINDS[kind](Case(case, Random(f"{seed}:{case}"), int(number), home / case), references)


def _show(outcomes: list[Outcome], references: dict[str, Undisturbed], seed: int, seconds: float) -> None:
    deaths = Counter(death for outcome in outcomes for death in outcome.deaths)
    columns = (*WHENS, cases._DIED_AT_RANDOM)
    print(f"\n{'killed':<22}" + "".join(f"{column:>11}" for column in columns))
    for place in PLACES:
        counts = [deaths[(column, place)] for column in columns]
        if any(counts):
            print(f"{place:<22}" + "".join(f"{count or '':>11}" for count in counts))
    print(
        f"{'':<22}"
        + "".join(f"{sum(n for (when, _), n in deaths.items() if when == column):>11}" for column in columns)
    )
    missed = cases.points_without_a_kill(references, outcomes)
    if missed:
        named = ", ".join(missed) if len(missed) <= _SHOWN_POINTS else f"{len(missed)} of the named points"
        print(f"\nno kill came at: {named}")
    by_days = Counter(outcome.days for outcome in outcomes)
    print("\ncases: " + ", ".join(f"{count} {name}" for name, count in by_days.items()))
    violations = sum(len(outcome.violations) for outcome in outcomes)
    print(
        f"kills {deaths.total()}  restarts {sum(one.restarts for one in outcomes)}  "
        f"sessions {sum(one.sessions for one in outcomes)}  orders {sum(one.orders for one in outcomes)}  "
        f"fills {sum(one.fills for one in outcomes)}  violations {violations}  seed {seed}  {seconds:.0f} s"
    )
    for outcome in outcomes:
        for violation in outcome.violations[:_SHOWN_VIOLATIONS]:
            print(f"\nVIOLATION in {outcome.case} ({outcome.days}): {violation}")
        if outcome.violations:
            print("".join(f"\n  {line}" for line in outcome.story))
            print(f"  again: make crash-test SEED={seed} CASE={outcome.case}   what is left of it: {outcome.home}")


if __name__ == "__main__":
    sys.exit(main())
