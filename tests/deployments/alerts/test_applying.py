"""What stands on the server after the settings were applied: what they say, once, and nobody else's."""

from collections.abc import Callable
from contextlib import closing

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import EventTrigger
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore

from deployments.alerts.applying import AppliedAlerts, apply_alerts, our_automations
from deployments.alerts.catalogue import ALERTS
from tasks.server_checks import AnsweringServer, open_server, server_checks
from trading.alert_settings import AlertName, AlertSettings
from trading.checks import CheckState
from trading.errors import ConfigurationError
from trading.settings import Settings

SLACK = {"OPENBELL_ALERT_SLACK_URL": "https://hooks.slack.com/services/T00/B00/secret"}


def settings(**alerts: object) -> AlertSettings:
    return AlertSettings.model_validate(alerts)


def switched(client: SyncPrefectClient) -> dict[str, bool]:
    return {one.name: one.enabled for one in our_automations(client)}


@pytest.fixture(autouse=True)
def empty(no_alerts: Callable[[], None]) -> None:
    no_alerts()


def test_a_second_time_changes_nothing_and_another_word_changes_what_it_is_in() -> None:
    first = apply_alerts(settings(), environment=SLACK)
    assert first.channels == ("slack-webhook/openbell-alerts",)
    assert len(first.created) == len(ALERTS) + 2  # the one for tests
    second = apply_alerts(settings(), environment={})
    assert second == AppliedAlerts(channels=first.channels, unchanged=first.created)
    third = apply_alerts(settings(repeat_minutes_of={"halted": 15}), environment={})
    assert third.updated == ("openbell: halted",)
    assert third.created == third.removed == ()


def test_what_is_off_is_removed_and_what_a_person_switched_off_stays_off() -> None:
    apply_alerts(settings(), environment=SLACK)
    with get_client(sync_client=True) as client:
        late = next(one for one in our_automations(client) if one.name == "openbell: session late")
        client.pause_automation(late.id)
        applied = apply_alerts(settings(off=["disk-full"], repeat_minutes=30), environment={})
        assert applied.removed == ("openbell: disk full",)
        assert applied.switched_off == ("openbell: session late",)
        assert "openbell: session late" in applied.updated
        assert [name for name, is_on in switched(client).items() if not is_on] == ["openbell: session late"]


def test_twins_and_alerts_of_old_are_removed_and_those_of_others_stay() -> None:
    def named(name: str) -> AutomationCore:
        return AutomationCore(name=name, trigger=EventTrigger(expect={"nothing.ever"}), actions=[DoNothing()])

    apply_alerts(settings(), environment=SLACK)
    with get_client(sync_client=True) as client:
        for name in ("openbell: halted", "openbell: of a former version", "somebody's own"):
            client.create_automation(named(name))
        try:
            applied = apply_alerts(settings(), environment={})
            assert sorted(applied.removed) == ["openbell: halted", "openbell: of a former version"]
            assert len(switched(client)) == len(ALERTS) + 2
            assert client.read_automations_by_name("somebody's own")
        finally:
            for one in client.read_automations_by_name("somebody's own"):
                client.delete_automation(one.id)


def test_where_no_one_is_told_only_what_acts_by_itself_is_made() -> None:
    apply_alerts(settings(), environment=SLACK)
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name("openbell-alerts", "slack-webhook")
        client.delete_block_document(document.id)
        applied = apply_alerts(settings(), environment={})
        assert applied.channels == ()
        assert "no one is told" in applied.in_words
        assert [*switched(client)] == ["openbell: mark silent runs as crashed"]


def test_a_block_that_is_not_there_is_named_with_those_that_are() -> None:
    apply_alerts(settings(), environment=SLACK)
    with pytest.raises(ConfigurationError) as error, get_client(sync_client=True):
        apply_alerts(settings(blocks=["slack-webhook/ops", "moon/ops"], off=["halted"]), environment={})
    assert "names slack-webhook/ops, moon/ops, which" in str(error.value)
    assert "slack-webhook/openbell-alerts" in str(error.value)
    with get_client(sync_client=True) as client:
        assert "openbell: halted" in switched(client)  # nothing was changed


def test_the_doctor_says_whether_anyone_is_told(prefect_server: str) -> None:
    def told() -> CheckState:
        server = open_server(prefect_server)
        assert isinstance(server, AnsweringServer)
        with closing(server.client):
            checks = list(server_checks(server, prefect_server, Settings(), None))
        return next(check.state for check in checks if check.subject == "blocks")

    assert told() is CheckState.WARN
    apply_alerts(settings(), environment=SLACK)
    assert told() is CheckState.OK


def test_every_alert_has_its_automation_and_its_words() -> None:
    assert set(ALERTS) == set(AlertName)
    titles = [alert.title for alert in ALERTS.values()]
    assert len(set(titles)) == len(titles)
