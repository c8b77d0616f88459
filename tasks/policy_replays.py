"""Replays of policies for the gate between stages: on stored bars, on a paper account that dies with the replay.

The rule: whoever is compared is replayed under the same settings (sizing, costs, risk) and on the same validated bars. Only
those are read from the database; nothing is written anywhere.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from storage.store import Store
from storage.visit import read_from
from tasks.policy_composition import build_policy, policy_of, registered_bundle
from trading.bar_validation import BarValidator
from trading.bars import BarColumns, to_epoch_us
from trading.brokers.paper import PaperBroker
from trading.calendar import TradingCalendar, TradingHours
from trading.clocks.bar_clock import BarClock
from trading.history_replay import HistoryReplay
from trading.policy_records import PolicyRecord
from trading.policy_settings import PolicyChoice
from trading.policy_trial import TrialLedger
from trading.ports import Policy
from trading.promotion import Evaluate, Evaluation, UnseenWindow
from trading.settings import Settings

_ACCOUNT = "trial"


def replays(settings: Settings) -> Evaluate:
    """What replays a policy as sessions of these settings would trade it: their sizing, costs and risk, the window's symbols.

    Positions are not closed when a loss limit halts, which replays do not know. Raises ``PolicyNotFit`` for a bundle that is
    not what it was, ``DataNotFit`` for bars that the settings refuse.
    """

    def evaluate(policy: PolicyRecord | str, window: UnseenWindow) -> Evaluation:
        under = _settings_of(policy, window, settings)
        asked = _policy(policy, under)
        calendar = TradingCalendar(window.exchange, window.sessions[-1])
        sessions = [calendar.hours(day) for day in window.sessions]
        bars = read_from(settings.store.path, lambda store: _bars(store, under, asked.warmup_bars, calendar, sessions))
        broker, ledger = PaperBroker(_ACCOUNT, under.broker.paper, sessions[0].opens_at), TrialLedger()
        replay = HistoryReplay(under, _ACCOUNT, asked, broker, broker, ledger, BarClock(sessions[0].opens_at))
        outcome = replay.run(bars, sessions)
        return ledger.evaluation(window.sessions, outcome.equity)

    return evaluate


def _settings_of(policy: PolicyRecord | str, window: UnseenWindow, settings: Settings) -> Settings:
    """The settings with the policy, the symbols and the bars of the window in their places."""
    chosen: dict[str, Any] = {"parameters": {}, "stage": None, "shadow": None}
    if isinstance(policy, str):
        chosen |= {"name": policy, "bundle": None}
    else:
        chosen |= {"name": policy.name, "bundle": policy.fingerprint}
    traded = {"symbols": window.symbols, "timeframe": window.timeframe, "exchange": window.exchange}
    return settings.model_copy(
        update={
            "policy": settings.policy.model_copy(update=chosen),
            "session": settings.session.model_copy(update={**traded, "strategy": _ACCOUNT}),
            "stopping": settings.stopping.model_copy(update={"flatten_on_loss": False}),
        }
    )


def _policy(policy: PolicyRecord | str, settings: Settings) -> Policy:
    if isinstance(policy, str):
        return build_policy(PolicyChoice(name=policy))
    return policy_of(registered_bundle(policy), settings)


def _bars(
    store: Store, settings: Settings, warmup_bars: int, calendar: TradingCalendar, sessions: list[TradingHours]
) -> Mapping[str, BarColumns]:
    """Validated bars of the sessions, and of as many before them as the policy has to have seen."""
    timeframe = settings.session.timeframe
    validator = BarValidator(settings.validation, timeframe)
    first, last = sessions[0], sessions[-1]
    earlier = calendar.sessions_before(first.session_date, -(-warmup_bars // first.bar_count(timeframe)) + 1)
    traded = calendar.sessions_between(earlier[0].session_date, last.session_date)
    stored, clean = store.bars_of(timeframe), dict[str, BarColumns]()
    for symbol in settings.session.symbols:
        columns = _in_hours(stored.between(symbol, earlier[0].opens_at, last.closes_at), traded)
        judgement = validator.examine({symbol: columns}, traded, last.closes_at, {})
        validator.refuse(judgement.findings)
        clean |= judgement.kept()
    return clean


def _in_hours(columns: BarColumns, sessions: list[TradingHours]) -> BarColumns:
    opens = np.array([to_epoch_us(hours.opens_at) for hours in sessions])
    closes = np.array([to_epoch_us(hours.closes_at) for hours in sessions])
    session = np.searchsorted(opens, columns.time, side="right") - 1
    return columns.take((session >= 0) & (columns.time < closes[session]))
