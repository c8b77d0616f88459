"""Servers that speak the protocol and behave otherwise than the rehearsal gateway: what they leave out, and what they write badly."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.composition import assemble
from trading.bars import Timeframe
from trading.calendar import TradingCalendar
from trading.errors import BrokerNotReady, BrokerUnavailable, OutcomeUnknown
from trading.ib_settings import IbSettings
from trading.interactive_brokers.broker import IbBroker
from trading.interactive_brokers.broker_orders import BrokerOrders
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.episodes import Alert, EpisodeKind, Episodes
from trading.interactive_brokers.feed import IbFeed
from trading.interactive_brokers.messages import ErrorTold, ExecutionTold, Instrument, StatusTold, WireOrder
from trading.orders import Execution, OrderIntent, OrderStatus, Side
from trading.settings import parse_settings

OURS, ACCOUNT = 17, "DU1"
NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
SHARE = Instrument("AAA", 101)

Fields = list[str]
Answer = Callable[["Server", Fields], None]


@dataclass
class Server:
    """One client at a time. ``answers`` are what it does with a message, by the number of its kind; other kinds are ignored."""

    answers: dict[str, Answer]
    placed: list[Fields] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    line: socket.socket | None = None

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def tell(self, *fields: object) -> None:
        assert self.line is not None
        message = "".join(f"{one}\0" for one in fields).encode()
        self.line.sendall(struct.pack(">I", len(message)) + message)

    def serve(self) -> None:
        while True:
            try:
                self.line, _ = self.listener.accept()
                with self.line, self.line.makefile("rb") as heard:
                    heard.read(4)
                    self._frame(heard.read)
                    self.tell(176, "20260105 10:00:00 EST")
                    while fields := self._frame(heard.read):
                        if fields[0] in self.answers:
                            self.answers[fields[0]](self, fields)
            except OSError:
                if self.listener.fileno() < 0:
                    return

    @staticmethod
    def _frame(read: Callable[[int], bytes]) -> Fields:
        size = read(4)
        return read(struct.unpack(">I", size)[0]).decode().split("\0")[:-1] if len(size) == 4 else []


def _starts(server: Server, _: Fields) -> None:
    server.tell(15, 1, ACCOUNT)
    server.tell(9, 1, 1)


def _details(server: Server, asked: Fields) -> None:
    hours = ("", "", "", "", "", "US/Eastern", "", "", "", 0, 0, 0, "", "", "", "", "", "COMMON", 1, 1, 100)
    share = ("AAA", "STK", "", 0, "", "SMART", "USD", "AAA", "NMS", "NMS", 101, "0.01", "", "", "SMART", 1, 0)
    server.tell(10, asked[2], *share, "AAA INC", "NASDAQ", *hours[2:])
    server.tell(52, 1, asked[2])


def _balances(server: Server, asked: Fields) -> None:
    server.tell(73, 1, asked[2], ACCOUNT, "", "CashBalance", "1000", "USD")
    server.tell(74, 1, asked[2])


def _takes_in_silence(server: Server, asked: Fields) -> None:
    """An order is taken and not told of; its number again is refused."""
    if any(one[1] == asked[1] for one in server.placed):
        server.tell(4, 2, asked[1], 103, "Duplicate order id", "")
    server.placed.append(asked)


ANSWERS: dict[str, Answer] = {
    "71": _starts,
    "49": lambda server, _: server.tell(49, 1, int(NOW.timestamp())),
    "16": lambda server, _: server.tell(53, 1),
    "7": lambda server, asked: server.tell(55, 1, asked[2]),
    "99": lambda server, _: server.tell(102),
    "61": lambda server, _: server.tell(62, 1),
    "76": _balances,
    "9": _details,
}


@contextmanager
def connected_to(server: Server, **more: object) -> Iterator[tuple[GatewayConnection, IbBroker, Contracts]]:
    """The adapter, connected to a server."""
    threading.Thread(target=server.serve, daemon=True).start()
    patience = {"acknowledgement_timeout_seconds": "0.3", "answer_timeout_seconds": 5}
    settings = IbSettings.model_validate({"port": server.port, "restart_at": "off", **patience, **more})
    connection = GatewayConnection(settings)
    contracts = Contracts(connection)
    broker = IbBroker(connection, contracts)
    try:
        connection.open()
        yield connection, broker, contracts
    finally:
        connection.close()
        server.listener.close()


@contextmanager
def broker_at(server: Server) -> Iterator[tuple[IbBroker, Contracts]]:
    """What most of the tests need of it."""
    with connected_to(server) as (_, broker, contracts):
        yield broker, contracts


def intent(reference: str = "A") -> OrderIntent:
    return OrderIntent(reference, "s", ACCOUNT, NOW, "AAA", Side.BUY, 10, Decimal(100), NOW)


def position(
    kind: str, contract_id: int, quantity: object, local: str = "AAA", currency: str = "USD"
) -> Sequence[object]:
    return (61, 3, ACCOUNT, contract_id, "AAA", kind, "", 0, "", "", "", currency, local, "", quantity, 50)


# Orders that are there and are not shown


def test_an_order_that_is_not_shown_is_not_sent_under_another_number() -> None:
    """It is sent again under the number it had; that this number is taken says that the broker has it."""
    server = Server(ANSWERS | {"3": _takes_in_silence})
    with broker_at(server) as (broker, _):
        with pytest.raises(OutcomeUnknown):
            broker.submit(intent())
        assert broker.find_order("A") is None
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                broker.submit(intent())
        found = broker.find_order("A")
    assert len({one[1] for one in server.placed}) == 1
    assert len(server.placed) == 2
    assert found is not None
    assert found.status is OrderStatus.SUBMITTED


def test_a_number_that_another_order_has_is_left_to_it() -> None:
    """Of an order that was never sent before, the same error says that the number is somebody else's."""

    def taken(server: Server, asked: Fields) -> None:
        server.placed.append(asked)
        if len(server.placed) == 1:
            server.tell(4, 2, asked[1], 103, "Duplicate order id", "")
        else:
            server.tell(3, asked[1], "Submitted", 0, 10, 0, 777, 0, 0, OURS, "", 0)

    server = Server(ANSWERS | {"3": taken})
    with broker_at(server) as (broker, _):
        assert broker.submit(intent()).broker_order_id == "777"
    assert len({one[1] for one in server.placed}) == 2


