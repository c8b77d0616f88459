"""From a fitted model to a bundle on disk that was read back: what a session loads is what was judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trading.bars import from_epoch_us
from trading.bundles.folder import Bundle, read_bundle, write_bundle
from trading.bundles.manifest import Lineage, Manifest, TrainingWindow
from trading.features.spec import FEATURE_VERSION
from trading.training.fitted_models import FittedModel, golden_of
from trading.training.training_data import TrainingData, fingerprint_of_bars


@dataclass(frozen=True, slots=True)
class Origin:
    """When, and by which code, a model is made. ``settings`` are those of the run, as JSON has them."""

    made_at: datetime
    version: str
    code_version: str
    settings: dict[str, Any]


def write_draft(
    folder: Path,
    data: TrainingData,
    model: FittedModel,
    dates: Sequence[date],
    origin: Origin,
    version: str | None = None,
) -> Bundle:
    """Write the model, fitted on the sessions of ``dates``, as the bundle ``folder``, and read it back with every check of a file.

    Raises ``ConfigurationError`` where the folder is there already, ``PolicyNotFit`` where it cannot be read back.
    """
    market = data.settings.session
    manifest = Manifest(
        kind=model.kind,
        name=data.train.name,
        version=version or origin.version,
        created=origin.made_at,
        exchange=market.exchange,
        timeframe=market.timeframe,
        trained=window_of(data, dates),
        features=data.features.specs,
        feature_version=FEATURE_VERSION,
        scaling=model.scaling,
        actions=model.actions,
        weights=model.weights,
        requires=dict(model.requires),
        lineage=Lineage(
            settings=origin.settings,
            code_version=origin.code_version,
            seed=data.train.seed,
            libraries=dict(model.libraries),
        ),
        files={},
    )
    write_bundle(folder, manifest, model.content, golden_of(model))
    return read_bundle(folder)


def window_of(data: TrainingData, dates: Sequence[date]) -> TrainingWindow:
    """The bars of the sessions."""
    hours = data.hours_of(dates)
    within = data.within(dates)
    times = np.concatenate([data.bars[symbol].time[rows] for symbol, rows in within.items()])
    return TrainingWindow(
        symbols=data.symbols,
        first=from_epoch_us(int(times.min())),
        last=from_epoch_us(int(times.max())),
        bars=len(times),
        data_fingerprint=fingerprint_of_bars(data.bars, hours),
    )
