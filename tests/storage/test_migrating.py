"""A database of an earlier version goes on with everything it has; a migration that was edited is found out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.connection import Connection, RepeatedFact
from storage.schema import Migration, _apply, migrations
from storage.store import open_store
from trading.errors import StoreError

FACTS_OF_VERSION_2 = """
INSERT INTO sessions VALUES ('s', 'sma', 'paper', DATE '2026-01-05', 'recorded', 'COMPLETED', '2026-01-05 14:30:00+00', NULL,
    '2026-01-05 15:00:00+00', '{}', 'f', 1000, 0, '');
INSERT INTO orders VALUES
    ('o', 's', 'paper', '2026-01-05 14:30:00+00', 'SPY', 'BUY', 10, 'MARKET', NULL, NULL, 'DAY', NULL, NULL, 100,
        '2026-01-05 14:30:00+00', 'FILLED', 10, 'b');
INSERT INTO order_events VALUES
    ('o', '2026-01-05 14:30:00+00', 'SUBMITTED', '', 's', NULL), ('o', '2026-01-05 14:30:00+00', 'ACCEPTED', '', 's', 'b');
INSERT INTO fills VALUES
    ('x1', 1, 'o', 's', 'paper', 'SPY', 'BUY', 6, 100, 1, '2026-01-05 14:31:00+00', 'paper'),
    ('x2', 2, 'o', 's', 'paper', 'SPY', 'BUY', 4, 101, NULL, '2026-01-05 14:31:00+00', 'paper'),
    ('x3', 3, 'p', 's', 'paper', 'SPY', 'SELL', 3, 102, 1, '2026-01-05 14:40:00+00', 'paper');
INSERT INTO position_snapshots VALUES
    ('s', '2026-01-05 14:31:00+00', 'paper', 'SPY', 10, 1005, 0), ('s', '2026-01-05 14:40:00+00', 'paper', 'SPY', 7, 703, 3);
INSERT INTO reconciliations VALUES (1, 's', '2026-01-05 14:30:00+00', 'open', 1);
INSERT INTO discrepancies VALUES (1, 1, 's', 'position', 'SPY', '7', '6', 'find out');
"""


HALTS_OF_VERSION_3 = """
INSERT INTO halts VALUES
    ('all', '2026-01-05 14:30:00+00', NULL, 'the day has lost my patience', NULL, NULL, NULL),
    ('account:paper', '2026-01-05 14:30:00+00', 's', 'the day has lost 1000.00 of at most 1000.00', '2026-01-05 21:00:00+00',
        NULL, NULL),
    ('symbol:SPY', '2026-01-05 14:31:00+00', 's', '3 orders of SPY in a row never reached the broker', NULL,
        '2026-01-05 15:00:00+00', 'ada'),
    ('all', '2026-01-05 14:32:00+00', 's', 'stop everything', NULL, NULL, NULL);
