"""``openbell train``: fits, judges and registers a policy.

It calls the plain functions and needs no server; the flow ``train-policy`` does the same from the Prefect UI.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from deployments.terminal.answer import answer_json, aside, screen
from deployments.terminal.failures import failures_told
from deployments.terminal.interruption import ended_as_if_interrupted
from deployments.terminal.options import Config, Db, Json, day_asked, settings_from, symbols_asked
from trading.bundles.manifest import PolicyKind

if TYPE_CHECKING:
    from trading.training.trainer import Told


def train(
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name to register it under.", show_default="trained"),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", metavar="|".join(get_args(PolicyKind)), help="What to train.", show_default="classifier"
        ),
    ] = None,
    estimator: Annotated[
        str | None,
        typer.Option(
            "--estimator",
            metavar="NAME|MODULE:FUNCTION",
            help="Estimator of a classifier or regressor.",
            show_default="logistic_regression, or ridge",
        ),
    ] = None,
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbols", metavar="SYMBOL,...", help="Symbols to train on.", show_default="SPY"),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DATE", help="First session.", show_default="the first with bars"),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Last session.", show_default="the last with bars")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", help="Steps that an agent learns for.", show_default="200000"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Seed of everything drawn.", show_default="7")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an agent's training that was interrupted.")
    ] = False,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Fit a policy on stored bars, judge it on sessions that it has not seen, and register it as a candidate.

    What is trained is the section train of the settings file; features, labels and folds are only there. A training that fails or is
    interrupted registers nothing.
    """
    with failures_told(as_json):
        from tasks.policy_training import train_by_hand

        options = {
            "train.name": name,
            "train.kind": kind,
            "train.estimator": estimator,
            "train.first_date": day_asked(first, "--from"),
            "train.last_date": day_asked(last, "--to"),
            "train.agent.total_steps": steps,
            "train.seed": seed,
            "session.symbols": symbols_asked(symbols),
        }
        settings = settings_from(config, db, options)
        with ended_as_if_interrupted(), _progress_shown() as told:
            answer = train_by_hand(settings, told, resume)
        if as_json:
            answer_json(answer)
        else:
            _show(answer)


@contextmanager
def _progress_shown() -> "Iterator[Told]":
    """How far it is, on stderr: a bar on a terminal; elsewhere a line when something else is begun."""
    if not sys.stderr.isatty():
        said = ""

        def say(words: str, _done: int, _total: int) -> None:
            nonlocal said
            if words != said:
                said = words
                aside().print(words, markup=False)

        yield say
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=aside(), transient=True, redirect_stdout=False) as progress:
        line = progress.add_task("reading bars", total=None)

        def told(words: str, done: int, total: int) -> None:
            progress.update(line, description=words, completed=done, total=total)

        yield told


def _show(answer: Mapping[str, Any]) -> None:
    from deployments.terminal.text_table import show_table
    from trading.training.report_page import COLUMNS, rows_of

    for sentence in answer["sentences"]:
        screen().print(sentence, highlight=False, markup=False)
    show_table(COLUMNS, rows_of(answer["overall"]), all_rows=True)
    screen().print(
        f"{answer['policy']} is registered at {answer['stage']}. Bundle: {answer['bundle']}. Report: {answer['report']}/report.md",
        highlight=False,
        markup=False,
    )
