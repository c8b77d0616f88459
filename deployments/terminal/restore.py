"""``openbell restore``: a new database of what ``openbell backup`` wrote."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.terminal.answer import answer_json, aside, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Json
from trading.errors import ConfigurationError


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup.", show_default=False)],
    db: Annotated[
        Path | None, typer.Option("--db", metavar="FILE", help="The new database; it must not be there yet.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a new database of a backup, after all of it was verified; its simulated accounts go beside it."""
    known: dict[str, Any] = {"backup": str(folder)}
    with failures_told(as_json, known):
        if db is None:
            raise ConfigurationError(
                "A restore makes a new database: name it with --db, for example --db restored.duckdb."
            )
        known["db"] = str(db)
        from tasks.backing_up import restore as restored_from

        done = restored_from(folder, db)
        if as_json:
            answer_json(
                {
                    **known,
                    "made_at": done.manifest.made_at,
                    "schema_version": done.schema_version,
                    "schema_version_of_backup": done.manifest.schema_version,
                    "rows": done.rows,
                    "accounts": {account: str(path) for account, path in done.accounts.items()},
                    "policies_missing": done.bundles_missing,
                }
            )
        else:
            screen().print(
                f"{db}: {sum(done.rows.values()):,} rows of {len(done.rows)} tables, as they were on "
                f"{done.manifest.made_at:%Y-%m-%d %H:%M:%S} UTC, verified.",
                markup=False,
            )
            for account, path in done.accounts.items():
                screen().print(f"{path}: account {account}.", markup=False)
        for fingerprint, where in done.bundles_missing.items():
            aside().print(
                f"The policy {fingerprint} is not at {where}: put its folder back before it is traded.", markup=False
            )
