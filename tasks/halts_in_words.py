"""Halts as plain values that JSON can say: which stand, and what is odd about the scope of one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from storage.door_sign import read_sign
from storage.halt_flag import flagged
from storage.questions import accounts_of, session_dates, sessions_on, standing_halts
from storage.session_traded import session_traded_by
from storage.store import Store
from storage.visit import Visit
from trading.errors import ConfigurationError
from trading.settings import Settings

_KINDS = ("account:", "strategy:", "symbol:")


def check_scope(scope: str) -> str:
    """The scope, its symbol in capitals; raises ``ConfigurationError`` for what is none."""
    if scope != "all" and not (scope.startswith(_KINDS) and scope.partition(":")[2]):
        raise ConfigurationError(
            f"The scope {scope!r} is none. Write all, account:NAME, strategy:NAME or symbol:NAME, for example account:paper."
        )
    kind, _, name = scope.partition(":")
    return f"symbol:{name.upper()}" if kind == "symbol" else scope


def standing(store: Store, now: datetime) -> list[dict[str, Any]]:
    """Every halt that stands, oldest first, then flags that nobody has obeyed yet (``is_flag``)."""
    at = _session_time(store, now)
    halts = [
        {
            "scope": one.scope,
            "reason": one.reason,
            "rule": one.rule,
            "halted_at": one.halted_at.isoformat(),
            "expires_at": None if one.expires_at is None else one.expires_at.isoformat(),
            "is_flag": False,
        }
        for one in standing_halts(store, at)
    ]
    flags = [
        {
            "scope": one.arguments["scope"],
            "reason": one.arguments["reason"],
            "rule": "operator",
            "halted_at": one.asked_at.isoformat(),
            "expires_at": None,
            "is_flag": True,
        }
        for one in flagged(store.path)
    ]
    return halts + flags


def _session_time(store: Store, now: datetime) -> datetime:
    """The moment for which halts count: that of the session which has the database, also where it trades an earlier day."""
    sign = read_sign(store.path)
    if sign is None or not isinstance(store.connection, Visit):
        return now
    record = session_traded_by(store.connection, sign.pid)
    return now if record is None or record.last_bar_time is None else min(now, record.last_bar_time)


def accounts_in(store: Store, scope: str) -> list[str]:
    """The ledger's accounts that a scope touches; a symbol can be in any."""
    kind, _, name = scope.partition(":")
    known = accounts_of(store)
    if kind == "account":
        return [name] if name in known else []
    if kind == "strategy":
        return [account for account in known if store.ledger.last_session_date(account, name) is not None]
    return known


def unknown_in(store: Store, scope: str) -> list[str]:
    """What to say of a scope that names what nobody knows: a slip of the hand, or a halt ahead of its time."""
    kind, _, name = scope.partition(":")
    accounts = accounts_of(store)
    if kind == "account" and name not in accounts:
        return [f"No account {name} is known here ({_known(accounts)}): the halt waits for its first session."]
    if kind == "strategy" and not accounts_in(store, scope):
        return [f"No strategy {name} is known here: the halt waits for its first session."]
    if kind == "symbol" and name not in (symbols := _symbols(store, accounts)):
        waits = "the halt waits for a session that trades it"
        return [f"The symbol {name} is not known here ({_known(symbols)}): {waits}."]
    return []


def _symbols(store: Store, accounts: Sequence[str]) -> list[str]:
    """What is held, works, or was traded by the newest sessions."""
    found: set[str] = set()
    for account in accounts:
        found.update(store.ledger.last_prices(account))
        found.update(order.intent.symbol for order in store.ledger.open_orders(account))
    for day in session_dates(store)[-1:]:
        for record in sessions_on(store, day):
            found.update(Settings.model_validate_json(record.settings).session.symbols)
    return sorted(found)


def _known(names: Sequence[str]) -> str:
    return f"known: {', '.join(names[:20])}" if names else "none is"