def test_where_orders_that_are_over_are_not_told_trading_goes_on_with_what_works_and_was_done() -> None:
    silent = {kind: answer for kind, answer in ANSWERS.items() if kind != "99"}
    server = Server(silent | {"3": _takes_in_silence})
    with connected_to(server, connect_timeout_seconds=2) as (_, broker, _):
        assert broker.find_order("B") is None
        with pytest.raises(OutcomeUnknown):
            broker.submit(intent())
        assert broker.find_order("A") is None  # sent again it is the same order
        assert broker.account().open_orders == ()


def hang_up(line: socket.socket) -> None:
    with suppress(OSError):  # the other side was quicker
        line.shutdown(socket.SHUT_RDWR)


def desk() -> tuple[BrokerOrders, WireOrder]:
    orders = BrokerOrders(ACCOUNT, OURS, lambda instrument: instrument.symbol)
    sent = WireOrder("BUY", Decimal(10), "MKT", "DAY", "A", ACCOUNT, order_id=5, client_id=OURS)
    orders.sent("AAA", sent)
    return orders, sent


def executed(perm_id: int, shares: int = 10) -> ExecutionTold:
    return ExecutionTold(
        "1.2.3.01", 5, OURS, perm_id, "A", ACCOUNT, SHARE, "BOT", Decimal(shares), Decimal(100), NOW, -1
    )


@pytest.mark.parametrize("perm_id", [0, 777])
def test_an_order_of_which_only_the_execution_was_told_is_there(perm_id: int) -> None:
    """Its status was lost with the line, and completed orders are not told: else it would be sent once more."""
    orders, _ = desk()
    orders.begin_line()
    orders.hear(executed(perm_id))
    known = orders.find("A")
    assert known is not None
    assert known.is_told
    asked = orders.clock
    orders.settle(asked, is_complete=True)
    assert orders.status(known) is OrderStatus.FILLED
    [news, report] = orders.news(NOW)
    assert isinstance(news, Execution)
    assert not isinstance(report, Execution)
    assert report.status is OrderStatus.FILLED


