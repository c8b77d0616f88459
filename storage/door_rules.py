"""What may come through the door: one question that reads, and one row handed in. Everything else is turned away.

The rule: DuckDB's own parser says what a text is, never its look. What is not surely harmless is refused.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

TABLE_FUNCTIONS = frozenset(
    {
        "duckdb_columns",
        "duckdb_constraints",
        "duckdb_databases",
        "duckdb_dependencies",
        "duckdb_extensions",
        "duckdb_functions",
        "duckdb_indexes",
        "duckdb_keywords",
        "duckdb_memory",
        "duckdb_schemas",
        "duckdb_sequences",
        "duckdb_settings",
        "duckdb_tables",
        "duckdb_types",
        "duckdb_views",
        "generate_series",
        "histogram",
        "histogram_values",
        "icu_calendar_names",
        "json_each",
        "json_tree",
        "pg_timezone_names",
        "pragma_database_size",
        "pragma_show",
        "pragma_storage_info",
        "pragma_table_info",
        "pragma_version",
        "range",
        "repeat",
        "repeat_row",
        "unnest",
    }
)
"""Those that read the database or make rows of their arguments. Others read files, run text as SQL, touch memory by its
address, fold the log into the file or reach for other machines."""

_ACTING_FUNCTIONS = re.compile(
    r"nextval|currval|setseed|sleep_ms|write_log|getenv|openbell_door|quack_.*|json_execute_.*"
)
"""Plain functions that change something, or wait."""

_WHOLE_TABLE = re.compile(r"FROM main\.[a-z_][a-z0-9_]*")
_READING_TRANSACTION = frozenset({"BEGIN TRANSACTION READ ONLY", "COMMIT"})
_TEXT = r"'(?:[^'\0]|'')*'"
_HANDED_IN = re.compile(
    r"INSERT INTO operator_requests \(request_id, kind, arguments, asked_by, asked_at\) "
    rf"VALUES \('[0-9a-f]{{32}}', '[a-z_]{{1,40}}', {_TEXT}, {_TEXT}, TIMESTAMPTZ '[0-9T:.+ -]{{10,40}}'\)"
)
_LONGEST_HANDED_IN = 20_000
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?:ANALYZE\s+)?(?=[^\s(])", re.IGNORECASE)


class TurnedAway(Exception):
    """The text is not for readers; says why."""


def passes_as_it_is(sql: str) -> bool:
    """Whether the text may run as it is: a whole table row by row, the frame around several of them, a row handed in.

    None of these can run for long on the holder's side: rows are made as the reader takes them.
    """
    return (
        sql in _READING_TRANSACTION
        or _WHOLE_TABLE.fullmatch(sql) is not None
        or (len(sql) <= _LONGEST_HANDED_IN and _HANDED_IN.fullmatch(sql) is not None)
    )


def explained(sql: str) -> str | None:
    """The question behind EXPLAIN or EXPLAIN ANALYZE, None where the text is none."""
    found = _EXPLAIN.match(sql)
    return sql[found.end() :] if found else None


def question_in(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The text of one reading statement, without its semicolon; raises ``TurnedAway``, or DuckDB's error."""
    statements = cursor.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise TurnedAway("only one question at a time, one that reads, is let in")
    text = statements[0].query  # a PRAGMA that reads is a SELECT here
    row = cursor.execute("SELECT json_serialize_sql(CAST(? AS VARCHAR))", [text]).fetchone()
    parsed: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if parsed["error"] or len(parsed["statements"]) != 1:
        raise TurnedAway("questions of this kind are not let in")
    for name, makes_a_table in _functions(parsed):
        if makes_a_table and name not in TABLE_FUNCTIONS:
            raise TurnedAway(f"the table function {name} is not let in")
        if not makes_a_table and _ACTING_FUNCTIONS.fullmatch(name):
            raise TurnedAway(f"the function {name} is not let in")
    return _without_semicolon(text)


def _functions(node: Any) -> Iterator[tuple[str, bool]]:
    """Every function that a parsed statement calls, wherever it stands, and whether it stands for a table."""
    if isinstance(node, dict):
        makes_a_table = node.get("type") == "TABLE_FUNCTION"
        for key, below in node.items():
            if makes_a_table and key == "function" and isinstance(below, dict):
                yield str(below.get("function_name", "")).lower(), True
                yield from _functions(below.get("children"))
            elif key == "function_name":
                yield str(below).lower(), False
            else:
                yield from _functions(below)
    elif isinstance(node, list):
        for below in node:
            yield from _functions(below)


def _without_semicolon(sql: str) -> str:
    text = sql.encode()  # DuckDB counts in bytes
    for place, kind in duckdb.tokenize(sql):
        if kind == duckdb.token_type.operator and text[place : place + 1] == b";":
            return text[:place].decode()
    return sql
