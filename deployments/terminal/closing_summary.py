"""The end of a session as a person reads it: what came of it, what was refused and why, and what to ask next."""

from collections.abc import Iterator, Mapping

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deployments.terminal.answer import screen
from deployments.terminal.closing_facts import ClosingFacts
from deployments.terminal.money_text import gain, money, price
from tasks.overnight import overnight_lines
from trading.sessions import Mode, SessionState, SessionSummary

_TRADES_SHOWN = 5
_GROUPS_SHOWN = 6
_WIDEST = 100
_STATE_STYLE = {
    SessionState.COMPLETED: "bold green",
    SessionState.STOPPED: "bold yellow",
    SessionState.REFUSED: "bold red",
    SessionState.RUNNING: "bold blue",
}


def show_closing_summary(facts: ClosingFacts) -> None:
    """Print the session on stdout."""
    console = screen()
    width = min(console.width, _WIDEST)
    console.print(Panel(_headline_figures(facts), title=_title(facts), title_align="left", width=width))
    for heading, body in _sections(facts):
        console.print(Text(heading, style="bold"))
        console.print(Padding(body, (0, 0, 1, 2)), width=width)
    _show_next_steps(console, facts.summary)


def _title(facts: ClosingFacts) -> Text:
    summary = facts.summary
    title = Text.assemble(f"{summary.session_date:%a} {summary.session_date.isoformat()}  ")
    title.append(summary.state.value, style=_STATE_STYLE[summary.state])
    if facts.is_halted:
        title.append("  HALTED", style="bold red")
    elif summary.halted:
        title.append("  WAS HALTED", style="yellow")
    if facts.is_dry_run:
        title.append("  DRY RUN", style="bold cyan")
    title.append("  ")
    title.append(summary.mode.value.upper(), style="bold black on yellow" if summary.mode is Mode.SYNTHETIC else "")
    return title


def _newest(facts: ClosingFacts) -> str:
    """The bar that a session which is not over has come to, on the exchange's wall."""
    at = facts.record.last_bar_time
    if at is None or facts.summary.state is SessionState.COMPLETED:
        return ""
    return f", the newest {facts.hours.local(at):%H:%M}"


def _headline_figures(facts: ClosingFacts) -> RenderableType:
    summary = facts.summary
    pnl = Table.grid(padding=(0, 2))
    pnl.add_column(style="dim")
    pnl.add_column(justify="right")
    pnl.add_row("Realized P&L", gain(summary.realized_pnl))
    pnl.add_row("Unrealized P&L", gain(summary.unrealized_pnl))
    pnl.add_row("Commissions", money(summary.commissions))
    pnl.add_row("Equity", Text(money(summary.equity), style="bold"))
    counts = Table.grid(padding=(0, 2))
    counts.add_column(style="dim")
    counts.add_column()
    counts.add_row(
        "Bars", f"{summary.bars} of {facts.hours.bar_count(facts.settings.session.timeframe)}{_newest(facts)}"
    )
    counts.add_row("Decisions", f"{summary.decisions:,}")
    counts.add_row("Orders", _orders(summary.orders, facts.orders))
    counts.add_row("Fills", f"{summary.fills:,}")
    figures = Table.grid(padding=(0, 6))
    figures.add_row(pnl, counts)
    about = Table.grid(padding=(0, 2))
    about.add_column(style="dim")
    about.add_column()
    about.add_row("Session", Text(summary.session_id, overflow="fold"))
    about.add_row("Policy", Text(facts.record.policy_fingerprint, overflow="fold"))
    about.add_row("Symbols", _shortened(facts.settings.session.symbols))
    if facts.is_dry_run:
        orders = f"{facts.not_sent:,} order{'' if facts.not_sent == 1 else 's'}"
        about.add_row("Dry run", f"{orders} would have been sent; nothing was, and the ledger is as it was")
    if summary.mode is Mode.SYNTHETIC:
        about.add_row("Prices", "SYNTHETIC: an invented market, nothing here was ever quoted")
    if summary.reason:
        about.add_row("Reason", summary.reason)
    for note in summary.notes:
        about.add_row("Note", note)
    return Group(about, Text(), figures)


