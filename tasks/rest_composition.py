"""An account that nobody trades at the moment, ready to be compared with its broker, or to be stopped. No Prefect here."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from storage.questions import accounts_of
from storage.store import Store, open_store
from tasks.broker_composition import broker_to_look_at, broker_to_stop
from trading.account_at_rest import reconciler_at_rest
from trading.errors import BrokerUnavailable, ConfigurationError
from trading.reconciler import Reconciler
from trading.settings import Settings
from trading.stop_at_rest import BrokerAtRest, StopAtRest
from trading.stops import StopStep

_TRIED_AGAIN_AFTER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ReconciliationDesk:
    """An account ready to be compared with its broker, outside of any session."""

    reconciler: Reconciler
    account: str
    store: Store


@contextlib.contextmanager
def assemble_reconciliation(settings: Settings, account: str | None, repairs: bool) -> Iterator[ReconciliationDesk]:
    """Open the ledger and the account's broker; without ``repairs`` both only for looking.

    ``account`` is the one named in the settings, or the ledger's only one, where none is given. Makes neither a database
    nor an account. Raises ``ConfigurationError``, ``StoreError`` (``StoreBusy`` while a session trades), ``Unreconciled``
    where there is no account to ask.
    """
    with contextlib.ExitStack() as stack:
        if not settings.store.path.exists():
            raise ConfigurationError(f"There is no database {settings.store.path}. Name another with --db.")
        store = stack.enter_context(open_store(settings.store.path, read_only=not repairs))
        named = account_in(store, account or settings.session.account)
        broker = broker_to_look_at(settings, named, stack)
        settle = functools.partial(time.sleep, float(settings.orders.settle_seconds))
        yield ReconciliationDesk(reconciler_at_rest(settings, named, broker, store.ledger, settle), named, store)


class _NotTooOften:
    """A connection that has just failed is not tried again at once: each try may take as long as it is allowed to."""

    def __init__(self, connect: Callable[[], BrokerAtRest]) -> None:
        self._connect = connect
        self._failed: BrokerUnavailable | None = None
        self._again_at = 0.0

    def __call__(self) -> BrokerAtRest:
        if self._failed is not None and time.monotonic() < self._again_at:
            raise self._failed
        try:
            return self._connect()
        except BrokerUnavailable as error:
            self._failed, self._again_at = error, time.monotonic() + _TRIED_AGAIN_AFTER_SECONDS
            raise


@dataclass(frozen=True, slots=True)
class StopDesk:
    """The ledger, held alone, and a way to stop each of its accounts while nobody trades it."""

    store: Store
    settings: Settings

    def controls(
        self, account: str, strategy: str | None, told: Callable[[StopStep], None], closing: contextlib.ExitStack
    ) -> StopAtRest:
        """What stops the account; its broker is connected when it is first needed, and left with ``closing``."""
        settings = self.settings

        connect = _NotTooOften(functools.partial(broker_to_stop, settings, account, closing))
        settle = functools.partial(time.sleep, float(settings.orders.settle_seconds))
        return StopAtRest(settings, account, self.store.ledger, connect, settle, strategy, told)


@contextlib.contextmanager
def assemble_stop(settings: Settings) -> Iterator[StopDesk]:
    """Open the ledger to stop what nobody trades. Makes the database where there is none: a halt stands before the first session.

    Raises ``StoreBusy`` while another process holds it, or another ``StoreError``.
    """
    with open_store(settings.store.path) as store:
        yield StopDesk(store, settings)


def account_in(store: Store, named: str | None) -> str:
    """The account that is meant: the one named, else the only one of the ledger; raises ``ConfigurationError``."""
    known = accounts_of(store)
    if named is None and len(known) == 1:
        return known[0]
    if named in known:
        return named
    there = f"it has {', '.join(known)}" if known else "it has none: no session was traded yet"
    asked = (
        "Several accounts could be meant" if named is None and known else f"There is no account {named or ''}".strip()
    )
    raise ConfigurationError(f"{asked} in the database {store.path}: {there}. Name one with --account.")
