"""Where things lie: prefect.yaml of this installation, the home of the stack, and which version of openbell this is."""

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path

from trading.errors import ConfigurationError

HOME = "OPENBELL_HOME"
VERSION = "OPENBELL_VERSION"
SETTINGS_FILE = "openbell.toml"
_HOUSE = Path(__file__).parents[2]
_OURS = (_HOUSE, Path(sys.prefix) / "share" / "openbell")


def deployments_file(home: Path) -> Path:
    """The prefect.yaml to deploy: the home's own, else the one beside the packages, else where the installation put it."""
    for place in (home, *_OURS):
        if (place / "prefect.yaml").is_file():
            return place / "prefect.yaml"
    raise ConfigurationError(
        f"There is no prefect.yaml in {home}, {_HOUSE} or {sys.prefix}/share/openbell. Install openbell again, or run from its repository."
    )


def is_ours(file: Path) -> bool:
    """Whether a prefect.yaml is the one that comes with openbell, not one that a person wrote."""
    return file.resolve() in {place.resolve() / "prefect.yaml" for place in _OURS}


def home_and_settings(config: Path | None, environment: Mapping[str, str]) -> tuple[Path, Path | None]:
    """The home of the stack, absolute, and its settings file where there is one.

    The home is what OPENBELL_HOME names, else the folder of ``config``, else the working directory.
    """
    named = environment.get(HOME)
    folder = Path(named).expanduser() if named else config.parent if config is not None else Path()
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} is no folder, and was to be the home of the stack. Make it, or set {HOME} to another."
        )
    home = folder.resolve()
    if config is not None:
        return home, config
    return home, home / SETTINGS_FILE if (home / SETTINGS_FILE).exists() else None


def version(environment: Mapping[str, str]) -> str:
    """The package's version with the commit of a checkout; what OPENBELL_VERSION says where that is set, for images without git."""
    return environment.get(VERSION) or "+".join(filter(None, (installed_version("openbell"), _commit())))


def _commit() -> str:
    if not (_HOUSE / ".git").exists():
        return ""
    try:
        said = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=_HOUSE, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # no git on this machine: the package's version is what is known
    return said.stdout.strip() if said.returncode == 0 else ""
