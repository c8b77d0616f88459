"""What happens on a stack, as lines: what is well is told plainly, what is not is marked, and what comes every few minutes is left out."""

from datetime import UTC, datetime
from typing import Any

import pytest

from deployments.stack.news import news_of

AT = "2026-01-05T14:30:00+00:00"


def run_event(state: str, message: str = "", tags: tuple[str, ...] = ("openbell", "session")) -> dict[str, Any]:
    return {
        "event": f"prefect.flow-run.{state}",
        "occurred": AT,
        "resource": {"prefect.resource.id": "prefect.flow-run.1", "prefect.resource.name": "2026-01-05 trend AAA"},
        "related": [
            {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow", "prefect.resource.name": "trading-session"},
            *({"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags),
        ],
        "payload": {"validated_state": {"type": state.upper(), "name": state, "message": message}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "words", "is_alarming"),
    [
        ("Running", "trading-session '2026-01-05 trend AAA': Running", False),
        ("ClosedDay", "trading-session '2026-01-05 trend AAA': ClosedDay. a holiday", False),
        ("Crashed", "trading-session '2026-01-05 trend AAA': Crashed. a holiday", True),
    ],
)
def test_a_run_is_told_by_its_flow_its_name_and_its_state(state: str, words: str, is_alarming: bool) -> None:
    news = news_of(run_event(state, "a holiday"))
    assert news is not None
    assert (news.words, news.is_alarming, news.at) == (words, is_alarming, datetime(2026, 1, 5, 14, 30, tzinfo=UTC))


def test_what_runs_every_few_minutes_is_news_when_it_fails_only() -> None:
    assert news_of(run_event("Completed", tags=("openbell", "watch"))) is None
    assert news_of(run_event("Failed", tags=("openbell", "watch"))) is not None


def test_an_event_of_trading_is_told_in_its_own_words_with_what_to_do() -> None:
    event = {
        "event": "openbell.health.disk",
        "occurred": AT,
        "resource": {"prefect.resource.id": "openbell.machine.desk"},
        "payload": {"message": "1 GB is left on the disk.", "remedy": "Make room."},
    }
    news = news_of(event)
    assert news is not None
    assert (news.words, news.is_alarming) == ("1 GB is left on the disk. Make room.", True)
    started = news_of({**event, "event": "openbell.session.started", "payload": {"message": "It is open."}})
    assert started is not None
    assert not started.is_alarming
