"""Rows as a person reads them on a terminal, and as aligned plain text where they are piped on."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

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
    cells = _cells(columns, shown, _WIDEST_CELL)
    width = screen().width
    if _natural_width(columns, cells) > width and len(rows) <= _FEW_RECORDS:
        _print_records(columns, _cells(columns, shown, None))
        left_out = 0
    else:
        left_out = _print_table(columns, cells, shown, width)
    notes = []
    if len(shown) < len(rows):
        notes.append(f"{len(shown)} of {len(rows):,} rows")
    if left_out:
        notes.append(f"{len(columns) - left_out} of {len(columns)} columns")
    if notes:
        screen().print(Text(f"{' and '.join(notes)} shown; pipe it on or ask with --json for all.", style="dim"))
    elif not all_rows:
        screen().print(Text(f"{len(rows):,} row{'s' if len(rows) != 1 else ''}", style="dim"))


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


def _print_records(columns: Sequence[str], cells: list[tuple[str, ...]]) -> None:
    """One value a line: for a few rows that are too wide for the terminal."""
    console = screen()
    for place, row in enumerate(cells):
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, cell in zip(columns, row, strict=True):
            table.add_row(Text(name), Text(cell))
        if place:
            console.print()
        console.print(table)


def _print_table(columns: Sequence[str], cells: list[tuple[str, ...]], rows: Rows, width: int) -> int:
    """The table without those columns that do not fit; returns how many were left out, from the right."""
    widths = _widths(columns, cells)
    kept, used = 0, 1
    while kept < len(columns) and used + widths[kept] + _GAP <= width:
        used += widths[kept] + _GAP
        kept += 1
    kept = max(kept, 1)
    table = Table(box=box.ROUNDED, header_style="bold", border_style="dim")
    for place in range(kept):
        table.add_column(
            Text(columns[place]),
            justify="right" if _is_number(rows, place) else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in cells:
        table.add_row(*(Text(cell.replace("\n", " ")) for cell in row[:kept]))
    screen().print(table)
    return len(columns) - kept


def _natural_width(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    return 1 + sum(width + _GAP for width in _widths(columns, cells))


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
