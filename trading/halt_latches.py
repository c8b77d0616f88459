"""What keeps a session from taking new risk now: halts, and locks on symbols that nobody can explain.

Halts are latches: one stands until a person clears it or its own stated end has come, whatever happens to what tripped it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from trading.decisions import Halt


class HaltLatches:
    """The halts and locks of one session. Owned by the thread that trades."""

    def __init__(self) -> None:
        self._halts: dict[tuple[str, str], Halt] = {}
        self._locks: Mapping[str, str] = {}
        self._all_locked: str | None = None

    def take_up(self, halts: Iterable[Halt]) -> None:
        """Obey these halts from now on."""
        for halt in halts:
            before = self._halts.get((halt.scope, halt.rule))
            # None is shortened by another of the same rule: each stands until its own end.
            if before is None or _ends_later(halt, before):
                self._halts[halt.scope, halt.rule] = halt

    def clear(self, scope: str) -> list[Halt]:
        """Obey halts of exactly this scope no more; those that stood."""
        cleared = [halt for halt in self._halts.values() if halt.scope == scope]
        for halt in cleared:
            del self._halts[halt.scope, halt.rule]
        return cleared

    def expire(self, at: datetime) -> list[Halt]:
        """Obey halts no more whose own end has come; those that ended."""
        if not self._halts:
            return []
        over = [halt for halt in self._halts.values() if halt.expires_at is not None and halt.expires_at <= at]
        for halt in over:
            del self._halts[halt.scope, halt.rule]
        return over

    def stands(self, scope: str, rule: str) -> bool:
        """Whether a halt of this rule stands under exactly this scope."""
        return (scope, rule) in self._halts

    @property
    def standing(self) -> tuple[Halt, ...]:
        """All halts that are obeyed."""
        return tuple(self._halts.values())

    @property
    def halted(self) -> str | None:
        """Why no new risk is taken anywhere; None while trading is free."""
        return next((halt.reason for halt in self._halts.values() if halt.symbol is None), None)

    def halted_for(self, symbol: str) -> str | None:
        """Why no new risk is taken in this symbol, by a halt or a lock; None while it is free."""
        if self._all_locked is not None:
            return self._all_locked
        if symbol in self._locks:
            return self._locks[symbol]
        return self.latched_for(symbol)

    def latched_for(self, symbol: str) -> str | None:
        """Why a halt keeps this symbol from new risk; None where none does."""
        if not self._halts:
            return None
        return next((halt.reason for halt in self._halts.values() if halt.symbol in (None, symbol)), None)

    def lock(self, reasons: Mapping[str, str]) -> None:
        """From now on take no new risk in exactly these symbols, besides what halts forbid."""
        self._locks = reasons
        self._all_locked = None

    def lock_everything(self, reason: str) -> None:
        """Take no new risk in any symbol until the next ``lock``: nobody knows what the account holds."""
        self._all_locked = reason


def _ends_later(halt: Halt, other: Halt) -> bool:
    if other.expires_at is None:
        return False
    return halt.expires_at is None or halt.expires_at > other.expires_at
