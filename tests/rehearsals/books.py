"""The gateway's own book beside the ledger: what must be true of the two after a day, whatever went wrong in it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from rehearsal_plan import ACCOUNT, LEDGER, Plan
from truths import half_done

from storage.store import open_store
from trading.money import round_money

Rows = Callable[[str], Sequence[tuple[Any, ...]]]

_CASH_TOLERANCE = Decimal("1.00")
_OVER = ("FILLED", "CANCELLED", "REJECTED", "EXPIRED")
_NOT_OF_LIVE_SESSIONS = (
    # Asked below, but for orders whose executions were corrected after they had filled.
    "an order's status does not fit its fills",
    # Nor for what has to go before the close, also of a symbol whose bars have stopped.
    "an order without a decision on its bar",
    # Fills of a live market come in the middle of a bar and are told when they come: the bar that they count in is the next one.
    "cash is not what the fills up to the bar have left of it",
)
_NOT_WHERE_NOBODY_DECIDES = (
    "two orders of one bar and symbol",
    "a decision without its bar, or a bar without its decision",
)


@dataclass(frozen=True, slots=True)
class GatewaysBook:
    """What the control door tells of the account that is traded."""

    orders: list[dict[str, Any]]
    executions: list[dict[str, Any]]
    replaced: list[dict[str, Any]]
    positions: dict[str, int]
    cash: Decimal
    faults_fired: list[str]
    faults_waiting: list[str]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "GatewaysBook":
        """The book out of the door's answer."""
        account = told["accounts"][ACCOUNT]
        executions = [one for one in told["executions"] if one["account"] == ACCOUNT]
        return cls(
            [one for one in told["orders"] if one["account"] == ACCOUNT],
            [one for one in executions if not one["is_replaced"]],
            [one for one in executions if one["is_replaced"]],
            {symbol: int(one["quantity"]) for symbol, one in account["positions"].items() if int(one["quantity"])},
            Decimal(account["cash"]),
            [one["action"] for one in told["faults_fired"]],
            list(told["faults_waiting"]),
        )

    @property
    def ours(self) -> list[dict[str, Any]]:
        """Orders that a session made."""
        return [one for one in self.orders if one["order_ref"]]

    @property
    def has_foreign_trades(self) -> bool:
        """Whether somebody else has traded in the account."""
        return any(not one["order_ref"] for one in self.executions)


def differences(book: GatewaysBook, home: Path, plan: Plan, was_restarted: bool) -> list[str]:
    """Everything that must not be, in words; nothing where all is as it should."""
    excused = (*_NOT_OF_LIVE_SESSIONS, *(_NOT_WHERE_NOBODY_DECIDES if plan.brackets else ()))
    with open_store(home / LEDGER, read_only=True) as store:
        rows = store.connection.rows
        found = [
            *(one for one in half_done(rows) if not one.startswith(excused)),
            *_orders(book, rows),
            *_statuses(rows),
            # A bar that comes again after a restart may lack a symbol that it had: history does not always answer.
            *([] if plan.brackets or was_restarted else _undecided(rows)),
            *_false_ends(book, rows),
            *_fills(book, rows),
            *_balances(book, rows),
        ]
    return list(dict.fromkeys(found))


