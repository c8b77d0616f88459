"""When the gateway restarts by itself: every night for some minutes, and on Sunday longer, because a person has to log in.

Shortly before nothing new is sent, during it a lost line is expected and nobody is woken; afterwards everything is
compared with the broker, as after any other loss.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from trading.ib_settings import IbSettings

_SUNDAY = 6


@dataclass(frozen=True, slots=True)
class RestartWindow:
    """One restart: no new orders from ``quiet_from``, back by ``back_by`` at the latest. UTC."""

    quiet_from: datetime
    starts_at: datetime
    back_by: datetime
    is_weekly: bool


def window_around(at: datetime, settings: IbSettings) -> RestartWindow | None:
    """The restart that is near or under way at ``at`` (the server's time, aware); None where there is none."""
    if settings.restart_at is None:
        return None
    zone = ZoneInfo(settings.timezone)
    local = at.astimezone(zone)
    # A window that began yesterday may last into today, a weekly one longer than a day.
    for days in range(3, -2, -1):
        window = _window(local - timedelta(days=days), settings.restart_at, zone, settings)
        if window.quiet_from <= at < window.back_by:
            return window
    return None


def _window(day: datetime, restart_at: time, zone: ZoneInfo, settings: IbSettings) -> RestartWindow:
    local = datetime.combine(day.date(), restart_at, zone)
    # The night to Sunday: a restart late on Saturday, or early on Sunday.
    is_weekly = (local + timedelta(hours=6)).weekday() == _SUNDAY
    # Minutes are counted in UTC: they are no more and no fewer in a night in which the clocks are changed.
    starts = local.astimezone(UTC)
    minutes = settings.weekly_restart_minutes if is_weekly else settings.restart_minutes
    return RestartWindow(
        starts - timedelta(minutes=settings.quiet_before_restart_minutes),
        starts,
        starts + timedelta(minutes=minutes),
        is_weekly,
    )
