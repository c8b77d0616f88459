"""Rules that hold everywhere: time is an argument, words go to logs and terminals only, versions are all written down."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
CLOCK_READS = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.localtime",
    "time.gmtime",
    "pd.Timestamp.now",
}
"""``time.perf_counter`` measures how long a policy took, which decides nothing."""


def calls(file: Path) -> set[str]:
    """Everything that a module calls, by the name under which it calls it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def reads_the_clock(name: str) -> bool:
    return any(name == read or name.endswith(f".{read}") for read in CLOCK_READS)


@pytest.mark.parametrize("file", sorted((HOUSE / "trading").glob("*.py")), ids=lambda file: file.stem)
def test_trading_never_reads_the_clock(file: Path) -> None:
    assert not {name for name in calls(file) if reads_the_clock(name)}
    source = file.read_text(encoding="utf-8")
    assert not re.search(r"^from time import", source, re.MULTILINE), "time.x() says which clock is meant"


@pytest.mark.parametrize(
    "file",
    sorted(file for room in ("trading", "storage", "tasks", "flows") for file in (HOUSE / room).rglob("*.py")),
    ids=lambda file: str(file.relative_to(HOUSE)),
)
def test_only_the_terminal_prints(file: Path) -> None:
    assert "print" not in calls(file)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints() -> list[str]:
    return (HOUSE / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_constraints_name_one_version_of_every_dependency() -> None:
    pinned = [normalized(line.split("==")[0]) for line in constraints() if line and not line.startswith("#")]
    assert len(pinned) == len(set(pinned))
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {normalized(re.match(r"[A-Za-z0-9_.\-]+", requirement)[0]) for requirement in asked}  # type: ignore[index]
    assert names - {"openbell"} <= set(pinned)  # an extra may ask for another of the project's own


def test_constraints_say_versions_and_no_addresses() -> None:
    for line in constraints():
        assert not line or line.startswith("#") or re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.!]+", line), line
        assert "://" not in line
        assert "@" not in line
