"""Bars as a Gymnasium environment: one step is one bar of a session with the paper broker, to the cent.

What the account does is ``trading.training.paper_steps``; here is what an agent sees of it, what it can say, and what it is
rewarded for. Needs ``gymnasium`` (the extra ``rl``).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from trading.bars import BarColumns, to_epoch_us
from trading.bundles.manifest import TargetWeight
from trading.decisions import Action, Signal
from trading.errors import ConfigurationError
from trading.money import MICROS_PER_UNIT
from trading.orders import Execution
from trading.settings import Settings
from trading.trading_hours import TradingHours
from trading.training.paper_steps import PaperSteps
from trading.training.track_record import TrackRecord

ACTIONS = (Action.SELL, Action.HOLD, Action.BUY)
"""What the numbers 0, 1, 2 of the action space mean; the same order goes into the action map of a bundle."""

POSITION, UNREALIZED = "position", "unrealized_pnl"
"""Names of the features that the account fills in."""

_SIGNALS = tuple(Signal(action) for action in ACTIONS)
_HOLD = Signal(Action.HOLD)

Rows = NDArray[np.float64]
Observation = NDArray[np.float32]


class TradingEnvironment(gymnasium.Env[Observation, Any]):  # type: ignore[misc]
    """Sessions of one symbol. An episode is ``sessions_per_episode`` sessions in a row on a fresh account.

    ``bars`` must have passed validation and may begin before the first session; ``rows`` (N x F) are their features, ``holdings``
    names the columns among them that the account fills in: ``position`` (the sign of what is held) and ``unrealized_pnl`` (net of
    the opening commission, as a fraction of cost). Which session an episode begins with is drawn by the seed, or is the next one where
    ``drawn`` is False, the first after each seed.

    A step decides on the newest bar and goes on to the next one: orders fill at its open, and the reward is the logarithmic return of
    equity from close to close, costs included, less ``turnover_penalty`` times the money traded as a fraction of equity. The step after a
    session's last bar goes through its close, and on to the next session's first bar where there is one. Bars whose row is not finite
    are not asked about: as in a session, the policy holds there, and the step ends with the next bar whose row is. The episode is
    terminated with its last close, truncated there where positions may be held overnight, and terminated early where no equity is left or
    a halt stands that only a person ends.

    Every rule of risk and of the end of the day is asked as in a session, losses that halt included. Not modelled: other symbols of the
    account, operators, what a session makes of a policy that fails or is unsure (``trading.policy_watch``), and what went before the
    episode's first session (its account is new). Raises ``ConfigurationError`` for settings and bars that it does not model (see
    ``require_steppable``), and where no session has a bar with a finite row.

    ``info``: ``equity`` (micros), ``bar_time`` (microseconds), and ``fills`` (``Execution``) since the step before.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self,
        settings: Settings,
        bars: BarColumns,
        sessions: Sequence[TradingHours],
        rows: Rows,
        holdings: Mapping[int, str],
        *,
        sessions_per_episode: int = 1,
        drawn: bool = True,
        target_weight: TargetWeight | None = None,
        turnover_penalty: float = 0.0,
    ) -> None:
        if len(rows) != len(bars) or rows.ndim != 2:
            raise ValueError(f"{len(bars)} bars of {bars.symbol} and rows of shape {rows.shape}")
        if sessions_per_episode < 1 or any(one.closes_at > two.opens_at for one, two in itertools.pairwise(sessions)):
            raise ValueError(f"episodes are of {sessions_per_episode} sessions, which have to be in ascending order")
        unknown = set(holdings.values()) - {POSITION, UNREALIZED}
        if unknown:
            raise ValueError(f"an account does not tell {', '.join(sorted(unknown))}")
        self._steps = PaperSteps(settings, bars)
        self._sessions = tuple(sessions)
        self._count = sessions_per_episode
        self._drawn = drawn
        self._penalty = turnover_penalty
        self._overnight = settings.closing.hold_overnight
        self._times: list[int] = bars.time.tolist()
        self._positions = [column for column, what in holdings.items() if what == POSITION]
        self._unrealized = [column for column, what in holdings.items() if what == UNREALIZED]
        market = np.array([column not in holdings for column in range(rows.shape[1])], dtype=np.bool_)
        finite = np.isfinite(rows)
        self._is_told: list[bool] = np.asarray(finite[:, market].all(axis=1)).tolist()
        # Whatever is not finite is never shown but for an episode's last sight, which nobody decides on.
        self._rows = np.where(finite & market, rows, 0.0).astype(np.float32)
        self._beginnings = self._sessions_to_begin_with()
        if not self._beginnings:
            raise ConfigurationError(
                f"None of {len(self._sessions)} sessions has {self._count} in a row with a bar of {bars.symbol} whose features are all finite: "
                "give more bars before the first session (warmup), or more sessions."
            )
        self._next = 0
        self._weight = target_weight
        self.action_space = (
            spaces.Discrete(len(ACTIONS)) if target_weight is None else spaces.Box(-1.0, 1.0, (1,), np.float32)
        )
        self.observation_space = spaces.Box(-np.inf, np.inf, (rows.shape[1],), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode at its first bar whose row is finite; ``options`` are ignored."""
        del options
        super().reset(seed=seed)
        if seed is not None:
            self._next = 0
        if self._drawn:
            chosen = int(self.np_random.integers(len(self._beginnings)))
        else:
            chosen, self._next = self._next, (self._next + 1) % len(self._beginnings)
        begin = self._beginnings[chosen]
        self._ahead = iter(self._sessions[begin : begin + self._count])
        self._steps.open_account()
        self._hours: TradingHours | None = None
        self._row, self._end = -1, 0
        self._starting_equity = self._steps.equity
        self._record: list[tuple[int, int, int]] = []
        self._closed: list[tuple[TradingHours, int, int]] = []
        self._fills: list[Execution] = []
        self._told = 0
        self._going = self._advance()
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide on the newest bar and go on to the next one. Raises ``ValueError`` after the episode's end."""
        if not self._going:
            raise ValueError("the episode is over: reset the environment")
        steps = self._steps
        before = steps.equity
        steps.decide(self._signal(action), self._row)
        self._going = self._advance()
        reward = math.log(max(steps.equity, 1) / max(before, 1))
        if self._penalty:
            traded = sum(float(fill.quantity * fill.price) for fill in self._fills[self._told :])
            reward -= self._penalty * traded / max(before, 1) * MICROS_PER_UNIT
        over = not self._going
        goes_on = over and self._overnight and steps.equity > 0 and steps.halted_for_good is None
        return self._observation(), reward, over and not goes_on, goes_on, self._info()

    def _signal(self, action: Any) -> Signal:
        weight = self._weight
        if weight is None:
            said: Signal = _SIGNALS[action]
            return said
        return Signal.of_weight(min(max(weight.scale * float(action[0]), weight.lowest), weight.highest))

    def track_record(self) -> TrackRecord:
        """The episode up to now."""
        bars = np.array(self._record, dtype=np.int64).reshape(-1, 3)
        ends = np.array([closed[1:] for closed in self._closed], dtype=np.int64).reshape(-1, 2)
        dates = tuple(hours.session_date for hours, _, _ in self._closed)
        return TrackRecord(
            self._starting_equity, bars[:, 0], bars[:, 1], bars[:, 2], dates, ends[:, 0], ends[:, 1], tuple(self._fills)
        )

    def _advance(self) -> bool:
        """Go on to the next bar that the policy is asked about; False where the episode is over."""
        steps = self._steps
        while True:
            row = self._row + 1
            if row >= self._end:
                if not self._next_session():
                    return False
                continue
            self._row = row
            self._fills += steps.see(row)
            self._record.append((self._times[row], steps.equity, steps.equity - steps.cash))
            if self._is_told[row]:
                return True
            steps.decide(_HOLD, row)

    def _next_session(self) -> bool:
        """Close the session and begin the next one of the episode; False where none follows."""
        steps = self._steps
        if self._hours is not None:
            self._fills += steps.end_session()
            self._closed.append((self._hours, len(self._record), steps.equity))
            if steps.equity <= 0 or steps.halted_for_good is not None:
                return False
        following = next(self._ahead, None)
        if following is None:
            return False
        self._hours = following
        rows = steps.begin_session(following)
        self._row, self._end = rows.start - 1, rows.stop
        return True

    def _observation(self) -> Observation:
        seen: Observation = self._rows[self._row].copy()
        steps = self._steps
        for column in self._positions:
            seen[column] = (steps.held > 0) - (steps.held < 0)
        for column in self._unrealized:
            seen[column] = steps.unrealized_fraction
        return seen

    def _info(self) -> dict[str, Any]:
        told, self._told = self._told, len(self._fills)
        return {
            "equity": self._steps.equity,
            "bar_time": self._times[self._row],
            "fills": tuple(self._fills[told:]),
        }

    def _sessions_to_begin_with(self) -> list[int]:
        """Where an episode can begin: with all its sessions ahead, and a bar in them that the policy is asked about."""
        found = []
        for begin in range(0, len(self._sessions) - self._count + 1, 1 if self._drawn else self._count):
            whole = self._sessions[begin : begin + self._count]
            first, last = np.searchsorted(
                self._times, (to_epoch_us(whole[0].opens_at), to_epoch_us(whole[-1].closes_at))
            )
            if any(self._is_told[first:last]):
                found.append(begin)
        return found
