"""Declared features, worked out for a whole history at once or bar by bar; both give the same numbers to 1e-9."""

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from trading.bars import BarColumns, Timeframe
from trading.errors import ConfigurationError
from trading.features.catalogue import FEATURES, Feature, Holding, Market
from trading.features.feature_stream import FeatureStream
from trading.features.graph import Graph
from trading.features.inputs import OF_BARS, inputs_of
from trading.features.series import Floats
from trading.features.spec import FeatureSpec

_KNOWN = MappingProxyType({feature.name: feature for feature in FEATURES})


def known_features() -> Mapping[str, Feature]:
    """Every feature there is, by name: what it says, its unit, its parameters with their defaults and bounds."""
    return _KNOWN


class FeatureSet:
    """Features in the order in which they were declared, for bars of one length from one exchange.

    Raises ``ConfigurationError`` for a name or parameter that is not known, a value that is no whole number or out of
    bounds, the same feature twice, none at all, and an unknown exchange where the features look at sessions.
    """

    def __init__(self, specs: Sequence[FeatureSpec], timeframe: Timeframe, exchange: str = "XNYS") -> None:
        if not specs:
            raise ConfigurationError(f"No features are declared. Name some of: {', '.join(_KNOWN)}.")
        self.specs = tuple(specs)
        self.timeframe = timeframe
        self.exchange = exchange
        features = [_feature(spec) for spec in self.specs]
        given = [_parameters(feature, spec) for feature, spec in zip(features, self.specs, strict=True)]
        self.labels = tuple(map(_label, features, given))
        """Name and all parameters, for example ``rsi(bars=14)``, in the order of the columns."""
        _refuse_twice(self.labels)
        market = Market(exchange, timeframe)
        self._holdings: dict[int, Holding] = {}
        self._of_market: list[int] = []
        formulas = []
        for column, (feature, values) in enumerate(zip(features, given, strict=True)):
            if isinstance(feature.source, Holding):
                self._holdings[column] = feature.source
            else:
                self._of_market.append(column)
                formulas.append(feature.source(market, values))
        self._graph = Graph(formulas)
        self.warmup_bars = self._graph.warmup_bars
        """Bars from which the newest row can be told, its own included; it depends on no older ones."""

    @property
    def holdings_columns(self) -> tuple[int, ...]:
        """The columns that tell of the position: NaN in ``history``, to be filled in by whoever knows it."""
        return tuple(self._holdings)

    @property
    def needs_holdings(self) -> bool:
        """Whether any feature tells of the position."""
        return bool(self._holdings)

    def history(self, bars: BarColumns) -> Floats:
        """Features of each bar (N x F), from clean bars in ascending order: a row knows its bar and those before.

        Rows before the ``warmup_bars``-th are NaN throughout, and so are ``holdings_columns`` everywhere.
        """
        made = np.full((len(bars), len(self.labels)), np.nan)
        if len(bars) >= self.warmup_bars:
            columns = {field: getattr(bars, field) for field in OF_BARS}
            inputs = inputs_of(self.exchange, columns, self._graph.fields)
            made[:, self._of_market] = self._graph.history(inputs, len(bars))
            made[: self.warmup_bars - 1] = np.nan
        return made

    def stream(self) -> FeatureStream:
        """A new stream for the bars of one symbol."""
        return FeatureStream(
            self._graph, self.warmup_bars, self.exchange, len(self.labels), self._of_market, self._holdings
        )


def _feature(spec: FeatureSpec) -> Feature:
    feature = _KNOWN.get(spec.name)
    if feature is None:
        raise ConfigurationError(f"There is no feature {spec.name!r}: {_hint(spec.name, list(_KNOWN))}")
    return feature


def _parameters(feature: Feature, spec: FeatureSpec) -> dict[str, int]:
    """All parameters of the feature in its own order, those not given with their defaults."""
    known = {parameter.name: parameter for parameter in feature.parameters}
    for name in spec.parameters:
        if name not in known:
            hint = _hint(name, list(known)) if known else "it takes none."
            raise ConfigurationError(f"Feature {feature.name} has no parameter {name!r}: {hint}")
    values = {}
    for name, parameter in known.items():
        value = spec.parameters.get(name, parameter.default)
        if isinstance(value, bool) or value != value // 1 or not parameter.lowest <= value <= parameter.highest:
            raise ConfigurationError(
                f"Feature {feature.name}: {name} is {value}. "
                f"Give a whole number from {parameter.lowest:_} to {parameter.highest:_}."
            )
        values[name] = int(value)
    if "fast" in values and values["fast"] >= values["slow"]:
        raise ConfigurationError(
            f"Feature {feature.name}: fast is {values['fast']} and slow is {values['slow']}. Let fast be less than slow."
        )
    return values


def _hint(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}."


def _label(feature: Feature, values: Mapping[str, int]) -> str:
    listed = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"{feature.name}({listed})" if listed else feature.name


def _refuse_twice(labels: Sequence[str]) -> None:
    for place, label in enumerate(labels):
        if label in labels[:place]:
            raise ConfigurationError(f"Feature {label} is declared twice. Declare each once.")
