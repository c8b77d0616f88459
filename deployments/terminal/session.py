"""``openbell session``: one trading session through the Prefect flow."""

from typing import Annotated, Any

import typer

from deployments.terminal.failures import failures_told
from deployments.terminal.options import (
    BarsFile,
    BarsSymbol,
    Config,
    Db,
    Json,
    PolicyNamed,
    PolicyParameters,
    PolicyStage,
    Seed,
    StrategyName,
    Symbols,
    Timestamp,
    TimeZone,
    day_asked,
    policy_asked,
    policy_parameters,
    settings_from,
    symbols_asked,
)
from trading.errors import ConfigurationError
from trading.settings import FeedKind


def session(
    day: Annotated[
        str | None,
        typer.Option(
            "--date", metavar="YYYY-MM-DD", help="Exchange date to trade.", show_default="the next or newest one"
        ),
    ] = None,
    symbols: Symbols = None,
    feed: Annotated[
        str | None,
        typer.Option(
            "--feed",
            metavar="recorded|synthetic|ib",
            help="Where bars come from.",
            show_default="recorded with --date or --bars, ib with --broker ib, else synthetic",
        ),
    ] = None,
    bars: BarsFile = None,
    bars_symbol: BarsSymbol = None,
    zone: TimeZone = None,
    timestamp: Timestamp = None,
    broker: Annotated[
        str | None, typer.Option("--broker", metavar="paper|ib", help="Who executes.", show_default="paper")
    ] = None,
    policy: PolicyNamed = None,
    stage: PolicyStage = None,
    parameters: PolicyParameters = None,
    pace: Annotated[
        str | None,
        typer.Option("--pace", metavar="max|live|NUMBER", help="Speed; a number: times real time.", show_default="max"),
    ] = None,
    strategy: StrategyName = None,
    account: Annotated[
        str | None,
        typer.Option(
            "--account", metavar="NAME", help="Account that trades.", show_default="paper, synthetic, or the broker's"
        ),
    ] = None,
    granularity: Annotated[
        str | None,
        typer.Option(
            "--granularity",
            metavar="auto|stage|bar|chunk",
            help="What one Prefect task run shows.",
            show_default="auto",
        ),
    ] = None,
    seed: Seed = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything but send, on a copy of the ledger.")
    ] = False,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Trade one session, from warmup to the end-of-day P&L.

    Without options: the next session of an invented market, on a simulated account.
    """
    known: dict[str, Any] = {"state": "REFUSED"}
    with failures_told(as_json, known):
        if bars is not None and feed == FeedKind.SYNTHETIC:
            raise ConfigurationError(f"--bars {bars} would not be read with --feed synthetic. Leave out one of them.")
        asked = symbols_asked(symbols)
        file_symbol = bars_symbol.upper() if bars_symbol is not None else None
        settings = settings_from(
            config,
            db,
            {
                "session.symbols": asked or ([file_symbol] if file_symbol else None),
                "session.pace": pace,
                "session.strategy": strategy,
                "session.account": account,
                "session.granularity": granularity,
                "feed.kind": feed,
                "feed.bars": bars,
                "feed.symbol": file_symbol,
                "feed.timezone": zone,
                "feed.timestamp": timestamp,
                "feed.synthetic.seed": seed,
                "broker.kind": broker,
                **policy_asked(policy, stage, policy_parameters(parameters)),
            },
        )
        if pace is not None and FeedKind.IB in (settings.feed.kind, settings.broker.kind):
            raise ConfigurationError(
                f"--pace {pace} does not apply at Interactive Brokers: the time is the server's. Leave it out."
            )
        known["db"] = str(settings.store.path)
        from deployments.terminal.session_run import trade

        code = trade(settings, day_asked(day), known, as_json, dry_run)
    raise typer.Exit(code)
