"""What is left of a day when it is over, in words: positions that were held into the night, orders that nobody has explained."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from storage.overnight import StandingOrder, positions_after, standing_orders
from storage.store import Store
from trading.orders import OrderStatus, TimeInForce
from trading.sessions import SessionRecord
from trading.settings import Settings


@dataclass(frozen=True, slots=True)
class Overnight:
    """What an account had after a day. ``is_meant``: its session was set to hold positions. The rest is as of now."""

    account: str
    session_date: date
    positions: dict[str, int]
    is_meant: bool
    unexplained: tuple[str, ...]

    @property
    def is_in_order(self) -> bool:
        """Whether nothing is left that a person should look at."""
        return not self.unexplained and (self.is_meant or not self.positions)


def overnight_of(store: Store, record: SessionRecord) -> Overnight:
    """What is left of a session's day in its account."""
    settings = Settings.model_validate_json(record.settings)
    return Overnight(
        record.account,
        record.session_date,
        positions_after(store, record.account, record.session_date),
        settings.closing.hold_overnight,
        tuple(_unexplained(store, record)),
    )


def overnight_lines(left: Overnight) -> list[str]:
    """A section of a page."""
    lines = ["## Left overnight"]
    held = ", ".join(f"{symbol} {quantity:,}" for symbol, quantity in left.positions.items())
    if held and left.is_meant:
        lines.append(f"Held overnight, as closing.hold_overnight is set: {held}.")
    elif held:
        lines.append(
            f"**Positions were left open: {held}.** They should have been closed before the bell. Nobody watches them until the next "
            "session; `openbell flatten` closes them where the broker takes orders."
        )
    lines += [f"- **{words}**" for words in left.unexplained]
    return [*lines, *([] if len(lines) > 1 else ["Nothing: no position and no order."])]


def _unexplained(store: Store, record: SessionRecord) -> Iterator[str]:
    for order in standing_orders(store, record.account, record.session_date):
        if order.time_in_force == TimeInForce.DAY or order.status == OrderStatus.UNKNOWN:
            yield _not_over(order)
    ledger = store.ledger
    for seen in ledger.external_orders(record.account):
        yield (
            f"An order that was made elsewhere works in the account: {seen.side} {seen.quantity:,} {seen.symbol} (the broker's number "
            f"{seen.broker_order_id}, seen at {seen.seen_at:%Y-%m-%d %H:%M} UTC)"
        )
    for fill in ledger.external_fills(record.account):
        yield (
            f"A trade that was made elsewhere is no part of the book: {fill.side} {fill.quantity:,} {fill.symbol} at {fill.price} (execution "
            f"{fill.exec_id}); openbell reconcile --repair --claim {fill.symbol} takes it in"
        )
    for lock in ledger.locks(record.account):
        yield f"No new risk is taken in {lock.symbol} since {lock.locked_at:%Y-%m-%d %H:%M} UTC: {lock.reason}"


def _not_over(order: StandingOrder) -> str:
    return (
        f"Order {order.client_order_id} of {order.session_date} is {order.status} and should be over: {order.side} {order.remaining:,} "
        f"{order.symbol}, {order.time_in_force}"
    )
