"""The connection over a real socket: whose account it is, how it is lost, and how it comes back.

Gateways are processes of their own. Waits are for conditions, with far more time than is needed.
"""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from trading.errors import BrokerNotReady, BrokerUnavailable
from trading.ib_settings import IbSettings
from trading.interactive_brokers.broker import IbBroker
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.episodes import Alert, EpisodeKind

PATIENCE = 30.0
QUICK = {
    "connect_timeout_seconds": "10",
    "answer_timeout_seconds": "5",
    "heartbeat_seconds": "0.4",
    "reconnect_first_seconds": "0.05",
    "reconnect_longest_seconds": "0.2",
    "restart_at": "off",
}
_numbers = itertools.count(100)


@dataclass
class Client:
    """A connection with a broker on it, and what a person was told."""

    connection: GatewayConnection
    broker: IbBroker
    alerts: list[Alert]

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, (self.connection.why_not, self.alerts)
            time.sleep(0.005)

    def until_back(self, after: int = 1) -> None:
        """Connected once more than ``after`` times, and what was wrong is told to be over."""
        self.until(lambda: self.connection.is_up and self.connection.connections > after)
        self.until(lambda: sum(one.is_over for one in self.alerts) == sum(not one.is_over for one in self.alerts))

    def told(self, kind: EpisodeKind) -> list[bool]:
        """Alerts of a kind: False for a beginning, True for an end."""
        return [one.is_over for one in self.alerts if one.kind is kind]


Connect = Callable[..., Client]


@pytest.fixture
def make_client() -> Iterator[Connect]:
    """Makes clients; what is given by name is set in ``[broker.ib]``. They are closed, and have left no thread."""
    before = set(threading.enumerate())
    made: list[Client] = []

    def make(port: int, opened: bool = True, **settings: Any) -> Client:
        chosen = IbSettings.model_validate({"port": port, "client_id": next(_numbers), **QUICK, **settings})
        alerts: list[Alert] = []
        connection = GatewayConnection(chosen, alerts.append)
        made.append(Client(connection, IbBroker(connection, Contracts(connection)), alerts))
        if opened:
            connection.open()
        return made[-1]

    yield make
    for client in made:
        client.connection.close()
    deadline = time.monotonic() + PATIENCE
    while left := {one for one in set(threading.enumerate()) - before if one.name == "gateway-line"}:
        assert time.monotonic() < deadline, left
        time.sleep(0.005)


@pytest.fixture(scope="module")
def gateway(start_gateway: Callable[..., Any]) -> Iterator[Any]:
    """One account: DU1234567."""
    with start_gateway() as running:
        yield running


@pytest.fixture(scope="module")
def three_accounts(start_gateway: Callable[..., Any]) -> Iterator[Any]:
    """Two paper accounts and a live one on one login."""
    accounts = [word for name in ("DU1234567", "DU7654321", "U1234567") for word in ("--account", name)]
    with start_gateway(*accounts) as running:
        yield running


# Whose account it is


def test_the_only_account_of_a_login_needs_no_name(gateway: Any, make_client: Connect) -> None:
    client = make_client(gateway.port)
    assert client.connection.account == "DU1234567"
    assert client.connection.is_up
    assert client.connection.connections == 1
    assert client.broker.account().account == "DU1234567"


def test_of_several_accounts_the_one_that_trades_is_named(three_accounts: Any, make_client: Connect) -> None:
    with pytest.raises(BrokerNotReady, match=r"DU1234567, DU7654321, U1234567\): say with broker\.ib\.account"):
        make_client(three_accounts.port)
    assert make_client(three_accounts.port, account="DU7654321").connection.account == "DU7654321"


def test_another_account_than_the_one_that_is_meant_is_refused(gateway: Any, make_client: Connect) -> None:
    with pytest.raises(BrokerNotReady, match="logged in to DU1234567, and account DU7654321 is meant"):
        make_client(gateway.port, account="DU7654321")


def test_a_live_account_is_refused_until_it_is_named(three_accounts: Any, make_client: Connect) -> None:
    with pytest.raises(BrokerNotReady, match=r'live account, and nothing allows it.*allow_live = "U1234567"'):
        make_client(three_accounts.port, account="U1234567")
    client = make_client(three_accounts.port, account="U1234567", allow_live="U1234567")
    assert client.connection.account == "U1234567"


def test_a_permission_for_one_live_account_is_none_for_what_the_login_has(gateway: Any, make_client: Connect) -> None:
    """``allow_live`` does not choose: a paper account is traded as without it."""
    assert make_client(gateway.port, allow_live="U1234567").connection.account == "DU1234567"


