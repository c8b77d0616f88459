"""One alert at the beginning of what goes wrong, one at its end, and none for what was expected."""

from datetime import UTC, datetime, timedelta

import pytest

from trading.interactive_brokers.episodes import Alert, EpisodeKind, Episodes

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
LOST, SILENT = EpisodeKind.LINE_LOST, EpisodeKind.DATA_SILENT


@pytest.fixture
def told() -> list[Alert]:
    return []


@pytest.fixture
def episodes(told: list[Alert]) -> Episodes:
    return Episodes(told.append)


def minutes(count: int) -> datetime:
    return NOW + timedelta(minutes=count)


def test_an_episode_is_told_once_however_often_it_shows(episodes: Episodes, told: list[Alert]) -> None:
    for count in range(50):
        episodes.begin(LOST, "The line is lost.", minutes(count))
    assert told == [Alert(LOST, "", "The line is lost.", NOW)]
    assert episodes.stands(LOST)


def test_its_end_is_told_once(episodes: Episodes, told: list[Alert]) -> None:
    episodes.begin(LOST, "The line is lost.", NOW)
    episodes.end(LOST, "It is back.", minutes(1))
    episodes.end(LOST, "It is back.", minutes(2))
    assert told[1:] == [Alert(LOST, "", "It is back.", minutes(1), is_over=True)]
    assert not episodes.stands(LOST)


def test_what_never_began_does_not_end(episodes: Episodes, told: list[Alert]) -> None:
    episodes.end(LOST, "It is back.", NOW)
    assert told == []


def test_an_episode_that_comes_again_is_told_again(episodes: Episodes, told: list[Alert]) -> None:
    for count in range(3):
        episodes.begin(LOST, "lost", minutes(2 * count))
        episodes.end(LOST, "back", minutes(2 * count + 1))
    assert [one.is_over for one in told] == [False, True] * 3


def test_kinds_and_subjects_are_told_apart(episodes: Episodes, told: list[Alert]) -> None:
    episodes.begin(SILENT, "no bars", NOW, "SPY")
    episodes.begin(SILENT, "no bars", NOW, "QQQ")
    episodes.begin(LOST, "lost", NOW)
    episodes.end(SILENT, "bars", NOW, "SPY")
    assert [(one.kind, one.subject, one.is_over) for one in told] == [
        (SILENT, "SPY", False),
        (SILENT, "QQQ", False),
        (LOST, "", False),
        (SILENT, "SPY", True),
    ]
    assert not episodes.stands(SILENT, "SPY")
    assert episodes.stands(SILENT, "QQQ")


def test_what_ends_within_a_restart_is_never_told(episodes: Episodes, told: list[Alert]) -> None:
    episodes.begin(LOST, "lost", NOW, quiet_until=minutes(15))
    episodes.look(minutes(14))
    episodes.end(LOST, "back", minutes(14))
    episodes.look(minutes(60))
    assert told == []


def test_what_outlasts_a_restart_is_told_once_with_the_time_at_which_it_began(
    episodes: Episodes, told: list[Alert]
) -> None:
    episodes.begin(LOST, "lost", NOW, quiet_until=minutes(15))
    for count in range(10, 30):
        episodes.begin(LOST, "lost", minutes(count), quiet_until=minutes(15))
        episodes.look(minutes(count))
    assert told == [Alert(LOST, "", "lost", NOW)]
    episodes.end(LOST, "back", minutes(30))
    assert [one.is_over for one in told] == [False, True]


def test_what_is_quiet_stands_all_the_same(episodes: Episodes) -> None:
    episodes.begin(LOST, "lost", NOW, quiet_until=minutes(15))
    assert episodes.stands(LOST)
