"""How much of a session one Prefect task run shows.

The finer, the more a person sees; but a Prefect server writes its run history through a queue, and what a burst of
task runs puts in faster than it writes out is lost. Measured on Prefect 3.8 with SQLite: 600 runs in a burst and 2.5
runs a second sustained lose nothing.
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from trading.settings import Granularity

RUNS_PER_BURST = 600
RUNS_PER_SECOND = 2.5
STAGES_PER_BAR = 3
_BARS_PER_CHUNK = 30
_OTHER_RUNS = 10
"""Task runs of a session besides those of its bars, rounded up."""


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task run per ``stage`` of each bar, per ``bar``, or per chunk of ``bars_per_task`` bars."""

    granularity: Literal[Granularity.STAGE, Granularity.BAR, Granularity.CHUNK]
    bars_per_task: int = 1

    def runs_for(self, bars: int) -> int:
        """Task runs that so many bars take."""
        if self.granularity is Granularity.STAGE:
            return bars * STAGES_PER_BAR
        return math.ceil(bars / self.bars_per_task)


def plan_tasks(wanted: Granularity, bars: int, timeframe: timedelta, pace: float | Literal["max", "live"]) -> TaskPlan:
    """The plan for a session of ``bars`` bars at ``pace``; ``auto`` takes the finest that loses no run history."""
    chunk = TaskPlan(Granularity.CHUNK, max(_BARS_PER_CHUNK, math.ceil(bars / (RUNS_PER_BURST - _OTHER_RUNS))))
    plans = {
        Granularity.STAGE: TaskPlan(Granularity.STAGE),
        Granularity.BAR: TaskPlan(Granularity.BAR),
        Granularity.CHUNK: chunk,
    }
    if wanted is not Granularity.AUTO:
        return plans[wanted]
    speed = math.inf if pace == "max" else 1.0 if pace == "live" else float(pace)
    bars_per_second = speed / timeframe.total_seconds()
    for plan in (plans[Granularity.STAGE], plans[Granularity.BAR]):
        runs = plan.runs_for(bars)
        if runs + _OTHER_RUNS <= RUNS_PER_BURST or runs / bars * bars_per_second <= RUNS_PER_SECOND:
            return plan
    return chunk
