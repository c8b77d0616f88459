"""How accounts of replays are called: a replay is no trading, and nothing may take it for that."""

PREFIX = "replay-"


def is_replay(account: str) -> bool:
    """Whether the account is one that a replay of many sessions made."""
    return account.startswith(PREFIX)
