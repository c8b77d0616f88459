"""What a replay came to, in words and tables for people."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from trading.money import to_cents

_DAYS_ON_THE_PAGE = 66


def sentence_of(answer: Mapping[str, Any]) -> str:
    """The replay in a sentence or two."""
    if not answer["sessions"]:
        return f"Nothing of {answer['account']} is in {answer['db']}."
    traded = (
        f"{answer['strategy']} ({answer['policy']}) traded {answer['sessions']} sessions from {answer['first']} to {answer['last']}"
        f" and went from {_money(answer['starting_equity'])} to {_money(answer['equity'])}."
    )
    known = answer["sessions"] - answer["replayed"]
    before = f" {known} of them were replayed before and came out the same." if known else ""
    halted = (
        f" It was halted ({answer['reason']}): {answer['not_replayed']} sessions after that were not traded."
        if answer["state"] == "HALTED"
        else ""
    )
    return traded + before + halted


def page_of(answer: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """The replay as Markdown; ``pictures`` are put between the totals and the sessions."""
    synthetic = " (SYNTHETIC prices)" if answer["mode"] == "synthetic" else ""
    days = day_rows(answer)
    shown = days[-_DAYS_ON_THE_PAGE:]
    lines = [
        f"# Replay {answer['account']}{synthetic}",
        sentence_of(answer),
        _table(total_rows(answer)),
        *pictures,
        "## Sessions",
        _table(shown) if shown else "None.",
        *(
            [f"The newest {len(shown)} of {len(days)}; all are in the table `replay-sessions`."]
            if len(shown) < len(days)
            else []
        ),
        f"Ask for more: `select * from daily_pnl where account = '{answer['account']}'`.",
    ]
    return "\n\n".join(lines) + "\n"


def total_rows(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """The totals as one row for people."""
    rate = answer["win_rate"]
    return [
        {
            "sessions": f"{answer['sessions']:,}",
            "bars": f"{answer['bars']:,}",
            "orders": f"{answer['orders']:,}",
            "fills": f"{answer['fills']:,}",
            "round trips": f"{answer['trades']:,}",
            "won": "" if rate is None else f"{100 * rate:.1f} %",
            "realized P&L": _money(answer["realized_pnl"]),
            "commissions": _money(answer["commissions"]),
            "equity": _money(answer["equity"]),
            "deepest drawdown": _percent(answer["max_drawdown_fraction"]),
        }
    ]


def day_rows(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row for people per session."""
    return [
        {
            "session": day["session_date"].isoformat(),
            "orders": f"{day['orders']:,}",
            "fills": f"{day['fills']:,}",
            "round trips": f"{day['trades']:,}",
            "realized P&L": _money(day["realized_pnl"]),
            "commissions": _money(day["commissions"]),
            "equity": _money(day["equity"]),
            "drawdown": _percent(day["max_drawdown_fraction"]),
        }
        for day in answer["days"]
    ]


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[name] for name in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _money(amount: Decimal | int | None) -> str:
    return "" if amount is None else f"{to_cents(Decimal(amount)):,}"


def _percent(fraction: Decimal | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.2f} %"
