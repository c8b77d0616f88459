"""Replays of policies on bars at rest, on a paper account that dies with the replay: for the gate between stages, and for training.

The rule: whoever is compared is replayed under the same settings (sizing, costs, risk) and on the same validated bars. Nothing is
written anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from storage.visit import read_from
from tasks.clean_history import clean_history
from tasks.policy_composition import build_policy, policy_of, registered_bundle
from trading.bars import BarColumns
from trading.brokers.paper import PaperBroker
from trading.clocks.bar_clock import BarClock
from trading.history_replay import HistoryReplay
from trading.money import to_micros
from trading.orders import Execution, OrderStatus
from trading.policy_records import PolicyRecord
from trading.policy_settings import PolicyChoice
from trading.ports import LedgerEntries, Policy, Remembering, ReplayBlock
from trading.promotion import Evaluate, Evaluation, UnseenWindow
from trading.sessions import SessionRecord
from trading.settings import Settings
from trading.trading_hours import TradingHours
from trading.training.track_record import TrackRecord

_ACCOUNT = "replay"


@dataclass(frozen=True, slots=True)
class PolicyReplay:
    """What a policy came to over sessions in order, on an account of its own.

    Of the ``orders`` that were sent ``refused`` were turned away by the broker; what risk does not let through is not sent.
    ``failures`` counts decisions with an error. ``halted`` says why no session would have started after one of them: a halt that a
    person has to clear. The sessions after that are in the ``record`` without a bar and with the equity that it stopped at.
    """

    record: TrackRecord
    orders: int
    refused: int
    failures: int
    halted: str | None


def replay_policy(
    policy: Policy,
    bars: Mapping[str, BarColumns],
    sessions: Sequence[TradingHours],
    settings: Settings,
    account: str = _ACCOUNT,
) -> PolicyReplay:
    """Trade every symbol of ``bars`` (clean, as ``clean_history`` has them) over ``sessions`` under a session's settings.

    A loss limit that halts closes no positions, whatever ``stopping.flatten_on_loss`` says: replays do not know that. A policy
    with a memory begins without one. Nothing is written anywhere.
    """
    under = settings.model_copy(
        update={
            "session": settings.session.model_copy(update={"symbols": tuple(bars)}),
            "stopping": settings.stopping.model_copy(update={"flatten_on_loss": False}),
        }
    )
    if isinstance(policy, Remembering):
        policy.take_up_states({})
    opens_at = sessions[0].opens_at
    broker, gathered = PaperBroker(account, under.broker.paper, opens_at), _Gathered()
    outcome = HistoryReplay(under, account, policy, broker, broker, gathered, BarClock(opens_at)).run(bars, sessions)
    return PolicyReplay(
        gathered.track_record(sessions, outcome.equity),
        outcome.orders,
        gathered.refused,
        sum(len(block.errors) for block in gathered.blocks),
        outcome.halted,
    )


def replays(settings: Settings) -> Evaluate:
    """What replays a policy as sessions of these settings would trade it: their sizing, costs and risk, the window's symbols.

    See ``replay_policy``. Raises ``PolicyNotFit`` for a bundle that is not what it was, ``DataNotFit`` for bars that the settings
    refuse.
    """

    def evaluate(policy: PolicyRecord | str, window: UnseenWindow) -> Evaluation:
        under = _settings_of(policy, window, settings)
        asked = (
            build_policy(PolicyChoice(name=policy))
            if isinstance(policy, str)
            else policy_of(registered_bundle(policy), under)
        )
        days = set(window.sessions)
        bars, sessions = read_from(
            settings.store.path,
            lambda store: clean_history(
                store.bars_of(window.timeframe),
                window.symbols,
                window.exchange,
                window.timeframe,
                window.sessions[0],
                window.sessions[-1],
                asked.warmup_bars,
                settings.validation,
            ),
        )
        replayed = replay_policy(asked, bars, [hours for hours in sessions if hours.session_date in days], under)
        return evaluation_of(replayed, window)

    return evaluate


def evaluation_of(replayed: PolicyReplay, window: UnseenWindow) -> Evaluation:
    """The figures that the gate compares; a session of the window in which there was no bar returned nothing."""
    record = replayed.record
    began = np.concatenate(([record.starting_equity], record.session_equity[:-1]))
    returns = dict(zip(record.session_dates, (record.session_equity / began - 1).tolist(), strict=True))
    highest = np.maximum.accumulate(np.maximum(record.equity, record.starting_equity))
    return Evaluation(
        window.sessions,
        tuple(returns.get(day, 0.0) for day in window.sessions),
        float(np.max((highest - record.equity) / highest, initial=0.0)),
        replayed.orders,
        replayed.refused,
        replayed.failures,
    )


class _Gathered:
    """Implements ``trading.ports.ReplayLedger`` in memory."""

    def __init__(self) -> None:
        self.blocks: list[ReplayBlock] = []
        self.refused = 0
        self._records: list[SessionRecord] = []
        self._fills: list[Execution] = []

    def commit_replay(self, sessions: Sequence[SessionRecord], entries: LedgerEntries) -> None:
        """Take in whole sessions, in their order."""
        self._records += sessions
        self.blocks += entries.blocks
        self._fills += [fill.execution for fill in entries.fills]
        self.refused += sum(event.status is OrderStatus.REJECTED for event in entries.order_events)

    def track_record(self, sessions: Sequence[TradingHours], final_equity: Decimal) -> TrackRecord:
        """What the account went through; ``sessions`` that were not traded after a halt stand at its end."""
        equities = [*(record.starting_equity for record in self._records), final_equity]
        after = [to_micros(equity) for equity in equities[1:]]
        ends = np.cumsum([len(block.bar_time) for block in self.blocks], dtype=np.int64)
        idle = len(sessions) - len(after)
        market_value = _joined([block.market_value for block in self.blocks])
        return TrackRecord(
            to_micros(equities[0]),
            _joined([block.bar_time for block in self.blocks]),
            _joined([block.cash for block in self.blocks]) + market_value,
            market_value,
            tuple(hours.session_date for hours in sessions),
            np.concatenate((ends, np.full(idle, ends[-1], dtype=np.int64))),
            np.array(after + [after[-1]] * idle, dtype=np.int64),
            tuple(self._fills),
        )


def _joined(columns: Sequence[np.ndarray[Any, np.dtype[np.int64]]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.concatenate(columns)


def _settings_of(policy: PolicyRecord | str, window: UnseenWindow, settings: Settings) -> Settings:
    """The settings with the policy and the bars of the window in their places."""
    chosen: dict[str, Any] = {"parameters": {}, "stage": None, "shadow": None}
    if isinstance(policy, str):
        # A yardstick has no confidence to be asked for.
        chosen |= {"name": policy, "bundle": None, "minimum_confidence": None}
    else:
        chosen |= {"name": policy.name, "bundle": policy.fingerprint}
    traded = {"timeframe": window.timeframe, "exchange": window.exchange, "strategy": _ACCOUNT}
    return settings.model_copy(
        update={
            "policy": settings.policy.model_copy(update=chosen),
            "session": settings.session.model_copy(update=traded),
        }
    )
