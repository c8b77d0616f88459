"""How fast an agent can learn: steps of the training environment on one core, every rule of risk asked, features in the observation.

Actions are drawn at random, so that two bars of three change the position or try to: no agent trades as often for long.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.feeds.synthetic import SyntheticFeed
from trading.settings import Settings
from trading.training.environment import ACTIONS, TradingEnvironment

STEPS, ROUNDS, FEATURES = 20_000, 3, 20
CALENDAR = TradingCalendar("XNYS", date(2026, 1, 5))
SESSIONS = CALENDAR.sessions_between(date(2026, 1, 5), date(2026, 3, 31))

# What stops a random trader early in its day: with these off it goes on trading until the close.
RESTLESS: Mapping[str, Any] = {
    "max_losing_streak": "off",
    "max_symbol_loss": "off",
    "max_daily_loss": "off",
    "max_daily_loss_fraction": "off",
    "max_session_drawdown_fraction": "off",
    "max_drawdown_fraction": "off",
    "max_drawdown_speed_fraction": "off",
    "max_hourly_turnover": "off",
    "max_daily_turnover": "off",
}


@pytest.fixture(scope="module")
def environment() -> Callable[..., TradingEnvironment]:
    """An environment of three months of minutes and some settings."""

    def made(**sections: Mapping[str, Any]) -> TradingEnvironment:
        settings = Settings.model_validate(sections)
        timeframe = settings.session.timeframe
        feed = SyntheticFeed(settings.feed.synthetic, CALENDAR, timeframe, BarClock(datetime(2026, 1, 1, tzinfo=UTC)))
        bars = feed.history("SPY", SESSIONS[0].opens_at, SESSIONS[-1].closes_at)
        rows = np.random.default_rng(7).normal(size=(len(bars), FEATURES))
        holdings = {FEATURES - 2: "position", FEATURES - 1: "unrealized_pnl"}
        return TradingEnvironment(settings, bars, SESSIONS, rows, holdings)

    return made


def steps_per_second(environment: TradingEnvironment, actions: Sequence[int]) -> tuple[float, float]:
    """The best of some rounds, resets included, in seconds of this process; and fills for each step."""
    best, fills = 0.0, 0
    environment.reset(seed=1)
    for _ in range(ROUNDS):
        started = time.process_time()
        for action in actions:
            _, _, terminated, truncated, info = environment.step(action)
            fills += len(info["fills"])
            if terminated or truncated:
                environment.reset()
        best = max(best, len(actions) / (time.process_time() - started))
    return best, fills / len(actions) / ROUNDS


@pytest.fixture(scope="module")
def at_random() -> NDArray[np.int64]:
    """Actions drawn at random."""
    return np.random.default_rng(1).integers(0, len(ACTIONS), STEPS)


def test_a_restless_agent(figures: Any, environment: Callable[..., TradingEnvironment], at_random: Any) -> None:
    speed, fills = steps_per_second(environment(risk=RESTLESS), at_random.tolist())
    assert fills > 0.3
    figures.add(
        "environment, random actions", speed, "steps/s", at_least=20_000, note=f"long only, {fills:.2f} fills a step"
    )


def test_a_restless_agent_that_sells_short(
    figures: Any, environment: Callable[..., TradingEnvironment], at_random: Any
) -> None:
    speed, fills = steps_per_second(environment(risk=RESTLESS, orders={"allow_short": True}), at_random.tolist())
    assert fills > 0.3
    figures.add(
        "environment, random actions, short", speed, "steps/s", at_least=20_000, note=f"{fills:.2f} fills a step"
    )


def test_limits_as_nobody_sets_anything(
    figures: Any, environment: Callable[..., TradingEnvironment], at_random: Any
) -> None:
    speed, fills = steps_per_second(environment(), at_random.tolist())
    figures.add("environment, default limits", speed, "steps/s", at_least=20_000, note=f"{fills:.2f} fills a step")


def test_an_agent_that_holds_for_half_an_hour(
    figures: Any, environment: Callable[..., TradingEnvironment], at_random: Any
) -> None:
    patient = np.where(np.arange(STEPS) % 30 == 0, at_random, ACTIONS.index("HOLD"))
    speed, fills = steps_per_second(environment(), patient.tolist())
    figures.add("environment, patient agent", speed, "steps/s", note=f"{fills:.3f} fills a step")
