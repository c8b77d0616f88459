"""The format of a paper account's file, and how files of earlier versions of openbell become files of this one.

A new file is made by the same steps as an old one is brought up by, so that both are the same. Each step is one transaction
together with the version number that it leads to.
"""

import sqlite3

SCHEMA_VERSION = 2

_TABLES = {"account", "orders", "executions"}
"""Tables that every version has."""

_VERSION_1 = """
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    initial_cash TEXT NOT NULL,
    last_bar_time TEXT
);
CREATE TABLE orders (
    client_order_id TEXT PRIMARY KEY,
    broker_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    time_in_force TEXT NOT NULL,
    decided_on TEXT NOT NULL,
    status TEXT NOT NULL,
    status_at TEXT NOT NULL,
    filled INTEGER NOT NULL,
    value TEXT NOT NULL,
    commission TEXT NOT NULL
);
CREATE TABLE executions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    exec_id TEXT NOT NULL UNIQUE,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price TEXT NOT NULL,
    commission TEXT NOT NULL,
    executed_at TEXT NOT NULL
);
"""

# Version 1 knew market orders only and kept of each order's news the newest: what an execution made of its order follows from
# the shares filled until then; when an order was accepted is known only where nothing came after.
_VERSION_2 = """
ALTER TABLE orders ADD COLUMN order_type TEXT NOT NULL DEFAULT 'MARKET';
ALTER TABLE orders ADD COLUMN parent_id TEXT;
ALTER TABLE orders ADD COLUMN oca_group TEXT;
ALTER TABLE orders ADD COLUMN limit_price TEXT;
ALTER TABLE orders ADD COLUMN stop_price TEXT;
ALTER TABLE orders ADD COLUMN trail_amount TEXT;
ALTER TABLE orders ADD COLUMN trail_fraction TEXT;
ALTER TABLE orders ADD COLUMN works_after TEXT;
ALTER TABLE orders ADD COLUMN is_triggered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN best_price TEXT;
ALTER TABLE orders ADD COLUMN closing_price TEXT;
ALTER TABLE orders ADD COLUMN closing_available INTEGER;
ALTER TABLE orders ADD COLUMN amendments INTEGER NOT NULL DEFAULT 0;
UPDATE orders SET works_after = decided_on;
CREATE TABLE reports (
    sequence INTEGER PRIMARY KEY,
    client_order_id TEXT NOT NULL,
    status TEXT NOT NULL,
    event_time TEXT NOT NULL,
    detail TEXT NOT NULL
);
UPDATE executions SET sequence = -2 * sequence;
UPDATE executions SET sequence = -sequence;
INSERT INTO reports
SELECT
    sequence + 1,
    client_order_id,
    CASE
        WHEN sum(executions.quantity) OVER (PARTITION BY client_order_id ORDER BY sequence) < orders.quantity
        THEN 'PARTIALLY_FILLED' ELSE 'FILLED'
    END,
    executed_at,
    ''
FROM executions JOIN orders USING (client_order_id);
INSERT INTO reports
SELECT
    coalesce((SELECT max(sequence) FROM executions), 0) + 1 + row_number() OVER (ORDER BY status_at, rowid),
    client_order_id,
    status,
    status_at,
    ''
FROM orders
WHERE status NOT IN ('PARTIALLY_FILLED', 'FILLED');
"""

_STEPS = {1: _VERSION_1, 2: _VERSION_2}


def version_of(connection: sqlite3.Connection) -> tuple[int, set[str]]:
    """The format's version (0: an empty file) and the names of all tables; changes nothing."""
    # One view of the file: another process may be making it.
    connection.execute("BEGIN")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.execute("COMMIT")
    return version, tables


def is_foreign(version: int, tables: set[str]) -> bool:
    """Whether the file is a database of something else."""
    return bool(tables) and not (version and tables >= _TABLES)


def bring_up(connection: sqlite3.Connection) -> None:
    """Take an empty or older file to this version, step by step. Raises ``sqlite3.Error``; done steps stay."""
    version, tables = version_of(connection)
    for step in range(version + 1 if tables else 1, SCHEMA_VERSION + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {_STEPS[step]} PRAGMA user_version = {step}; COMMIT;")
