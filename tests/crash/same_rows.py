"""Tables after crashes beside those of a session that nobody disturbed: row for row, and what is left out of it."""

from collections.abc import Iterator

from truths import Rows

WALL_CLOCK_COLUMNS = frozenset({"started_at", "ended_at", "latency_ms", "applied_at", "superseded_at", "restated_at"})
"""When things happened on the wall, and how long they took: no two runs share them."""

COUNTS_OF_TRIES = frozenset({"attempts"})
"""How often something was tried: a crash is a reason to try again."""

RECORDS_OF_RESTARTS = frozenset(
    {"reconciliations", "discrepancies", "session_leases", "repairs", "stop_steps", "operator_requests"}
)
"""Tables whose very purpose is to tell one start from another.

A stop counts its passes, and each restart is one more: it asks for cancels and looks at the broker again. What a person asked
for has an id of chance.
"""

AFTER_A_STOP = frozenset({"stops", "halts"})
"""What is equal where a stop was killed on its way: that it was begun, why, and that it succeeded. When it ended is not (the
column ``ended_at``): a restart may need another bar. Its orders are not either: they are named after the pass that sent them,
because an earlier pass's order may be cancelled and must not be taken for sent."""

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def all_tables(rows: Rows, apart_from: frozenset[str] = frozenset()) -> dict[str, Table]:
    """Every table that is promised to be equal: its columns (less those), and its rows in an order of their own."""
    hidden = WALL_CLOCK_COLUMNS | COUNTS_OF_TRIES | apart_from
    tables: dict[str, list[str]] = {}
    for table, column in rows(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main'"
        " AND table_name IN (SELECT table_name FROM duckdb_tables() WHERE NOT internal) ORDER BY 1, column_index"
    ):
        if table not in RECORDS_OF_RESTARTS and column not in hidden:
            tables.setdefault(table, []).append(column)
    return {
        table: (
            tuple(columns),
            sorted(tuple(str(value) for value in row) for row in rows(f"SELECT {', '.join(columns)} FROM {table}")),
        )
        for table, columns in tables.items()
    }


def differences(
    undisturbed: dict[str, Table], disturbed: dict[str, Table], only: frozenset[str] | None = None
) -> Iterator[str]:
    """In words, the first difference of each table (of ``only``) that has one."""
    names = undisturbed.keys() | disturbed.keys()
    for name in sorted(names if only is None else names & only):
        columns, expected = undisturbed.get(name, ((), []))
        columns_there, found = disturbed.get(name, ((), []))
        if columns != columns_there:
            yield f"table {name} has the columns {columns_there} instead of {columns}"
            continue
        if expected == found:
            continue
        missing, added = set(expected) - set(found), set(found) - set(expected)
        first = f"{len(missing)} rows are missing, {len(added)} are not of the undisturbed run"
        if not missing and not added:
            first = f"{len(found)} rows instead of {len(expected)}, some of them twice"
        examples = []
        for sign, some in (("-", missing), ("+", added)):
            examples += [f"{sign} {dict(zip(columns, row, strict=True))}" for row in sorted(some)[:2]]
        yield f"table {name}: {first}: {'; '.join(examples)}"
