"""What the broker's words on an order's standing mean, in one table, and which of them are not believed alone.

``Cancelled`` is also said of an order that works (error 10349, a change that failed), ``Inactive`` of one that was refused, of
one that waits for a person, and of one that is held: such words start a question, and only its answer ends an order.
"""

from enum import StrEnum

from trading.orders import OrderStatus


class Said(StrEnum):
    """What one word of the broker amounts to."""

    ON_ITS_WAY = "on_its_way"
    """The gateway has it; nobody else has answered yet."""
    WORKING = "working"
    ENDING = "ending"
    """A cancel is under way."""
    OVER = "over"
    """An end, to be asked about."""
    HELD = "held"
    """Not working, for whatever reason, to be asked about."""
    FILLED = "filled"


_WORDS = {
    "ApiPending": Said.ON_ITS_WAY,
    "PendingSubmit": Said.ON_ITS_WAY,
    "PreSubmitted": Said.WORKING,
    "Submitted": Said.WORKING,
    "PendingCancel": Said.ENDING,
    "ApiCancelled": Said.OVER,
    "Cancelled": Said.OVER,
    "Inactive": Said.HELD,
    "Filled": Said.FILLED,
}


def meaning_of_status(word: str) -> Said:
    """What it amounts to; a word that nobody knows is asked about like a doubtful one."""
    return _WORDS.get(word, Said.HELD)


def status_of(said: Said, filled: int) -> OrderStatus:
    """Our status for a word that is believed, of an order with so many shares filled."""
    if said is Said.FILLED:
        return OrderStatus.FILLED
    if said is Said.ENDING:
        return OrderStatus.CANCEL_PENDING
    if said is Said.OVER:
        return OrderStatus.CANCELLED
    if filled:
        return OrderStatus.PARTIALLY_FILLED
    return OrderStatus.SUBMITTED if said is Said.ON_ITS_WAY else OrderStatus.ACCEPTED