def _orders(total: int, by_status: Mapping[str, int]) -> str:
    if not total:
        return "0"
    return f"{total:,} ({', '.join(f'{count:,} {status.lower()}' for status, count in by_status.items())})"


def _shortened(symbols: tuple[str, ...]) -> str:
    return " ".join(symbols[:8]) + (f" and {len(symbols) - 8} more" if len(symbols) > 8 else "")


def _sections(facts: ClosingFacts) -> Iterator[tuple[str, RenderableType]]:
    if facts.trades:
        left_out = len(facts.trades) - _TRADES_SHOWN
        yield (
            f"Trades closed: {len(facts.trades)}{f', the last {_TRADES_SHOWN}' if left_out > 0 else ''}",
            _trades(facts),
        )
    if facts.undecided:
        undecided = [(f"{one.count:,} x", f"{one.symbol} {one.what}", one.newest_reason) for one in facts.undecided]
        yield "What the policy did not decide, with the newest reason", _groups(undecided)
    if facts.rules:
        rules = [
            (f"{rule.count:,} x", rule.verdict.lower(), f"{rule.rule}: {rule.newest_reason}") for rule in facts.rules
        ]
        yield "What risk did, with the newest reason", _groups(rules)
    if facts.findings:
        findings = [
            (
                f"{found.count:,} x",
                f"{found.symbol} {found.finding}",
                f"{_done(found.action)}; first: {found.first_detail}",
            )
            for found in facts.findings
        ]
        yield "What was odd about the bars", _groups(findings)
    if facts.summary.state is SessionState.RUNNING:
        # Its day is not over: nothing is left of it yet.
        if facts.overnight.positions:
            yield (
                "Held",
                Text(", ".join(f"{symbol} {shares:,}" for symbol, shares in facts.overnight.positions.items())),
            )
    elif facts.overnight.positions or facts.overnight.unexplained:
        lines = overnight_lines(facts.overnight)[1:]
        yield "Left overnight", Text("\n".join(line.replace("**", "").replace("`", "") for line in lines))
    if facts.discrepancies:
        yield (
            "Ledger and broker disagree",
            _groups(
                [
                    (
                        seen.stage,
                        f"{seen.discrepancy.kind} {seen.discrepancy.subject}",
                        f"ledger {seen.discrepancy.ours}, broker {seen.discrepancy.brokers}; {seen.discrepancy.proposed_repair}",
                    )
                    for seen in facts.discrepancies
                ]
            ),
        )


def _trades(facts: ClosingFacts) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("Symbol", "", "Shares", "In", "at", "Out", "at", "P&L"):
        table.add_column(name, justify="left" if name in ("Symbol", "", "In", "Out") else "right", no_wrap=True)
    for trade in facts.trades[-_TRADES_SHOWN:]:
        entered = facts.hours.local(trade.entry_time)
        same_day = entered.date() == facts.hours.session_date
        table.add_row(
            trade.symbol,
            trade.direction.lower(),
            f"{trade.quantity:,}",
            f"{entered:%H:%M}" if same_day else f"{entered:%Y-%m-%d}",
            price(trade.entry_price),
            f"{facts.hours.local(trade.exit_time):%H:%M}",
            price(trade.exit_price),
            gain(trade.realized_pnl),
        )
    return table


def _groups(rows: list[tuple[str, str, str]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for row in rows[:_GROUPS_SHOWN]:
        table.add_row(*row)
    if len(rows) > _GROUPS_SHOWN:
        table.add_row("", f"and {len(rows) - _GROUPS_SHOWN} more kinds", "")
    return table


def _done(action: str) -> str:
    return {"drop": "dropped", "warn": "kept", "refuse": "session refused"}.get(action, action)


def _show_next_steps(console: Console, summary: SessionSummary) -> None:
    db = "" if summary.db == "openbell.duckdb" else f" --db {summary.db}"
    console.print(Text("Ask next", style="bold"))
    for command in (
        f'openbell sql{db} "select * from trades order by exit_time"',
        f'openbell sql{db} "select * from daily_pnl"',
        f"openbell report{db} {summary.session_date.isoformat()}",
    ):
        console.print(Text(f"  {command}"), soft_wrap=True)
