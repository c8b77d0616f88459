"""Who may read and write what a stack keeps: its home, database, policies, secrets. No Prefect is imported here."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from trading.checks import Check, bad, ok, warn
from trading.settings import Settings

HOME = "OPENBELL_HOME"
SECRETS = (Path("/etc/openbell/secrets.env"), Path("secrets.env"), Path(".env"))
"""Where units of systemd and compose files find passwords; relative ones are meant from the home."""


def file_checks(settings: Settings) -> Iterator[Check]:
    """Nothing of it is opened."""
    named = os.environ.get(HOME)
    home = Path(named).expanduser() if named else Path.cwd()
    yield _home(named, home)
    yield _permissions(settings, home)


def _home(named: str | None, home: Path) -> Check:
    subject = "home"
    if not home.is_dir():
        return bad(
            subject,
            f"{HOME} names {home}, which is no folder",
            f"Make it, or set {HOME} to the folder of openbell.toml.",
        )
    if not named:
        if os.environ.get("PREFECT_API_URL"):
            return warn(
                subject,
                f"{HOME} is not set: deployments would take {home} for the home of their runs",
                f"export {HOME}=FOLDER, the one that holds openbell.toml, the database and the policies.",
            )
        return ok(subject, f"{HOME} is not set: this folder, {home}")
    return ok(subject, str(home))


def _permissions(settings: Settings, home: Path) -> Check:
    subject = "permissions"
    database = settings.store.path
    policies = home / "policies"
    for place, needs in (
        (home, os.R_OK | os.W_OK | os.X_OK),
        (database, os.R_OK | os.W_OK),
        (policies, os.R_OK | os.X_OK),
    ):
        if place.exists() and not os.access(place, needs):
            return bad(
                subject,
                f"{place} cannot be {'used' if needs & os.W_OK else 'read'} by this user (it belongs to {_owner(place)})",
                f"chown it to the user that trades, or chmod u+rw {place}.",
            )
    open_to_write = [str(place) for place in (home, database, policies) if _mode(place) & stat.S_IWOTH]
    if open_to_write:
        return warn(
            subject,
            f"everyone on this machine may write {', '.join(open_to_write)}",
            f"chmod o-w {' '.join(open_to_write)}: who writes a policy or the ledger decides what is traded.",
        )
    prefect = home / ".openbell"
    secret = [prefect, *(home / file for file in SECRETS)]
    open_to_read = [str(place) for place in secret if _mode(place) & (stat.S_IRGRP | stat.S_IROTH)]
    if open_to_read:
        return warn(
            subject,
            f"others on this machine may read {', '.join(open_to_read)}",
            f"chmod go-rwx {' '.join(open_to_read)}: passwords are in it, or what opens them.",
        )
    return ok(subject, "home, database, policies and secrets are this user's to write, and nobody else's to change")


def _mode(place: Path) -> int:
    try:
        return place.stat().st_mode
    except OSError:  # not there, or not to be looked at: then others cannot either
        return 0


def _owner(place: Path) -> str:
    try:
        return place.owner()
    except (KeyError, OSError):
        return "somebody without a name"
