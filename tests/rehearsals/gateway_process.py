"""The gateway of a rehearsal in a process of its own, and its control door."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from datetime import time as wall_time
from pathlib import Path
from typing import Any

from processes import Process, fork
from rehearsal_plan import ACCOUNT, CASH

from deployments.terminal.gateway_run import serve
from tasks.gateway_composition import GatewayAsked
from trading.settings import Settings

HOST = "127.0.0.1"
_STARTS_WITHIN_SECONDS = 30.0
_ANSWERS_WITHIN_SECONDS = 30.0


class GatewayGone(Exception):
    """The gateway's process has ended, or says nothing."""


@dataclass(frozen=True, slots=True)
class Played:
    """What a gateway plays: ``settings`` say which market, ``zone`` how it writes times."""

    settings: Settings
    day: date
    symbols: tuple[str, ...]
    speed: float
    zone: str = ""


class GatewayProcess:
    """One account on a market that runs. Its book is in a file, so that another process can go on with it."""

    def __init__(self, home: Path, played: Played) -> None:
        self._home = home
        self._played = played
        self._process: Process | None = None
        self.port = 0
        self._control = 0
        self.restarts = 0

    def start(self, faults: Sequence[Mapping[str, Any]] = (), at: wall_time | None = None) -> None:
        """Start it, on the port that it had before where it had one; ``at`` is the exchange's time to begin with.

        Time stands still until a client wants something of the market.
        """
        script = self._home / "faults.toml"
        script.write_text("".join(f"[[fault]]\n{_toml(fault)}\n" for fault in faults), encoding="utf-8")
        asked = GatewayAsked(
            day=self._played.day,
            symbols=self._played.symbols,
            speed=self._played.speed,
            start=at,
            waits_for_client=True,
            accounts={ACCOUNT: CASH},
            port=self.port,
            control_port=0,
            state=self._home / "gateway.sqlite",
            faults=script,
            time_zone=self._played.zone,
            # Sessions of a day that passes in seconds ask for the same past bars again at once.
            is_paced=False,
        )
        reading, writing = os.pipe()

        def work() -> int:
            os.close(reading)
            sys.stdout = os.fdopen(writing, "w")
            serve(self._played.settings, asked, exit_at_end=False, as_json=True)
            return 0

        self._process = fork(work, self._home / "gateway-diary.txt")
        os.close(writing)
        with os.fdopen(reading, "r") as told:
            line = told.readline()
        if not line:
            self._process.wait(_STARTS_WITHIN_SECONDS)
            raise GatewayGone(f"the gateway did not start; see {self._home / 'gateway-diary.txt'}")
        ports = json.loads(line)
        self.port, self._control = ports["port"], ports["control"]

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What the control door answers; raises ``GatewayGone`` where it does not."""
        try:
            with socket.create_connection((HOST, self._control), _ANSWERS_WITHIN_SECONDS) as door:
                door.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
                with door.makefile("rb") as answers:
                    line = answers.readline()
        except OSError as error:
            raise GatewayGone(f"the gateway's door does not answer {command}: {error}") from error
        if not line:
            raise GatewayGone(f"the gateway's door has no answer to {command}")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise GatewayGone(f"the gateway does not do {command}: {answer['error']}")
        return answer

    def kill(self) -> None:
        """End its process without a word, as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.ask_to_end()
            self._process.wait(time.monotonic() - self._process.started + 10.0)
            self._process = None


@contextlib.contextmanager
def gateway(home: Path, played: Played) -> Iterator[GatewayProcess]:
    """A gateway that is not started yet; it is stopped at the end."""
    process = GatewayProcess(home, played)
    try:
        yield process
    finally:
        process.stop()


def _toml(fault: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in fault.items())