def test_a_status_that_answers_the_question_for_open_orders_is_a_line_of_the_list() -> None:
    """Of a working order that is shown by its status alone nobody says that it is over."""
    orders, _ = desk()
    orders.hear(StatusTold(5, OURS, 777, "Submitted", Decimal(0), Decimal(10), None))
    orders.hear(ErrorTold(5, 10349, "Order TIF was set to DAY based on order preset"))
    orders.hear(StatusTold(5, OURS, 777, "Cancelled", Decimal(0), Decimal(10), None))
    asked = orders.clock
    orders.hear(StatusTold(5, OURS, 777, "Submitted", Decimal(0), Decimal(10), None))
    orders.settle(asked, is_complete=True)
    known = orders.find("A")
    assert known is not None
    assert known.ended is None
    orders.settle(orders.clock, is_complete=True)
    assert known.ended is not None


def test_an_open_order_that_cannot_be_read_to_its_end_is_open() -> None:
    """The library reads all of it or nothing; who it is, and for how much, stands at its beginning."""
    begins = ("101", "AAA", "STK", "", 0, "", "", "SMART", "USD", "AAA", "NMS")
    order = ("BUY", "10.0", "LMT", "99.5", "0", "DAY", "", ACCOUNT, "", 0, "A", OURS, 777, 0, 0)

    def listed(server: Server, _: Fields) -> None:
        server.tell(5, 5, *begins, *order)
        server.tell(53, 1)

    with broker_at(Server(ANSWERS | {"16": listed})) as (broker, _):
        [seen] = broker.account().open_orders
        found = broker.find_order("A")
    assert (seen.client_order_id, seen.broker_order_id, seen.quantity) == ("A", "777", 10)
    assert (seen.limit_price, seen.symbol) == (Decimal("99.5"), "AAA")
    assert found == seen


# Refusals to answer


def test_a_question_that_is_answered_with_an_error_is_not_answered() -> None:
    """Whoever asks hears so in the words of the port."""

    def refused(server: Server, asked: Fields) -> None:
        server.tell(4, 2, asked[2], 321, "Error validating request", "")

    with broker_at(Server(ANSWERS | {"76": refused, "9": refused})) as (broker, contracts):
        with pytest.raises(BrokerUnavailable, match="321"):
            broker.account()
        with pytest.raises(BrokerUnavailable, match="321"):
            contracts.look_up(["AAA"])


def test_positions_of_which_one_cannot_be_read_are_not_told() -> None:
    def told(server: Server, _: Fields) -> None:
        server.tell(61, 3, ACCOUNT, "AAA")
        server.tell(62, 1)

    with broker_at(Server(ANSWERS | {"61": told})) as (broker, _), pytest.raises(BrokerUnavailable, match="read"):
        broker.account()


def test_a_session_whose_contracts_are_not_told_is_refused(tmp_path: Path) -> None:
    """Nothing was sent, and whoever started it may start it again."""

    def refused(server: Server, asked: Fields) -> None:
        server.tell(4, 2, asked[2], 321, "Error validating request", "")

    with connected_to(server := Server(ANSWERS | {"9": refused})) as (connection, *_):
        connection.close()  # one client at a time
        document = {
            "session": {"symbols": ["AAA"]},
            "feed": {"kind": "ib"},
            "broker": {"kind": "ib", "ib": {"port": server.port, "restart_at": "off"}},
            "store": {"path": str(tmp_path / "a.duckdb"), "serve": False},
        }
        with pytest.raises(BrokerNotReady, match="321"), assemble(parse_settings(document, source="a test"), None):
            pass


# What an account holds besides


def test_options_currencies_and_other_shares_of_the_name_are_no_shares_of_the_symbol() -> None:
    def told(server: Server, _: Fields) -> None:
        server.tell(*position("STK", 101, 100))
        server.tell(*position("OPT", 700, 5, "AAA   260116C00100000"))
        server.tell(*position("STK", 102, 6))
        server.tell(*position("STK", 103, 7, currency="CAD"))
        server.tell(*position("CASH", 104, "1000.5", "AAA.USD"))
        server.tell(62, 1)

    with broker_at(Server(ANSWERS | {"61": told})) as (broker, contracts):
        contracts.look_up(["AAA"])
        held = {one.symbol: one.quantity for one in broker.account().positions}
    assert held == {"AAA": 100, "AAA 260116C00100000": 5, "AAA 102": 6, "AAA CAD": 7}


