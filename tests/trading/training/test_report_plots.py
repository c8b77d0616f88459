"""Pictures are drawn of what there is, and of a year of minute bars too."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from trading.bars import BarColumns, to_epoch_us
from trading.calendar import TradingCalendar
from trading.orders import Execution, Side
from trading.training.report_plots import draw
from trading.training.track_record import TrackRecord
from trading.training.trainer import FoldOutcome
from trading.training.training_data import PooledFold

HOURS = TradingCalendar("XNYS", date(2026, 1, 5)).hours(date(2026, 1, 5))
MINUTES = 390


class Traded:
    """A replay that came to this record."""

    def __init__(self, record: TrackRecord) -> None:
        self.record, self.orders, self.refused, self.failures, self.halted = record, 0, 0, 0, None


def record_of(bars: int, *fills: Execution) -> TrackRecord:
    equity = np.linspace(100_000e6, 101_000e6, bars).astype(np.int64)
    times = to_epoch_us(HOURS.opens_at) + 60_000_000 * np.arange(bars)
    return TrackRecord(
        100_000_000_000, times, equity, equity * 0, (HOURS.session_date,), np.array([bars]), equity[-1:], fills
    )


def fold_of(record: TrackRecord) -> FoldOutcome:
    replays = dict.fromkeys(("model", "flat", "buy_and_hold", "sma_crossover"), Traded(record))
    fold = PooledFold(1, {}, {}, (HOURS.session_date,), (HOURS.session_date,), 0)
    return FoldOutcome(fold, 1, replays, {}, (), ())


def fill(side: Side, minute: int) -> Execution:
    at = datetime(2026, 1, 5, 14, 30, tzinfo=UTC) + timedelta(minutes=minute)
    return Execution(f"{side}-{minute}", "", "SPY", side, 10, Decimal("100.5"), Decimal(1), at)


@pytest.fixture
def bars() -> BarColumns:
    times = to_epoch_us(HOURS.opens_at) + 60_000_000 * np.arange(MINUTES)
    price = np.full(MINUTES, 100_000_000)
    return BarColumns("SPY", times, price, price, price, price, price)


NOTHING = {"calibration": {}, "importance": [], "importance_is_of": "score"}
BUY = {"predicted": [0.1, 0.4], "observed": [0.2, 0.3], "base_rate": 0.25}


def test_what_there_is_nothing_to_draw_of_is_not_drawn(bars: BarColumns, tmp_path: Path) -> None:
    assert draw(tmp_path, NOTHING, [fold_of(record_of(MINUTES))], {"SPY": bars}, [HOURS]) == [
        "equity.png",
        "drawdown.png",
    ]
    traded = record_of(MINUTES, fill(Side.BUY, 5), fill(Side.SELL, 50), fill(Side.SELL, 60), fill(Side.BUY, 70))
    document = {
        "calibration": {"BUY": BUY},
        "importance": [{"feature": "rsi", "mean": 0.1, "deviation": 0.02}],
        "importance_is_of": "decisions",
    }
    drawn = draw(tmp_path, document, [fold_of(traded), fold_of(traded)], {"SPY": bars}, [HOURS])
    assert drawn == ["equity.png", "drawdown.png", "calibration.png", "importance.png", "decisions.png"]
    for name in drawn:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_year_of_minutes_is_drawn(bars: BarColumns, tmp_path: Path) -> None:
    draw(tmp_path, NOTHING, [fold_of(record_of(252 * MINUTES))], {"SPY": bars}, [HOURS])
    assert (tmp_path / "equity.png").stat().st_size > 5_000
