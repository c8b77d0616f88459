"""What can be known before the slow part: a wrong setting, a closed day or a missing bar is told at once.

Everything here is done again, and recorded, by the session itself; this only spares a person the wait for Prefect.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tasks.composition import assemble
from tasks.feed_composition import feed_kind
from trading.sessions import Mode, SessionState, SessionSummary
from trading.settings import FeedKind, Settings
from trading.trading_hours import TradingHours

_MODES = {FeedKind.RECORDED: Mode.RECORDED, FeedKind.SYNTHETIC: Mode.SYNTHETIC, FeedKind.IB: Mode.LIVE}


@dataclass(frozen=True, slots=True)
class Preflight:
    """A session that can start: its name, its hours, what it came to already where it was traded before.

    ``settings`` name the feed that was meant, so that naming the date does not change it. ``db`` is where the session is written:
    the ledger, or a dry run's copy of it.
    """

    settings: Settings
    db: Path
    session_id: str
    hours: TradingHours
    resumed: bool
    completed: SessionSummary | None


def check_before_start(
    settings: Settings, session_date: date | None, known: MutableMapping[str, object], dry_run: bool = False
) -> Preflight:
    """Open everything the session needs once, look, and close it again.

    What is learned of the session goes into ``known`` at once, for the case that it is refused. Raises what the session
    would: ``ConfigurationError``, ``RefusedToTrade``, ``StoreError`` or ``BrokerError``.
    """
    kind = feed_kind(settings, session_date)
    named = settings.model_copy(update={"feed": settings.feed.model_copy(update={"kind": kind})})
    with assemble(named, session_date, dry_run=dry_run) as desk:
        known.update(session_id=desk.agent.session_id, session_date=desk.hours.session_date, mode=_MODES[kind].value)
        found = desk.store.ledger.find_session(desk.agent.session_id)
        completed = None
        if found is not None and found.state is SessionState.COMPLETED:
            # Refuses where the same day was traded with something else, and writes nothing.
            desk.agent.open_session()
            completed = desk.agent.summary()
        else:
            going_on = found if found is not None and found.last_bar_time is not None else None
            desk.agent.standing_halts(going_on)
            desk.agent.require_welcome(going_on)
        resumed = found is not None and found.last_bar_time is not None
        return Preflight(named, desk.store.path, desk.agent.session_id, desk.hours, resumed, completed)
