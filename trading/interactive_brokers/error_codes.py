"""What the gateway's error codes mean to us, in one table.

The list of the broker is long, and its words change; what decides is what we do about a code. Of an order no code is believed
alone: what sounds like a refusal or an end is asked about, and so is a code that is not in the table. Source: TWS API,
"Message Codes".
"""

from enum import StrEnum


class Meaning(StrEnum):
    """What a code leads to."""

    NOTICE = "notice"
    """Nothing: it is written to the log."""
    ORDER_WARNING = "order_warning"
    """The order stands; the broker remarks something about it (399, 404, 2109)."""
    ORDER_REFUSED = "order_refused"
    """The order, or the change of one, was not taken, as it says."""
    ORDER_OVER = "order_over"
    """The order is cancelled (202)."""
    ORDER_DOUBTFUL = "order_doubtful"
    """It sounds like an end and often is none (10349, 104)."""
    CANCEL_NOT_POSSIBLE = "cancel_not_possible"
    """There is nothing left to cancel: the order is over or was never there."""
    CONTRACT_UNKNOWN = "contract_unknown"
    """No instrument fits the description."""
    NO_DATA = "no_data"
    """The question was understood, and there are no data."""
    NO_ANSWER = "no_answer"
    """The question got no answer for now: too many questions, or the data servers are away. Asking again later is right."""
    DATA_NOT_ALLOWED = "data_not_allowed"
    """The account has no subscription, or another session has it."""
    DATA_DELAYED = "data_delayed"
    """What comes is delayed."""
    BROKER_AWAY = "broker_away"
    BROKER_BACK_DATA_LOST = "broker_back_data_lost"
    BROKER_BACK = "broker_back"
    FARM_BROKEN = "farm_broken"
    FARM_WELL = "farm_well"
    CLIENT_ID_IN_USE = "client_id_in_use"
    LINE_UNUSABLE = "line_unusable"
    """This connection is of no use any more."""


_CODES: dict[Meaning, tuple[int, ...]] = {
    Meaning.ORDER_WARNING: (399, 404, 434, 492, 2109, 2137, 2161, 10311, 10318),
    Meaning.ORDER_REFUSED: (103, 105, 106, 107, 109, 110, 111, 200, 201, 203, 321, 383, 387, 388, 436, 10052),
    Meaning.ORDER_OVER: (202,),
    Meaning.ORDER_DOUBTFUL: (104, 10349),
    Meaning.CANCEL_NOT_POSSIBLE: (135, 161, 10147, 10148),
    Meaning.NO_DATA: (162, 165),
    Meaning.NO_ANSWER: (100, 322, 366, 420, 504, 10182, 2110),
    Meaning.DATA_NOT_ALLOWED: (354, 10089, 10090, 10168, 10186, 10197),
    Meaning.DATA_DELAYED: (10167,),
    Meaning.BROKER_AWAY: (1100,),
    Meaning.BROKER_BACK_DATA_LOST: (1101,),
    Meaning.BROKER_BACK: (1102,),
    Meaning.FARM_BROKEN: (2103, 2105, 2157),
    Meaning.FARM_WELL: (2104, 2106, 2158),
    Meaning.CLIENT_ID_IN_USE: (326,),
    Meaning.LINE_UNUSABLE: (501, 502, 503, 507, 1300),
}
_MEANINGS = {code: meaning for meaning, codes in _CODES.items() for code in codes}


def meaning_of(code: int) -> Meaning | None:
    """What a code means; None for one that is not in the table and no mere notice."""
    found = _MEANINGS.get(code)
    if found is not None:
        return found
    return Meaning.NOTICE if 2100 <= code < 2200 else None


def refuses_history(text: str) -> Meaning:
    """What a 162 means: it is told of a question that has no data, and of one that came too soon or was never served.

    Only the broker's words tell them apart; what is not surely "no data" counts as no answer.
    """
    words = text.lower()
    return Meaning.NO_DATA if "no data" in words or "returned no" in words else Meaning.NO_ANSWER
