"""What a training came to, as one document: out of sample and after costs only, beside policies that know nothing.

The document is JSON's words throughout; the page for people, the plots, the terminal's table and the registry's metrics are taken from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from trading.bundles.folder import Bundle
from trading.training.model_quality import Importance, calibration
from trading.training.sharpe import expected_maximum_sharpe, sharpe_of
from trading.training.statistics import SESSIONS_PER_YEAR, Statistics, session_returns, statistics_of
from trading.training.track_record import TrackRecord
from trading.training.trainer import YARDSTICKS, FoldOutcome, Replayed
from trading.training.verdict import sentences

MODEL = "model"
SIGNIFICANT = 0.95
"""Probability from which on a Sharpe ratio is called more than luck."""
SESSIONS_FOR_A_RATIO = 5
TRADED_SESSIONS_FOR_A_VERDICT = 10
"""With fewer sessions, and with fewer that made or lost anything, a ratio, or how likely it is luck, is not told: its error is one of large
samples, and two gains that happen to be alike would look like certainty."""


def training_report(
    bundle: Bundle, outcomes: Sequence[FoldOutcome], earlier_ratios: Sequence[float | None], other_trials: int
) -> dict[str, Any]:
    """The document. ``earlier_ratios`` are the Sharpe ratios per session of other policies of the name, None where one is not known."""
    manifest = bundle.manifest
    whole = {name: _overall([outcome.replays[name] for outcome in outcomes]) for name in (MODEL, *YARDSTICKS)}
    record = joined([outcome.replays[MODEL].record for outcome in outcomes])
    dates = [day for outcome in outcomes for day in outcome.fold.test_dates]
    trials = _trials(record, earlier_ratios, other_trials)
    document = {
        "policy": bundle.fingerprint,
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "symbols": list(manifest.trained.symbols),
        "timeframe": str(manifest.timeframe),
        "trained": {
            "first": manifest.trained.first.isoformat(),
            "last": manifest.trained.last.isoformat(),
            "bars": manifest.trained.bars,
            "data_fingerprint": manifest.trained.data_fingerprint,
        },
        "out_of_sample": {
            "sessions": len(dates),
            "first_session": dates[0].isoformat(),
            "last_session": dates[-1].isoformat(),
        },
        "overall": whole,
        "trials": trials,
        "folds": [_fold(outcome) for outcome in outcomes],
        "calibration": _calibrations(outcomes),
        "importance": _importances(outcomes),
        "importance_is_of": "score" if manifest.kind in ("classifier", "regressor") else "decisions",
    }
    return {**document, "sentences": sentences(document)}


def metrics_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is registered with the policy: headline figures, and what later trainings of the name need."""
    model, trials = document["overall"][MODEL], document["trials"]
    return {
        "return_after_costs": model["total_return"],
        "sharpe": model["sharpe"],
        "sharpe_error": model["sharpe_error"],
        "deflated_sharpe": trials["deflated_sharpe"],
        "max_drawdown": model["drawdown"],
        "turnover": model["turnover"],
        "hit_rate": model["hit_rate"],
        "trips": model["trips"],
        "sessions": document["out_of_sample"]["sessions"],
        "trials": trials["count"],
        "sharpe_per_session": trials["sharpe_per_session"],
        "yardsticks": {name: document["overall"][name]["total_return"] for name in YARDSTICKS},
    }


def joined(records: Sequence[TrackRecord]) -> TrackRecord:
    """Records of accounts one after another as that of one account: each goes on with what those before it have made.

    Each began anew, so that its positions were sized by the equity that it began with.
    """
    bars = made = 0
    parts: dict[str, list[Any]] = {name: [] for name in ("equity", "session_ends", "session_equity")}
    for record in records:
        parts["equity"].append(record.equity + made)
        parts["session_ends"].append(record.session_ends + bars)
        parts["session_equity"].append(record.session_equity + made)
        made += (
            int(record.session_equity[-1]) if len(record.session_equity) else record.starting_equity
        ) - record.starting_equity
        bars += len(record.bar_time)
    return TrackRecord(
        records[0].starting_equity,
        np.concatenate([record.bar_time for record in records]),
        np.concatenate(parts["equity"]),
        np.concatenate([record.market_value for record in records]),
        tuple(day for record in records for day in record.session_dates),
        np.concatenate(parts["session_ends"]),
        np.concatenate(parts["session_equity"]),
        tuple(fill for record in records for fill in record.fills),
    )


