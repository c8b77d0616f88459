"""``openbell replay``: many sessions over stored bars, and what they came to.

It calls the plain functions and needs no server; the flow ``replay-sessions`` does the same from the Prefect UI.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.terminal.answer import answer_json, aside, screen
from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.failures import failures_told, say_error
from deployments.terminal.interruption import ended_as_if_interrupted
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

if TYPE_CHECKING:
    from tasks.session_replays import SessionReplay


def replay(
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DATE", help="First exchange date.", show_default="the first with bars"),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Last exchange date.", show_default="the last with bars")
    ] = None,
    symbols: Symbols = None,
    feed: Annotated[
        str | None,
        typer.Option("--feed", metavar="recorded|synthetic", help="Where bars come from.", show_default="recorded"),
    ] = None,
    bars: BarsFile = None,
    bars_symbol: BarsSymbol = None,
    zone: TimeZone = None,
    timestamp: Timestamp = None,
    policy: PolicyNamed = None,
    stage: PolicyStage = None,
    parameters: PolicyParameters = None,
    strategy: StrategyName = None,
    account: Annotated[
        str | None,
        typer.Option(
            "--account",
            metavar="replay-NAME",
            help="Account to keep it under.",
            show_default="named after all that decides what comes out",
        ),
    ] = None,
    seed: Seed = None,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Trade many sessions over stored bars, by the rules of a session, on a simulated account of its own.

    The same replay again writes nothing and tells what it came to. What is interrupted leaves whole sessions; run it again to go on.
    """
    known: dict[str, Any] = {"state": "REFUSED"}
    with failures_told(as_json, known):
        if feed == FeedKind.IB:
            raise ConfigurationError(
                "--feed ib has no past to replay: store its bars first, with the flow load-history."
            )
        if bars is not None and feed == FeedKind.SYNTHETIC:
            raise ConfigurationError(f"--bars {bars} would not be read with --feed synthetic. Leave out one of them.")
        file_symbol = bars_symbol.upper() if bars_symbol is not None else None
        settings = settings_from(
            config,
            db,
            {
                "session.symbols": symbols_asked(symbols) or ([file_symbol] if file_symbol else None),
                "session.strategy": strategy,
                "feed.kind": feed,
                "feed.bars": bars,
                "feed.symbol": file_symbol,
                "feed.timezone": zone,
                "feed.timestamp": timestamp,
                "feed.synthetic.seed": seed,
                **policy_asked(policy, stage, policy_parameters(parameters)),
            },
        )
        known["db"] = str(settings.store.path)
        from tasks.session_replays import prepare_replay

        with ended_as_if_interrupted():
            prepared = prepare_replay(settings, day_asked(first, "--from"), day_asked(last, "--to"), account)
            known |= {"account": prepared.account, "strategy": prepared.settings.strategy}
            code = _trade(prepared, as_json)
    raise typer.Exit(code)


def _trade(prepared: "SessionReplay", as_json: bool) -> ExitCode:
    """Trade and tell; also what an interrupted replay left."""
    from tasks.session_replays import replay_answer

    interrupted = False
    try:
        _trade_shown(prepared)
    except KeyboardInterrupt:
        interrupted = True
    answer = replay_answer(prepared)
    stopped = interrupted or prepared.halted is not None
    reason = (
        "interrupted from the terminal; run the same command again to go on" if interrupted else prepared.halted or ""
    )
    if interrupted:
        answer |= {"state": "STOPPED", "reason": reason}
    if as_json:
        answer_json({**answer, **({"exit_code": int(ExitCode.STOPPED)} if stopped else {})})
    else:
        _show(answer)
    if stopped:
        say_error(
            f"The replay on {prepared.account} ended early, {answer['not_replayed']} of {len(prepared.sessions)} sessions were not "
            f"replayed: {reason}.",
            ExitCode.STOPPED,
        )
    return ExitCode.STOPPED if stopped else ExitCode.DONE


def _trade_shown(prepared: "SessionReplay") -> None:
    """Chunk by chunk, with what is done said on stderr where a person looks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    quiet = not sys.stderr.isatty()
    with Progress(*columns, console=aside(), transient=True, redirect_stdout=False, disable=quiet) as progress:
        line = progress.add_task("sessions", total=len(prepared.sessions))
        for chunk in prepared.chunks:
            progress.update(line, description=chunk.label)
            prepared.trade(chunk)
            progress.advance(line, len(chunk.sessions))
            if prepared.halted is not None:
                return


def _show(answer: Mapping[str, Any]) -> None:
    from deployments.terminal.text_table import show_table
    from tasks.replay_page import day_rows, sentence_of, total_rows

    console = screen()
    if answer["mode"] == "synthetic":
        console.print("SYNTHETIC prices: an invented market, nothing here was ever quoted.")
    for rows in (day_rows(answer), total_rows(answer)):
        if rows:
            show_table(tuple(rows[0]), [tuple(row.values()) for row in rows], all_rows=True)
    console.print(sentence_of(answer), markup=False, highlight=False)
    db = "" if answer["db"] == "openbell.duckdb" else f" --db {answer['db']}"
    console.print(
        f"Ask more: openbell sql{db} \"select * from trades where account = '{answer['account']}'\"",
        soft_wrap=True,
        markup=False,
    )
