"""The Sharpe ratio, how far it can be trusted, and what is left of it after many trials.

All ratios here are of one period (a session, a bar) and without a riskless rate unless a name says ``annual``. Sources:
Lo 2002, "The Statistics of Sharpe Ratios" (its error); Mertens 2002 (the error of returns that are not normal); Bailey and Lopez de
Prado 2012, "The Sharpe Ratio Efficient Frontier" (probabilistic); 2014, "The Deflated Sharpe Ratio" (many trials).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_NORMAL = NormalDist()
_EULER_MASCHERONI = 0.5772156649015329


@dataclass(frozen=True, slots=True)
class Sharpe:
    """The Sharpe ratio of ``count`` returns, with the moments that its error depends on; a normal ``kurtosis`` is 3."""

    ratio: float
    count: int
    skewness: float = 0.0
    kurtosis: float = 3.0

    @property
    def error(self) -> float:
        """Standard error of the ratio: sqrt((1 - skewness x SR + (kurtosis - 1) / 4 x SR^2) / (count - 1)).

        For normal returns that is Lo's sqrt((1 + SR^2 / 2) / T), with one observation less. It takes returns as independent.
        """
        ratio = self.ratio
        # Never below zero but for rounding: kurtosis >= skewness^2 + 1.
        variance = max(1.0 - self.skewness * ratio + (self.kurtosis - 1.0) / 4.0 * ratio * ratio, 0.0)
        return math.sqrt(variance / (self.count - 1))

    def probability_above(self, benchmark: float = 0.0) -> float | None:
        """Probability that the true ratio is above ``benchmark`` (probabilistic Sharpe ratio); None where the error is zero."""
        error = self.error
        return _NORMAL.cdf((self.ratio - benchmark) / error) if error > 0 else None

    def annual(self, periods_per_year: float) -> float:
        """The ratio of a year, as if returns were independent."""
        return self.ratio * math.sqrt(periods_per_year)

    def annual_error(self, periods_per_year: float) -> float:
        """The standard error of ``annual``."""
        return self.error * math.sqrt(periods_per_year)


def sharpe_of(returns: Sequence[float] | NDArray[np.float64]) -> Sharpe | None:
    """Mean over standard deviation (of a sample: n - 1) of simple returns; None with fewer than two, or where they are all alike."""
    values = np.asarray(returns, dtype=np.float64)
    count = len(values)
    if count < 2:
        return None
    mean = float(values.mean())
    centred = values - mean
    widest = float(np.abs(centred).max())
    # Equal returns differ from their mean by what rounding leaves.
    if widest <= 1e-12 * abs(mean) or widest == 0.0:
        return None
    spread = centred / widest
    variance = float((spread**2).mean())
    skewness = float((spread**3).mean()) / variance**1.5
    kurtosis = float((spread**4).mean()) / variance**2
    return Sharpe(mean / widest / math.sqrt(variance * count / (count - 1)), count, skewness, kurtosis)


def expected_maximum_sharpe(variance: float, trials: int) -> float:
    """The highest ratio that so many independent trials without any skill are expected to show; 0 for one trial.

    ``variance`` is that of the trials' ratios. sqrt(V) x ((1 - g) Z(1 - 1 / N) + g Z(1 - 1 / (N e))), with g the
    Euler-Mascheroni constant and Z the inverse normal distribution.
    """
    if trials < 1 or not variance >= 0:
        raise ValueError(f"{trials} trials with a variance of {variance}")
    if trials == 1:
        return 0.0
    likely = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    farther = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - _EULER_MASCHERONI) * likely + _EULER_MASCHERONI * farther)


def deflated_sharpe(sharpe: Sharpe | None, trial_ratios: Sequence[float]) -> float | None:
    """Probability that the chosen trial's true ratio is above what the best of all trials shows by luck alone.

    ``trial_ratios`` are the ratios of all trials, the chosen one's included, over the same periods; a trial that never traded
    counts with 0. Trials that resemble each other are fewer than they are, so that the answer is on the careful side. None
    where there is no ratio, or its error is zero.
    """
    if sharpe is None or not trial_ratios:
        return None
    variance = float(np.var(trial_ratios, ddof=1)) if len(trial_ratios) > 1 else 0.0
    return sharpe.probability_above(expected_maximum_sharpe(variance, len(trial_ratios)))
