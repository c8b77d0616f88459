"""A change of limits while a session runs: validated as a whole, and written down with what it was before."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LimitChange:
    """One setting of ``[risk]`` that was changed, or that somebody tried to change.

    Values are JSON texts. ``refusal`` says why the change as a whole was turned away (then nothing was changed); empty where
    it was made. All settings of one change share ``change_id``.
    """

    change_id: str
    session_id: str
    changed_at: datetime
    changed_by: str
    name: str
    old_value: str
    new_value: str
    refusal: str = ""