def _orders(book: GatewaysBook, rows: Rows) -> Iterator[str]:
    """One broker order for each intent, of the right shares, and both say the same of it."""
    intents = {
        name: facts
        for name, *facts in rows("SELECT client_order_id, symbol, side, quantity, status, filled_quantity FROM orders")
    }
    for reference, count in Counter(one["order_ref"] for one in book.ours).items():
        if count > 1:
            yield f"{count} broker orders for the one intent {reference}"
    there: dict[str, dict[str, Any]] = {one["order_ref"]: one for one in book.ours}
    if unintended := sorted(there.keys() - intents.keys()):
        yield f"the broker has orders that were never intended: {_shown(unintended)}"
    for name, (symbol, side, quantity, status, filled) in intents.items():
        theirs = there.get(name)
        if theirs is None:
            if status not in ("EXPIRED", "REJECTED", "CANCELLED"):
                yield f"order {name} is {status} in the ledger and the broker never had it"
            continue
        if (theirs["symbol"], theirs["action"]) != (symbol, side):
            yield f"order {name} is {side} {symbol}, the broker's {theirs['action']} {theirs['symbol']}"
        if theirs["quantity"] > quantity and not theirs["filled"] > quantity:
            yield f"order {name} is for {quantity}, the broker's for {theirs['quantity']}"
        their_end = {"Filled": "FILLED", "Cancelled": "CANCELLED"}.get(theirs["status"])
        if filled != theirs["filled"]:
            yield f"order {name} has {filled} filled in the ledger, {theirs['filled']} at the broker"
        if theirs["is_over"] and status not in _OVER:
            yield f"order {name} is {status} in the ledger and {theirs['status']} at the broker"
        if not theirs["is_over"] and status in _OVER and theirs["status"] != "Inactive":
            yield f"order {name} is {status} in the ledger and works at the broker ({theirs['status']})"
        if their_end == "FILLED" and status != "FILLED":
            yield f"order {name} is filled at the broker and {status} in the ledger"


def _statuses(rows: Rows) -> Iterator[str]:
    """An order is filled when its fills say so, unless they were corrected since. What protects another is no larger than that."""
    found = rows(
        """
        SELECT client_order_id, status, quantity, filled_quantity FROM orders
        WHERE ((status = 'FILLED') <> (filled_quantity = quantity) AND parent_id IS NULL
                OR (status IN ('CREATED', 'SUBMITTED', 'ACCEPTED', 'REJECTED') AND filled_quantity > 0))
            AND client_order_id NOT IN (SELECT client_order_id FROM superseded_fills)
        """
    )
    if found:
        yield f"an order's status does not fit its fills: {_shown(found)}"


def _false_ends(book: GatewaysBook, rows: Rows) -> Iterator[str]:
    """Nobody believed an order to be over that was filled later, or works still."""
    ended = dict(
        rows(
            """
            SELECT client_order_id, min_by(status, event_time) FROM order_events
            WHERE status IN ('CANCELLED', 'REJECTED', 'EXPIRED') GROUP BY 1
            """
        )
    )
    revived = {
        name
        for (name,) in rows("SELECT client_order_id FROM order_events WHERE detail = 'found working at the broker'")
    }
    for one in book.ours:
        name, is_there = one["order_ref"], one["status"] in ("Filled", "Submitted", "PreSubmitted")
        # What was refused is kept as Inactive; whoever comes later cannot tell it from what waits for a person, and takes it up.
        if name in ended and (is_there or (name in revived and ended[name] != "REJECTED")):
            yield f"order {name} was taken for {ended[name]} and is {one['status']}"


def _undecided(rows: Rows) -> Iterator[str]:
    found = rows(
        """
        SELECT client_order_id FROM orders JOIN sessions USING (session_id)
        WHERE bar_time <= last_bar_time
            AND NOT EXISTS (FROM decisions AS d WHERE (d.session_id, d.bar_time, d.symbol)
                = (orders.session_id, orders.bar_time, orders.symbol))
            AND NOT EXISTS (FROM risk_checks AS r WHERE (r.session_id, r.bar_time, r.symbol)
                = (orders.session_id, orders.bar_time, orders.symbol) AND verdict = 'FLATTENED')
            AND NOT EXISTS (FROM stops WHERE stops.session_id = orders.session_id AND started_at <= created_at)
        """
    )
    if found:
        yield f"orders without a decision on their bar: {_shown(found)}"


