"""Where the copies lie that a dry run trades on: beside what they were made of, under its name and a word more."""

from pathlib import Path

from trading.settings import Settings

_ENDING = ".dry-run"
_STORE_ENDING = ".duckdb"


def is_dry_run(database: Path) -> bool:
    """Whether this is the copy that a dry run traded on."""
    return database.name.removesuffix(_STORE_ENDING).endswith(_ENDING)


def settings_of_dry_run(settings: Settings) -> Settings:
    """The settings with the copies in the places of ledger and simulated account; nothing is copied yet."""
    paper = settings.broker.paper
    if paper.path is not None:
        paper = paper.model_copy(update={"path": _beside(paper.path, ".sqlite")})
    return settings.model_copy(
        update={
            "store": settings.store.model_copy(update={"path": _beside(settings.store.path, _STORE_ENDING)}),
            "broker": settings.broker.model_copy(update={"paper": paper}),
        }
    )


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name.removesuffix(ending)}{_ENDING}{ending}")
