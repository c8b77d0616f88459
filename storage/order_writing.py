"""Orders and what happens to them, written: intents, steps, fills and amendments of one commit.

The rule: ``orders`` says after each commit what its events, fills and accepted amendments come to.
"""

from collections.abc import Sequence
from dataclasses import replace

from storage.connection import Connection
from storage.fact_table import exact
from storage.facts import ORDER_AMENDMENTS, ORDER_EVENTS, ORDERS
from storage.fill_booking import book_all, book_fills
from storage.order_standing import NOT_SENT, advance, save, shares_filled, standing_of
from storage.reading import amendment_of
from storage.restating import days_to_restate
from trading.orders import Fill, OrderAmendment, OrderEvent, OrderStatus, status_with_fills
from trading.ports import LedgerEntries

_AMENDABLE = ("quantity", "limit_price", "stop_price", "trail_amount", "trail_fraction")


def write_orders(
    connection: Connection, session_id: str, entries: LedgerEntries, absorb: bool, finished: bool
) -> Sequence[tuple[int, Fill]]:
    """Write all of it, inside a transaction; returns the new fills with their booking numbers.

    With ``absorb`` intents and steps may be there already. ``finished``: it is all of a replay, whose fills are new and
    final.
    """
    if not (entries.intents or entries.order_events or entries.fills or entries.amendments or entries.reopened):
        return ()
    events = _new_events(connection, entries.order_events) if absorb else entries.order_events
    taking_up = _new_events(connection, entries.reopened) if absorb else entries.reopened
    reopened = {event.client_order_id: event.status for event in taking_up}
    restated = () if finished else days_to_restate(connection, entries.fills)
    booked = (book_all if finished else book_fills)(connection, session_id, entries.fills)
    for days in restated:
        days.write(booked)
    filled = shares_filled(booked.changes)
    intents = {intent.client_order_id: intent for intent in entries.intents}
    touched = {event.client_order_id for event in events} | filled.keys() | reopened.keys()
    before = standing_of(connection, sorted(touched | intents.keys() if absorb else touched - intents.keys()))
    fresh = {name: intent for name, intent in intents.items() if name not in before}
    # The one step back comes before whatever else has happened to the order since.
    taken_up = {
        name: (quantity, replace(standing, status=reopened.get(name, standing.status)))
        for name, (quantity, standing) in before.items()
    }
    after = advance(taken_up | {name: (intent.quantity, NOT_SENT) for name, intent in fresh.items()}, events, filled)
    ORDERS.write(connection, session_id, [(intent, after[name][1]) for name, intent in fresh.items()])
    save(connection, [(name, after[name][1]) for name in before if after[name] != before[name]])
    # A replay commits several sessions at once: the step of an order belongs to the order's.
    owners = {name: intent.session_id for name, intent in intents.items()}
    events = [*taking_up, *events]
    if not session_id:
        owners |= _sessions_of(connection, [event.client_order_id for event in events])
    steps = [ORDER_EVENTS.row(owners.get(event.client_order_id, session_id), event) for event in events]
    ORDER_EVENTS.write_rows(connection, steps)
    for amendment in entries.amendments:
        _amend(connection, session_id, amendment)
    return booked.new


def _sessions_of(connection: Connection, client_order_ids: Sequence[str]) -> dict[str, str]:
    """The session of each order that the ledger has."""
    return dict(
        connection.rows(
            "SELECT client_order_id, session_id FROM orders WHERE client_order_id IN (SELECT unnest(?))",
            [list(client_order_ids)],
        )
    )


def _new_events(connection: Connection, events: Sequence[OrderEvent]) -> list[OrderEvent]:
    known = set(
        connection.rows(
            "SELECT client_order_id, event_time, status, detail FROM order_events"
            " WHERE client_order_id IN (SELECT unnest(?))",
            [[event.client_order_id for event in events]],
        )
    )
    named = {(event.client_order_id, event.event_time, str(event.status), event.detail): event for event in events}
    return [event for key, event in named.items() if key not in known]


def _amend(connection: Connection, session_id: str, amendment: OrderAmendment) -> None:
    """Write what is known of one amendment; an answer stays, and an accepted one changes its order once.

    A later amendment that was accepted before has the last word: what both change stays as the later one has it.
    """
    said = connection.execute(
        f"SELECT client_order_id, number, amended_at, status, {', '.join(_AMENDABLE)} FROM order_amendments"
        " WHERE client_order_id = ? AND number >= ? ORDER BY number",
        [amendment.client_order_id, amendment.number],
    ).fetchall()
    known = [amendment_of(row) for row in said]
    here = known[0] if known and known[0].number == amendment.number else None
    if here is None:
        ORDER_AMENDMENTS.write(connection, session_id, [amendment])
    elif here.status is OrderStatus.SUBMITTED and amendment.status is not OrderStatus.SUBMITTED:
        connection.execute(
            "UPDATE order_amendments SET status = ? WHERE client_order_id = ? AND number = ?",
            [amendment.status, amendment.client_order_id, amendment.number],
        )
    else:
        return
    if amendment.status is OrderStatus.ACCEPTED:
        wanted = here or amendment  # what was saved is what was sent
        later = [it for it in known if it.number > wanted.number and it.status is OrderStatus.ACCEPTED]
        _change_order(connection, wanted.client_order_id, _changes([wanted, *later]))


def _changes(amendments: Sequence[OrderAmendment]) -> dict[str, object]:
    """What the amendments, in their order, come to."""
    changes: dict[str, object] = {}
    for amendment in amendments:
        for name in _AMENDABLE:
            value = getattr(amendment, name)
            if value is not None:
                changes[name] = value if name == "quantity" else exact(value)
    return changes


def _change_order(connection: Connection, client_order_id: str, changes: dict[str, object]) -> None:
    if not changes:
        return
    connection.execute_planned(
        f"UPDATE orders SET {', '.join(f'{name} = ?' for name in changes)} WHERE client_order_id = ?",
        [*changes.values(), client_order_id],
    )
    # Read by the hand that writes: the order may have moved in this same transaction.
    found = connection.execute(
        "SELECT quantity, status, filled_quantity, broker_order_id, attempts FROM orders WHERE client_order_id = ?",
        [client_order_id],
    ).fetchall()
    for quantity, status, filled, broker_order_id, attempts in found:
        standing = replace(NOT_SENT, status=OrderStatus(status), filled=filled, broker_order_id=broker_order_id)
        reached = status_with_fills(standing.status, filled, quantity)
        if reached is not standing.status:
            save(connection, [(client_order_id, replace(standing, status=reached, attempts=attempts))])
