"""Rows as a person reads them on a terminal, and as aligned plain text where they are piped on."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from deployments.terminal.answer import screen

ROWS_SHOWN = 40
_WIDEST_CELL = 48
_GAP = 3
_FEW_RECORDS = 5

Rows = Sequence[tuple[Any, ...]]


def show_table(columns: Sequence[str], rows: Rows, all_rows: bool = False) -> None:
    """Print the rows on stdout. A terminal gets the first of them, and as many columns as fit, and is told so."""
    if not sys.stdout.isatty():
        _print_plain(columns, rows)
        return
    shown = rows if all_rows else rows[:ROWS_SHOWN]
    if _width(columns, _cells(columns, shown, _WIDEST_CELL)) > screen().width and len(rows) <= _FEW_RECORDS:
        show_records(columns, shown)
        notes = []
    else:
        notes = _print_table(columns, shown)
    if len(shown) < len(rows):
        notes.insert(0, f"The first {len(shown)} of {len(rows):,} rows; pipe it on or ask with --json for all.")
    elif not all_rows:
        notes.insert(0, f"{len(rows):,} row{'s' if len(rows) != 1 else ''}.")
    for note in notes:
        screen().print(Text(note, style="dim"))


def _print_plain(columns: Sequence[str], rows: Rows) -> None:
    cells = [tuple(cell.replace("\n", "\\n") for cell in row) for row in _cells(columns, rows, None)]
    widths = _widths(columns, cells)
    right = [_is_number(rows, place) for place in range(len(columns))]

    def line(values: Sequence[str]) -> str:
        aligned = [
            value.rjust(width) if numeric else value.ljust(width)
            for value, width, numeric in zip(values, widths, right, strict=True)
        ]
        return "  ".join(aligned).rstrip()

    for values in (columns, *cells):
        sys.stdout.write(line(values) + "\n")
    sys.stdout.flush()


def fits(columns: Sequence[str], rows: Rows) -> bool:
    """Whether all of every row has room side by side on this terminal."""
    return _width(columns, _cells(columns, rows, None)) <= screen().width


def show_records(columns: Sequence[str], rows: Rows) -> None:
    """One value a line: for rows that are too wide for the terminal."""
    console = screen()
    for place, row in enumerate(_cells(columns, rows, None)):
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, cell in zip(columns, row, strict=True):
            table.add_row(Text(name), Text(cell))
        if place:
            console.print()
        console.print(table)


def _print_table(columns: Sequence[str], rows: Rows) -> list[str]:
    """The table as far as it fits, and what must be said about that.

    Where it is too wide, columns that say the same in every row go first, then those at the right.
    """
    cells = _cells(columns, rows, _WIDEST_CELL)
    widths = _widths(columns, cells)
    room = screen().width
    kept = list(range(len(columns)))
    notes = []
    if _width_of(widths, kept) > room and len(rows) > 1:
        constant = [place for place in kept if len({row[place] for row in cells}) == 1]
        kept = [place for place in kept if place not in constant]
        said = ", ".join(f"{columns[place]} = {cells[0][place] or 'NULL'}" for place in constant)
        notes += [f"In every row: {said}."] if said else []
    left_out: list[str] = []
    while len(kept) > 1 and _width_of(widths, kept) > room:
        left_out.insert(0, columns[kept.pop()])
    if left_out:
        notes.append(f"Too wide for this terminal: {', '.join(left_out)}. Name the columns you want, or pipe it on.")
    table = Table(box=box.ROUNDED, header_style="bold", border_style="dim")
    for place in kept:
        side: Literal["left", "right"] = "right" if _is_number(rows, place) else "left"
        table.add_column(Text(columns[place]), justify=side, no_wrap=True, overflow="ellipsis")
    for row in cells:
        table.add_row(*(Text(row[place].replace("\n", " ")) for place in kept))
    screen().print(table)
    return notes


def _width(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    return _width_of(_widths(columns, cells), range(len(columns)))


def _width_of(widths: Sequence[int], places: Iterable[int]) -> int:
    return 1 + sum(widths[place] + _GAP for place in places)


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(name), *(len(row[place]) for row in cells), 0) for place, name in enumerate(columns)]


def _is_number(rows: Rows, place: int) -> bool:
    found = [row[place] for row in rows if row[place] is not None]
    return bool(found) and all(isinstance(value, int | float | Decimal) and value is not True for value in found)


def _cells(columns: Sequence[str], rows: Rows, widest: int | None) -> list[tuple[str, ...]]:
    places = [_decimal_places(rows, place) for place in range(len(columns))]
    return [
        tuple(_shortened(_cell(value, digits), widest) for value, digits in zip(row, places, strict=True))
        for row in rows
    ]


def _decimal_places(rows: Rows, place: int) -> int:
    """Digits after the point that a column of decimals needs, so that its points stand below each other."""
    needed = [
        max(-int(value.normalize().as_tuple().exponent), 0)
        for row in rows
        if isinstance(value := row[place], Decimal) and value.is_finite()
    ]
    written = [
        -int(value.as_tuple().exponent)
        for row in rows
        if isinstance(value := row[place], Decimal) and value.is_finite()
    ]
    return min(max([2, *needed]), max([0, *written]))


def _cell(value: object, digits: int) -> str:
    match value:
        case None:
            return ""
        case Decimal() if value.is_finite():
            return f"{value:.{digits}f}"
        case float():
            return f"{value:.10g}"
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat(" ").replace("+00:00", "Z")
        case dict():
            return ", ".join(f"{key}={_cell(item, 2)}" for key, item in value.items())
        case _:
            return str(value)


def _shortened(cell: str, widest: int | None) -> str:
    return cell if widest is None or len(cell) <= widest else cell[: widest - 1] + "…"
