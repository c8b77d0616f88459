"""``openbell reconcile``: what differs between the ledger and the broker, and with ``--repair`` the end of it.

It calls the plain function and not the flow: an operator under stress waits for no server. The flow of the same name
does the same from the Prefect UI.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from deployments.terminal.answer import answer_json, screen
from deployments.terminal.exit_codes import ExitCode
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Config, Db, Json, settings_of_one, symbols_asked
from trading.errors import ConfigurationError

_COLUMNS = ("kind", "what", "ours", "broker's", "proposed repair", "")


def reconcile(
    account: Annotated[
        str | None,
        typer.Option("--account", metavar="NAME", help="Account to compare.", show_default="the ledger's only one"),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Book what is missed, end what is over, record what was made elsewhere.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare and change nothing at all; the default.")] = False,
    claim: Annotated[
        list[str] | None,
        typer.Option(
            "--claim", metavar="SYMBOL", help="Trades made elsewhere in it belong to the book; with --repair."
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long a running session may take to answer.")
    ] = 150.0,
    db: Db = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare orders, fills, positions and cash with the broker's. Ends with 0 when nothing differs any more, else 3."""
    known: dict[str, Any] = {}
    with failures_told(as_json, known):
        if repair and dry_run:
            raise ConfigurationError("--repair and --dry-run exclude each other. Give one of them.")
        settings = settings_of_one(config, db)
        known["db"] = str(settings.store.path)
        from tasks.manual_reconciliation import reconcile_by_hand

        claims = symbols_asked(claim) or ()
        answer = reconcile_by_hand(settings, account, repair, claims, wait)
        if as_json:
            answer_json(answer)
        else:
            _show(answer, repair, claims)
        if answer["remaining"]:
            raise typer.Exit(ExitCode.REFUSED)


def _show(answer: Mapping[str, Any], repaired: bool, claims: Sequence[str]) -> None:
    found, remaining = answer["discrepancies"], answer["remaining"]
    who = ", answered by the session that runs" if answer["answered_by"] == "session" else ""
    if not found:
        _say(f"Account {answer['account']}: ledger and broker agree{who}.")
    else:
        rows = [
            (one["kind"], one["subject"], one["ours"], one["brokers"], one["proposed_repair"], _mark(one, repaired))
            for one in found
        ]
        _show_differences(rows)
        _say(f"Account {answer['account']}: {_count(len(found), 'difference')}{who}.")
    for one in answer["repairs"]:
        _say(f"  repaired: {one['kind']} {one['subject']}: {one['done']}")
    claimed = [one["done"].split() for one in answer["repairs"] if one["done"].startswith("claimed: ")]
    for symbol in claims:
        if not any(symbol in words for words in claimed):
            _say(f"Nothing was claimed in {symbol}: there is no trade made elsewhere that is not claimed already.")
    locking = {one["symbol"] for one in remaining if one["locking"]}
    for lock in answer["locks"]:
        _say(f"  locked: no new risk in {lock['symbol']} since {lock['locked_at']}: {lock['reason']}")
        if lock["symbol"] not in locking:
            _say(
                f"Nothing found now locks {lock['symbol']}. --repair lifts it, and so does a session's next comparison."
            )
    if not remaining:
        return
    by_hand = [one for one in remaining if not one["repairable"]]
    if not repaired and len(by_hand) < len(remaining):
        _say(f"Nothing was changed. --repair would do {len(remaining) - len(by_hand)} of them.")
    if by_hand:
        _say(
            f"{_count(len(by_hand), 'difference')} {'needs' if len(by_hand) == 1 else 'need'} a person: see the proposed repair."
        )


def _show_differences(rows: Sequence[tuple[str, ...]]) -> None:
    """All of every difference, its names whole: a person acts on them. A terminal too narrow gets one value a line."""
    from deployments.terminal.text_table import fits, show_records, show_table

    if sys.stdout.isatty() and not fits(_COLUMNS, rows):
        show_records(_COLUMNS, rows)
    else:
        show_table(_COLUMNS, rows, all_rows=True)


def _mark(found: Mapping[str, Any], repaired: bool) -> str:
    if not found["remains"]:
        return "repaired"
    if found["repairable"] and not repaired:
        return "--repair does it"
    return "locks" if found["locking"] else "for a person"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _say(words: str) -> None:
    screen().print(words, highlight=False, markup=False)
