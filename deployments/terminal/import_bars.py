"""``openbell import-bars``: files of bars into the database, all of them or none."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from deployments.terminal.answer import answer_json, aside, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, Timestamp, TimeZone, settings_from
from trading.settings import Settings

if TYPE_CHECKING:
    from deployments.terminal.imported_bars import ImportedBars
    from storage.bars import ImportCounts
    from trading.bars import BarColumns

_FINDINGS_NAMED = 3


def import_bars(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV or Parquet files.", show_default=False)],
    symbol: Annotated[
        str | None, typer.Option("--symbol", metavar="SYMBOL", help="Whose bars they are where the file does not say.")
    ] = None,
    zone: TimeZone = None,
    timestamp: Timestamp = None,
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", metavar="LENGTH", help="Length of a bar.", show_default="1min")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take new values for bars that are stored with others.")
    ] = False,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Import minute bars from CSV or Parquet files.

    All files are read before anything is written, and everything is written at once.
    """
    known: dict[str, Any] = {}
    with failures_told(as_json, known):
        settings = settings_from(
            config, db, {"feed.timezone": zone, "feed.timestamp": timestamp, "session.timeframe": timeframe}
        )
        known["db"] = str(settings.store.path)
        bars = _read(files, symbol.upper() if symbol is not None else None, settings)
        _import(bars, len(files), settings, replace, as_json)


def _read(files: Sequence[Path], symbol: str | None, settings: Settings) -> "list[BarColumns]":
    from trading.feeds.bar_files import read_bars

    console = aside()
    quiet = len(files) < 2 or not console.is_terminal
    joined: dict[str, BarColumns] = {}
    with Progress(console=console, transient=True, disable=quiet) as progress:
        for file in progress.track(files, description="Reading"):
            read = read_bars(
                file,
                settings.session.timeframe,
                symbol=symbol,
                timezone=settings.feed.timezone,
                timestamp=settings.feed.timestamp,
            )
            for name, columns in read.items():
                joined[name] = joined[name].joined(columns) if name in joined else columns
    return [joined[name] for name in sorted(joined)]


def _import(bars: "list[BarColumns]", files: int, settings: Settings, replace: bool, as_json: bool) -> None:
    from deployments.terminal.imported_bars import describe
    from storage.store import open_store

    described = [describe(columns, settings) for columns in bars]
    with open_store(settings.store.path) as store:
        counts = store.bars_of(settings.session.timeframe).import_bars(bars, replace)
    if as_json:
        answer_json(
            {
                "files": files,
                "timeframe": settings.session.timeframe,
                **asdict(counts),
                "symbols": [asdict(symbol) for symbol in described],
                "db": str(settings.store.path),
            }
        )
        return
    _show(described, counts, settings)


def _show(described: "Sequence[ImportedBars]", counts: "ImportCounts", settings: Settings) -> None:
    from deployments.terminal.text_table import show_table

    show_table(
        ("symbol", "bars", "first", "last", "sessions", "outside hours", "findings"),
        [
            (
                symbol.symbol,
                symbol.bars,
                symbol.first,
                symbol.last,
                symbol.sessions,
                symbol.outside_hours,
                _findings(symbol),
            )
            for symbol in described
        ],
        all_rows=True,
    )
    console = screen()
    console.print(
        f"Inserted {counts.inserted:,}, unchanged {counts.unchanged:,}, replaced {counts.replaced:,} "
        f"{settings.session.timeframe} bars in {settings.store.path}."
    )
    if any(symbol.outside_hours for symbol in described):
        console.print(f"Bars outside the session hours of {settings.session.exchange} are kept and never traded on.")
    last = max(described, key=lambda symbol: symbol.last)
    db = "" if str(settings.store.path) == "openbell.duckdb" else f" --db {settings.store.path}"
    if last.sessions:
        console.print(
            f"Trade them: openbell session{db} --date {last.last.isoformat()} --symbols {last.symbol}", soft_wrap=True
        )


def _findings(symbol: "ImportedBars") -> str:
    most = sorted(symbol.findings.items(), key=lambda found: -found[1])
    named = ", ".join(f"{count:,} {finding}" for finding, count in most[:_FINDINGS_NAMED])
    return f"{named}, ..." if len(most) > _FINDINGS_NAMED else named or "none"
