"""What became of a promotion, in sentences and as a Markdown page. No Prefect here: the terminal says the same."""

from collections.abc import Mapping, Sequence
from typing import Any

_CONTENDERS = ("candidate", "champion", "flat", "buy_and_hold")


def outcome(answer: Mapping[str, Any]) -> str:
    """One sentence: promoted, promoted against the gate, or not."""
    policy, stage = answer["policy"], answer["stage"]
    if not answer["promoted"]:
        return f"{policy} is not promoted to {stage}. Nothing was changed."
    over = f" in the place of {answer['replaced']}" if answer["replaced"] else ""
    against = ", against the gate" if answer["forced"] else ""
    return f"{policy} is at {stage} now{over}{against}."


def findings(gate: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rule, what it says, and why, one for each that was asked."""
    return [(one["rule"], "agrees" if one["passed"] else "REFUSES", one["words"]) for one in gate.get("findings", ())]


def contenders(gate: Mapping[str, Any]) -> list[tuple[str, str, str, str, int, int, int]]:
    """What each of the replayed policies came to."""
    compared = gate.get("figures", {})
    return [
        (
            name,
            f"{one['total_return']:+.2%}",
            f"{one['mean_return']:+.4%}",
            f"{one['drawdown']:.2%}",
            one["orders"],
            one["refused"],
            one["failures"],
        )
        for name in _CONTENDERS
        if (one := compared.get(name)) is not None
    ]


CONTENDER_COLUMNS = ("policy", "return", "per session", "drawdown", "orders", "refused", "failures")


def window(gate: Mapping[str, Any]) -> str:
    """Which sessions were replayed, or why none were."""
    compared = gate.get("figures")
    if not compared:
        return f"Nothing was replayed: {gate.get('not_asked', 'the gate was not asked')}"
    whose = "neither has seen" if "champion" in compared else "it has not seen"
    return (
        f"Replayed on {compared['sessions']} sessions that {whose}, {compared['first_session']} to "
        f"{compared['last_session']}, {', '.join(compared['symbols'])}; after costs."
    )


def promotion_in_words(answer: Mapping[str, Any]) -> str:
    """The whole of it as a Markdown page."""
    gate = answer["gate"]
    lines = ["# Promotion", "", outcome(answer), "", window(gate), ""]
    if compared := contenders(gate):
        lines += [*_table(CONTENDER_COLUMNS, compared), ""]
    if found := findings(gate):
        lines += [*_table(("rule", "", ""), found), ""]
    return "\n".join(lines)


def rollback_in_words(answer: Mapping[str, Any]) -> str:
    """Who is champion now."""
    retired = f"{answer['retired']} is retired." if answer["retired"] else "Nobody was there."
    return "\n".join(["# Rollback", "", f"{answer['policy']} is champion at {answer['stage']} again. {retired}", ""])


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in cells) + " |"

    return [line(columns), line(["---"] * len(columns)), *map(line, rows)]
