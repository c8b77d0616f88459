"""The flow that keeps the house: a backup each night, old backups and leftovers taken away, Prefect's old runs too."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from tasks.housekeeping_steps import (
    back_up_ledger,
    look_at_room,
    publish_housekeeping,
    remove_leftovers,
    remove_old_backups,
    remove_runs,
    tidy_database,
)
from tasks.old_runs import LOOKS, TAG
from trading.errors import OpenbellError
from trading.settings import Settings

_DEFAULTS = Settings()


def _run_name() -> str:
    return "housekeeping, looking only" if runtime.flow_run.parameters["dry_run"] else "housekeeping"


@flow(name="housekeeping", flow_run_name=_run_name, persist_result=False, retries=0)
def housekeeping(
    dry_run: bool = False,
    backup: bool = True,
    backups_kept_days: Annotated[int, Field(ge=1, le=3650)] = 14,
    backups_kept_weeks: Annotated[int, Field(ge=0, le=520)] = 8,
    runs_kept_days: Annotated[int, Field(ge=1, le=3650)] = 60,
    looks_kept_days: Annotated[int, Field(ge=1, le=3650)] = 7,
    dry_runs_kept_days: Annotated[int, Field(ge=0, le=3650)] = 7,
    most_runs: Annotated[int, Field(ge=0, le=5000)] = 1000,
    folder: Path | None = None,
    settings: Settings = _DEFAULTS,
) -> State[Any]:
    """Back the ledger up, and take away what is old. Nothing of the ledger itself is ever removed.

    Args:
        dry_run: Make and remove nothing; the table shows what would go.
        backup: Make a backup of the ledger and its simulated accounts first.
        backups_kept_days: Of each of so many days the newest backup stays.
        backups_kept_weeks: Of each of so many weeks, this one included, the newest backup stays too.
        runs_kept_days: Flow runs of openbell that ended, or should have begun, longer ago go, with their task runs, logs and artifacts.
        looks_kept_days: Flow runs of the health check go after so long: there are ninety a day.
        dry_runs_kept_days: The copies that dry runs traded on go when they have not been written for so long.
        most_runs: So many flow runs of a kind at most in one night, so that the server is not busy for long.
        folder: Where backups are kept; empty means backups beside the database.
        settings: Where the ledger is; the same as the session's.
    """
    now = datetime.now(UTC)
    made, failure = None, None
    if backup and not dry_run:
        try:
            made = back_up_ledger(settings, folder, now)
        except OpenbellError as error:
            failure = error  # the rest is done all the same: room is what a backup often fails for
    removed = [
        # What is old goes only where something newer was made, or nobody asked for it.
        *([] if failure else remove_old_backups(settings, folder, now, backups_kept_days, backups_kept_weeks, dry_run)),
        *remove_leftovers(settings, folder, now, dry_runs_kept_days, dry_run),
        *remove_runs("looks", (TAG, LOOKS), now - timedelta(days=looks_kept_days), most_runs, dry_run),
        *remove_runs("runs", (TAG,), now - timedelta(days=runs_kept_days), most_runs, dry_run),
        *([] if dry_run else tidy_database(settings)),
    ]
    short = look_at_room(settings, folder)
    publish_housekeeping(made, removed, dry_run)
    if failure is not None:
        return Failed(name="NoBackup", message=str(failure), data=failure)
    words = [f"backup {made.folder}" if made else "no backup", f"{len(removed)} kinds of things gone", *short]
    return Completed(message="; ".join(words) + ".")
