"""What a training's figures say, in plain sentences: whoever reads only these is not misled."""

from collections.abc import Mapping
from typing import Any

from trading.training.trainer import YARDSTICKS


def sentences(document: Mapping[str, Any]) -> list[str]:
    """The result, whom it loses against, whether it is more than luck, and what went wrong on the way."""
    model = document["overall"]["model"]
    seen = document["out_of_sample"]
    first, last = seen["first_session"], seen["last_session"]
    said = [
        f"Out of sample and after costs it made {model['total_return']:+.2%} in {_counted(seen['sessions'], 'session')}, "
        f"{first if first == last else f'{first} to {last}'}, with {_counted(model['trips'], 'round trip')}."
    ]
    return [*said, _against(document), _significance(document), *_troubles(model)]


def _against(document: Mapping[str, Any]) -> str:
    overall = document["overall"]
    model = overall["model"]["total_return"]
    yardsticks = {name: overall[name]["total_return"] for name in YARDSTICKS}
    better = [f"{name} ({made:+.2%})" for name, made in yardsticks.items() if made > model]
    equal = [f"{name} ({made:+.2%})" for name, made in yardsticks.items() if made == model]
    worse = [f"{name} ({made:+.2%})" for name, made in yardsticks.items() if made < model]
    parts = [
        f"it loses against {_listed(better)}" if better else "",
        f"it equals {_listed(equal)}" if equal else "",
        f"it beats {_listed(worse)}" if worse else "",
    ]
    words = "; ".join(part for part in parts if part)
    return f"{words[:1].upper()}{words[1:]}."


def _significance(document: Mapping[str, Any]) -> str:
    trials, model = document["trials"], document["overall"]["model"]
    if not model["trips"] and not model["orders"]:
        return "It never traded, so that there is nothing to be significant."
    deflated, count = trials["deflated_sharpe"], trials["count"]
    if deflated is None:
        made = _counted(trials["traded_sessions"], "session")
        return f"It made or lost something in {made} only, from which nobody can tell it from luck: nothing here is significant."
    ratio = f"Its Sharpe ratio of {model['sharpe']:.2f} a year (standard error {model['sharpe_error']:.2f})"
    tried = "one trial" if count == 1 else f"the best of {count} trials"
    if trials["significant"]:
        return f"{ratio} is above what luck gives {tried} with a probability of {deflated:.0%}: significant, on these sessions."
    return (
        f"{ratio} is NOT significant: it is above what luck gives {tried} with a probability of {deflated:.0%}, and 95% are asked. It should not "
        "be trusted with money."
    )


def _troubles(model: Mapping[str, Any]) -> list[str]:
    said = []
    if model["failures"]:
        said.append(f"{model['failures']} of its decisions failed.")
    if model["refused"]:
        said.append(f"The broker refused {model['refused']} of its {model['orders']} orders.")
    if model["halted"]:
        said.append(
            f"In {_counted(len(model['halted']), 'fold')} a halt ended its trading before the last session: {model['halted'][0]}"
        )
    return said


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
