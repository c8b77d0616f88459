"""Words on an order's standing, and codes of errors: one table each."""

import pytest

from trading.interactive_brokers.error_codes import Meaning, meaning_of, refuses_history
from trading.interactive_brokers.statuses import Said, meaning_of_status, status_of
from trading.orders import OrderStatus


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ApiPending", Said.ON_ITS_WAY),
        ("PendingSubmit", Said.ON_ITS_WAY),
        ("PreSubmitted", Said.WORKING),
        ("Submitted", Said.WORKING),
        ("PendingCancel", Said.ENDING),
        ("ApiCancelled", Said.OVER),
        ("Cancelled", Said.OVER),
        ("Inactive", Said.HELD),
        ("Filled", Said.FILLED),
        ("", Said.HELD),
        ("a word of a later version", Said.HELD),
    ],
)
def test_what_a_word_amounts_to(word: str, said: Said) -> None:
    assert meaning_of_status(word) is said


@pytest.mark.parametrize(
    ("said", "filled", "status"),
    [
        (Said.ON_ITS_WAY, 0, OrderStatus.SUBMITTED),
        (Said.ON_ITS_WAY, 1, OrderStatus.PARTIALLY_FILLED),
        (Said.WORKING, 0, OrderStatus.ACCEPTED),
        (Said.WORKING, 1, OrderStatus.PARTIALLY_FILLED),
        (Said.HELD, 0, OrderStatus.ACCEPTED),
        (Said.ENDING, 1, OrderStatus.CANCEL_PENDING),
        (Said.OVER, 1, OrderStatus.CANCELLED),
        (Said.FILLED, 100, OrderStatus.FILLED),
    ],
)
def test_our_status_for_a_word_that_is_believed(said: Said, filled: int, status: OrderStatus) -> None:
    assert status_of(said, filled) is status


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (103, Meaning.ORDER_REFUSED),
        (104, Meaning.ORDER_DOUBTFUL),
        (110, Meaning.ORDER_REFUSED),
        (135, Meaning.CANCEL_NOT_POSSIBLE),
        (162, Meaning.NO_DATA),
        (200, Meaning.ORDER_REFUSED),
        (201, Meaning.ORDER_REFUSED),
        (202, Meaning.ORDER_OVER),
        (326, Meaning.CLIENT_ID_IN_USE),
        (354, Meaning.DATA_NOT_ALLOWED),
        (399, Meaning.ORDER_WARNING),
        (1100, Meaning.BROKER_AWAY),
        (1101, Meaning.BROKER_BACK_DATA_LOST),
        (1102, Meaning.BROKER_BACK),
        (1300, Meaning.LINE_UNUSABLE),
        (2103, Meaning.FARM_BROKEN),
        (2104, Meaning.FARM_WELL),
        (2109, Meaning.ORDER_WARNING),
        (2119, Meaning.NOTICE),
        (10147, Meaning.CANCEL_NOT_POSSIBLE),
        (10148, Meaning.CANCEL_NOT_POSSIBLE),
        (10167, Meaning.DATA_DELAYED),
        (10349, Meaning.ORDER_DOUBTFUL),
    ],
)
def test_what_a_code_means(code: int, meaning: Meaning) -> None:
    assert meaning_of(code) is meaning


@pytest.mark.parametrize("code", [0, 999, 2200, 99999])
def test_a_code_that_nobody_knows_means_nothing_and_is_no_mere_notice(code: int) -> None:
    assert meaning_of(code) is None


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("Historical Market Data Service error message:HMDS query returned no data: SPY@SMART Trades", Meaning.NO_DATA),
        ("Historical Market Data Service error message:Historical data request pacing violation", Meaning.NO_ANSWER),
        ("API historical data query cancelled: 5", Meaning.NO_ANSWER),
    ],
)
def test_162_is_told_apart_by_its_words(words: str, meaning: Meaning) -> None:
    assert refuses_history(words) is meaning
