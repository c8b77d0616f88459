"""Do the unit tests of risk notice when a line of it is wrong? Each mutant is one such line; a test has to fail for it.

Run by ``make mutants`` in an environment of its own. The mutants are made from a copy of the tree in ``.mutants``, so nothing
here is changed; a second run goes on where the first one stopped. ``--fresh`` starts anew, further arguments name modules.
Survivors that no test should kill stand in ``accepted.toml`` with the reason; any other makes the run fail.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPY = ROOT / ".mutants"
ACCEPTED = Path(__file__).with_name("accepted.toml")
MODULES = (
    "order_rules",
    "position_rules",
    "market_rules",
    "activity_rules",
    "risk_rules",
    "risk_callbacks",
    "loss_watch",
    "halt_latches",
    "order_tape",
    "exposures",
    "closing_steps",
    "value_at_risk",
)
PROCESSES = 2
_KILLED = ("killed", "timeout", "segfault", "caught by type check")
_RESULT = re.compile(r"^\s*(trading\.(\w+)\.\S+): (.+)$")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs found")
    parser.add_argument("modules", nargs="*", default=MODULES, metavar="module", help=f"of {', '.join(MODULES)}")
    wanted = parser.parse_args()
    prepare(wanted.modules, wanted.fresh)
    # It draws a line for every mutant: of use to somebody who watches, and to nobody else.
    mutmut("run", "--max-children", str(PROCESSES), heard=not sys.stdout.isatty())
    return tell(wanted.modules)


def prepare(modules: list[str], fresh: bool) -> None:
    """Copy what the tests need, and say what is to be mutated and by which tests."""
    if fresh:
        shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(exist_ok=True)
    for room in ("trading", "storage", "tasks"):
        copy(ROOT / room, COPY / room)
    for place in ("conftest.py", "trading/conftest.py", *(f"trading/test_{module}.py" for module in MODULES)):
        target = COPY / "tests" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / "tests" / place, target)
    tests = ", ".join(f'"tests/trading/test_{module}.py"' for module in MODULES)
    (COPY / "pyproject.toml").write_text(
        f"""[tool.mutmut]
source_paths = ["trading"]
only_mutate = [{", ".join(f'"trading/{module}.py"' for module in modules)}]
also_copy = ["storage", "tasks"]
pytest_add_cli_args_test_selection = [{tests}]
use_git_change_detection = false
track_dependencies = false

[tool.pytest.ini_options]
addopts = "--import-mode=importlib -q"
"""
    )


def copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def mutmut(*arguments: str, heard: bool = False) -> str:
    program = Path(sys.executable).with_name("mutmut")
    done = subprocess.run([program, *arguments], cwd=COPY, env=os.environ, text=True, capture_output=heard, check=True)
    return done.stdout if heard else ""


def tell(modules: list[str]) -> int:
    """The score of each module, and what is left; how many survivors nobody accepted."""
    scores: dict[str, Counter[str]] = {module: Counter() for module in modules}
    survivors = []
    for line in mutmut("results", "--all", "true", heard=True).splitlines():
        found = _RESULT.match(line)
        if found is None:
            continue
        name, module, outcome = found.groups()
        outcome = "killed" if outcome in _KILLED else outcome
        scores[module][outcome] += 1
        if outcome != "killed":
            survivors.append((name, changed_lines(mutmut("show", name, heard=True))))
    accepted = [(one["was"], one["became"]) for one in tomllib.loads(ACCEPTED.read_text()).get("survivor", [])]
    left = [(name, change) for name, change in survivors if change not in accepted]
    print()
    for module, score in scores.items():
        total = sum(score.values())
        print(f"{module:16} {score['killed']:5} of {total:5} killed  {score['killed'] / max(total, 1):7.1%}")
    killed, total = (
        sum(counted(score) for score in scores.values()) for counted in (lambda s: s["killed"], Counter.total)
    )
    print(
        f"{'all':16} {killed:5} of {total:5} killed  {killed / max(total, 1):7.1%}; survivors accepted: {len(survivors) - len(left)}"
    )
    for name, (was, became) in left:
        print(f"\n{name}\n- {was}\n+ {became}")
    return min(len(left), 1)


def changed_lines(diff: str) -> tuple[str, str]:
    """The line that was changed, before and after (several are joined)."""

    def lines(sign: str) -> str:
        kept = [
            line[1:].strip() for line in diff.splitlines() if line.startswith(sign) and not line.startswith(3 * sign)
        ]
        return "\n".join(kept)

    return lines("-"), lines("+")


if __name__ == "__main__":
    sys.exit(main())
