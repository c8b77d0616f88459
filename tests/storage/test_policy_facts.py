"""States of models, decisions of shadows and of sessions; what can be asked of them, and copied."""

import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from storage import policy_states
from storage.door import open_door
from storage.policy_decisions import SHADOW_DECISIONS, decisions_of, shadow_decisions_of
from storage.questions import ask
from storage.snapshot import write_snapshot
from storage.store import Store, open_store
from trading.decisions import Action, PolicyState, ShadowDecision
from trading.ports import LedgerEntries

HALF, QUARTER = struct.pack("<2f", 0.5, -0.5), struct.pack("<2f", 0.25, -0.25)

ASKING = """
import sys
from pathlib import Path
from storage.policy_states import read
from storage.visit import read_from
for state in read_from(Path(sys.argv[1]), lambda store: read(store.connection, "s", "trend@1")):
    print(state.symbol, state.bar_time.isoformat(), state.state.hex())
"""


def state(book: Any, symbol: str, minute: int, numbers: bytes, fingerprint: str = "trend@1") -> PolicyState:
    return PolicyState(symbol, fingerprint, book.at(minute), numbers)


def remember(store: Store, session_id: str, *states: PolicyState) -> None:
    with store.connection.transaction():
        policy_states.write(store.connection, session_id, states)


def shadow(book: Any, minute: int, symbol: str = "SPY", fingerprint: str = "trend@1") -> ShadowDecision:
    return ShadowDecision(
        book.session, book.at(minute), symbol, fingerprint, Action.BUY, 0.25, 0.75, 1.5, None, "cooldown"
    )


def test_the_newest_state_of_each_symbol_is_kept(store: Store, book: Any) -> None:
    remember(store, "s", state(book, "SPY", 1, HALF), state(book, "QQQ", 1, HALF))
    remember(store, "s", state(book, "SPY", 2, QUARTER))
    remember(store, "s")
    found = policy_states.read(store.connection, "s", "trend@1")
    assert found == [state(book, "QQQ", 1, HALF), state(book, "SPY", 2, QUARTER)]
    assert struct.unpack("<2f", found[1].state) == (0.25, -0.25)


def test_states_of_other_sessions_and_policies_are_others(store: Store, book: Any) -> None:
    remember(store, "s", state(book, "SPY", 1, HALF), state(book, "SPY", 1, QUARTER, "trend@2"))
    remember(store, "t", state(book, "SPY", 3, QUARTER))
    assert policy_states.read(store.connection, "s", "trend@1") == [state(book, "SPY", 1, HALF)]
    assert policy_states.read(store.connection, "s", "trend@2") == [state(book, "SPY", 1, QUARTER, "trend@2")]
    assert policy_states.read(store.connection, "t", "trend@2") == []


def test_a_state_goes_with_the_transaction_that_it_was_written_in(store: Store, book: Any) -> None:
    remember(store, "s", state(book, "SPY", 1, HALF))
    try:
        with store.connection.transaction():
            policy_states.write(store.connection, "s", [state(book, "SPY", 2, QUARTER)])
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert policy_states.read(store.connection, "s", "trend@1") == [state(book, "SPY", 1, HALF)]


def test_states_are_read_through_the_door_and_from_a_copy(store: Store, path: Path, book: Any, tmp_path: Path) -> None:
    remember(store, "s", state(book, "SPY", 1, HALF), state(book, "QQQ", 2, QUARTER))
    with open_door(store) as door:
        assert door.wait_until_open()
        there = subprocess.run(
            [sys.executable, "-c", ASKING, str(path)], capture_output=True, text=True, timeout=60, check=True
        )
        assert there.stdout.splitlines() == [
            "QQQ 2026-01-05T14:32:00+00:00 0000803e000080be",
            "SPY 2026-01-05T14:31:00+00:00 0000003f000000bf",
        ]
        assert ask(path, "SELECT state FROM policy_states ORDER BY symbol").rows == ((QUARTER,), (HALF,))
        rows = write_snapshot(path, tmp_path / "copy.duckdb")
    assert (rows["policy_states"], rows["policies"], rows["policy_stages"], rows["shadow_decisions"]) == (2, 0, 0, 0)
    with open_store(tmp_path / "copy.duckdb", read_only=True) as copy:
        assert policy_states.read(copy.connection, "s", "trend@1") == [
            state(book, "QQQ", 2, QUARTER),
            state(book, "SPY", 1, HALF),
        ]


def test_shadows_are_read_as_they_were_written(store: Store, book: Any) -> None:
    failed = replace(
        shadow(book, 2), action=Action.HOLD, target_weight=None, confidence=None, error="ValueError: no", note=None
    )
    other = shadow(book, 1, fingerprint="trend@2")
    with store.connection.transaction():
        SHADOW_DECISIONS.write(store.connection, book.session, [failed, shadow(book, 1), other])
    assert shadow_decisions_of(store.connection, book.session) == [shadow(book, 1), other, failed]
    assert shadow_decisions_of(store.connection, book.session, "trend@2") == [other]
    assert shadow_decisions_of(store.connection, "another") == []


def test_many_shadows_go_in_as_columns_and_come_again_harmlessly(store: Store, book: Any) -> None:
    many = [shadow(book, minute) for minute in range(50)]
    for absorb in (False, True):
        with store.connection.transaction():
            SHADOW_DECISIONS.write(store.connection, book.session, many, absorb)
    assert shadow_decisions_of(store.connection, book.session) == many


def test_a_sessions_decisions_are_read_by_bar_and_symbol(store: Store, book: Any) -> None:
    decided = [
        book.decision(1, "SPY", Action.BUY, 10),
        replace(book.decision(0, "SPY"), confidence=None, error="ValueError: no"),
        book.decision(0, "QQQ", Action.SELL, -5),
    ]
    store.ledger.commit(book.session, LedgerEntries(decisions=decided))
    assert decisions_of(store.connection, book.session) == [decided[2], decided[1], decided[0]]
    assert decisions_of(store.connection, "another") == []
