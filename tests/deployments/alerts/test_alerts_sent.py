"""From what happens to what a person reads: real events and states on a real server, received by a webhook and by mail."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.events import emit_event
from prefect.states import Completed, Crashed, Failed, Running

from deployments.alerts.applying import apply_alerts
from deployments.terminal.app import run
from tasks.session_events import SessionEvents
from trading.alert_settings import AlertSettings
from trading.risk_events import RiskEvent, RiskEventKind

SHORT = AlertSettings.model_validate({"not_started_minutes": "0.2", "no_heartbeat_minutes": "0.2"})
NOW = datetime.now(UTC)
ONCE = uuid4().hex[:6]
"""Names of this run of the tests: the server is shared."""

pytestmark = pytest.mark.usefixtures("happened")


@dataclass(frozen=True, slots=True)
class Receivers:
    webhook: Any
    mail: Any

    def environment(self) -> dict[str, str]:
        return {
            "OPENBELL_ALERT_WEBHOOK_URL": self.webhook.address,
            "OPENBELL_ALERT_SMTP_URL": f"smtp+plain://127.0.0.1:{self.mail.port}",
            "OPENBELL_ALERT_EMAIL_FROM": "openbell@desk.test",
            "OPENBELL_ALERT_EMAIL_TO": "a@desk.test, b@desk.test",
        }


@pytest.fixture(scope="module")
def receivers(webhook_receiver: Callable[[], Any], mail_server: Callable[[], Any]) -> Iterator[Receivers]:
    with webhook_receiver() as webhook, mail_server() as mail:
        yield Receivers(webhook, mail)


@pytest.fixture(scope="module")
def happened(no_alerts: Callable[[], None], receivers: Receivers) -> dict[str, str]:
    """Everything goes wrong at once, so that the tests wait for it together; the ids of the runs by what became of them."""
    no_alerts()
    apply_alerts(SHORT, {"sma": Path("sma.duckdb")}, receivers.environment())
    states: dict[str, State[Any]] = {
        "failed": Failed(message="the data is not fit"),
        "crashed": Crashed(message="exit code 137"),
        "late": State(type=StateType.SCHEDULED, name="Late"),
        "silent": Running(),
        "over": Completed(),
        "stopped in doubt": Failed(name="Alarm", message="SPY 100 is left"),
    }
    runs: dict[str, str] = {}
    with get_client(sync_client=True) as client:
        for name, state in states.items():
            tag = "operator" if name == "stopped in doubt" else "session"
            flow = client.create_flow_from_name(f"alerted-{ONCE}")
            deployment = client.create_deployment(flow, name=name.replace(" ", "-"), tags=[tag])
            made = client.create_flow_run_from_deployment(deployment, name=f"{name} {ONCE}")
            client.set_flow_run_state(made.id, state, force=True)
            runs[name] = str(made.id)
    # The heartbeat of a run that was over in no time comes after its end.
    for name in ("silent", "over"):
        emit_event(
            "prefect.flow-run.heartbeat",
            {"prefect.resource.id": f"prefect.flow-run.{runs[name]}", "prefect.resource.name": f"{name} {ONCE}"},
            related=[{"prefect.resource.id": "prefect.tag.session", "prefect.resource.role": "tag"}],
        )
    # A burst an hour ago, one more within its window, and one after it.
    for minute in (*(61 + number / 100 for number in range(50, 0, -1)), 30, 0):
        told("openbell.risk.halted", f"halted-{ONCE}", f"lost, {minute:g} minutes ago", NOW - timedelta(minutes=minute))
    emit_event(
        "prefect.work-pool.not-ready",
        {"prefect.resource.id": f"prefect.work-pool.{uuid4()}", "prefect.resource.name": f"openbell-left-{ONCE}"},
    )
    told("openbell.risk.emergency_stop", f"another-{ONCE}", "a person stopped it")
    told("openbell.discrepancy", f"differs-{ONCE}", "SPY: 100 here, 90 there.", remedy="Ask the broker.")
    told("openbell.health.disk", f"machine-{ONCE}", "1.2 GB are left.", remedy="Make room.")
    for over in (True, False):
        facts = {"episode": "line_lost", "subject": "gateway", "is_over": over}
        words = f"back again {ONCE}" if over else "the line is lost"
        SessionEvents(uuid4(), f"line-{ONCE}").risk(
            RiskEvent(RiskEventKind.BROKER_LINE, f"line-{ONCE}", NOW, words, facts=facts)
        )
    return runs


def told(event: str, subject: str, message: str, occurred: datetime | None = None, remedy: str | None = None) -> None:
    emit_event(
        event,
        {"prefect.resource.id": f"openbell.session.{subject}", "prefect.resource.name": subject},
        occurred=occurred or datetime.now(UTC),
        payload={"message": message, **({"remedy": remedy} if remedy else {})},
    )


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (
            f"session failed: failed {ONCE}",
            ("ended as Failed: the data is not fit", "openbell reconcile", "#session-failed"),
        ),
        (f"session crashed: crashed {ONCE}", ("exit code 137", "openbell flatten", "#session-crashed")),
        (f"session late: late {ONCE}", ("no worker has taken it", "openbell up", "#session-late")),
        (f"session not started: late {ONCE}", ("still does not run", "#session-not-started")),
        (f"no heartbeat: silent {ONCE}", ("marked as crashed", "#no-heartbeat")),
        (f"no worker: openbell-left-{ONCE}", ("halt, flatten and reconcile work without one", "#no-worker")),
        (f"failed: stopped in doubt {ONCE}", ("ended as Alarm: SPY 100 is left", "openbell.duckdb.halt")),
        (f"discrepancy: differs-{ONCE}", ("SPY: 100 here, 90 there. Ask the broker.", "#discrepancy")),
        ("disk nearly full: 1.2 GB are left.", ("Make room.", "#disk-full")),
        (f"broker line: line-{ONCE}", ("the line is lost", "#broker-line")),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_what_goes_wrong_is_told_with_what_to_do(
    subject: str, words: tuple[str, ...], receivers: Receivers, waiting: Callable[..., Any]
) -> None:
    def received() -> list[dict[str, Any]]:
        return [one for one in receivers.webhook.messages if one["subject"] == f"openbell: {subject}"]

    waiting(received, subject)
    [message] = received()
    assert [word for word in words if word not in message["text"]] == []
    assert "Strategies that are scheduled here: sma." in message["text"]


def test_a_run_that_had_ended_is_not_said_to_be_silent(
    happened: dict[str, str], receivers: Receivers, waiting: Callable[..., Any]
) -> None:
    def refused() -> int:
        body = {
            "filter": {
                "event": {"name": ["prefect.automation.action.failed"]},
                "related": {"id": [f"prefect.flow-run.{happened['over']}"]},
            }
        }
        with get_client(sync_client=True) as client:
            return int(client.request("POST", "/events/filter", json=body).json()["total"])

    waiting(refused, "the server refuses to mark it")
    waiting(lambda: receivers.webhook.about(f"no heartbeat: silent {ONCE}"), "the one that was silent")
    assert receivers.webhook.about(f"no heartbeat: over {ONCE}") == []


def test_a_silent_run_is_marked_as_crashed_and_told_once(
    happened: dict[str, str], receivers: Receivers, waiting: Callable[..., Any]
) -> None:
    def crashed() -> bool:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(happened["silent"]).state  # type: ignore[arg-type]
            return state is not None and state.is_crashed()

    waiting(crashed, "the silent run is crashed")
    waiting(lambda: receivers.webhook.about(f"silent {ONCE}"), "the message")
    assert receivers.webhook.about("session crashed", f"silent {ONCE}") == []


def test_a_burst_of_halts_is_one_message_and_another_after_its_window(
    receivers: Receivers, waiting: Callable[..., Any]
) -> None:
    def halts() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = receivers.webhook.about(f"halted: halted-{ONCE}")
        return found

    waiting(lambda: len(halts()) == 2, "two messages")
    # Everything that was emitted before has been judged once this has come.
    waiting(lambda: receivers.webhook.about(f"halted: another-{ONCE}"), "the halt of another session")
    first, second = halts()
    assert "lost, 61." in first["text"]
    assert "lost, 0 minutes ago" in second["text"]


def test_trouble_that_is_over_is_not_told(receivers: Receivers, waiting: Callable[..., Any]) -> None:
    waiting(lambda: receivers.webhook.about(f"line-{ONCE}"), "the trouble")
    assert receivers.webhook.about(f"back again {ONCE}") == []


def test_the_same_words_come_by_mail(receivers: Receivers, waiting: Callable[..., Any]) -> None:
    def mails() -> list[Any]:
        return [one for one in receivers.mail.mails if one["subject"] == f"openbell: session failed: failed {ONCE}"]

    [mail] = waiting(mails, "the mail")
    assert mail["to"] == "a@desk.test, b@desk.test"
    assert "ended as Failed: the data is not fit" in mail.get_content()
    assert "openbell reconcile" in mail.get_content()


def test_a_test_says_on_which_channels_it_arrived(receivers: Receivers, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", "--test", "--wait", "240", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(one["channel"], one["arrived"]) for one in answer["test"]] == [
        ("custom-webhook/openbell-alerts", True),
        ("openbell-email/openbell-alerts", True),
    ]
    [halted] = [one for one in answer["alerts"] if one["name"] == "halted"]
    assert halted == {
        "name": "halted",
        "on": True,
        "once_in_seconds": 3600,
        "channels": ["custom-webhook/openbell-alerts", "openbell-email/openbell-alerts"],
    }
    assert receivers.webhook.about("A test of openbell's alerts")


def test_a_webhook_that_answers_with_an_error_is_tried_again_and_then_told(
    receivers: Receivers, waiting: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    receivers.webhook.status, before = 500, receivers.webhook.refused
    try:
        assert run(["alerts", "--test", "--wait", "2", "--json"]) == 1
        waiting(lambda: receivers.webhook.refused - before == 4, "four tries")
    finally:
        receivers.webhook.status = 200
    arrived = {one["channel"]: one["arrived"] for one in json.loads(capsys.readouterr().out)["test"]}
    assert not arrived["custom-webhook/openbell-alerts"]


def test_a_test_that_a_channel_does_not_take_ends_with_1(
    receivers: Receivers, mail_server: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with mail_server() as picky:
        wrong = {"OPENBELL_ALERT_SMTP_URL": f"smtp+plain://desk:wrong@127.0.0.1:{picky.port}"}
        apply_alerts(SHORT, {"sma": Path("sma.duckdb")}, {**receivers.environment(), **wrong})
        assert run(["alerts", "--test", "--wait", "240", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    arrived = {one["channel"]: one["arrived"] for one in answer["test"]}
    assert arrived == {"custom-webhook/openbell-alerts": True, "openbell-email/openbell-alerts": False}
    [words] = [one["words"] for one in answer["test"] if not one["arrived"]]
    assert "535" in words
    assert "wrong" not in words
