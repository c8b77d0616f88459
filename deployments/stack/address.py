"""Where a stack is reached, and who may reach it.

The rule: the server listens to this machine alone. Anything wider needs a password, which comes from the environment.
"""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.prefect_access import SERVER_PASSWORD
from trading.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class StackAddress:
    """The host that the server binds, as it was asked for, and its port."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def api_url(self) -> str:
        """Where clients on this machine ask."""
        return f"http://{self._reached_at('127.0.0.1')}:{self.port}/api"

    @property
    def ui_url(self) -> str:
        """What a person opens in a browser, also from another machine where the server listens to others."""
        return f"http://{self._reached_at(socket.gethostname())}:{self.port}"

    @property
    def origins(self) -> tuple[str, ...]:
        """The pages that may ask the API from a browser: its own, under the names it has."""
        names = {self._reached_at("127.0.0.1"), self._reached_at(socket.gethostname())}
        if self.is_local or self._is_wildcard:
            names |= {"127.0.0.1", "localhost"}
        return tuple(f"http://{name}:{self.port}" for name in sorted(names))

    @property
    def _is_wildcard(self) -> bool:
        return self.host in ("0.0.0.0", "::")

    def _reached_at(self, instead_of_all: str) -> str:
        host = instead_of_all if self._is_wildcard else self.host
        return f"[{host}]" if ":" in host else host


def check_access(address: StackAddress, environment: Mapping[str, str]) -> None:
    """Refuse a server that others could use without a password; raises ``ConfigurationError``."""
    password = environment.get(SERVER_PASSWORD, "")
    if password:
        name, colon, secret = password.partition(":")
        if not (name and colon and secret):
            raise ConfigurationError(
                f"{SERVER_PASSWORD} is not of the form NAME:PASSWORD. Set it like 'operator:' and a long random text."
            )
    elif not address.is_local:
        raise ConfigurationError(
            f"--host {address.host} would let everyone who reaches this machine trade. Set {SERVER_PASSWORD}=NAME:PASSWORD in the "
            "environment first, or leave --host out to listen to this machine alone."
        )