def _fills(book: GatewaysBook, rows: Rows) -> Iterator[str]:
    """No execution lost, none invented, each with its price and its commission."""
    fills = {
        exec_id: (order, symbol, side, quantity, price, commission)
        for exec_id, order, symbol, side, quantity, price, commission in rows(
            "SELECT exec_id, client_order_id, symbol, side, quantity, price, commission FROM fills"
        )
    }
    external = {
        exec_id: (symbol, side, quantity, price, commission)
        for exec_id, symbol, side, quantity, price, commission in rows(
            "SELECT exec_id, symbol, side, quantity, price, commission FROM external_fills"
        )
    }
    for one in book.executions:
        facts = (one["symbol"], one["side"], int(one["quantity"]), round_money(Decimal(one["price"])))
        told = (*facts, round_money(Decimal(one["commission"])))
        if one["order_ref"]:
            booked = fills.pop(one["exec_id"], None)
            if booked is None:
                yield f"execution {one['exec_id']} of {one['order_ref']} is not in the ledger: {facts}"
            elif booked != (one["order_ref"], *told):
                yield f"fill {one['exec_id']} is {booked} in the ledger, {(one['order_ref'], *told)} at the broker"
        else:
            noted = external.pop(one["exec_id"], None)
            if noted is None:
                yield f"execution {one['exec_id']} made elsewhere is not recorded: {facts}"
            elif noted != told:
                yield f"execution {one['exec_id']} made elsewhere is recorded as {noted}, and was {told}"
    if fills:
        yield f"the ledger has fills that were never executed: {_shown(sorted(fills.items()))}"
    if external:
        yield f"the ledger has trades made elsewhere that nobody made: {_shown(sorted(external.items()))}"


def _balances(book: GatewaysBook, rows: Rows) -> Iterator[str]:
    """Positions and cash add up to the broker's, or the symbol takes no new risk."""
    held: defaultdict[str, int] = defaultdict(int)
    traded = """
        SELECT symbol, sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END),
            sum(CASE side WHEN 'BUY' THEN -quantity * price ELSE quantity * price END - coalesce(commission, 0))
        FROM {} GROUP BY 1
    """
    [(opening,)] = rows("SELECT starting_equity - starting_realized_pnl FROM sessions ORDER BY started_at LIMIT 1") or [
        (0,)
    ]
    cash = Decimal(opening)
    for table in ("fills", "external_fills"):
        for symbol, shares, money in rows(traded.format(table)):
            held[symbol] += int(shares)
            cash += money
    locked = {symbol for (symbol,) in rows("SELECT symbol FROM instrument_locks WHERE lifted_at IS NULL")}
    for symbol in sorted(held.keys() | book.positions.keys()):
        if held[symbol] != book.positions.get(symbol, 0) and symbol not in locked:
            yield f"{symbol}: the ledger comes to {held[symbol]}, the broker holds {book.positions.get(symbol, 0)}, and it is not locked"
    if abs(cash - book.cash) > _CASH_TOLERANCE:
        yield f"cash comes to {cash} in the ledger, {book.cash} at the broker"


def is_expected(kind: str, subject: str, book: GatewaysBook) -> bool:
    """Whether a comparison may leave this open."""
    del subject
    return kind == "average_price" and book.has_foreign_trades


def alerts_too_many(told: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """Each episode is told once: it begins, and ends before it can begin again."""
    for lines in told:
        standing: set[tuple[str, str]] = set()
        known: set[tuple[str, str]] = set()
        for one in lines:
            if one["what"] != "alert":
                continue
            key = (one["kind"], one["subject"])
            if one["over"]:
                # What began before there was a session to tell it was told to the log.
                if key not in standing and key in known:
                    yield f"the end of {key} is told, and nobody was told that it began"
                standing.discard(key)
            elif key in standing:
                yield f"{key} is told twice: {one['text']}"
            else:
                standing.add(key)
            known.add(key)


def _shown(found: Sequence[Any]) -> str:
    return ", ".join(str(one) for one in found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
