"""The flow at Interactive Brokers, against a rehearsal gateway: the same flow, and a line that is closed however it ends."""

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.trading_session import run
from storage.questions import ask
from trading.errors import BrokerNotReady
from trading.hooks import Happening, HookEvent, observing_sessions
from trading.sessions import Mode, SessionState
from trading.settings import Settings, parse_settings

pytestmark = pytest.mark.usefixtures("prefect_server")

Start = Callable[..., Any]


def settings_for(gateway: Any, folder: Path, **ib: object) -> Settings:
    return parse_settings(
        {
            "broker": {"kind": "ib", "ib": {"port": gateway.port, **ib}},
            "policy": {"name": "buy_and_hold"},
            "session": {"late_policy": "trade"},
            "store": {"path": folder / "ledger.duckdb"},
        },
        "the test",
    )


def lines_to_gateways() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "gateway-line"]


@pytest.fixture
def afternoon(start_gateway: Start) -> Iterator[Any]:
    """Twenty minutes before the close, ten minutes a second from the first question for live data on."""
    with start_gateway("--speed", 600, "--start", "15:40", "--wait-for-client", running=True) as gateway:
        yield gateway


def test_a_dry_run_sends_nothing(tmp_path: Path, afternoon: Any) -> None:
    settings = settings_for(afternoon, tmp_path)
    rehearsed = run(settings, None, dry_run=True)
    assert (rehearsed.state, rehearsed.fills, rehearsed.db) == (
        SessionState.COMPLETED, 0, str(tmp_path / "ledger.dry-run.duckdb"),
    )  # fmt: skip
    assert afternoon.book()["orders"] == []
    assert not (tmp_path / "ledger.duckdb").exists()
    assert lines_to_gateways() == []


def test_the_last_minutes_of_a_day_are_traded(tmp_path: Path, afternoon: Any) -> None:
    summary = run(settings_for(afternoon, tmp_path), None)
    assert (summary.state, summary.mode, summary.discrepancies) == (SessionState.COMPLETED, Mode.LIVE, 0)
    # Bought on the first bar, sold before the close.
    assert summary.fills == 2
    ours = {name for (name,) in ask(tmp_path / "ledger.duckdb", "select client_order_id from orders").rows}
    assert {order["order_ref"] for order in afternoon.book()["orders"]} == ours
    assert lines_to_gateways() == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes that are started in the background may have been told to ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_flow_that_is_refused_or_interrupted_leaves_no_line(tmp_path: Path, afternoon: Any) -> None:
    with pytest.raises(BrokerNotReady, match="DU7777777 is meant"):
        run(settings_for(afternoon, tmp_path, account="DU7777777"), None)
    assert lines_to_gateways() == []
    interrupted = threading.Event()

    def interrupt(_: Happening) -> None:
        if not interrupted.is_set():
            interrupted.set()
            _thread.interrupt_main()

    with observing_sessions({HookEvent.BAR_PROCESSED: interrupt}), pytest.raises(KeyboardInterrupt):
        run(settings_for(afternoon, tmp_path), None)
    assert lines_to_gateways() == []
    assert ask(tmp_path / "ledger.duckdb", "select state from sessions").rows == (("STOPPED",),)
