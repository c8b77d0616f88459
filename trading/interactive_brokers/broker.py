"""The account at Interactive Brokers behind the broker port.

The trading thread asks; everything that is known of orders lives on the connection's thread. The rule: a word that could be wrong is
asked about before it is passed on, silence is never an answer, and nothing is sent a second time before the broker was asked
for it by its reference.
"""

import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from trading.errors import BrokerError, BrokerUnavailable
from trading.interactive_brokers.account_values import balances_of, cash_of
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.day_questions import DayQuestions, all_of
from trading.interactive_brokers.lasting_doubts import LastingDoubts
from trading.interactive_brokers.messages import AccountValueTold, PositionTold
from trading.interactive_brokers.order_changes import OrderChanges
from trading.interactive_brokers.order_handover import Instruments, OrderHandover
from trading.interactive_brokers.restart_windows import window_around
from trading.money import round_money
from trading.orders import Execution, OrderAmendment, OrderIntent
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, BrokerPosition, OrderReport

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_CURRENCY = "CASH"


class IbBroker:
    """One account. ``name`` is what the ledger calls it; None: as the broker does. Make it before the connection is opened: it takes
    part in making it."""

    def __init__(self, connection: GatewayConnection, instruments: Instruments, name: str | None = None) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._instruments = instruments
        self._name = name
        self._day = DayQuestions(connection, instruments.symbol_of)
        self._handover = OrderHandover(self._day, instruments)
        self._changes = OrderChanges(self._day, instruments)
        self._doubts = LastingDoubts(connection, time.monotonic)

    # The port

    @property
    def source(self) -> str:
        """Fills of this broker are marked ``ib``."""
        return "ib"

    @property
    def connections(self) -> int:
        """Connections made, and returns of the broker behind the gateway."""
        return self._connection.connections

    @property
    def executions_kept_since(self) -> datetime:
        """Midnight of the gateway's day: it keeps no executions of earlier ones."""
        local = self._connection.clock.now().astimezone(ZoneInfo(self._settings.timezone))
        return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)

    def no_new_orders(self, at: datetime) -> str | None:
        """Why nothing new should be sent at ``at``: the gateway is about to restart, or does; None where it may be."""
        del at  # restarts are in the gateway's time, also where a session is late
        window = window_around(self._connection.clock.now(), self._settings)
        if window is None:
            return None
        local = window.starts_at.astimezone(ZoneInfo(self._settings.timezone))
        return f"the gateway restarts at {local:%H:%M} {self._settings.timezone} (broker.ib.restart_at)"

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        """Send one order and wait for the gateway's first word on it (see the port)."""
        [outcome] = self.submit_together([intent])
        if isinstance(outcome, BrokerError):
            raise outcome
        return outcome

    def submit_together(self, intents: Sequence[OrderIntent]) -> list[Acknowledgement | BrokerError]:
        """Send a parent and its children so that none of them works before the gateway has all.

        One answer for each, in their order. Orders that the broker has already are not sent.
        """
        legs = [self._handover.leg(intent) for intent in intents]

        async def handed_over() -> list[Acknowledgement | BrokerError]:
            await self._handover.hand_over(legs)
            # Here, and not on the asking thread: what is heard meanwhile would be a doubt that nobody has asked about.
            return [self._handover.outcome(leg) for leg in legs]

        return self._run(handed_over(), f"order {intents[0].client_order_id}", self._patience)

    def cancel(self, client_order_id: str) -> None:
        """Ask for what is left of an order to be cancelled (see the port)."""
        self._run(self._changes.cancel(client_order_id), f"cancel of {client_order_id}", self._patience)

    def replace(self, amendment: OrderAmendment) -> None:
        """Change a working order under the number it has (see the port)."""
        name = f"amendment {amendment.number} of {amendment.client_order_id}"
        self._run(self._changes.replace(amendment), name, self._patience)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        """The order under this reference; None only when open orders, executions and completed orders do not have it.

        Where the gateway does not tell completed orders, one that ended without a fill looks as if it had never been there:
        nothing works and nothing was done for it either way.
        """

        async def found() -> BrokerOrder | None:
            await self._day.ask_everything(f"order {client_order_id}")
            known = self._day.orders.find(client_order_id)
            return None if known is None or not known.is_there else self._day.orders.seen(known)

        return self._run(found(), f"order {client_order_id}", self._patience)

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        """What is new (see the port). Orders in doubt are asked about first; while that fails they are no news."""

        async def news() -> tuple[OrderReport | Execution, ...]:
            self._connection.require_line("news")
            with contextlib.suppress(BrokerUnavailable):
                if self._day.orders.doubts:
                    await self._day.ask_everything("orders in doubt")
                self._doubts.look(self._day.orders.doubts)
            await self._changes.fit_children()
            return tuple(self._day.orders.news(self._connection.clock.now()))

        return self._run(news(), "news", self._patience)

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        """The day's executions that no correction has replaced, asked for anew."""

        async def asked() -> tuple[Execution, ...]:
            await self._day.ask_executions()
            return self._day.orders.executions.counting(since)

        return self._run(asked(), "executions", self._patience)

    def account(self) -> BrokerAccount:
        """Positions, cash and open orders, asked for anew; the average cost of IB has the commissions in it."""

        async def asked() -> BrokerAccount:
            answered, seconds = self._connection.answered, self._day.answer_seconds
            positions, values, _ = await all_of(
                answered(lambda line: line.positions(), "positions", seconds),
                self._balances(seconds),
                self._day.ask_everything("open orders"),
            )
            return self._account_of(positions, values)

        return self._run(asked(), "account", self._patience)

    async def _balances(self, seconds: float) -> list[AccountValueTold]:
        from trading.interactive_brokers.library import RequestFailed

        account = self._connection.account
        try:
            return await self._connection.answered(
                lambda line: line.account_values(account), "balances", seconds, cuts_line=False
            )
        except RequestFailed as error:
            raise BrokerUnavailable(f"The balances of {account} were not told ({error}).") from error

    def _account_of(self, positions: list[PositionTold], values: list[AccountValueTold]) -> BrokerAccount:
        held = []
        for position in positions:
            if position.account != self._connection.account or not position.quantity:
                continue
            if position.instrument.security_type == _CURRENCY:
                continue  # money, of which the balances tell
            symbol = self._instruments.symbol_of(position.instrument)
            whole = int(position.quantity)
            if position.quantity != whole and self._instruments.known(symbol) is not None:
                raise BrokerUnavailable(
                    f"The account holds {position.quantity} {symbol}: fractions of shares cannot be kept in this ledger. Close "
                    "the fraction by hand."
                )
            if position.quantity != whole:
                _log.warning("a fraction is left out symbol=%s quantity=%s", symbol, position.quantity)
            if whole:
                held.append(BrokerPosition(symbol, whole, round_money(position.average_cost)))
        opened = tuple(self._day.orders.seen(one) for one in self._day.orders.open_orders())
        cash = cash_of(values)
        if cash is None:
            raise BrokerUnavailable("The broker's balances do not say how much cash there is.")
        currency, balances = balances_of(values)
        return BrokerAccount(self._name or self._connection.account, cash, tuple(held), opened, balances, currency)

    @property
    def _patience(self) -> float:
        """Longer than any of the waits that one call is made of: they end by themselves."""
        return 4 * self._day.answer_seconds + 2 * float(self._settings.acknowledgement_timeout_seconds)

    def _run(self, work: Coroutine[Any, Any, _T], what: str, seconds: float) -> _T:
        return self._connection.run(work, what, seconds)
