"""Past bars out of settings, and who trades them in a replay. No Prefect here."""

from datetime import datetime

from tasks.feed_composition import file_source
from trading.brokers.paper import PaperBroker
from trading.clocks.wall_clock import WallClock
from trading.errors import DataNotFit
from trading.feeds.synthetic_history import SyntheticHistory
from trading.history_replay import HistoryReplay
from trading.ports import BarSource, Policy, Remembering, ReplayLedger
from trading.sessions import Mode
from trading.settings import FeedKind, Settings


def source_to_replay(settings: Settings) -> BarSource | None:
    """Where bars come from besides the database; None: from there. Raises ``DataNotFit`` where there is none to ask."""
    session = settings.session
    if settings.feed.kind is FeedKind.SYNTHETIC:
        return SyntheticHistory(settings.feed.synthetic, session.exchange, session.timeframe)
    source = file_source(settings)
    if source is None and not settings.store.path.exists():
        raise DataNotFit(
            f"There is no database {settings.store.path} to take bars from. Import some with 'openbell import-bars FILE --symbol "
            "SYMBOL', name a file with --bars, or replay an invented market (--feed synthetic)."
        )
    return source


def replay_on_paper(
    settings: Settings, account: str, policy: Policy, opens_at: datetime, ledger: ReplayLedger
) -> HistoryReplay:
    """A replay on a simulated account in memory. A policy with a memory begins without one."""
    if isinstance(policy, Remembering):
        policy.take_up_states({})
    broker = PaperBroker(account, settings.broker.paper, opens_at)
    mode = Mode.SYNTHETIC if settings.feed.kind is FeedKind.SYNTHETIC else Mode.RECORDED
    return HistoryReplay(settings, account, policy, broker, broker, ledger, WallClock(), mode)
