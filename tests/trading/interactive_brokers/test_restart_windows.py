"""When the gateway restarts by itself: nights, Sundays, and nights in which the clocks are changed. Times by hand."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from trading.ib_settings import IbSettings
from trading.interactive_brokers.restart_windows import window_around

NEW_YORK = ZoneInfo("America/New_York")


def settings(at: str = "23:45", zone: str = "America/New_York", **more: object) -> IbSettings:
    return IbSettings.model_validate({"restart_at": at, "timezone": zone, **more})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "is_quiet"),
    [
        # Tuesday 23:45 in New York is 04:45 UTC on Wednesday in winter; quiet from 23:43 to midnight.
        ("2026-01-07T04:42:59", False),
        ("2026-01-07T04:43:00", True),
        ("2026-01-07T04:45:00", True),
        ("2026-01-07T04:59:59", True),
        ("2026-01-07T05:00:00", False),
        ("2026-01-07T14:30:00", False),
        # In summer it is an hour earlier.
        ("2026-07-08T03:43:00", True),
        ("2026-07-08T04:45:00", False),
    ],
)
def test_a_night_is_quiet_from_shortly_before_the_restart_until_it_should_be_over(at: str, is_quiet: bool) -> None:
    assert (window_around(utc(at), settings()) is not None) is is_quiet


def test_the_zone_of_the_asked_time_makes_no_difference() -> None:
    at = utc("2026-01-07T04:50:00")
    windows = {window_around(at.astimezone(ZoneInfo(zone)), settings()) for zone in ("UTC", "Asia/Tokyo", "US/Eastern")}
    assert len(windows) == 1
    assert None not in windows


@pytest.mark.parametrize(
    ("at", "is_weekly"),
    [
        ("2026-01-07T04:45:00", False),  # Tuesday night
        ("2026-01-10T04:45:00", False),  # Friday night
        ("2026-01-11T04:45:00", True),  # Saturday night: the weekly login follows
        ("2026-01-11T12:00:00", True),  # Sunday 07:00 in New York
        ("2026-01-12T04:45:00", False),  # Sunday night
    ],
)
def test_the_night_to_sunday_is_the_weekly_one(at: str, is_weekly: bool) -> None:
    window = window_around(utc(at), settings())
    assert window is not None
    assert window.is_weekly is is_weekly


def test_the_weekly_window_lasts_into_sunday() -> None:
    # Saturday 23:45 and twelve hours: 11:45 on Sunday in New York, 16:45 UTC.
    assert window_around(utc("2026-01-11T16:44:59"), settings()) is not None
    assert window_around(utc("2026-01-11T16:45:00"), settings()) is None


def test_a_restart_early_on_sunday_is_weekly_too() -> None:
    window = window_around(utc("2026-01-11T06:05:00"), settings("01:00"))
    assert window is not None
    assert window.is_weekly


def test_a_window_that_is_longer_than_a_day_is_found_on_its_second_day() -> None:
    # Saturday 23:45 and 40 hours: Monday 15:45 in New York.
    window = window_around(utc("2026-01-12T20:00:00"), settings(weekly_restart_minutes=2_400))
    assert window is not None
    assert window.is_weekly


def test_shortly_before_a_restart_at_midnight_is_the_evening_before() -> None:
    window = window_around(utc("2026-01-07T04:59:00"), settings("00:00"))
    assert window is not None
    assert window.starts_at == utc("2026-01-07T05:00:00")


def test_without_a_restart_nothing_is_quiet() -> None:
    assert window_around(utc("2026-01-07T04:45:00"), settings("off")) is None


@pytest.mark.parametrize(
    ("at", "starts", "back_by"),
    [
        # 2026-03-08: from 02:00 New York goes to 03:00. A restart at 01:55 is at 06:55 UTC, and over at 07:10.
        ("01:55", "2026-03-08T06:55:00", "2026-03-08T07:10:00"),
        # 02:30 is not there that night: it is taken as it would have been without the change.
        ("02:30", "2026-03-08T07:30:00", "2026-03-08T07:45:00"),
        # 2026-11-01: from 02:00 back to 01:00. 01:50 comes twice; the first is 05:50 UTC.
        ("01:50", "2026-11-01T05:50:00", "2026-11-01T06:05:00"),
    ],
)
def test_a_restart_lasts_as_long_as_ever_when_the_clocks_are_changed(at: str, starts: str, back_by: str) -> None:
    nightly = settings(at, weekly_restart_minutes=15)
    window = window_around(utc(starts), nightly)
    assert window is not None
    assert (window.starts_at, window.back_by) == (utc(starts), utc(back_by))
    assert window.quiet_from == utc(starts) - timedelta(minutes=2)
    assert window_around(utc(back_by), nightly) is None


def test_a_weekly_window_is_no_shorter_for_a_change_of_the_clocks() -> None:
    # Saturday 2026-03-07 23:45 in New York is 04:45 UTC; twelve hours later it is 12:45 there and 16:45 UTC.
    window = window_around(utc("2026-03-08T06:00:00"), settings())
    assert window is not None
    assert window.back_by == utc("2026-03-08T16:45:00")
    assert window.back_by.astimezone(NEW_YORK).hour == 12


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe"])
def test_there_is_one_window_on_every_day_of_a_year(zone: str) -> None:
    """Asked more often than a window is long, none is missed, doubled or of another length."""
    chosen = settings("00:10", zone, weekly_restart_minutes=15)
    at, end, seen = utc("2026-01-01T12:00:00"), utc("2027-01-01T12:00:00"), set()
    while at < end:
        window = window_around(at, chosen)
        if window is None:
            at += timedelta(minutes=16)
        else:
            assert window.back_by - window.quiet_from == timedelta(minutes=17)
            seen.add(window.starts_at)
            at = window.back_by
    assert len(seen) == 365
