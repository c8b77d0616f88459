"""A session that does everything but send: on a copy of the ledger, made anew for each, beside the ledger itself.

The rule: the ledger, its lease and the simulated account beside it stay as they are, also while a session trades them.
"""

import contextlib
import fcntl
from pathlib import Path

from storage.snapshot import write_snapshot
from tasks.broker_composition import copy_paper_account
from tasks.dry_run_copies import is_dry_run, settings_of_dry_run
from trading.errors import ConfigurationError, SessionHeld, StoreError
from trading.settings import Settings


def begin_dry_run(settings: Settings, account: str, closing: contextlib.ExitStack) -> Settings:
    """Copy ledger and simulated account as they are now over the copies of the last dry run; the settings to run with.

    Where there is no ledger yet the run begins with an empty one. The copies are this run's alone until ``closing``. Raises
    ``ConfigurationError`` for a ledger that is such a copy itself, ``SessionHeld`` while another dry run is at work,
    ``StoreError`` and ``BrokerUnavailable`` where something cannot be copied.
    """
    path = settings.store.path
    if is_dry_run(path):
        raise ConfigurationError(f"{path} is the copy of a dry run itself. Name the database that it was made of.")
    acting = settings_of_dry_run(settings)
    copy = acting.store.path
    _hold_alone(copy, closing)
    for leftover in (copy, copy.with_name(f"{copy.name}.wal")):
        leftover.unlink(missing_ok=True)
    if path.exists():
        write_snapshot(path, copy)
    if settings.broker.kind == "paper":
        copy_paper_account(settings, acting, account)
    return acting


def _hold_alone(copy: Path, closing: contextlib.ExitStack) -> None:
    """Two runs would put the file away under each other. The system takes the lock back however a run ends."""
    try:
        lock = closing.enter_context(copy.with_name(f"{copy.name}.lock").open("ab"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SessionHeld(f"Another dry run is at work on {copy}. Wait until it is over, or end it.") from error
    except OSError as error:
        raise StoreError(f"The copy {copy} cannot be made: {error.strerror or error}. Name another --db.") from error
