"""The times of prefect.yaml at other exchanges, and where they stay as they are written."""

from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from deployments.publishing.deployments_document import read_deployments_document
from deployments.publishing.exchange_times import at_exchange
from deployments.publishing.house import deployments_file, is_ours
from deployments.publishing.planned import PlannedDeployment, plan, planned_of
from trading.calendar import TradingCalendar
from trading.settings import Settings
from trading.strategies import ScheduleSettings, Strategy

HOUSE = Path(__file__).parents[3]
DAY = date(2026, 11, 27)
"""A half day in New York: the times hang on regular ones."""


@pytest.fixture(scope="module")
def deployments() -> list[PlannedDeployment]:
    return planned_of(
        read_deployments_document(HOUSE / "prefect.yaml", {"OPENBELL_HOME": "/srv", "OPENBELL_VERSION": "1"})
    )


def crons(planned: list[PlannedDeployment]) -> dict[str, tuple[str, str]]:
    return {one.name: (said["cron"], said["timezone"]) for one in planned for said in one.schedules}


def test_in_new_york_they_are_those_that_are_written(deployments: list[PlannedDeployment]) -> None:
    assert crons(plan(deployments, Settings(), (), DAY)) == crons(deployments)


@pytest.mark.parametrize("exchange", ["XLON", "XTKS", "XHKG", "XASX", "XETR", "XNAS"])
def test_elsewhere_a_session_starts_a_quarter_of_an_hour_before_its_bell_and_is_looked_at_until_it_is_over(
    deployments: list[PlannedDeployment], exchange: str
) -> None:
    moved = crons(plan(deployments, Settings.model_validate({"session": {"exchange": exchange}}), (), DAY))
    hours = TradingCalendar(exchange, DAY).sessions_between(date(2026, 11, 16), date(2026, 11, 16))[0]

    def at(name: str) -> datetime:
        (minute, hour, *_), zone = moved[name][0].split(), moved[name][1]
        return datetime(2026, 11, 16, int(hour), int(minute), tzinfo=ZoneInfo(zone))

    assert at("session") == hours.opens_at - timedelta(minutes=15)
    assert at("end-of-day-report") == hours.closes_at + timedelta(minutes=20)
    assert at("reconciliation") == hours.closes_at + timedelta(minutes=90)
    assert at("housekeeping") > hours.closes_at
    (every, looks, *_), zone = moved["health-check"][0].split(), moved["health-check"][1]
    first, last = map(int, looks.split("-"))
    assert every == "*/5"
    begins, ends = (
        datetime(2026, 11, 16, hour, minute, tzinfo=ZoneInfo(zone)) for hour, minute in ((first, 0), (last, 59))
    )
    assert begins <= hours.opens_at - timedelta(minutes=15)
    assert ends >= hours.closes_at + timedelta(minutes=20)


def test_what_a_strategy_sets_comes_before_it_and_is_meant_in_its_exchanges_zone(
    deployments: list[PlannedDeployment],
) -> None:
    tokyo = Settings.model_validate({"session": {"exchange": "XTKS", "strategy": "tokyo"}})
    new_york = Settings.model_validate({"session": {"strategy": "trend"}})
    strategies = [
        Strategy("tokyo", tokyo, ScheduleSettings(cron="50 8 * * 1-5")),
        Strategy("trend", new_york, ScheduleSettings(active=False)),
    ]
    moved = crons(plan(deployments, Settings(), strategies, DAY))
    assert moved["tokyo"] == ("50 8 * * 1-5", "Asia/Tokyo")
    assert moved["end-of-day-report-tokyo"] == ("50 15 * * 1-5", "Asia/Tokyo")
    assert moved["trend"] == ("15 9 * * 1-5", "America/New_York")


@pytest.mark.parametrize(
    ("schedule", "exchange"),
    [
        ({"cron": "15 9 * * 1-5", "timezone": "Europe/London"}, "XTKS"),  # somebody's own zone
        ({"cron": "15 9 * * 1-5", "timezone": "America/New_York"}, "CMES"),  # its sessions begin on the evening before
        ({"cron": "15 9-11 * * 1-5", "timezone": "America/New_York"}, "XTKS"),
        ({"cron": "15 9 1 * *", "timezone": "America/New_York"}, "XTKS"),
        ({"interval": 300, "timezone": "America/New_York"}, "XTKS"),
    ],
)
def test_what_does_not_hang_on_a_bell_stays_as_it_is(schedule: dict[str, object], exchange: str) -> None:
    assert at_exchange(schedule, exchange, DAY) == schedule


def test_a_file_that_a_person_wrote_keeps_its_times(tmp_path: Path) -> None:
    assert is_ours(deployments_file(tmp_path))
    (tmp_path / "prefect.yaml").write_text("deployments: []\n")
    assert not is_ours(deployments_file(tmp_path))