# Nobody there


def test_a_port_where_nobody_listens_is_a_refusal_at_once(make_client: Connect) -> None:
    """Whatever its digits are: 326 is also the error of a client id in use."""
    for port in (32651, 32652, 32653):
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                break
    began = time.monotonic()
    with pytest.raises(BrokerNotReady, match="Start TWS or IB Gateway") as refusal:
        make_client(port, connect_timeout_seconds="60")
    assert time.monotonic() - began < 20
    assert "nothing was simulated" in str(refusal.value)
    assert "Another program" not in str(refusal.value)


@contextlib.contextmanager
def listener(port: int = 0, hangs_up: bool = False) -> Iterator[tuple[int, list[float]]]:
    """Something that takes connections and says nothing; its port, and when somebody came."""
    came: list[float] = []
    kept: list[socket.socket] = []
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()

    def serve() -> None:
        while True:
            try:
                taken, _ = server.accept()
            except OSError:
                return  # closed: the test is over
            came.append(time.monotonic())
            if hangs_up:
                taken.close()
            else:
                kept.append(taken)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1], came
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)
        for taken in kept:
            taken.close()


def test_something_that_listens_and_says_nothing_is_a_refusal_in_time(make_client: Connect) -> None:
    with listener() as (port, came):
        began = time.monotonic()
        with pytest.raises(BrokerNotReady, match="cannot be reached"):
            make_client(port, connect_timeout_seconds="0.5")
        assert time.monotonic() - began < 20
        assert len(came) == 1


def test_something_that_hangs_up_is_a_refusal(make_client: Connect) -> None:
    with listener(hangs_up=True) as (port, _), pytest.raises(BrokerNotReady, match="cannot be reached"):
        make_client(port)


def test_what_was_never_connected_cannot_be_asked(make_client: Connect) -> None:
    client = make_client(1, opened=False)
    with pytest.raises(BrokerUnavailable):
        client.broker.account()
    client.connection.close()


# The client's number


def test_a_number_that_another_client_has_is_a_refusal_that_says_so(gateway: Any, make_client: Connect) -> None:
    make_client(gateway.port, client_id=71)
    with pytest.raises(BrokerNotReady, match="Another program uses client id 71"):
        make_client(gateway.port, client_id=71, connect_timeout_seconds="0.6")


def test_a_number_that_a_cut_session_still_holds_is_waited_for(gateway: Any, make_client: Connect) -> None:
    gateway.ask({"command": "fault", "action": "client_id_held", "on": "connect", "times": 2})
    client = make_client(gateway.port)
    assert client.connection.is_up
    assert client.alerts == []


def test_a_number_that_is_held_when_the_line_comes_back_is_told_once(gateway: Any, make_client: Connect) -> None:
    client = make_client(gateway.port)
    gateway.ask({"command": "fault", "action": "client_id_held", "on": "connect", "times": 4})
    gateway.ask({"command": "drop", "client": client.connection.settings.client_id})
    client.until_back()
    assert client.told(EpisodeKind.CLIENT_ID_IN_USE) == [False, True]
    assert client.told(EpisodeKind.LINE_LOST) == [False, True]


# Lost and found


def test_a_line_that_is_cut_is_made_again_and_told_of_once(gateway: Any, make_client: Connect) -> None:
    client = make_client(gateway.port)
    gateway.ask({"command": "drop", "client": client.connection.settings.client_id})
    client.until_back()
    assert client.connection.connections == 2
    assert [(one.kind, one.is_over) for one in client.alerts] == [
        (EpisodeKind.LINE_LOST, False),
        (EpisodeKind.LINE_LOST, True),
    ]
    client.broker.account()


def test_a_gateway_that_stands_still_is_noticed_by_its_heartbeat(gateway: Any, make_client: Connect) -> None:
    """Its sockets stay as they are; only the answers do not come."""
    client = make_client(gateway.port, connect_timeout_seconds="1")
    gateway.freeze()
    try:
        client.until(lambda: not client.connection.is_up)
        with pytest.raises(BrokerUnavailable):
            client.broker.account()
        client.until(lambda: client.told(EpisodeKind.LOGIN_NEEDED))
    finally:
        gateway.thaw()
    client.until_back()
    assert client.told(EpisodeKind.LINE_LOST)[:2] == [False, True]
    assert client.told(EpisodeKind.LOGIN_NEEDED)[:2] == [False, True]


