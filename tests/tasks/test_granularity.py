from datetime import timedelta
from typing import Any

import pytest

from tasks.granularity import RUNS_PER_BURST, TaskPlan, plan_tasks
from trading.settings import Granularity

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("wanted", [Granularity.STAGE, Granularity.BAR, Granularity.CHUNK])
def test_what_is_asked_for_is_what_is_planned(wanted: Granularity) -> None:
    assert plan_tasks(wanted, 390, MINUTE, "max").granularity is wanted


@pytest.mark.parametrize(
    ("bars", "pace", "planned"),
    [
        # 3 x 196 + 10 = 598 runs fit a burst of 600; 3 x 197 + 10 = 601 do not.
        (196, "max", Granularity.STAGE),
        (197, "max", Granularity.BAR),
        (390, "max", Granularity.BAR),
        (590, "max", Granularity.BAR),
        (591, "max", Granularity.CHUNK),
        # Three runs a minute are nothing; 50 times as fast are 2.5 a second, 51 times are more.
        (390, "live", Granularity.STAGE),
        (390, 50.0, Granularity.STAGE),
        (390, 51.0, Granularity.BAR),
        (591, 150.0, Granularity.BAR),
        (591, 151.0, Granularity.CHUNK),
    ],
)
def test_auto_is_the_finest_that_loses_no_run_history(bars: int, pace: Any, planned: Granularity) -> None:
    assert plan_tasks(Granularity.AUTO, bars, MINUTE, pace).granularity is planned


@pytest.mark.parametrize("bars", [1, 30, 31, 390, 20_000])
def test_chunks_cover_every_bar_within_one_burst(bars: int) -> None:
    plan = plan_tasks(Granularity.CHUNK, bars, MINUTE, "max")
    runs = plan.runs_for(bars)
    assert (runs - 1) * plan.bars_per_task < bars <= runs * plan.bars_per_task
    assert runs <= RUNS_PER_BURST


def test_runs_are_counted_by_stage_bar_and_chunk() -> None:
    assert TaskPlan(Granularity.STAGE).runs_for(390) == 1_170
    assert TaskPlan(Granularity.BAR).runs_for(390) == 390
    assert TaskPlan(Granularity.CHUNK, 30).runs_for(391) == 14
