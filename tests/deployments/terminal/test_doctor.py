"""``openbell doctor``: at a gateway as it should be, at one with faults, and at none."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trading.ib_settings import IbSettings
from trading.interactive_brokers.connection import GatewayConnection

MACHINE = [
    "python", "packages", "settings", "home", "permissions", "database", "disk", "prefect", "port", "time zones", "clock",
    "time", "calendar",
]  # fmt: skip
Command = Callable[..., Any]
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def gateway(start_gateway: Start) -> Iterator[Any]:
    """Twenty seconds a second, from ten o'clock on. MSFT has two listings, and nobody may see AAPL."""
    options = ("--speed", 20, "--start", "10:00", "--symbols", "SPY,AAPL,MSFT", "--ambiguous", "MSFT")
    with start_gateway(*options, "--without-data", "AAPL", running=True) as started:
        yield started


@pytest.fixture(autouse=True)
def no_prefect_server(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(here / "prefect"))


def configure(here: Path, port: int, **more: object) -> None:
    lines = [f"{name} = {value}" for name, value in {"port": port, **more}.items()]
    (here / "openbell.toml").write_text("\n".join(["[broker.ib]", *lines, ""]))


def states(outcome: Any) -> dict[str, str]:
    """How each thing stands; the machine's own are of no interest here."""
    found = {check["subject"]: check["state"] for check in outcome.answer["checks"]}
    assert list(found)[: len(MACHINE)] == MACHINE
    return dict(list(found.items())[len(MACHINE) :])


def test_a_gateway_as_it_should_be_ends_with_0(openbell: Command, here: Path, gateway: Any) -> None:
    configure(here, gateway.port)
    outcome = openbell("doctor", "--broker", "ib", "--symbols", "SPY", "--json")
    found = states(outcome)
    # It plays another day, which a person should know.
    assert found.pop("server clock") == "warn"
    assert found == dict.fromkeys(
        [
            "gateway", "account", "restart", "open orders", "completed orders", "executions", "positions", "balances",
            "contract SPY", "orders", "past bars SPY", "live bars SPY",
        ],
        "ok",
    )  # fmt: skip
    assert outcome.code == 0
    assert outcome.answer["gateway_settings"]


def test_nothing_is_ordered_by_looking(openbell: Command, here: Path, gateway: Any) -> None:
    configure(here, gateway.port)
    openbell("doctor", "--broker", "ib", "--symbols", "SPY", "--json")
    book = gateway.book()
    assert (book["orders"], book["executions"]) == ([], [])
    assert not (here / "openbell.duckdb").exists()


def test_each_symbol_that_cannot_be_traded_is_named_with_what_to_do(
    openbell: Command, here: Path, gateway: Any
) -> None:
    configure(here, gateway.port)
    outcome = openbell("doctor", "--broker", "ib", "--symbols", "SPY,AAPL,MSFT,NONE")
    assert outcome.code == 3
    lines = {tuple(line.split()[:3]): line for line in outcome.out.splitlines()}
    assert "contract_id = " in lines["bad", "contract", "MSFT"]
    assert "knows no NONE" in lines["bad", "contract", "NONE"]
    assert "Market Data Subscriptions" in lines["bad", "live", "bars"]
    assert ("ok", "contract", "SPY") in lines
    assert "Read-Only API: off" in outcome.out


def test_a_number_that_another_program_has_is_told(openbell: Command, here: Path, gateway: Any) -> None:
    configure(here, gateway.port, connect_timeout_seconds=2)
    other = GatewayConnection(IbSettings(port=gateway.port))
    other.open()
    try:
        outcome = openbell("doctor", "--broker", "ib", "--json")
    finally:
        other.close()
    assert states(outcome) == {"gateway": "ok", "login": "bad"}
    assert "client id 17" in outcome.answer["checks"][-1]["next_step"]
    assert outcome.code == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"account": '"DU7777777"'}, "DU7777777 is meant"), ({"client_id": 18, "account": '"DU1234567"'}, "")],
)
def test_the_account_has_to_be_the_one_that_is_meant(
    openbell: Command, here: Path, gateway: Any, settings: dict[str, object], said: str
) -> None:
    configure(here, gateway.port, **settings)
    outcome = openbell("doctor", "--broker", "ib", "--symbols", "NONE", "--json")
    [account] = [check for check in outcome.answer["checks"] if check["subject"] == "account"]
    assert account["state"] == ("bad" if said else "ok")
    assert said in account["found"]


def test_where_nobody_listens_it_ends_with_3_and_says_what_to_start(openbell: Command, here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    configure(here, port)
    outcome = openbell("doctor", "--broker", "ib", "--json")
    assert states(outcome) == {"gateway": "bad"}
    assert "openbell gateway" in outcome.answer["checks"][-1]["next_step"]
    assert outcome.code == 3


def test_without_a_broker_only_the_machine_is_looked_at(openbell: Command) -> None:
    outcome = openbell("doctor", "--json")
    assert (states(outcome), outcome.code) == ({}, 0)
    assert "gateway_settings" not in outcome.answer


def test_settings_that_are_not_valid_end_with_2(openbell: Command, here: Path) -> None:
    (here / "openbell.toml").write_text("[broker.ib]\nprot = 4002\n")
    outcome = openbell("doctor", "--broker", "ib")
    assert outcome.code == 2
    assert "did you mean port?" in outcome.err


def test_of_several_strategies_each_database_is_looked_at(openbell: Command, here: Path) -> None:
    strategies = [
        f'[strategies.{name}]\nstore.path = "{name}.duckdb"\nsession.account = "{name}"' for name in ("trend", "calm")
    ]
    (here / "openbell.toml").write_text("\n".join(strategies), encoding="utf-8")
    checks = openbell("doctor", "--json").answer["checks"]
    assert [check["found"].split()[0] for check in checks if check["subject"] == "database"] == [
        "trend.duckdb",
        "calm.duckdb",
    ]
    [check] = [
        check
        for check in openbell("doctor", "--db", "calm.duckdb", "--json").answer["checks"]
        if check["subject"] == "database"
    ]
    assert check["found"].startswith("calm.duckdb")