def test_a_gateway_that_waits_for_its_second_factor_is_told_of_once(gateway: Any, make_client: Connect) -> None:
    client = make_client(gateway.port, connect_timeout_seconds="0.4")
    gateway.ask({"command": "fault", "action": "two_factor", "on": "connect", "times": 2})
    gateway.ask({"command": "drop", "client": client.connection.settings.client_id})
    client.until_back()
    assert client.told(EpisodeKind.LOGIN_NEEDED) == [False, True]


def test_attempts_become_rarer_and_go_on_and_another_account_is_not_traded(
    start_gateway: Callable[..., Any], make_client: Connect
) -> None:
    with start_gateway() as first:
        port = first.port
        client = make_client(port, reconnect_first_seconds="0.1", reconnect_longest_seconds="0.4")
        first.kill()
        client.until(lambda: not client.connection.is_up)
    with listener(port, hangs_up=True) as (_, came):
        client.until(lambda: len(came) >= 7)
    pauses = [later - earlier for earlier, later in itertools.pairwise(came)]
    assert all(pause > 0.35 for pause in pauses[3:]), pauses
    assert [(one.kind, one.is_over) for one in client.alerts] == [(EpisodeKind.LINE_LOST, False)]
    with start_gateway("--account", "U7777777", port=port) as live:
        client.until(lambda: client.told(EpisodeKind.WRONG_ACCOUNT))
        with pytest.raises(BrokerUnavailable):
            client.broker.account()
        assert client.connection.connections == 1
        assert client.told(EpisodeKind.WRONG_ACCOUNT) == [False]
        # Nor is a live account because it is the only one, or because another is allowed.
        with pytest.raises(BrokerNotReady, match="nothing allows it"):
            make_client(live.port)
        with pytest.raises(BrokerNotReady, match="allow_live names U1234567"):
            make_client(live.port, allow_live="U1234567")


# The broker behind the gateway


def broadcast(gateway: Any, code: int) -> None:
    gateway.ask({"command": "fault", "action": "broadcast", "code": code})


@pytest.mark.parametrize("back", [1101, 1102])
def test_while_the_broker_is_away_nothing_is_asked_and_afterwards_everything_anew(
    gateway: Any, make_client: Connect, back: int
) -> None:
    client = make_client(gateway.port)
    for _ in range(3):
        broadcast(gateway, 1100)
    client.until(lambda: not client.connection.is_up)
    with pytest.raises(BrokerUnavailable, match="1100"):
        client.broker.account()
    broadcast(gateway, back)
    client.until_back()
    assert client.connection.connections == 2
    assert [(one.kind, one.is_over) for one in client.alerts] == [
        (EpisodeKind.BROKER_AWAY, False),
        (EpisodeKind.BROKER_AWAY, True),
    ]


def test_a_broken_data_farm_is_told_of_once_until_that_farm_is_well(gateway: Any, make_client: Connect) -> None:
    client = make_client(gateway.port)
    for _ in range(3):
        broadcast(gateway, 2103)
    broadcast(gateway, 2106)  # another farm is well: that says nothing of this one
    client.until(lambda: client.told(EpisodeKind.DATA_FARM_BROKEN))
    client.connection.ask(lambda line: line.current_time(), "the time")
    assert client.told(EpisodeKind.DATA_FARM_BROKEN) == [False]
    broadcast(gateway, 2104)
    client.until(lambda: client.told(EpisodeKind.DATA_FARM_BROKEN) == [False, True])
    assert client.connection.is_up


# Restart windows


def local_time(gateway: Any) -> datetime:
    from zoneinfo import ZoneInfo

    return datetime.fromisoformat(gateway.ask({"command": "time"})["time"]).astimezone(ZoneInfo("America/New_York"))


def test_a_restart_when_it_is_due_wakes_nobody(gateway: Any, make_client: Connect) -> None:
    at = f"{local_time(gateway) - timedelta(minutes=1):%H:%M}"
    client = make_client(gateway.port, restart_at=at)
    gateway.ask({"command": "restart", "seconds": 0.3})
    client.until(lambda: client.connection.connections == 2)
    assert client.alerts == []
    assert client.broker.no_new_orders(client.connection.clock.now()) is not None


