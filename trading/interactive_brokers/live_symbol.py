"""What a live session knows of one symbol: its bars in the making, and what is being done about those that lack something."""

from dataclasses import dataclass

from trading.interactive_brokers.live_minutes import LiveMinutes, SessionGrid


@dataclass(slots=True)
class Repair:
    """A question to history for the bars ``first`` to ``last``, asked at ``asked_at`` (seconds of the wall)."""

    first: int
    last: int
    asked_at: float


class LiveSymbol:
    """One symbol of a live session. Used under the stream's lock."""

    def __init__(self, symbol: str, grid: SessionGrid, first: int) -> None:
        self.symbol = symbol
        self.minutes = LiveMinutes(grid, first)
        self.listened_since_us = grid.opens_us
        """From when on bars should have come: the open, or when they were subscribed to last."""
        self.heard_at_us = grid.opens_us
        """The server's time when something new of it came last."""
        self.has_news = False
        """Something new has come, and nobody has looked at the time since."""
        self.is_silent = False
        self.repair: Repair | None = None
        self.answered_through = first - 1
        """History was asked for all bars up to this one after they were over, and has answered."""
        self.ask_again_at = float("-inf")
        self._vain_questions = 0

    def repaired(self, answered: bool, wall: float, pause: float) -> None:
        """A question is over. One in vain is not asked again at once: twice as much later each time."""
        repair, self.repair = self.repair, None
        if repair is None:
            return
        in_vain = not answered or self.minutes.row(repair.last) is None
        if answered:
            self.answered_through = max(self.answered_through, repair.last)
        if not in_vain:
            self.ask_soon()
        elif self.is_silent or not answered:
            self.ask_again_at = wall + pause * 2 ** min(self._vain_questions, 6)
            self._vain_questions += 1

    def ask_soon(self) -> None:
        """Something has changed: a question may be answered now."""
        self._vain_questions = 0
        self.ask_again_at = float("-inf")
