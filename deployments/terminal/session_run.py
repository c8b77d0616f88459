"""One session from the terminal: looked at before it starts, run through the flow, told when it is over."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any

from deployments.terminal.alerts import ALERTS, AlertLines
from deployments.terminal.answer import answer_json, aside
from deployments.terminal.closing_facts import ClosingFacts, closing_facts, dry_run_answer, summary_answer
from deployments.terminal.closing_summary import show_closing_summary
from deployments.terminal.exit_codes import ExitCode, code_of_session
from deployments.terminal.failures import debugging, in_words, paragraph, say_error
from deployments.terminal.preflight import Preflight, check_before_start
from deployments.terminal.progress import progress_shown
from storage.store import open_store
from tasks.dry_run_copies import settings_of_dry_run
from trading.decisions import Verdict
from trading.errors import OpenbellError, StoppedEarly
from trading.risk_events import hearing_sessions
from trading.sessions import SessionState
from trading.settings import Settings

_PREFECT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A temporary server on a busy machine needs longer than Prefect gives it.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    # Prefect would ask a server that is gone for a minute per call; a finished session needs no more than a few seconds.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
}
_QUIET_PREFECT = {
    # The API gets the logs whole; on a terminal a refusal would come with a traceback of the flow engine.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}

_STOPPED_BY: dict[int, str] = {
    signal.SIGINT: "stopped from the terminal (Ctrl-C)",
    signal.SIGTERM: "stopped from outside (SIGTERM)",
}


def trade(
    settings: Settings, day: date | None, known: dict[str, Any], as_json: bool, dry_run: bool = False
) -> ExitCode:
    """Trade the session (or tell what it came to where it was traded before) and give the answer.

    A ``dry_run`` does everything but send, on a copy of the ledger.
    ``known`` is filled with what is known of the session, for the case that something is raised.
    """
    if day is not None:
        known["session_date"] = day
    if dry_run:
        known.update(dry_run=True, db=str(settings_of_dry_run(settings).store.path))
    preflight = check_before_start(settings, day, known, dry_run)
    stopped: BaseException | None = None
    if preflight.completed is not None:
        aside().print(
            f"Session {preflight.session_id} was traded before; nothing was traded now. To trade the day again, name "
            "another --strategy, --account or --db."
        )
    else:
        try:
            _run_flow(preflight, as_json, dry_run)
        except (StoppedEarly, KeyboardInterrupt) as error:
            stopped = error
        except Exception as error:
            known.update(_as_recorded(preflight.db, preflight.session_id))
            # What fails after the session's end is on the record is told, and is no failed session: a caller that
            # heard of one might trade again.
            if known["state"] != SessionState.COMPLETED:
                raise
            aside().print(f"The session was traded to its end; only its run history was not: {paragraph(error)}")
    with open_store(preflight.db, read_only=True) as store:
        facts = closing_facts(store, preflight.session_id)
    if stopped is not None and facts.summary.state is SessionState.COMPLETED:
        aside().print("Interrupted when the session was complete already.")
        stopped = None
    code = ExitCode.STOPPED if stopped is not None else code_of_session(facts.summary)
    reason = _why_stopped(stopped, facts) if code is ExitCode.STOPPED else ""
    at_the_close = [seen for seen in facts.discrepancies if seen.stage == "close"]
    if code is ExitCode.DONE and at_the_close:
        code = ExitCode.FAILED
        reason = (
            f"Session {facts.summary.session_id} was traded, and at its close ledger and broker differ in "
            f"{len(at_the_close)} point(s). The next session of the account will be refused until they agree."
        )
    if as_json:
        kind = "stopped early" if isinstance(stopped, KeyboardInterrupt) else in_words(stopped) if stopped else ""
        failure = {"error": kind, "message": reason, "exit_code": int(code)} if stopped else {}
        answer_json({**summary_answer(facts.summary), **dry_run_answer(facts), **failure})
    else:
        show_closing_summary(facts)
    if reason:
        say_error(reason, code)
    return code


def _run_flow(preflight: Preflight, as_json: bool, dry_run: bool) -> None:
    for name, value in (_PREFECT if debugging() else _PREFECT | _QUIET_PREFECT).items():
        os.environ.setdefault(name, value)
    # Only the answer goes to stdout, whatever the flow or its server may print.
    heard = hearing_sessions(AlertLines(preflight.hours).show, ALERTS)
    with contextlib.redirect_stdout(sys.stderr), _stopping_in_order(), progress_shown(preflight, as_json), heard:
        from flows.trading_session import run

        run(preflight.settings, preflight.hours.session_date, dry_run)


@contextlib.contextmanager
def _stopping_in_order() -> Iterator[None]:
    """Ctrl-C and a polite kill both end the session in order, with an answer, and say in the history who did it."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(_STOPPED_BY[number])

    try:
        before = {number: signal.signal(number, stop) for number in _STOPPED_BY}
    except ValueError:  # not the main thread: whoever runs it there handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_recorded(path: Path, session_id: str) -> dict[str, Any]:
    # The error that led here is the one to tell; a history that cannot be read adds nothing to it.
    with contextlib.suppress(OpenbellError), open_store(path, read_only=True) as store:
        if store.ledger.find_session(session_id) is not None:
            return summary_answer(store.ledger.summary(session_id))
    return {}


def _why_stopped(stopped: BaseException | None, facts: ClosingFacts) -> str:
    session = f"Session {facts.summary.session_id}"
    if isinstance(stopped, OpenbellError):
        return " ".join(str(stopped).split())
    if stopped is not None:
        return (
            f"{session} was {str(stopped) or 'interrupted'} after {facts.summary.bars} bars. What was traded is kept; run "
            "the same command again to go on from there."
        )
    if facts.summary.state is SessionState.STOPPED:
        return f"{session} was stopped: {facts.summary.reason or 'no reason was given'}."
    halts = [rule.newest_reason for rule in facts.rules if rule.verdict == Verdict.HALTED]
    why = "; ".join([*halts, *facts.summary.notes]) or "a halt stood"
    return f"{session} was halted and only reduced its positions after that: {why}."
