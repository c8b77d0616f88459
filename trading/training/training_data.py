"""What a training works on: bars, their features and labels, worked out once for the whole history, and its folds.

The rule: what a model is fitted on comes from ``TrainingData.pooled`` alone, for rows that ``folds`` has purged.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from trading.bars import BarColumns
from trading.errors import ConfigurationError
from trading.features.feature_set import FeatureSet
from trading.settings import Settings
from trading.trading_hours import TradingHours
from trading.train_settings import TrainSettings
from trading.training.labels import BUY, HOLD, SELL, Labels, Positions, return_labels, session_numbers
from trading.training.splits import WalkForward, walk_forward
from trading.training.triple_barrier import ewma_volatility, triple_barrier

Rows = NDArray[np.float64]
RowsBySymbol = Mapping[str, Positions]
"""For each symbol positions in its bars, ascending."""

WORDS = {SELL: "SELL", HOLD: "HOLD", BUY: "BUY"}


@dataclass(frozen=True, slots=True)
class PooledFold:
    """One step forward over all symbols: rows to train on, rows to judge on, and the sessions that they come from."""

    number: int
    train: RowsBySymbol
    test: RowsBySymbol
    train_dates: tuple[date, ...]
    test_dates: tuple[date, ...]
    purged: int

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"fold {self.number}, {self.test_dates[0]} to {self.test_dates[-1]}"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Bars of all symbols, which may begin before the first session (warmup), and what is made of them.

    ``rows`` are the features of each bar (N x F), NaN where they are not warm and in columns that tell of a position. ``labels`` is None
    for agents. ``fingerprint`` is the SHA-256 of the sessions' bars.
    """

    settings: Settings
    bars: Mapping[str, BarColumns]
    sessions: tuple[TradingHours, ...]
    features: FeatureSet
    rows: Mapping[str, Rows]
    labels: Mapping[str, Labels] | None
    folds: tuple[PooledFold, ...]
    fingerprint: str

    @property
    def train(self) -> TrainSettings:
        """What is to be trained."""
        return self.settings.train

    @property
    def symbols(self) -> tuple[str, ...]:
        """In the order of the settings."""
        return tuple(self.bars)

    def hours_of(self, dates: Sequence[date]) -> tuple[TradingHours, ...]:
        """The sessions of these dates, oldest first."""
        wanted = set(dates)
        return tuple(hours for hours in self.sessions if hours.session_date in wanted)

    def within(self, dates: Sequence[date]) -> RowsBySymbol:
        """All rows of the sessions."""
        hours = self.hours_of(dates)
        return {symbol: np.flatnonzero(session_numbers(bars, hours) >= 0) for symbol, bars in self.bars.items()}

    def trainable(self, rows: RowsBySymbol) -> RowsBySymbol:
        """Those of the rows that have a label and whose features are all told."""
        return {symbol: at[self._told(symbol)[at]] for symbol, at in rows.items()}

    def pooled(self, rows: RowsBySymbol) -> tuple[Rows, Rows, NDArray[np.int64]]:
        """Features (N x F), labels' values (N, returns) and sides (N, codes) of the rows of all symbols, one symbol after another."""
        if self.labels is None:
            raise ValueError("an agent has no labels")
        seen = np.concatenate([self.rows[symbol][at] for symbol, at in rows.items()])
        values = np.concatenate([self.labels[symbol].value[at] for symbol, at in rows.items()])
        sides = np.concatenate([self.labels[symbol].side[at] for symbol, at in rows.items()]).astype(np.int64)
        return seen, values, sides

    def held_out(self, rows: RowsBySymbol, dates: Sequence[date]) -> tuple[RowsBySymbol, RowsBySymbol] | None:
        """The rows without those of the last sessions, purged against them, and those; None where one of the two would be empty."""
        count = round(len(dates) * self.train.validation_fraction)
        if not 0 < count < len(dates) or self.labels is None:
            return None
        later_rows = self.within(dates[-count:])
        before, later = {}, {}
        for symbol, at in rows.items():
            begin = int(later_rows[symbol][0]) if len(later_rows[symbol]) else len(self.bars[symbol])
            before[symbol] = at[self.labels[symbol].end[at] < begin]
            later[symbol] = at[at >= begin]
        if not any(map(len, before.values())) or not any(map(len, later.values())):
            return None
        return before, later

    def _told(self, symbol: str) -> NDArray[np.bool_]:
        told = np.isfinite(self.rows[symbol]).all(axis=1)
        return np.asarray(told if self.labels is None else told & self.labels[symbol].is_labelled)


