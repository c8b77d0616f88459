"""The rehearsals: ``python tests/rehearsals --runs 300 --seed 1``, or ``make rehearsals RUNS=300 SEED=1``.

Whole sessions trade at a gateway in a process of its own while things go wrong, by a script or by chance. What the
gateway's own book says at the end of each day is compared with the ledger.
"""

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from random import Random, SystemRandom

# Threads do not survive a fork, and arithmetic this small needs none.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What must be true of a ledger whatever happened is written down beside the sessions that are killed.
sys.path.append(str(Path(__file__).parents[1] / "crash"))

from one_rehearsal import Outcome, rehearse
from random_plans import random_plan
from rehearsal_plan import Plan
from situations import DAYS, plan_of

_SHOWN_VIOLATIONS = 20
_TOLD_EVERY_SECONDS = 20.0
_SLOWER = 2.5


def main() -> int:
    options = _options()
    seed = options.seed if options.seed is not None else SystemRandom().randrange(1_000_000)
    home = Path(tempfile.mkdtemp(prefix="openbell-rehearsals-", dir=options.home))
    names = _names(options)
    print(f"rehearsals: seed {seed}, {len(names)} wanted, at most {options.seconds:.0f} s, in {home}", flush=True)
    started = time.monotonic()
    gc.freeze()  # what was imported stays as it is, in the children too
    outcomes = _rehearse_all(names, seed, home, options, started + options.seconds)
    _show(outcomes, seed, time.monotonic() - started)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in outcomes]), encoding="utf-8")
    if any(outcome.violations for outcome in outcomes):
        return 1
    shutil.rmtree(home)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/rehearsals", description="Trade whole days while things go wrong."
    )
    parser.add_argument("--runs", type=int, default=300, help="how many days by chance (default 300)")
    parser.add_argument("--days", action="store_true", help="the days of named situations, and none by chance")
    parser.add_argument("--seed", type=int, help="seed of all choices; a new one each time where none is given")
    parser.add_argument("--seconds", type=float, default=3600.0, help="start no new day after so long (default 3600)")
    parser.add_argument("--workers", type=int, default=2, help="days at a time (default 2)")
    parser.add_argument("--case", metavar="run-N|DAY", help="only this one of the seed, or of the named days")
    parser.add_argument("--home", type=Path, help="folder for the days (default: the folder for temporary files)")
    parser.add_argument("--json", type=Path, help="write what became of each day to this file")
    return parser.parse_args()


def _names(options: argparse.Namespace) -> list[str]:
    if options.case is not None:
        return [options.case]
    return list(DAYS) if options.days else [f"run-{number}" for number in range(options.runs)]


def plan_named(name: str, seed: int) -> Plan:
    """The day of this name."""
    return plan_of(name) if name in DAYS else random_plan(name, Random(f"{seed}:{name}"))


def _rehearse_one(name: str, seed: int, home: Path) -> Outcome:
    plan = plan_named(name, seed)
    outcome = rehearse(plan, home / name)
    if name in DAYS and outcome.unproven and not outcome.violations:
        # The machine was busy, and the day over before everything could happen that has to.
        slower = replace(plan, speed=plan.speed / _SLOWER)
        outcome = rehearse(slower, home / f"{name}-slower")
    return outcome


def _rehearse_all(names: list[str], seed: int, home: Path, options: argparse.Namespace, until: float) -> list[Outcome]:
    """One day after another, some at a time, until all are through or there is no time left."""
    outcomes: list[Outcome] = []
    waiting, told = list(reversed(names)), time.monotonic()
    with ProcessPoolExecutor(options.workers, get_context("fork")) as pool:
        running: set[Future[Outcome]] = set()
        while waiting or running:
            while waiting and len(running) < options.workers and time.monotonic() < until:
                running.add(pool.submit(_rehearse_one, waiting.pop(), seed, home))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                outcomes.append(one.result())
                _show_violations(outcomes[-1], seed)
            if time.monotonic() - told > _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                print(f"  {len(outcomes)} days", flush=True)
    return outcomes


def _show_violations(outcome: Outcome, seed: int) -> None:
    for violation in outcome.violations[:_SHOWN_VIOLATIONS]:
        print(f"\nVIOLATION in {outcome.name}: {violation}")
    if outcome.violations:
        print("".join(f"\n  {line}" for line in outcome.story))
        again = f"make rehearsals SEED={seed} CASE={outcome.name}"
        print(f"  again: {again}   what is left of it: {outcome.home}", flush=True)


def _show(outcomes: list[Outcome], seed: int, seconds: float) -> None:
    fired = Counter(action for outcome in outcomes for action in outcome.fired)
    never = Counter(action for outcome in outcomes for action in outcome.unproven)
    print("\nfaults that happened: " + ", ".join(f"{action} {count}" for action, count in sorted(fired.items())))
    if never:
        print(
            "and that did not come about: " + ", ".join(f"{action} {count}" for action, count in sorted(never.items()))
        )
    print(
        f"runs {len(outcomes)}  orders {_sum(outcomes, 'orders')}  fills {_sum(outcomes, 'fills')}  "
        f"faults {fired.total()}  connections {_sum(outcomes, 'connections')}  "
        f"starts {_sum(outcomes, 'starts')}  kills {_sum(outcomes, 'kills')}  "
        f"gateway kills {_sum(outcomes, 'gateway_kills')}  alerts {_sum(outcomes, 'alerts')}  "
        f"violations {sum(len(one.violations) for one in outcomes)} in {sum(bool(one.violations) for one in outcomes)} days  "
        f"seed {seed}  {seconds:.0f} s"
    )


def _sum(outcomes: list[Outcome], figure: str) -> int:
    return sum(int(getattr(outcome, figure)) for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
