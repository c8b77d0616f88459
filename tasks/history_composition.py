"""Past bars out of settings, and who trades them in a replay. No Prefect here."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

from tasks.feed_composition import file_source
from trading.brokers.paper import PaperBroker
from trading.clocks.wall_clock import WallClock
from trading.errors import DataNotFit
from trading.feeds.bar_folder import BarFolder
from trading.feeds.synthetic_history import SyntheticHistory
from trading.history_replay import HistoryReplay
from trading.past_bars import PastBars, PastBarsKind
from trading.ports import BarSource, Policy, Remembering, ReplayLedger
from trading.sessions import Mode
from trading.settings import FeedKind, Settings


def kind_of_past_bars(settings: Settings, files: str | None) -> PastBarsKind | None:
    """Where past bars are to be had: files that are named, else Interactive Brokers where the settings are for it; None: nowhere."""
    if files is not None:
        return "files"
    return "ib" if settings.feed.kind is FeedKind.IB or settings.broker.kind == "ib" else None


@contextlib.contextmanager
def past_bars(settings: Settings, kind: PastBarsKind, files: str | None) -> Iterator[PastBars]:
    """Who is asked for past bars. Raises ``ConfigurationError`` for files that are not there, ``BrokerNotReady`` without a line."""
    if kind == "ib":
        # Whoever has files does not wait for what it takes to import.
        from tasks.ib_composition import past_bars_at_ib

        with past_bars_at_ib(settings) as bars:
            yield bars
        return
    folder = BarFolder(files or "", settings.session.timeframe, settings.feed)
    yield PastBars("files", folder.name, lambda: datetime.now(UTC), folder.between)


def source_to_replay(settings: Settings) -> BarSource | None:
    """Where bars come from besides the database; None: from there. Raises ``DataNotFit`` where there is none to ask."""
    session = settings.session
    if settings.feed.kind is FeedKind.SYNTHETIC:
        return SyntheticHistory(settings.feed.synthetic, session.exchange, session.timeframe, WallClock())
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
