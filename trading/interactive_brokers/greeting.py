"""Who listens at an address: the first words of the protocol, said over a bare socket, so that each way to fail is told from the others.

Nobody is logged in by it and no client id is used.
"""

import socket
import struct
from dataclasses import dataclass
from enum import StrEnum

_WORDS = b"v157..176"
_LONGEST_ANSWER = 200


class Listener(StrEnum):
    """What was found at an address."""

    GATEWAY = "gateway"
    NOBODY = "nobody"
    """The connection is refused: no program listens there."""
    NO_WAY = "no_way"
    """No answer to the call: a firewall, or a machine that is off."""
    NO_NAME = "no_name"
    """The host's name is not known."""
    SHUTS_THE_DOOR = "shuts_the_door"
    """The connection is taken and closed before a word."""
    SILENT = "silent"
    """The connection is taken, and nothing is said."""
    SOMETHING_ELSE = "something_else"
    """It speaks another protocol."""


@dataclass(frozen=True, slots=True)
class Greeted:
    """``server_version`` is the protocol's that a gateway would speak; ``words`` are those of another program, or of the system."""

    listener: Listener
    server_version: int = 0
    words: str = ""


def greet(host: str, port: int, seconds: float) -> Greeted:
    """Who listens; each of the two waits takes at most ``seconds``."""
    try:
        line = socket.create_connection((host, port), timeout=seconds)
    except ConnectionRefusedError as error:
        return Greeted(Listener.NOBODY, words=str(error))
    except socket.gaierror as error:
        return Greeted(Listener.NO_NAME, words=str(error))
    except OSError as error:
        return Greeted(Listener.NO_WAY, words=str(error) or "timed out")
    with line:
        try:
            line.sendall(b"API\0" + struct.pack(">I", len(_WORDS)) + _WORDS)
            return _understood(_answer(line))
        except TimeoutError:
            return Greeted(Listener.SILENT)
        except OSError as error:
            return Greeted(Listener.SHUTS_THE_DOOR, words=str(error))


def _answer(line: socket.socket) -> bytes:
    """The first frame, or as much as came of whatever it is."""
    said = b""
    while len(said) < _LONGEST_ANSWER:
        more = line.recv(_LONGEST_ANSWER)
        said += more
        whole = len(said) >= 4 and len(said) >= 4 + struct.unpack(">I", said[:4])[0]
        if not more or whole or not said.startswith(b"\0"):
            break
    return said


def _understood(said: bytes) -> Greeted:
    if not said:
        return Greeted(Listener.SHUTS_THE_DOOR)
    version = said[4:].split(b"\0")[0] if said.startswith(b"\0") else b""
    if version.isdigit():
        return Greeted(Listener.GATEWAY, int(version))
    return Greeted(Listener.SOMETHING_ELSE, words=said[:60].decode("ascii", "replace").split("\r")[0])
