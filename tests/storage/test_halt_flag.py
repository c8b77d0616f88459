"""A file beside the database halts whoever holds it: a bare one, a spoilt one, several of them; answered once, then taken down."""

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.halt_flag import flag_path, flagged, raise_flag, take_down
from storage.store import Store, open_store
from trading.errors import LeaseLost
from trading.leases import LEASE_LASTS, Runner
from trading.operator_requests import OperatorRequest, RequestKind

AT = datetime(2026, 1, 5, 15, 0, 0, 123456, tzinfo=UTC)
EVERYTHING = {"scope": "all", "reason": "halt file ledger.duckdb.halt", "flatten": False, "minutes": None}


def beside(path: Path) -> list[str]:
    """What lies beside the database and is not it."""
    return sorted(file.name for file in path.parent.iterdir() if not file.name.startswith(path.name + ".wal"))


def answered(store: Store) -> list[tuple[Any, ...]]:
    return store.connection.rows(
        "SELECT request_id, kind, arguments, asked_by, asked_at, answered_at, answer FROM operator_requests"
    )


@pytest.fixture
def unremovable(path: Path) -> Iterator[Path]:
    """A flag that cannot be unlinked, whoever runs this: it is a directory."""
    flag = flag_path(path)
    flag.mkdir()
    yield flag
    flag.rmdir()


def test_where_no_flag_is_nothing_is_asked(path: Path) -> None:
    assert flagged(path) == flagged(path, look_around=True) == []
    take_down(path, "0" * 32)


def test_a_raised_flag_says_what_it_was_raised_with(path: Path) -> None:
    arguments = {"scope": "symbol:SPY", "reason": "it's odd", "flatten": True, "minutes": 30}
    raised = raise_flag(path, arguments, "o'neill", AT)
    assert flagged(path) == [raised]
    assert raised == OperatorRequest(raised.request_id, RequestKind.HALT, arguments, "o'neill", AT)
    assert beside(path) == ["ledger.duckdb.halt"]


def test_a_bare_file_halts_everything(path: Path) -> None:
    flag_path(path).touch()
    os.utime(flag_path(path), (AT.timestamp(), AT.timestamp()))
    [request] = flagged(path)
    assert (request.kind, request.arguments) == (RequestKind.HALT, EVERYTHING)
    assert abs(request.asked_at - AT) < timedelta(milliseconds=1)
    assert request.asked_by == flag_path(path).owner()
    assert flagged(path) == [request]


def test_a_file_that_is_touched_again_is_another_request(path: Path) -> None:
    flag_path(path).touch()
    [first] = flagged(path)
    os.utime(flag_path(path), (1, 1))
    [second] = flagged(path)
    assert first.request_id != second.request_id


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        (b"fat finger\n", {"reason": "fat finger"}),
        (b"two\n  lines\0", {"reason": "two lines"}),
        (b'"only words"', {"reason": "only words"}),
        (b"17", {"reason": "17"}),
        (b"[]", {"reason": "[]"}),
        (b"{}", {}),
        (b"  \n", {}),
        (b'\xef\xbb\xbf{"reason": "notepad"}', {"reason": "notepad"}),
        (b'\xff\xfe"', {"reason": "\ufffd\ufffd\""}),
        (b'{"scope": "symbol:SPY", "reas', {"reason": '{"scope": "symbol:SPY", "reas'}),
        (b'{"scope": "symbol:SPY", "minutes": 5, "flatten": true}', {"scope": "symbol:SPY", "minutes": 5, "flatten": True}),
        (b'{"arguments": {"scope": "strategy:sma", "reason": "r"}}', {"scope": "strategy:sma", "reason": "r"}),
        (b'{"arguments": "symbol:SPY", "reason": "r"}', {}),
        (b'{"scope": "symbol:", "reason": "r"}', {"reason": "r"}),
        (b'{"scope": "SPY"}', {}),
        (b'{"scope": ["symbol:SPY"], "reason": 5, "flatten": "perhaps", "minutes": "5"}', {}),
        (b'{"minutes": -5}', {}),
        (b'{"minutes": true}', {}),
        (b'{"minutes": NaN}', {}),
        (b'{"minutes": 1e400}', {}),
        (b'{"minutes": 1e300}', {}),
        (b'{"reason": "\\ud800 x\\u0000"}', {"reason": "? x"}),
        (b'{"request_id": 5, "asked_by": {}, "asked_at": "yesterday"}', {}),
        (b'{"request_id": "x; DROP", "asked_at": "2026-01-05T15:00:00"}', {}),
        (b"[" * 60_000, {"reason": "[" * 1000}),
        (b"9" * 5_000, {"reason": "9" * 1000}),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_counts_as_its_strictest_meaning(
    store: Store, path: Path, content: bytes, meant: dict[str, Any]
) -> None:
    flag_path(path).write_bytes(content)
    [request] = store.ledger.requests()
    assert request.arguments == EVERYTHING | meant
    store.ledger.answer_request(request.request_id, {"halted": True}, AT)
    assert json.loads(answered(store)[0][2]) == EVERYTHING | meant
    assert beside(path) == ["ledger.duckdb"]


