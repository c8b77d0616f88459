"""Whether a recorded session would be decided again as it was: its bars, its settings and its policy, and what was held then.

Everything is read at once, also while a session holds the database; what is decided again is then nobody's business but ours. No
Prefect here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
from pydantic import ValidationError

from storage import policy_registry
from storage.policy_decisions import decisions_of, shadow_decisions_of
from storage.questions import equity_of
from storage.session_bars import bars_decided_on
from storage.store import Store
from storage.visit import read_from
from tasks.feed_composition import past_feed
from tasks.policy_composition import build_policy, find_bundle, policy_of, registered_bundle
from trading.bars import Bar, BarColumns, BarSlice
from trading.bundles.folder import Bundle, read_bundle
from trading.calendar import TradingCalendar
from trading.decision_comparison import DecisionComparison, Difference, Said, compare_decisions, said_in
from trading.decision_replay import BookThen, DecidedAgain, Held, decide_again
from trading.decisions import EquityPoint
from trading.errors import ConfigurationError
from trading.features.feature_set import FeatureSet
from trading.live_data_loader import LiveDataLoader
from trading.market_window import HistoryWindow
from trading.orchestrator_agent import bars_looked_back_on
from trading.orders import Fill
from trading.policy_settings import PolicyChoice, PolicySettings
from trading.policy_watch import PolicyWatch
from trading.ports import Policy
from trading.risk_events import RiskEventHandler
from trading.sessions import SessionRecord, SessionState
from trading.settings import Settings
from trading.trading_hours import TradingHours

HeldThen = Mapping[tuple[datetime, str], Held]


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """How one policy's decisions compare. ``recorded_fingerprint`` made them, ``fingerprint`` was asked again.

    ``features`` are what the model was shown at the first difference, by label; None without one, and where no model is asked.
    """

    recorded_fingerprint: str
    fingerprint: str
    comparison: DecisionComparison
    features: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class DecisionCheck:
    """A session decided again. ``shadow`` is None where none was asked for.

    ``uncertain_bars`` are those on which what was held could not be told from the fills: policies that look at it may differ there.
    """

    session: SessionRecord
    policy: PolicyCheck
    shadow: PolicyCheck | None
    uncertain_bars: int

    @property
    def is_same(self) -> bool:
        """Whether no row differs."""
        return not any(check.comparison.differences for check in (self.policy, self.shadow) if check is not None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A policy that is asked again, with what it said when it was recorded."""

    policy: Policy
    bundle: Bundle | None
    recorded_fingerprint: str
    recorded: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Everything of a session that is needed to decide it again."""

    session: SessionRecord
    settings: Settings
    hours: TradingHours
    policy: _Asked
    shadow: _Asked | None
    loader: LiveDataLoader
    warmup: Mapping[str, BarColumns]
    moments: Sequence[BarSlice]
    opening_cash: Decimal
    fills: Sequence[Fill]
    equity: Sequence[EquityPoint]


def check_decisions(
    settings: Settings, session_id: str, policy: PolicyChoice | None = None, shadow: str | None = None
) -> DecisionCheck:
    """Decide a recorded session again and compare, its shadow ``shadow`` (a fingerprint, or its beginning) too.

    ``policy`` is asked instead of the one that the session had. Raises ``ConfigurationError`` for a session that is not there or
    has decided nothing and for a policy that is not known, ``PolicyNotFit`` for a bundle that is not what it was, ``DataNotFit``
    where the bars before it are not there any more, ``StoreBusy`` where nobody lets us in.
    """
    recorded = read_from(settings.store.path, lambda store: _recorded(store, session_id, policy, shadow))
    again = _decided_again(recorded)
    main, *beside = again.said
    checked = _checked(recorded, recorded.policy, main, again.held)
    return DecisionCheck(
        recorded.session,
        checked,
        None if recorded.shadow is None else _checked(recorded, recorded.shadow, beside[0], again.held),
        len(again.uncertain),
    )


def _recorded(store: Store, session_id: str, given: PolicyChoice | None, shadow: str | None) -> _Recorded:
    connection = store.connection
    record = store.ledger.find_session(session_id)
    if record is None:
        raise ConfigurationError(
            f"There is no session {session_id} in {store.path}. A session is called after its date, account and strategy; those of a "
            "day are told by: openbell report DATE"
        )
    settings = _settings_of(record)
    calendar = TradingCalendar(settings.session.exchange, record.session_date)
    hours = calendar.hours(record.session_date)
    until = _compared_until(record, hours)
    decisions = [said_in(row) for row in decisions_of(connection, session_id) if row.bar_time <= until]
    if not decisions:
        raise ConfigurationError(f"Session {session_id} has decided nothing: there is nothing to compare.")
    main = _Asked(
        *_policy(record.policy_fingerprint, settings.policy, given, settings, store),
        record.policy_fingerprint,
        tuple(decisions),
    )
    beside = None if shadow is None else _shadow(shadow, session_id, until, settings, store)
    feed = past_feed(settings, record.mode, hours, store.bars_of(settings.session.timeframe))
    loader = LiveDataLoader(feed, calendar, settings.session.timeframe, settings.validation)
    symbols = settings.session.symbols
    asked = [main.policy] if beside is None else [main.policy, beside.policy]
    look_back = bars_looked_back_on(settings, settings.risk, asked)
    warmup, _ = loader.validate_data(loader.load_warmup_data(symbols, look_back, hours), look_back, hours)
    moments = bars_decided_on(connection, session_id)
    if not moments:
        moments = [moment for moment, _ in loader.live_bars(symbols, hours)]
    return _Recorded(
        record,
        settings,
        hours,
        main,
        beside,
        loader,
        warmup,
        [BarSlice(moment.bar_time, _in_order(moment, symbols)) for moment in moments if moment.bar_time <= until],
        store.ledger.opening_cash(record.account) or record.starting_equity,
        store.ledger.fills(record.account),
        equity_of(store, session_id),
    )


def _compared_until(record: SessionRecord, hours: TradingHours) -> datetime:
    """The last bar that is compared. Behind a door each question is answered as of its own moment: of a session that runs no more
    is looked at than was there at the first."""
    if record.state is not SessionState.RUNNING:
        return hours.closes_at
    return record.last_bar_time or datetime.min.replace(tzinfo=UTC)


def _settings_of(record: SessionRecord) -> Settings:
    try:
        return Settings.model_validate_json(record.settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"The settings of session {record.session_id} are of another version of openbell: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}. Compare it with the version that traded it."
        ) from error


def _policy(
    fingerprint: str, choice: PolicyChoice, given: PolicyChoice | None, settings: Settings, store: Store
) -> tuple[Policy, Bundle | None]:
    """The policy of this fingerprint, or the one given in its place, with its bundle where it has one."""
    if given is not None:
        bundle = find_bundle(given, store)
        return (build_policy(given), None) if bundle is None else (policy_of(bundle, settings), bundle)
    bundle = _bundle_of(fingerprint, choice, store)
    if bundle is not None:
        return policy_of(bundle, settings), bundle
    built = None if choice.is_trained else build_policy(choice)
    if built is None or built.fingerprint != fingerprint:
        there = f"; its settings make {built.fingerprint} here" if built is not None else ""
        raise ConfigurationError(
            f"The policy {fingerprint} is neither built in nor registered in {store.path}{there}. Name where it is with --policy."
        )
    return built, None


def _bundle_of(fingerprint: str, choice: PolicyChoice, store: Store) -> Bundle | None:
    """The bundle of exactly this fingerprint: a registered one, or the one in the folder that the session named."""
    known = {record.fingerprint: record for record in policy_registry.policies(store.connection)}
    if fingerprint in known:
        return registered_bundle(known[fingerprint])
    if choice.folder is None:
        return None
    bundle = read_bundle(choice.folder)
    if bundle.fingerprint != fingerprint:
        raise ConfigurationError(
            f"The bundle {choice.folder} is {bundle.fingerprint} now, and the session was decided by {fingerprint}. Name where that "
            "one is with --policy."
        )
    return bundle


def _shadow(asked: str, session_id: str, until: datetime, settings: Settings, store: Store) -> _Asked:
    rows = shadow_decisions_of(store.connection, session_id)
    known = sorted({row.fingerprint for row in rows})
    found = [one for one in known if one == asked] or [
        one for one in known if one.startswith(asked) or one.partition("@")[2].startswith(asked)
    ]
    if len(found) != 1:
        there = f"it had {', '.join(known)}" if known else "it had none"
        raise ConfigurationError(f"Session {session_id} had no one shadow {asked}: {there}.")
    [fingerprint] = found
    choice = settings.policy.shadow or PolicyChoice()
    recorded = tuple(said_in(row) for row in rows if row.fingerprint == fingerprint and row.bar_time <= until)
    return _Asked(*_policy(fingerprint, choice, None, settings, store), fingerprint, recorded)


def _in_order(moment: BarSlice, symbols: Sequence[str]) -> Mapping[str, Bar]:
    """The moment's bars in the order of the session's symbols, as they came live."""
    return {symbol: moment.bars[symbol] for symbol in symbols if symbol in moment.bars}


def _decided_again(recorded: _Recorded) -> DecidedAgain:
    settings, session_id = recorded.settings, recorded.session.session_id
    watches = [PolicyWatch(recorded.policy.policy, settings.policy, session_id, RiskEventHandler(), timed=False)]
    if recorded.shadow is not None:
        trusted = PolicySettings(max_age_days=settings.policy.max_age_days)
        watches.append(PolicyWatch(recorded.shadow.policy, trusted, session_id, RiskEventHandler(), timed=False))
    book = BookThen(
        settings.book.cost_basis,
        recorded.opening_cash,
        recorded.fills,
        recorded.equity,
        settings.session.timeframe.length,
    )
    return decide_again(watches, recorded.moments, recorded.loader, book)


def _checked(recorded: _Recorded, asked: _Asked, again: Sequence[Said], held: HeldThen) -> PolicyCheck:
    comparison = compare_decisions(asked.recorded, again)
    first = comparison.first_difference
    features = None if first is None or asked.bundle is None else _features_at(first, recorded, asked.bundle, held)
    return PolicyCheck(asked.recorded_fingerprint, asked.policy.fingerprint, comparison, features)


def _features_at(
    difference: Difference, recorded: _Recorded, bundle: Bundle, held: HeldThen
) -> Mapping[str, float] | None:
    """What the model was shown there; None where there was no bar, or too few before it."""
    symbol, manifest = difference.symbol, bundle.manifest
    shown = held.get((difference.bar_time, symbol))
    if shown is None:
        return None
    bars = [
        moment.bars[symbol]
        for moment in recorded.moments
        if symbol in moment.bars and moment.bar_time <= difference.bar_time
    ]
    columns = recorded.warmup[symbol].joined(BarColumns.of(symbol, bars))
    window = HistoryWindow({symbol: columns})
    window.move_to({symbol: len(columns) - 1})
    features = FeatureSet(manifest.features, manifest.timeframe, manifest.exchange)
    row = features.stream().row(window, symbol, int(np.sign(shown.quantity)), shown.unrealized_fraction)
    return None if row is None else dict(zip(features.labels, row.tolist(), strict=True))
