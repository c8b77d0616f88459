"""Backups and restores as a person means them: the ledger of the settings with its simulated accounts. No Prefect is imported here."""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from storage.backup import Backup, backups_of, write_backup
from storage.backups_kept import backup_name, remove_backup, superfluous
from storage.restoring import Restored, restore_backup
from tasks.broker_composition import copy_paper_account, paper_account_path
from trading.settings import Settings

BACKUPS = Path("backups")
"""Where backups lie that nobody named a place for: a folder beside the database."""


def backups_folder(settings: Settings, folder: Path | None = None) -> Path:
    """The folder of all backups: ``folder``, seen from the database's place, or the usual one there."""
    return settings.store.path.parent / (folder or BACKUPS)


def back_up(settings: Settings, folder: Path | None, now: datetime) -> Backup:
    """Back up into the new folder ``folder``, or under a name by the time in the usual place.

    Raises ``ConfigurationError`` and ``StoreError`` as ``write_backup``, ``BrokerUnavailable`` where an account cannot be read.
    """
    path = settings.store.path
    place = folder or backup_place(settings, None, now)
    return write_backup(path, place, now, lambda accounts, into: _copy_accounts(settings, accounts, into))


def backup_place(settings: Settings, folder: Path | None, now: datetime) -> Path:
    """A name by the time in the folder of all backups, which is made where there is a database to back up."""
    kept_in = backups_folder(settings, folder)
    if settings.store.path.exists():
        kept_in.mkdir(exist_ok=True)
    return kept_in / backup_name(settings.store.path, now)


def restore(folder: Path, path: Path) -> Restored:
    """Make the new database ``path`` of a backup, with its simulated accounts beside it."""
    beside = Settings().model_copy(update={"store": Settings().store.model_copy(update={"path": path})})
    return restore_backup(folder, path, lambda account: paper_account_path(beside, account))


def too_old(settings: Settings, folder: Path, now: datetime, keep_days: int, keep_weeks: int) -> list[Path]:
    """Backups of the settings' database in ``folder`` that need not be kept, oldest first. Those of other databases are nobody's here.

    Raises ``StoreError`` where the database cannot be asked.
    """
    if not settings.store.path.exists():
        return []
    found = backups_of(settings.store.path, folder)
    made = {path: manifest.made_at for path, manifest in found.items()}
    return superfluous(made, now, keep_days, keep_weeks)


def remove(folder: Path) -> None:
    """Take one backup away; raises ``StoreError``."""
    remove_backup(folder)


def _copy_accounts(settings: Settings, accounts: Sequence[str], into: Path) -> Mapping[str, str]:
    copies = {}
    paper = settings.broker.paper
    for account in accounts:
        copy = into / f"{account}.sqlite"
        there = settings.broker.model_copy(update={"paper": paper.model_copy(update={"path": copy})})
        copy_paper_account(settings, settings.model_copy(update={"broker": there}), account)
        if not copy.exists():
            continue  # at a real broker, who keeps its books
        # A path that the settings name is the file of one account, whichever the ledger knows besides.
        if _owner_of(copy) == account:
            copies[account] = copy.name
        else:
            copy.unlink()
    return copies


def _owner_of(copy: Path) -> str | None:
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        row = connection.execute("SELECT name FROM account").fetchone()
    return None if row is None else str(row[0])
