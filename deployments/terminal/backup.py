"""``openbell backup``: the database and its simulated accounts as a folder of Parquet files, also while a session runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.terminal.answer import answer_json, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, settings_of_one


def backup(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="The new folder to write.", show_default="a name by the time in backups/"
        ),
    ] = None,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write the database, as it is at this moment, and its simulated accounts into a new folder, for `openbell restore`."""
    known: dict[str, Any] = {}
    with failures_told(as_json, known):
        settings = settings_of_one(config, db)
        known["db"] = str(settings.store.path)
        from tasks.backing_up import back_up

        made = back_up(settings, folder, datetime.now(UTC))
        manifest = made.manifest
        if as_json:
            answer_json(
                {
                    "backup": str(made.folder),
                    "made_at": manifest.made_at,
                    "schema_version": manifest.schema_version,
                    "rows": {name: table.rows for name, table in manifest.tables.items()},
                    "bytes": manifest.bytes,
                    "accounts": sorted(manifest.accounts),
                    "db": str(settings.store.path),
                }
            )
        else:
            with_accounts = "".join(f", account {account}" for account in sorted(manifest.accounts))
            screen().print(
                f"{made.folder}: {manifest.rows:,} rows of {len(manifest.tables)} tables{with_accounts}, "
                f"{manifest.bytes / 1e6:,.1f} MB.",
                markup=False,
            )
            if manifest.bundles:
                screen().print(
                    f"The {len(manifest.bundles)} registered policies are folders of their own and are not in it.",
                    markup=False,
                )