def prepare(settings: Settings, bars: Mapping[str, BarColumns], sessions: Sequence[TradingHours]) -> TrainingData:
    """Features, labels and folds of clean bars.

    Raises ``ConfigurationError`` for features or splits that cannot be, and where there is too little to train on.
    """
    train, market = settings.train, settings.session
    features = FeatureSet(train.feature_specs, market.timeframe, market.exchange)
    if features.needs_holdings and not train.is_agent:
        told = ", ".join(features.labels[column] for column in features.holdings_columns)
        raise ConfigurationError(
            f"A {train.kind} learns from bars alone, and {told} tells of an account: leave it out of train.features, or train an agent."
        )
    if not sessions or not all(len(columns) for columns in bars.values()):
        without = [symbol for symbol, columns in bars.items() if not len(columns)]
        raise ConfigurationError(
            f"There are no bars of {', '.join(without) or ', '.join(bars) or 'any symbol'} to train on. Import some with openbell import-bars, "
            "or name other symbols or dates."
        )
    labels = (
        None if train.is_agent else {symbol: _labels(settings, columns, sessions) for symbol, columns in bars.items()}
    )
    return TrainingData(
        settings,
        dict(bars),
        tuple(sessions),
        features,
        {symbol: features.history(columns) for symbol, columns in bars.items()},
        labels,
        _folds(settings, bars, sessions, labels),
        fingerprint_of_bars(bars, sessions),
    )


def fingerprint_of_bars(bars: Mapping[str, BarColumns], sessions: Sequence[TradingHours]) -> str:
    """SHA-256 over the columns of the sessions' bars, symbol by symbol in alphabetical order."""
    digest = hashlib.sha256()
    for symbol in sorted(bars):
        columns = bars[symbol]
        inside = columns.take(session_numbers(columns, sessions) >= 0)
        digest.update(symbol.encode())
        for column in (inside.time, inside.open, inside.high, inside.low, inside.close, inside.volume):
            digest.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
    return digest.hexdigest()


def _labels(settings: Settings, bars: BarColumns, sessions: Sequence[TradingHours]) -> Labels:
    label = settings.train.label
    if label.kind == "return":
        return return_labels(
            bars, sessions, label.horizon_bars, label.band_fraction, across_sessions=label.across_sessions
        )
    return triple_barrier(
        bars,
        sessions,
        ewma_volatility(bars, sessions, label.volatility_bars),
        horizon_bars=label.horizon_bars,
        upper=label.gain_volatilities,
        lower=label.loss_volatilities,
        across_sessions=label.across_sessions,
        sign_at_end=label.sign_at_end,
    )


def _folds(
    settings: Settings,
    bars: Mapping[str, BarColumns],
    sessions: Sequence[TradingHours],
    labels: Mapping[str, Labels] | None,
) -> tuple[PooledFold, ...]:
    split = settings.train.walk_forward
    plan = WalkForward(split.folds, split.test_sessions, split.train_sessions, split.embargo_sessions, split.rolling)
    by_symbol = {}
    for symbol, columns in bars.items():
        # An agent's reward ends within its sessions: its rows look no further than themselves.
        ends = np.arange(len(columns), dtype=np.int64) if labels is None else labels[symbol].end
        try:
            by_symbol[symbol] = walk_forward(columns, sessions, ends, plan)
        except ConfigurationError as error:
            raise ConfigurationError(f"{symbol}: {error}") from error
    folds = []
    for number, parts in enumerate(zip(*by_symbol.values(), strict=True), start=1):
        of = dict(zip(by_symbol, parts, strict=True))
        folds.append(
            PooledFold(
                number,
                {symbol: fold.train for symbol, fold in of.items()},
                {symbol: fold.test for symbol, fold in of.items()},
                parts[0].train_dates,
                parts[0].test_dates,
                sum(fold.purged for fold in parts),
            )
        )
    return tuple(folds)
