"""What a loading of history came to, in words and tables for people."""

from collections.abc import Mapping
from typing import Any

_ROWS_ON_THE_PAGE = 50


def sentence_of(answer: Mapping[str, Any]) -> str:
    """The loading in a sentence or two."""
    if not answer["sessions"]:
        return f"No session was over from {answer['first']} to {answer['last']}: there is nothing to load."
    missing = f"{answer['missing']:,} bars were missing in {answer['sessions']} sessions from {answer['first']} to {answer['last']}"
    loaded = f"{answer['loaded']:,} were loaded from {answer['source']}, {answer['still_missing']:,} are still missing"
    asides = [
        f"{answer['not_traded']:,} more count as not traded: the source has said so twice"
        if answer["not_traded"]
        else "",
        f"{len(answer['differences']):,} stored bars differ from what came, {answer['replaced']:,} of them were replaced"
        if answer["differences"]
        else "",
        f"the session of {answer['going']} is not over and was left out" if answer["going"] else "",
        f"stopped: {answer['stopped']}" if answer["stopped"] else "",
    ]
    return ". ".join(part[0].upper() + part[1:] for part in (f"{missing}; {loaded}", *asides) if part) + "."


def page_of(answer: Mapping[str, Any]) -> str:
    """The loading as Markdown; all rows are in the tables beside it."""
    rows = [row for row in session_rows(answer) if row["loaded"] != "0" or row["still missing"] != "0" or row["note"]]
    lines = ["# History", sentence_of(answer)]
    if rows:
        head = list(rows[0])
        table = [head, ["---"] * len(head), *([row[name] for name in head] for row in rows[:_ROWS_ON_THE_PAGE])]
        lines.append("\n".join(f"| {' | '.join(line)} |" for line in table))
    if len(rows) > _ROWS_ON_THE_PAGE:
        lines.append(f"The first {_ROWS_ON_THE_PAGE} of {len(rows)}; all are in the table `load-history-sessions`.")
    if answer["differences"]:
        lines.append(
            "What differs is in the table `load-history-differences`. Run it with `replace` to take the new values."
        )
    return "\n\n".join(lines) + "\n"


def session_rows(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row for people per session that was asked for, or should have been."""
    return [
        {
            "symbol": one["symbol"],
            "session": one["session_date"].isoformat(),
            "was missing": f"{one['missing']:,} of {one['expected']:,}",
            "loaded": f"{one['loaded']:,}",
            "still missing": f"{one['still_missing']:,}",
            "differing": f"{one['differing']:,}",
            "odd": ", ".join(f"{count} {finding}" for finding, count in sorted(one["findings"].items())),
            "note": one["note"],
        }
        for one in answer["by_session"]
    ]


def difference_rows(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row for people per bar that differs."""
    return [
        {
            "symbol": one["symbol"],
            "bar": f"{one['bar_time']:%Y-%m-%d %H:%M} UTC",
            "stored": one["stored"],
            "comes with": one["arriving"],
            "done": one["done"],
        }
        for one in answer["differences"]
    ]
