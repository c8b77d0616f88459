"""Who listens at an address: each way in which a session would not get in is told from the others."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from trading.interactive_brokers.greeting import Greeted, Listener, greet

A_LITTLE_SECONDS = 0.5
PLENTY_SECONDS = 20.0

Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(answer: Answer) -> Iterator[int]:
    """A port at which one caller is answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def serve() -> None:
            caller, _ = server.accept()
            with caller:
                caller.recv(100)
                answer(caller)
                over.wait(PLENTY_SECONDS)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join(PLENTY_SECONDS)


def says(words: bytes) -> Answer:
    return lambda caller: caller.sendall(words)


def test_a_gateway_tells_its_version() -> None:
    words = b"176\x0020260105 09:30:00 EST\x00"
    with listening(says(len(words).to_bytes(4, "big") + words)) as port:
        assert greet("127.0.0.1", port, PLENTY_SECONDS) == Greeted(Listener.GATEWAY, 176)


def test_a_version_may_come_in_pieces() -> None:
    words = b"163\x0020260105 09:30:00 EST\x00"

    def in_pieces(caller: socket.socket) -> None:
        whole = len(words).to_bytes(4, "big") + words
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (whole[:2], whole[2:5], whole[5:]):
            caller.sendall(piece)

    with listening(in_pieces) as port:
        assert greet("127.0.0.1", port, PLENTY_SECONDS) == Greeted(Listener.GATEWAY, 163)


def test_another_program_is_told_by_its_words() -> None:
    with listening(says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")) as port:
        found = greet("127.0.0.1", port, PLENTY_SECONDS)
    assert found == Greeted(Listener.SOMETHING_ELSE, words="HTTP/1.1 400 Bad Request")


def test_a_door_that_shuts_at_once_is_no_silence() -> None:
    with listening(lambda caller: caller.shutdown(socket.SHUT_RDWR)) as port:
        assert greet("127.0.0.1", port, PLENTY_SECONDS).listener is Listener.SHUTS_THE_DOOR


def test_one_that_says_nothing_is_left_after_a_while() -> None:
    with listening(lambda _: None) as port:
        assert greet("127.0.0.1", port, A_LITTLE_SECONDS).listener is Listener.SILENT


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert greet("127.0.0.1", port, PLENTY_SECONDS).listener is Listener.NOBODY


@pytest.mark.parametrize("host", ["no-such-host.invalid"])
def test_a_name_that_nobody_knows(host: str) -> None:
    assert greet(host, 4002, A_LITTLE_SECONDS).listener is Listener.NO_NAME