def test_a_restart_that_outlasts_its_time_is_told_of(gateway: Any, make_client: Connect) -> None:
    client = make_client(
        gateway.port,
        restart_at=f"{local_time(gateway) - timedelta(minutes=1):%H:%M}",
        restart_minutes=5,
        connect_timeout_seconds="0.5",
    )
    clock = client.connection.clock
    gateway.freeze()
    try:
        client.until(lambda: not client.connection.is_up)
        lost_at = clock.now()
        assert client.alerts == []
        clock.tell(lost_at + timedelta(minutes=10))  # the session's time goes on, and nobody is back
        client.until(lambda: client.told(EpisodeKind.LINE_LOST))
    finally:
        gateway.thaw()
    [lost] = [one for one in client.alerts if one.kind is EpisodeKind.LINE_LOST]
    assert lost.at <= lost_at
    client.until_back()


def test_before_and_after_a_restart_orders_may_be_sent(gateway: Any, make_client: Connect) -> None:
    now = local_time(gateway)
    for minutes, is_quiet in ((1, True), (5, False), (-20, False)):
        client = make_client(gateway.port, restart_at=f"{now + timedelta(minutes=minutes):%H:%M}")
        reason = client.broker.no_new_orders(client.connection.clock.now())
        assert (reason is not None) is is_quiet


# Answers that do not come


def test_a_connection_asks_again_for_executions_that_do_not_end(gateway: Any, make_client: Connect) -> None:
    gateway.ask({"command": "fault", "action": "executions_never_end", "on": "reqExecutions"})
    client = make_client(gateway.port, answer_timeout_seconds="0.3")
    assert client.connection.is_up
    assert client.connection.connections == 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_is_made_again_where_open_orders_do_not_end(
    gateway: Any, make_client: Connect, times: int
) -> None:
    gateway.ask({"command": "fault", "action": "open_orders_never_end", "on": "reqAllOpenOrders", "times": times})
    client = make_client(gateway.port, answer_timeout_seconds="0.3")
    assert client.connection.is_up
    client.broker.account()


def test_a_question_that_is_not_answered_is_no_answer_and_the_line_is_made_again(
    gateway: Any, make_client: Connect
) -> None:
    client = make_client(gateway.port, answer_timeout_seconds="0.3")
    gateway.ask({"command": "fault", "action": "positions_never_end", "on": "reqPositions"})
    with pytest.raises(BrokerUnavailable, match="positions"):
        client.broker.account()
    client.until_back()
    client.broker.account()


# Leaving


def test_closing_ends_the_thread_and_a_second_time_does_nothing(gateway: Any, make_client: Connect) -> None:
    client = make_client(gateway.port)
    [thread] = [one for one in threading.enumerate() if one.name == "gateway-line"]
    client.connection.close()
    assert not thread.is_alive()
    client.connection.close()
    with pytest.raises(BrokerUnavailable, match="closed"):
        client.broker.account()


def test_closing_while_the_line_is_being_made_again_ends_the_thread(gateway: Any, make_client: Connect) -> None:
    client = make_client(gateway.port)
    [thread] = [one for one in threading.enumerate() if one.name == "gateway-line"]
    gateway.ask({"command": "fault", "action": "two_factor", "on": "connect"})
    gateway.ask({"command": "drop", "client": client.connection.settings.client_id})
    client.until(lambda: "two_factor" in str(gateway.book()["faults_fired"][-1:]))
    client.connection.close()
    assert not thread.is_alive()


def test_closing_at_the_very_moment_at_which_the_line_is_back_ends_the_thread(
    gateway: Any, make_client: Connect
) -> None:
    """An answer that comes in the same moment must not be taken for the end of the matter."""
    client = make_client(gateway.port, opened=False)
    [closing] = [threading.Thread(target=client.connection.close)]

    async def join(_: object) -> None:
        if client.connection.connections == 1:
            closing.start()
            time.sleep(0.1)  # what the closing asks for stands in the queue when this is over

    client.connection.on_joined(join)
    client.connection.open()
    [thread] = [one for one in threading.enumerate() if one.name == "gateway-line"]
    gateway.ask({"command": "drop", "client": client.connection.settings.client_id})
    client.until(lambda: not thread.is_alive())
    closing.join(10)
    assert not client.connection.is_up


def test_closing_while_somebody_waits_for_an_answer_answers_them(gateway: Any, make_client: Connect) -> None:
    client = make_client(gateway.port, answer_timeout_seconds="60", heartbeat_seconds="60")
    gateway.ask({"command": "fault", "action": "positions_never_end", "on": "reqPositions"})
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            client.broker.account()
        except BrokerUnavailable as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    client.until(lambda: "positions_never_end" in str(gateway.book()["faults_fired"][-1:]))
    client.connection.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(failed) == 1