def _fold(outcome: FoldOutcome) -> dict[str, Any]:
    fold = outcome.fold
    return {
        "number": fold.number,
        "trained_first": fold.train_dates[0].isoformat(),
        "trained_last": fold.train_dates[-1].isoformat(),
        "rows": outcome.rows,
        "purged": fold.purged,
        "first_session": fold.test_dates[0].isoformat(),
        "last_session": fold.test_dates[-1].isoformat(),
        "learning": [list(point) for point in outcome.learning],
        **{name: _overall([replayed]) for name, replayed in outcome.replays.items()},
    }


def _overall(replays: Sequence[Replayed]) -> dict[str, Any]:
    """Figures of replays one after another."""
    statistics = statistics_of(joined([replayed.record for replayed in replays]))
    return {
        **_figures(statistics),
        "orders": sum(replayed.orders for replayed in replays),
        "refused": sum(replayed.refused for replayed in replays),
        "failures": sum(replayed.failures for replayed in replays),
        "halted": [replayed.halted for replayed in replays if replayed.halted is not None],
    }


def _figures(statistics: Statistics) -> dict[str, Any]:
    return {
        "sessions": statistics.sessions,
        "total_return": statistics.total_return,
        "sharpe": statistics.annual_sharpe if statistics.sessions >= SESSIONS_FOR_A_RATIO else None,
        "sharpe_error": statistics.annual_sharpe_error if statistics.sessions >= SESSIONS_FOR_A_RATIO else None,
        "drawdown": statistics.drawdown.fraction if statistics.drawdown else 0.0,
        "turnover": statistics.turnover,
        "exposure": statistics.exposure,
        "hit_rate": statistics.hit_rate,
        "trips": statistics.trips,
        "average_trade": None if statistics.average_trade is None else float(statistics.average_trade),
        "commissions": float(statistics.commissions),
    }


def _trials(record: TrackRecord, earlier: Sequence[float | None], others: int) -> dict[str, Any]:
    """How many were tried, and the probability that this one's ratio is more than the best of so many shows by luck.

    The variance of the trials' ratios is what is known of it, and never less than that of a ratio without any skill: few trials, or trials that
    resemble each other, say little of it (``trading.training.sharpe``).
    """
    count = 1 + len(earlier) + others
    returns = session_returns(record)
    sharpe, traded = sharpe_of(returns), int(np.count_nonzero(returns))
    found: dict[str, Any] = {
        "count": count,
        "earlier_policies": len(earlier),
        "other_trials": others,
        "traded_sessions": traded,
        "sharpe_per_session": None if sharpe is None else sharpe.ratio,
        "luck": None,
        "probabilistic_sharpe": None,
        "deflated_sharpe": None,
        "significant": False,
    }
    if sharpe is None or traded < TRADED_SESSIONS_FOR_A_VERDICT:
        return found
    known = [sharpe.ratio, *(ratio for ratio in earlier if ratio is not None)]
    variance = max(float(np.var(known, ddof=1)) if len(known) > 1 else 0.0, 1.0 / (sharpe.count - 1))
    luck = expected_maximum_sharpe(variance, count)
    deflated = sharpe.probability_above(luck)
    return {
        **found,
        "luck": luck * SESSIONS_PER_YEAR**0.5,
        "probabilistic_sharpe": sharpe.probability_above(0.0),
        "deflated_sharpe": deflated,
        "significant": deflated is not None and deflated >= SIGNIFICANT,
    }


def _calibrations(outcomes: Sequence[FoldOutcome]) -> dict[str, Any]:
    """Of each class over the unseen rows of all folds; empty for whatever has no probabilities."""
    found = {}
    for word in sorted({word for outcome in outcomes for word in outcome.forecasts}):
        parts = [outcome.forecasts[word] for outcome in outcomes]
        said = np.concatenate([part.probability for part in parts])
        came = np.concatenate([part.happened for part in parts])
        if len(said):
            base = float(came.mean())
            found[word] = {
                **asdict(calibration(said, came)),
                "base_rate": base,
                "brier_of_base_rate": base * (1 - base),
            }
    return found


def _importances(outcomes: Sequence[FoldOutcome]) -> list[dict[str, Any]]:
    """Mean over the folds, and how far the folds differ; most important first."""
    by_feature: dict[str, list[Importance]] = {}
    for outcome in outcomes:
        for one in outcome.importance:
            by_feature.setdefault(one.feature, []).append(one)
    means = {
        feature: (float(np.mean([one.mean for one in found])), float(np.std([one.mean for one in found])))
        for feature, found in by_feature.items()
    }
    return [
        {"feature": feature, "mean": mean, "deviation": deviation}
        for feature, (mean, deviation) in sorted(means.items(), key=lambda item: (-item[1][0], item[0]))
    ]
