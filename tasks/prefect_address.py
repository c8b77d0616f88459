"""Which Prefect server is meant, found without Prefect."""

import os
import tomllib
from pathlib import Path


def prefect_address() -> str | None:
    """The API that Prefect would use: of the environment, else of its active profile."""
    named = os.environ.get("PREFECT_API_URL")
    if named:
        return named
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    try:
        profiles = tomllib.loads((home / "profiles.toml").read_text(encoding="utf-8"))
        active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
        found = profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    except (OSError, ValueError, AttributeError):
        return None
    return str(found) if found else None
