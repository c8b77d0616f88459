"""The command line as a whole: which commands there are, and what happens when one is called wrongly."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from deployments.terminal.alert_list import alerts
from deployments.terminal.backup import backup
from deployments.terminal.decisions import decisions
from deployments.terminal.deploy import deploy
from deployments.terminal.doctor import doctor
from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.failures import tell
from deployments.terminal.gateway import gateway
from deployments.terminal.halts import flatten, halt, resume
from deployments.terminal.import_bars import import_bars
from deployments.terminal.limits import limits
from deployments.terminal.policies import policies, promote, rollback
from deployments.terminal.reconcile import reconcile
from deployments.terminal.register import register
from deployments.terminal.replay import replay
from deployments.terminal.report import report
from deployments.terminal.restore import restore
from deployments.terminal.server import server
from deployments.terminal.session import session
from deployments.terminal.snapshot import snapshot
from deployments.terminal.sql import sql
from deployments.terminal.train import train
from deployments.terminal.up import up
from deployments.terminal.worker import worker

app = typer.Typer(
    name="openbell",
    help="Trades a session from the opening bell to the close, and keeps every fact in DuckDB.",
    epilog="Exit codes: 0 done; 2 wrong usage or settings; 3 refused to trade; 4 stopped early; 1 anything else.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command("session")(session)
app.command("replay")(replay)
app.command("import-bars")(import_bars)
app.command("reconcile")(reconcile)
app.command("halt")(halt)
app.command("flatten")(flatten)
app.command("resume")(resume)
app.command("limits")(limits)
app.command("train")(train)
app.command("policies")(policies)
app.command("register")(register)
app.command("promote")(promote)
app.command("rollback")(rollback)
app.command("decisions")(decisions)
app.command("report")(report)
app.command("gateway")(gateway)
app.command("deploy")(deploy)
app.command("alerts")(alerts)
app.command("up")(up)
app.command("server")(server)
app.command("worker")(worker)
app.command("doctor")(doctor)
app.command("sql")(sql)
app.command("snapshot")(snapshot)
app.command("backup")(backup)
app.command("restore")(restore)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"openbell {version('openbell')}")
        raise typer.Exit


@app.callback()
def _openbell(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        outcome = app(list(arguments), prog_name="openbell", standalone_mode=False)
    except typer.TyperException as error:
        # Without any argument there is nothing to say: the help has been shown.
        if error.format_message():
            tell(error, "--json" in arguments, {})
        return ExitCode.WRONG_USAGE
    except typer.Abort:
        return ExitCode.FAILED
    return outcome if isinstance(outcome, int) else ExitCode.DONE


def main() -> None:
    """The installed command."""
    sys.exit(run(sys.argv[1:]))
