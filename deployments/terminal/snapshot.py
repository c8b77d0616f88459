"""``openbell snapshot``: a copy of the database for any other tool, also while a session runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.terminal.answer import answer_json, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, settings_from


def snapshot(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy to write.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Write over FILE where it is there already.")] = False,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write a copy of the database as it is at this moment, tables and views, for any tool that reads DuckDB."""
    known: dict[str, Any] = {}
    with failures_told(as_json, known):
        path = settings_from(config, db).store.path
        known["db"] = str(path)
        from storage.snapshot import write_snapshot

        rows = write_snapshot(path, file, force)
        if as_json:
            answer_json({"snapshot": str(file), "rows": rows, "db": str(path)})
        else:
            screen().print(
                f"{file}: {sum(rows.values()):,} rows of {len(rows)} tables, as {path} is now.", markup=False
            )
