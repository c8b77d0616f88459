"""The broker of an account, connected: to trade a session with, to look at, or to stop what nobody trades.

The rule: whoever only looks, or stops, makes no account. One that is not there says nothing about what is held.
"""

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trading.brokers.dry_run import DryRun
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.clocks.wall_clock import WallClock
from trading.errors import BrokerUnavailable, Unreconciled
from trading.ports import Broker, Ledger, SimulatedMarket
from trading.settings import FeedKind, Settings
from trading.stop_at_rest import BrokerAtRest


@dataclass(frozen=True, slots=True)
class TradingBroker:
    """Who executes a session's orders; ``market`` is its other side where that is simulated."""

    broker: Broker
    market: SimulatedMarket | None


def account_name(settings: Settings, kind: FeedKind) -> str:
    """The account that is meant: the one named, else the broker's, else one apart for invented prices.

    Empty where only the broker knows.
    """
    if settings.session.account is not None:
        return settings.session.account
    if settings.broker.kind == "ib":
        return settings.broker.ib.account or ""
    return "synthetic" if kind is FeedKind.SYNTHETIC else "paper"


def paper_account_path(settings: Settings, account: str) -> Path:
    """The file of the simulated account: the one named, else beside the database."""
    named = settings.broker.paper.path
    if named is not None:
        return named
    store = settings.store.path
    # Only the usual ending gives way: ledgers of other names keep accounts of their own.
    return store.with_name(f"{store.name.removesuffix('.duckdb')}.{account}.sqlite")


def broker_to_trade_with(
    settings: Settings, account: str, opens_at: datetime, ledger: Ledger, closing: contextlib.ExitStack
) -> TradingBroker:
    """The broker of a session that opens at ``opens_at``; an account that is not there yet is made.

    Raises ``BrokerUnavailable``, and ``Unreconciled`` where the account has a past that ``ledger`` does not know.
    """
    file = PaperFile(paper_account_path(settings, account), account)
    closing.callback(file.close)
    broker = PaperBroker(account, settings.broker.paper, opens_at, file)
    if broker.has_traded and ledger.opening_cash(account) is None:
        raise Unreconciled(
            f"The paper account {file.path} has traded before, and {settings.store.path} knows nothing of it: it belongs "
            "to another database. Move the file away to start a new account, or name another with broker.paper.path "
            "or --account."
        )
    return TradingBroker(broker, broker)


def sending_nothing(broker: Broker) -> Broker:
    """The broker of a dry run: it answers questions, and is handed no order, change or cancel."""
    return DryRun(broker)


def broker_to_look_at(settings: Settings, account: str, closing: contextlib.ExitStack) -> Broker:
    """The broker, to be asked and nothing else; raises ``Unreconciled`` or ``BrokerUnavailable`` where there is none to ask."""
    if _is_elsewhere(settings, account):
        from tasks.ib_composition import connect_at_rest

        return DryRun(connect_at_rest(settings, account, closing).broker)
    path = paper_account_path(settings, account)
    if not path.exists():
        raise Unreconciled(
            f"The broker cannot be asked: there is no paper account {path}. That says nothing about what is held. Name "
            "the file with broker.paper.path, or the account with --account."
        )
    return _paper_at_rest(settings, account, path, closing, read_only=True)


def broker_to_stop(settings: Settings, account: str, closing: contextlib.ExitStack) -> BrokerAtRest:
    """The broker of an account that nobody trades, to cancel and to close there; raises ``BrokerUnavailable`` where there is none."""
    if _is_elsewhere(settings, account):
        from tasks.ib_composition import connect_at_rest

        return connect_at_rest(settings, account, closing)
    path = paper_account_path(settings, account)
    if not path.exists():
        raise BrokerUnavailable(
            f"The broker cannot be asked: there is no paper account {path}. That says nothing about what works there. "
            "Name the file with broker.paper.path."
        )
    return BrokerAtRest(
        _paper_at_rest(settings, account, path, closing, read_only=False),
        lambda: "a simulated account trades only while a session shows it bars",
    )


def _is_elsewhere(settings: Settings, account: str) -> bool:
    """Whether the account is at Interactive Brokers: a ledger may have simulated ones beside it."""
    if settings.broker.kind != "ib":
        return False
    return (
        account in (settings.session.account, settings.broker.ib.account)
        or not paper_account_path(settings, account).exists()
    )


def copy_paper_account(settings: Settings, copy: Settings, account: str) -> None:
    """Put the account as it is now in the place that ``copy`` has for it; where there is none, nothing is there afterwards.

    Raises ``BrokerUnavailable``. Somebody may trade it meanwhile.
    """
    path, target = paper_account_path(settings, account), paper_account_path(copy, account)
    target.unlink(missing_ok=True)
    if path.exists():
        with contextlib.closing(PaperFile(path, account, read_only=True)) as file:
            file.write_copy(target)


def _paper_at_rest(
    settings: Settings, account: str, path: Path, closing: contextlib.ExitStack, read_only: bool
) -> PaperBroker:
    file = PaperFile(path, account, read_only=read_only)
    closing.callback(file.close)
    return PaperBroker(account, settings.broker.paper, WallClock().now(), file)