@pytest.mark.parametrize("kind", ["directory", "pipe", "broken link", "far future"])
def test_whatever_has_the_name_halts(path: Path, kind: str) -> None:
    flag = flag_path(path)
    match kind:
        case "directory":
            flag.mkdir()
        case "pipe":
            os.mkfifo(flag)
        case "broken link":
            flag.symlink_to(path.parent / "nowhere")
        case _:
            flag.touch()
            os.utime(flag, (10**12, 10**12))
    [request] = flagged(path)
    assert request.arguments["scope"] == "all"


def test_a_second_flag_stands_beside_the_first(path: Path) -> None:
    first = raise_flag(path, {"scope": "all"}, "ada", AT)
    second = raise_flag(path, {"scope": "symbol:SPY", "minutes": 1}, "bob", AT + timedelta(seconds=1))
    assert flagged(path) == [first, second]
    take_down(path, first.request_id)
    assert flagged(path) == [second]
    assert beside(path) == ["ledger.duckdb.halt"]
    third = raise_flag(path, {}, "ada", AT)
    take_down(path, third.request_id)
    assert flagged(path) == [second]
    take_down(path, second.request_id)
    assert flagged(path) == []
    assert beside(path) == []


def test_a_flag_that_is_raised_beside_a_bare_one_weakens_it_in_nothing(path: Path) -> None:
    flag_path(path).touch()
    raised = raise_flag(path, {"scope": "symbol:SPY"}, "ada", AT)
    assert [request.arguments["scope"] for request in flagged(path)] == ["symbol:SPY", "all"]
    [bare] = [request for request in flagged(path) if request.request_id != raised.request_id]
    take_down(path, bare.request_id)
    assert flagged(path) == [raised]


def test_flags_that_come_and_go_at_the_same_time_are_all_seen(path: Path) -> None:
    raised: list[str] = []
    seen: list[str] = []
    over = threading.Event()

    def operator() -> None:
        for number in range(50):
            raised.append(raise_flag(path, {"reason": str(number)}, "ada", AT).request_id)

    def session() -> None:
        while flagged(path) or not over.is_set():
            for request in flagged(path):
                if request.request_id not in seen:
                    seen.append(request.request_id)
                take_down(path, request.request_id)

    asking, answering = [threading.Thread(target=operator) for _ in range(2)], threading.Thread(target=session)
    for thread in (answering, *asking):
        thread.start()
    for thread in asking:
        thread.join()
    over.set()
    answering.join()
    assert sorted(seen) == sorted(raised)
    assert beside(path) == []


def test_names_with_signs_in_them_are_names(tmp_path: Path) -> None:
    path = tmp_path / "[x]*.duckdb"
    first, second = raise_flag(path, {}, "ada", AT), raise_flag(path, {}, "bob", AT + timedelta(seconds=1))
    (tmp_path / "[x]*.duckdb.halt~").touch()
    (tmp_path / "[x]*.duckdb.halt.txt").touch()
    assert flagged(path) == [first, second]


def test_an_answered_flag_is_a_row_and_no_file(store: Store, path: Path) -> None:
    raised = raise_flag(path, {"reason": "enough"}, "ada", AT)
    assert store.ledger.requests() == [raised]
    assert store.ledger.requests() == [raised], "it is asked until it is answered"
    assert answered(store) == []
    store.ledger.answer_request(raised.request_id, {"halted": True}, AT)
    assert answered(store) == [
        (raised.request_id, "halt", json.dumps(raised.arguments), "ada", AT, AT, '{"halted": true}')
    ]
    assert beside(path) == ["ledger.duckdb"]
    assert store.ledger.requests() == []


