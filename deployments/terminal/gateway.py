"""``openbell gateway``: a server on this machine that a client of Interactive Brokers takes for TWS."""

from datetime import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from deployments.terminal.failures import failures_told
from deployments.terminal.options import (
    BarsFile,
    BarsSymbol,
    Config,
    Db,
    Json,
    Seed,
    Timestamp,
    TimeZone,
    day_asked,
    settings_from,
    symbols_asked,
)
from trading.errors import ConfigurationError
from trading.settings import FeedKind

DEFAULT_PORT = 4002
"""Where IB Gateway listens for paper accounts."""


def gateway(
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", help="Port for clients; 0: any free one.")
    ] = DEFAULT_PORT,
    control: Annotated[
        int | None,
        typer.Option(
            "--control", metavar="PORT", help="Port of the control door; 0: any free one.", show_default="no door"
        ),
    ] = None,
    day: Annotated[
        str | None,
        typer.Option(
            "--date", metavar="YYYY-MM-DD", help="Exchange date to play.", show_default="the newest or first one"
        ),
    ] = None,
    symbols: Annotated[
        list[str] | None,
        typer.Option(
            "--symbols", metavar="SYMBOLS", help="Symbols, apart by comma or blank.", show_default="all stored, or SPY"
        ),
    ] = None,
    feed: Annotated[
        str | None,
        typer.Option(
            "--feed",
            metavar="recorded|synthetic",
            help="Whose bars are played.",
            show_default="recorded with --date or --bars, else synthetic",
        ),
    ] = None,
    bars: BarsFile = None,
    bars_symbol: BarsSymbol = None,
    zone: TimeZone = None,
    timestamp: Timestamp = None,
    seed: Seed = None,
    speed: Annotated[
        float, typer.Option("--speed", metavar="NUMBER", help="Session seconds per second of the wall.")
    ] = 1.0,
    clock: Annotated[
        str,
        typer.Option("--clock", metavar="running|stepped", help="stepped: time moves only by the control door."),
    ] = "running",
    start: Annotated[
        str | None,
        typer.Option(
            "--start", metavar="HH:MM", help="Exchange time to begin at.", show_default="five minutes before the open"
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait-for-client", help="Time stands still until a client asks for live data or sends an order."
        ),
    ] = False,
    exit_at_end: Annotated[
        bool, typer.Option("--exit-at-end", help="Leave half an hour after the close, instead of answering on.")
    ] = False,
    account: Annotated[
        list[str] | None,
        typer.Option(
            "--account", metavar="NAME", help="Account; more than once for several.", show_default="DU1234567"
        ),
    ] = None,
    cash: Annotated[
        str, typer.Option("--cash", metavar="AMOUNT", help="What each new account begins with.")
    ] = "1000000",
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", metavar="FILE", help="Where accounts and orders are kept.", show_default="forgotten at the end"
        ),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option("--faults", metavar="FILE", help="Script of what goes wrong.", show_default="nothing")
    ] = None,
    written: Annotated[
        str,
        typer.Option(
            "--timezone",
            metavar="ZONE|UTC|none",
            help="How times are written: with a zone's name, in UTC, or without a zone.",
            show_default="the exchange's",
        ),
    ] = "",
    unpaced: Annotated[
        bool, typer.Option("--no-pacing", help="Past bars may be asked for as often as one likes.")
    ] = False,
    ambiguous: Annotated[
        list[str] | None,
        typer.Option("--ambiguous", metavar="SYMBOLS", help="Symbols with a second listing.", show_default="none"),
    ] = None,
    without_data: Annotated[
        list[str] | None,
        typer.Option(
            "--without-data", metavar="SYMBOLS", help="Symbols whose live data is not subscribed.", show_default="none"
        ),
    ] = None,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Play a day to clients of Interactive Brokers, with accounts of its own: a rehearsal.

    Speaks the protocol of TWS on 127.0.0.1 until it is stopped (Ctrl-C).
    """
    with failures_told(as_json):
        if clock not in ("running", "stepped"):
            raise ConfigurationError(f"--clock {clock!r} is neither running nor stepped.")
        if not speed > 0:
            raise ConfigurationError(
                f"--speed {speed:g} is not a speed. Give a number above 0: 1 is real time, 60 a minute a second."
            )
        if clock == "stepped" and control is None:
            raise ConfigurationError(
                "--clock stepped needs --control PORT: without the door time would stand for ever."
            )
        if feed is not None and feed not in (FeedKind.RECORDED, FeedKind.SYNTHETIC):
            raise ConfigurationError(f"--feed {feed!r} cannot be played: a gateway plays recorded or synthetic bars.")
        if bars is not None and feed == FeedKind.SYNTHETIC:
            raise ConfigurationError(f"--bars {bars} would not be read with --feed synthetic. Leave out one of them.")
        asked_symbols = symbols_asked(symbols)
        settings = settings_from(
            config,
            db,
            {
                "session.symbols": asked_symbols,
                "feed.kind": feed,
                "feed.bars": bars,
                "feed.symbol": bars_symbol.upper() if bars_symbol is not None else None,
                "feed.timezone": zone,
                "feed.timestamp": timestamp,
                "feed.synthetic.seed": seed,
            },
        )
        from deployments.terminal.gateway_run import serve
        from tasks.gateway_composition import GatewayAsked

        asked = GatewayAsked(
            day=day_asked(day),
            symbols=asked_symbols,
            speed=None if clock == "stepped" else speed,
            start=_time_of_day(start),
            waits_for_client=wait,
            accounts=dict.fromkeys(account or ["DU1234567"], _amount(cash)),
            port=port,
            control_port=control,
            state=state,
            faults=faults,
            time_zone=written,
            is_paced=not unpaced,
            ambiguous=symbols_asked(ambiguous) or (),
            without_data=symbols_asked(without_data) or (),
        )
        serve(settings, asked, exit_at_end, as_json)


def _time_of_day(text: str | None) -> time | None:
    if text is None:
        return None
    try:
        return time.fromisoformat(text).replace(tzinfo=None)
    except ValueError as error:
        raise ConfigurationError(
            f"--start {text!r} is no time of day. Write hours and minutes, for example 09:25."
        ) from error


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise ConfigurationError(f"--cash {text!r} is no amount. Write a number, for example 100000.") from error
    if not 0 < amount <= 10_000_000_000:
        raise ConfigurationError(
            f"--cash {text} is no cash to begin with. Give an amount above 0, at most 10000000000."
        )
    return amount
