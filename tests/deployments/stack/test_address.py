"""Who may reach a stack: this machine, and others with a password only."""

import pytest

from deployments.stack.address import StackAddress, check_access
from trading.errors import ConfigurationError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_this_machine_needs_no_password(host: str) -> None:
    check_access(StackAddress(host, 4200), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "desk.example"])
def test_any_other_host_needs_one(host: str) -> None:
    with pytest.raises(ConfigurationError, match="PREFECT_SERVER_API_AUTH_STRING"):
        check_access(StackAddress(host, 4200), {})
    check_access(StackAddress(host, 4200), {"PREFECT_SERVER_API_AUTH_STRING": "operator:long"})


@pytest.mark.parametrize("password", ["operator", "operator:", ":long"])
def test_a_password_without_a_name_or_a_secret_is_none(password: str) -> None:
    with pytest.raises(ConfigurationError, match="NAME:PASSWORD"):
        check_access(StackAddress("127.0.0.1", 4200), {"PREFECT_SERVER_API_AUTH_STRING": password})


def test_addresses_are_right_on_any_port_and_in_both_families() -> None:
    assert StackAddress("127.0.0.1", 4310).api_url == "http://127.0.0.1:4310/api"
    assert StackAddress("::1", 4310).api_url == "http://[::1]:4310/api"
    # Clients here do not ask "all addresses" but this machine.
    assert StackAddress("0.0.0.0", 4310).api_url == "http://127.0.0.1:4310/api"
    assert StackAddress("127.0.0.1", 4310).origins == ("http://127.0.0.1:4310", "http://localhost:4310")
