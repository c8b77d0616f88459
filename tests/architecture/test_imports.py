"""The house holds: the contracts of .importlinter, and what import-linter cannot see."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

HOUSE = Path(__file__).parents[2]
ROOMS = ("trading", "storage", "tasks", "flows", "deployments")


def modules(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (HOUSE / folder).rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Top-level names that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield (node.module or "").split(".")[0]


def test_every_import_contract_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOUSE)
    assert lint_imports(config_filename=str(HOUSE / ".importlinter"), no_cache=True) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("file", modules(*ROOMS), ids=lambda file: str(file.relative_to(HOUSE)))
def test_no_module_imports_tests(file: Path) -> None:
    assert "tests" not in imported(file)


def test_the_contracts_cover_every_room() -> None:
    packages = {folder.name for folder in HOUSE.iterdir() if (folder / "__init__.py").exists()}
    assert packages == set(ROOMS)


@pytest.mark.parametrize(
    "flow", [file for file in modules("flows") if file.stem != "__init__"], ids=lambda file: file.stem
)
def test_a_flow_shares_its_name_with_nothing_that_can_be_imported(flow: Path) -> None:
    # Loading flows/x.py puts flows/ first on the path: `import x` anywhere would then find the flow.
    taken = set(sys.stdlib_module_names) | set(packages_distributions()) | set(ROOMS) | {"tests", "ib_insync", "torch"}
    assert flow.stem not in taken
