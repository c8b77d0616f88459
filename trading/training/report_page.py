"""The report of a training as a Markdown page, and as rows for a table on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from trading.training.trainer import YARDSTICKS

COLUMNS = ("policy", "return", "Sharpe", "drawdown", "turnover", "hit rate", "trips", "exposure", "commissions")

PLOTS = {
    "equity.png": "Equity of all folds, after costs",
    "drawdown.png": "Drawdown",
    "calibration.png": "Calibration on unseen bars",
    "importance.png": "Importance of the features",
    "decisions.png": "Executions of one session",
}


def rows_of(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row for the model and for each yardstick. ``figures`` is ``overall`` or a fold of the report."""
    return [
        (
            name,
            f"{one['total_return']:+.2%}",
            "" if one["sharpe"] is None else f"{one['sharpe']:.2f} ± {one['sharpe_error']:.2f}",
            f"{one['drawdown']:.2%}",
            "" if one["turnover"] is None else f"{one['turnover']:.2f}",
            "" if one["hit_rate"] is None else f"{one['hit_rate']:.0%}",
            str(one["trips"]),
            "" if one["exposure"] is None else f"{one['exposure']:.0%}",
            f"{one['commissions']:,.2f}",
        )
        for name in ("model", *YARDSTICKS)
        for one in (figures[name],)
    ]


def page(document: Mapping[str, Any], plots: Sequence[str]) -> str:
    """The whole report; ``plots`` are files beside it."""
    trained, seen, trials = document["trained"], document["out_of_sample"], document["trials"]
    lines = [
        f"# {document['policy']}",
        "",
        *(f"- {sentence}" for sentence in document["sentences"]),
        "",
        f"A {document['kind']} on {document['timeframe']} bars of {', '.join(document['symbols'])}. Fitted on {trained['bars']:,} bars, "
        f"{trained['first']} to {trained['last']} (data {trained['data_fingerprint'][:16]}). Judged on {seen['sessions']} sessions that "
        "no fold had been fitted on, each fold on an account of its own. Sharpe ratios are of session returns, a year has 252, and fewer than 5 have "
        "none; ± is one standard error. Turnover is money traded a session as a multiple of equity.",
        "",
        "## All folds",
        "",
        *table(COLUMNS, rows_of(document["overall"])),
        "",
        f"Trials: {trials['count']} (this one; other registered policies of the name: {trials['earlier_policies']}; others: "
        f"{trials['other_trials']}). Sharpe ratio that the best of so many shows by luck: {_number(trials['luck'])} a year. Deflated Sharpe "
        f"(probability of being above that): {_number(trials['deflated_sharpe'])}; of being above zero: "
        f"{_number(trials['probabilistic_sharpe'])}.",
        "",
    ]
    if "equity.png" in plots:
        lines += [_picture("equity.png"), "", _picture("drawdown.png"), ""]
    for fold in document["folds"]:
        lines += [
            f"## Fold {fold['number']}: {fold['first_session']} to {fold['last_session']}",
            "",
            f"Fitted on {fold['rows']:,} bars, {fold['trained_first']} to {fold['trained_last']}; {fold['purged']:,} bars were purged.",
            "",
            *table(COLUMNS, rows_of(fold)),
            "",
        ]
    lines += [*_calibration(document, plots), *_importance(document, plots)]
    if "decisions.png" in plots:
        lines += ["## One session", "", _picture("decisions.png"), ""]
    return "\n".join(lines)


def table(columns: Sequence[str], cells: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""

    def line(row: Sequence[object]) -> str:
        return "| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in row) + " |"

    return [line(columns), line(["---"] * len(columns)), *map(line, cells)]


def _calibration(document: Mapping[str, Any], plots: Sequence[str]) -> list[str]:
    if not document["calibration"]:
        return []
    cells = [
        (word, f"{one['base_rate']:.1%}", f"{one['brier']:.4f}", f"{one['brier_of_base_rate']:.4f}")
        for word, one in document["calibration"].items()
    ]
    lines = [
        "## Calibration",
        "",
        "Brier scores on unseen bars; one that is not below that of the base rate says no more than how often the class occurs.",
        "",
        *table(("class", "occurs", "Brier", "Brier of the base rate"), cells),
        "",
    ]
    return [*lines, *([_picture("calibration.png"), ""] if "calibration.png" in plots else [])]


def _importance(document: Mapping[str, Any], plots: Sequence[str]) -> list[str]:
    if not document["importance"]:
        return []
    what = (
        "What the score (accuracy, or R2) loses on unseen bars when a feature's values are shuffled."
        if document["importance_is_of"] == "score"
        else "Fraction of decisions that change when a feature's values are shuffled; it says what the agent looks at, not what is worth it."
    )
    cells = [(one["feature"], f"{one['mean']:.4f}", f"{one['deviation']:.4f}") for one in document["importance"]]
    lines = [
        "## Importance",
        "",
        f"{what} Mean over the folds, and their deviation.",
        "",
        *table(("feature", "mean", "deviation"), cells),
        "",
    ]
    return [*lines, *([_picture("importance.png"), ""] if "importance.png" in plots else [])]


def _picture(file: str) -> str:
    return f"![{PLOTS[file]}]({file})"


def _number(value: float | None) -> str:
    return "cannot be told" if value is None else f"{value:.2f}"
