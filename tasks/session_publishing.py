"""What is published of a session once it is over and its database is closed: the closing report with its charts, and what the UI lacks.

The rule: the session is traded and in the ledger. Whatever goes wrong here is logged, and does not make a failed run of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from prefect.logging import get_run_logger

from storage.session_curves import SessionCurves, session_curves
from tasks.charts import session_charts
from tasks.closing_report import closing_report
from tasks.composition import Desk
from tasks.run_record import RunReporter
from tasks.session_events import SessionEvents
from trading.sessions import SessionSummary


@dataclass(frozen=True, slots=True)
class TradedSession:
    """A session that was traded to its end: its summary, its report, its curves in the exchange's zone.

    ``runs_made`` are task runs by a part of their names. Empty where the session had been traded before.
    """

    summary: SessionSummary
    report: str = ""
    curves: SessionCurves | None = None
    zone: tzinfo | None = None
    runs_made: Mapping[str, int] = field(default_factory=dict)


def read_session(desk: Desk, summary: SessionSummary, runs_made: Mapping[str, int]) -> TradedSession:
    """What there is to publish, while the database is still open."""
    report, curves = "", None
    try:
        report = closing_report(desk.store, desk.hours, summary)
        curves = session_curves(desk.store, summary.session_id)
    except Exception:  # noqa: BLE001 - the session is in the ledger: a report that fails must not have it started again
        get_run_logger().exception("session_id=%s its report could not be made", summary.session_id)
    return TradedSession(summary, report, curves, desk.hours.zone, runs_made)


def publish_session(
    reporter: RunReporter, events: SessionEvents, traded: TradedSession, patience_seconds: float
) -> None:
    """Compare run history and events with the ledger, and put the closing report where a person looks.

    Waits ``patience_seconds`` for an API that is away; after that the ledger alone has the session.
    """
    if not traded.runs_made:
        return
    try:
        _publish(reporter, events, traded, patience_seconds)
    except Exception:  # noqa: BLE001 - as above: the run has done what it was for
        get_run_logger().exception("session_id=%s its report could not be published", traded.summary.session_id)


def _publish(reporter: RunReporter, events: SessionEvents, traded: TradedSession, patience_seconds: float) -> None:
    log, name = get_run_logger(), traded.summary.session_id
    charts = ""
    if traded.curves is not None and traded.zone is not None:
        charts = session_charts(traded.curves, traded.zone)
    if not reporter.wait_for_api(patience_seconds):
        log.warning(
            "session_id=%s nothing is published: the Prefect API does not answer; the ledger has everything", name
        )
        return
    sentences = []
    for part, record in reporter.compare_runs(traded.runs_made).items():
        sentences.append(f"- `{part.strip()}`: {record.sentence()}")
        if record.gap != 0:
            log.warning("session_id=%s %s", name, record.sentence())
    sentences.append(f"- events: {reporter.settle_events(events).sentence()}")
    history = "\n".join(["## Run history", "", *sentences])
    page = "\n\n".join(part for part in (traded.report.rstrip(), charts, history) if part)
    reporter.finish(artifact_key(name), f"{page}\n")


def artifact_key(session_id: str) -> str:
    """The session's name in the letters that an artifact's key may have."""
    return artifact_name(f"session-{session_id}")


def artifact_name(words: str) -> str:
    """Words in the letters that an artifact's key may have."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
