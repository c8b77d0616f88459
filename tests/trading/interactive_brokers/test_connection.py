"""The line's own traps: a client id that is still held, and threads that have loops of their own or none."""

import asyncio
import threading
from typing import Any

import pytest

from trading.errors import BrokerNotReady
from trading.interactive_brokers.episodes import EpisodeKind


def gateway_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "gateway-line"]


def test_a_client_id_that_is_still_held_is_waited_for_and_no_other_is_taken(gateway: Any, connect: Any) -> None:
    fired = gateway.fired("client_id_held")
    gateway.fault("client_id_held", times=2)
    client = connect(gateway, client_id=4711, connect_timeout_seconds="20")
    assert client.connection.is_up
    assert gateway.fired("client_id_held") == fired + 2
    assert gateway.ask("book")["clients"] == [4711]


def test_a_client_id_that_stays_held_is_refused_with_what_to_do(gateway: Any, connect: Any) -> None:
    connect(gateway, client_id=4712)
    with pytest.raises(BrokerNotReady, match="4712"):
        connect(gateway, client_id=4712, connect_timeout_seconds="0.4")


def test_a_client_id_that_is_held_after_a_cut_is_one_alert_and_the_same_id_again(gateway: Any, connect: Any) -> None:
    client = connect(gateway, client_id=4713)
    gateway.fault("client_id_held", times=3)
    gateway.ask("drop")
    client.until(lambda: client.connection.connections == 2 and client.connection.is_up)
    client.until(lambda: any(one.kind is EpisodeKind.CLIENT_ID_IN_USE and one.is_over for one in client.alerts))
    told = [(one.kind, one.is_over) for one in client.alerts if one.kind is EpisodeKind.CLIENT_ID_IN_USE]
    assert told == [(EpisodeKind.CLIENT_ID_IN_USE, False), (EpisodeKind.CLIENT_ID_IN_USE, True)]
    assert gateway.ask("book")["clients"] == [4713]


def test_lines_are_made_asked_and_closed_from_whatever_thread(gateway: Any, connect: Any) -> None:
    """Each line has one loop on one thread of its own, whether who asks has a running loop, another or none."""
    before = gateway_threads()
    answers: list[Any] = []

    def use() -> None:
        client = connect(gateway)
        answers.append(client.contracts.instrument("AAA").contract_id)
        client.connection.close()
        client.connection.close()

    async def inside_a_loop() -> None:
        use()

    asyncio.run(inside_a_loop())
    elsewhere = threading.Thread(target=use)
    elsewhere.start()
    elsewhere.join(20)
    use()
    assert len(answers) == 3
    assert len(set(answers)) == 1
    assert [one for one in gateway_threads() if one not in before] == []


def test_several_threads_ask_one_line_at_once(gateway: Any, connect: Any) -> None:
    client = connect(gateway)
    symbols = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")
    found: dict[str, str] = {}

    def ask(symbol: str) -> None:
        found[symbol] = client.contracts.instrument(symbol).symbol

    threads = [threading.Thread(target=ask, args=(symbol,)) for symbol in symbols]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {symbol: symbol for symbol in symbols}