def test_a_fraction_of_what_is_not_traded_keeps_nobody_from_trading() -> None:
    """Of a symbol that is traded it does: the ledger could not keep it."""

    def told(server: Server, _: Fields) -> None:
        server.tell(*position("STK", 101, "10.5"))
        server.tell(62, 1)

    with broker_at(Server(ANSWERS | {"61": told})) as (broker, contracts):
        assert [one.quantity for one in broker.account().positions] == [10]
        contracts.look_up(["AAA"])
        with pytest.raises(BrokerUnavailable, match="fraction"):
            broker.account()


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("20260105 10:00:00 US/Eastern", 15),
        ("20260105 10:00:00 US/Pacific", 18),
        ("20260105  10:00:00 US/Pacific", 18),
        ("20260105  10:00:00", 15),
        ("20260105 10:00:00 Eastern Standard Time", 15),
        ("20260105-10:00:00", 10),
    ],
)
def test_an_execution_is_heard_however_its_time_is_written(written: str, hour: int) -> None:
    """A zone that this machine does not know counts as none: the execution is what matters."""

    def told(server: Server, asked: Fields) -> None:
        share = (101, "AAA", "STK", "", 0, "", "", "NASDAQ", "USD", "AAA", "NMS")
        server.tell(
            *(11, asked[2], 5, *share, "1.2.3.01", written, ACCOUNT, "NASDAQ", "BOT", 10, "100.5", 777),
            *(OURS, 0, 10, "100.5", "A", "", 0, "", 1),
        )
        server.tell(55, 1, asked[2])

    with broker_at(Server(ANSWERS | {"7": told})) as (broker, _):
        [execution] = broker.executions(None)
    assert execution.executed_at == NOW.replace(hour=hour)


# Bars


def test_one_bar_from_the_future_does_not_end_the_session() -> None:
    """Whoever took its time for the server's would have no bar left to wait for, and hold what it holds over the close."""
    hours = TradingCalendar("XNYS", NOW.date()).hours(NOW.date())
    now = [NOW]

    def subscribed(server: Server, asked: Fields) -> None:
        begins = [hours.closes_at - timedelta(seconds=5), *(NOW + timedelta(seconds=5 * place) for place in range(12))]
        now[0] = NOW + timedelta(minutes=1)
        for begin in begins:
            server.tell(50, 3, asked[2], int(begin.timestamp()), 10, 11, 9, 10, 100, 10, 5)

    def time_told(server: Server, _: Fields) -> None:
        server.tell(49, 1, int(now[0].timestamp()))

    with connected_to(Server(ANSWERS | {"49": time_told, "50": subscribed})) as (connection, _, contracts):
        feed = IbFeed(connection, contracts, Timeframe.MINUTE_1)
        moment = next(feed.stream(["AAA"], hours, NOW - timedelta(minutes=1)))
        clock = connection.clock.now()
        feed.end()
    assert moment.bar_time == NOW
    assert NOW <= clock < NOW + timedelta(minutes=5)


# Lines that are made and lost again and again


def test_a_line_that_is_cut_as_soon_as_it_is_made_is_made_less_and_less_often() -> None:
    """So does another program with the same number, where the server lets the newer one in: neither may try as fast as it can."""
    made: list[float] = []

    def cut(server: Server, _: Fields) -> None:
        made.append(time.monotonic())
        server.tell(102)
        line = server.line
        if len(made) > 1 and line is not None:  # a moment after it is made
            threading.Timer(0.05, hang_up, [line]).start()

    with connected_to(Server(ANSWERS | {"99": cut}), reconnect_first_seconds="0.1") as (connection, *_):
        connection.call(lambda line: line.disconnect(), "the end of the line")
        deadline = time.monotonic() + 20
        while len(made) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
    pauses = [later - earlier for earlier, later in pairwise(made[1:5])]
    assert len(made) >= 5
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True))


def test_what_comes_and_goes_is_told_again_once_it_stays() -> None:
    told: list[Alert] = []
    episodes = Episodes(told.append)
    for second in range(100):
        at = NOW + timedelta(seconds=2 * second)
        episodes.begin(EpisodeKind.DATA_FARM_BROKEN, "broken", at, "usfarm")
        episodes.end(EpisodeKind.DATA_FARM_BROKEN, "well", at + timedelta(seconds=1), "usfarm")
    assert len(told) == 10
    at = NOW + timedelta(minutes=4)
    episodes.begin(EpisodeKind.DATA_FARM_BROKEN, "broken", at, "usfarm")
    episodes.look(at + timedelta(minutes=1))
    assert len(told) == 10
    episodes.look(at + timedelta(minutes=3))
    assert [one.at for one in told[10:]] == [at]
    episodes.begin(EpisodeKind.DATA_FARM_BROKEN, "broken", at, "other")
    assert len(told) == 12
