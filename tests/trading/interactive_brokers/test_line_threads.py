"""Lines have a loop of their own on a thread of their own, whatever the thread has that makes, asks or closes them."""

import asyncio
import threading
from typing import Any


def gateway_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "gateway-line"]


def test_lines_are_made_asked_and_closed_from_whatever_thread(gateway: Any, connect: Any) -> None:
    before = gateway_threads()
    answers: list[Any] = []

    def use() -> None:
        client = connect(gateway)
        answers.append(client.contracts.instrument("AAA").contract_id)
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
