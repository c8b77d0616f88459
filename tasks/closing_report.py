"""The closing report of a session as Markdown: what was traded, what was refused and why, what did not reconcile."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from storage.questions import discrepancies_of, findings_of, order_counts, rules_that_spoke, trades_of, undecided_of
from storage.store import Store
from tasks.dry_run_copies import is_dry_run
from tasks.overnight import overnight_lines, overnight_of
from trading.money import to_cents
from trading.sessions import Mode, SessionState, SessionSummary
from trading.trading_hours import TradingHours

_TRADES_SHOWN = 50


def closing_report(store: Store, hours: TradingHours, summary: SessionSummary) -> str:
    """One page for the Prefect UI, from the ledger alone; times are the exchange's."""
    synthetic = " (SYNTHETIC prices)" if summary.mode is Mode.SYNTHETIC else ""
    lines = [
        f"# {'Dry run: session' if is_dry_run(store.path) else 'Session'} {summary.session_date.isoformat()}{synthetic}",
        f"`{summary.session_id}` {_ended(summary)} **{summary.state}**{f': {summary.reason}' if summary.reason else ''}.",
        *[f"- **{note}**" for note in summary.notes],
        *_table(
            ("bars", "decisions", "orders", "fills", "realized P&L", "unrealized P&L", "commissions", "equity"),
            [
                (
                    summary.bars,
                    summary.decisions,
                    _orders(store, summary),
                    summary.fills,
                    _money(summary.realized_pnl),
                    _money(summary.unrealized_pnl),
                    _money(summary.commissions),
                    _money(summary.equity),
                )
            ],
        ),
        *_traded(store, hours, summary),
        *_undecided(store, summary),
        *_section(
            "What risk did",
            ("rule", "verdict", "times", "newest reason"),
            [
                (spoken.rule, spoken.verdict, spoken.count, spoken.newest_reason)
                for spoken in rules_that_spoke(store, summary.session_id)
            ],
            "Risk had nothing to say.",
        ),
        *_section(
            "Found in the bars",
            ("symbol", "finding", "action", "times", "first"),
            [
                (found.symbol, found.finding, found.action, found.count, found.first_detail)
                for found in findings_of(store, summary.session_id)
            ],
            "Nothing was wrong with the bars.",
        ),
        *_section(
            "Did not reconcile",
            ("when", "what", "ledger", "broker", "proposed repair"),
            [
                (
                    seen.stage,
                    f"{seen.discrepancy.kind} {seen.discrepancy.subject}",
                    seen.discrepancy.ours,
                    seen.discrepancy.brokers,
                    seen.discrepancy.proposed_repair,
                )
                for seen in discrepancies_of(store, summary.session_id)
            ],
            "Ledger and broker agree.",
        ),
        *_left(store, summary),
    ]
    return "\n\n".join(lines) + "\n"


def _left(store: Store, summary: SessionSummary) -> list[str]:
    record = store.ledger.find_session(summary.session_id)
    return [] if record is None else overnight_lines(overnight_of(store, record))


def _ended(summary: SessionSummary) -> str:
    return "is" if summary.state is SessionState.RUNNING else "ended"


def _undecided(store: Store, summary: SessionSummary) -> list[str]:
    """Only where there is anything: most policies always decide."""
    found = [(one.symbol, one.what, one.count, one.newest_reason) for one in undecided_of(store, summary.session_id)]
    return _section("The policy", ("symbol", "decisions that", "times", "newest reason"), found, "") if found else []


def _orders(store: Store, summary: SessionSummary) -> str:
    counts = order_counts(store, summary.session_id)
    return f"{summary.orders} ({', '.join(f'{count} {status.lower()}' for status, count in counts.items())})"


def _traded(store: Store, hours: TradingHours, summary: SessionSummary) -> list[str]:
    trades = trades_of(store, summary.session_id)
    shown = trades[-_TRADES_SHOWN:]
    section = _section(
        "Traded",
        ("symbol", "direction", "shares", "in", "at", "out", "at", "net P&L"),
        [
            (
                trade.symbol,
                trade.direction,
                trade.quantity,
                f"{hours.local(trade.entry_time):%m-%d %H:%M}",
                _money(trade.entry_price),
                f"{hours.local(trade.exit_time):%m-%d %H:%M}",
                _money(trade.exit_price),
                _money(trade.realized_pnl),
            )
            for trade in shown
        ],
        "No round trip was closed.",
    )
    return section if len(shown) == len(trades) else [*section, f"The newest {len(shown)} of {len(trades)}."]


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> list[str]:
    return [f"## {title}", *(_table(columns, rows) if rows else [nothing])]


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [_row(columns), _row(["---"] * len(columns)), *(_row(row) for row in rows)]
    return ["\n".join(lines)]


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _money(amount: Decimal) -> str:
    return f"{to_cents(amount):,}"