"""


def test_halts_of_version_3_name_the_rule_that_their_reason_tells(path: Path, book: Any) -> None:
    connection = Connection(path)
    for step in migrations()[:3]:
        _apply(connection, step)
    with connection.transaction():
        connection.run_script(HALTS_OF_VERSION_3)
    connection.close()
    with open_store(path) as store:
        found = store.connection.rows("SELECT scope, rule, session_id, cleared_by FROM halts ORDER BY rowid")
        assert found == [
            ("all", "operator", None, None),
            ("account:paper", "max_daily_loss", "s", None),
            ("symbol:SPY", "orders_lost", "s", "ada"),
            ("all", "operator", "s", None),
        ]
        standing = store.ledger.active_halts("paper", "sma", ["SPY"], book.at(60))
        assert [(halt.scope, halt.reason) for halt in standing] == [
            ("account:paper", "the day has lost 1000.00 of at most 1000.00"),
            ("all", "the day has lost my patience"),
            ("all", "stop everything"),
        ]
        # Another rule may halt what is halted already, at the same moment.
        store.ledger.record_halt(replace(standing[0], rule="max_drawdown"))
        assert store.ledger.clear_halts("account:paper", "ada", book.at(60)) == 2
    with open_store(path, read_only=True) as store:
        assert store.ledger.unfinished_stops("paper") == []


def version_2(path: Path) -> None:
    """A database as version 2 left it: its steps have no checksums."""
    connection = Connection(path)
    for step in migrations()[:2]:
        _apply(connection, step)
    with connection.transaction():
        connection.run_script(FACTS_OF_VERSION_2)
        connection.run_script("ALTER TABLE schema_migrations DROP COLUMN checksum")
    connection.close()


def test_facts_of_version_2_are_there_with_what_is_known_of_the_new_columns(path: Path, book: Any) -> None:
    version_2(path)
    with open_store(path) as store:
        rows = store.connection.rows
        assert rows("SELECT client_order_id, status, filled_quantity, attempts FROM orders") == [("o", "FILLED", 10, 1)]
        assert rows("SELECT exec_id, booking, lineage, revision, quantity FROM fills ORDER BY booking") == [
            ("x1", 1, "x1", 0, 6),
            ("x2", 2, "x2", 0, 4),
            ("x3", 3, "x3", 0, 3),
        ]
        # The first snapshot came with the bar of the first two fills.
        assert rows("SELECT booking, quantity FROM position_snapshots ORDER BY booking") == [(2, 10), (3, 7)]
        assert rows("SELECT symbol, quantity, cost_basis FROM positions") == [("SPY", 7, 703)]
        assert rows("SELECT account, discrepancies, repairs, remaining FROM reconciliations") == [("paper", 1, 0, 1)]
        assert rows("SELECT kind, remains FROM discrepancies") == [("position", True)]
        assert rows("SELECT quantity FROM trades") == [(3,)]
        store.ledger.commit("s", book.bar(1))
    with open_store(path, read_only=True) as store:
        assert len(store.ledger.fills("paper")) == 3


def test_steps_that_were_applied_before_checksums_are_believed_and_later_ones_are_not(path: Path) -> None:
    version_2(path)
    with open_store(path) as store:
        kept = store.connection.rows("SELECT version FROM schema_migrations WHERE checksum IS NOT NULL ORDER BY 1")
        assert kept == [(step.version,) for step in migrations()[2:]]
        with store.connection.transaction():
            store.connection.execute("UPDATE schema_migrations SET checksum = 'another' WHERE version = 3")
    with pytest.raises(StoreError, match=r"made by another 0003_exactly_once\.sql"), open_store(path):
        pass


def test_a_checksum_is_of_the_statements_and_not_of_how_their_lines_end() -> None:
    assert Migration(1, "a", "x\ny\n").checksum == Migration(2, "b", "x\r\ny\r\n").checksum
    assert Migration(1, "a", "x\ny\n").checksum != Migration(1, "a", "x\nz\n").checksum


FACTS_OF_VERSION_4 = """
INSERT INTO decisions VALUES
    ('s', '2026-01-05 14:30:00+00', 'SPY', 'BUY', 10, 0.5, 0.25, NULL),
    ('s', '2026-01-05 14:31:00+00', 'SPY', 'HOLD', 10, NULL, 0.25, 'ValueError: no');
INSERT INTO policies VALUES
    ('mine', 'trend', 'ppo', 'candidate', '{"sharpe": 1.5}', '2026-01-05 14:30:00+00'),
    ('other', 'trend', 'ppo', 'live', NULL, '2026-01-06 14:30:00+00');
"""


def test_decisions_and_policies_of_version_4_go_on(path: Path, book: Any) -> None:
    connection = Connection(path)
    for step in migrations()[:4]:
        _apply(connection, step)
    with connection.transaction():
        connection.run_script(FACTS_OF_VERSION_4)
    connection.close()
    with open_store(path) as store:
        rows = store.connection.rows
        assert rows("SELECT symbol, action, target_quantity, error, note FROM decisions ORDER BY bar_time") == [
            ("SPY", "BUY", 10, None, None),
            ("SPY", "HOLD", 10, "ValueError: no", None),
        ]
        assert rows(
            "SELECT fingerprint, stage, metrics, version, path, manifest, lineage, registered_at = created_at"
            " FROM policies ORDER BY rowid"
        ) == [
            ("mine", "candidate", '{"sharpe": 1.5}', "", "", "{}", "{}", True),
            ("other", "live", None, "", "", "{}", "{}", True),
        ]
        # The key of decisions still holds: the same bar is not decided twice.
        with pytest.raises(RepeatedFact), store.connection.transaction():
            store.connection.execute(
                "INSERT INTO decisions BY NAME SELECT * REPLACE ('SELL' AS action) FROM decisions LIMIT 1"
            )
        store.ledger.commit(book.session, book.bar(3))
    with open_store(path) as store:
        assert store.connection.rows("SELECT count(*), count(note) FROM decisions") == [(3, 0)]