def test_flags_come_before_what_was_handed_in(store: Store, path: Path) -> None:
    with store.connection.transaction():
        store.connection.execute(
            "INSERT INTO operator_requests (request_id, kind, arguments, asked_by, asked_at)"
            " VALUES ('1', 'reconcile', '{}', 'bob', '2020-01-01 00:00:00+00')"
        )
    raised = raise_flag(path, {}, "ada", AT)
    assert [request.request_id for request in store.ledger.requests()] == [raised.request_id, "1"]
    store.ledger.answer_request("1", {}, AT)
    assert store.ledger.requests() == [raised]


def test_an_answer_finds_a_flag_that_nobody_asked_for_before(store: Store, path: Path) -> None:
    raised = raise_flag(path, {}, "ada", AT)
    store.ledger.answer_request(raised.request_id, {"halted": True}, AT)
    assert [row[0] for row in answered(store)] == [raised.request_id]
    assert flagged(path) == []


def test_a_flag_that_was_removed_by_hand_is_answered_all_the_same(store: Store, path: Path) -> None:
    raised = raise_flag(path, {}, "ada", AT)
    store.ledger.requests()
    flag_path(path).unlink()
    store.ledger.answer_request(raised.request_id, {"halted": True}, AT)
    assert [row[0] for row in answered(store)] == [raised.request_id]


def test_an_answer_that_cannot_be_written_leaves_the_flag_up(path: Path, book: Any) -> None:
    raised = raise_flag(path, {}, "ada", AT)
    with open_store(path) as store:
        store.ledger.open_session(book.record())
        store.ledger.take_lease(book.session, Runner("here", 1, "then", "run 1"), AT)
        assert store.ledger.requests() == [raised]
        another = type(store.ledger)(store.connection)
        another.take_lease(book.session, Runner("there", 2, "then", "run 2"), AT + LEASE_LASTS)
        with pytest.raises(LeaseLost):
            store.ledger.answer_request(raised.request_id, {"halted": True}, AT)
        assert answered(store) == []
        assert flagged(path) == [raised]
        assert another.requests() == [raised]


def test_an_answered_flag_that_cannot_be_removed_is_not_asked_again(unremovable: Path, path: Path) -> None:
    with open_store(path) as store:
        [request] = store.ledger.requests()
        store.ledger.answer_request(request.request_id, {"halted": True}, AT)
        assert store.ledger.requests() == []
        assert store.ledger.requests() == []
        further = raise_flag(path, {}, "ada", AT)
        assert store.ledger.requests() == [further]
        store.ledger.answer_request(further.request_id, {}, AT)
    with open_store(path) as store:
        assert store.ledger.requests() == []
    assert unremovable.exists()
    assert beside(path) == ["ledger.duckdb", "ledger.duckdb.halt"]


def test_a_flag_whose_answer_was_committed_before_a_kill_is_taken_down_afterwards(path: Path) -> None:
    raised = raise_flag(path, {}, "ada", AT)
    kept = flag_path(path).read_bytes()
    with open_store(path) as store:
        store.ledger.answer_request(raised.request_id, {"halted": True}, AT)
    flag_path(path).write_bytes(kept)
    with open_store(path) as store:
        assert store.ledger.requests() == []
        assert beside(path) == ["ledger.duckdb"]


def test_a_further_flag_alone_is_found_by_whoever_looks_first(path: Path) -> None:
    raise_flag(path, {}, "ada", AT)
    second = raise_flag(path, {"scope": "symbol:SPY"}, "bob", AT)
    flag_path(path).unlink()  # by a process that was killed before it could give the name on
    with open_store(path) as store:
        assert store.ledger.requests() == [second]
        store.ledger.answer_request(second.request_id, {}, AT)
        assert beside(path) == ["ledger.duckdb"]


def test_who_only_reads_never_touches_a_flag(path: Path) -> None:
    with open_store(path):
        pass
    raised = raise_flag(path, {}, "ada", AT)
    with open_store(path, read_only=True) as store:
        assert store.ledger.requests() == []
    assert flagged(path) == [raised]


def test_what_a_killed_process_left_half_written_halts_nobody_and_is_taken_away(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{2**22 + 1}.{'0' * 32}.halt.new")  # no process has such a number
    draft.write_text('{"scope": "sym')
    assert flagged(path, look_around=True) == []
    with open_store(path):
        pass
    assert not draft.exists()
