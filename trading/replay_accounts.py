"""How accounts of replays are called: a replay is no trading, and nothing may take it for that."""

import re

PREFIX = "replay-"
PATTERN = rf"^{PREFIX}[A-Za-z0-9_\-]{{1,33}}$"
"""What a person may name one; as long as an account's name may be."""


def may_name_a_replay(account: str) -> bool:
    """Whether a replay may be kept under this name."""
    return re.fullmatch(PATTERN, account) is not None


def is_replay(account: str) -> bool:
    """Whether the account is one that a replay of many sessions made."""
    return account.startswith(PREFIX)
