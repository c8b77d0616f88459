"""The report of a day: a page for each session of it, and one that says what is left of the day. From the ledger alone; no Prefect here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from storage.questions import sessions_on
from storage.session_curves import session_curves
from storage.store import Store
from storage.visit import read_from
from tasks.charts import session_charts
from tasks.closing_report import closing_report
from tasks.overnight import Overnight, overnight_lines, overnight_of
from tasks.unfinished_sessions import EndedSession
from trading.calendar import TradingCalendar
from trading.errors import ConfigurationError
from trading.money import ZERO, to_cents
from trading.replay_accounts import is_replay
from trading.sessions import SessionSummary
from trading.settings import Settings
from trading.trading_hours import TradingHours

_MOST_DAYS = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A session's page as Markdown, its summary, and what is left of its day."""

    strategy: str
    account: str
    summary: SessionSummary
    overnight: Overnight
    page: str


@dataclass(frozen=True, slots=True)
class DayReport:
    """One exchange date: its sessions' pages; ``not_traded`` says of strategies that should have traded why they did not."""

    hours: TradingHours
    pages: tuple[SessionPage, ...]
    not_traded: tuple[str, ...] = ()

    @property
    def day(self) -> date:
        return self.hours.session_date


def report_of_day(settings: Settings, hours: TradingHours) -> DayReport:
    """The day's sessions of the ledger, those of replays left out, in the order in which they were started."""
    if not settings.store.path.exists():
        return DayReport(hours, ())
    return read_from(settings.store.path, lambda store: DayReport(hours, tuple(_pages(store, hours))))


def day_page(report: DayReport, ended: Sequence[EndedSession] = ()) -> str:
    """The day as Markdown: one row for each session, what was left open, what was not traded, what had to be ended."""
    lines = [f"# {report.day:%A} {report.day.isoformat()}", sentence_of(report)]
    if report.pages:
        head = (
            "strategy",
            "account",
            "state",
            "orders",
            "fills",
            "realized P&L",
            "unrealized P&L",
            "commissions",
            "equity",
            "reason",
        )
        lines.append("\n".join(_row(row) for row in (head, ["---"] * len(head), *map(_cells, report.pages))))
    for page in report.pages:
        if not page.overnight.is_in_order:
            lines += [f"### {page.account}, {page.strategy}", *overnight_lines(page.overnight)[1:]]
    if report.not_traded:
        lines += ["## Not traded", *[f"- **{words}**" for words in report.not_traded]]
    if ended:
        lines += ["## Sessions that nobody closed", *[f"- **{one.message}** {one.remedy}" for one in ended]]
    return "\n\n".join(lines) + "\n"


def sentence_of(report: DayReport) -> str:
    """The day in a sentence."""
    if not report.pages:
        return f"No session was traded on {report.day.isoformat()}."
    left = sum(not page.overnight.is_in_order for page in report.pages)
    count = len(report.pages)
    sessions = f"{count} session{'' if count == 1 else 's'} on {report.day.isoformat()}"
    fills = sum(page.summary.fills for page in report.pages)
    earned = sum((page.summary.realized_pnl for page in report.pages), start=ZERO)
    rest = f"; of {left} something was left over that somebody should look at" if left else ""
    return f"{sessions}, {fills:,} fills, {to_cents(earned):,} realized{rest}."


def days_to_report(
    exchange: str, scheduled_at: datetime | None, now: datetime, first: date | None, last: date | None
) -> list[TradingHours]:
    """The sessions that are meant: those from ``first`` to ``last``, else that of the exchange's date at which it was scheduled, or the
    one before where that had not begun by then; else the newest that has begun by ``now``.

    Raises ``ClosedDay`` with the reason where there is none, ``ConfigurationError`` for days that do not go together.
    """
    if first is None and last is None:
        moment = scheduled_at or now
        calendar = TradingCalendar(exchange, moment.date())
        day = calendar.exchange_date(moment)
        is_session = calendar.is_session(day)
        if (is_session and calendar.hours(day).opens_at > moment) or (scheduled_at is None and not is_session):
            # Nothing of it can be told yet: it is an evening in New York, where a day in Asia is about to begin.
            day = calendar.previous_session_date(day)
        return [calendar.hours(day)]
    begins, ends = first or last, last or first
    assert begins is not None
    assert ends is not None
    if ends < begins or ends - begins > _MOST_DAYS:
        raise ConfigurationError(
            f"{begins} to {ends} is no range of days to report: the later day comes last, at most {_MOST_DAYS.days} days after the first."
        )
    calendar = TradingCalendar(exchange, ends)
    return calendar.sessions_between(begins, ends) or [calendar.hours(begins)]


def days_before(exchange: str, day: date, days: int) -> list[TradingHours]:
    """The sessions of so many days before ``day``."""
    return (
        TradingCalendar(exchange, day).sessions_between(day - timedelta(days=days), day - timedelta(days=1))
        if days
        else []
    )


def _pages(store: Store, hours: TradingHours) -> list[SessionPage]:
    pages = []
    for record in sessions_on(store, hours.session_date):
        if is_replay(record.account):
            continue
        summary, left = store.ledger.summary(record.session_id), overnight_of(store, record)
        parts = [
            closing_report(store, hours, summary).rstrip(),
            session_charts(session_curves(store, record.session_id), hours.zone),
        ]
        page = "\n\n".join(part for part in parts if part) + "\n"
        pages.append(SessionPage(record.strategy, record.account, summary, left, page))
    return pages


def _cells(page: SessionPage) -> list[str]:
    summary = page.summary
    money = (summary.realized_pnl, summary.unrealized_pnl, summary.commissions, summary.equity)
    return [
        page.strategy,
        page.account,
        str(summary.state),
        f"{summary.orders:,}",
        f"{summary.fills:,}",
        *(f"{to_cents(amount):,}" for amount in money),
        summary.reason,
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
