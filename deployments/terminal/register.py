"""``openbell register``: a bundle that was made elsewhere becomes a candidate."""

from pathlib import Path
from typing import Annotated

import typer

from deployments.terminal.answer import answer_json, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, settings_from


def register(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the bundle.", show_default=False)],
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check a policy's bundle as a session would, and register it as a candidate.

    Ends with 3 where the bundle is not what its manifest says.
    """
    with failures_told(as_json):
        from tasks.policy_registration import register_by_hand

        settings = settings_from(config, db)
        record = register_by_hand(settings, folder)
        if as_json:
            answer_json(
                {
                    "policy": record.fingerprint,
                    "name": record.name,
                    "stage": str(record.stage),
                    "path": str(record.path),
                    "db": str(settings.store.path),
                }
            )
            return
        screen().print(f"{record.fingerprint} is registered as {record.stage}.", highlight=False, markup=False)
        screen().print(
            f"Trade it on paper: openbell session --policy {record.fingerprint}", highlight=False, markup=False
        )
