"""When a session is due, and what follows when it comes at another time.

A run that a schedule made is an appointment: it is for the exchange date of the time at which the schedule wanted it, whatever the
machine's zone is and whenever somebody takes it up. The one rule: a day is traded on that day or not at all.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from trading.bars import Timeframe
from trading.calendar import TradingCalendar
from trading.errors import AppointmentMissed, ConfigurationError, SessionOver, TooLate
from trading.settings import LatePolicy, SessionSettings
from trading.trading_hours import TradingHours


def appointed_date(exchange: str, scheduled_at: datetime, now: datetime) -> date:
    """The session's date that a schedule's run of ``scheduled_at`` is for, taken up at ``now`` (both aware).

    Raises ``ClosedDay`` where the exchange holds no session on that date, and ``AppointmentMissed`` where it is not today's there.
    ``ConfigurationError`` for an exchange that is not known, or whose sessions begin on the evening before their date.
    """
    if scheduled_at.tzinfo is None or now.tzinfo is None:
        raise ConfigurationError(
            f"The scheduled time {scheduled_at} or the time {now} has no time zone. Give both one."
        )
    calendar = TradingCalendar(exchange, scheduled_at.date())
    day = calendar.exchange_date(scheduled_at)
    hours = calendar.hours(day)
    if hours.local(hours.opens_at).date() != day:
        raise ConfigurationError(
            f"The session of {day.isoformat()} at {exchange} begins on the evening before, so that a schedule's date does not say which "
            "session is meant. Start it by hand with its session_date, or trade at an exchange whose sessions begin on their own day."
        )
    require_today(day, calendar.exchange_date(now), exchange, hours.local(scheduled_at))
    return day


def require_today(day: date, today: date, exchange: str, scheduled_at: datetime | None = None) -> None:
    """Raise ``AppointmentMissed`` where a run for ``day`` is taken up on another day of the exchange."""
    if day == today:
        return
    at = "" if scheduled_at is None else f", {scheduled_at:%H:%M}"
    run = (
        f"This run is for {day:%A} {day.isoformat()}{at} at {exchange}, and it is {today:%A} {today.isoformat()} there."
    )
    if day > today:
        raise AppointmentMissed(
            f"{run} Nothing was traded: start it on its day, or name a session_date to trade another one."
        )
    raise AppointmentMissed(
        f"{run} That day is over and is not traded any more. Nothing was traded now: look with 'openbell report {day.isoformat()}' at "
        "what was traded then, and compare the account with its broker ('openbell reconcile')."
    )


def require_time_left(now: datetime, hours: TradingHours, begun: bool) -> None:
    """Raise ``SessionOver`` where the session has closed by ``now``, unless it was ``begun`` and has to be brought to its end."""
    if now < hours.closes_at or begun:
        return
    raise SessionOver(
        f"The session of {hours.session_date.isoformat()} closed at {hours.local(hours.closes_at):%H:%M}, and it is "
        f"{hours.local(now):%H:%M} on {hours.local(now):%Y-%m-%d} at the exchange. Start the next one before its close."
    )


@dataclass(frozen=True, slots=True)
class LateStart:
    """A session that begins ``minutes`` after its opening bell, and what is set to follow."""

    policy: LatePolicy
    minutes: int
    reason: str

    @property
    def only_reduces(self) -> str:
        """Why the session takes no new risk; empty where it may."""
        return self.reason if self.policy is LatePolicy.REDUCE_ONLY else ""

    def require_welcome(self, session_id: str) -> None:
        """Raise ``TooLate`` where the session is to be refused."""
        if self.policy is LatePolicy.REFUSE:
            raise TooLate(
                f"Session {session_id} is not traded: {self.reason}, and session.late_policy is refuse. What the account holds is watched "
                "by nobody: look at it with 'openbell reconcile'. To trade the rest of the day set late_policy to \"trade\", or to "
                '"reduce_only" to close what is held.'
            )


@dataclass(frozen=True, slots=True)
class Punctuality:
    """From when on a session of bars of ``length`` begins late, and what follows then."""

    policy: LatePolicy
    after: timedelta
    length: timedelta

    @classmethod
    def of(cls, settings: SessionSettings) -> "Punctuality":
        """As it is set."""
        return cls(
            settings.late_policy,
            timedelta(minutes=float(settings.late_after_minutes)),
            Timeframe(settings.timeframe).length,
        )

    @property
    def allowed(self) -> timedelta:
        """How long after the bell a session may begin: until its first bar is over nothing was missed."""
        return max(self.after, self.length)

    def judge(self, since_bell: timedelta, hours: TradingHours) -> LateStart | None:
        """None for a session that begins ``since_bell`` after its opening bell (negative: before it) and is on time."""
        if since_bell <= self.allowed:
            return None
        minutes = since_bell // timedelta(minutes=1)
        bell = f"{hours.local(hours.opens_at):%H:%M}"
        return LateStart(self.policy, minutes, f"it begins {minutes} minutes after the opening bell of {bell}")
