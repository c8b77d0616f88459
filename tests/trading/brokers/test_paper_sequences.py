"""A file that is closed and opened again, anywhere and however often, changes nothing of what follows."""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.errors import OrderRefused
from trading.orders import (
    AUCTIONS,
    LIMITED,
    STOPPED,
    Execution,
    OrderAmendment,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from trading.ports import BrokerAccount, BrokerOrder, OrderReport
from trading.settings import PaperSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
_NUMBER = itertools.count()


class Life:
    """One account's life by a list of steps. With a path the account is left and taken up again where a step says so."""

    def __init__(self, path: Path | None) -> None:
        self._settings = PaperSettings.model_validate({"max_volume_fraction": "0.1", "initial_cash": 100_000})
        self._path = path
        self._file: PaperFile | None = None
        self._opened = OPEN
        self._minute = 0
        self._orders: list[str] = []
        self._amendments = itertools.count(1)
        self.told: list[OrderReport | Execution] = []
        self.refused: list[int] = []
        self._connect()
        self.broker.begin_session(resumed=False)

    def _connect(self) -> None:
        if self._path is not None:
            if self._file is not None:
                self._file.close()
            self._file = PaperFile(self._path, "paper")
        self.broker = PaperBroker("paper", self._settings, self._opened, self._file)

    def reopen(self) -> None:
        """A process dies and another one connects: it hears the day as it was told."""
        if self._path is None:
            return
        self._connect()
        again = list(self.broker.poll())
        assert again == self.told[len(self.told) - len(again) :]
        newest = [one for one in self.told[-1:] for one in again[-1:]]
        assert len(newest) == min(len(self.told), 1)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, step: Any) -> None:
        now = self._opened + timedelta(minutes=self._minute)
        try:
            match step:
                case ("send", kind, side, quantity, tif, one, other, group, parent):
                    name = f"o{len(self._orders)}"
                    self._orders.append(name)
                    intent = OrderIntent(
                        name,
                        "s",
                        "paper",
                        now,
                        "SPY",
                        side,
                        quantity,
                        Decimal(100),
                        now + timedelta(minutes=1),
                        kind,
                        TimeInForce.DAY if kind in AUCTIONS else tif,
                        limit_price=Decimal(one) if kind in LIMITED else None,
                        stop_price=Decimal(other) if kind in STOPPED else None,
                        trail_fraction=Decimal("0.013") if kind is OrderType.TRAILING_STOP else None,
                        oca_group=group,
                        parent_id=None if parent is None else f"o{parent}",
                    )
                    self.broker.submit(intent)
                case ("bar", (opened, high, low, close), volume):
                    self._minute += 1
                    moment = self._opened + timedelta(minutes=self._minute)
                    prices = (opened, max(opened, high, low, close), min(opened, high, low, close), close)
                    bar = Bar("SPY", moment, *map(Decimal, prices), volume)  # type: ignore[arg-type]
                    self.broker.see(BarSlice(moment, {"SPY": bar}))
                case ("cancel", number):
                    self.broker.cancel(f"o{number}")
                case ("replace", number, quantity):
                    change = OrderAmendment(f"o{number}", next(self._amendments), now, OrderStatus.SUBMITTED, quantity)
                    self.broker.replace(change)
                case _:
                    self.broker.end_of_session(self._opened + timedelta(hours=6, minutes=30))
                    self.told += self.broker.poll()
                    # Another process trades the next session.
                    self._opened, self._minute = self._opened + timedelta(days=1), 0
                    if self._path is not None:
                        self.reopen()
                    self.broker.begin_session(resumed=False)
        except OrderRefused:
            self.refused.append(len(self.told))
        self.told += self.broker.poll()

    def ends(self) -> tuple[BrokerAccount, list[BrokerOrder | None], Any, list[int]]:
        found = [self.broker.find_order(name) for name in self._orders]
        return self.broker.account(), found, self.told, self.refused


_PRICE = st.integers(95, 105)
_STEPS = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(
                st.just("send"),
                st.sampled_from(OrderType),
                st.sampled_from(Side),
                st.integers(1, 12),
                st.sampled_from(TimeInForce),
                _PRICE,
                _PRICE,
                st.sampled_from([None, None, "g"]),
                st.one_of(st.none(), st.none(), st.integers(0, 4)),
            ),
            st.tuples(
                st.just("bar"), st.tuples(_PRICE, _PRICE, _PRICE, _PRICE), st.sampled_from([None, 0, 30, 70, 1_000])
            ),
            st.tuples(st.just("cancel"), st.integers(0, 8)),
            st.tuples(st.just("replace"), st.integers(0, 8), st.integers(1, 12)),
            st.tuples(st.just("another day")),
        ),
        st.booleans(),
    ),
    max_size=30,
)


@given(steps=_STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_an_account_that_was_left_anywhere_goes_on_as_if_it_had_not_been(tmp_path: Path, steps: list[Any]) -> None:
    undisturbed, kept, left = (
        Life(None),
        Life(tmp_path / f"{next(_NUMBER)}.sqlite"),
        Life(tmp_path / f"{next(_NUMBER)}.sqlite"),
    )
    for step, reopens in steps:
        for life in (undisturbed, kept, left):
            life.take(step)
        if reopens:
            left.reopen()
    assert undisturbed.ends() == kept.ends() == left.ends()
    assert_told_in_order(undisturbed.told)
    for life in (kept, left):
        life.close()


def assert_told_in_order(told: list[OrderReport | Execution]) -> None:
    """An execution is told right before the report of its order; no order is told of before it is accepted or after its end."""
    seen: dict[str, OrderStatus] = {}
    for place, one in enumerate(told):
        if isinstance(one, Execution):
            report = told[place + 1]
            assert isinstance(report, OrderReport)
            assert (report.client_order_id, report.event_time) == (one.client_order_id, one.executed_at)
            assert report.status in (OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED)
            continue
        before = seen.get(one.client_order_id)
        assert (before is None) == (one.status is OrderStatus.ACCEPTED)
        assert before is None or not before.is_final
        seen[one.client_order_id] = one.status
