"""What the broker means when it gives no bars, and what a person is told to change."""

from trading.interactive_brokers.error_codes import Meaning, meaning_of, refuses_history

_HISTORY_SERVICE, _LIVE_SERVICE = 162, 420
_NOT_ALLOWED = ("permission", "subscri", "not allowed")


def meaning_for_data(code: int, text: str) -> Meaning | None:
    """As ``meaning_of``, for an answer to a question for bars: codes that say several things are told apart by their words."""
    words = text.lower()
    if code in (_HISTORY_SERVICE, _LIVE_SERVICE) and any(word in words for word in _NOT_ALLOWED):
        return Meaning.DATA_NOT_ALLOWED
    if code == _HISTORY_SERVICE:
        return refuses_history(text)
    if code == 200:
        return Meaning.CONTRACT_UNKNOWN
    return meaning_of(code)


def is_pacing_violation(text: str) -> bool:
    """Whether a question was refused because too many were asked."""
    words = text.lower()
    return "pacing" in words or "max rate" in words


def not_allowed(symbol: str, code: int, text: str) -> str:
    """For a person: the account may not see this symbol's data."""
    if code == 10197:
        return (
            f"Interactive Brokers gives no data of {symbol} while another session of the same user has them "
            f"(error {code}: {text}). Log the user out elsewhere, or give the API a user of its own."
        )
    return (
        f"The account may not see live data of {symbol} (error {code}: {text}). Subscribe to its exchange's data in the "
        "Client Portal under Settings > Market Data Subscriptions (and share it with the paper account), or leave the symbol "
        'out. broker.ib.market_data = "delayed" looks at bars that are 10 to 20 minutes old; nothing is to be traded on those.'
    )


def only_delayed(symbol: str, code: int, text: str) -> str:
    """For a person: what comes is old, and live bars were asked for."""
    return (
        f"Data of {symbol} are delayed (error {code}: {text}), and broker.ib.market_data is live. Subscribe to its exchange's "
        'data, or set broker.ib.market_data = "delayed" to look only.'
    )
