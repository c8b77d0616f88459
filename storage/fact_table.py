"""How a value becomes rows of a table.

A few rows go as one INSERT with bound parameters, many as Arrow columns: the first costs least to start, the second
least per row. Both end in the same rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

import pyarrow as pa

from storage.columns import MONEY
from storage.connection import Connection
from trading.money import round_money

FEW = 40
"""Up to this many rows, bound parameters are quicker than Arrow."""

TEXT = pa.string()
COUNT = pa.int64()
NUMBER = pa.float64()
FLAG = pa.bool_()
MARKS = pa.map_(TEXT, MONEY)
LARGE_MONEY = pa.decimal128(38, 6)

_OF_A_BAR = ("session_id", "bar_time")

T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FactTable(Generic[T]):
    """A table and the way a value becomes a row of it. ``row`` also gets the session's id."""

    name: str
    columns: dict[str, pa.DataType]
    row: Callable[[str, T], Row]
    identity: tuple[str, ...] = ()
    """The columns that make a fact the same again, where some can be NULL and so no primary key can say it; ``session_id`` and
    ``bar_time`` are among them.

    Always looked up: DuckDB 1.5 forgets entries of a unique index (not of a primary key) when it replays its log after a crash, so that
    the index cannot be trusted to notice a repeat.
    """
    restated: tuple[str, ...] = ()
    """The columns that a fact whose key is there already brings up to date."""

    def write(self, connection: Connection, session_id: str, facts: Iterable[T], absorb: bool = False) -> None:
        """Insert ``facts``; with ``absorb`` those whose key is there already are passed over, or restate their row."""
        self.write_rows(connection, [self.row(session_id, fact) for fact in facts], absorb)

    def write_rows(self, connection: Connection, rows: Sequence[Row], absorb: bool = False) -> None:
        """Insert finished rows."""
        if not rows:
            return
        if len(rows) > FEW:
            self.write_columns(connection, self.as_columns(rows), absorb)
            return
        if self.identity and not (rows := self._new(connection, rows)):
            return
        # DuckDB plans ON CONFLICT as a join, which triples the cost of a row: so only where repeats are known of.
        ending = self._absorbing if absorb else ""
        holes = "(" + ", ".join("?" * len(self.columns)) + ")"
        connection.execute(
            f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES {', '.join([holes] * len(rows))}{ending}",
            [value for row in rows for value in row],
        )

    def write_columns(self, connection: Connection, arriving: pa.Table, absorb: bool = False) -> None:
        """Insert rows that are Arrow columns of these names already."""
        names = ", ".join(arriving.column_names)
        ending = ""
        if self.identity:
            same = " AND ".join(f"known.{name} IS NOT DISTINCT FROM arriving.{name}" for name in self.identity)
            ending = (
                f" WHERE NOT EXISTS (SELECT 1 FROM {self.name} AS known WHERE {same})"
                f" QUALIFY row_number() OVER (PARTITION BY {', '.join(self.identity)}) = 1"
            )
        elif absorb:
            ending = self._absorbing
        connection.load(arriving, f"INSERT INTO {self.name} ({names}) SELECT {names} FROM arriving{ending}")

    def _new(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        """Those of the rows that are not there as of the last commit, each once. A commit writes each table once.

        Only rows of the same bars are read, which are few however long the table is; the join of many costs a few rows ten times as much.
        """
        places = [list(self.columns).index(name) for name in self.identity]
        named = {tuple(row[place] for place in places): row for row in reversed(rows)}
        bar = [self.identity.index(name) for name in _OF_A_BAR]
        known: set[Row] = set()
        for session_id, bar_time in {tuple(key[place] for place in bar) for key in named}:
            known.update(
                connection.rows(
                    f"SELECT {', '.join(self.identity)} FROM {self.name}"
                    " WHERE session_id = ? AND bar_time IS NOT DISTINCT FROM ?::TIMESTAMPTZ",
                    [session_id, bar_time],
                )
            )
        return [row for key, row in reversed(named.items()) if key not in known]

    @property
    def _absorbing(self) -> str:
        if not self.restated:
            return " ON CONFLICT DO NOTHING"
        return " ON CONFLICT DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in self.restated)

    def as_columns(self, rows: Sequence[Row]) -> pa.Table:
        """Finished rows as Arrow columns."""
        arrays = [
            pa.array([entry and list(entry.items()) for entry in column] if kind == MARKS else column, kind)
            for column, kind in zip(zip(*rows, strict=True), self.columns.values(), strict=True)
        ]
        return pa.table(arrays, names=list(self.columns))


def exact(amount: Decimal) -> Decimal:
    """The amount with six places written out.

    Rounds as the books do, and keeps DuckDB from misreading a short form: it takes Decimal("1E+5") for 1.
    """
    return round_money(amount)


def exact_or_none(amount: Decimal | None) -> Decimal | None:
    """``exact``, where there is an amount."""
    return None if amount is None else round_money(amount)
